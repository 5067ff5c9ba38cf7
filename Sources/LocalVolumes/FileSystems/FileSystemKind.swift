import Errors

/// The file systems that a volume can have.
public enum FileSystemKind: String, Sendable, CaseIterable, Codable {
    case ext4
    case xfs
    case btrfs

    /// From a StorageClass or a volume's capability.
    ///
    /// - Throws: `invalidArgument`, naming the known ones.
    public init(parsing text: String) throws {
        guard let kind = Self(rawValue: text) else {
            let known = Self.allCases.map(\.rawValue).joined(separator: ", ")
            throw PerSSDError(
                .invalidArgument, "'\(text.prefix(40))' is no file system that a volume can have",
                remedy: "ask for one of: \(known)")
        }
        self = kind
    }

    /// The smallest device that it can be made on, in bytes.
    public var minimumBytes: UInt64 {
        switch self {
        case .ext4: 16 << 20
        // mkfs.xfs(8) refuses what is smaller.
        case .xfs: 300 << 20
        // mkfs.btrfs(8) makes less from 48 MiB on, but then its metadata takes much of the space.
        case .btrfs: 128 << 20
        }
    }

    /// - Throws: `outOfRange` where a device of `size` bytes is too small.
    public func checkSize(_ size: UInt64) throws {
        if size < minimumBytes {
            throw PerSSDError(
                .outOfRange, "\(rawValue) needs \(minimumBytes >> 20) MiB, and \(size) bytes are asked for",
                remedy: "ask for a larger volume" + (self == .ext4 ? "" : ", or for ext4"))
        }
    }

    /// The program and its arguments that make it on an empty device of `size` bytes.
    ///
    /// Blocks of 4 KiB fit drives of either sector size, so a volume mounts on every node. The journal is small: each lap
    /// through it is staged out. No work is left to be done after the mount, since each block that it writes is staged out
    /// too.
    func makeCommand(
        device: String, size: UInt64, settings: FileSystemSettings
    ) -> (program: String, arguments: [String]) {
        let mebibyte: UInt64 = 1 << 20
        switch self {
        case .ext4:
            let journal = settings.journalBytes.map { $0 / mebibyte } ?? min(max(size / 256 / mebibyte, 4), 128)
            // One inode for 64 KiB leaves a million of them on 64 GiB, and takes 0.4 % of the space.
            let bytesPerInode = settings.bytesPerInode ?? (size < 64 << 30 ? 16384 : 65536)
            // A new copy is all zeros, so the inode tables and the journal need no writing, at mkfs or later.
            return (
                "mkfs.ext4",
                [
                    "-q", "-L", "perssd", "-b", "4096", "-I", "256", "-i", "\(bytesPerInode)",
                    "-m", "\(settings.reservedPercent ?? 0)", "-e", "remount-ro", "-J", "size=\(journal)",
                    "-E", "nodiscard,assume_storage_prezeroed=1", device,
                ]
            )
        case .xfs:
            let log = settings.journalBytes.map { $0 / mebibyte } ?? min(max(size / 1024 / mebibyte, 64), 256)
            return (
                "mkfs.xfs",
                ["-q", "-K", "-L", "perssd", "-b", "size=4096", "-s", "size=4096", "-l", "size=\(log)m", device]
            )
        case .btrfs:
            // A second copy of the metadata would be staged out too, and the bucket keeps the data safe.
            return (
                "mkfs.btrfs",
                ["-q", "-K", "-L", "perssd", "-s", "4096", "-n", "16384", "-m", "single", "-d", "single", device]
            )
        }
    }

    /// What it needs beside the options asked for: clones of a volume bear its UUID, and xfs mounts each UUID once. A volume
    /// is the whole of a btrfs, whatever subvolume has been made its default.
    var ownMountOptions: [String] {
        switch self {
        case .ext4: []
        case .xfs: ["nouuid"]
        case .btrfs: ["subvolid=5"]
        }
    }
}

/// How a file system is made, where not as it is by default. What a kind does not have, it ignores: whoever accepts a
/// volume's parameters has to see to that.
public struct FileSystemSettings: Sendable, Equatable {
    /// Of ext4: how many bytes of the device each inode is for.
    public var bytesPerInode: UInt64?
    /// Of ext4: what only root can use, in hundredths of the device.
    public var reservedPercent: Int?
    /// Of ext4's journal or xfs's log; whole MiB.
    public var journalBytes: UInt64?

    public init(bytesPerInode: UInt64? = nil, reservedPercent: Int? = nil, journalBytes: UInt64? = nil) {
        (self.bytesPerInode, self.reservedPercent, self.journalBytes) = (bytesPerInode, reservedPercent, journalBytes)
    }
}
