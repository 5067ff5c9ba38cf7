import Errors
import Glibc
import LinuxSystem
import SystemPackage

/// What a start finds in a pool's directory, and what it does with it.
struct ImageRecovery {
    /// Something that is not as PerSSD left it: reported, and left alone.
    struct Finding: Sendable, Equatable {
        /// Whose copy it concerns, where it is one.
        var volume: String?
        var sizeBytes: UInt64 = 0
        var error: PerSSDError

        static func == (a: Finding, b: Finding) -> Bool {
            a.volume == b.volume && a.sizeBytes == b.sizeBytes && a.error.description == b.error.description
        }
    }

    var records: [String: CopyRecord] = [:]
    var devices: [String: LoopDevice] = [:]
    /// Copies that cannot be served.
    var damaged: [String: Finding] = [:]
    /// All else that someone should look at.
    var findings: [Finding] = []
    private let directory: ImageDirectory

    /// Blocks while it looks through the directory and the loop devices.
    init(_ directory: ImageDirectory) throws {
        self.directory = directory
        for volume in try DurableFile.names(in: directory.volumes) { try takeUp(volume) }
        try sortDevices()
        // Devices first: what lies in the trash can still be attached.
        try empty(directory.unfinished)
        try empty(directory.trash)
    }

    private mutating func takeUp(_ volume: String) throws {
        let folder = directory.folder(volume)
        guard CopyName.isValid(volume) else {
            findings.append(
                Finding(error: PerSSDError(.corrupt, "\(folder) is not named like a volume", remedy: "move it away")))
            return
        }
        do {
            let record = try directory.record(of: volume)
            try checkImage(record)
            try tidy(record)
            records[volume] = record
        } catch {
            let size =
                (try? FileStatus.of(directory.image(volume), followingLinks: false)).flatMap { $0 }?.sizeBytes ?? 0
            let wrapped = PerSSDError(wrapping: error, during: "the local copy in \(folder) cannot be used")
            damaged[volume] = Finding(
                volume: volume, sizeBytes: size,
                error: PerSSDError(
                    wrapped.code, wrapped.message,
                    remedy: "restore the files, or move the folder away; what is committed is safe in the bucket",
                    cause: wrapped.cause))
        }
    }

    private func checkImage(_ record: CopyRecord) throws {
        let path = directory.image(record.volume)
        guard let status = try FileStatus.of(path, followingLinks: false), status.kind == .regular else {
            throw PerSSDError(.corrupt, "\(path) is missing, or is no file")
        }
        if status.sizeBytes == record.sizeBytes { return }
        guard status.sizeBytes > record.sizeBytes else {
            throw PerSSDError(
                .corrupt, "\(path) has \(status.sizeBytes) bytes where the record says \(record.sizeBytes)")
        }
        // A kill came between the two steps of a growth; nothing has been written there.
        let image = try OpenFile(path, O_RDWR)
        guard try image.firstData(from: record.sizeBytes) == nil else {
            throw PerSSDError(.corrupt, "\(path) holds data beyond the \(record.sizeBytes) bytes of the record")
        }
        try image.truncate(toBytes: record.sizeBytes)
        try image.sync()
    }

    /// Removes what steps that a kill ended have left in a copy's folder.
    private func tidy(_ record: CopyRecord) throws {
        let folder = directory.folder(record.volume)
        for name in try DurableFile.names(in: folder) where name.hasPrefix(DurableFile.temporaryPrefix) {
            try DurableFile.removeIfThere(folder.appending(name))
        }
        // Only what has not been committed is worth going on with.
        if record.state != .dirty { try directory.removeCut(record.volume) }
        try directory.removeBases(record.volume, except: try directory.baseGenerations(record.volume).last)
    }

    /// Adopts the device of each copy, and detaches all others that stand before files of this pool.
    private mutating func sortDevices() throws {
        guard let rootDevice = try FileStatus.of(directory.root)?.device else { return }
        let bound = DeviceBindings(in: try MountTable.current())
        let files = try directory.filesByInode()
        for loop in try LoopDevice.all() where loop.backingDevice == rootDevice {
            guard let file = file(behind: loop, among: files) else { continue }
            if let volume = copy(behind: loop, file), devices[volume] == nil {
                try adopt(loop, for: volume, isBound: !bound.places(of: loop.path).isEmpty)
            } else if !isDamaged(file) {
                do {
                    try bound.refuse(loop.path)
                    try loop.detach()
                } catch let error as PerSSDError {
                    findings.append(Finding(error: error.during("a loop device of this pool is left over")))
                }
            }
        }
    }

    private mutating func adopt(_ loop: LoopDevice, for volume: String, isBound: Bool) throws {
        if !isBound { try BlockDevice.setReadOnly(loop.path, false) }
        if let record = records[volume], try BlockDevice.sizeBytes(loop.path) != record.sizeBytes {
            try loop.takeOverSize()
        }
        devices[volume] = loop
    }

    /// The pool's file that the device is before; nil where it is none of the pool's.
    ///
    /// The inode says which it is. The path does not, where the plugin runs in a container: that of a device which an earlier
    /// one attached begins at a mount that went with it. For a file that is removed there is the name that it was attached by.
    private func file(behind loop: LoopDevice, among files: [UInt64: FilePath]) -> FilePath? {
        if !loop.isBackingDeleted, let file = files[loop.backingInode] { return file }
        if loop.backingPath.starts(with: directory.root) { return loop.backingPath }
        let isOurs = loop.isBackingDeleted && loop.givenName.hasPrefix(directory.root.string + "/")
        return isOurs ? FilePath(loop.givenName) : nil
    }

    /// The copy whose image, all of it, is behind the device.
    private func copy(behind loop: LoopDevice, _ file: FilePath) -> String? {
        guard !loop.isBackingDeleted, loop.isWhole, !loop.isReadOnly else { return nil }
        return records.keys.first { directory.image($0) == file }
    }

    private func isDamaged(_ file: FilePath) -> Bool {
        damaged.keys.contains { file.starts(with: directory.folder($0)) }
    }

    /// Removes the half made and half removed copies in `parent`.
    private mutating func empty(_ parent: FilePath) throws {
        for name in try DurableFile.names(in: parent) {
            let folder = parent.appending(name)
            do {
                guard Self.isTemporary(name) else {
                    throw PerSSDError(.failedPrecondition, "\(folder) is not PerSSD's", remedy: "move it away")
                }
                try directory.dispose(folder)
            } catch let error as PerSSDError {
                findings.append(Finding(error: error))
            }
        }
    }

    /// "volume.0123456789abcdef".
    static func isTemporary(_ name: String) -> Bool {
        let parts = name.split(separator: ".", omittingEmptySubsequences: false)
        return parts.count == 2 && CopyName.isValid(parts[0]) && parts[1].utf8.count == 16
            && parts[1].allSatisfy { $0.isHexDigit && !$0.isUppercase }
    }
}

/// Where device nodes are bound onto targets, as raw block volumes are. Such a mount does not keep a device from being
/// detached, so whoever detaches has to look.
struct DeviceBindings {
    private let entries: [MountTable.Entry]

    init(in table: MountTable) {
        entries = table.entries.filter { $0.fileSystemType == "devtmpfs" || $0.fileSystemType == "tmpfs" }
    }

    func places(of device: FilePath) -> [FilePath] {
        guard let name = device.lastComponent, let number = try? BlockDevice.number(of: device) else { return [] }
        return entries.filter { entry in
            guard entry.root.lastComponent == name,
                let status = (try? FileStatus.of(entry.mountPoint)).flatMap({ $0 })
            else { return false }
            return status.kind == .blockDevice && status.deviceNumber == number
        }.map(\.mountPoint)
    }

    func refuse(_ device: FilePath) throws {
        if let place = places(of: device).first {
            throw PerSSDError(
                .failedPrecondition, "\(device) is published as a block device at \(place)",
                remedy: "unpublish it first")
        }
    }
}
