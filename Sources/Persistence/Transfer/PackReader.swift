import Errors

/// Reads what a pack says of itself.
struct PackReader: Sendable {
    let pieces: PieceReader

    /// The pieces of a pack, by its index. Of one that was rewritten those of the pack that it went into.
    ///
    /// - Parameter blocks: what of the volume hangs on it, for the error.
    /// - Throws: `corrupt` or `unsupported`, naming the object, where header, index and footer are not as written.
    func entries(of pack: PackID, for blocks: Range<UInt64>) async throws -> [PackEntry] {
        let key = try pack.key(lineage: pieces.lineage)
        pieces.meter.count { $0.readRequests += 1 }
        guard let size = try await pieces.store.info(key)?.size else {
            if let table = try await pieces.table(of: pack) { return try await entries(of: table.into, for: blocks) }
            let cause = PerSSDError(.notFound, "there is no such object")
            throw PieceReader.damaged(key, 0..<UInt64(PackFormat.headerLength), blocks: blocks, cause: cause)
        }
        do {
            guard size >= UInt64(PackFormat.headerLength + PackFormat.footerLength) else {
                throw PerSSDError(.corrupt, "\(size) bytes are too few for a pack")
            }
            let end = size - UInt64(PackFormat.footerLength)..<size
            let footer = try PackFormat.footer(try await pieces.bytes(of: pack, end, for: blocks), size: size)
            let header = try await pieces.bytes(of: pack, 0..<UInt64(PackFormat.headerLength), for: blocks)
            let index = footer.index.isEmpty ? [] : try await pieces.bytes(of: pack, footer.index, for: blocks)
            return try PackFormat.entries(
                header: header, index: index, footer: footer, pack: pack, lineage: pieces.lineage)
        } catch let error as PerSSDError where error.code == .corrupt || error.code == .unsupported {
            throw PieceReader.damaged(key, 0..<size, blocks: blocks, cause: error)
        }
    }
}
