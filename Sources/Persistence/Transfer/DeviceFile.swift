import Errors
import Glibc
import SystemPackage

/// An open image file or block device, read and written at offsets.
final class DeviceFile: Sendable {
    enum Kind: Sendable { case file, blockDevice }

    let path: FilePath
    let kind: Kind
    let sizeBytes: UInt64
    /// What direct transfers are a multiple of; 1 where the page cache is between.
    let alignment: Int
    private let descriptor: Int32
    /// Through the page cache, for the end of a file that no direct transfer can reach; the same one where none is direct.
    private let buffered: Int32

    /// - Throws: `notFound`, `permissionDenied`, `failedPrecondition` (a device in use), `invalidArgument` (neither file
    ///   nor device), `unavailable`.
    init(path: FilePath, writable: Bool, direct: Bool, create: UInt64? = nil) throws {
        self.path = path
        let access = writable ? O_RDWR : O_RDONLY
        let creation = create == nil ? 0 : O_CREAT | O_EXCL
        let first = try Self.open(path, access | creation)
        var owned = [first]
        do {
            if let create { try Self.check(ftruncate(first, off_t(create)), "set the size of", path) }
            var status = stat()
            try Self.check(fstat(first, &status), "look at", path)
            switch status.st_mode & S_IFMT {
            case S_IFREG:
                kind = .file
                sizeBytes = UInt64(status.st_size)
            case S_IFBLK:
                kind = .blockDevice
                sizeBytes = try Self.deviceSize(first, path)
                // Exclusive, so that nobody writes to what is mounted.
                if writable { owned.append(try Self.open(path, access | O_EXCL)) }
            default:
                throw PerSSDError(
                    .invalidArgument, "\(path) is neither a file nor a block device",
                    remedy: "name an image file or a block device")
            }
            buffered = owned.last!
            if direct {
                owned.append(try Self.open(path, access | O_DIRECT))
                alignment = AlignedBuffer.alignment
            } else {
                alignment = 1
            }
            descriptor = owned.last!
            extra = owned.filter { $0 != descriptor && $0 != buffered }
        } catch {
            for descriptor in owned { close(descriptor) }
            throw error
        }
    }

    private let extra: [Int32]

    deinit {
        for descriptor in Set(extra + [buffered, descriptor]) { close(descriptor) }
    }

    func read(at offset: UInt64, into buffer: UnsafeMutableRawBufferPointer) throws {
        try transfer(offset: offset, count: buffer.count, "read") { descriptor, done, count, position in
            pread(descriptor, buffer.baseAddress! + done, count, position)
        }
    }

    func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) throws {
        try transfer(offset: offset, count: buffer.count, "write") { descriptor, done, count, position in
            pwrite(descriptor, buffer.baseAddress! + done, count, position)
        }
    }

    func flush() throws {
        try Self.check(fsync(buffered), "flush", path)
        if descriptor != buffered { try Self.check(fsync(descriptor), "flush", path) }
    }

    /// Makes a range read as zeros with its space given back.
    ///
    /// - Returns: whether file system or device can. For a device the kernel answers no rather than leave anything but zeros
    ///   (block/fops.c: no fallback, and unmapping only where it zeroes).
    func punchHole(_ range: Range<UInt64>) throws -> Bool {
        let mode = Int32(0x02 | 0x01)  // FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE of linux/falloc.h
        while fallocate(buffered, mode, off_t(range.lowerBound), off_t(range.count)) != 0 {
            switch errno {
            case EINTR: continue
            case EOPNOTSUPP, ENOSYS, EINVAL: return false
            default: throw Self.error("make zero", path)
            }
        }
        return true
    }

    /// Where a file has data, by its file system; nil where it cannot tell, and for devices.
    func dataRanges() throws -> [Range<UInt64>]? {
        guard kind == .file else { return nil }
        var ranges: [Range<UInt64>] = []
        var position: UInt64 = 0
        while position < sizeBytes {
            guard let data = try seek(position, SEEK_DATA) else { break }
            guard let data = data.known else { return nil }
            guard let end = try seek(data, SEEK_HOLE)?.known else { return nil }
            ranges.append(data..<min(end, sizeBytes))
            position = end
        }
        return ranges
    }

    private struct Found { var known: UInt64? }

    /// - Returns: nil where there is no more; an unknown position where the file system cannot tell.
    private func seek(_ position: UInt64, _ what: Int32) throws -> Found? {
        let found = lseek(buffered, off_t(position), what)
        if found >= 0 { return Found(known: UInt64(found)) }
        switch errno {
        case ENXIO: return nil
        case EINVAL, EOPNOTSUPP: return Found(known: nil)
        default: throw Self.error("look for data in", path)
        }
    }

    private func transfer(
        offset: UInt64, count: Int, _ verb: String, _ call: (Int32, Int, Int, off_t) -> Int
    ) throws {
        guard offset <= sizeBytes, UInt64(count) <= sizeBytes - offset else {
            throw PerSSDError(
                .internal, "cannot \(verb) \(count) bytes at \(offset) of \(path), which has \(sizeBytes)")
        }
        var done = 0
        while done < count {
            let rest = count - done
            let isDirect = rest >= alignment
            let portion = isDirect ? rest - rest % alignment : rest
            let moved = call(isDirect ? descriptor : buffered, done, portion, off_t(offset) + off_t(done))
            if moved > 0 {
                done += moved
            } else if moved == 0 {
                throw PerSSDError(
                    .unavailable, "\(path) ends at \(offset + UInt64(done)), and had \(sizeBytes) bytes when it was opened")
            } else if errno != EINTR {
                throw Self.error("\(verb) \(count) bytes at \(offset) of", path)
            }
        }
    }

    private static func open(_ path: FilePath, _ flags: Int32) throws -> Int32 {
        while true {
            let descriptor = path.withPlatformString { Glibc.open($0, flags | O_CLOEXEC, 0o600) }
            if descriptor >= 0 { return descriptor }
            if errno != EINTR { throw error("open", path) }
        }
    }

    private static func deviceSize(_ descriptor: Int32, _ path: FilePath) throws -> UInt64 {
        var size: UInt64 = 0
        try check(ioctl(descriptor, 0x8008_1272, &size), "find the size of", path)  // BLKGETSIZE64 of linux/fs.h
        return size
    }

    private static func check(_ result: Int32, _ verb: String, _ path: FilePath) throws {
        if result != 0 { throw error(verb, path) }
    }

    private static func error(_ verb: String, _ path: FilePath) -> PerSSDError {
        let number = errno
        let code: PerSSDError.Code =
            switch number {
            case ENOENT, ENXIO, ENODEV: .notFound
            case EACCES, EPERM, EROFS: .permissionDenied
            case ENOSPC, EDQUOT, EFBIG: .resourceExhausted
            case EEXIST: .alreadyExists
            case EBUSY: .failedPrecondition
            default: .unavailable
            }
        return PerSSDError(code, "cannot \(verb) \(path): \(String(cString: strerror(number)))")
    }
}
