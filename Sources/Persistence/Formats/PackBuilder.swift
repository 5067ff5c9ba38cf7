import Digests
import Errors

/// A pack while it is put together in memory.
struct PackBuilder {
    let id: PackID
    private let header: [UInt8]
    private var entries: [PackEntry] = []
    /// The pack so far.
    private(set) var bytes: [UInt8]

    init(id: PackID = .random(), lineage: String) {
        var storage: [UInt8] = []
        self.init(id: id, lineage: lineage, storage: &storage, capacity: 0)
    }

    /// - Parameters:
    ///   - storage: an array whose memory is taken over; its contents are dropped.
    ///   - capacity: for how many bytes memory is set aside, so that the pack need not move as it grows.
    init(id: PackID = .random(), lineage: String, storage: inout [UInt8], capacity: Int) {
        self.id = id
        header = PackFormat.header(pack: id, lineage: lineage)
        bytes = []
        swap(&bytes, &storage)
        bytes.removeAll(keepingCapacity: true)
        bytes.reserveCapacity(capacity)
        bytes.append(contentsOf: header)
    }

    var isEmpty: Bool { entries.isEmpty }

    /// The size of the whole pack with one more piece of `count` stored bytes.
    func size(withPieceOf count: Int) -> Int {
        bytes.count + count + (entries.count + 1) * PackFormat.entryLength + PackFormat.footerLength
    }

    /// Takes a piece, which must leave the pack below 4 GiB.
    mutating func append(
        _ stored: UnsafeRawBufferPointer, kind: PieceKind, compression: Compression, plainLength: Int, digest: Digest
    ) -> Piece {
        let piece = Piece(
            pack: id, offset: UInt32(bytes.count), storedLength: UInt32(stored.count),
            plainLength: UInt32(plainLength), compression: compression, digest: digest)
        bytes.append(contentsOf: stored)
        entries.append(PackEntry(kind: kind, piece: piece))
        return piece
    }

    /// Adds index and footer, and gives the pack's bytes away; nothing can be appended afterwards.
    mutating func finish() -> [UInt8] {
        bytes.append(contentsOf: PackFormat.trailer(entries: entries, at: UInt32(bytes.count), header: header))
        var pack: [UInt8] = []
        swap(&pack, &bytes)
        return pack
    }
}
