import Digests
import Errors

/// Makes the block map of a new generation out of its parent's: only nodes on the way to examined blocks are read, and
/// only those that changed are written.
struct MapUpdate: Sendable {
    /// Leaves in work at once. Each waits for its parent's leaf to arrive while others are read and compressed.
    private static let leavesAtOnce = 8
    /// A leaf with fewer extents to stage does not wait for its turn: alone it would not keep the workers busy.
    private static let extentsWorthATurn = 32

    private let plan: StageOutPlan
    private let nodes: MapNodeReader
    private let packs: PackUploader
    private let benches: WorkBenches
    private let blocks: BlockStaging
    private let meter: TransferMeter
    /// Lets one leaf after the other bring its blocks into packs. What lies together on the volume then lies together in
    /// them, and a restore reads it with few requests.
    private let turn = AsyncLimiter(1)

    /// - Returns: the top node, nil where all blocks are zeros; and the packs that were written.
    static func run(
        plan: StageOutPlan, source: any BlockSource, base: (any BlockSource)?, store: any ObjectStore, lineage: String,
        options: StageOutOptions, meter: TransferMeter
    ) async throws -> (top: NodePointer?, packs: [PackID]) {
        let blockBytes = plan.geometry.blockSize.bytes
        meter.expect(plan.examined.count * UInt64(blockBytes))
        let packBytes = options.pacer?.packBytes(options.packBytes) ?? options.packBytes
        let packs = PackUploader(
            store: store, lineage: lineage, targetBytes: packBytes,
            buffers: TransferMemory.packs(options.packsInMemory, packBytes: packBytes), pacer: options.pacer,
            meter: meter)
        let benches = WorkBenches(
            count: TransferMemory.workers(
                options.workers, blockBytes: blockBytes, level: options.compressionLevel),
            plainBytes: TransferMemory.extentBytes(blockBytes: blockBytes),
            scratchBytes: BlockPatch.maximumLength(plan.geometry.blockSize), level: options.compressionLevel)
        let pieces = PieceReader(store: store, lineage: lineage, meter: meter)
        let update = MapUpdate(
            plan: plan, nodes: MapNodeReader(pieces: pieces), packs: packs, benches: benches,
            blocks: BlockStaging(geometry: plan.geometry, source: source, base: base, packs: packs, meter: meter),
            meter: meter)
        let top = try await packs.uploading {
            let old = plan.parent?.top.map { MapNodeReference(pointer: $0, level: plan.parent!.geometry.levels - 1) }
            return try await update.inner(level: plan.geometry.levels - 1, index: 0, old: old)
        }
        return (top, packs.packs)
    }

    /// What becomes of an inner node, and of all below it.
    private func inner(level: Int, index: UInt64, old: MapNodeReference?) async throws -> NodePointer? {
        try Task.checkCancellation()
        let place = MapNodeCoding.Place(geometry: plan.geometry, level: level, index: index)
        let touched = plan.examined.touches(place.blocks)
        if !touched, !plan.keepsRest { return nil }
        if !touched, old == nil || old?.level == level { return old?.pointer }
        let oldChildren = try await children(of: old, at: place)
        var children = plan.keepsRest ? oldChildren : [:]
        let childShift = UInt64(plan.geometry.blocksLog2(level: level - 1))
        let slots = plan.examined.within(place.blocks).flatMap {
            ($0.lowerBound >> childShift)...(($0.upperBound - 1) >> childShift)
        }
        let work = Self.distinct(slots).map { child in
            (index: child, slot: UInt16(child - index << UInt64(plan.geometry.fanOutLog2)))
        }
        if level == 1 {
            try await withThrowingTaskGroup(of: (UInt16, NodePointer?).self) { group in
                var running = 0
                for child in work {
                    if running == Self.leavesAtOnce, let (slot, pointer) = try await group.next() {
                        children[slot] = pointer.map { MapNodeReference(pointer: $0, level: 0) }
                        running -= 1
                    }
                    let old = oldChildren[child.slot]?.pointer
                    group.addTask { (child.slot, try await leaf(index: child.index, old: old)) }
                    running += 1
                }
                for try await (slot, pointer) in group {
                    children[slot] = pointer.map { MapNodeReference(pointer: $0, level: 0) }
                }
            }
        } else {
            for child in work {
                let pointer = try await inner(level: level - 1, index: child.index, old: oldChildren[child.slot])
                children[child.slot] = pointer.map { MapNodeReference(pointer: $0, level: level - 1) }
            }
        }
        // A child that is kept from a smaller map stands on a lower level: it gets the inner nodes that it lacks.
        for (slot, child) in children where child.level < level - 1 {
            let childIndex = index << UInt64(plan.geometry.fanOutLog2) + UInt64(slot)
            let lifted = try await inner(level: level - 1, index: childIndex, old: child)
            children[slot] = lifted.map { MapNodeReference(pointer: $0, level: level - 1) }
        }
        let node = InnerNode(
            entries: children.map { .init(slot: $0.key, child: $0.value.pointer) }.sorted { $0.slot < $1.slot })
        return try await store(node, at: place, old: old)
    }

    private func children(
        of old: MapNodeReference?, at place: MapNodeCoding.Place
    ) async throws -> [UInt16: MapNodeReference] {
        guard let old, let parent = plan.parent else { return [:] }
        guard old.level == place.level else { return [0: old] }
        let place = MapNodeCoding.Place(geometry: parent.geometry, level: place.level, index: place.index)
        let node = try await nodes.inner(old.pointer, at: place)
        return Dictionary(
            uniqueKeysWithValues: node.entries.map {
                ($0.slot, MapNodeReference(pointer: $0.child, level: place.level - 1))
            })
    }

    private func leaf(index: UInt64, old: NodePointer?) async throws -> NodePointer? {
        let place = MapNodeCoding.Place(geometry: plan.geometry, level: 0, index: index)
        var oldLeaf = LeafNode()
        if let old, let parent = plan.parent {
            let oldPlace = MapNodeCoding.Place(geometry: parent.geometry, level: 0, index: index)
            oldLeaf = try await nodes.leaf(old, at: oldPlace)
        }
        let examined = plan.examined.within(place.blocks)
        let extents = examined.flatMap { blocks.extents(of: $0) }
        let found =
            extents.count < Self.extentsWorthATurn
            ? try await stage(extents, of: place, old: oldLeaf)
            : try await turn.run { [oldLeaf] in try await stage(extents, of: place, old: oldLeaf) }
        var leaf = LeafNode(entries: found)
        if plan.keepsRest {
            let examined = BlockRanges(examined)
            leaf.entries += oldLeaf.entries.filter { entry in
                let block = place.blocks.lowerBound + UInt64(entry.slot)
                return !examined.touches(block..<block + 1)
            }
        }
        leaf.entries.sort { $0.slot < $1.slot }
        return try await store(leaf, at: place, old: old)
    }

    private func stage(
        _ extents: [Range<UInt64>], of place: MapNodeCoding.Place, old: LeafNode
    ) async throws -> [LeafNode.Entry] {
        try await withThrowingTaskGroup(of: [LeafNode.Entry].self) { group in
            for extent in extents {
                group.addTask {
                    try await benches.run {
                        try blocks.stage(extent, old: old, first: place.blocks.lowerBound, on: $0)
                    }
                }
            }
            return try await group.reduce(into: []) { $0 += $1 }
        }
    }

    private func store(_ leaf: LeafNode, at place: MapNodeCoding.Place, old: NodePointer?) async throws -> NodePointer?
    {
        guard !leaf.entries.isEmpty else { return nil }
        let content = ContentDigest.of(leaf, blockSize: plan.geometry.blockSize)
        if let old, old.content == content { return old }
        let piece = try await store(MapNodeCoding.encode(leaf, at: place))
        return try pointer(piece, content: content, below: leaf.totals)
    }

    private func store(_ node: InnerNode, at place: MapNodeCoding.Place, old: MapNodeReference?) async throws
        -> NodePointer?
    {
        guard !node.entries.isEmpty else { return nil }
        let content = ContentDigest.of(node, level: place.level)
        if let old, old.level == place.level, old.pointer.content == content { return old.pointer }
        let piece = try await store(MapNodeCoding.encode(node, at: place))
        return try pointer(piece, content: content, below: node.totals)
    }

    private func pointer(_ piece: Piece, content: Digest, below: MapTotals?) throws -> NodePointer {
        guard let totals = below?.adding(MapTotals(mapBytes: UInt64(piece.storedLength))) else {
            throw PerSSDError(.outOfRange, "the totals of the block map do not fit 64 bits")
        }
        return NodePointer(piece: piece, content: content, totals: totals)
    }

    private func store(_ node: [UInt8]) async throws -> Piece {
        let piece = try await benches.run { bench in
            try node.withUnsafeBytes { try packs.store($0, kind: .mapNode, digest: SHA256.digest($0), on: bench) }
        }
        meter.count {
            $0.nodesWritten += 1
            $0.nodeBytes += UInt64(piece.storedLength)
        }
        return piece
    }

    /// - Parameter ascending: numbers, some of them twice in a row.
    private static func distinct(_ ascending: [UInt64]) -> [UInt64] {
        ascending.reduce(into: []) { if $0.last != $1 { $0.append($1) } }
    }
}

/// A node of a map that may have fewer levels than the one it is looked at from: then it stands for the first child of the
/// first child, and so on, of where it is.
struct MapNodeReference: Sendable {
    var pointer: NodePointer
    /// The node's own.
    var level: Int
}
