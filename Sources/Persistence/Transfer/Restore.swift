import Errors
import Foundation

/// How restores and verifications are done; the defaults are right for nearly everyone.
public struct RestoreOptions: Sendable {
    /// Threads that decompress, verify and write.
    public var workers: Int
    /// Reads of the store under way at once, each of 4 MiB at most.
    public var fetches: Int

    public init(workers: Int = StageOutOptions.standardWorkers, fetches: Int = 12) {
        self.workers = workers
        self.fetches = fetches
    }

    func validate() throws {
        guard workers >= 1, (1...24).contains(fetches) else {
            throw PerSSDError(
                .invalidArgument, "\(workers) workers and \(fetches) fetches at once are not possible",
                remedy: "choose one worker or more, and 1 to 24 fetches")
        }
    }
}

/// What a sink holds before a restore.
public enum SinkContents: Sendable {
    /// Anything: what is zeros in the volume is made zero.
    case unknown
    /// Zeros from end to end, as a new image has: they are left alone.
    case zeros
    /// Exactly what this root names, and anything past its capacity: only blocks that differ are fetched.
    case map(MapRoot)
}

/// Brings a device to the contents that a root names.
public struct Restore: Sendable {
    private let store: any ObjectStore
    private let lineage: String
    private let options: RestoreOptions
    /// Progress and numbers while it runs.
    public let meter: TransferMeter

    public init(
        store: any ObjectStore, lineage: String, options: RestoreOptions = RestoreOptions(),
        meter: TransferMeter = TransferMeter()
    ) {
        self.store = store
        self.lineage = lineage
        self.options = options
        self.meter = meter
    }

    /// Makes `sink` hold what `root` names, and zeros past the capacity of `root`. When it returns, every block that was
    /// fetched has been verified, and all is on stable storage.
    ///
    /// - Parameter have: what the sink holds; a map of another block size counts as `unknown`.
    /// - Throws: `outOfRange` where the sink is too small; `corrupt` or `unsupported`, naming object, bytes and blocks, where
    ///   the store has not what was written; `cancelled`; what store and sink throw. What the sink holds is then
    ///   undefined: it must not be used before another restore, with `unknown`, has succeeded.
    @discardableResult
    public func run(_ root: MapRoot, to sink: any BlockSink, have: SinkContents) async throws -> TransferStatistics {
        try options.validate()
        guard sink.sizeBytes >= root.capacityBytes else {
            throw PerSSDError(
                .outOfRange, "a volume of \(root.capacityBytes) bytes does not fit a device of \(sink.sizeBytes)",
                remedy: "restore to a device of the volume's size or larger")
        }
        do {
            try await RestoreRun(
                root: root, sink: sink, have: have, store: store, lineage: lineage, options: options, meter: meter
            ).run()
        } catch is CancellationError {
            throw PerSSDError(.cancelled, "the restore was cancelled")
        }
        return meter.statistics
    }
}

private struct RestoreRun: Sendable {
    let root: MapRoot
    let sink: any BlockSink
    let baseline: MapBaseline
    /// What the sink may hold past the end of the volume, or of the map it has, is made zero.
    let tail: Range<UInt64>
    let fetcher: BlockFetcher
    /// What the sink holds, where that can be read and may be of use.
    let held: HeldBlocks?
    let meter: TransferMeter

    init(
        root: MapRoot, sink: any BlockSink, have: SinkContents, store: any ObjectStore, lineage: String,
        options: RestoreOptions, meter: TransferMeter
    ) {
        self.root = root
        self.sink = sink
        self.meter = meter
        switch have {
        case .zeros: (baseline, tail) = (.zeros, 0..<0)
        case .map(let map)
        where map.blockSize == root.blockSize && map.geometry.fanOutLog2 == root.geometry.fanOutLog2
            && map.capacityBytes <= sink.sizeBytes:
            (baseline, tail) = (.map(map), map.capacityBytes..<sink.sizeBytes)
        case .unknown, .map: (baseline, tail) = (.unknown, root.capacityBytes..<sink.sizeBytes)
        }
        let blockBytes = root.blockSize.bytes
        if case .map = baseline, let sink = sink as? any ReadableBlockSink {
            held = HeldBlocks(sink: sink, blockSize: root.blockSize)
        } else {
            held = nil
        }
        fetcher = BlockFetcher(
            pieces: PieceReader(store: store, lineage: lineage, meter: meter), blockSize: root.blockSize,
            benches: WorkBenches(
                count: TransferMemory.workers(options.workers, blockBytes: blockBytes, level: nil),
                plainBytes: blockBytes, scratchBytes: BlockPatch.maximumLength(root.blockSize)),
            fetches: AsyncLimiter(options.fetches), held: held?.read)
    }

    func run() async throws {
        let walk = try MapWalk(root, since: baseline, nodes: MapNodeReader(pieces: fetcher.pieces))
        switch baseline {
        case .unknown, .zeros: meter.expect(root.allocatedBytes)
        case .map: break
        }
        if !tail.isEmpty { try await zero(tail) }
        try await walk.run { try await restore($0) }
        try await fetcher.benches.run { [sink] _ in try sink.flush() }
    }

    private func restore(_ stretch: MapStretch) async throws {
        switch stretch {
        case .zeros(let blocks): try await zero(blocks: blocks)
        case .leaf(let place, let new, let old):
            let changes = new.changes(since: old, at: place, within: place.blocks)
            var zeroed = changes.zeroed
            if case .unknown = baseline { zeroed = new.gaps(at: place, within: place.blocks) }
            var wanted = changes.written.map { FetchBatch.Block(number: $0.block, entry: $0.entry) }
            if let held { wanted = try await held.find(wanted, old, at: place, benches: fetcher.benches) }
            let batches = FetchPlan.batches(wanted)
            // How much differs from another map shows on the way; all else is known from the start.
            if case .map = baseline { meter.expect(UInt64(changes.written.count) << UInt64(root.blockSize.log2)) }
            for blocks in zeroed { try await zero(blocks: blocks) }
            try await withThrowingTaskGroup(of: Void.self) { group in
                for batch in batches { group.addTask { try await fetcher.fetch(batch, deliver: write) } }
                try await group.waitForAll()
            }
        }
    }

    private func write(_ block: UInt64, _ plain: UnsafeRawBufferPointer) throws {
        // Past the volume's end a block holds zeros, which a larger device has to hold too.
        let offset = block << UInt64(root.blockSize.log2)
        let count = Int(min(UInt64(plain.count), sink.sizeBytes - offset))
        try sink.write(at: offset, from: UnsafeRawBufferPointer(rebasing: plain[..<count]))
        meter.done(UInt64(plain.count))
        meter.count {
            $0.blocksChanged += 1
            $0.writtenBytes += UInt64(count)
            $0.readBytes += UInt64(plain.count)
        }
    }

    private func zero(blocks: Range<UInt64>) async throws {
        let shift = UInt64(root.blockSize.log2)
        // Where the map that the sink has is larger than the volume, its blocks reach past the volume's end.
        try await zero((blocks.lowerBound << shift)..<min(blocks.upperBound << shift, sink.sizeBytes))
    }

    private func zero(_ bytes: Range<UInt64>) async throws {
        try await fetcher.benches.run { [sink] _ in try sink.zero(bytes) }
        meter.count { $0.zeroedBytes += UInt64(bytes.count) }
    }
}
