import Digests
import Errors

/// A volume's id: valid on every node, and in every cluster that uses the bucket.
public struct VolumeID: DerivedID {
    public static let prefix = "vol-"
    public static let kind = "volume"
    public let rawValue: String

    public init(unchecked rawValue: String) { self.rawValue = rawValue }
}

/// One life of a volume: an id can come back after a deletion, an incarnation never does.
public struct Incarnation: Hashable, Sendable, Codable, CustomStringConvertible {
    public let rawValue: String

    /// A new one, 128 random bits.
    public init() { rawValue = randomBytes(16).hex }

    /// One that a record or a local copy holds.
    public init?(_ text: String) {
        guard text.utf8.count == 32, [UInt8](hex: text) != nil else { return nil }
        rawValue = text
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.singleValueContainer()
        guard let value = Incarnation(try container.decode(String.self)) else {
            throw DecodingError.dataCorruptedError(in: container, debugDescription: "no incarnation")
        }
        self = value
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.singleValueContainer()
        try container.encode(rawValue)
    }

    public var description: String { rawValue }
}

/// A node, as the bucket knows it: node names are unique in a cluster only.
public struct NodeReference: Hashable, Sendable, Codable, CustomStringConvertible {
    public var cluster: String
    public var node: String

    /// - Throws: `invalidArgument` where a name has characters that an object's name cannot have.
    public init(cluster: String, node: String) throws {
        for (what, name) in [("cluster", cluster), ("node", node)] {
            guard name.utf8.count <= 253, let key = try? ObjectKey(name), !key.path.contains("/") else {
                throw PerSSDError(
                    .invalidArgument, "'\(name.prefix(80))' is no valid \(what) name",
                    remedy: "use up to 253 letters, digits, '-', '_' and '.'")
            }
        }
        (self.cluster, self.node) = (cluster, node)
    }

    public var description: String { "\(cluster)/\(node)" }
}
