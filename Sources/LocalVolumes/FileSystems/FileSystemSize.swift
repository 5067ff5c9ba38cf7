import Blocking
import Errors
import Glibc
import LinuxSystem
import SystemPackage

extension FileSystems {
    /// Whether the file system of an unmounted device could be larger than it is: the device has grown since it was made or
    /// last grown, perhaps on another node.
    public func canGrow(_ kind: FileSystemKind, on device: FilePath) async throws -> Bool {
        try await BlockingPool.shared.run {
            let size = try BlockDevice.sizeBytes(device)
            let superblock = try SuperblockBytes(device, at: kind == .btrfs ? 65536 : kind == .xfs ? 0 : 1024)
            switch kind {
            case .ext4:
                let ext4 = Ext4Size(superblock)
                return ext4.usableBlocks(deviceBytes: size) > ext4.blocks
            // sb_blocksize and sb_dblocks, and total_bytes; what is less than a MiB is rounding.
            case .xfs:
                let bytes = UInt64(superblock.bigEndian(at: 4, bytes: 4)) * superblock.bigEndian(at: 8, bytes: 8)
                return bytes + 1 << 20 <= size
            case .btrfs: return superblock.littleEndian(at: 0x70, bytes: 8) + 1 << 20 <= size
            }
        }
    }
}

extension FileSystems {
    /// That the device answers.
    public func probe(_ device: FilePath) async throws {
        try await BlockingPool.shared.run { try BlockDevice.probe(device) }
    }
}

/// The bytes in which a file system describes itself.
struct SuperblockBytes {
    private let bytes: [UInt8]

    init(_ bytes: [UInt8]) { self.bytes = bytes }

    /// Blocks.
    init(_ device: FilePath, at offset: UInt64) throws {
        let file = try OpenFile(device, O_RDONLY)
        var bytes = [UInt8](repeating: 0, count: 1024)
        let count = try bytes.withUnsafeMutableBytes { try file.read(at: offset, into: $0) }
        guard count == bytes.count else { throw PerSSDError(.corrupt, "\(device) ends within its superblock") }
        self.bytes = bytes
    }

    func littleEndian(at offset: Int, bytes count: Int) -> UInt64 {
        bytes[offset..<offset + count].reversed().reduce(0) { $0 << 8 | UInt64($1) }
    }

    func bigEndian(at offset: Int, bytes count: Int) -> UInt64 {
        bytes[offset..<offset + count].reduce(0) { $0 << 8 | UInt64($1) }
    }
}

/// How large an ext4 is, and could be (Documentation/filesystems/ext4/super.rst of Linux).
struct Ext4Size {
    var blocks: UInt64
    private let blockBytes: UInt64
    private let firstBlock: UInt64
    private let blocksPerGroup: UInt64
    private let inodeBlocksPerGroup: UInt64
    private let descriptorBytes: UInt64
    private let reservedDescriptorBlocks: UInt64
    private let isSparse: Bool

    init(_ superblock: SuperblockBytes) {
        func field(_ offset: Int, _ count: Int = 4) -> UInt64 { superblock.littleEndian(at: offset, bytes: count) }
        let is64Bit = field(0x60) & 0x80 != 0
        blocks = field(0x04) | (is64Bit ? field(0x150) << 32 : 0)
        blockBytes = 1024 << min(field(0x18), 6)
        firstBlock = field(0x14)
        blocksPerGroup = max(field(0x20), 1)
        inodeBlocksPerGroup = (field(0x28) * field(0x58, 2) + blockBytes - 1) / blockBytes
        descriptorBytes = is64Bit ? max(field(0xFE, 2), 32) : 32
        reservedDescriptorBlocks = field(0xCE, 2)
        isSparse = field(0x64) & 1 != 0
    }

    /// What resize2fs makes of a device of this size. It leaves out a last group that has hardly more room than its own
    /// tables need (resize/resize2fs.c, adjust_fs_info): such a file system stays smaller than its device for good.
    func usableBlocks(deviceBytes: UInt64) -> UInt64 {
        let total = deviceBytes / blockBytes
        guard total > firstBlock else { return 0 }
        let rest = (total - firstBlock) % blocksPerGroup
        let groups = (total - firstBlock + blocksPerGroup - 1) / blocksPerGroup
        guard rest > 0, groups > 1 else { return total }
        var overhead = 2 + inodeBlocksPerGroup
        if hasSuperblock(groups - 1) {
            let descriptorBlocks = (groups * descriptorBytes + blockBytes - 1) / blockBytes
            overhead += 1 + descriptorBlocks + reservedDescriptorBlocks
        }
        return rest < overhead + 50 ? total - rest : total
    }

    /// Groups 0 and 1, and powers of 3, 5 and 7, have a copy of the superblock.
    private func hasSuperblock(_ group: UInt64) -> Bool {
        guard isSparse, group > 1 else { return true }
        return [3, 5, 7].contains { (base: UInt64) in
            var power = base
            while power < group { power *= base }
            return power == group
        }
    }
}
