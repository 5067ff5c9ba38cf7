import Digests
import Errors
import Synchronization

/// What a verification found.
public struct VerifyResult: Sendable {
    /// One error for each thing that is not what was written, naming the object, its bytes and the blocks of the volume
    /// that hang on it; empty where all is well. Ends after `VerifyMap.maximumFindings`.
    public var findings: [PerSSDError]
    /// Blocks that cannot be restored.
    public var damagedBlocks: [Range<UInt64>]
    public var statistics: TransferStatistics

    public var isSound: Bool { findings.isEmpty }
}

/// Reads again and hashes again all that a root reaches: every map node, every block, and the frame of every pack.
public struct VerifyMap: Sendable {
    public static let maximumFindings = 1000

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

    /// Goes on past what is damaged, so that all of it is told of.
    ///
    /// - Throws: `cancelled`, and where the store itself cannot be asked what the store throws; damage is no error here.
    public func run(_ root: MapRoot) async throws -> VerifyResult {
        try options.validate()
        do {
            return try await VerifyRun(root: root, store: store, lineage: lineage, options: options, meter: meter).run()
        } catch is CancellationError {
            throw PerSSDError(.cancelled, "the verification was cancelled")
        }
    }
}

private final class VerifyRun: Sendable {
    private struct Findings {
        var errors: [PerSSDError] = []
        var blocks: [Range<UInt64>] = []
        var packs: Set<PackID> = []
    }

    private let root: MapRoot
    private let nodes: MapNodeReader
    private let fetcher: BlockFetcher
    private let meter: TransferMeter
    private let findings = Mutex(Findings())

    init(root: MapRoot, store: any ObjectStore, lineage: String, options: RestoreOptions, meter: TransferMeter) {
        self.root = root
        self.meter = meter
        let pieces = PieceReader(store: store, lineage: lineage, meter: meter)
        nodes = MapNodeReader(pieces: pieces)
        let blockBytes = root.blockSize.bytes
        fetcher = BlockFetcher(
            pieces: pieces, blockSize: root.blockSize,
            benches: WorkBenches(
                count: TransferMemory.workers(options.workers, blockBytes: blockBytes, level: nil),
                plainBytes: blockBytes, scratchBytes: BlockPatch.maximumLength(root.blockSize)),
            fetches: AsyncLimiter(options.fetches))
    }

    func run() async throws -> VerifyResult {
        meter.expect(root.allocatedBytes)
        if let top = root.top { try await visit(top, at: root.topPlace) }
        let (errors, blocks) = findings.withLock { ($0.errors, $0.blocks) }
        return VerifyResult(
            findings: errors, damagedBlocks: BlockRanges(blocks).ranges, statistics: meter.statistics)
    }

    private func visit(_ pointer: NodePointer, at place: MapNodeCoding.Place) async throws {
        try Task.checkCancellation()
        try await checkFrame(of: pointer.piece.pack, for: place.blocks)
        do {
            if place.level == 0 {
                try await verify(try await nodes.leaf(pointer, at: place), at: place)
            } else {
                try await visitChildren(of: try await nodes.inner(pointer, at: place), at: place)
            }
        } catch let error as PerSSDError where Self.isDamage(error) {
            note(error, blocks: place.blocks)
            meter.done(pointer.totals.blocks << UInt64(root.blockSize.log2))
        }
    }

    private func visitChildren(of node: InnerNode, at place: MapNodeCoding.Place) async throws {
        let leavesAtOnce = 8
        try await withThrowingTaskGroup(of: Void.self) { group in
            var running = 0
            for entry in node.entries {
                let index = place.index << UInt64(place.geometry.fanOutLog2) + UInt64(entry.slot)
                let child = MapNodeCoding.Place(geometry: place.geometry, level: place.level - 1, index: index)
                guard child.level == 0 else {
                    try await visit(entry.child, at: child)
                    continue
                }
                if running == leavesAtOnce {
                    try await group.next()
                    running -= 1
                }
                group.addTask { try await self.visit(entry.child, at: child) }
                running += 1
            }
            try await group.waitForAll()
        }
    }

    private func verify(_ leaf: LeafNode, at place: MapNodeCoding.Place) async throws {
        let blocks = leaf.entries.map {
            FetchBatch.Block(number: place.blocks.lowerBound + UInt64($0.slot), entry: $0.block)
        }
        for pack in Set(blocks.flatMap { $0.entry.pieces.map(\.pack) }) {
            let extent = place.blocks
            try await checkFrame(of: pack, for: extent)
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for batch in FetchPlan.batches(blocks) { group.addTask { try await self.verify(batch) } }
            try await group.waitForAll()
        }
    }

    private func verify(_ batch: FetchBatch) async throws {
        do {
            try await fetcher.fetch(batch) { _, _ in }
            count(batch.blocks.count)
        } catch let error as PerSSDError where Self.isDamage(error) {
            // Something in it is damaged: block by block shows what, and that the rest is well.
            for block in batch.blocks {
                do {
                    for alone in FetchPlan.batches([block]) { try await fetcher.fetch(alone) { _, _ in } }
                } catch let error as PerSSDError where Self.isDamage(error) {
                    note(error, blocks: block.number..<block.number + 1)
                }
                count(1)
            }
        }
    }

    private func count(_ blocks: Int) {
        let bytes = UInt64(blocks) << UInt64(root.blockSize.log2)
        meter.done(bytes)
        meter.count {
            $0.readBytes += bytes
            $0.blocksExamined += UInt64(blocks)
        }
    }

    /// Header, index and footer of a pack, once for each.
    private func checkFrame(of pack: PackID, for blocks: Range<UInt64>) async throws {
        guard findings.withLock({ $0.packs.insert(pack).inserted }) else { return }
        do {
            _ = try await PackReader(pieces: nodes.pieces).entries(of: pack, for: blocks)
        } catch let error as PerSSDError where Self.isDamage(error) {
            note(error, blocks: 0..<0)
        }
    }

    private func note(_ error: PerSSDError, blocks: Range<UInt64>) {
        findings.withLock {
            if $0.errors.count < VerifyMap.maximumFindings { $0.errors.append(error) }
            $0.blocks.append(blocks)
        }
    }

    private static func isDamage(_ error: PerSSDError) -> Bool { error.code == .corrupt || error.code == .unsupported }
}
