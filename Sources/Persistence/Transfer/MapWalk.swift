import Errors

/// What a map is compared with.
enum MapBaseline: Sendable {
    /// Nothing is known of what was there: every block differs.
    case unknown
    case zeros
    case map(MapRoot)
}

/// One stretch of a volume in which a map differs from its baseline.
enum MapStretch: Sendable {
    /// The blocks that leaf `index` covers. `old` is empty for an unknown baseline, and where the baseline has zeros.
    case leaf(place: MapNodeCoding.Place, new: LeafNode, old: LeafNode)
    /// All zeros in the map, and not, or not for certain, in the baseline.
    case zeros(Range<UInt64>)
}

/// Walks down a map and its baseline side by side, and reads only what differs.
struct MapWalk: Sendable {
    /// Leaves visited at once, each in a task of its own.
    private static let leavesAtOnce = 8

    private let nodes: MapNodeReader
    private let new: MapRoot
    private let old: MapRoot?
    private let isUnknown: Bool
    /// The walk leaves out what lies outside.
    private let blocks: Range<UInt64>

    /// - Throws: `invalidArgument` where the two maps have not the same block size and fan-out.
    init(
        _ new: MapRoot, since baseline: MapBaseline, within blocks: Range<UInt64>? = nil, nodes: MapNodeReader
    ) throws {
        self.new = new
        self.nodes = nodes
        switch baseline {
        case .unknown: (old, isUnknown) = (nil, true)
        case .zeros: (old, isUnknown) = (nil, false)
        case .map(let map): (old, isUnknown) = (map, false)
        }
        if let old { try MapDifference.requireComparable(new, old) }
        let end = max(new.geometry.blockCount, old?.geometry.blockCount ?? 0)
        self.blocks = (blocks ?? 0..<end).clamped(to: 0..<end)
    }

    /// The shape of a tree that has room for both maps.
    private var geometry: MapGeometry {
        guard let old, old.capacityBytes > new.capacityBytes else { return new.geometry }
        return old.geometry
    }

    /// Calls `visit` for each stretch, several at once and in no certain order, and returns when all are done.
    func run(_ visit: @escaping @Sendable (MapStretch) async throws -> Void) async throws {
        let old = old.flatMap { old in
            old.top.map { MapNodeReference(pointer: $0, level: old.geometry.levels - 1) }
        }
        let top = new.top.map { MapNodeReference(pointer: $0, level: new.geometry.levels - 1) }
        try await inner(level: geometry.levels - 1, index: 0, new: top, old: old, visit)
    }

    private func inner(
        level: Int, index: UInt64, new: MapNodeReference?, old: MapNodeReference?,
        _ visit: @escaping @Sendable (MapStretch) async throws -> Void
    ) async throws {
        try Task.checkCancellation()
        let covered = geometry.blocks(level: level, index: index).clamped(to: blocks)
        if covered.isEmpty || isSame(new, old) { return }
        if new == nil { return try await visit(.zeros(covered)) }
        let newChildren = try await children(of: new, in: self.new, level: level, index: index)
        let oldChildren = try await children(of: old, in: self.old, level: level, index: index)
        let slots = isUnknown ? slots(of: covered, level: level, index: index) : union(newChildren, oldChildren)
        // Neighbours that are all zeros are told of as one.
        var zeros: Range<UInt64>?
        try await withThrowingTaskGroup(of: Void.self) { group in
            var running = 0
            func start(_ work: @escaping @Sendable () async throws -> Void) async throws {
                if running == Self.leavesAtOnce {
                    try await group.next()
                    running -= 1
                }
                group.addTask(operation: work)
                running += 1
            }
            for slot in slots {
                let child = index << UInt64(geometry.fanOutLog2) + UInt64(slot)
                let range = geometry.blocks(level: level - 1, index: child).clamped(to: blocks)
                let (new, old) = (newChildren[slot], oldChildren[slot])
                if range.isEmpty || isSame(new, old) { continue }
                if new == nil {
                    if let before = zeros, before.upperBound == range.lowerBound {
                        zeros = before.lowerBound..<range.upperBound
                        continue
                    }
                    if let before = zeros { try await start { try await visit(.zeros(before)) } }
                    zeros = range
                } else if level == 1 {
                    try await start { try await leaf(index: child, new: new, old: old, visit) }
                } else {
                    try await inner(level: level - 1, index: child, new: new, old: old, visit)
                }
            }
            if let zeros { try await start { try await visit(.zeros(zeros)) } }
            try await group.waitForAll()
        }
    }

    private func leaf(
        index: UInt64, new: MapNodeReference?, old: MapNodeReference?,
        _ visit: @Sendable (MapStretch) async throws -> Void
    ) async throws {
        async let newLeaf = leaf(new, in: self.new, index: index)
        async let oldLeaf = leaf(old, in: self.old, index: index)
        let place = MapNodeCoding.Place(geometry: geometry, level: 0, index: index)
        try await visit(.leaf(place: place, new: newLeaf, old: oldLeaf))
    }

    private func leaf(_ node: MapNodeReference?, in map: MapRoot?, index: UInt64) async throws -> LeafNode {
        guard let node, let map else { return LeafNode() }
        return try await nodes.leaf(node.pointer, at: .init(geometry: map.geometry, level: 0, index: index))
    }

    private func children(
        of node: MapNodeReference?, in map: MapRoot?, level: Int, index: UInt64
    ) async throws -> [UInt16: MapNodeReference] {
        guard let node, let map else { return [:] }
        guard node.level == level else { return [0: node] }
        let inner = try await nodes.inner(node.pointer, at: .init(geometry: map.geometry, level: level, index: index))
        return Dictionary(
            uniqueKeysWithValues: inner.entries.map { ($0.slot, MapNodeReference(pointer: $0.child, level: level - 1)) }
        )
    }

    private func isSame(_ new: MapNodeReference?, _ old: MapNodeReference?) -> Bool {
        guard let new, let old else { return new == nil && old == nil && !isUnknown }
        return new.level == old.level && new.pointer.content == old.pointer.content
    }

    private func union(_ new: [UInt16: MapNodeReference], _ old: [UInt16: MapNodeReference]) -> [UInt16] {
        Set(new.keys).union(old.keys).sorted()
    }

    private func slots(of covered: Range<UInt64>, level: Int, index: UInt64) -> [UInt16] {
        let shift = UInt64(geometry.blocksLog2(level: level - 1))
        let first = index << UInt64(geometry.fanOutLog2)
        return ((covered.lowerBound >> shift)...((covered.upperBound - 1) >> shift)).map { UInt16($0 - first) }
    }
}

extension LeafNode {
    /// What has to be done to blocks that are as in `old` to make them as here.
    ///
    /// - Returns: the blocks whose contents differ and are not zeros, ascending; and those that turn to zeros, as ranges.
    func changes(
        since old: LeafNode, at place: MapNodeCoding.Place, within blocks: Range<UInt64>
    ) -> (written: [(block: UInt64, entry: BlockEntry)], zeroed: [Range<UInt64>]) {
        let first = place.blocks.lowerBound
        let written = entries.compactMap { entry -> (UInt64, BlockEntry)? in
            let block = first + UInt64(entry.slot)
            guard blocks.contains(block), old.entry(at: entry.slot)?.digest != entry.block.digest else { return nil }
            return (block, entry.block)
        }
        let zeroed = old.entries.compactMap { entry -> Range<UInt64>? in
            let block = first + UInt64(entry.slot)
            return blocks.contains(block) && self.entry(at: entry.slot) == nil ? block..<block + 1 : nil
        }
        return (written, BlockRanges(zeroed).ranges)
    }

    /// The blocks within `blocks` that have no entry.
    func gaps(at place: MapNodeCoding.Place, within blocks: Range<UInt64>) -> [Range<UInt64>] {
        let covered = place.blocks.clamped(to: blocks)
        var gaps: [Range<UInt64>] = []
        var next = covered.lowerBound
        for entry in entries {
            let block = place.blocks.lowerBound + UInt64(entry.slot)
            guard block >= next, block < covered.upperBound else { continue }
            if block > next { gaps.append(next..<block) }
            next = block + 1
        }
        if next < covered.upperBound { gaps.append(next..<covered.upperBound) }
        return gaps
    }
}
