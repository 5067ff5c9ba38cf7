import CLinux
import Errors
import Glibc
import SystemPackage

/// The calls on a mounted file system as a whole.
public enum MountedFileSystem {
    /// Writes all out and holds further writers, until it is thawed. A freeze outlives the process that made it.
    ///
    /// - Throws: `failedPrecondition` where it is frozen already.
    public static func freeze(_ mountPoint: FilePath) throws {
        let root = try OpenFile(mountPoint, O_RDONLY | O_DIRECTORY)
        try systemCall("freeze the file system at \(mountPoint)") { clinux_freeze(root.descriptor) }
    }

    /// - Returns: whether it was frozen.
    @discardableResult
    public static func thaw(_ mountPoint: FilePath) throws -> Bool {
        let root = try OpenFile(mountPoint, O_RDONLY | O_DIRECTORY)
        do {
            try systemCall("thaw the file system at \(mountPoint)") { clinux_thaw(root.descriptor) }
            return true
        } catch let error as PerSSDError where error.errno == .invalidArgument {
            return false
        }
    }

    /// Writes out what is in memory (syncfs(2)).
    public static func sync(_ mountPoint: FilePath) throws {
        let root = try OpenFile(mountPoint, O_RDONLY | O_DIRECTORY)
        try systemCall("sync the file system at \(mountPoint)") { clinux_sync_file_system(root.descriptor) }
    }

    /// Gives the space of what was deleted back to the device.
    ///
    /// - Returns: the bytes given back; 0 where the device takes none.
    public static func trim(_ mountPoint: FilePath) throws -> UInt64 {
        let root = try OpenFile(mountPoint, O_RDONLY | O_DIRECTORY)
        var bytes: UInt64 = 0
        if try FileSystemStats(of: mountPoint).magic == FileSystemStats.xfsMagic {
            try systemCall("finish deletions in the file system at \(mountPoint)") {
                clinux_xfs_finish_deletions(root.descriptor)
            }
        }
        // ext4 has what was deleted back only once its journal says so.
        try systemCall("sync the file system at \(mountPoint)") { clinux_sync_file_system(root.descriptor) }
        do {
            try systemCall("trim the file system at \(mountPoint)") { clinux_trim(root.descriptor, &bytes) }
        } catch let error as PerSSDError where error.errno == .notSupported || error.errno == .notSupportedOnSocket {
            return 0
        }
        return bytes
    }
}

/// How full a file system is (statfs(2)).
public struct FileSystemStats: Sendable, Equatable {
    public var totalBytes: UInt64
    /// What is left in all.
    public var freeBytes: UInt64
    /// What is left for those who are not root.
    public var availableBytes: UInt64
    /// Zero where the file system makes inodes as it needs them.
    public var totalInodes: UInt64
    public var freeInodes: UInt64
    /// Which file system it is (statfs(2), f_type).
    public var magic: UInt64

    public static let xfsMagic: UInt64 = 0x5846_5342
    public static let btrfsMagic: UInt64 = 0x9123_683E

    public init(of path: FilePath) throws {
        var stats = clinux_file_system_stats()
        try systemCall("read the free space of \(path)") {
            path.withPlatformString { clinux_file_system_stats($0, &stats) }
        }
        totalBytes = stats.total_units * stats.unit_bytes
        freeBytes = stats.free_units * stats.unit_bytes
        availableBytes = stats.available_units * stats.unit_bytes
        totalInodes = stats.total_inodes
        freeInodes = stats.free_inodes
        magic = stats.magic
    }
}
