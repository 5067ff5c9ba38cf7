import Digests
import Errors

/// The whole of a volume's contents in one small value, kept in the record of a generation: from it everything is reached,
/// and against it everything is verified.
public struct MapRoot: Sendable, Hashable {
    /// Of the value's coding, and of what the nodes below mean.
    public static let version = 1

    public let geometry: MapGeometry
    /// nil where the whole volume is zeros.
    public let top: NodePointer?

    /// - Parameter top: the node that covers the whole volume, one level below `geometry.levels`.
    init(geometry: MapGeometry, top: NodePointer?) {
        self.geometry = geometry
        self.top = top
        contentDigest = ContentDigest.ofVolume(geometry, root: top?.content ?? .zero)
    }

    /// A volume of nothing but zeros.
    public static func zeros(_ geometry: MapGeometry) -> MapRoot { MapRoot(geometry: geometry, top: nil) }

    /// Names the contents of the whole volume and its size: equal digests mean equal bytes, wherever they are stored.
    public let contentDigest: Digest
    public var capacityBytes: UInt64 { geometry.capacityBytes }
    public var blockSize: BlockSize { geometry.blockSize }
    public var totals: MapTotals { top?.totals ?? MapTotals() }
    /// Bytes of the blocks that are not all zeros.
    public var allocatedBytes: UInt64 { totals.blocks << UInt64(blockSize.log2) }

    /// The piece that the map's top node is, and where it stands.
    var topPlace: MapNodeCoding.Place { .init(geometry: geometry, level: geometry.levels - 1, index: 0) }
}

extension MapRoot: Codable {
    private enum Keys: String, CodingKey {
        case version, blockSizeLog2, fanOutLog2, levels, capacityBytes, contentDigest, top
    }

    private struct Top: Codable {
        var pack: PackID
        var offset: UInt32
        var storedLength: UInt32
        var plainLength: UInt32
        var compression: String
        var cipher: String
        var key: UInt32
        var sha256: Digest
        var content: Digest
        var totals: MapTotals
    }

    /// - Throws: `unsupported` for a version, compression or cipher that is not known; `corrupt` where the fields
    ///   contradict each other; `DecodingError` where one is missing or of another type.
    public init(from decoder: any Decoder) throws {
        let fields = try decoder.container(keyedBy: Keys.self)
        let version = try fields.decode(Int.self, forKey: .version)
        guard version == Self.version else { throw unknownFormat("a block map of version", version) }
        let log2 = try fields.decode(UInt8.self, forKey: .blockSizeLog2)
        guard log2 < 32 else { throw PerSSDError(.corrupt, "a block size of 2^\(log2) is impossible") }
        do {
            geometry = try MapGeometry(
                blockSize: BlockSize(bytes: 1 << Int(log2)),
                capacityBytes: fields.decode(UInt64.self, forKey: .capacityBytes),
                fanOutLog2: fields.decode(UInt8.self, forKey: .fanOutLog2))
        } catch let error as PerSSDError {
            throw error.during("a block map cannot have this shape", code: .corrupt)
        }
        top = try fields.decodeIfPresent(Top.self, forKey: .top).map(Self.pointer)
        contentDigest = try fields.decode(Digest.self, forKey: .contentDigest)
        let levels = try fields.decode(Int.self, forKey: .levels)
        guard levels == geometry.levels else {
            throw PerSSDError(.corrupt, "a block map of \(levels) levels, where its volume needs \(geometry.levels)")
        }
        guard contentDigest == ContentDigest.ofVolume(geometry, root: top?.content ?? .zero) else {
            throw PerSSDError(.corrupt, "the content digest of a block map does not follow from its top node")
        }
    }

    private static func pointer(_ top: Top) throws -> NodePointer {
        guard top.compression == "zstd" || top.compression == "none" else {
            throw unknownFormat("compression", "'\(top.compression.prefix(40))'")
        }
        guard top.cipher == "none" else { throw unknownFormat("cipher", "'\(top.cipher.prefix(40))'") }
        let piece = Piece(
            pack: top.pack, offset: top.offset, storedLength: top.storedLength, plainLength: top.plainLength,
            compression: top.compression == "zstd" ? .zstd : .none, keyID: top.key, digest: top.sha256)
        guard top.key == 0 else { throw PerSSDError(.corrupt, "a block map names a key, yet is not encrypted") }
        try piece.validate()
        return NodePointer(piece: piece, content: top.content, totals: top.totals)
    }

    public func encode(to encoder: any Encoder) throws {
        var fields = encoder.container(keyedBy: Keys.self)
        try fields.encode(Self.version, forKey: .version)
        try fields.encode(geometry.blockSize.log2, forKey: .blockSizeLog2)
        try fields.encode(geometry.fanOutLog2, forKey: .fanOutLog2)
        try fields.encode(geometry.levels, forKey: .levels)
        try fields.encode(capacityBytes, forKey: .capacityBytes)
        try fields.encode(contentDigest, forKey: .contentDigest)
        guard let top else { return }
        let piece = top.piece
        try fields.encode(
            Top(
                pack: piece.pack, offset: piece.offset, storedLength: piece.storedLength,
                plainLength: piece.plainLength, compression: piece.compression == .zstd ? "zstd" : "none",
                cipher: "none", key: piece.keyID, sha256: piece.digest, content: top.content, totals: top.totals),
            forKey: .top)
    }
}
