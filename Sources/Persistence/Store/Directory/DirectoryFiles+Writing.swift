import Digests
import Errors
import Glibc

/// A file that is whole and durable, and no object yet.
final class UnpublishedFile: Sendable {
    let name: String
    let etag: ETag
    private let descriptor: Int32

    init(name: String, etag: ETag, taking descriptor: Int32) {
        (self.name, self.etag, self.descriptor) = (name, etag, descriptor)
    }

    deinit { close(descriptor) }

    /// As it is now, by whatever names.
    func status() throws -> stat {
        var result = stat()
        try check(fstat(descriptor, &result), "cannot look at the new file \(name)")
        return result
    }
}

extension DirectoryFiles {
    /// How often a write makes its folder anew when others remove it, empty, each time.
    private static let patience = 100

    /// Writes a file under a name that nobody knows.
    func prepare(_ bytes: [UInt8], for key: ObjectKey) throws -> UnpublishedFile {
        try validate(key)
        let folder = try root.openReserved(DirectoryRoot.temporaries)
        let name = randomBytes(16).hex
        let number = uninterrupted {
            openat(folder.number, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        }
        guard number >= 0 else { throw fileError(errno, "cannot write \(path(of: key))") }
        do {
            let descriptor = Descriptor(taking: number)
            try writeFully(bytes, to: descriptor, path(of: key))
            try synchronise(descriptor, path(of: key))
            let etag = Self.tag(of: bytes, try status(of: descriptor, path(of: key)))
            let kept = fcntl(number, F_DUPFD_CLOEXEC, 3)
            try check(kept, "cannot write \(path(of: key))")
            return UnpublishedFile(name: name, etag: etag, taking: kept)
        } catch {
            unlinkat(folder.number, name, 0)
            throw error
        }
    }

    /// Takes away what has not been published; fine where it has been.
    func discard(_ file: UnpublishedFile) {
        // A name that stays is cleared after a day; see `clearOldTemporaries`.
        guard let folder = try? root.openReserved(DirectoryRoot.temporaries) else { return }
        unlinkat(folder.number, file.name, 0)
    }

    /// Makes the file the object, where `condition` holds. The caller holds the key's lock.
    ///
    /// - Throws: `conflict` where it does not.
    func publish(_ file: UnpublishedFile, as key: ObjectKey, condition: WriteCondition) throws {
        let (folderPath, name) = split(key)
        let temporaries = try root.openReserved(DirectoryRoot.temporaries)
        for _ in 0..<Self.patience {
            if case .matches(let tag) = condition { try requireVersion(tag, of: key) }
            guard let folder = try makeFolder(folderPath) else { continue }
            let published =
                condition == .absent
                ? try link(file, from: temporaries, as: name, in: folder, key)
                : try rename(file, from: temporaries, as: name, in: folder, key)
            guard published else { continue }
            try synchronise(folder, path(of: key))
            if condition == .absent { unlinkat(temporaries.number, file.name, 0) }
            return
        }
        throw PerSSDError(
            .unavailable, "cannot write \(path(of: key)): its folder was removed \(Self.patience) times meanwhile")
    }

    /// A first look, without the lock, that spares a hopeless write.
    func requireHope(_ condition: WriteCondition, for key: ObjectKey) throws {
        switch condition {
        case .none: return
        case .absent: if try exists(key) { throw conflict(key, "there is one already") }
        case .matches(let tag): try requireVersion(tag, of: key)
        }
    }

    /// Removes the object and the folders that it leaves empty. The caller holds the key's lock.
    func remove(_ key: ObjectKey) throws {
        try validate(key)
        var (folderPath, name) = split(key)
        guard let folder = try openFolder(folderPath) else { return }
        if unlinkat(folder.number, name, 0) == -1 {
            switch errno {
            case ENOENT: return
            case EISDIR: return  // A folder of that name is no object.
            default: throw fileError(errno, "cannot remove \(path(of: key))")
            }
        }
        try synchronise(folder, path(of: key))
        // rmdir removes nothing but what is empty, so it cannot hurt whoever is just writing there; see `publish`.
        while let path = folderPath {
            let parent = try ObjectKey(path)
            (folderPath, name) = split(parent)
            guard let above = try openFolder(folderPath), unlinkat(above.number, name, AT_REMOVEDIR) == 0 else {
                return
            }
        }
    }

    /// Makes and removes a file, which shows whether objects could be written.
    func tryWriting() throws {
        let folder = try root.openReserved(DirectoryRoot.temporaries)
        let name = randomBytes(16).hex
        let problem = "cannot write in \(root.path)/\(DirectoryRoot.reserved)/\(DirectoryRoot.temporaries)"
        let number = uninterrupted {
            openat(folder.number, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        }
        guard number >= 0 else { throw fileError(errno, problem) }
        let descriptor = Descriptor(taking: number)
        defer { unlinkat(folder.number, name, 0) }
        // One byte shows a full disk; on most file systems an empty file needs no block.
        try writeFully([0], to: descriptor, problem)
    }

    /// Removes what writers left that died more than `age` seconds ago, by the file system's own clock.
    func clearOldTemporaries(age: Int) throws {
        let folder = try root.openReserved(DirectoryRoot.temporaries)
        let path = "\(root.path)/\(DirectoryRoot.reserved)/\(DirectoryRoot.temporaries)"
        let names = try entries(of: folder, path).map(\.name).filter { [UInt8](hex: $0)?.count == 16 }
        guard !names.isEmpty else { return }
        let clock = randomBytes(16).hex
        let number = uninterrupted {
            openat(folder.number, clock, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0o600)
        }
        guard number >= 0 else { throw fileError(errno, "cannot write in \(path)") }
        let descriptor = Descriptor(taking: number)
        defer { unlinkat(folder.number, clock, 0) }
        let now = try status(of: descriptor, path).st_mtim.tv_sec
        for name in names {
            guard let status = try status(of: name, in: folder, path), FileKind(status.st_mode) == .file,
                status.st_mtim.tv_sec < now - age
            else { continue }
            unlinkat(folder.number, name, 0)
        }
    }

    // MARK: - Conditions

    private func exists(_ key: ObjectKey) throws -> Bool {
        let (folderPath, name) = split(key)
        guard let folder = try openFolder(folderPath) else { return false }
        return try status(of: name, in: folder, path(of: key)).map { FileKind($0.st_mode) == .file } ?? false
    }

    private func requireVersion(_ tag: ETag, of key: ObjectKey) throws {
        guard let current = try info(key) else { throw conflict(key, "it is gone") }
        guard current.etag == tag else { throw conflict(key, "somebody else has changed it") }
    }

    private func conflict(_ key: ObjectKey, _ reason: String) -> PerSSDError {
        PerSSDError(.conflict, "\(path(of: key)) was not written: \(reason)")
    }

    // MARK: - Publishing

    /// - Returns: false where the folder has been removed meanwhile.
    private func link(
        _ file: UnpublishedFile, from temporaries: borrowing Descriptor, as name: String,
        in folder: borrowing Descriptor,
        _ key: ObjectKey
    ) throws -> Bool {
        if linkat(temporaries.number, file.name, folder.number, name, 0) == -1 {
            let failure = errno
            // NFS: an answer that was lost is asked for again, and the second time the name exists.
            guard try file.status().st_nlink != 2 else { return true }
            switch failure {
            case ENOENT:
                try requireUnpublished(file, key)
                return false
            case EEXIST:
                try refuseFolder(name, in: folder, key)
                throw conflict(key, "there is one already")
            case EPERM, EMLINK:
                throw fileError(EOPNOTSUPP, "cannot link \(path(of: key))")
            default: throw fileError(failure, "cannot link \(path(of: key))")
            }
        }
        return true
    }

    /// - Returns: as `link`.
    private func rename(
        _ file: UnpublishedFile, from temporaries: borrowing Descriptor, as name: String,
        in folder: borrowing Descriptor,
        _ key: ObjectKey
    ) throws -> Bool {
        if renameat(temporaries.number, file.name, folder.number, name) == -1 {
            let failure = errno
            let now = try status(of: name, in: folder, path(of: key))
            switch failure {
            case ENOENT:
                // NFS, as above.
                if let now, try now.st_ino == file.status().st_ino { return true }
                try requireUnpublished(file, key)
                return false
            case EISDIR, EEXIST, ENOTEMPTY, ENOTDIR:
                try refuseFolder(name, in: folder, key)
                throw fileError(failure, "cannot rename to \(path(of: key))")
            default: throw fileError(failure, "cannot rename to \(path(of: key))")
            }
        }
        return true
    }

    private func requireUnpublished(_ file: UnpublishedFile, _ key: ObjectKey) throws {
        guard try file.status().st_nlink > 0 else {
            throw PerSSDError(
                .unavailable, "cannot write \(path(of: key)): somebody removed the temporary file \(file.name)")
        }
    }

    private func refuseFolder(_ name: String, in folder: borrowing Descriptor, _ key: ObjectKey) throws {
        if let status = try status(of: name, in: folder, path(of: key)), FileKind(status.st_mode) == .folder {
            throw PerSSDError(
                .invalidArgument, "\(path(of: key)) is a folder, and a directory store cannot have an object beside it")
        }
    }
}
