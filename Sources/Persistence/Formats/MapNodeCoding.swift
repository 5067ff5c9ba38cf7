import Digests
import Errors

/// The bytes of block map nodes; byte by byte in docs/formats.md.
///
/// A node says of itself which blocks it covers, so that one in another's place is noticed even where its digest was
/// taken along.
enum MapNodeCoding {
    static let version: UInt16 = 1
    private static let magic: StaticString = "PERSSDMN"
    private static let storedWhole: UInt8 = 1
    private static let storedPatched: UInt8 = 2

    /// Where a node stands in its tree.
    struct Place: Sendable, Equatable {
        var geometry: MapGeometry
        /// 0 for leaves.
        var level: Int
        var index: UInt64

        var blocks: Range<UInt64> { geometry.blocks(level: level, index: index) }
    }

    static func encode(_ leaf: LeafNode, at place: Place) -> [UInt8] {
        let table = PackTable(leaf.entries.lazy.flatMap { $0.block.pieces })
        var writer = header(place, table: table, count: leaf.entries.count, entryLength: 56)
        for entry in leaf.entries {
            let block = entry.block
            writer.integer(entry.slot)
            writer.integer(block.patches.isEmpty ? storedWhole : storedPatched)
            writer.integer(UInt8(block.patches.count))
            writer.digest(block.digest)
            if block.patches.isEmpty {
                writer.locator(block.base, in: table)
            } else {
                for piece in block.pieces { writer.piece(piece, in: table) }
            }
        }
        return writer.bytes
    }

    static func encode(_ node: InnerNode, at place: Place) -> [UInt8] {
        let table = PackTable(node.entries.lazy.map(\.child.piece))
        var writer = header(place, table: table, count: node.entries.count, entryLength: 112)
        for entry in node.entries {
            writer.integer(entry.slot)
            writer.integer(UInt16(0))  // flags
            writer.piece(entry.child.piece, in: table)
            writer.digest(entry.child.content)
            writer.integer(entry.child.totals.blocks)
            writer.integer(entry.child.totals.blockBytes)
            writer.integer(entry.child.totals.mapBytes)
        }
        return writer.bytes
    }

    /// - Throws: `corrupt` or `unsupported`, without the object's name.
    static func decodeLeaf(_ bytes: UnsafeRawBufferPointer, at place: Place) throws -> LeafNode {
        var reader = BinaryReader(bytes)
        let (packs, count) = try header(&reader, at: place)
        var leaf = LeafNode()
        leaf.entries.reserveCapacity(count)
        var slots = SlotCheck(place)
        for _ in 0..<count {
            let slot = try slots.next(reader.integer())
            leaf.entries.append(.init(slot: slot, block: try block(&reader, packs: packs, place: place)))
        }
        try reader.end("the map node")
        return leaf
    }

    private static func block(_ reader: inout BinaryReader, packs: [PackID], place: Place) throws -> BlockEntry {
        let kind: UInt8 = try reader.integer()
        let patchCount: UInt8 = try reader.integer()
        let digest = try reader.digest()
        let entry: BlockEntry
        switch kind {
        case storedWhole where patchCount == 0:
            entry = BlockEntry(digest: digest, base: try reader.locator(packs: packs, digest: digest))
        case storedPatched where (1...BlockEntry.maximumPatches).contains(Int(patchCount)):
            let base = try reader.piece(packs: packs)
            var patches: [Piece] = []
            for _ in 0..<patchCount { patches.append(try reader.piece(packs: packs)) }
            entry = BlockEntry(digest: digest, base: base, patches: patches)
        case storedWhole, storedPatched:
            throw PerSSDError(.corrupt, "a block with \(patchCount) patches is impossible")
        default:
            throw unknownFormat("a block stored in way", kind)
        }
        guard Int(entry.base.plainLength) == place.geometry.blockSize.bytes else {
            throw PerSSDError(.corrupt, "a block of \(entry.base.plainLength) bytes is in a map of others")
        }
        return entry
    }

    /// - Throws: `corrupt` or `unsupported`, without the object's name.
    static func decodeInner(_ bytes: UnsafeRawBufferPointer, at place: Place) throws -> InnerNode {
        var reader = BinaryReader(bytes)
        let (packs, count) = try header(&reader, at: place)
        var node = InnerNode()
        node.entries.reserveCapacity(count)
        var slots = SlotCheck(place)
        for _ in 0..<count {
            let slot = try slots.next(reader.integer())
            try reader.zero(2, "a flag of a map entry")
            let child = NodePointer(
                piece: try reader.piece(packs: packs), content: try reader.digest(),
                totals: MapTotals(
                    blocks: try reader.integer(), blockBytes: try reader.integer(), mapBytes: try reader.integer()))
            node.entries.append(.init(slot: slot, child: child))
        }
        try reader.end("the map node")
        return node
    }

    private static func header(_ place: Place, table: PackTable, count: Int, entryLength: Int) -> BinaryWriter {
        var writer = BinaryWriter(capacity: 32 + table.packs.count * PackID.length + count * entryLength)
        magic.withUTF8Buffer { writer.raw($0) }
        writer.integer(version)
        writer.integer(UInt8(place.level))
        writer.integer(place.geometry.fanOutLog2)
        writer.integer(place.geometry.blockSize.log2)
        writer.integer(UInt8(0))  // flags
        writer.integer(UInt16(table.packs.count))
        writer.integer(place.index)
        writer.integer(UInt32(count))
        writer.integer(UInt32(0))  // reserved
        for pack in table.packs { writer.raw(pack.bytes) }
        return writer
    }

    private static func header(_ reader: inout BinaryReader, at place: Place) throws -> ([PackID], Int) {
        try reader.magic(magic, "the map node")
        try reader.version(version, of: "the map node")
        let level: UInt8 = try reader.integer()
        let fanOut: UInt8 = try reader.integer()
        let blockSize: UInt8 = try reader.integer()
        try reader.zero(1, "a flag of the map node")
        let packCount: UInt16 = try reader.integer()
        let index: UInt64 = try reader.integer()
        let count: UInt32 = try reader.integer()
        try reader.zero(4, "a reserved field of the map node")
        guard Int(level) == place.level, index == place.index, fanOut == place.geometry.fanOutLog2,
            blockSize == place.geometry.blockSize.log2
        else {
            throw PerSSDError(.corrupt, "the map node belongs elsewhere: level \(level), index \(index)")
        }
        guard (1...UInt32(place.geometry.fanOut)).contains(count) else {
            throw PerSSDError(.corrupt, "a map node with \(count) entries is impossible")
        }
        var packs: [PackID] = []
        packs.reserveCapacity(Int(packCount))
        for _ in 0..<packCount { packs.append(PackID(try reader.raw(PackID.length))!) }
        return (packs, Int(count))
    }
}

/// Slots ascend, and lie within the volume.
private struct SlotCheck {
    private var lowest = 0
    private let end: Int

    init(_ place: MapNodeCoding.Place) {
        let geometry = place.geometry
        let shift = place.level == 0 ? 0 : UInt64(geometry.blocksLog2(level: place.level - 1))
        let blocks = place.blocks
        end = Int((UInt64(blocks.count) + (1 << shift) - 1) >> shift)
    }

    mutating func next(_ slot: UInt16) throws -> UInt16 {
        guard Int(slot) >= lowest, Int(slot) < end else {
            throw PerSSDError(.corrupt, "entry \(slot) of a map node is out of order, or past the volume's end")
        }
        lowest = Int(slot) + 1
        return slot
    }
}
