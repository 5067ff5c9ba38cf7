import Errors
import HTTP

/// The answer to a request for a range, checked before it is believed.
struct RangeResponse {
    private let response: HTTPResponse

    init(_ response: HTTPResponse) { self.response = response }

    /// - Throws: `corrupt` where the object ends before the range does, `unsupported` where the server sent another range
    ///   than it was asked for.
    func bytes(for range: Range<UInt64>) throws -> [UInt8] {
        let sent = try sentRange()
        guard sent.lowerBound == range.lowerBound, sent.upperBound <= range.upperBound else {
            throw PerSSDError(
                .unsupported, "the server sends bytes \(sent) in their stead",
                remedy: "use a server that honours the Range header")
        }
        guard sent.upperBound == range.upperBound else {
            throw PerSSDError(.corrupt, "it ends at byte \(sent.upperBound)")
        }
        guard response.body.count == range.count else {
            throw PerSSDError(.corrupt, "\(response.body.count) bytes came")
        }
        return response.body
    }

    /// "bytes 1-3/5"; an answer with status 200 holds the whole object.
    private func sentRange() throws -> Range<UInt64> {
        if response.status == 200 { return 0..<UInt64(response.body.count) }
        let text = response.headers["Content-Range"] ?? ""
        let words = text.split { " -/".contains($0) }
        guard response.status == 206, words.count == 4, words[0] == "bytes", let first = UInt64(words[1]),
            let last = UInt64(words[2]), first <= last, last < .max
        else {
            throw PerSSDError(
                .unsupported, "the server answers \(response.status) with the range '\(text.prefix(100))'",
                remedy: "use a server that honours the Range header")
        }
        return first..<last + 1
    }
}
