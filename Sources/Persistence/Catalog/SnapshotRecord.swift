import Foundation

/// A snapshot's id: valid in every cluster that uses the bucket.
public struct SnapshotID: DerivedID {
    public static let prefix = "snap-"
    public static let kind = "snapshot"
    public let rawValue: String

    public init(unchecked rawValue: String) { self.rawValue = rawValue }
}

/// `snapshots/<snapshot>.json`: a name for one generation, which is kept for as long as the snapshot is there.
///
/// It stands by itself: all that a clone needs is in it and in the generation, so it outlives its volume.
public struct SnapshotRecord: Record, Equatable {
    static let format = "perssd-snapshot"
    static let currentVersion = 1

    public var snapshot: SnapshotID
    /// The name it was created by, which its id is derived from.
    public var name: String
    /// The volume it was made of, and which life of it.
    public var volume: VolumeID
    public var incarnation: Incarnation
    public var lineage: String
    /// The claim of that volume, where there is one.
    public var claim: VolumeRecord.Claim?
    /// What a volume made of it must have at the least.
    public var capacityBytes: UInt64
    /// When its contents were as they are: for one of a volume that nobody writes the time of its creation.
    public var createdAt: Date
    /// What it pins; nil while that is still to be committed, and for a snapshot of a volume that was never written.
    public var generation: GenerationReference?
    /// Who is to deliver the generation; nil once it is there.
    public var delivery: Delivery?
    /// The group that it is a member of: it comes and goes with that one.
    public var group: GroupSnapshotID?
    /// Set where the snapshot is deleted: what is left is the memory of it, which keeps a late deletion from hitting
    /// the next snapshot of the name.
    public var deletedAt: Date?

    /// A published volume's snapshot: the node that has the volume open cuts it, and stages it out.
    public struct Delivery: Sendable, Codable, Hashable {
        public var node: NodeReference
        /// Of the lease under which the node writes: under another one it can commit nothing.
        public var epoch: UInt64
        /// What was newest when the snapshot was asked for; 0 for none. Until the delivery, everything newer is kept.
        public var after: UInt64
        /// When the node made the cut; nil as long as nobody knows of one.
        public var cutAt: Date?

        public init(node: NodeReference, epoch: UInt64, after: UInt64, cutAt: Date? = nil) {
            (self.node, self.epoch, self.after, self.cutAt) = (node, epoch, after, cutAt)
        }
    }

    public init(
        snapshot: SnapshotID, name: String, volume: VolumeID, incarnation: Incarnation, lineage: String,
        claim: VolumeRecord.Claim?, capacityBytes: UInt64, createdAt: Date, generation: GenerationReference?,
        delivery: Delivery?, deletedAt: Date? = nil
    ) {
        self.snapshot = snapshot
        self.name = name
        self.volume = volume
        self.incarnation = incarnation
        self.lineage = lineage
        self.claim = claim
        self.capacityBytes = capacityBytes
        self.createdAt = createdAt
        self.generation = generation
        self.delivery = delivery
        self.deletedAt = deletedAt
    }

    public var isReady: Bool { delivery == nil }
    /// How people know what it is of.
    public var sourceTitle: String { claim?.description ?? volume.rawValue }
}

extension SnapshotRecord: PlacedRecord {
    func isAt(_ key: ObjectKey) -> Bool { (try? CatalogKey.snapshot(snapshot)) == key }
}
