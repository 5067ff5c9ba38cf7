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
