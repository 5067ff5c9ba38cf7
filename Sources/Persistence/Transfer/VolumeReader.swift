import Errors
import Synchronization

/// Reads a volume's contents here and there, as a file system does: what was fetched last is kept, and where blocks are
/// asked for one after the other, some are fetched ahead.
///
/// For one reader at a time.
public actor VolumeReader {
    private static let cacheBytes = 64 << 20
    private static let nodesKept = 256
    public static let usualReadAhead = 8

    public nonisolated let root: MapRoot
    private let nodes: MapNodeReader
    private let fetcher: BlockFetcher
    private var inner: RecentlyUsed<Piece, InnerNode>
    private var leaves: RecentlyUsed<Piece, LeafNode>
    /// nil for blocks of zeros.
    private var blocks: RecentlyUsed<UInt64, [UInt8]?>
    /// The block after the last one that was fetched.
    private var expected: UInt64?
    private let readAhead: Int

    /// - Parameter readAhead: how many blocks are fetched at a time where they are asked for one after the other.
    public init(_ map: StoredMap, readAhead: Int = usualReadAhead, meter: TransferMeter = TransferMeter()) {
        root = map.root
        self.readAhead = readAhead
        let pieces = PieceReader(store: map.store, lineage: map.lineage, meter: meter)
        nodes = MapNodeReader(pieces: pieces)
        let blockBytes = map.root.blockSize.bytes
        fetcher = BlockFetcher(
            pieces: pieces, blockSize: map.root.blockSize,
            benches: WorkBenches(
                count: 2, plainBytes: blockBytes, scratchBytes: BlockPatch.maximumLength(map.root.blockSize)),
            fetches: AsyncLimiter(readAhead))
        inner = RecentlyUsed(capacity: Self.nodesKept)
        leaves = RecentlyUsed(capacity: Self.nodesKept)
        blocks = RecentlyUsed(capacity: Self.cacheBytes / blockBytes)
    }

    /// Bytes of the volume, verified.
    ///
    /// - Throws: `outOfRange` where they lie past its end; `corrupt` or `unsupported`, naming object, bytes and blocks; what
    ///   the store throws.
    public func read(_ range: Range<UInt64>) async throws -> [UInt8] {
        guard range.upperBound <= root.capacityBytes else {
            throw PerSSDError(
                .outOfRange,
                "bytes \(range.lowerBound) to \(range.upperBound) lie past a volume of \(root.capacityBytes) bytes")
        }
        var result = [UInt8](repeating: 0, count: range.count)
        for number in root.geometry.blocks(touching: range) {
            guard let plain = try await block(number) else { continue }
            let start = number << UInt64(root.blockSize.log2)
            let part = (start..<start + UInt64(plain.count)).clamped(to: range)
            let target = Int(part.lowerBound - range.lowerBound)
            result.replaceSubrange(
                target..<target + part.count,
                with: plain[Int(part.lowerBound - start)..<Int(part.upperBound - start)])
        }
        return result
    }

    private func block(_ number: UInt64) async throws -> [UInt8]? {
        if let known = blocks[number] { return known }
        let ahead = number == expected ? UInt64(readAhead) : 1
        var wanted: [FetchBatch.Block] = []
        let end = min(number + ahead, root.geometry.blockCount)
        for candidate in number..<end where candidate == number || blocks[candidate] == nil {
            if let entry = try await entry(of: candidate) {
                wanted.append(.init(number: candidate, entry: entry))
            } else {
                blocks[candidate] = .some(nil)
            }
        }
        let fetched = try await Self.fetch(wanted, with: fetcher)
        for (block, plain) in fetched { blocks[block] = plain }
        expected = end
        return fetched[number]
    }

    private static func fetch(
        _ wanted: [FetchBatch.Block], with fetcher: BlockFetcher
    ) async throws -> [UInt64: [UInt8]] {
        let fetched = Mutex<[UInt64: [UInt8]]>([:])
        let keep: @Sendable (UInt64, UnsafeRawBufferPointer) throws -> Void = { block, plain in
            fetched.withLock { $0[block] = Array(plain) }
        }
        try await withThrowingTaskGroup(of: Void.self) { group in
            for batch in FetchPlan.batches(wanted) {
                group.addTask { try await fetcher.fetch(batch, deliver: keep) }
            }
            try await group.waitForAll()
        }
        return fetched.withLock { $0 }
    }

    /// What the map says of a block; nil where it is all zeros.
    private func entry(of block: UInt64) async throws -> BlockEntry? {
        guard var pointer = root.top else { return nil }
        let geometry = root.geometry
        let slotMask = UInt64(geometry.fanOut - 1)
        for level in stride(from: geometry.levels - 1, to: 0, by: -1) {
            let index = block >> UInt64(geometry.blocksLog2(level: level))
            let place = MapNodeCoding.Place(geometry: geometry, level: level, index: index)
            let slot = (block >> UInt64(geometry.blocksLog2(level: level - 1))) & slotMask
            guard let child = try await innerNode(pointer, at: place).child(at: UInt16(slot)) else { return nil }
            pointer = child
        }
        let place = MapNodeCoding.Place(
            geometry: geometry, level: 0, index: block >> UInt64(geometry.blocksLog2(level: 0)))
        return try await leaf(pointer, at: place).entry(at: UInt16(block & slotMask))
    }

    private func innerNode(_ pointer: NodePointer, at place: MapNodeCoding.Place) async throws -> InnerNode {
        if let known = inner[pointer.piece] { return known }
        let node = try await nodes.inner(pointer, at: place)
        inner[pointer.piece] = node
        return node
    }

    private func leaf(_ pointer: NodePointer, at place: MapNodeCoding.Place) async throws -> LeafNode {
        if let known = leaves[pointer.piece] { return known }
        let node = try await nodes.leaf(pointer, at: place)
        leaves[pointer.piece] = node
        return node
    }
}

/// Values by key, of which those that were not used for the longest time go where there are too many.
struct RecentlyUsed<Key: Hashable, Value> {
    private var values: [Key: (value: Value, lastUse: UInt64)] = [:]
    private var uses: UInt64 = 0
    private let capacity: Int

    init(capacity: Int) { self.capacity = capacity }

    subscript(key: Key) -> Value? {
        mutating get {
            guard let found = values[key] else { return nil }
            uses += 1
            values[key]?.lastUse = uses
            return found.value
        }
        set {
            uses += 1
            values[key] = newValue.map { ($0, uses) }
            while values.count > capacity, let oldest = values.min(by: { $0.value.lastUse < $1.value.lastUse }) {
                values.removeValue(forKey: oldest.key)
            }
        }
    }
}
