import Digests

/// An id that follows from a name: whoever asks gets the same one, so that creating is idempotent without a listing.
///
/// A prefix and 128 bits of the name's SHA-256; the record keeps the name itself, which a creation compares.
public protocol DerivedID: Hashable, Sendable, Comparable, Codable, CustomStringConvertible {
    /// "vol-" and the like.
    static var prefix: String { get }
    /// What it identifies, for errors: "volume".
    static var kind: String { get }
    var rawValue: String { get }
    /// - Parameter rawValue: an id that was derived, or found to be one.
    init(unchecked rawValue: String)
}

extension DerivedID {
    private static var digits: Int { 32 }

    /// The id of what has this name.
    public init(name: String) {
        self.init(unchecked: Self.prefix + SHA256.digest(name).hex.prefix(Self.digits))
    }

    /// - Returns: nil where the text is no id that `init(name:)` could have made: it names nothing, and no path.
    public init?(_ text: String) {
        let digits = text.utf8.dropFirst(Self.prefix.utf8.count)
        let isHex = digits.allSatisfy {
            (UInt8(ascii: "0")...UInt8(ascii: "9")).contains($0) || (UInt8(ascii: "a")...UInt8(ascii: "f")).contains($0)
        }
        guard text.hasPrefix(Self.prefix), digits.count == Self.digits, isHex else { return nil }
        self.init(unchecked: text)
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let id = Self(try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "no \(Self.kind) id")
        }
        self = id
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rawValue)
    }

    public static func < (a: Self, b: Self) -> Bool { a.rawValue < b.rawValue }
    public var description: String { rawValue }
}
