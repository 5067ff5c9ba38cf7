import CCurl
import Errors
import Glibc

extension TLSTrust {
    static func isReadable(_ path: String) -> Bool { access(path, R_OK) == 0 }
}

/// One of libcurl's easy handles, used for one transfer after another. Belongs to the loop's thread.
final class EasyHandle {
    let pointer: UnsafeMutableRawPointer
    /// Where libcurl says what went wrong (CURLOPT_ERRORBUFFER(3)).
    private let message: UnsafeMutablePointer<CChar>
    private var headerList: UnsafeMutablePointer<curl_slist>?

    init() throws {
        guard let pointer = curl_easy_init() else { throw PerSSDError(.internal, "libcurl gives no handle") }
        self.pointer = pointer
        message = .allocate(capacity: Int(CURL_ERROR_SIZE))
        message.initialize(repeating: 0, count: Int(CURL_ERROR_SIZE))
    }

    deinit {
        curl_easy_cleanup(pointer)
        curl_slist_free_all(headerList)
        message.deallocate()
    }

    /// Empty where libcurl said nothing beyond its result code.
    var errorMessage: String { String(cString: message) }

    var status: Int {
        var status = 0
        guard ccurl_get_long(pointer, CURLINFO_RESPONSE_CODE, &status) == CURLE_OK else { return 0 }
        return status
    }

    /// nil where the response names no length.
    var contentLength: Int? {
        var length: curl_off_t = -1
        let result = ccurl_get_offset(pointer, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length)
        return result == CURLE_OK && length >= 0 ? Int(length) : nil
    }

    /// Forgets the last transfer; connections, which belong to the multi handle, stay.
    func reset() {
        curl_easy_reset(pointer)
        curl_slist_free_all(headerList)
        headerList = nil
        message[0] = 0
    }

    func set(_ option: CURLoption, _ value: Int) throws { try check(ccurl_set_long(pointer, option, value), option) }

    func set(_ option: CURLoption, offset value: Int) throws {
        try check(ccurl_set_offset(pointer, option, curl_off_t(value)), option)
    }

    func set(_ option: CURLoption, _ value: String?) throws {
        try check(ccurl_set_string(pointer, option, value), option)
    }

    func set(_ option: CURLoption, pointer value: UnsafeMutableRawPointer?) throws {
        try check(ccurl_set_pointer(pointer, option, value), option)
    }

    func set(_ option: CURLoption, function: ccurl_data_function) throws {
        try check(ccurl_set_data_function(pointer, option, function), option)
    }

    func setSeek(_ function: ccurl_seek_function) throws {
        try check(ccurl_set_seek_function(pointer, function), CURLOPT_SEEKFUNCTION)
    }

    func setSocketOption(_ function: ccurl_socket_function) throws {
        try check(ccurl_set_socket_function(pointer, function), CURLOPT_SOCKOPTFUNCTION)
    }

    func reportErrors() throws { try set(CURLOPT_ERRORBUFFER, pointer: message) }

    /// "Name: value"; an empty value is asked for by "Name;", and "Name:" takes a field of libcurl's own away.
    func setHeaders(_ lines: [String]) throws {
        for line in lines {
            guard let longer = curl_slist_append(headerList, line) else {
                throw PerSSDError(.resourceExhausted, "no memory for a request's headers")
            }
            headerList = longer
        }
        try check(ccurl_set_list(pointer, CURLOPT_HTTPHEADER, headerList), CURLOPT_HTTPHEADER)
    }

    private func check(_ result: CURLcode, _ option: CURLoption) throws {
        guard result != CURLE_OK else { return }
        throw PerSSDError(
            .internal, "libcurl refuses option \(option.rawValue): \(String(cString: curl_easy_strerror(result)))")
    }
}
