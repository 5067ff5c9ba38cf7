import Errors
import Glibc

/// The plain bytes of a patch: which 4 KiB pages of a block differ from what is before it, and those pages.
///
/// Byte by byte in docs/formats.md.
public enum BlockPatch {
    public static let version: UInt16 = 1
    public static let pageSize = 4096
    static let headerLength = 8

    private static let magic: StaticString = "PP"
    private static let pageLog2: UInt8 = 12

    /// What makes `new` out of `old`, two blocks of the same size; nil where they are equal.
    public static func difference(from old: UnsafeRawBufferPointer, to new: UnsafeRawBufferPointer) -> [UInt8]? {
        precondition(old.count == new.count && old.count.isMultiple(of: pageSize * 8))
        let pages = old.count / pageSize
        var bitmap = [UInt8](repeating: 0, count: pages / 8)
        var changed = 0
        for page in 0..<pages {
            let offset = page * pageSize
            guard memcmp(old.baseAddress! + offset, new.baseAddress! + offset, pageSize) != 0 else { continue }
            bitmap[page / 8] |= 1 << UInt8(page % 8)
            changed += 1
        }
        guard changed > 0 else { return nil }
        var writer = BinaryWriter(capacity: headerLength + bitmap.count + changed * pageSize)
        magic.withUTF8Buffer { writer.raw($0) }
        writer.integer(version)
        writer.integer(UInt8(old.count.trailingZeroBitCount))
        writer.integer(pageLog2)
        writer.integer(UInt16(0))  // flags
        writer.raw(bitmap)
        for page in 0..<pages where bitmap[page / 8] >> UInt8(page % 8) & 1 == 1 {
            writer.raw(UnsafeRawBufferPointer(rebasing: new[page * pageSize..<(page + 1) * pageSize]))
        }
        return writer.bytes
    }

    /// Makes of `block`, which holds what the patch was made against, what it was made for.
    ///
    /// - Throws: `corrupt` or `unsupported`, with the block in an undefined state.
    public static func apply(_ patch: UnsafeRawBufferPointer, to block: UnsafeMutableRawBufferPointer) throws {
        var reader = BinaryReader(patch)
        try reader.magic(magic, "the patch")
        try reader.version(version, of: "the patch")
        let blockLog2: UInt8 = try reader.integer()
        let page: UInt8 = try reader.integer()
        guard page == pageLog2 else { throw unknownFormat("patches of pages of 2^", page) }
        try reader.zero(2, "a flag of the patch")
        guard block.count.nonzeroBitCount == 1, Int(blockLog2) == block.count.trailingZeroBitCount else {
            throw PerSSDError(.corrupt, "the patch is for blocks of 2^\(blockLog2) bytes, not \(block.count)")
        }
        let bitmap = try reader.raw(block.count / pageSize / 8)
        for (byte, bits) in bitmap.enumerated() where bits != 0 {
            for bit in 0..<8 where bits >> UInt8(bit) & 1 == 1 {
                let offset = (byte * 8 + bit) * pageSize
                UnsafeMutableRawBufferPointer(rebasing: block[offset..<offset + pageSize])
                    .copyMemory(from: try reader.raw(pageSize))
            }
        }
        try reader.end("the patch")
    }

    /// The longest that a patch of a block can be.
    static func maximumLength(_ blockSize: BlockSize) -> Int {
        headerLength + blockSize.bytes / pageSize / 8 + blockSize.bytes
    }
}
