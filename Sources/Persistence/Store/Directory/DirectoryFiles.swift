import Digests
import Errors
import Foundation
import Glibc

/// Objects as files below a directory. All calls block.
struct DirectoryFiles: Sendable {
    let root: DirectoryRoot
    /// The most that is read at once, in bytes.
    static let maximumObjectSize = 1 << 30
    /// Up to here the tag of an object is the hash of its bytes; see `tag`. In bytes.
    static let hashedTagLimit = 1 << 20

    func path(of key: ObjectKey) -> String { "\(root.path)/\(key)" }

    /// - Throws: `invalidArgument` for a key that cannot be a file's path here.
    func validate(_ key: ObjectKey) throws {
        for segment in key.path.split(separator: "/") {
            guard !segment.hasPrefix(".") else {
                throw PerSSDError(
                    .invalidArgument, "'\(key)': names with a dot in front are no objects in a directory store")
            }
            guard segment.utf8.count <= Int(NAME_MAX) else {
                throw PerSSDError(
                    .invalidArgument, "'\(key)': a directory store takes \(NAME_MAX) bytes between slashes")
            }
        }
    }

    // MARK: - Reading

    func read(_ key: ObjectKey) throws -> StoredObject? {
        try validate(key)
        return try withFile(key) { file, status in
            let bytes = try readWhole(file, size: Int(status.st_size), key)
            return StoredObject(bytes: bytes, etag: Self.tag(of: bytes, status))
        }
    }

    func read(_ key: ObjectKey, range: Range<UInt64>) throws -> [UInt8]? {
        try validate(key)
        return try withFile(key) { file, status in
            guard range.upperBound <= UInt64(status.st_size) else {
                throw PerSSDError(
                    .corrupt, "bytes \(range) of \(path(of: key)) are past its end: it is \(status.st_size) bytes long")
            }
            guard range.count <= Self.maximumObjectSize else {
                throw PerSSDError(.outOfRange, "\(range.count) bytes are more than can be read at once")
            }
            let bytes = try readFully(file, at: range.lowerBound, count: range.count, path(of: key))
            guard bytes.count == range.count else { throw shortened(key) }
            return bytes
        }
    }

    func info(_ key: ObjectKey) throws -> ObjectInfo? {
        try validate(key)
        return try withFile(key) { file, status in
            let size = Int(status.st_size)
            let bytes = size <= Self.hashedTagLimit ? try readWhole(file, size: size, key) : []
            let seconds = Double(status.st_mtim.tv_sec) + Double(status.st_mtim.tv_nsec) / 1e9
            return ObjectInfo(
                key: key, size: UInt64(size), etag: Self.tag(of: bytes, status),
                modified: Date(timeIntervalSince1970: seconds))
        }
    }

    /// What names a version of an object.
    ///
    /// Records, which are what conditions are about, are small: theirs is the SHA-256 of the bytes, which is the same on
    /// every host, whatever clock and attribute cache it has. As with S3's, a version with the same bytes as an older one
    /// has the same tag; heads differ always, as their epoch only grows. Packs are large, never change, and are not worth
    /// reading for a tag: theirs is made of size, time and file number, which a rename cannot keep.
    static func tag(of bytes: [UInt8], _ status: stat) -> ETag {
        if status.st_size <= hashedTagLimit { return ETag("sha256-" + SHA256.digest(bytes).hex) }
        return ETag("file-\(status.st_size)-\(status.st_ino)-\(status.st_mtim.tv_sec).\(status.st_mtim.tv_nsec)")
    }

    private func readWhole(_ file: borrowing Descriptor, size: Int, _ key: ObjectKey) throws -> [UInt8] {
        guard size <= Self.maximumObjectSize else {
            throw PerSSDError(.outOfRange, "\(path(of: key)) has \(size) bytes: too many to be read at once")
        }
        let bytes = try readFully(file, at: 0, count: size, path(of: key))
        guard bytes.count == size else { throw shortened(key) }
        return bytes
    }

    /// Files are published whole and never changed: somebody else has been at it.
    private func shortened(_ key: ObjectKey) -> PerSSDError {
        PerSSDError(.corrupt, "\(path(of: key)) became shorter while it was read")
    }

    /// - Returns: nil where there is no such object.
    private func withFile<Value>(
        _ key: ObjectKey, _ body: (borrowing Descriptor, stat) throws -> Value
    ) throws -> Value? {
        var attempt = 0
        while true {
            do {
                guard let file = try openFile(key) else { return nil }
                let status = try status(of: file, path(of: key))
                switch FileKind(status.st_mode) {
                case .file: return try body(file, status)
                case .folder: return nil
                default: throw PerSSDError(.failedPrecondition, "\(path(of: key)) is not an ordinary file")
                }
            } catch let error as PerSSDError where error.code == .unavailable && attempt < 3 {
                // ESTALE for one: on NFS another host may have replaced the file since we looked it up.
                attempt += 1
            }
        }
    }

    private func openFile(_ key: ObjectKey) throws -> Descriptor? {
        let (folderPath, name) = split(key)
        guard let folder = try openFolder(folderPath) else { return nil }
        // Not to hang on a FIFO that somebody put there.
        let number = uninterrupted { openat(folder.number, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK) }
        if number >= 0 { return Descriptor(taking: number) }
        if errno == ENOENT { return nil }
        throw fileError(errno, "cannot open \(path(of: key))")
    }

    // MARK: - Folders

    func split(_ key: ObjectKey) -> (folder: String?, name: String) {
        guard let slash = key.path.lastIndex(of: "/") else { return (nil, key.path) }
        return (String(key.path[..<slash]), String(key.path[key.path.index(after: slash)...]))
    }

    /// - Parameter path: nil for the root.
    /// - Returns: nil where there is no such folder.
    func openFolder(_ path: String?) throws -> Descriptor? {
        var current = try root.open()
        for segment in (path ?? "").split(separator: "/") {
            guard let next = try openFolder(String(segment), in: current, path: path ?? "") else { return nil }
            current = next
        }
        return current
    }

    func openFolder(_ name: String, in folder: borrowing Descriptor, path: String) throws -> Descriptor? {
        let number = uninterrupted { openat(folder.number, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) }
        if number >= 0 { return Descriptor(taking: number) }
        let failure = errno
        let full = "\(root.path)/\(path)"
        switch failure {
        case ENOENT: return nil
        case ENOTDIR, ELOOP:
            // With both flags a symbolic link is "not a directory".
            guard let status = try status(of: name, in: folder, full) else { return nil }
            if FileKind(status.st_mode) == .symbolicLink {
                throw fileError(ELOOP, "cannot open '\(name)' of \(full), a symbolic link")
            }
            return nil
        default: throw fileError(failure, "cannot open '\(name)' of \(full)")
        }
    }

    /// The folder, made with all above it where missing, and all of it durable.
    ///
    /// - Returns: nil where another process removed one of them, empty, at the same time: try again.
    func makeFolder(_ path: String?) throws -> Descriptor? {
        var current = try root.open()
        for segment in (path ?? "").split(separator: "/") {
            let name = String(segment)
            let full = "\(root.path)/\(path ?? "")"
            if mkdirat(current.number, name, 0o700) == -1 {
                if errno == ENOENT { return nil }
                guard errno == EEXIST else { throw fileError(errno, "cannot make the folder \(full)") }
            }
            guard let next = try openFolder(name, in: current, path: path ?? "") else {
                guard try status(of: name, in: current, full) == nil else {
                    throw PerSSDError(
                        .invalidArgument,
                        "cannot make the folder \(full): there is an object of that name, and a directory "
                            + "store cannot have both")
                }
                return nil
            }
            // Also where it was there: who made it may not have come so far yet.
            try synchronise(current, full)
            current = next
        }
        return current
    }
}
