import Errors
import Foundation

/// `volumes/<volume>/volume.json`: what a volume is. Written once for each incarnation; an expansion
/// raises the capacity, and a modification changes parameters.
public struct VolumeRecord: Record, Equatable {
    static let format = "perssd-volume"
    static let currentVersion = 1

    public var volume: VolumeID
    public var incarnation: Incarnation
    /// The set of volumes and snapshots whose blocks share packs; 32 hexadecimal digits.
    public var lineage: String
    /// The name it was created by, which its id is derived from.
    public var name: String
    public var capacityBytes: UInt64
    public var parameters: VolumeParameters
    /// The claim it was made for, where the provisioner tells.
    public var claim: Claim?
    /// What it began as, where it did not begin empty. Not in records of volumes that did.
    public var origin: Origin?
    public var createdAt: Date
    /// When its parameters were last changed; nil where they are as it was made.
    public var modifiedAt: Date?
    /// Set where the volume is deleted: what is left is the memory that this incarnation is over.
    public var deletedAt: Date?

    /// A PersistentVolumeClaim.
    public struct Claim: Sendable, Codable, Hashable, CustomStringConvertible {
        public var namespace: String
        public var name: String
        public init(namespace: String, name: String) { (self.namespace, self.name) = (namespace, name) }
        public var description: String { "\(namespace)/\(name)" }
    }

    /// What a clone was made of, and the generation that its head began at.
    public struct Origin: Sendable, Codable, Hashable {
        public var source: CloneSource
        /// nil where the source had never been written: the clone began empty, too.
        public var generation: GenerationReference?

        public init(source: CloneSource, generation: GenerationReference?) {
            (self.source, self.generation) = (source, generation)
        }
    }

    public init(
        volume: VolumeID, incarnation: Incarnation, lineage: String, name: String, capacityBytes: UInt64,
        parameters: VolumeParameters, claim: Claim?, origin: Origin? = nil, createdAt: Date, deletedAt: Date? = nil
    ) {
        self.volume = volume
        self.incarnation = incarnation
        self.lineage = lineage
        self.name = name
        self.capacityBytes = capacityBytes
        self.parameters = parameters
        self.claim = claim
        self.origin = origin
        self.createdAt = createdAt
        self.deletedAt = deletedAt
    }

    /// How people know it: by its claim where there is one, else by its name.
    public var title: String { claim?.description ?? name }
}

/// Sizes that volumes come in.
public enum VolumeSize {
    /// Capacities are multiples of this, which is a whole number of blocks of any size, and LVM's default extent.
    public static let granule: UInt64 = 4 << 20
    /// What a volume has where nobody says.
    public static let `default`: UInt64 = 1 << 30
    /// The largest: beyond it ext4 with 4 KiB blocks and a block map of four levels end.
    public static let largest: UInt64 = 16 << 40

    /// The smallest capacity that satisfies both bounds, each 0 where it is not set.
    ///
    /// - Throws: `invalidArgument` for negative bounds; `outOfRange` where no multiple of `granule` lies between them.
    public static func choose(required: Int64, limit: Int64) throws -> UInt64 {
        try checkBounds(required, limit)
        let wanted = required > 0 ? UInt64(required) : limit > 0 ? min(Self.default, UInt64(limit)) : Self.default
        guard wanted <= largest else {
            throw PerSSDError(.outOfRange, "\(wanted) bytes is more than the largest volume, \(largest) bytes")
        }
        var capacity = (wanted + granule - 1) / granule * granule
        if required == 0, limit > 0, capacity > UInt64(limit) { capacity -= granule }
        guard capacity > 0, limit == 0 || capacity <= UInt64(limit) else {
            throw PerSSDError(
                .outOfRange, "no multiple of \(granule) bytes lies between \(required) and \(limit)",
                remedy: "raise limit_bytes: volumes come in multiples of 4 MiB")
        }
        return capacity
    }

    /// The capacity that a volume of `current` bytes has to be brought to: what it has, where that is enough.
    ///
    /// - Throws: `invalidArgument` for negative bounds; `outOfRange` where the volume is larger than the limit, as none
    ///   shrinks, and where `choose` finds no size.
    public static func grow(_ current: UInt64, required: Int64, limit: Int64) throws -> UInt64 {
        try checkBounds(required, limit)
        guard limit == 0 || current <= UInt64(limit) else {
            throw PerSSDError(
                .outOfRange,
                "limit_bytes is \(limit), and the volume has \(current) bytes already: volumes do not shrink",
                remedy: "make a smaller volume, and copy the files")
        }
        return UInt64(required) <= current ? current : try choose(required: required, limit: limit)
    }

    private static func checkBounds(_ required: Int64, _ limit: Int64) throws {
        guard required >= 0, limit >= 0 else {
            throw PerSSDError(
                .invalidArgument, "capacity_range has required_bytes \(required) and limit_bytes \(limit)",
                remedy: "give sizes that are not negative")
        }
        guard limit == 0 || required <= limit else {
            throw PerSSDError(
                .outOfRange, "limit_bytes \(limit) is below required_bytes \(required)",
                remedy: "raise limit_bytes, or lower required_bytes")
        }
    }
}
