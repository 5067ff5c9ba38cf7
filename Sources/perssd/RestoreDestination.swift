import Blocking
import Errors
import Foundation
import LinuxSystem
import Persistence
import SystemPackage

/// Where a restore goes: a new file, which appears under its name only when it is complete and verified, or a block
/// device, which is written in place.
final class RestoreDestination: BlockSink {
    /// What the file is called until it is complete. Always the same, so that what a kill left behind is used again.
    static let partialSuffix = ".perssd-partial"

    let sizeBytes: UInt64
    let alignment = 1
    /// Zeros from end to end, for a new file.
    let contents: SinkContents
    private let path: FilePath
    private let file: OpenFile
    /// nil for a device.
    private let partialPath: FilePath?
    private let replaces: Bool

    /// - Parameters:
    ///   - capacity: of the volume, in bytes.
    ///   - force: whether what is there may be overwritten.
    /// - Throws: `alreadyExists` where it would be; `failedPrecondition` for what can be no destination.
    static func open(_ path: String, capacity: UInt64, force: Bool) async throws -> RestoreDestination {
        let path = FilePath(path)
        return try await BlockingPool.shared.run {
            switch try FileStatus.of(path)?.kind {
            case nil: return try RestoreDestination(file: path, capacity: capacity, replaces: false)
            case .regular:
                guard force else {
                    throw PerSSDError(
                        .alreadyExists, "\(path) is there already",
                        remedy: "name another file, or give --force to replace it")
                }
                return try RestoreDestination(file: path, capacity: capacity, replaces: true)
            case .blockDevice:
                guard force else {
                    throw PerSSDError(
                        .alreadyExists, "\(path) is a block device, and all that is on it would be overwritten",
                        remedy: "name a file, or give --force")
                }
                return try RestoreDestination(device: path)
            default:
                throw PerSSDError(
                    .failedPrecondition, "\(path) is neither a file nor a block device", remedy: "name a new file")
            }
        }
    }

    private init(file path: FilePath, capacity: UInt64, replaces: Bool) throws {
        (self.path, self.replaces, sizeBytes, contents) = (path, replaces, capacity, .zeros)
        let partial = FilePath(path.string + Self.partialSuffix)
        partialPath = partial
        file = try OpenFile(partial, O_RDWR | O_CREAT | O_NOFOLLOW, mode: 0o600)
        guard flock(file.descriptor, LOCK_EX | LOCK_NB) == 0 else {
            throw PerSSDError(
                .failedPrecondition, "another process is restoring to \(path)",
                remedy: "wait for it, or name another file")
        }
        try file.truncate(toBytes: 0)
        try file.truncate(toBytes: capacity)
    }

    private init(device path: FilePath) throws {
        (self.path, replaces, contents, partialPath) = (path, true, .unknown, nil)
        sizeBytes = try BlockDevice.sizeBytes(path)
        // O_EXCL: refused where it is mounted or part of something (open(2)).
        file = try OpenFile(path, O_RDWR | O_EXCL)
    }

    func write(at offset: UInt64, from buffer: UnsafeRawBufferPointer) throws {
        try file.write(at: offset, from: buffer)
    }

    func zero(_ range: Range<UInt64>) throws {
        guard partialPath == nil else {
            // A new file holds zeros until something else is written, and the transfer writes each block once.
            return
        }
        try BlockDevice.zero(path, range)
    }

    func flush() throws { try file.sync() }

    /// Gives the complete file its name.
    func commit() async throws {
        guard let partialPath else { return }
        try await BlockingPool.shared.run { [path, replaces] in
            if replaces {
                try DurableFile.rename(partialPath, to: path)
            } else {
                try DurableFile.rename(partialPath, toNew: path)
            }
        }
    }

    /// Takes an incomplete file away.
    func discard() async throws {
        guard let partialPath else { return }
        try await BlockingPool.shared.run { _ = try DurableFile.removeIfThere(partialPath) }
    }
}
