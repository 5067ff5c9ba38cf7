import Testing

@testable import Monitoring

/// What counts as a request.
@Suite struct RequestHeadTests {
    @Test(arguments: [
        ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "GET", "/metrics"),
        ("HEAD /healthz HTTP/1.0\r\n\r\n", "HEAD", "/healthz"),
        ("GET /metrics?a=b&c HTTP/1.1\n\n", "GET", "/metrics"),
        ("POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\nhello", "POST", "/"),
    ])
    func requests(text: String, method: String, path: String) throws {
        #expect(RequestHead.parse(Array(text.utf8)) == .success(RequestHead(method: method, path: path)))
        let head = try #require(RequestHead.end(in: Array(text.utf8)))
        #expect(text.utf8.prefix(head).last == UInt8(ascii: "\n"))
    }

    @Test(arguments: [
        ("", 400), ("GET\r\n\r\n", 400), ("GET  /metrics HTTP/1.1\r\n\r\n", 400), ("GET metrics HTTP/1.1\r\n\r\n", 400),
        ("GET /a b HTTP/1.1\r\n\r\n", 400), ("GET /\u{e9} HTTP/1.1\r\n\r\n", 400), ("\u{16}\u{3}\u{1}\r\n\r\n", 400),
        ("GET / HTTP/2.0\r\n\r\n", 505), ("GET / ICE/1.1\r\n\r\n", 400),
    ])
    func whatIsNone(text: String, status: Int) {
        guard case .failure(let refusal) = RequestHead.parse(Array(text.utf8)) else {
            Issue.record("\(text) is taken for a request")
            return
        }
        #expect(refusal.status == status)
    }

    @Test(
        arguments: [
            ("GET / HTTP/1.1\r\n", nil), ("GET / HTTP/1.1\r\nA: b\r\n", nil), ("a\r\n\r", nil), ("a\r\n\r\n", 5),
            ("a\n\nrest", 3), ("a\r\nb\n\r\nrest", 7),
        ] as [(String, Int?)])
    func theEmptyLineEndsIt(text: String, end: Int?) { #expect(RequestHead.end(in: Array(text.utf8)) == end) }
}
