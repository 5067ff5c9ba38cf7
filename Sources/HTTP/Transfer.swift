import CCurl
import Errors
import Glibc
import Synchronization

/// One request on its way, and what has come back of it. But for the flag and the continuation, which is set before the
/// transfer is handed over, all belongs to the loop's thread.
final class Transfer: @unchecked Sendable {
    let request: HTTPRequest
    private let trust: TLSTrust
    var continuation: CheckedContinuation<HTTPResponse, any Error>?
    /// Set from any thread; the loop looks at it.
    let isCancelled = Atomic(false)
    var wasCancelled: Bool { isCancelled.load(ordering: .sequentiallyConsistent) }

    private var handle: EasyHandle?
    private var sent = 0
    private var headers = HTTPHeaders()
    private var headersAreComplete = false
    private var body: [UInt8] = []
    private var isTooLong = false
    private var lastSent: ContinuousClock.Instant?
    private var firstReceived: ContinuousClock.Instant?

    init(_ request: HTTPRequest, trust: TLSTrust) {
        self.request = request
        self.trust = trust
    }

    /// Sets all options of the transfer. `handle` has to be fresh or reset, and this object has to outlive its use.
    func prepare(_ handle: EasyHandle) throws {
        self.handle = handle
        lastSent = .now
        try handle.reportErrors()
        try handle.set(CURLOPT_NOSIGNAL, 1)
        try handle.set(CURLOPT_PROTOCOLS_STR, "http,https")
        try handle.set(CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_1_1)
        try handle.set(CURLOPT_PATH_AS_IS, 1)
        try handle.set(CURLOPT_FOLLOWLOCATION, 0)
        try handle.set(CURLOPT_URL, request.url)
        try handle.set(CURLOPT_TCP_KEEPALIVE, 1)
        try handle.set(CURLOPT_BUFFERSIZE, 256 << 10)
        try handle.set(CURLOPT_UPLOAD_BUFFERSIZE, 512 << 10)
        try handle.setSocketOption(closeOnExec)
        if !request.usesProxy { try handle.set(CURLOPT_NOPROXY, "*") }
        if request.needsNewConnection { try handle.set(CURLOPT_FRESH_CONNECT, 1) }
        try prepareTrust(handle)
        try prepareTimeouts(handle)
        try prepareRequest(handle)
        let context = Unmanaged.passUnretained(self).toOpaque()
        try handle.set(CURLOPT_WRITEFUNCTION, function: receiveBody)
        try handle.set(CURLOPT_WRITEDATA, pointer: context)
        try handle.set(CURLOPT_HEADERFUNCTION, function: receiveHeader)
        try handle.set(CURLOPT_HEADERDATA, pointer: context)
    }

    private func prepareTrust(_ handle: EasyHandle) throws {
        try handle.set(CURLOPT_SSL_VERIFYPEER, 1)
        try handle.set(CURLOPT_SSL_VERIFYHOST, 2)
        try handle.set(CURLOPT_SSLVERSION, CURL_SSLVERSION_TLSv1_2)
        guard let file = trust.file else { return }
        try handle.set(CURLOPT_CAINFO, file)
        try handle.set(CURLOPT_CAPATH, nil as String?)
        // A file that is mounted into a pod changes in place; libcurl would keep the old one for a day.
        try handle.set(CURLOPT_CA_CACHE_TIMEOUT, 300)
    }

    private func prepareTimeouts(_ handle: EasyHandle) throws {
        try handle.set(CURLOPT_CONNECTTIMEOUT_MS, request.timeouts.connect.milliseconds)
        try handle.set(CURLOPT_LOW_SPEED_LIMIT, request.timeouts.stallBytesPerSecond)
        try handle.set(CURLOPT_LOW_SPEED_TIME, max(1, Int(request.timeouts.stall.components.seconds)))
        if let total = request.timeouts.total { try handle.set(CURLOPT_TIMEOUT_MS, total.milliseconds) }
    }

    private func prepareRequest(_ handle: EasyHandle) throws {
        var lines = request.headers.fields.map { $0.value.isEmpty ? "\($0.name);" : "\($0.name): \($0.value)" }
        if request.method == .head {
            try handle.set(CURLOPT_NOBODY, 1)
        } else if let body = request.body {
            try handle.set(CURLOPT_UPLOAD, 1)
            try handle.set(CURLOPT_INFILESIZE_LARGE, offset: body.count)
            try handle.set(CURLOPT_READFUNCTION, function: sendBody)
            try handle.set(CURLOPT_READDATA, pointer: Unmanaged.passUnretained(self).toOpaque())
            try handle.setSeek(refuseToRepeat)
            // libcurl waits for "100 Continue" by itself where a body is long; here that is the caller's choice.
            if request.headers["Expect"] == nil { lines.append("Expect:") }
        }
        if request.method != .head { try handle.set(CURLOPT_CUSTOMREQUEST, request.method.rawValue) }
        try handle.setHeaders(lines)
    }

    /// What the transfer came to, by libcurl's result.
    func outcome(_ result: CURLcode) -> Result<HTTPResponse, any Error> {
        guard result == CURLE_OK, let handle else {
            return .failure(
                isTooLong
                    ? PerSSDError(
                        .outOfRange, "\(what): the response is longer than \(request.maximumResponseBytes) bytes")
                    : TransferFailure(result, message: handle?.errorMessage ?? "", trust: trust).error(during: what))
        }
        let waited = (firstReceived ?? .now) - (lastSent ?? .now)
        let response = HTTPResponse(
            status: handle.status, headers: headers, body: body, waited: max(.zero, waited))
        return .success(response)
    }

    /// Hands the outcome to whoever waits for it; the second and later calls do nothing.
    func finish(_ outcome: Result<HTTPResponse, any Error>) {
        handle = nil
        let waiting = continuation
        continuation = nil
        waiting?.resume(with: outcome)
    }

    var what: String { "\(request.method.rawValue) \(request.url)" }

    // MARK: - What libcurl calls

    /// - Returns: how many bytes of the body were copied to `destination`, 0 at its end.
    fileprivate func readBody(into destination: UnsafeMutableRawBufferPointer) -> Int {
        guard let body = request.body else { return 0 }
        return body.withUnsafeBytes { bytes in
            let part = bytes[sent..<min(bytes.count, sent + destination.count)]
            destination.copyBytes(from: part)
            sent += part.count
            lastSent = .now
            return part.count
        }
    }

    fileprivate func receive(_ bytes: UnsafeRawBufferPointer) -> Bool {
        if body.isEmpty {
            let announced = handle?.contentLength ?? bytes.count
            guard announced <= request.maximumResponseBytes else {
                isTooLong = true
                return false
            }
            body.reserveCapacity(announced)
        }
        guard body.count + bytes.count <= request.maximumResponseBytes else {
            isTooLong = true
            return false
        }
        body.append(contentsOf: bytes)
        return true
    }

    /// Takes one line. A status line begins anew: "100 Continue" and a proxy's answer come before the response itself.
    fileprivate func receiveHeaderLine(_ bytes: UnsafeRawBufferPointer) {
        let line = String(decoding: bytes, as: UTF8.self)
        if line.hasPrefix("HTTP/") {
            headers = HTTPHeaders()
            headersAreComplete = false
            firstReceived = .now
        } else if line.utf8.allSatisfy({ $0 == UInt8(ascii: "\r") || $0 == UInt8(ascii: "\n") }) {
            headersAreComplete = true
        } else if !headersAreComplete, let colon = line.firstIndex(of: ":") {
            // What follows a body in chunks ("trailers") was not there when the response was judged, and is left out.
            headers.append(String(line[..<colon]), trimmed(line[line.index(after: colon)...]))
        }
    }

    private func trimmed(_ text: Substring) -> String {
        let isBlank: (Character) -> Bool = { $0 == " " || $0 == "\t" || $0.isNewline }
        var value = text.drop(while: isBlank)
        while let last = value.last, isBlank(last) { value.removeLast() }
        return String(value)
    }
}

private func transfer(_ context: UnsafeMutableRawPointer?) -> Transfer? {
    context.map { Unmanaged<Transfer>.fromOpaque($0).takeUnretainedValue() }
}

private func sendBody(
    _ bytes: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int, _ context: UnsafeMutableRawPointer?
)
    -> Int
{
    guard let transfer = transfer(context), let bytes else { return Int(CURL_READFUNC_ABORT) }
    return transfer.readBody(into: UnsafeMutableRawBufferPointer(start: bytes, count: size * count))
}

private func receiveBody(
    _ bytes: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int, _ context: UnsafeMutableRawPointer?
) -> Int {
    guard let transfer = transfer(context) else { return 0 }
    return transfer.receive(UnsafeRawBufferPointer(start: bytes, count: size * count)) ? size * count : 0
}

private func receiveHeader(
    _ bytes: UnsafeMutablePointer<CChar>?, _ size: Int, _ count: Int, _ context: UnsafeMutableRawPointer?
) -> Int {
    guard let transfer = transfer(context) else { return 0 }
    transfer.receiveHeaderLine(UnsafeRawBufferPointer(start: bytes, count: size * count))
    return size * count
}

/// Sending a body again without a word to the caller would hide that the first one may have been acted upon, which
/// matters to conditional writes. So libcurl may not; the request fails, and the caller decides.
private func refuseToRepeat(_ context: UnsafeMutableRawPointer?, _ offset: curl_off_t, _ origin: Int32) -> Int32 {
    CURL_SEEKFUNC_FAIL
}

/// So that no program that PerSSD runs inherits a connection.
private func closeOnExec(
    _ context: UnsafeMutableRawPointer?, _ socket: curl_socket_t, _ purpose: curlsocktype
) -> Int32 {
    fcntl(socket, F_SETFD, FD_CLOEXEC) == 0 ? CURL_SOCKOPT_OK : CURL_SOCKOPT_ERROR
}

extension Duration {
    /// Rounded down, at least 1: libcurl takes 0 for "no bound".
    fileprivate var milliseconds: Int {
        max(1, Int(components.seconds) * 1000 + Int(components.attoseconds / 1_000_000_000_000_000))
    }
}
