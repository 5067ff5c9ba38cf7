import Digests
import Errors

/// The name of a pack within its lineage: 16 random bytes, so that no two writers ever choose the same.
public struct PackID: Hashable, Sendable, CustomStringConvertible {
    public static let length = 16

    private var words: (UInt64, UInt64)

    public static func random() -> PackID { PackID(randomBytes(length))! }

    /// - Returns: nil where there are not exactly 16 bytes.
    public init?(_ bytes: some Collection<UInt8>) {
        guard bytes.count == Self.length else { return nil }
        words = (0, 0)
        withUnsafeMutableBytes(of: &words) { $0.copyBytes(from: bytes) }
    }

    /// - Returns: nil where the text is not 32 lowercase hexadecimal digits; a pack has one name only.
    public init?(hex: String) {
        guard let bytes = [UInt8](hex: hex), bytes.hex == hex else { return nil }
        self.init(bytes)
    }

    public var bytes: [UInt8] { Swift.withUnsafeBytes(of: words) { [UInt8]($0) } }
    public var description: String { bytes.hex }

    public static func == (a: PackID, b: PackID) -> Bool { a.words == b.words }
    public func hash(into hasher: inout Hasher) { hasher.combine(words.0) }

    /// Where the pack is: `lineages/<lineage>/packs/<id>`.
    ///
    /// - Throws: `invalidArgument` where the lineage cannot be part of a key.
    public func key(lineage: String) throws -> ObjectKey {
        try ObjectKey(Self.folder(lineage: lineage) + description)
    }

    /// Below which all packs of a lineage are, with its slash.
    public static func folder(lineage: String) -> String { "lineages/\(lineage)/packs/" }
}

extension PackID: Codable {
    public init(from decoder: any Decoder) throws {
        let text = try decoder.singleValueContainer().decode(String.self)
        guard let id = PackID(hex: text) else { throw PerSSDError(.corrupt, "'\(text.prefix(80))' is no pack id") }
        self = id
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(description)
    }
}

extension PackID {
    /// Some order, the same everywhere.
    func precedes(_ other: PackID) -> Bool { words < other.words }
}
