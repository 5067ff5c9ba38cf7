import Errors

/// A volume's contents, and where they are stored.
public struct StoredMap: Sendable {
    public var root: MapRoot
    public var store: any ObjectStore
    public var lineage: String

    public init(root: MapRoot, store: any ObjectStore, lineage: String) {
        (self.root, self.store, self.lineage) = (root, store, lineage)
    }
}

/// The bytes of a volume in which two of its states differ, or those of one state that are not zeros: as whole blocks, in
/// ascending order, told of as they are found.
///
/// Map nodes with the same content digest are not read, nor are those of which it is known that all blocks below differ.
/// So the cost follows what differs, and memory is bounded whatever the size of the volume.
public struct MapDifference: Sendable {
    /// Leaves that are read ahead of the one whose ranges are being told of.
    private static let leavesAhead = 8

    private let new: MapSide
    private let old: MapSide?
    /// The shape of a tree that has room for both.
    private let geometry: MapGeometry

    /// - Parameters:
    ///   - old: nil for a volume of zeros. It may have another size than `new`, and be of another lineage.
    ///   - meter: counts what is read.
    /// - Throws: `invalidArgument` where the two differ in block size or fan-out.
    public init(of new: StoredMap, since old: StoredMap?, meter: TransferMeter = TransferMeter()) throws {
        let map = new.root
        if let old = old?.root { try Self.requireComparable(map, old) }
        self.new = MapSide(new, meter: meter)
        self.old = old.map { MapSide($0, meter: meter) }
        geometry = old.map { max(map, $0.root, by: \.capacityBytes).geometry } ?? map.geometry
    }

    /// That blocks of the two are blocks of one size at the same places of trees of one kind.
    ///
    /// - Throws: `invalidArgument`.
    static func requireComparable(_ new: MapRoot, _ old: MapRoot) throws {
        guard old.blockSize == new.blockSize, old.geometry.fanOutLog2 == new.geometry.fanOutLog2 else {
            throw PerSSDError(
                .invalidArgument,
                "block maps of \(old.blockSize) and \(new.blockSize) blocks, or of different fan-out, cannot be compared"
            )
        }
    }

    /// Calls `deliver` for each range; no two of them touch. The next is looked for while it runs, yet not far ahead.
    ///
    /// - Parameters:
    ///   - window: bytes of the volume; blocks outside of it are left out, and what only they hang on is not read. Blocks
    ///     that reach across its ends are told of whole.
    ///   - limit: how many ranges there may be at the most; 1 or more.
    /// - Returns: whether there were no more.
    /// - Throws: `corrupt` or `unsupported`, naming object, bytes and blocks; `cancelled`; what the store throws; what
    ///   `deliver` throws.
    @discardableResult
    public func run(
        within window: Range<UInt64>? = nil, limit: Int = .max,
        _ deliver: (Range<UInt64>) async throws -> Void
    ) async throws -> Bool {
        do {
            return try await deliverRanges(within: window, limit: limit, deliver)
        } catch is CancellationError {
            throw PerSSDError(.cancelled, "the comparison was cancelled")
        }
    }

    /// The ranges of `run` all at once, for where there are not too many of them.
    public func ranges(within window: Range<UInt64>? = nil, limit: Int = .max) async throws -> [Range<UInt64>] {
        var ranges: [Range<UInt64>] = []
        try await run(within: window, limit: limit) { ranges.append($0) }
        return ranges
    }

    private func deliverRanges(
        within window: Range<UInt64>?, limit: Int, _ deliver: (Range<UInt64>) async throws -> Void
    ) async throws -> Bool {
        let all = 0..<geometry.blockCount
        let blocks = window.map { geometry.blocks(touching: $0).clamped(to: all) } ?? all
        var cursor = DifferenceCursor(new: new, old: old, geometry: geometry, blocks: blocks)
        return try await withThrowingTaskGroup(of: (Int, [Range<UInt64>]).self) { group in
            var ready: [Int: [Range<UInt64>]] = [:]
            var (begun, told, delivered) = (0, 0, 0)
            var isAtEnd = false
            var joined = JoinedRanges()
            while true {
                while !isAtEnd, begun - told < Self.leavesAhead {
                    switch try await cursor.next() {
                    case nil:
                        isAtEnd = true
                        continue
                    case .all(let range): ready[begun] = [range]
                    case .leaves(let pair):
                        group.addTask { [begun, new, old] in
                            (begun, try await pair.differences(new, old, within: blocks))
                        }
                    }
                    begun += 1
                }
                guard told < begun else { break }
                while ready[told] == nil, let (number, ranges) = try await group.next() { ready[number] = ranges }
                for range in ready.removeValue(forKey: told) ?? [] {
                    guard let whole = joined.add(range) else { continue }
                    try await deliver(geometry.bytes(of: whole))
                    delivered += 1
                    guard delivered < limit else {
                        group.cancelAll()
                        return false
                    }
                }
                told += 1
            }
            if let last = joined.open { try await deliver(geometry.bytes(of: last)) }
            return true
        }
    }
}

/// Puts ranges together that touch.
private struct JoinedRanges {
    /// The last one: what comes next may belong to it.
    private(set) var open: Range<UInt64>?

    /// - Returns: what was open, where it has turned out to be whole.
    mutating func add(_ range: Range<UInt64>) -> Range<UInt64>? {
        guard let before = open, before.upperBound == range.lowerBound else {
            defer { open = range }
            return open
        }
        open = before.lowerBound..<range.upperBound
        return nil
    }
}

private func max(_ a: MapRoot, _ b: MapRoot, by key: (MapRoot) -> UInt64) -> MapRoot { key(a) < key(b) ? b : a }

/// One of the two that are compared.
private struct MapSide: Sendable {
    let root: MapRoot
    let nodes: MapNodeReader

    init(_ map: StoredMap, meter: TransferMeter) {
        root = map.root
        nodes = MapNodeReader(pieces: PieceReader(store: map.store, lineage: map.lineage, meter: meter))
    }

    var top: MapNodeReference? { root.top.map { MapNodeReference(pointer: $0, level: root.geometry.levels - 1) } }

    func leaf(_ node: MapNodeReference?, index: UInt64) async throws -> LeafNode {
        guard let node else { return LeafNode() }
        return try await nodes.leaf(node.pointer, at: .init(geometry: root.geometry, level: 0, index: index))
    }

    /// The children of a node at a place of a tree that may be taller than this one's: there the whole tree is child 0.
    func children(of node: MapNodeReference?, level: Int, index: UInt64) async throws -> [UInt16: MapNodeReference] {
        guard let node else { return [:] }
        guard node.level == level else { return [0: node] }
        let inner = try await nodes.inner(node.pointer, at: .init(geometry: root.geometry, level: level, index: index))
        return Dictionary(
            uniqueKeysWithValues: inner.entries.map { ($0.slot, MapNodeReference(pointer: $0.child, level: level - 1)) }
        )
    }
}

/// A place in the tree where the two may differ; nil where one has zeros.
private struct NodePair: Sendable {
    var level: Int
    var index: UInt64
    var blocks: Range<UInt64>
    var new: MapNodeReference?
    var old: MapNodeReference?

    var isSame: Bool {
        guard let new, let old else { return new == nil && old == nil }
        return new.level == old.level && new.pointer.content == old.pointer.content
    }

    /// Whether all blocks here differ, as far as that is known without reading on: zeros against a node without zeros.
    var differsThroughout: Bool {
        guard (new == nil) != (old == nil), let one = new ?? old else { return false }
        return one.pointer.totals.blocks == UInt64(blocks.count)
    }

    /// For a pair of leaves: the blocks that differ.
    func differences(
        _ newSide: MapSide, _ oldSide: MapSide?, within window: Range<UInt64>
    ) async throws -> [Range<UInt64>] {
        async let newRead = newSide.leaf(new, index: index)
        async let oldRead = oldSide?.leaf(old, index: index) ?? LeafNode()
        let (newLeaf, oldLeaf) = try await (newRead, oldRead)
        // The slots of both, as they ascend.
        var (newEntries, oldEntries) = (newLeaf.entries[...], oldLeaf.entries[...])
        var ranges: [Range<UInt64>] = []
        while true {
            let slot: UInt16
            switch (newEntries.first, oldEntries.first) {
            case (nil, nil): return ranges
            case (let new?, let old?) where new.slot == old.slot:
                (newEntries, oldEntries) = (newEntries.dropFirst(), oldEntries.dropFirst())
                if new.block.digest == old.block.digest { continue }
                slot = new.slot
            case (let new?, let old) where new.slot < old?.slot ?? .max:
                newEntries = newEntries.dropFirst()
                slot = new.slot
            case (_, let old?):
                oldEntries = oldEntries.dropFirst()
                slot = old.slot
            case (let new?, nil):
                newEntries = newEntries.dropFirst()
                slot = new.slot
            }
            let block = blocks.lowerBound + UInt64(slot)
            guard window.contains(block) else { continue }
            if let last = ranges.last, last.upperBound == block {
                ranges[ranges.count - 1] = last.lowerBound..<block + 1
            } else {
                ranges.append(block..<block + 1)
            }
        }
    }
}

/// Goes through two trees side by side, from left to right, past what is the same in both.
private struct DifferenceCursor {
    enum Step {
        /// Blocks that all differ.
        case all(Range<UInt64>)
        case leaves(NodePair)
    }

    private let new: MapSide
    private let old: MapSide?
    private let geometry: MapGeometry
    /// What lies outside is left out.
    private let blocks: Range<UInt64>
    /// Of each level that is being gone through, what is still to come, the next one last.
    private var pending: [[NodePair]]

    init(new: MapSide, old: MapSide?, geometry: MapGeometry, blocks: Range<UInt64>) {
        self.new = new
        self.old = old
        self.geometry = geometry
        self.blocks = blocks
        let level = geometry.levels - 1
        pending = [
            [NodePair(level: level, index: 0, blocks: 0..<geometry.blockCount, new: new.top, old: old?.top)]
        ]
    }

    /// - Returns: nil where there is nothing any more.
    mutating func next() async throws -> Step? {
        while let pair = nextPair() {
            try Task.checkCancellation()
            if pair.isSame || !pair.blocks.overlaps(blocks) { continue }
            if pair.differsThroughout { return .all(pair.blocks.clamped(to: blocks)) }
            if pair.level == 0 { return .leaves(pair) }
            pending.append(try await children(of: pair))
        }
        return nil
    }

    private mutating func nextPair() -> NodePair? {
        while !pending.isEmpty {
            if let pair = pending[pending.count - 1].popLast() { return pair }
            pending.removeLast()
        }
        return nil
    }

    private func children(of pair: NodePair) async throws -> [NodePair] {
        async let newRead = new.children(of: pair.new, level: pair.level, index: pair.index)
        async let oldRead = old?.children(of: pair.old, level: pair.level, index: pair.index) ?? [:]
        let (newChildren, oldChildren) = try await (newRead, oldRead)
        return Set(newChildren.keys).union(oldChildren.keys).sorted(by: >).map { slot in
            let index = pair.index << UInt64(geometry.fanOutLog2) + UInt64(slot)
            return NodePair(
                level: pair.level - 1, index: index, blocks: geometry.blocks(level: pair.level - 1, index: index),
                new: newChildren[slot], old: oldChildren[slot])
        }
    }
}
