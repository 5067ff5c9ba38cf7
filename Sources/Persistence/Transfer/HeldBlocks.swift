import Digests
import Errors
import Glibc

/// The blocks that a sink holds from an older generation, and that a few patches bring up to date: those need not be fetched
/// as a whole.
struct HeldBlocks: Sendable {
    let sink: any ReadableBlockSink
    let blockSize: BlockSize

    /// Reads a block as the sink holds it; past its end there are zeros.
    func read(_ block: UInt64, into plain: UnsafeMutableRawBufferPointer) throws {
        let offset = block << UInt64(blockSize.log2)
        let count = Int(min(UInt64(plain.count), sink.sizeBytes - offset))
        try sink.read(at: offset, into: UnsafeMutableRawBufferPointer(rebasing: plain[..<count]))
        if count < plain.count { memset(plain.baseAddress! + count, 0, plain.count - count) }
    }

    /// Notes of each block whose older state the sink really holds how many of its patches are in that.
    ///
    /// What the sink should hold is not believed: it is read and hashed, and fetched as a whole where it differs.
    func find(
        _ blocks: [FetchBatch.Block], _ old: LeafNode, at place: MapNodeCoding.Place, benches: WorkBenches
    ) async throws -> [FetchBatch.Block] {
        let share = 16
        return try await withThrowingTaskGroup(of: (Int, [FetchBatch.Block]).self) { group in
            for start in stride(from: 0, to: blocks.count, by: share) {
                let part = blocks[start..<min(start + share, blocks.count)]
                group.addTask {
                    (start, try await benches.run { bench in try part.map { try look(at: $0, old, place, on: bench) } })
                }
            }
            return try await group.reduce(into: []) { $0.append($1) }.sorted { $0.0 < $1.0 }.flatMap(\.1)
        }
    }

    private func look(
        at block: FetchBatch.Block, _ old: LeafNode, _ place: MapNodeCoding.Place, on bench: WorkBench
    ) throws -> FetchBatch.Block {
        let slot = UInt16(block.number - place.blocks.lowerBound)
        guard let before = old.entry(at: slot), block.entry.extends(before) else { return block }
        let plain = UnsafeMutableRawBufferPointer(rebasing: bench.plain.bytes[..<blockSize.bytes])
        try read(block.number, into: plain)
        guard SHA256.digest(UnsafeRawBufferPointer(plain)) == before.digest else { return block }
        var held = block
        held.held = before.patches.count
        return held
    }
}
