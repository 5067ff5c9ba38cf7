import Digests
import Errors

/// How a piece's bytes were made smaller. The raw values are those of the format.
public enum Compression: UInt8, Sendable, Hashable {
    case none = 0
    case zstd = 1
}

/// How a piece's bytes are kept secret. The raw values are those of the format.
public enum Cipher: UInt8, Sendable, Hashable {
    case none = 0
}

/// Where some bytes lie in a pack, and what they have to be: a block, a patch, or a node of a block map.
public struct Piece: Sendable, Hashable {
    /// No piece is longer, stored or plain.
    public static let maximumLength: UInt32 = 64 << 20

    public var pack: PackID
    public var offset: UInt32
    public var storedLength: UInt32
    public var plainLength: UInt32
    public var compression: Compression
    public var cipher: Cipher
    /// Which key it is encrypted with; 0 where it is not.
    public var keyID: UInt32
    /// SHA-256 of the plain bytes.
    public var digest: Digest

    public init(
        pack: PackID, offset: UInt32, storedLength: UInt32, plainLength: UInt32, compression: Compression,
        cipher: Cipher = .none, keyID: UInt32 = 0, digest: Digest
    ) {
        self.pack = pack
        self.offset = offset
        self.storedLength = storedLength
        self.plainLength = plainLength
        self.compression = compression
        self.cipher = cipher
        self.keyID = keyID
        self.digest = digest
    }

    /// The bytes of the pack that it takes.
    public var range: Range<UInt64> { UInt64(offset)..<UInt64(offset) + UInt64(storedLength) }

    /// Whether the lengths can be those of a piece that was written.
    ///
    /// - Throws: `corrupt`.
    func validate() throws {
        let possible =
            storedLength > 0 && plainLength > 0 && storedLength <= Self.maximumLength
            && plainLength <= Self.maximumLength
            && (compression != .none || storedLength == plainLength)
            && UInt64(offset) >= UInt64(PackFormat.headerLength) && range.upperBound <= UInt64(UInt32.max)
        guard possible else {
            throw PerSSDError(
                .corrupt, "a piece of \(storedLength) stored and \(plainLength) plain bytes at \(offset) is impossible")
        }
    }
}

extension Compression {
    /// - Throws: `unsupported` where this version does not know the method.
    init(format value: UInt8) throws {
        guard let known = Compression(rawValue: value) else { throw unknownFormat("compression", value) }
        self = known
    }
}

extension Cipher {
    /// - Throws: `unsupported` where this version does not know the method.
    init(format value: UInt8) throws {
        guard let known = Cipher(rawValue: value) else { throw unknownFormat("cipher", value) }
        self = known
    }
}

func unknownFormat(_ what: String, _ value: some CustomStringConvertible) -> PerSSDError {
    PerSSDError(
        .unsupported, "this version of PerSSD does not know \(what) \(value)",
        remedy: "use the version of PerSSD that wrote it, or a newer one")
}

extension BinaryReader {
    /// Where a piece lies and how it is coded: 20 bytes.
    mutating func locator(packs: [PackID], digest: Digest) throws -> Piece {
        let table: UInt16 = try integer()
        let compression = try Compression(format: integer())
        let cipher = try Cipher(format: integer())
        let keyID: UInt32 = try integer()
        guard keyID == 0 || cipher != .none else {
            throw PerSSDError(.corrupt, "a piece names key \(keyID), yet is not encrypted")
        }
        guard Int(table) < packs.count else {
            throw PerSSDError(.corrupt, "a piece is in pack \(table) of a table of \(packs.count)")
        }
        let piece = Piece(
            pack: packs[Int(table)], offset: try integer(), storedLength: try integer(), plainLength: try integer(),
            compression: compression, cipher: cipher, keyID: keyID, digest: digest)
        try piece.validate()
        return piece
    }

    mutating func digest() throws -> Digest { Digest(try raw(Digest.length))! }

    /// A locator and the digest: 52 bytes.
    mutating func piece(packs: [PackID]) throws -> Piece {
        let start = try locator(packs: packs, digest: Digest.zero)
        var piece = start
        piece.digest = try digest()
        return piece
    }
}

extension BinaryWriter {
    mutating func locator(_ piece: Piece, in table: PackTable) {
        integer(table.index(of: piece.pack))
        integer(piece.compression.rawValue)
        integer(piece.cipher.rawValue)
        integer(piece.keyID)
        integer(piece.offset)
        integer(piece.storedLength)
        integer(piece.plainLength)
    }

    mutating func digest(_ digest: Digest) { digest.withUnsafeBytes { raw($0) } }

    mutating func piece(_ piece: Piece, in table: PackTable) {
        locator(piece, in: table)
        digest(piece.digest)
    }
}

/// The packs that a node's pieces are in, in the order of their first use: a piece names its pack by two bytes.
struct PackTable {
    private(set) var packs: [PackID] = []
    private var indices: [PackID: UInt16] = [:]

    init(_ pieces: some Sequence<Piece>) {
        for piece in pieces where indices[piece.pack] == nil {
            indices[piece.pack] = UInt16(packs.count)
            packs.append(piece.pack)
        }
    }

    func index(of pack: PackID) -> UInt16 { indices[pack]! }
}
