import CLinux
import Errors
import Glibc
import SystemPackage

/// Where a piece of a file lies on its device.
public struct FileExtent: Sendable, Equatable {
    public var logical: Range<UInt64>
    /// The address of its first byte.
    public var physical: UInt64
    /// Allocated, but never written: it reads as zeros.
    public var isUnwritten: Bool
    /// Whether `physical` means what it says, byte for byte: not so for what is compressed, encrypted, inline or not yet
    /// placed.
    public var isPlain: Bool

    public init(logical: Range<UInt64>, physical: UInt64, isUnwritten: Bool, isPlain: Bool) {
        (self.logical, self.physical) = (logical, physical)
        (self.isUnwritten, self.isPlain) = (isUnwritten, isPlain)
    }
}

/// Reads the extents of a file in ascending order, some hundred at a time (Documentation/filesystems/fiemap.rst of
/// Linux), after its dirty pages have been written.
public struct FileExtents: ~Copyable {
    private let file: OpenFile
    private var batch: [clinux_extent] = []
    private var next = 0
    private var nextStart: UInt64 = 0
    private var sawLast = false

    public init(of path: FilePath) throws { file = try OpenFile(path, O_RDONLY) }

    public mutating func nextExtent() throws -> FileExtent? {
        if next == batch.count {
            guard !sawLast else { return nil }
            try readBatch()
            guard !batch.isEmpty else { return nil }
        }
        let extent = batch[next]
        next += 1
        let opaque =
            CLINUX_EXTENT_UNKNOWN.rawValue | CLINUX_EXTENT_DELALLOC.rawValue | CLINUX_EXTENT_ENCODED.rawValue
            | CLINUX_EXTENT_ENCRYPTED.rawValue | CLINUX_EXTENT_NOT_ALIGNED.rawValue | CLINUX_EXTENT_INLINE.rawValue
            | CLINUX_EXTENT_TAIL.rawValue
        return FileExtent(
            logical: extent.logical..<extent.logical + extent.length, physical: extent.physical,
            isUnwritten: extent.flags & CLINUX_EXTENT_UNWRITTEN.rawValue != 0, isPlain: extent.flags & opaque == 0)
    }

    private mutating func readBatch() throws {
        let capacity = 512
        var extents = [clinux_extent](repeating: clinux_extent(), count: capacity)
        let count = try systemCall("read the extents of \(file.path)") {
            clinux_extents(file.descriptor, nextStart, &extents, UInt32(capacity))
        }
        extents.removeLast(capacity - Int(count))
        guard let last = extents.last else {
            (batch, next, sawLast) = ([], 0, true)
            return
        }
        let end = last.logical + last.length
        guard end > nextStart else {
            throw PerSSDError(.internal, "the extents of \(file.path) do not go on after \(nextStart)")
        }
        nextStart = end
        sawLast = last.flags & CLINUX_EXTENT_LAST.rawValue != 0
        (batch, next) = (extents, 0)
    }
}

/// Copies that share their blocks until one of them is written (ioctl_ficlonerange(2)).
public enum Reflink {
    /// Makes the new file `copy` with the contents of `original`, durably but for its directory entry.
    ///
    /// - Throws: `unsupported` where the file system shares no blocks.
    public static func clone(_ original: FilePath, to copy: FilePath, mode: mode_t = 0o600) throws {
        let source = try OpenFile(original, O_RDONLY)
        let target = try OpenFile(copy, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW, mode: mode)
        do {
            try systemCall("clone \(original) to \(copy)") { clinux_clone(source.descriptor, target.descriptor) }
            try target.sync()
        } catch let error as PerSSDError {
            _ = try? DurableFile.removeIfThere(copy)
            let unsupported: [Errno?] = [
                .notSupported, .notSupportedOnSocket, .inappropriateIOCTLForDevice, .invalidArgument,
                .improperLink, .noFunction,
            ]
            throw unsupported.contains(error.errno)
                ? PerSSDError(.unsupported, "the file system of \(copy) cannot share blocks", cause: error) : error
        }
    }
}
