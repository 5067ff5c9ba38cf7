import Foundation

/// Where a generation comes from, and what making it took. With the generation's parent, and the digest of that one's record,
/// a volume's history tells who made it what it is.
public struct Provenance: Sendable, Codable, Equatable {
    /// How many uses a record names at the most, the latest ones; each is of 4 KiB at the most, as a request's context is.
    public static let usesLimit = 16

    public var node: NodeReference
    /// Since when the node could write what this generation has and its parent has not. Not in records of older versions.
    public var startedAt: Date?
    /// When its contents were cut.
    public var cutAt: Date
    /// When its blocks were all in the bucket.
    public var stagedOutAt: Date
    /// Bytes of the local copy that were read for it.
    public var readBytes: UInt64
    /// Bytes of the blocks that differ from the parent's, before compression.
    public var changedBytes: UInt64
    /// Bytes sent to the bucket for it.
    public var sentBytes: UInt64
    /// Who had the volume on the node meanwhile, in the order of their begins; nil where nobody said who it was.
    public var uses: [VolumeUse]?
    /// How many more there were, before those that are named; nil for none.
    public var omittedUses: Int?

    public init(
        node: NodeReference, startedAt: Date? = nil, cutAt: Date, stagedOutAt: Date, readBytes: UInt64,
        changedBytes: UInt64, sentBytes: UInt64, uses: [VolumeUse] = []
    ) {
        self.node = node
        self.startedAt = startedAt
        self.cutAt = cutAt
        self.stagedOutAt = stagedOutAt
        self.readBytes = readBytes
        self.changedBytes = changedBytes
        self.sentBytes = sentBytes
        self.uses = uses.isEmpty ? nil : uses.suffix(Self.usesLimit)
        omittedUses = uses.count > Self.usesLimit ? uses.count - Self.usesLimit : nil
    }
}

/// That somebody had a volume on a node, as the orchestrator told when it published it there.
public struct VolumeUse: Sendable, Codable, Hashable {
    /// The pod; nil where the orchestrator does not tell.
    public var pod: Pod?
    /// What the workflow says of itself, by name; nil for nothing.
    public var labels: [String: String]?
    /// Whether it could only read.
    public var isReadOnly: Bool
    public var startedAt: Date
    /// nil where it still had the volume when the generation was cut.
    public var endedAt: Date?

    /// A Kubernetes pod.
    public struct Pod: Sendable, Codable, Hashable, CustomStringConvertible {
        public var namespace: String
        public var name: String
        public var uid: String
        public var serviceAccount: String?

        public init(namespace: String, name: String, uid: String, serviceAccount: String?) {
            (self.namespace, self.name, self.uid, self.serviceAccount) = (namespace, name, uid, serviceAccount)
        }

        public var description: String { "\(namespace)/\(name)" }
    }

    public init(pod: Pod?, labels: [String: String], isReadOnly: Bool, startedAt: Date, endedAt: Date? = nil) {
        self.pod = pod
        self.labels = labels.isEmpty ? nil : labels
        self.isReadOnly = isReadOnly
        self.startedAt = startedAt
        self.endedAt = endedAt
    }
}
