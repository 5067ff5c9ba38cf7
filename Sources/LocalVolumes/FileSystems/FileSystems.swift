import Blocking
import Commands
import Errors
import Glibc
import LinuxSystem
import SystemPackage

/// What a device holds.
public enum DeviceContents: Sendable, Equatable {
    /// Zeros wherever a file system, a partition table or a volume manager has its mark.
    case nothing
    case fileSystem(FileSystemKind)
    /// Something else, in words: it is never written over.
    case other(String)
}

/// Makes, finds, checks and grows the file systems of volumes.
public struct FileSystems: Sendable {
    private let runner: any CommandRunner

    public init(runner: any CommandRunner = SubprocessRunner()) { self.runner = runner }

    /// What is on the device.
    public func contents(of device: FilePath) async throws -> DeviceContents {
        if try await BlockingPool.shared.run({ try Self.isBlank(device) }) { return .nothing }
        // Low-level probing, with neither cache nor udev (blkid(8)); 2 says that nothing is known, 8 that several are.
        let result = try await runner.run(
            Command(
                "blkid", ["-p", "-o", "export", device.string], timeout: .seconds(60), acceptedExitCodes: [0, 2, 8]))
        guard result.exitCode == 0 else {
            return .other(result.exitCode == 2 ? "data of no known kind" : "the marks of several kinds at once")
        }
        var found: [Substring: Substring] = [:]
        for line in result.outputText.split(separator: "\n") {
            let parts = line.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
            if parts.count == 2 { found[parts[0]] = parts[1] }
        }
        guard let type = found["TYPE"] else {
            return .other(found["PTTYPE"].map { "a partition table of type \($0)" } ?? "data of no known kind")
        }
        return FileSystemKind(rawValue: String(type)).map(DeviceContents.fileSystem) ?? .other(String(type))
    }

    /// Whether the first and the last MiB, where all kinds have their marks, read as zeros.
    private static func isBlank(_ device: FilePath) throws -> Bool {
        let size = try BlockDevice.sizeBytes(device)
        let file = try OpenFile(device, O_RDONLY)
        let piece: UInt64 = 1 << 20
        var buffer = [UInt8](repeating: 0, count: Int(piece))
        for start in [0, size > piece ? size - piece : 0] {
            let count = try buffer.withUnsafeMutableBytes { try file.read(at: start, into: $0) }
            if buffer.prefix(count).contains(where: { $0 != 0 }) { return false }
        }
        return true
    }

    /// Makes a file system on a device that reads as zeros throughout, as a new local copy does.
    ///
    /// A kill in the middle leaves something that is no file system, or half of one; so do this while the copy's record
    /// says `restoring`, and begin again with a new copy.
    /// - Throws: `failedPrecondition` where the device holds anything; `outOfRange` where it is too small.
    public func make(
        _ kind: FileSystemKind, on device: FilePath, settings: FileSystemSettings = FileSystemSettings()
    ) async throws {
        let size = try await BlockingPool.shared.run { try BlockDevice.sizeBytes(device) }
        try kind.checkSize(size)
        let contents = try await contents(of: device)
        guard contents == .nothing else {
            throw PerSSDError(
                .failedPrecondition,
                "\(device) is not empty, so no \(kind.rawValue) is made on it: it holds \(contents.text)",
                remedy: "use a new local copy")
        }
        let command = kind.makeCommand(device: device.string, size: size, settings: settings)
        do {
            _ = try await runner.run(Command(command.program, command.arguments))
        } catch let error as PerSSDError {
            throw error.during("could not make \(kind.rawValue) on \(device)")
        }
        try await BlockingPool.shared.run { try BlockDevice.flush(device) }
    }

    /// Sees that the device holds a file system of that kind, and repairs what a mount would not: ext4 that has noted
    /// errors. Journals are replayed by the mount.
    ///
    /// - Throws: `failedPrecondition` where it holds something else; `corrupt` where it cannot be repaired without a
    ///   decision.
    public func prepareForMount(_ kind: FileSystemKind, on device: FilePath) async throws {
        try await require(kind, on: device)
        guard kind == .ext4, try await BlockingPool.shared.run({ try Self.hasNotedErrors(ext4: device) }) else {
            return
        }
        try await repair(ext4: device)
    }

    /// Whether `prepareForMount`, or even a read-only mount, would write, as far as the superblock tells: a journal of ext4 or
    /// xfs is found out by `Publisher.stageUnchanged`.
    ///
    /// - Throws: `failedPrecondition` where the device holds something else.
    public func mustBeWritten(_ kind: FileSystemKind, on device: FilePath) async throws -> Bool {
        try await require(kind, on: device)
        return try await BlockingPool.shared.run {
            switch kind {
            case .ext4: try Self.hasNotedErrors(ext4: device)
            case .xfs: false
            // log_root: what was synced since the last commit of the trees.
            case .btrfs: try SuperblockBytes(device, at: 65536).littleEndian(at: 0x60, bytes: 8) != 0
            }
        }
    }

    private func require(_ kind: FileSystemKind, on device: FilePath) async throws {
        let contents = try await contents(of: device)
        guard contents == .fileSystem(kind) else {
            throw PerSSDError(
                .failedPrecondition, "\(device) should hold \(kind.rawValue), and holds \(contents.text)",
                remedy: "ask for the file system that the volume was made with")
        }
    }

    /// Reads the state in ext4's superblock (Documentation/filesystems/ext4/super.rst of Linux: s_state, bit 1).
    private static func hasNotedErrors(ext4 device: FilePath) throws -> Bool {
        let file = try OpenFile(device, O_RDONLY)
        var superblock = [UInt8](repeating: 0, count: 1024)
        let count = try superblock.withUnsafeMutableBytes { try file.read(at: 1024, into: $0) }
        guard count == superblock.count else { throw PerSSDError(.corrupt, "\(device) ends within its superblock") }
        return superblock[58] & 2 != 0
    }

    private func repair(ext4 device: FilePath) async throws {
        do {
            // 1 says that errors were found and corrected (e2fsck(8)).
            _ = try await runner.run(
                Command("e2fsck", ["-f", "-p", device.string], timeout: .seconds(3600), acceptedExitCodes: [0, 1]))
        } catch let error as PerSSDError where error.commandFailure != nil {
            throw PerSSDError(
                .corrupt, "the ext4 of \(device) has errors that cannot be repaired without a decision",
                remedy: "run e2fsck on it by hand, or restore the volume's last generation", cause: error)
        }
    }

    /// Checks an unmounted file system throughout, and changes nothing. For tests and for looking at volumes by hand.
    ///
    /// - Throws: `corrupt`, with what the checker says.
    public func verify(_ kind: FileSystemKind, on device: FilePath) async throws {
        let command =
            switch kind {
            case .ext4: Command("e2fsck", ["-f", "-n", device.string], timeout: .seconds(3600))
            case .xfs: Command("xfs_repair", ["-n", device.string], timeout: .seconds(3600))
            case .btrfs: Command("btrfs", ["check", "--readonly", device.string], timeout: .seconds(3600))
            }
        do { _ = try await runner.run(command) } catch let error as PerSSDError where error.commandFailure != nil {
            throw PerSSDError(.corrupt, "the \(kind.rawValue) of \(device) is damaged", cause: error)
        }
    }

    /// Makes the kernel forget an unmounted btrfs that it knows from an earlier mount: before Linux 6.7 it would take the
    /// same volume, come back from an older generation on another device, for a stale part of that one, and refuse it.
    ///
    /// Where nothing was known, or the kernel forgets by itself, nothing happens.
    public func forget(_ device: FilePath) async throws {
        // 1 says that there was nothing to forget (btrfs-device(8)).
        _ = try await runner.run(
            Command(
                "btrfs", ["device", "scan", "--forget", device.string], timeout: .seconds(60),
                acceptedExitCodes: [0, 1]))
    }

    /// Gives an unmounted file system another UUID, where one device with it on a machine is all that the kernel stands: btrfs
    /// before Linux 6.7. For a clone, before it is first written.
    ///
    /// A kill in the middle leaves the old UUID or another new one.
    public func renewUUID(of kind: FileSystemKind, on device: FilePath) async throws {
        guard kind == .btrfs else { return }
        do {
            // In the superblock alone (btrfstune(8), -m); without -f it would ask.
            _ = try await runner.run(Command("btrfstune", ["-f", "-m", device.string], timeout: .seconds(600)))
        } catch let error as PerSSDError {
            throw error.during("could not give the btrfs of \(device) a UUID of its own")
        }
        try await BlockingPool.shared.run { try BlockDevice.flush(device) }
    }

    /// Makes the file system as large as its device, which has grown; fine where it is so already.
    ///
    /// - Parameter mountPoint: where it is mounted, or nil. Unmounted ext4 is checked first; the others grow only mounted.
    public func grow(_ kind: FileSystemKind, on device: FilePath, mountedAt mountPoint: FilePath?) async throws {
        do {
            switch (kind, mountPoint) {
            case (.ext4, nil):
                try await repair(ext4: device)
                _ = try await runner.run(Command("resize2fs", [device.string]))
            case (.ext4, .some):
                _ = try await runner.run(Command("resize2fs", [device.string]))
            case (.xfs, .some(let mountPoint)):
                _ = try await runner.run(Command("xfs_growfs", ["-d", mountPoint.string]))
            case (.btrfs, .some(let mountPoint)):
                _ = try await runner.run(Command("btrfs", ["filesystem", "resize", "max", mountPoint.string]))
            case (.xfs, nil), (.btrfs, nil):
                throw PerSSDError(
                    .failedPrecondition, "\(kind.rawValue) grows only while it is mounted", remedy: "mount it first")
            }
        } catch let error as PerSSDError {
            throw error.during("could not grow the \(kind.rawValue) of \(device)")
        }
    }
}

extension DeviceContents {
    /// For messages: "xfs", "nothing".
    var text: String {
        switch self {
        case .nothing: "nothing"
        case .fileSystem(let kind): kind.rawValue
        case .other(let words): words
        }
    }
}
