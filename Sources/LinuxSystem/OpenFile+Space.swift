import CLinux
import Errors
import SystemPackage

extension OpenFile {
    /// The flag of open(2) for transfers past the page cache.
    public static var directFlag: Int32 { clinux_direct_flag() }

    /// Where the data that begins at `offset` ends; the end of the file is a hole, too (lseek(2), SEEK_HOLE).
    public func firstHole(from offset: UInt64) throws -> UInt64 {
        try UInt64(systemCall("look for a hole in \(path)") { clinux_seek_hole(descriptor, Int64(offset)) })
    }

    /// Lets the kernel begin to bring a range that was written to the drive, and does not wait for it: a later `sync` has
    /// less to do. It makes nothing durable by itself (sync_file_range(2)).
    public func startWriting(_ range: Range<UInt64>) throws {
        try systemCall("begin to bring \(range) of \(path) to the drive") {
            clinux_start_writing(descriptor, Int64(range.lowerBound), Int64(range.count))
        }
    }

    /// Makes a range read as zeros and gives its space back (fallocate(2), FALLOC_FL_PUNCH_HOLE).
    ///
    /// - Returns: false where the file system or the device cannot. A device that cannot unmap so that zeros are read is
    ///   one that cannot: the kernel refuses rather than leave anything else.
    public func punchHole(_ range: Range<UInt64>) throws -> Bool {
        do {
            try systemCall("make \(range) of \(path) a hole") {
                clinux_punch_hole(descriptor, Int64(range.lowerBound), Int64(range.count))
            }
            return true
        } catch let error as PerSSDError {
            switch error.errno {
            // A device also takes no range that is not of whole sectors.
            case .notSupported?, .notSupportedOnSocket?, .noFunction?, .invalidArgument?: return false
            default: throw error
            }
        }
    }
}
