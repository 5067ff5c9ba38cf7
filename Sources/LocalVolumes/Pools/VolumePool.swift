import Errors
import SystemPackage

/// The node-local storage that local copies are carved from.
///
/// A pool keeps its own books durably: after a kill at any point, `recover` finds every local copy again. It never
/// touches what it did not make. Calls for different volumes run side by side; calls for one volume come one after the
/// other (its state machine sees to that), and a pool may rely on it. All throw `PerSSDError`.
public protocol VolumePool: Sendable {
    /// As the configuration names it.
    var name: String { get }
    /// For people: "images in /var/lib/perssd/pool".
    var location: String { get }
    /// Whether `cut` makes a copy-on-write snapshot at once, so that the volume can be written again before the cut has
    /// been staged out.
    var cutsAreInstant: Bool { get }

    /// Whether `cut` freezes a mounted file system by itself, for no longer than it has to. What somebody else has frozen it
    /// cuts only where `requireFrozenCuts` says so.
    var cutsFreeze: Bool { get }

    /// Copies that `recover` found and could not make sense of. They are left alone.
    var damagedCopies: [DamagedCopy] { get }

    func usage() async throws -> PoolUsage

    /// Fails, saying why, where the pool cannot be used: for Probe.
    func check() async throws

    /// Looks how much room there really is, whoever took it, and lets bases go where it is too little.
    ///
    /// - Returns: what is short all the same, and what to do; nil where what is written has room.
    func shortage() async throws -> PerSSDError?

    /// Finds what is there after a start: local copies with their records and devices. What a kill left half made, and
    /// no record calls a local copy (a temporary file, a loop device without one, a cut nobody wants), is removed.
    func recover() async throws -> [LocalCopy]

    /// Makes a local copy, all zeros, with `record` durable beside it.
    ///
    /// - Throws: `resourceExhausted`, with the sizes, where the pool lacks room; `alreadyExists` where the volume has one.
    func create(_ record: CopyRecord) async throws -> LocalCopy

    /// Makes a changed record durable.
    func save(_ record: CopyRecord) async throws

    /// Detaches and removes a local copy with all its cuts; fine where there is none. `failedPrecondition` where it is
    /// mounted or open.
    func remove(_ volume: String) async throws

    /// Grows a local copy and its device.
    func resize(_ volume: String, toBytes: UInt64) async throws

    /// The block device of a local copy, made now if need be; the same one for as long as it is attached.
    func attach(_ volume: String) async throws -> FilePath

    /// Lets the device go; fine where it is not attached, `failedPrecondition` where it is mounted or open.
    func detach(_ volume: String) async throws

    /// How full the pool is by what was written; nil where it is no thin pool.
    func fill() async throws -> ThinPoolFill?

    /// That `cut` may be called of what is frozen, so that several volumes stand still until the last of them is cut.
    ///
    /// - Throws: `failedPrecondition`, with why not, and what to do.
    func requireFrozenCuts() throws

    /// Does before what the next `cut` would do else while the volume, and others, stand still.
    func prepareCut(_ volume: String) async throws

    /// Cuts an unchanging picture of the copy as it is now. The file system on it is unmounted, or frozen until this
    /// returns (see `cutsFreeze`). Where cuts are not instant, the copy itself is the picture, and has to stay unwritten
    /// until the cut is kept or discarded.
    func cut(_ volume: String) async throws -> Cut

    /// A cut that a kill left behind, to go on staging it out; nil where there is none.
    func pendingCut(_ volume: String) async throws -> Cut?

    /// Lets a cut go that a kill, or a failure, left behind; fine where there is none. One that a loss of power has left in the
    /// books alone goes, too.
    func discardPendingCut(_ volume: String) async throws

    /// Which parts of the cut may differ from the base kept for generation `generation`; nil where nobody can tell.
    func changes(in cut: Cut, since generation: UInt64) async throws -> [Range<UInt64>]?

    /// Which parts of the cut may hold anything but zeros, ascending and apart; nil where nobody can tell.
    func allocatedRanges(of cut: Cut) async throws -> [Range<UInt64>]?

    /// What holds exactly `generation`, to be read and compared with; nil where no base is kept for it. It may go at any
    /// time, as a pool that gets short of room lets bases go; who has opened it can read it to the end.
    func base(of volume: String, for generation: UInt64) async throws -> FilePath?

    /// The cut has been committed as `generation`: what later cuts are compared with. Older bases go.
    func keep(_ cut: Cut, asBaseFor generation: UInt64) async throws

    /// The copy itself, just restored and verified, is `generation`: what later cuts are compared with.
    func keepCopy(_ volume: String, asBaseFor generation: UInt64) async throws

    /// The cut is not wanted any more.
    func discard(_ cut: Cut) async throws
}

extension VolumePool {
    public var cutsFreeze: Bool { false }

    public func fill() async throws -> ThinPoolFill? { nil }

    public func requireFrozenCuts() throws {}

    public func prepareCut(_ volume: String) async throws {}

    public func allocatedRanges(of cut: Cut) async throws -> [Range<UInt64>]? { nil }

    public func discardPendingCut(_ volume: String) async throws {
        if let cut = try await pendingCut(volume) { try await discard(cut) }
    }
}

public struct PoolUsage: Sendable, Equatable {
    /// What the pool may hand out in all, in bytes of volume capacity.
    public var totalBytes: UInt64
    /// What no local copy has been promised.
    public var freeBytes: UInt64

    public init(totalBytes: UInt64, freeBytes: UInt64) {
        (self.totalBytes, self.freeBytes) = (totalBytes, freeBytes)
    }
}

/// How full a thin pool is, each from 0 to 1: at 1 writes fail, whatever has been promised.
public struct ThinPoolFill: Sendable, Equatable {
    public var data: Double
    public var metadata: Double
}

/// A local copy as its pool knows it.
public struct LocalCopy: Sendable, Equatable {
    public var record: CopyRecord
    /// Its block device, while it is attached.
    public var device: FilePath?

    public init(record: CopyRecord, device: FilePath?) { (self.record, self.device) = (record, device) }
}

/// A local copy that cannot be used, and is left as it is.
public struct DamagedCopy: Sendable {
    public var volume: String
    public var error: PerSSDError
}

/// An unchanging picture of a local copy.
public struct Cut: Sendable, Equatable {
    public var volume: String
    /// The image file or device to read.
    public var path: FilePath
    /// Whether the copy may be written while this cut lives.
    public var isIndependent: Bool

    public init(volume: String, path: FilePath, isIndependent: Bool) {
        (self.volume, self.path, self.isIndependent) = (volume, path, isIndependent)
    }
}
