import Foundation

/// What is answered to a request.
public struct MonitoringAnswer: Sendable {
    /// An HTTP status code (RFC 9110, section 15).
    public var status: Int
    public var contentType: String
    public var body: String
    var headers: [(name: String, value: String)] = []

    public init(status: Int, contentType: String = "text/plain; charset=utf-8", body: String) {
        (self.status, self.contentType, self.body) = (status, contentType, body)
    }

    /// One line for people.
    public init(status: Int, text: String) { self.init(status: status, body: text + "\n") }

    func bytes(withBody: Bool) -> Data {
        let content = Data(body.utf8)
        var head = "HTTP/1.1 \(status) \(Self.reason(status))\r\n"
        let fields =
            [("Content-Type", contentType), ("Content-Length", "\(content.count)"), ("Connection", "close")] + headers
        for (name, value) in fields { head += "\(name): \(value)\r\n" }
        return Data("\(head)\r\n".utf8) + (withBody ? content : Data())
    }

    private static func reason(_ status: Int) -> String {
        switch status {
        case 200: "OK"
        case 400: "Bad Request"
        case 404: "Not Found"
        case 405: "Method Not Allowed"
        case 431: "Request Header Fields Too Large"
        case 503: "Service Unavailable"
        case 505: "HTTP Version Not Supported"
        default: "Other"
        }
    }
}

/// Why a request is not one.
struct RequestRefusal: Error, Equatable {
    var status: Int
    var reason: String

    var answer: MonitoringAnswer { MonitoringAnswer(status: status, text: reason) }
}

/// What counts of a request. Headers and a body say nothing that matters here.
struct RequestHead: Equatable {
    var method: String
    /// Without the query.
    var path: String

    /// Where the head ends: behind its empty line. A line feed alone counts, too (RFC 9112, section 2.2).
    static func end(in bytes: [UInt8]) -> Int? {
        let feed = UInt8(ascii: "\n")
        for (index, byte) in bytes.enumerated() where byte == feed {
            let next = bytes[(index + 1)...].prefix(2)
            if next.first == feed { return index + 2 }
            if next.elementsEqual([UInt8(ascii: "\r"), feed]) { return index + 3 }
        }
        return nil
    }

    static func parse(_ bytes: [UInt8]) -> Result<RequestHead, RequestRefusal> {
        let line = bytes.prefix { $0 != UInt8(ascii: "\n") && $0 != UInt8(ascii: "\r") }
        let parts = line.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
        guard parts.count == 3, let method = text(parts[0]), let target = text(parts[1]), let version = text(parts[2]),
            target.hasPrefix("/"), version.hasPrefix("HTTP/")
        else { return .failure(RequestRefusal(status: 400, reason: "this is no HTTP request")) }
        guard version == "HTTP/1.1" || version == "HTTP/1.0" else {
            return .failure(RequestRefusal(status: 505, reason: "HTTP/1.1 is spoken here"))
        }
        return .success(RequestHead(method: method, path: String(target.prefix { $0 != "?" })))
    }

    /// Printable ASCII, or nil.
    private static func text(_ bytes: some Collection<UInt8>) -> String? {
        guard !bytes.isEmpty, bytes.allSatisfy({ (0x21...0x7E).contains($0) }) else { return nil }
        return String(decoding: bytes, as: UTF8.self)
    }
}
