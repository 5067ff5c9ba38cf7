import CatalogTestSupport
import Digests
import Errors
import Foundation
import Synchronization
import TransferTestSupport
import Zstandard

@testable import Persistence

/// What each block of a volume holds: a stamp that fills it, or 0.
typealias Contents = [UInt64]

enum Shape {
    static let blockBytes = 65_536
    static let blocks = 8
    static let empty = Contents(repeating: 0, count: blocks)

    static func bytes(_ contents: Contents) -> [UInt8] {
        var bytes = [UInt8](repeating: 0, count: blocks * blockBytes)
        bytes.withUnsafeMutableBytes { raw in
            let words = raw.bindMemory(to: UInt64.self)
            let each = blockBytes / 8
            for (block, stamp) in contents.enumerated() where stamp != 0 {
                for word in block * each..<(block + 1) * each { words[word] = stamp }
            }
        }
        return bytes
    }

    /// Of a block that this stamp fills; nil for zeros.
    static func digest(_ stamp: UInt64) -> Digest? {
        guard stamp != 0 else { return nil }
        return digests.withLock { known in
            if let digest = known[stamp] { return digest }
            var block = [UInt8](repeating: 0, count: blockBytes)
            block.withUnsafeMutableBytes { raw in
                let words = raw.bindMemory(to: UInt64.self)
                for word in words.indices { words[word] = stamp }
            }
            let digest = SHA256.digest(block)
            known[stamp] = digest
            return digest
        }
    }
    private static let digests = Mutex<[UInt64: Digest]>([:])
}

/// What a simulation knows to be true, whatever the bucket says.
final class Model: Sendable {
    struct Branch {
        var volume: VolumeID
        var incarnation: Incarnation
        var contents: Contents
    }

    struct Truth {
        /// What each generation that was ever written holds, by the digest of its record.
        var contents: [GenerationReference: Contents] = [:]
        /// Of records that were written, and of those that a head has named.
        var committed: Set<GenerationReference> = []
        /// What somebody was told to have, and nobody began to take away.
        var volumes: [VolumeID: Incarnation] = [:]
        var snapshots: [SnapshotID: GenerationReference] = [:]
        var pins: [String: GenerationReference] = [:]
        var readers: [String: GenerationReference] = [:]
        var branches: [String: Branch] = [:]
        var problems: [String] = []
        var counts: [String: Int] = [:]
        var stamp: UInt64 = 0
    }
    private let truth = Mutex(Truth())

    func with<Value>(_ body: (inout sending Truth) -> sending Value) -> sending Value { truth.withLock { body(&$0) } }
    func count(_ what: String) { truth.withLock { $0.counts[what, default: 0] += 1 } }
    func problem(_ what: String) { truth.withLock { $0.problems.append(what) } }

    /// A generation's record has been removed: nobody may have been told that he has it.
    func note(removed path: String) {
        truth.withLock { truth in
            let had = Array(truth.snapshots.values) + truth.pins.values + truth.readers.values
            for one in had where (try? CatalogKey.generation(one.volume, one.incarnation, one.number).path) == path {
                truth.problems.append("\(one) is removed, and pinned")
            }
        }
    }

    func freshStamp() -> UInt64 {
        truth.withLock { truth in
            truth.stamp += 1
            return truth.stamp
        }
    }
}

/// Reads what the bucket holds straight from the store, with every digest checked, and without threads.
struct BucketReader {
    let store: MemoryStore

    struct Found {
        /// Of each block; nil for zeros.
        var digests = [Digest?](repeating: nil, count: Shape.blocks)
        /// Where all of it lies, and the rewritten packs on the way there.
        var packs: Set<PackID> = []
        var tables: Set<PackID> = []
    }

    /// - Parameter isIncomplete: whether what cannot be read is left out.
    func read(_ map: MapRoot, lineage: String, isIncomplete: Bool = false) async throws -> Found {
        var found = Found()
        guard let top = map.top else { return found }
        let reader = PieceReader(store: store, lineage: lineage, meter: TransferMeter())
        var queue = [(top, map.topPlace)]
        while let (pointer, place) = queue.popLast() {
            do {
                try note(pointer.piece, &found, lineage)
                queue += try await read(pointer, at: place, reader, &found)
            } catch  where isIncomplete {}
        }
        return found
    }

    /// - Returns: the nodes below.
    private func read(
        _ pointer: NodePointer, at place: MapNodeCoding.Place, _ reader: PieceReader, _ found: inout Found
    ) async throws -> [(NodePointer, MapNodeCoding.Place)] {
        let nodes = MapNodeReader(pieces: reader)
        if place.level > 0 {
            return try await nodes.inner(pointer, at: place).entries.map { entry in
                let index = place.index << UInt64(place.geometry.fanOutLog2) + UInt64(entry.slot)
                return (entry.child, .init(geometry: place.geometry, level: place.level - 1, index: index))
            }
        }
        var failure: (any Error)?
        for entry in try await nodes.leaf(pointer, at: place).entries {
            let block = place.blocks.lowerBound + UInt64(entry.slot)
            found.digests[Int(block)] = entry.block.digest
            for piece in entry.block.pieces {
                do {
                    try note(piece, &found, reader.lineage)
                    try await check(piece, of: block, reader)
                } catch {
                    failure = error
                }
            }
        }
        if let failure { throw failure }
        return []
    }

    private func check(_ piece: Piece, of block: UInt64, _ reader: PieceReader) async throws {
        let stored = try await reader.bytes(of: piece.pack, piece.range, for: block..<block + 1)
        var plain = [UInt8](repeating: 0, count: Int(piece.plainLength))
        try plain.withUnsafeMutableBytes { plain in
            try stored.withUnsafeBytes {
                try reader.decode(piece, stored: $0, into: plain, for: block..<block + 1, with: ZstdDecompressor())
            }
        }
    }

    /// Where a piece is now.
    private func note(_ piece: Piece, _ found: inout Found, _ lineage: String) throws {
        var (pack, offset) = (piece.pack, piece.offset)
        while let bytes = store.bytes(MovedPieces.folder(lineage: lineage) + pack.description) {
            let table = try MovedPieces(decoding: bytes, of: pack, lineage: lineage)
            guard let place = table.place(of: offset) else {
                throw PerSSDError(.notFound, "pack \(pack) was rewritten without the piece at \(offset)")
            }
            found.tables.insert(pack)
            (pack, offset) = (table.into, place)
        }
        found.packs.insert(pack)
    }
}
