import Errors
import Foundation

/// Packs of which little is needed are given up, and the rest of them is brought into new ones.
///
/// Pointers into an old pack cannot be changed, as they are part of map nodes that are named by their digests. So a table says
/// where each piece went; whoever misses the old pack finds it there.
extension LineageCollection {
    /// Bytes between two pieces that are read along, rather than making another request.
    private static let tolerableGap: UInt64 = 128 << 10
    private static let packBytes = 32 << 20

    /// What goes into one new pack.
    private struct Move {
        var builder: PackBuilder
        var tables: [MovedPieces] = []
    }

    /// - Returns: the packs that nobody needs any more, because each piece of them that is needed is elsewhere.
    mutating func rewrite(by judgement: Judgement) async throws -> Set<PackID> {
        let candidates = lineage.packs.filter { pack, object in
            isOld(object) && judgement.tables[pack] == nil && isWorthIt(judgement.live.pieces(of: pack), object.size)
        }
        guard !candidates.isEmpty else { return [] }
        var done: Set<PackID> = []
        var move = Move(builder: PackBuilder(lineage: lineage.name))
        for pack in candidates.keys.sorted(by: { $0.precedes($1) }) {
            try Task.checkCancellation()
            let needed = judgement.live.pieces(of: pack)
            report.movedBytes += needed.values.reduce(0) { $0 + UInt64($1) }
            if isDry {
                done.insert(pack)
                continue
            }
            let pieces = try await read(needed, of: pack)
            let length = pieces.reduce(0) { $0 + $1.bytes.count + PackFormat.entryLength }
            if !move.builder.isEmpty, move.builder.size(withPieceOf: length) > Self.packBytes {
                done.formUnion(try await finish(move))
                move = Move(builder: PackBuilder(lineage: lineage.name))
            }
            let entries = pieces.map { entry, bytes in
                let piece = bytes.withUnsafeBytes {
                    move.builder.append(
                        $0, kind: entry.kind, compression: entry.piece.compression,
                        plainLength: Int(entry.piece.plainLength), digest: entry.piece.digest)
                }
                return MovedPieces.Entry(
                    from: entry.piece.offset, to: piece.offset, storedLength: piece.storedLength)
            }
            move.tables.append(MovedPieces(pack: pack, into: move.builder.id, entries: entries))
        }
        if !move.builder.isEmpty { done.formUnion(try await finish(move)) }
        report.rewritten += done.sorted { $0.precedes($1) }
        return done
    }

    /// - Parameter needed: offsets and lengths of pieces of a pack of `size` bytes.
    private func isWorthIt(_ needed: [UInt32: UInt32], _ size: UInt64) -> Bool {
        guard !needed.isEmpty else { return false }
        // As long as a pack of just these would be: many small pieces are mostly index.
        let frame = PackFormat.headerLength + PackFormat.footerLength + needed.count * PackFormat.entryLength
        let length = needed.values.reduce(UInt64(frame)) { $0 + UInt64($1) }
        return length * 100 < size * UInt64(options.rewrittenBelowPercent)
            && size >= length + options.rewrittenFromBytes
    }

    /// The pieces of a pack that are needed, as its index describes them.
    private func read(
        _ needed: [UInt32: UInt32], of pack: PackID
    ) async throws -> [(entry: PackEntry, bytes: [UInt8])] {
        let reader = PieceReader(store: catalog.store, lineage: lineage.name, meter: TransferMeter())
        let entries = try await PackReader(pieces: reader).entries(of: pack, for: 0..<0)
            .filter { needed[$0.piece.offset] == $0.piece.storedLength }
        guard entries.count == needed.count else {
            throw PerSSDError(
                .corrupt, "the index of pack \(pack) of lineage \(lineage.name) lacks pieces that block maps name")
        }
        var runs: [[PackEntry]] = []
        for entry in entries {
            if let last = runs.last?.last,
                entry.piece.range.lowerBound <= last.piece.range.upperBound + Self.tolerableGap
            {
                runs[runs.count - 1].append(entry)
            } else {
                runs.append([entry])
            }
        }
        var found: [(PackEntry, [UInt8])] = []
        for run in runs {
            guard let first = run.first?.piece.range.lowerBound, let end = run.last?.piece.range.upperBound else {
                continue
            }
            let bytes = try await reader.bytes(of: pack, first..<end, for: 0..<0)
            for entry in run {
                let range = entry.piece.range
                found.append((entry, Array(bytes[Int(range.lowerBound - first)..<Int(range.upperBound - first)])))
            }
        }
        return found
    }

    /// Writes a pack, and only then the tables that lead to it.
    ///
    /// - Returns: the old packs that it stands for. One that another collection has moved meanwhile is not among them.
    private func finish(_ move: Move) async throws -> Set<PackID> {
        var builder = move.builder
        let key = try builder.id.key(lineage: lineage.name)
        _ = try await catalog.store.write(key, builder.finish(), condition: .absent)
        var done: Set<PackID> = []
        for table in move.tables {
            do {
                let key = try MovedPieces.key(of: table.pack, lineage: lineage.name)
                _ = try await catalog.store.write(key, table.encoded(lineage: lineage.name), condition: .absent)
                done.insert(table.pack)
            } catch let error as PerSSDError where error.code == .conflict {
                // What was written here for it is garbage.
            }
        }
        return done
    }
}
