import Errors
import Glibc

/// An open file or directory; closed when it goes out of scope.
struct Descriptor: ~Copyable {
    let number: Int32

    init(taking number: Int32) { self.number = number }

    deinit { close(number) }
}

/// Makes a call again for as long as a signal interrupts it (signal(7)).
func uninterrupted<Result: BinaryInteger>(_ call: () -> Result) -> Result {
    while true {
        let result = call()
        if result != -1 || errno != EINTR { return result }
    }
}

/// An error number of a system call, as what it means for the directory store.
func fileError(_ number: Int32, _ action: String) -> PerSSDError {
    let message = "\(action): \(String(cString: strerror(number)))"
    switch number {
    case ENOSPC:
        return PerSSDError(
            .resourceExhausted, message, remedy: "free space (or inodes: df -i) on that file system, or grow it")
    case EDQUOT:
        return PerSSDError(.resourceExhausted, message, remedy: "free space within the quota, or have it raised")
    case EROFS:
        return PerSSDError(
            .failedPrecondition, message,
            remedy: "mount the file system read-write; dmesg tells whether an error made "
                + "the kernel turn it read-only")
    case EACCES, EPERM:
        return PerSSDError(
            .permissionDenied, message,
            remedy: "let user \(geteuid()), as whom this runs, read, write and search that directory and all below")
    case ENAMETOOLONG:
        return PerSSDError(.invalidArgument, message)
    case ELOOP:
        return PerSSDError(
            .failedPrecondition, message,
            remedy: "take the symbolic link away: PerSSD makes none inside a store, and follows none")
    case EXDEV:
        return PerSSDError(
            .failedPrecondition, message,
            remedy: "keep the store in one file system and one project quota, with nothing mounted inside it")
    case ENOLCK, ENOSYS, EOPNOTSUPP:
        return PerSSDError(
            .failedPrecondition, message,
            remedy:
                "use a file system with hard links and file locks that hold between hosts (Lustre: mount with -o flock; "
                + "NFS: version 4, without nolock)")
    case EIO, ESTALE, ETIMEDOUT, EHOSTDOWN, EHOSTUNREACH, ENETUNREACH, ECONNREFUSED, ECONNRESET, ENOTCONN, ESHUTDOWN,
        ENODEV,
        ENXIO, EREMOTEIO, EAGAIN, EBUSY, EMFILE, ENFILE, ENOMEM:
        return PerSSDError(.unavailable, message)
    default:
        return PerSSDError(.internal, message)
    }
}

/// Fails where a call returned -1.
func check(_ result: some BinaryInteger, _ action: @autoclosure () -> String) throws {
    if result == -1 { throw fileError(errno, action()) }
}

enum FileKind {
    case file, folder, symbolicLink, other

    init(_ mode: mode_t) {
        switch mode & S_IFMT {
        case S_IFREG: self = .file
        case S_IFDIR: self = .folder
        case S_IFLNK: self = .symbolicLink
        default: self = .other
        }
    }
}

func status(of descriptor: borrowing Descriptor, _ path: @autoclosure () -> String) throws -> stat {
    var result = stat()
    try check(fstat(descriptor.number, &result), "cannot look at \(path())")
    return result
}

/// What `name` in a folder is, without following it; nil where there is nothing.
func status(of name: String, in folder: borrowing Descriptor, _ path: @autoclosure () -> String) throws -> stat? {
    var result = stat()
    if fstatat(folder.number, name, &result, AT_SYMLINK_NOFOLLOW) == 0 { return result }
    if errno == ENOENT { return nil }
    throw fileError(errno, "cannot look at \(path())")
}

func synchronise(_ descriptor: borrowing Descriptor, _ path: @autoclosure () -> String) throws {
    try check(uninterrupted { fsync(descriptor.number) }, "cannot make \(path()) durable")
}

/// Reads until `count` bytes or the end of the file are there.
func readFully(_ descriptor: borrowing Descriptor, at offset: UInt64, count: Int, _ path: String) throws -> [UInt8] {
    let number = descriptor.number
    var failure: Int32 = 0
    let bytes = [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
        while initialized < count {
            let result = uninterrupted {
                pread(
                    number, buffer.baseAddress! + initialized, count - initialized, off_t(offset) + off_t(initialized))
            }
            if result == -1 { failure = errno }
            if result <= 0 { break }
            initialized += result
        }
    }
    guard failure == 0 else { throw fileError(failure, "cannot read \(path)") }
    return bytes
}

func writeFully(_ bytes: [UInt8], to descriptor: borrowing Descriptor, _ path: @autoclosure () -> String) throws {
    let number = descriptor.number
    try bytes.withUnsafeBytes { buffer in
        var done = 0
        while done < buffer.count {
            let result = uninterrupted { write(number, buffer.baseAddress! + done, buffer.count - done) }
            try check(result, "cannot write \(bytes.count) bytes to \(path())")
            done += result
        }
    }
}
