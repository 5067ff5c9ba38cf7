import CCrypto
import Errors

/// The SHA-256 of some bytes (FIPS 180-4), 32 bytes long.
public struct Digest: Hashable, Sendable, CustomStringConvertible {
    public static let length = 32
    /// 32 zero bytes: the digest of nothing known, by which formats name what is absent.
    public static let zero = Digest([UInt8](repeating: 0, count: length))!

    /// Inline, so that a map of millions of them needs no allocation each.
    private var words: (UInt64, UInt64, UInt64, UInt64)

    /// - Returns: nil where there are not exactly 32 bytes.
    public init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == Self.length else { return nil }
        words = (0, 0, 0, 0)
        withUnsafeMutableBytes(of: &words) { $0.copyBytes(from: bytes) }
    }

    /// - Returns: nil where the text is not 64 hexadecimal digits.
    public init?(hex: String) {
        guard let bytes = [UInt8](hex: hex) else { return nil }
        self.init(bytes)
    }

    public func withUnsafeBytes<Result>(_ body: (UnsafeRawBufferPointer) throws -> Result) rethrows -> Result {
        try Swift.withUnsafeBytes(of: words) { try body($0) }
    }

    public var bytes: [UInt8] { withUnsafeBytes { [UInt8]($0) } }
    public var hex: String { bytes.hex }
    public var description: String { hex }

    public static func == (a: Digest, b: Digest) -> Bool { a.words == b.words }
    public func hash(into hasher: inout Hasher) { hasher.combine(words.0) }
}

extension Digest: Codable {
    /// From 64 hexadecimal digits.
    public init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        guard let digest = Digest(hex: text) else {
            throw PerSSDError(.corrupt, "'\(text.prefix(80))' is no SHA-256 digest in hexadecimal")
        }
        self = digest
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(hex)
    }
}

/// SHA-256 by libcrypto, which uses the CPU's own instructions where it has them.
public enum SHA256 {
    public static func digest(_ bytes: UnsafeRawBufferPointer) -> Digest {
        make { ccrypto_sha256_once(bytes.baseAddress, bytes.count, $0) }
    }

    public static func digest(_ bytes: [UInt8]) -> Digest { bytes.withUnsafeBytes { digest($0) } }
    public static func digest(_ text: String) -> Digest { digest([UInt8](text.utf8)) }

    /// HMAC-SHA-256 (RFC 2104).
    public static func authenticationCode(of bytes: [UInt8], key: [UInt8]) -> Digest {
        bytes.withUnsafeBytes { bytes in
            key.withUnsafeBytes { key in
                make { ccrypto_hmac_sha256(key.baseAddress, key.count, bytes.baseAddress, bytes.count, $0) }
            }
        }
    }

    /// libcrypto fails here only where its own provider is broken or memory is out; no caller could go on.
    fileprivate static func make(_ body: (UnsafeMutablePointer<UInt8>) -> Int32) -> Digest {
        withUnsafeTemporaryAllocation(of: UInt8.self, capacity: Digest.length) { buffer in
            buffer.initialize(repeating: 0)
            guard body(buffer.baseAddress!) == 1, let digest = Digest(buffer) else {
                fatalError("libcrypto cannot compute SHA-256")
            }
            return digest
        }
    }
}

/// SHA-256 of a message that comes in parts.
public final class SHA256Stream {
    private let context: OpaquePointer

    public init() {
        guard let context = ccrypto_sha256_new() else { fatalError("libcrypto cannot compute SHA-256") }
        self.context = context
    }

    deinit { ccrypto_sha256_free(context) }

    public func update(_ bytes: UnsafeRawBufferPointer) {
        guard ccrypto_sha256_update(context, bytes.baseAddress, bytes.count) == 1 else {
            fatalError("libcrypto cannot compute SHA-256")
        }
    }

    public func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { update($0) } }

    /// The digest of all since the last call; the next message starts empty.
    public func finish() -> Digest { SHA256.make { ccrypto_sha256_finish(context, $0) } }
}
