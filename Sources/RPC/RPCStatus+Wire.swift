import CGRPC

extension RPCStatus {
    /// How much of the trailing metadata, which many clients limit to 8 KiB in all, the message may take, encoded.
    static let maximumEncodedMessage = 4096
    /// The same for the details. They are a serialized message, so larger ones are left out rather than cut.
    static let maximumDetails = 2048

    /// As C lends it. A number that is no status code is UNKNOWN, as gRPC wants it.
    init(_ status: cgrpc_status) {
        self.init(
            Code(rawValue: status.code) ?? .unknown, String(status.message), details: Array(status.details))
    }

    /// Lends the status to C, cut to what every client accepts.
    func withCStatus<Result>(_ body: (cgrpc_status) throws -> Result) rethrows -> Result {
        let details = details.count <= Self.maximumDetails ? details : []
        return try Self.shortened(message).withCBytes { message in
            try details.withCBytes { try body(cgrpc_status(code: code.rawValue, message: message, details: $0)) }
        }
    }

    /// The text up to the limit, with "…" where something is missing. gRPC sends anything but visible ASCII as three bytes.
    static func shortened(_ text: String) -> String {
        func encodedSize(_ byte: UInt8) -> Int { (0x20...0x7E).contains(byte) && byte != UInt8(ascii: "%") ? 1 : 3 }
        guard text.utf8.reduce(0, { $0 + encodedSize($1) }) > maximumEncodedMessage else { return text }
        let ellipsis = "…"
        var left = maximumEncodedMessage - ellipsis.utf8.reduce(0) { $0 + encodedSize($1) }
        var short = ""
        for scalar in text.unicodeScalars {
            left -= UTF8.encode(scalar)!.reduce(0) { $0 + encodedSize($1) }
            if left < 0 { break }
            short.unicodeScalars.append(scalar)
        }
        return short + ellipsis
    }
}
