import CLinux
import Errors
import Glibc
import SystemPackage

/// What stat(2) says of a file.
public struct FileStatus: Sendable, Equatable {
    public enum Kind: Sendable, Equatable {
        case regular, directory, symbolicLink, blockDevice, other
    }

    public var kind: Kind
    /// Device and inode together name the file.
    public var device: UInt64
    public var inode: UInt64
    /// Of a device node: the device it stands for.
    public var deviceNumber: DeviceNumber
    public var sizeBytes: UInt64
    /// What it takes of its file system, shared blocks counted in full.
    public var allocatedBytes: UInt64

    init(_ status: stat) {
        switch status.st_mode & S_IFMT {
        case S_IFREG: kind = .regular
        case S_IFDIR: kind = .directory
        case S_IFLNK: kind = .symbolicLink
        case S_IFBLK: kind = .blockDevice
        default: kind = .other
        }
        device = UInt64(status.st_dev)
        inode = UInt64(status.st_ino)
        deviceNumber = DeviceNumber(UInt64(status.st_rdev))
        sizeBytes = UInt64(max(0, status.st_size))
        allocatedBytes = UInt64(max(0, status.st_blocks)) * 512
    }

    /// - Parameter directory: the descriptor of the directory that a relative path starts at.
    /// - Returns: nil where there is nothing at `path`.
    public static func of(
        _ path: FilePath, followingLinks: Bool = true, in directory: Int32 = AT_FDCWD
    ) throws -> FileStatus? {
        var status = stat()
        do {
            try systemCall("look at \(path)") {
                path.withPlatformString {
                    fstatat(directory, $0, &status, followingLinks ? 0 : AT_SYMLINK_NOFOLLOW)
                }
            }
        } catch let error as PerSSDError where error.errno == .noSuchFileOrDirectory {
            return nil
        }
        return FileStatus(status)
    }
}

/// Names a device to the kernel: "7:3".
public struct DeviceNumber: Sendable, Hashable, CustomStringConvertible {
    public var major: UInt32
    public var minor: UInt32

    public init(major: UInt32, minor: UInt32) { (self.major, self.minor) = (major, minor) }

    /// From the form in which stat(2) has it.
    public init(_ number: UInt64) { (major, minor) = (clinux_major(number), clinux_minor(number)) }

    /// Reads "7:3"; nil where the text is no such number.
    public init?(parsing text: some StringProtocol) {
        let parts = text.split(separator: ":", omittingEmptySubsequences: false)
        guard parts.count == 2, let major = UInt32(parts[0]), let minor = UInt32(parts[1]) else { return nil }
        self.init(major: major, minor: minor)
    }

    /// As stat(2) and mknod(2) have it.
    public var encoded: UInt64 { clinux_makedev(major, minor) }
    public var description: String { "\(major):\(minor)" }
}
