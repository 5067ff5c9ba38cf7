import Digests
import Errors
import Foundation

/// `volumes/<volume>/generations/<incarnation>/<n>.json`: an immutable, committed state of a volume.
///
/// The record alone commits nothing: a generation is committed when a head names it, with its digest.
public struct GenerationRecord: Record, Equatable {
    static let format = "perssd-generation"
    static let currentVersion = 1

    public var volume: VolumeID
    public var incarnation: Incarnation
    public var lineage: String
    /// From 1 up.
    public var number: UInt64
    /// What it was made from; nil for a volume's first generation. By naming its digest the history is a chain.
    public var parent: GenerationReference?
    /// The epoch of the lease under which it was written.
    public var epoch: UInt64
    /// What the volume holds.
    public var map: MapRoot
    public var provenance: Provenance

    public init(
        volume: VolumeID, incarnation: Incarnation, lineage: String, number: UInt64, parent: GenerationReference?,
        epoch: UInt64, map: MapRoot, provenance: Provenance
    ) {
        self.volume = volume
        self.incarnation = incarnation
        self.lineage = lineage
        self.number = number
        self.parent = parent
        self.epoch = epoch
        self.map = map
        self.provenance = provenance
    }
}

/// Where a generation comes from, and what making it took.
public struct Provenance: Sendable, Codable, Equatable {
    public var node: NodeReference
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

    public init(
        node: NodeReference, cutAt: Date, stagedOutAt: Date, readBytes: UInt64, changedBytes: UInt64, sentBytes: UInt64
    ) {
        self.node = node
        self.cutAt = cutAt
        self.stagedOutAt = stagedOutAt
        self.readBytes = readBytes
        self.changedBytes = changedBytes
        self.sentBytes = sentBytes
    }
}
