import Digests

/// Digests that name contents: a tree of hashes over the SHA-256 of each block's plain bytes and the block's place, and over
/// nothing else. Compression, patches, packs and repacking do not change them, so equal digests mean equal contents, and
/// two generations are compared without reading what they share.
///
/// All-zero blocks and subtrees have no part in it, and are named by 32 zero bytes where a digest must stand.
enum ContentDigest {
    private static let leafTag: UInt8 = 0x4c  // "L"
    private static let innerTag: UInt8 = 0x49  // "I"
    private static let volumeTag: UInt8 = 0x56  // "V"

    /// SHA-256 of: "L", block size log2 (1 byte), then for each non-zero block slot (2 bytes) and digest.
    static func of(_ leaf: LeafNode, blockSize: BlockSize) -> Digest {
        guard !leaf.entries.isEmpty else { return .zero }
        var writer = BinaryWriter(capacity: 2 + leaf.entries.count * (2 + Digest.length))
        writer.integer(leafTag)
        writer.integer(blockSize.log2)
        for entry in leaf.entries {
            writer.integer(entry.slot)
            writer.digest(entry.block.digest)
        }
        return SHA256.digest(writer.bytes)
    }

    /// SHA-256 of: "I", level (1 byte), then for each child that is not all zeros slot (2 bytes) and content digest.
    static func of(_ node: InnerNode, level: Int) -> Digest {
        guard !node.entries.isEmpty else { return .zero }
        var writer = BinaryWriter(capacity: 2 + node.entries.count * (2 + Digest.length))
        writer.integer(innerTag)
        writer.integer(UInt8(level))
        for entry in node.entries {
            writer.integer(entry.slot)
            writer.digest(entry.child.content)
        }
        return SHA256.digest(writer.bytes)
    }

    /// SHA-256 of: "V", block size log2, fan-out log2, levels (1 byte each), capacity in bytes (8 bytes), and the content
    /// digest of the root, 32 zero bytes where the whole volume is zeros.
    static func ofVolume(_ geometry: MapGeometry, root: Digest) -> Digest {
        var writer = BinaryWriter(capacity: 12 + Digest.length)
        writer.integer(volumeTag)
        writer.integer(geometry.blockSize.log2)
        writer.integer(geometry.fanOutLog2)
        writer.integer(UInt8(geometry.levels))
        writer.integer(geometry.capacityBytes)
        writer.digest(root)
        return SHA256.digest(writer.bytes)
    }
}
