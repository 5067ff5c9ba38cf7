import Digests
import Errors
import Glibc
import Synchronization

/// What the worker threads of a stage-out do: read an extent, and bring each of its blocks into a pack that needs to be.
final class BlockStaging: Sendable {
    /// Digests remembered for finding equal blocks: about 16 MiB of memory.
    private static let rememberedDigests = 1 << 16

    private let geometry: MapGeometry
    private let source: any BlockSource
    private let base: (any BlockSource)?
    private let packs: PackUploader
    private let meter: TransferMeter
    private let stored = Mutex<[Digest: Piece]>([:])

    init(
        geometry: MapGeometry, source: any BlockSource, base: (any BlockSource)?, packs: PackUploader,
        meter: TransferMeter
    ) {
        self.geometry = geometry
        self.source = source
        self.base = base
        self.packs = packs
        self.meter = meter
    }

    /// `blocks` in portions that a worker reads at once.
    func extents(of blocks: Range<UInt64>) -> [Range<UInt64>] {
        let step = UInt64(TransferMemory.extentBytes(blockBytes: geometry.blockSize.bytes) / geometry.blockSize.bytes)
        return stride(from: blocks.lowerBound, to: blocks.upperBound, by: Int(step)).map {
            $0..<min($0 + step, blocks.upperBound)
        }
    }

    /// Reads the blocks of `extent` and stores those that are neither zeros nor as in the parent's leaf.
    ///
    /// - Parameter first: the block that slot 0 of the leaf is.
    /// - Returns: the entries of those that are not zeros, ascending.
    func stage(
        _ extent: Range<UInt64>, old: LeafNode, first: UInt64, on bench: WorkBench
    ) throws -> [LeafNode.Entry] {
        let size = geometry.blockSize.bytes
        let plain = UnsafeMutableRawBufferPointer(rebasing: bench.plain.bytes[..<(extent.count * size)])
        let bytes = geometry.bytes(of: extent)
        let content = UnsafeMutableRawBufferPointer(rebasing: plain[..<bytes.count])
        try source.read(at: bytes.lowerBound, into: content)
        // The last block reaches past the volume's end, with zeros.
        if content.count < plain.count {
            memset(plain.baseAddress! + content.count, 0, plain.count - content.count)
        }
        var counts = TransferStatistics()
        var entries: [LeafNode.Entry] = []
        for (position, number) in extent.enumerated() {
            let block = UnsafeRawBufferPointer(rebasing: plain[position * size..<(position + 1) * size])
            let slot = UInt16(number - first)
            let oldEntry = old.entry(at: slot)
            if let entry = try stage(block, number: number, old: oldEntry, on: bench, counts: &counts) {
                entries.append(.init(slot: slot, block: entry))
            }
        }
        meter.count {
            $0.readBytes += UInt64(content.count)
            $0.blocksExamined += UInt64(extent.count)
            $0.blocksChanged += counts.blocksChanged
            $0.blocksZero += counts.blocksZero
            $0.blocksShared += counts.blocksShared
            $0.blocksPatched += counts.blocksPatched
            $0.plainBytes += counts.plainBytes
            $0.storedBytes += counts.storedBytes
        }
        meter.done(UInt64(plain.count))
        return entries
    }

    private func stage(
        _ block: UnsafeRawBufferPointer, number: UInt64, old: BlockEntry?, on bench: WorkBench,
        counts: inout TransferStatistics
    ) throws -> BlockEntry? {
        if isZero(block) {
            counts.blocksZero += 1
            if old != nil { counts.blocksChanged += 1 }
            return nil
        }
        let digest = SHA256.digest(block)
        if let old, old.digest == digest { return old }
        counts.blocksChanged += 1
        if let piece = stored.withLock({ $0[digest] }) {
            counts.blocksShared += 1
            return BlockEntry(digest: digest, base: piece)
        }
        if let old, let entry = try patch(block, digest: digest, number: number, old: old, on: bench) {
            counts.blocksPatched += 1
            counts.plainBytes += UInt64(entry.patches.last!.plainLength)
            counts.storedBytes += UInt64(entry.patches.last!.storedLength)
            return entry
        }
        let piece = try packs.store(block, kind: .block, digest: digest, on: bench)
        counts.plainBytes += UInt64(block.count)
        counts.storedBytes += UInt64(piece.storedLength)
        stored.withLock { if $0.count < Self.rememberedDigests { $0[digest] = piece } }
        return BlockEntry(digest: digest, base: piece)
    }

    /// A patch for the block, where that is possible and at most half as long as the block.
    private func patch(
        _ block: UnsafeRawBufferPointer, digest: Digest, number: UInt64, old: BlockEntry, on bench: WorkBench
    ) throws -> BlockEntry? {
        guard let base, old.patches.count < BlockEntry.maximumPatches else { return nil }
        let bytes = geometry.bytes(of: number..<number + 1)
        guard bytes.upperBound <= base.sizeBytes, bytes.count == block.count else { return nil }
        let before = UnsafeMutableRawBufferPointer(rebasing: bench.base.bytes[..<block.count])
        try base.read(at: bytes.lowerBound, into: before)
        // What is not what the parent generation holds cannot be patched.
        guard SHA256.digest(UnsafeRawBufferPointer(before)) == old.digest,
            let patch = BlockPatch.difference(from: UnsafeRawBufferPointer(before), to: block),
            patch.count <= block.count / 2
        else { return nil }
        let piece = try patch.withUnsafeBytes {
            try packs.store($0, kind: .patch, digest: SHA256.digest($0), on: bench)
        }
        return BlockEntry(digest: digest, base: old.base, patches: old.patches + [piece])
    }
}

extension PackUploader {
    /// Compresses a piece where that saves 1/32 or more, as reading it back costs too, and appends it.
    func store(
        _ plain: UnsafeRawBufferPointer, kind: PieceKind, digest: Digest, on bench: WorkBench
    ) throws -> Piece {
        let scratch = bench.scratch.bytes
        let room = UnsafeMutableRawBufferPointer(
            rebasing: scratch[..<min(scratch.count, plain.count - max(1, plain.count / 32))])
        if let count = try bench.compressor().compress(plain, into: room) {
            return try append(
                UnsafeRawBufferPointer(rebasing: room[..<count]), kind: kind, compression: .zstd,
                plainLength: plain.count, digest: digest)
        }
        return try append(plain, kind: kind, compression: .none, plainLength: plain.count, digest: digest)
    }
}

/// Whether all bytes are zero: the first few are looked at, and each other is compared with one before it, which memcmp does
/// at the speed of memory.
func isZero(_ bytes: UnsafeRawBufferPointer) -> Bool {
    let stride = 16
    guard bytes.count > stride else { return bytes.allSatisfy { $0 == 0 } }
    guard bytes.prefix(stride).allSatisfy({ $0 == 0 }) else { return false }
    return memcmp(bytes.baseAddress!, bytes.baseAddress! + stride, bytes.count - stride) == 0
}
