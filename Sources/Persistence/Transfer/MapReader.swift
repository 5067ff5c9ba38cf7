import Errors
import Synchronization

/// Looks into the contents that roots of one lineage name, without restoring them.
public struct MapReader: Sendable {
    private let pieces: PieceReader
    private let nodes: MapNodeReader

    public init(store: any ObjectStore, lineage: String, meter: TransferMeter = TransferMeter()) {
        pieces = PieceReader(store: store, lineage: lineage, meter: meter)
        nodes = MapNodeReader(pieces: pieces)
    }

    /// Bytes of the volume, verified. The range lies within the volume, and is short enough for memory.
    ///
    /// - Throws: `outOfRange` where it does not; `corrupt` or `unsupported`; what the store throws.
    public func read(_ root: MapRoot, _ range: Range<UInt64>) async throws -> [UInt8] {
        guard range.upperBound <= root.capacityBytes else {
            throw PerSSDError(
                .outOfRange,
                "bytes \(range.lowerBound) to \(range.upperBound) lie past a volume of \(root.capacityBytes) bytes")
        }
        guard !range.isEmpty else { return [] }
        let blocks = root.geometry.blocks(touching: range)
        let fetcher = BlockFetcher(
            pieces: pieces, blockSize: root.blockSize,
            benches: WorkBenches(
                count: 2, plainBytes: root.blockSize.bytes, scratchBytes: BlockPatch.maximumLength(root.blockSize)),
            fetches: AsyncLimiter(4))
        let result = Mutex([UInt8](repeating: 0, count: range.count))
        try await MapWalk(root, since: .zeros, within: blocks, nodes: nodes).run { stretch in
            guard case .leaf(let place, let new, let old) = stretch else { return }
            let changes = new.changes(since: old, at: place, within: blocks)
            for batch in FetchPlan.batches(changes.written.map { .init(number: $0.block, entry: $0.entry) }) {
                try await fetcher.fetch(batch) { block, plain in
                    let start = block << UInt64(root.blockSize.log2)
                    let part = (start..<start + UInt64(plain.count)).clamped(to: range)
                    let source = plain[Int(part.lowerBound - start)..<Int(part.upperBound - start)]
                    result.withLock { bytes in
                        bytes.withUnsafeMutableBytes {
                            UnsafeMutableRawBufferPointer(rebasing: $0[Int(part.lowerBound - range.lowerBound)...])
                                .copyMemory(from: UnsafeRawBufferPointer(rebasing: source))
                        }
                    }
                }
            }
        }
        return result.withLock { $0 }
    }

    /// The pieces of a pack, by its own index.
    ///
    /// - Throws: `corrupt` or `unsupported`, naming the object; what the store throws.
    public func entries(of pack: PackID) async throws -> [PackEntry] {
        try await PackReader(pieces: pieces).entries(of: pack, for: 0..<0)
    }

    /// Adds every pack that `root` reaches to `packs`: those of its blocks, patches and map nodes. Nodes that an earlier
    /// root of the same collection reached are not read again.
    ///
    /// - Throws: `corrupt` or `unsupported`, what the store throws; `packs` is then incomplete, and says nothing of what
    ///   is garbage.
    public func collectPacks(of root: MapRoot, into packs: inout ReachedPacks) async throws {
        guard let top = root.top else { return }
        try await collect(top, at: root.topPlace, into: &packs)
    }

    private func collect(
        _ pointer: NodePointer, at place: MapNodeCoding.Place, into packs: inout ReachedPacks
    ) async throws {
        try Task.checkCancellation()
        let origin = ReachedPacks.Origin(pack: pointer.piece.pack, offset: pointer.piece.offset)
        guard packs.nodes.insert(origin).inserted else { return }
        packs.add(pointer.piece)
        guard place.level > 1 else {
            return try await collectLeaves(of: pointer, at: place, into: &packs)
        }
        for entry in try await nodes.inner(pointer, at: place).entries {
            let index = place.index << UInt64(place.geometry.fanOutLog2) + UInt64(entry.slot)
            let child = MapNodeCoding.Place(geometry: place.geometry, level: place.level - 1, index: index)
            try await collect(entry.child, at: child, into: &packs)
        }
    }

    /// Leaves are nearly all of a map, so several are read at once.
    private func collectLeaves(
        of pointer: NodePointer, at place: MapNodeCoding.Place, into packs: inout ReachedPacks
    ) async throws {
        let leavesAtOnce = 8
        let entries = try await nodes.inner(pointer, at: place).entries
        try await withThrowingTaskGroup(of: LeafNode.self) { group in
            var running = 0
            for entry in entries {
                let piece = entry.child.piece
                guard packs.nodes.insert(.init(pack: piece.pack, offset: piece.offset)).inserted else { continue }
                packs.add(piece)
                if running == leavesAtOnce, let leaf = try await group.next() {
                    packs.add(leaf)
                    running -= 1
                }
                let index = place.index << UInt64(place.geometry.fanOutLog2) + UInt64(entry.slot)
                group.addTask { [nodes] in
                    try await nodes.leaf(entry.child, at: .init(geometry: place.geometry, level: 0, index: index))
                }
                running += 1
            }
            for try await leaf in group { packs.add(leaf) }
        }
    }
}

/// The packs that some roots of a lineage reach, and how much of each.
public struct ReachedPacks: Sendable {
    struct Origin: Hashable {
        var pack: PackID
        var offset: UInt32
    }
    /// Map nodes that were read.
    var nodes: Set<Origin> = []
    /// Stored bytes of each pack that are reached; what several generations or blocks share may count more than once.
    public private(set) var packs: [PackID: UInt64] = [:]

    public init() {}

    mutating func add(_ piece: Piece) { packs[piece.pack, default: 0] += UInt64(piece.storedLength) }
    mutating func add(_ leaf: LeafNode) {
        for entry in leaf.entries {
            for piece in entry.block.pieces { add(piece) }
        }
    }
}
