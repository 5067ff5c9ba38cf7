import CLinux
import Errors
import Glibc
import SystemPackage

/// An open file, directory or device; it is closed when this value ends, and no child process inherits it.
public struct OpenFile: ~Copyable, Sendable {
    public let descriptor: Int32
    /// The name it was opened by, for messages.
    public let path: FilePath

    /// - Parameters:
    ///   - flags: of open(2); `O_CLOEXEC` is added.
    ///   - directory: the descriptor of the directory that a relative path starts at.
    public init(_ path: FilePath, _ flags: Int32, mode: mode_t = 0o600, in directory: Int32 = AT_FDCWD) throws {
        descriptor = try systemCall("open \(path)") {
            path.withPlatformString { clinux_openat(directory, $0, flags | O_CLOEXEC, mode) }
        }
        self.path = path
    }

    /// Opens a place, not what it holds: for mounting, and as the start of relative paths (open(2), O_PATH).
    ///
    /// - Parameter followingLink: whether a symbolic link at the end of the path is followed, or is the place itself.
    public init(
        place path: FilePath, in directory: Int32 = AT_FDCWD, followingLink: Bool = false, mustBeDirectory: Bool = false
    ) throws {
        let flags = (followingLink ? 0 : O_NOFOLLOW) | (mustBeDirectory ? O_DIRECTORY : 0)
        descriptor = try systemCall("open \(path)") {
            path.withPlatformString { clinux_open_place(directory, $0, flags) }
        }
        self.path = path
    }

    /// Where the open file is now, as the kernel says, without symbolic links.
    public func currentPath() throws -> FilePath {
        var buffer = [CChar](repeating: 0, count: Int(PATH_MAX) + 1)
        let count = try systemCall("find the path of \(path)") {
            readlink("/proc/self/fd/\(descriptor)", &buffer, buffer.count - 1)
        }
        return FilePath(String(decoding: buffer.prefix(count).map { UInt8(bitPattern: $0) }, as: UTF8.self))
    }

    /// Takes over a descriptor that a call has made.
    init(owning descriptor: Int32, path: FilePath) { (self.descriptor, self.path) = (descriptor, path) }

    // A close that fails has closed the descriptor all the same (close(2)); what has to last was synced before.
    deinit { close(descriptor) }

    public func status() throws -> FileStatus {
        var status = stat()
        try systemCall("look at \(path)") { fstat(descriptor, &status) }
        return FileStatus(status)
    }

    /// Waits until contents and metadata are on stable storage.
    public func sync() throws {
        try systemCall("sync \(path)") { fsync(descriptor) }
    }

    public func truncate(toBytes size: UInt64) throws {
        guard let length = off_t(exactly: size) else {
            throw PerSSDError(.outOfRange, "\(path) cannot have \(size) bytes")
        }
        try systemCall("set the size of \(path) to \(size) bytes") { ftruncate(descriptor, length) }
    }

    /// Fills `buffer` from `offset`; less only at the end of the file.
    ///
    /// - Returns: the number of bytes read.
    public func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws -> Int {
        var done = 0
        while done < buffer.count {
            let rest = UnsafeMutableRawBufferPointer(rebasing: buffer[done...])
            let count = try systemCall("read \(path) at \(offset + UInt64(done))") {
                pread(descriptor, rest.baseAddress, rest.count, off_t(offset) + off_t(done))
            }
            if count == 0 { break }
            done += count
        }
        return done
    }

    public func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) throws {
        var done = 0
        while done < buffer.count {
            let rest = UnsafeRawBufferPointer(rebasing: buffer[done...])
            done += try systemCall("write \(path) at \(offset + UInt64(done))") {
                pwrite(descriptor, rest.baseAddress, rest.count, off_t(offset) + off_t(done))
            }
        }
    }

    /// The first byte at or after `offset` that is not in a hole; nil where there is none (lseek(2), SEEK_DATA).
    public func firstData(from offset: UInt64) throws -> UInt64? {
        do {
            return try UInt64(
                systemCall("look for data in \(path)") { clinux_seek_data(descriptor, Int64(offset)) })
        } catch let error as PerSSDError where error.errno == .noSuchAddressOrDevice {
            return nil
        }
    }
}
