import Digests
import Errors

/// Where the pieces of a pack went that was rewritten: `lineages/<lineage>/moved/<old pack>`.
///
/// Pointers to pieces are part of map nodes, which are never changed, so they go on naming the old pack. Byte by byte in
/// docs/formats.md.
struct MovedPieces: Sendable, Equatable {
    static let version: UInt16 = 1
    static let headerLength = 80
    static let entryLength = 12

    struct Entry: Sendable, Equatable {
        /// In the old pack, and in the new one.
        var from: UInt32
        var to: UInt32
        var storedLength: UInt32
    }
    var pack: PackID
    var into: PackID
    /// Ascending by `from`. Pieces that nothing reached when the pack was rewritten are not among them.
    var entries: [Entry]

    private static let magic: StaticString = "PERSSDMV"

    static func folder(lineage: String) -> String { "lineages/\(lineage)/moved/" }
    static func key(of pack: PackID, lineage: String) throws -> ObjectKey {
        try ObjectKey(folder(lineage: lineage) + pack.description)
    }

    /// Where the piece at `offset` of the old pack begins in the new one.
    func place(of offset: UInt32) -> UInt32? {
        var low = 0
        var high = entries.count
        while low < high {
            let middle = (low + high) / 2
            if entries[middle].from < offset { low = middle + 1 } else { high = middle }
        }
        return low < entries.count && entries[low].from == offset ? entries[low].to : nil
    }

    /// Pieces that lay side by side, and still do.
    struct Run: Sendable, Equatable {
        var from: UInt64
        var to: UInt64
        var length: UInt64
    }

    /// The pieces that lie whole within a range of the old pack.
    func runs(within range: Range<UInt64>) -> [Run] {
        var runs: [Run] = []
        for entry in entries {
            let (from, to, length) = (UInt64(entry.from), UInt64(entry.to), UInt64(entry.storedLength))
            guard from >= range.lowerBound, from + length <= range.upperBound else { continue }
            if let last = runs.last, last.from + last.length == from, last.to + last.length == to {
                runs[runs.count - 1].length += length
            } else {
                runs.append(Run(from: from, to: to, length: length))
            }
        }
        return runs
    }

    func encoded(lineage: String) -> [UInt8] {
        var writer = BinaryWriter(capacity: Self.headerLength + entries.count * Self.entryLength + Digest.length)
        writer.raw(Self.magic.withUTF8Buffer { [UInt8]($0) })
        writer.integer(Self.version)
        writer.integer(UInt16(0))  // flags
        writer.integer(UInt32(entries.count))
        writer.raw(pack.bytes)
        writer.raw(into.bytes)
        writer.digest(SHA256.digest(lineage))
        for entry in entries {
            writer.integer(entry.from)
            writer.integer(entry.to)
            writer.integer(entry.storedLength)
        }
        let digest = SHA256.digest(writer.bytes)
        writer.digest(digest)
        return writer.bytes
    }

    /// - Throws: `corrupt` or `unsupported`, without the object's name.
    init(decoding bytes: [UInt8], of pack: PackID, lineage: String) throws {
        self = try bytes.withUnsafeBytes { bytes in
            var reader = BinaryReader(bytes)
            try reader.magic(Self.magic, "the table of moved pieces")
            try reader.version(Self.version, of: "the table of moved pieces")
            try reader.zero(2, "a flag of the table of moved pieces")
            let count: UInt32 = try reader.integer()
            guard bytes.count == Self.headerLength + Int(count) * Self.entryLength + Digest.length else {
                throw PerSSDError(.corrupt, "\(bytes.count) bytes are no table of \(count) moved pieces")
            }
            let body = UnsafeRawBufferPointer(rebasing: bytes.dropLast(Digest.length))
            guard SHA256.digest(body) == Digest(bytes.suffix(Digest.length)) else {
                throw PerSSDError(.corrupt, "the table of moved pieces is not what was written")
            }
            let (old, new) = (PackID(try reader.raw(PackID.length)), PackID(try reader.raw(PackID.length)))
            guard let old, let new, old == pack, try reader.digest() == SHA256.digest(lineage) else {
                throw PerSSDError(.corrupt, "the table of moved pieces is of another pack or lineage")
            }
            var entries: [Entry] = []
            entries.reserveCapacity(Int(count))
            for _ in 0..<count {
                let entry = Entry(
                    from: try reader.integer(), to: try reader.integer(), storedLength: try reader.integer())
                guard entries.last.map({ $0.from < entry.from }) ?? true else {
                    throw PerSSDError(.corrupt, "the table of moved pieces is not in order at \(entry.from)")
                }
                entries.append(entry)
            }
            return MovedPieces(pack: old, into: new, entries: entries)
        }
    }

    init(pack: PackID, into: PackID, entries: [Entry]) {
        (self.pack, self.into, self.entries) = (pack, into, entries)
    }
}
