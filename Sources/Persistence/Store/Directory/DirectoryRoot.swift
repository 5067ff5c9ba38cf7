import Digests
import Errors
import Glibc
import Synchronization

/// The directory a store lives in, and the folder in it that is not objects:
///
///     <root>/.perssd/store    makes the directory known as a store's: layout and a random id, written once
///     <root>/.perssd/lock     the file whose bytes are locked
///     <root>/.perssd/tmp/     files that are being written
///     <root>/a/b/c            the object "a/b/c"
///
/// Links inside the directory are never followed; the path to it may have some.
final class DirectoryRoot: Sendable {
    let path: String

    static let reserved = ".perssd"
    static let marker = "store"
    static let temporaries = "tmp"
    private static let heading = "PerSSD directory store"
    private static let layout = 1

    private struct Identity: Equatable {
        var device: dev_t
        var inode: ino_t
    }

    /// Which of the kernel's directories is known to be ours.
    private let identity = Mutex<Identity?>(nil)
    private let id = Mutex<String?>(nil)

    init(path: String) { self.path = path }

    /// Takes the directory as a store: an empty one becomes one.
    ///
    /// - Throws: `storeMissing` where there is no directory, `failedPrecondition` where it holds something else or its file
    ///   system cannot be a store, `unsupported` for a layout of a later version.
    func adopt() throws {
        let root = try openPath()
        try refuseUnsuitableFileSystem(root)
        if try readMarker(root) == nil {
            try refuseForeign(root)
            try makeMarker(root)
        }
        guard let found = try readMarker(root) else {
            throw PerSSDError(.unavailable, "\(path)/\(Self.reserved)/\(Self.marker) was there and is gone")
        }
        id.withLock { $0 = found }
        _ = try open()
        let reserved = try openFolder(Self.reserved, in: root)
        try makeFolder(Self.temporaries, in: reserved)
    }

    /// The directory itself. It is still the one that was adopted: a file system that has been unmounted leaves an
    /// empty directory behind, which must not pass for an empty store.
    func open() throws -> Descriptor {
        let root = try openPath()
        let status = try status(of: root, path)
        let seen = Identity(device: status.st_dev, inode: status.st_ino)
        if identity.withLock({ $0 == seen }) { return root }
        // Mounted again, it may have other numbers; its marker stays.
        let found = try readMarker(root)
        guard found != nil, found == id.withLock({ $0 }) else {
            throw PerSSDError(
                .unavailable, "\(path) is not the directory any more that it was at the start of this process",
                remedy: "mount the shared file system again, or start this process anew if another is meant")
        }
        identity.withLock { $0 = seen }
        return root
    }

    /// One of the folders that are no objects'.
    func openReserved(_ name: String? = nil) throws -> Descriptor {
        let reserved = try openFolder(Self.reserved, in: try open())
        guard let name else { return reserved }
        return try openFolder(name, in: reserved)
    }

    private func openPath() throws -> Descriptor {
        let number = uninterrupted { Glibc.open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) }
        guard number >= 0 else {
            switch errno {
            case ENOENT, ENOTDIR:
                throw PerSSDError(
                    .storeMissing, "there is no directory \(path)",
                    remedy: "mount the shared file system there, or make the directory")
            default: throw fileError(errno, "cannot open \(path)")
            }
        }
        return Descriptor(taking: number)
    }

    private func openFolder(_ name: String, in folder: borrowing Descriptor) throws -> Descriptor {
        let number = uninterrupted {
            openat(folder.number, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)
        }
        guard number >= 0 else {
            let problem = "cannot open the folder \(name) of the store in \(path)"
            if errno == ENOENT || errno == ENOTDIR {
                throw PerSSDError(
                    .failedPrecondition, "\(problem): it is missing or no folder",
                    remedy: "make it again as a folder, empty, with mode 700")
            }
            throw fileError(errno, problem)
        }
        return Descriptor(taking: number)
    }

    private func makeFolder(_ name: String, in folder: borrowing Descriptor) throws {
        if mkdirat(folder.number, name, 0o700) == 0 {
            return try synchronise(folder, path)
        }
        guard errno == EEXIST else { throw fileError(errno, "cannot make the folder \(name) of the store in \(path)") }
    }

    // MARK: - The marker

    /// - Returns: the id; nil where there is no marker.
    private func readMarker(_ root: borrowing Descriptor) throws -> String? {
        let file = "\(path)/\(Self.reserved)/\(Self.marker)"
        guard let entry = try status(of: Self.reserved, in: root, file) else { return nil }
        guard FileKind(entry.st_mode) == .folder else {
            throw PerSSDError(.failedPrecondition, "\(path)/\(Self.reserved) is no folder")
        }
        let reserved = try openFolder(Self.reserved, in: root)
        let number = uninterrupted { openat(reserved.number, Self.marker, O_RDONLY | O_NOFOLLOW | O_CLOEXEC) }
        guard number >= 0 else {
            if errno == ENOENT { return nil }
            throw fileError(errno, "cannot open \(file)")
        }
        let text = String(decoding: try readFully(Descriptor(taking: number), at: 0, count: 4096, file), as: UTF8.self)
        let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
        guard lines.count == 4, lines[0] == Self.heading, lines[3].isEmpty, lines[1].hasPrefix("layout "),
            let layout = Int(lines[1].dropFirst(7)), lines[2].hasPrefix("id ")
        else {
            throw PerSSDError(
                .corrupt, "\(file) is not what PerSSD writes there",
                remedy: "restore that file from a backup, or name another directory")
        }
        guard layout == Self.layout else {
            throw PerSSDError(
                .unsupported, "the store in \(path) has layout \(layout), and this PerSSD knows layout \(Self.layout)",
                remedy: "upgrade PerSSD here to the version that made the store")
        }
        return String(lines[2].dropFirst(3))
    }

    /// Of several processes that do this at once, one makes the marker that counts.
    private func makeMarker(_ root: borrowing Descriptor) throws {
        try makeFolder(Self.reserved, in: root)
        let reserved = try openFolder(Self.reserved, in: root)
        let temporary = "\(Self.marker).\(randomBytes(16).hex)"
        let file = "\(path)/\(Self.reserved)/\(temporary)"
        let number = uninterrupted {
            openat(reserved.number, temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        }
        guard number >= 0 else { throw fileError(errno, "cannot make \(file)") }
        let descriptor = Descriptor(taking: number)
        defer { unlinkat(reserved.number, temporary, 0) }
        let text = "\(Self.heading)\nlayout \(Self.layout)\nid \(randomBytes(16).hex)\n"
        try writeFully([UInt8](text.utf8), to: descriptor, file)
        try synchronise(descriptor, file)
        if linkat(reserved.number, temporary, reserved.number, Self.marker, 0) == -1, errno != EEXIST {
            throw fileError(errno, "cannot link \(file) as \(Self.marker)")
        }
        try synchronise(reserved, "\(path)/\(Self.reserved)")
    }

    // MARK: - What cannot be a store

    /// A directory with other things in it is most likely a slip of the pen, and no place to make folders in.
    private func refuseForeign(_ root: borrowing Descriptor) throws {
        let known: Set<String> = [Self.reserved, "lost+found"]
        let strangers = try entries(of: root, path).map(\.name).filter { !known.contains($0) }
        guard let first = strangers.min() else { return }
        throw PerSSDError(
            .failedPrecondition,
            "\(path) is not empty ('\(first)'\(strangers.count > 1 ? " and \(strangers.count - 1) more" : "")) and no store",
            remedy: "name an empty directory, or one that PerSSD has made a store before")
    }

    private func refuseUnsuitableFileSystem(_ root: borrowing Descriptor) throws {
        let status = try status(of: root, path)
        guard let mount = MountedFileSystem.holding(device: status.st_dev), let problem = mount.lockingProblem else {
            return
        }
        throw PerSSDError(
            .failedPrecondition, "\(path) cannot be a store: \(problem)",
            remedy:
                "mount it so that file locks hold between hosts (Lustre: -o flock; NFS: version 4, without nolock and "
                + "local_lock)")
    }
}
