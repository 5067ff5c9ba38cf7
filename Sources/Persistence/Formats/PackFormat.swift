import Digests
import Errors

/// What a piece of a pack is. The raw values are those of the format.
public enum PieceKind: UInt8, Sendable, Hashable {
    case block = 1
    case mapNode = 2
    case patch = 3
}

/// One line of a pack's index.
public struct PackEntry: Sendable, Hashable {
    public var kind: PieceKind
    public var piece: Piece

    public init(kind: PieceKind, piece: Piece) { (self.kind, self.piece) = (kind, piece) }
}

/// The layout of a pack, an object of some tens of MiB: header, pieces back to back, index, footer.
///
/// Byte by byte in docs/formats.md. Whoever has a piece's pointer needs neither header nor index; they are for verifying
/// packs, and for moving their pieces, without a block map at hand.
public enum PackFormat {
    public static let version: UInt16 = 1
    public static let headerLength = 64
    public static let entryLength = 56
    public static let footerLength = 64

    private static let headerMagic: StaticString = "PERSSDPK"
    private static let footerMagic: StaticString = "PERSSDPE"

    static func header(pack: PackID, lineage: String) -> [UInt8] {
        var writer = BinaryWriter(capacity: headerLength)
        writer.raw(bytes(of: headerMagic))
        writer.integer(version)
        writer.integer(UInt16(0))  // flags
        writer.integer(UInt32(headerLength))
        writer.raw(pack.bytes)
        writer.digest(SHA256.digest(lineage))
        return writer.bytes
    }

    /// Index and footer, to stand behind the pieces, which end at `offset`.
    static func trailer(entries: [PackEntry], at offset: UInt32, header: [UInt8]) -> [UInt8] {
        var index = BinaryWriter(capacity: entries.count * entryLength + footerLength)
        for entry in entries {
            index.integer(entry.kind.rawValue)
            index.integer(entry.piece.compression.rawValue)
            index.integer(entry.piece.cipher.rawValue)
            index.integer(UInt8(0))  // flags
            index.integer(entry.piece.keyID)
            index.integer(UInt64(entry.piece.offset))
            index.integer(entry.piece.storedLength)
            index.integer(entry.piece.plainLength)
            index.digest(entry.piece.digest)
        }
        let digest = digest(header: header, index: index.bytes)
        var writer = index
        writer.integer(UInt64(offset))
        writer.integer(UInt32(index.bytes.count))
        writer.integer(UInt32(entries.count))
        writer.digest(digest)
        writer.integer(version)
        writer.integer(UInt16(0))  // flags
        writer.integer(UInt32(0))  // reserved
        writer.raw(bytes(of: footerMagic))
        return writer.bytes
    }

    /// Where a pack's index lies, and what it has to be.
    struct Footer: Equatable {
        var index: Range<UInt64>
        var count: Int
        var digest: Digest
    }

    /// Reads the last `footerLength` bytes of a pack of `size` bytes.
    ///
    /// - Throws: `corrupt` or `unsupported`, without the pack's name.
    static func footer(_ bytes: [UInt8], size: UInt64) throws -> Footer {
        try bytes.withUnsafeBytes { bytes in
            var reader = BinaryReader(bytes)
            let offset: UInt64 = try reader.integer()
            let length: UInt32 = try reader.integer()
            let count: UInt32 = try reader.integer()
            let digest = try reader.digest()
            // The magic comes last; it is looked at first, so that what is no pack is not called a new version.
            var tail = BinaryReader(UnsafeRawBufferPointer(rebasing: bytes.suffix(8)))
            try tail.magic(footerMagic, "the pack's footer")
            try reader.version(version, of: "the pack")
            try reader.zero(6, "a flag of the pack's footer")
            let end = offset.addingReportingOverflow(UInt64(length))
            guard !end.overflow, end.partialValue + UInt64(footerLength) == size,
                offset >= UInt64(headerLength), Int(length) == Int(count) * entryLength
            else {
                throw PerSSDError(
                    .corrupt,
                    "an index of \(count) entries and \(length) bytes at \(offset) does not fit a pack of \(size) bytes"
                )
            }
            return Footer(index: offset..<end.partialValue, count: Int(count), digest: digest)
        }
    }

    /// Reads a pack's index, and holds header and index against the footer.
    ///
    /// - Throws: `corrupt` or `unsupported`, without the pack's name.
    static func entries(
        header: [UInt8], index: [UInt8], footer: Footer, pack: PackID, lineage: String
    ) throws -> [PackEntry] {
        try header.withUnsafeBytes { bytes in
            var reader = BinaryReader(bytes)
            try reader.magic(headerMagic, "the pack")
            try reader.version(version, of: "the pack")
            try reader.zero(2, "a flag of the pack's header")
            let length: UInt32 = try reader.integer()
            guard length == UInt32(headerLength) else { throw unknownFormat("a pack header of length", length) }
            let id = PackID(try reader.raw(PackID.length))
            guard id == pack, try reader.digest() == SHA256.digest(lineage) else {
                throw PerSSDError(.corrupt, "the pack is another one, or of another lineage")
            }
            try reader.end("the pack's header")
        }
        guard digest(header: header, index: index) == footer.digest else {
            throw PerSSDError(.corrupt, "the pack's header and index are not what was written")
        }
        return try index.withUnsafeBytes { bytes in
            var reader = BinaryReader(bytes)
            var entries: [PackEntry] = []
            entries.reserveCapacity(footer.count)
            var next = UInt64(headerLength)
            for _ in 0..<footer.count {
                let entry = try entry(&reader, pack: pack)
                guard entry.piece.range.lowerBound == next else {
                    throw PerSSDError(.corrupt, "the pieces of the pack overlap, or leave a gap, at \(next)")
                }
                next = entry.piece.range.upperBound
                entries.append(entry)
            }
            guard next == footer.index.lowerBound else {
                throw PerSSDError(.corrupt, "the pieces of the pack end at \(next), and not where its index begins")
            }
            return entries
        }
    }

    private static func entry(_ reader: inout BinaryReader, pack: PackID) throws -> PackEntry {
        let rawKind: UInt8 = try reader.integer()
        guard let kind = PieceKind(rawValue: rawKind) else { throw unknownFormat("a piece of kind", rawKind) }
        let compression = try Compression(format: reader.integer())
        let cipher = try Cipher(format: reader.integer())
        try reader.zero(1, "a flag of the pack's index")
        let keyID: UInt32 = try reader.integer()
        let offset: UInt64 = try reader.integer()
        guard offset <= UInt64(UInt32.max) else { throw PerSSDError(.corrupt, "a piece at \(offset) is impossible") }
        let piece = Piece(
            pack: pack, offset: UInt32(offset), storedLength: try reader.integer(),
            plainLength: try reader.integer(), compression: compression, cipher: cipher, keyID: keyID,
            digest: try reader.digest())
        try piece.validate()
        return PackEntry(kind: kind, piece: piece)
    }

    private static func digest(header: [UInt8], index: [UInt8]) -> Digest {
        let stream = SHA256Stream()
        stream.update(header)
        stream.update(index)
        return stream.finish()
    }

    private static func bytes(of magic: StaticString) -> [UInt8] { magic.withUTF8Buffer { [UInt8]($0) } }
}
