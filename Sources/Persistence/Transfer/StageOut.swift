import Digests
import Errors
import Foundation

/// How stage-outs are done; the defaults are right for nearly everyone.
public struct StageOutOptions: Sendable {
    /// Of a volume that has no parent generation; else it has to be the parent's.
    public var blockSize: BlockSize
    /// Of zstd: 1 (fast) to 19 (small).
    public var compressionLevel: Int
    /// Packs are made about this large.
    public var packBytes: Int
    /// Packs in memory at once: one that fills, the others on their way. Fewer where they would take too much memory.
    public var packsInMemory: Int
    /// Threads that read, hash and compress. Fewer where they would take too much memory.
    public var workers: Int
    /// Of a volume that has no parent generation; else the parent's is used.
    public var fanOutLog2: UInt8
    /// Holds the sending back; nil for nothing.
    public var pacer: Pacer?

    public init(
        blockSize: BlockSize = .standard, compressionLevel: Int = 1, packBytes: Int = 32 << 20, packsInMemory: Int = 4,
        workers: Int = StageOutOptions.standardWorkers, fanOutLog2: UInt8 = MapGeometry.standardFanOutLog2,
        pacer: Pacer? = nil
    ) {
        self.blockSize = blockSize
        self.compressionLevel = compressionLevel
        self.packBytes = packBytes
        self.packsInMemory = packsInMemory
        self.workers = workers
        self.fanOutLog2 = fanOutLog2
        self.pacer = pacer
    }

    /// Two more than cores, so that a core computes while a device is read.
    public static var standardWorkers: Int { min(ProcessInfo.processInfo.activeProcessorCount + 2, 16) }
}

/// What a stage-out made: the new contents, all of it in the store, and what it took.
public struct StageOutResult: Sendable {
    /// The parent's root itself where nothing changed.
    public var root: MapRoot
    /// What was written for it: until the generation's record is there, nothing else says that they are wanted.
    public var packs: [PackID]
    public var statistics: TransferStatistics
}

/// Brings what changed on a volume into the store, as blocks and a block map. Which generation that is, and who may commit
/// it, is the catalog's business: before its root is in a record, all this wrote is garbage.
public struct StageOut: Sendable {
    private let store: any ObjectStore
    private let lineage: String
    private let options: StageOutOptions
    /// Progress and numbers while it runs.
    public let meter: TransferMeter

    public init(
        store: any ObjectStore, lineage: String, options: StageOutOptions = StageOutOptions(),
        meter: TransferMeter = TransferMeter()
    ) {
        self.store = store
        self.lineage = lineage
        self.options = options
        self.meter = meter
    }

    /// Reads what changed, stores what is new, and returns when all of it is confirmed by the store.
    ///
    /// Memory stays below 256 MiB whatever the size of the volume. Where nothing changed, nothing is written; with
    /// `.only([])` and the parent's capacity, the store is not even asked.
    ///
    /// - Parameters:
    ///   - source: the cut to read; nobody writes it meanwhile.
    ///   - changed: for `.only`, everything outside is as in `parent` (zeros where there is none). What lies past the end of
    ///     the parent's capacity is looked at in any case.
    ///   - parent: the generation the volume stood at; nil for its first.
    ///   - base: what holds exactly `parent`, where there is such a thing: changed blocks may then be stored as patches.
    /// - Throws: `invalidArgument` where source, parent and options do not fit together; `corrupt` or `unsupported`
    ///   where the parent's map cannot be used; `cancelled`; what source and store throw. What was stored by then is
    ///   garbage; another try is always right.
    public func run(
        source: any BlockSource, changed: ChangedRanges, parent: MapRoot?, base: (any BlockSource)? = nil
    ) async throws -> StageOutResult {
        let geometry = try geometry(source: source, parent: parent)
        let plan = try StageOutPlan(geometry: geometry, source: source, changed: changed, parent: parent)
        if plan.examined.isEmpty, plan.keepsRest, let parent, parent.geometry == geometry {
            return StageOutResult(root: parent, packs: [], statistics: meter.statistics)
        }
        do {
            let (top, packs) = try await MapUpdate.run(
                plan: plan, source: source, base: base, store: store, lineage: lineage, options: options, meter: meter)
            let root = MapRoot(geometry: geometry, top: top)
            return StageOutResult(root: root, packs: packs, statistics: meter.statistics)
        } catch is CancellationError {
            throw PerSSDError(.cancelled, "the stage-out was cancelled")
        }
    }

    private func geometry(source: any BlockSource, parent: MapRoot?) throws -> MapGeometry {
        guard (1 << 20...64 << 20).contains(options.packBytes), options.packsInMemory >= 2, options.workers >= 1 else {
            throw PerSSDError(
                .invalidArgument,
                "a stage-out cannot have packs of \(options.packBytes) bytes, \(options.packsInMemory) of them in memory, "
                    + "and \(options.workers) workers",
                remedy: "choose packs of 1 to 64 MiB, two or more in memory, and one worker or more")
        }
        guard let parent else {
            return try MapGeometry(
                blockSize: options.blockSize, capacityBytes: source.sizeBytes, fanOutLog2: options.fanOutLog2)
        }
        guard parent.blockSize == options.blockSize else {
            throw PerSSDError(
                .invalidArgument,
                "the volume has blocks of \(parent.blockSize), and cannot be staged out in blocks of \(options.blockSize)",
                remedy: "use the block size that the volume was created with")
        }
        guard parent.capacityBytes <= source.sizeBytes else {
            throw PerSSDError(
                .invalidArgument,
                "the device has \(source.sizeBytes) bytes, and its parent generation \(parent.capacityBytes)",
                remedy: "a volume cannot shrink; restore the generation to a device that is large enough")
        }
        return try MapGeometry(
            blockSize: parent.blockSize, capacityBytes: source.sizeBytes, fanOutLog2: parent.geometry.fanOutLog2)
    }
}

/// Which blocks a stage-out looks at, and what becomes of the others.
struct StageOutPlan: Sendable {
    let geometry: MapGeometry
    let parent: MapRoot?
    /// The blocks to read.
    let examined: BlockRanges
    /// Whether the others stay as in the parent; else they are zeros.
    let keepsRest: Bool

    init(geometry: MapGeometry, source: any BlockSource, changed: ChangedRanges, parent: MapRoot?) throws {
        self.geometry = geometry
        self.parent = parent
        let whole = 0..<geometry.capacityBytes
        switch changed {
        case .unknown:
            keepsRest = false
            examined = BlockRanges(
                try source.allocatedRanges().map { geometry.blocks(touching: $0.clamped(to: whole)) })
        case .only(let ranges):
            keepsRest = true
            for range in ranges where range.upperBound > geometry.capacityBytes {
                throw PerSSDError(
                    .invalidArgument,
                    "changed bytes \(range.lowerBound) to \(range.upperBound) lie past the end of a device of "
                        + "\(geometry.capacityBytes) bytes")
            }
            var parts = ranges.map { geometry.blocks(touching: $0) }
            let known = parent?.capacityBytes ?? geometry.capacityBytes
            if known < geometry.capacityBytes {
                let grown = known..<geometry.capacityBytes
                parts += try source.allocatedRanges().map { geometry.blocks(touching: $0.clamped(to: grown)) }
            }
            examined = BlockRanges(parts)
        }
    }
}
