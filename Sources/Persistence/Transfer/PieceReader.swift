import Digests
import Errors
import Synchronization
import Zstandard

/// Reads pieces from the packs of one lineage, and accepts them only as they were written.
struct PieceReader: Sendable {
    let store: any ObjectStore
    let lineage: String
    let meter: TransferMeter
    private let moves = KnownMoves()

    init(store: any ObjectStore, lineage: String, meter: TransferMeter) {
        (self.store, self.lineage, self.meter) = (store, lineage, meter)
    }

    /// Bytes of a pack, which have to be there. Where the pack was rewritten they are put together from where its pieces went;
    /// between those that are still needed there are zeros then.
    ///
    /// - Parameter blocks: what of the volume hangs on them, for the error.
    /// - Throws: `corrupt`, naming object, bytes and blocks, where they are not there; what the store throws.
    func bytes(
        of pack: PackID, _ range: Range<UInt64>, for blocks: Range<UInt64>
    ) async throws -> [UInt8] {
        let key = try pack.key(lineage: lineage)
        var bytes: [UInt8]?
        do {
            if moves.table(of: pack) == nil { bytes = try await store.read(key, range: range) }
            if bytes == nil { bytes = try await movedBytes(of: pack, range, for: blocks) }
        } catch let error as PerSSDError where error.code == .corrupt {
            throw Self.damaged(key, range, blocks: blocks, cause: error)
        }
        guard let bytes else {
            throw Self.damaged(key, range, blocks: blocks, cause: PerSSDError(.notFound, "there is no such object"))
        }
        guard bytes.count == range.count else {
            let cause = PerSSDError(.corrupt, "the store sent \(bytes.count) bytes where \(range.count) were asked for")
            throw Self.damaged(key, range, blocks: blocks, cause: cause)
        }
        meter.count {
            $0.readRequests += 1
            $0.receivedBytes += UInt64(bytes.count)
        }
        return bytes
    }

    /// Where the pieces of a pack went; nil where it was never rewritten.
    func table(of pack: PackID) async throws -> MovedPieces? {
        if let known = moves.table(of: pack) { return known }
        let table = try await MovedPieces.load(pack, lineage: lineage, from: store)
        if let table { moves.note(table) }
        return table
    }

    private func movedBytes(
        of pack: PackID, _ range: Range<UInt64>, for blocks: Range<UInt64>
    ) async throws -> [UInt8]? {
        guard let table = try await table(of: pack) else { return nil }
        let runs = table.runs(within: range)
        guard runs.first?.from == range.lowerBound else { return nil }
        var bytes = [UInt8](repeating: 0, count: range.count)
        for run in runs {
            // What it went into may have been rewritten in turn.
            let part = try await self.bytes(of: table.into, run.to..<run.to + run.length, for: blocks)
            let start = Int(run.from - range.lowerBound)
            bytes.replaceSubrange(start..<start + part.count, with: part)
        }
        return bytes
    }

    /// For one piece whose `stored` bytes are at hand: what it holds, in `plain`, verified.
    ///
    /// - Throws: `corrupt`, naming object, bytes and blocks.
    func decode(
        _ piece: Piece, stored: UnsafeRawBufferPointer, into plain: UnsafeMutableRawBufferPointer,
        for blocks: Range<UInt64>, with decompressor: ZstdDecompressor
    ) throws {
        try named(piece, blocks) {
            guard plain.count == Int(piece.plainLength) else {
                throw PerSSDError(.corrupt, "a piece of \(piece.plainLength) bytes where \(plain.count) must be")
            }
            switch piece.compression {
            case .none: plain.copyMemory(from: stored)
            case .zstd: try decompressor.decompress(stored, into: plain)
            }
            try Self.check(piece, UnsafeRawBufferPointer(plain))
        }
    }

    static func check(_ piece: Piece, _ plain: UnsafeRawBufferPointer) throws {
        let digest = SHA256.digest(plain)
        guard digest == piece.digest else {
            throw PerSSDError(.corrupt, "SHA-256 is \(digest), and \(piece.digest) was written")
        }
    }

    /// Says of an error of `body` which piece and blocks it is about.
    func named<Value>(_ piece: Piece, _ blocks: Range<UInt64>, _ body: () throws -> Value) throws -> Value {
        do {
            return try body()
        } catch let error as PerSSDError where error.code == .corrupt || error.code == .unsupported {
            throw Self.damaged(try piece.pack.key(lineage: lineage), piece.range, blocks: blocks, cause: error)
        }
    }

    static func damaged(
        _ key: ObjectKey, _ range: Range<UInt64>, blocks: Range<UInt64>, cause: PerSSDError
    ) -> PerSSDError {
        PerSSDError(
            cause.code == .unsupported ? .unsupported : .corrupt,
            "bytes \(range.lowerBound) to \(range.upperBound) of object \(key), which hold "
                + (blocks.count == 1
                    ? "block \(blocks.lowerBound)" : "blocks \(blocks.lowerBound) to \(blocks.upperBound)")
                + " of the volume, cannot be used",
            cause: cause)
    }
}

/// The tables of rewritten packs that a reader has come upon.
private final class KnownMoves: Sendable {
    private let tables = Mutex<[PackID: MovedPieces]>([:])

    func table(of pack: PackID) -> MovedPieces? { tables.withLock { $0[pack] } }
    func note(_ table: MovedPieces) { tables.withLock { $0[table.pack] = table } }
}

/// Reads the nodes of block maps.
struct MapNodeReader: Sendable {
    let pieces: PieceReader

    func leaf(_ pointer: NodePointer, at place: MapNodeCoding.Place) async throws -> LeafNode {
        try await node(pointer, at: place) { bytes in
            let leaf = try MapNodeCoding.decodeLeaf(bytes, at: place)
            try Self.check(
                pointer, content: ContentDigest.of(leaf, blockSize: place.geometry.blockSize), totals: leaf.totals)
            return leaf
        }
    }

    func inner(_ pointer: NodePointer, at place: MapNodeCoding.Place) async throws -> InnerNode {
        try await node(pointer, at: place) { bytes in
            let node = try MapNodeCoding.decodeInner(bytes, at: place)
            try Self.check(pointer, content: ContentDigest.of(node, level: place.level), totals: node.totals)
            return node
        }
    }

    private func node<Node>(
        _ pointer: NodePointer, at place: MapNodeCoding.Place, decode: (UnsafeRawBufferPointer) throws -> Node
    ) async throws -> Node {
        let piece = pointer.piece
        let stored = try await pieces.bytes(of: piece.pack, piece.range, for: place.blocks)
        pieces.meter.count { $0.nodesRead += 1 }
        var plain = [UInt8](repeating: 0, count: Int(piece.plainLength))
        try plain.withUnsafeMutableBytes { plain in
            try stored.withUnsafeBytes {
                try pieces.decode(piece, stored: $0, into: plain, for: place.blocks, with: ZstdDecompressor())
            }
        }
        return try pieces.named(piece, place.blocks) { try plain.withUnsafeBytes(decode) }
    }

    /// Whoever pointed here said what is here.
    private static func check(_ pointer: NodePointer, content: Digest, totals: MapTotals?) throws {
        guard content == pointer.content else {
            throw PerSSDError(.corrupt, "the map node's contents are \(content), and \(pointer.content) was written")
        }
        let own = MapTotals(mapBytes: UInt64(pointer.piece.storedLength))
        guard let sum = totals?.adding(own), sum == pointer.totals else {
            throw PerSSDError(.corrupt, "the map node's totals are not those that were written")
        }
    }
}
