import Digests

/// What a block map says of one block that is not all zeros.
public struct BlockEntry: Sendable, Hashable {
    /// At most so many patches stand on one base, so that a read stays bounded.
    public static let maximumPatches = 4

    /// SHA-256 of the block's plain contents.
    public var digest: Digest
    /// The block as a whole: the contents themselves, or what the patches start from.
    public var base: Piece
    /// Each replaces some pages of what is before it, in this order; empty for a block that is stored whole.
    public var patches: [Piece]

    public init(digest: Digest, base: Piece, patches: [Piece] = []) {
        (self.digest, self.base, self.patches) = (digest, base, patches)
    }

    /// All that must be read to have the block.
    public var pieces: [Piece] { [base] + patches }

    /// Whether `old` with further patches on it is this: then whoever holds that needs the patches alone.
    func extends(_ old: BlockEntry) -> Bool {
        base == old.base && patches.count > old.patches.count && patches.starts(with: old.patches)
    }

    var storedBytes: UInt64 { patches.reduce(UInt64(base.storedLength)) { $0 + UInt64($1.storedLength) } }
}

/// Sums over all that a node reaches.
public struct MapTotals: Sendable, Hashable, Codable {
    /// Blocks that are not all zeros.
    public var blocks: UInt64
    /// Stored bytes of the pieces of those blocks; a piece that several blocks share counts for each.
    public var blockBytes: UInt64
    /// Stored bytes of the map's own nodes.
    public var mapBytes: UInt64

    public init(blocks: UInt64 = 0, blockBytes: UInt64 = 0, mapBytes: UInt64 = 0) {
        (self.blocks, self.blockBytes, self.mapBytes) = (blocks, blockBytes, mapBytes)
    }

    /// nil where a sum does not fit, which only bytes that nobody wrote can say.
    func adding(_ other: MapTotals) -> MapTotals? {
        let sums = [
            blocks.addingReportingOverflow(other.blocks), blockBytes.addingReportingOverflow(other.blockBytes),
            mapBytes.addingReportingOverflow(other.mapBytes),
        ]
        guard !sums.contains(where: \.overflow) else { return nil }
        return MapTotals(
            blocks: sums[0].partialValue, blockBytes: sums[1].partialValue, mapBytes: sums[2].partialValue)
    }
}

/// A pointer to a node of a block map.
public struct NodePointer: Sendable, Hashable {
    public var piece: Piece
    /// Names the contents of the blocks below, wherever and however they are stored; see `ContentDigest`.
    public var content: Digest
    /// Of the node and all below it.
    public var totals: MapTotals

    public init(piece: Piece, content: Digest, totals: MapTotals) {
        (self.piece, self.content, self.totals) = (piece, content, totals)
    }
}

/// A leaf: the blocks of one stretch of the volume that are not all zeros.
struct LeafNode: Sendable, Equatable {
    struct Entry: Sendable, Equatable {
        var slot: UInt16
        var block: BlockEntry
    }
    /// Ascending by slot, never empty in a stored node.
    var entries: [Entry] = []
}

/// An inner node: its children that are not all zeros.
struct InnerNode: Sendable, Equatable {
    struct Entry: Sendable, Equatable {
        var slot: UInt16
        var child: NodePointer
    }
    /// Ascending by slot, never empty in a stored node.
    var entries: [Entry] = []
}

extension LeafNode {
    func entry(at slot: UInt16) -> BlockEntry? {
        position(of: slot, in: entries, by: \.slot).map { entries[$0].block }
    }

    /// Without the node itself, whose stored length only its writer knows.
    var totals: MapTotals? {
        entries.reduce(MapTotals()) { sum, entry in
            sum?.adding(MapTotals(blocks: 1, blockBytes: entry.block.storedBytes))
        }
    }
}

extension InnerNode {
    func child(at slot: UInt16) -> NodePointer? {
        position(of: slot, in: entries, by: \.slot).map { entries[$0].child }
    }

    /// Without the node itself, whose stored length only its writer knows.
    var totals: MapTotals? {
        entries.reduce(MapTotals()) { sum, entry in sum?.adding(entry.child.totals) }
    }
}

private func position<Entry>(of slot: UInt16, in entries: [Entry], by key: (Entry) -> UInt16) -> Int? {
    var low = 0
    var high = entries.count
    while low < high {
        let middle = (low + high) / 2
        if key(entries[middle]) < slot { low = middle + 1 } else { high = middle }
    }
    return low < entries.count && key(entries[low]) == slot ? low : nil
}
