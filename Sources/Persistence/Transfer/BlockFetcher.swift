import Digests
import Errors
import Glibc

/// Blocks to fetch together, and the ranges of packs that hold their pieces.
struct FetchBatch: Sendable {
    struct Block: Sendable {
        var number: UInt64
        var entry: BlockEntry
        /// How many of the entry's patches are in what the sink holds of the block; nil where it holds nothing of use.
        var held: Int?

        /// What has to be read to have the block.
        var pieces: [Piece] { held.map { Array(entry.patches[$0...]) } ?? entry.pieces }
    }
    struct PackRange: Sendable, Hashable {
        var pack: PackID
        var range: Range<UInt64>
    }
    var blocks: [Block]
    var ranges: [PackRange]

    /// What of the volume it is about.
    var extent: Range<UInt64> {
        let numbers = blocks.map(\.number)
        return (numbers.min() ?? 0)..<(numbers.max().map { $0 + 1 } ?? 0)
    }
}

/// Turns blocks into few, long reads of packs.
enum FetchPlan {
    /// A read is this long at most, unless one piece is longer.
    static let maximumRead: UInt64 = 4 << 20
    /// Bytes nobody asked for that are read along, rather than making another request.
    static let tolerableGap: UInt64 = 128 << 10

    /// Blocks that are stored whole, and those that a patch brings up to date, are taken in the order of their packs, so that
    /// what lies together is read at once; those of which a base and patches are needed in the order of the volume.
    static func batches(_ blocks: [FetchBatch.Block]) -> [FetchBatch] {
        let whole = blocks.filter { $0.entry.patches.isEmpty }
        let held = blocks.filter { $0.held != nil }
        let patched = blocks.filter { !$0.entry.patches.isEmpty && $0.held == nil }
        return group(byPack(whole)) + group(byPack(held)) + group(patched)
    }

    private static func byPack(_ blocks: [FetchBatch.Block]) -> [FetchBatch.Block] {
        blocks.sorted { a, b in
            guard let a = a.pieces.last, let b = b.pieces.last else { return false }
            return a.pack == b.pack ? a.offset < b.offset : a.pack.precedes(b.pack)
        }
    }

    private static func group(_ blocks: [FetchBatch.Block]) -> [FetchBatch] {
        var batches: [FetchBatch] = []
        var current = FetchBatch(blocks: [], ranges: [])
        for block in blocks {
            let ranges = coalesce(current.ranges + block.pieces.map { .init(pack: $0.pack, range: $0.range) })
            let total = ranges.reduce(0) { $0 + UInt64($1.range.count) }
            if !current.blocks.isEmpty, total > maximumRead || ranges.count > 8 {
                batches.append(current)
                current = FetchBatch(
                    blocks: [block],
                    ranges: coalesce(block.pieces.map { .init(pack: $0.pack, range: $0.range) }))
            } else {
                current.blocks.append(block)
                current.ranges = ranges
            }
        }
        if !current.blocks.isEmpty { batches.append(current) }
        return batches
    }

    private static func coalesce(_ ranges: [FetchBatch.PackRange]) -> [FetchBatch.PackRange] {
        let sorted = ranges.sorted { a, b in
            a.pack == b.pack ? a.range.lowerBound < b.range.lowerBound : a.pack.precedes(b.pack)
        }
        return sorted.reduce(into: []) { merged, next in
            if let last = merged.last, last.pack == next.pack,
                next.range.lowerBound <= last.range.upperBound + tolerableGap,
                max(last.range.upperBound, next.range.upperBound) - last.range.lowerBound <= maximumRead
            {
                merged[merged.count - 1].range =
                    last.range.lowerBound..<max(last.range.upperBound, next.range.upperBound)
            } else {
                merged.append(next)
            }
        }
    }
}

/// Fetches blocks, makes them plain, verifies them, and hands each over on a worker thread.
struct BlockFetcher: Sendable {
    let pieces: PieceReader
    let blockSize: BlockSize
    let benches: WorkBenches
    let fetches: AsyncLimiter
    /// Reads what the sink holds of a block; for blocks that say so.
    var held: (@Sendable (UInt64, UnsafeMutableRawBufferPointer) throws -> Void)?

    /// Brings the plain bytes of a batch's blocks to `deliver`, in no certain order. The bytes are good while it runs, page
    /// aligned, and verified against the block's digest.
    func fetch(
        _ batch: FetchBatch, deliver: @escaping @Sendable (UInt64, UnsafeRawBufferPointer) throws -> Void
    ) async throws {
        try await fetches.run {
            let fetched = try await read(batch)
            // Each worker takes a share, so that one batch is enough to keep a few of them busy.
            let share = max(1, (1 << 20) / blockSize.bytes)
            try await withThrowingTaskGroup(of: Void.self) { group in
                for start in stride(from: 0, to: batch.blocks.count, by: share) {
                    let blocks = batch.blocks[start..<min(start + share, batch.blocks.count)]
                    group.addTask {
                        try await benches.run { bench in
                            for block in blocks {
                                let plain = try decode(block, from: fetched, on: bench)
                                try deliver(block.number, plain)
                            }
                        }
                    }
                }
                try await group.waitForAll()
            }
        }
    }

    private struct Fetched: Sendable {
        var parts: [(source: FetchBatch.PackRange, bytes: [UInt8])] = []
    }

    private func read(_ batch: FetchBatch) async throws -> Fetched {
        try await withThrowingTaskGroup(of: (FetchBatch.PackRange, [UInt8]).self) { group in
            let extent = batch.extent
            for range in batch.ranges {
                group.addTask { (range, try await pieces.bytes(of: range.pack, range.range, for: extent)) }
            }
            return try await group.reduce(into: Fetched()) { $0.parts.append(($1.0, $1.1)) }
        }
    }

    private func decode(
        _ block: FetchBatch.Block, from fetched: Fetched, on bench: WorkBench
    ) throws -> UnsafeRawBufferPointer {
        let plain = UnsafeMutableRawBufferPointer(rebasing: bench.plain.bytes[..<blockSize.bytes])
        let extent = block.number..<block.number + 1
        let entry = block.entry
        if block.held != nil, let held {
            try held(block.number, plain)
        } else {
            try decode(entry.base, from: fetched, into: plain, for: extent, on: bench)
        }
        guard !entry.patches.isEmpty else { return UnsafeRawBufferPointer(plain) }
        for patch in entry.patches[(block.held ?? 0)...] {
            guard Int(patch.plainLength) <= bench.scratch.bytes.count else {
                let cause = PerSSDError(.corrupt, "a patch of \(patch.plainLength) bytes is too long for a block")
                throw PieceReader.damaged(
                    try patch.pack.key(lineage: pieces.lineage), patch.range, blocks: extent, cause: cause)
            }
            let bytes = UnsafeMutableRawBufferPointer(rebasing: bench.scratch.bytes[..<Int(patch.plainLength)])
            try decode(patch, from: fetched, into: bytes, for: extent, on: bench)
            try pieces.named(patch, extent) { try BlockPatch.apply(UnsafeRawBufferPointer(bytes), to: plain) }
        }
        // Each piece is what was written; whether they belong together, only the whole can tell.
        try pieces.named(entry.patches.last!, extent) {
            let digest = SHA256.digest(UnsafeRawBufferPointer(plain))
            guard digest == entry.digest else {
                throw PerSSDError(.corrupt, "the patched block has SHA-256 \(digest), and \(entry.digest) was written")
            }
        }
        return UnsafeRawBufferPointer(plain)
    }

    private func decode(
        _ piece: Piece, from fetched: Fetched, into plain: UnsafeMutableRawBufferPointer, for extent: Range<UInt64>,
        on bench: WorkBench
    ) throws {
        let part = fetched.parts.first { part in
            part.source.pack == piece.pack && part.source.range.lowerBound <= piece.range.lowerBound
                && part.source.range.upperBound >= piece.range.upperBound
        }
        guard let part else { throw PerSSDError(.internal, "a piece at \(piece.range) was not fetched") }
        let start = Int(piece.range.lowerBound - part.source.range.lowerBound)
        try part.bytes.withUnsafeBytes { bytes in
            let stored = UnsafeRawBufferPointer(rebasing: bytes[start..<start + Int(piece.storedLength)])
            try pieces.decode(piece, stored: stored, into: plain, for: extent, with: bench.decompressor())
        }
    }
}
