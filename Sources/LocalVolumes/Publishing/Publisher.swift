import Blocking
import Errors
import Glibc
import LinuxSystem
import Logging
import SystemPackage

/// A place where a pod sees a volume.
public struct PublishedTarget: Sendable, Equatable {
    public var path: FilePath
    public var isReadOnly: Bool
    /// Whether the device itself is there, and not its file system.
    public var isBlock: Bool

    public init(path: FilePath, isReadOnly: Bool, isBlock: Bool) {
        (self.path, self.isReadOnly, self.isBlock) = (path, isReadOnly, isBlock)
    }
}

/// A volume's file system where PerSSD has it mounted.
public struct StagedMount: Sendable, Equatable {
    public var volume: String
    public var path: FilePath
    public var isReadOnly: Bool

    public init(volume: String, path: FilePath, isReadOnly: Bool) {
        (self.volume, self.path, self.isReadOnly) = (volume, path, isReadOnly)
    }
}

/// Mounts volumes, and shows them at target paths.
///
/// A file system is mounted once, at `<state>/mounts/<volume>`, and bound from there to each target; a raw block volume's
/// device node is bound onto a file. All of it is found again in the mount table, so nothing has to be remembered. The
/// mounts outlive the process: in a container, the state directory and the targets' have to be mounted with bidirectional
/// propagation.
public struct Publisher: Sendable {
    /// Where PerSSD keeps what has to outlive its process.
    public let stateDirectory: FilePath
    private let mounts: FilePath
    private let allowedRoot: FilePath?
    private let logger: Logger

    /// - Parameters:
    ///   - stateDirectory: PerSSD's own; made where it is missing.
    ///   - allowedRoot: where target paths have to lie below, once their links are followed; nil for anywhere.
    public init(stateDirectory: FilePath, allowedRoot: FilePath? = nil, logger: Logger) async throws {
        mounts = try await BlockingPool.shared.run {
            try DurableFile.makeDirectory(stateDirectory)
            let mounts = stateDirectory.appending("mounts")
            try DurableFile.makeDirectory(mounts)
            return try OpenFile(place: mounts, followingLink: true, mustBeDirectory: true).currentPath()
        }
        self.stateDirectory = stateDirectory
        self.allowedRoot = allowedRoot
        self.logger = logger
    }

    // MARK: Staging

    /// Finds the mounts that an earlier process left, and thaws those that it had frozen.
    public func recover() async throws -> [StagedMount] {
        try await BlockingPool.shared.run {
            let staged = try self.staged()
            for mount in staged where try MountedFileSystem.thaw(mount.path) {
                logger.warning("'\(mount.volume)' was left frozen, and is thawed")
            }
            return staged
        }
    }

    private func staged() throws -> [StagedMount] {
        try MountTable.current().entries.compactMap { entry in
            guard entry.mountPoint.removingLastComponent() == mounts, let name = entry.mountPoint.lastComponent,
                CopyName.isValid(name.string)
            else { return nil }
            return StagedMount(volume: name.string, path: entry.mountPoint, isReadOnly: entry.isReadOnly)
        }
    }

    /// Where the volume's file system is mounted; nil where it is not.
    public func stagedPath(of volume: String) async throws -> FilePath? {
        try CopyName.validate(volume)
        return try await BlockingPool.shared.run {
            let path = mounts.appending(volume)
            return try MountTable.current().top(at: path) == nil ? nil : path
        }
    }

    /// Which file system of the volume is mounted; nil for none.
    public func stagedKind(of volume: String) async throws -> FileSystemKind? {
        try CopyName.validate(volume)
        return try await BlockingPool.shared.run {
            try MountTable.current().top(at: mounts.appending(volume)).flatMap {
                FileSystemKind(rawValue: $0.fileSystemType)
            }
        }
    }

    /// Mounts the file system of a volume; fine where that is done already. See `FileSystems.prepareForMount`, which comes
    /// first. One that is mounted read-only is made writable where that is asked for; targets that show it read-only still
    /// do so.
    ///
    /// - Parameter options: of the StorageClass or the PersistentVolume; `ro` for a volume that nobody may write.
    /// - Returns: where it is mounted.
    /// - Throws: `invalidArgument`, naming it, for an option that the file system refuses; `failedPrecondition` where
    ///   something else is mounted there, or the same for writing where `ro` is asked for.
    public func stage(
        _ volume: String, device: FilePath, kind: FileSystemKind, options: MountOptions = MountOptions()
    ) async throws -> FilePath {
        try CopyName.validate(volume)
        var all = options
        for option in kind.ownMountOptions { all.addOwn(option) }
        let mountOptions = all
        return try await BlockingPool.shared.run {
            let path = mounts.appending(volume)
            let number = try BlockDevice.number(of: device)
            if let entry = try MountTable.current().top(at: path) {
                guard entry.isFileSystem(of: number) else {
                    throw PerSSDError(
                        .failedPrecondition, "\(path) is where \(entry.source) is mounted, not \(device)",
                        remedy: "unmount it")
                }
                switch (entry.isReadOnly, mountOptions.isReadOnly) {
                case (true, true), (false, false): break
                case (true, false): try Mount.makeWritable(try OpenFile(place: path, mustBeDirectory: true))
                case (false, true):
                    throw PerSSDError(
                        .failedPrecondition, "'\(volume)' is mounted for writing already", remedy: "unpublish it first")
                }
                return path
            }
            try DurableFile.makeDirectory(path)
            let place = try OpenFile(place: path, mustBeDirectory: true)
            do {
                try Mount.fileSystem(kind.rawValue, device: device, at: place, options: mountOptions)
            } catch let error as PerSSDError where kind == .btrfs && error.errno == .fileExists {
                throw PerSSDError(
                    .failedPrecondition,
                    "the btrfs of \(device) has the same UUID as another one that is mounted, as copies of one volume have, "
                        + "and this kernel mounts only one of them",
                    remedy: "unmount the other one, or use Linux 6.7 or later, which tells them apart", cause: error)
            }
            guard let entry = try MountTable.current().top(at: path), entry.isFileSystem(of: number) else {
                try Mount.unmount(path)
                throw PerSSDError(
                    .internal, "at \(path), the kernel has mounted another file system than that of \(device)",
                    remedy: "look for another device with the same UUID: blkid")
            }
            return path
        }
    }

    /// Mounts a file system read-only, of which not one bit may change. To mount it with `ro` alone is not enough: ext4 and
    /// xfs replay a journal all the same. See `FileSystems.mustBeWritten`, which comes first.
    ///
    /// - Returns: whether it could be mounted so; false, with nothing done, where its journal has to be replayed first.
    public func stageUnchanged(
        _ volume: String, device: FilePath, kind: FileSystemKind, options: MountOptions
    ) async throws -> Bool {
        var options = options
        options.isReadOnly = true
        // A btrfs would never let itself be made writable again, and its superblock says whether there is a journal.
        let protects = kind != .btrfs
        if protects { try await BlockingPool.shared.run { try BlockDevice.setReadOnly(device, true) } }
        let result: Result<FilePath, any Error>
        do {
            result = .success(try await stage(volume, device: device, kind: kind, options: options))
        } catch {
            result = .failure(error)
        }
        if protects { try await BlockingPool.shared.run { try BlockDevice.setReadOnly(device, false) } }
        do {
            _ = try result.get()
            return true
        } catch let error as PerSSDError where protects && error.errno == .readOnlyFileSystem {
            logger.info("'\(volume)' cannot be mounted without a change: \(error)")
            return false
        }
    }

    /// Unmounts the volume's file system; fine where it is not mounted. All is on the device when this returns.
    ///
    /// - Returns: which file system was mounted; nil for none.
    /// - Throws: `failedPrecondition` where it is in use.
    @discardableResult
    public func unstage(_ volume: String) async throws -> FileSystemKind? {
        try CopyName.validate(volume)
        return try await BlockingPool.shared.run {
            let path = mounts.appending(volume)
            var kind: FileSystemKind?
            while let entry = try MountTable.current().top(at: path) {
                let others = try Self.targets(of: entry.device, in: MountTable.current()).filter { $0.path != path }
                if let other = others.first {
                    throw PerSSDError(
                        .failedPrecondition, "'\(volume)' is still published at \(other.path)",
                        remedy: "unpublish it there first")
                }
                kind = FileSystemKind(rawValue: entry.fileSystemType)
                try Mount.unmount(path)
            }
            try DurableFile.removeDirectoryIfThere(path)
            return kind
        }
    }

    // MARK: Publishing

    /// Checks a target path before any work is done for it.
    ///
    /// - Returns: the path without symbolic links, as the mount table will show it.
    /// - Throws: what `TargetPlace` says of bad paths.
    public func resolve(target: String) async throws -> String {
        try await BlockingPool.shared.run { try TargetPlace(target, below: allowedRoot).path.string }
    }

    /// Shows a staged file system at `target`; fine where that is done already.
    ///
    /// - Throws: what `TargetPlace` says of bad paths; `alreadyExists` where the volume is there with other access;
    ///   `failedPrecondition` where something else is.
    public func publish(_ volume: String, at target: String, readOnly: Bool) async throws {
        try CopyName.validate(volume)
        try await BlockingPool.shared.run {
            let staged = mounts.appending(volume)
            guard let entry = try MountTable.current().top(at: staged) else {
                throw PerSSDError(.failedPrecondition, "'\(volume)' is not mounted, so it cannot be published")
            }
            let place = try TargetPlace(target, below: allowedRoot)
            let isReadOnly = readOnly || entry.isReadOnly
            if try isPublished(entry.device, at: place, readOnly: isReadOnly, block: false) { return }
            var options = MountOptions()
            options.isReadOnly = isReadOnly
            try bind(try OpenFile(place: staged, mustBeDirectory: true), .directory, at: place, options)
        }
    }

    /// Shows a device itself at `target`; fine where that is done already. A device is read-only for all or for nobody.
    public func publishDevice(_ device: FilePath, at target: String, readOnly: Bool) async throws {
        try await BlockingPool.shared.run {
            let number = try BlockDevice.number(of: device)
            let place = try TargetPlace(target, below: allowedRoot)
            if try isPublished(number, at: place, readOnly: readOnly, block: true) { return }
            let others = try Self.targets(of: number, in: MountTable.current())
            if let other = others.first(where: { $0.isReadOnly != readOnly }) {
                throw PerSSDError(
                    .failedPrecondition,
                    "\(device) is published \(other.isReadOnly ? "read-only" : "for writing") at \(other.path), and the "
                        + "kernel knows only one access for a device",
                    remedy: "unpublish it there, or ask for the same access")
            }
            // Before the bind, so that a target never shows a device that can be written where it should not be.
            try BlockDevice.setReadOnly(device, readOnly)
            var options = MountOptions()
            options.isReadOnly = readOnly
            try bind(try OpenFile(place: device), .regular, at: place, options)
        }
    }

    private func isPublished(
        _ device: DeviceNumber, at place: borrowing TargetPlace, readOnly: Bool, block: Bool
    ) throws -> Bool {
        guard let top = try MountTable.current().top(at: place.path) else { return false }
        guard let found = Self.target(top, of: device) else { throw Self.takenByOthers(top) }
        guard found.isReadOnly == readOnly, found.isBlock == block else {
            throw PerSSDError(
                .alreadyExists,
                "the volume is published at \(place.path) already, \(found.isBlock ? "as a device, " : "")"
                    + (found.isReadOnly ? "read-only" : "for writing"),
                remedy: "unpublish it there first")
        }
        return true
    }

    private func bind(
        _ source: borrowing OpenFile, _ kind: FileStatus.Kind, at place: borrowing TargetPlace, _ options: MountOptions
    ) throws {
        let made = try place.makeAndOpen(kind)
        do {
            try Mount.bind(source, at: made.place, options: options)
        } catch {
            if made.isNew { try? place.remove() }
            throw error
        }
    }

    private static func takenByOthers(_ entry: MountTable.Entry) -> PerSSDError {
        PerSSDError(
            .failedPrecondition,
            "at \(entry.mountPoint), \(entry.source) (\(entry.fileSystemType)) is mounted, which is not this volume",
            remedy: "unmount it, or find out who mounted it")
    }

    /// Takes a volume away from `target` and removes the directory or file there; fine where that is done already.
    ///
    /// - Parameter device: the volume's; nil where it has none (any more), so that nothing mounted there can be its.
    /// - Throws: `failedPrecondition` where something else is mounted at the target, or it is in use.
    public func unpublish(device: FilePath?, from target: String) async throws {
        try await BlockingPool.shared.run {
            let place: TargetPlace
            do {
                place = try TargetPlace(target, below: allowedRoot)
            } catch let error as PerSSDError where error.code == .notFound {
                return
            }
            let number = try device.map { try BlockDevice.number(of: $0) }
            while let top = try MountTable.current().top(at: place.path) {
                guard let number, let found = Self.target(top, of: number) else { throw Self.takenByOthers(top) }
                try Mount.unmount(place.path)
                if found.isBlock, found.isReadOnly, let device,
                    try Self.targets(of: number, in: MountTable.current()).isEmpty
                {
                    try BlockDevice.setReadOnly(device, false)
                }
            }
            try place.remove()
        }
    }

    /// Where the device, or the file system on it, is published now.
    public func publishedTargets(of device: FilePath) async throws -> [PublishedTarget] {
        try await BlockingPool.shared.run {
            let number = try BlockDevice.number(of: device)
            return try Self.targets(of: number, in: MountTable.current()).filter {
                $0.path.removingLastComponent() != mounts
            }
        }
    }

    /// Every mount of the whole file system, or of the device's node. A mount of a part is not PerSSD's: kubelet binds
    /// sub-paths of a volume so.
    private static func targets(of device: DeviceNumber, in table: MountTable) throws -> [PublishedTarget] {
        table.entries.compactMap { target($0, of: device) }
    }

    private static func target(_ entry: MountTable.Entry, of device: DeviceNumber) -> PublishedTarget? {
        if entry.root == "/", entry.device == device || entry.isFileSystem(of: device) {
            return PublishedTarget(path: entry.mountPoint, isReadOnly: entry.isReadOnly, isBlock: false)
        }
        // A device node lies in /dev, which is a devtmpfs, or a tmpfs in a container.
        guard entry.fileSystemType == "devtmpfs" || entry.fileSystemType == "tmpfs", entry.root != "/",
            !isKubeletsMap(entry.mountPoint),
            let status = (try? FileStatus.of(entry.mountPoint)).flatMap({ $0 }), status.kind == .blockDevice,
            status.deviceNumber == device
        else { return nil }
        return PublishedTarget(path: entry.mountPoint, isReadOnly: entry.options.contains("ro"), isBlock: true)
    }

    /// Whether it is where kubelet binds a raw block volume once more for itself, from the target that it was published at, and takes
    /// that away before it unpublishes: `<root>/plugins/kubernetes.io/csi/volumeDevices/<volume>/dev/<pod's UID>`. Nobody unpublishes
    /// it here, so a volume that counted it as a target would be published for ever.
    static func isKubeletsMap(_ path: FilePath) -> Bool {
        let names = path.components.suffix(4).map(\.string)
        return names.count == 4 && names[0] == "volumeDevices" && names[2] == "dev"
    }

    // MARK: Mounted file systems

    /// Freezes a staged file system while `body` runs, and thaws it whatever happens: also where this process ends, or all
    /// of its container with it, in which case `recover` does it.
    ///
    /// - Returns: what `body` returns, and how long writers were held.
    /// - Throws: `aborted` where `limit` was over before `body` was.
    public func whileFrozen<Value: Sendable>(
        _ volume: String, limit: Duration = .seconds(10), _ body: @Sendable () async throws -> Value
    ) async throws -> (value: Value, held: Duration) {
        let path = try await requireStaged(volume)
        let freeze = try await BlockingPool.shared.run { try Freeze(path, limit: limit) }
        let result: Result<Value, any Error>
        do { result = .success(try await body()) } catch { result = .failure(error) }
        let held = try await BlockingPool.shared.run { try freeze.thaw() }
        return (try result.get(), held)
    }

    /// Writes out what a staged file system has in memory.
    public func sync(_ volume: String) async throws {
        let path = try await requireStaged(volume)
        try await BlockingPool.shared.run { try MountedFileSystem.sync(path) }
    }

    /// Gives the space of deleted files back to the device.
    ///
    /// - Returns: the bytes given back.
    public func trim(_ volume: String) async throws -> UInt64 {
        let path = try await requireStaged(volume)
        return try await BlockingPool.shared.run { try MountedFileSystem.trim(path) }
    }

    /// How full a staged file system is.
    public func stats(of volume: String) async throws -> FileSystemStats {
        let path = try await requireStaged(volume)
        return try await BlockingPool.shared.run { try FileSystemStats(of: path) }
    }

    /// What keeps a mounted volume from being used as it was mounted, for people; nil where nothing does.
    ///
    /// ext4 and btrfs turn read-only where they find an error or cannot write (Linux 6.12 and later call that of ext4
    /// "emergency_ro"); an xfs shuts down, and then answers every call with an I/O error.
    public func trouble(of volume: String) async throws -> String? {
        let path = mounts.appending(volume)
        return try await BlockingPool.shared.run {
            guard let entry = try MountTable.current().top(at: path) else {
                return "its file system is not mounted any more at \(path)"
            }
            // Mounted read-only on purpose, it is so in this mount, too.
            if !entry.options.contains("ro"), !entry.superOptions.isDisjoint(with: ["ro", "emergency_ro"]) {
                return "its \(entry.fileSystemType) has turned read-only after an error; look for it in dmesg"
            }
            do {
                _ = try OpenFile(path, O_RDONLY | O_DIRECTORY)
                return nil
            } catch let error as PerSSDError {
                return "its \(entry.fileSystemType) does not answer, as after an error: \(error)"
            }
        }
    }

    private func requireStaged(_ volume: String) async throws -> FilePath {
        guard let path = try await stagedPath(of: volume) else {
            throw PerSSDError(.failedPrecondition, "'\(volume)' is not mounted")
        }
        return path
    }
}
