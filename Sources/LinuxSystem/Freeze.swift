import CLinux
import Errors
import Glibc
import Synchronization
import SystemPackage

/// A file system that is held still, by this process and for a bounded time.
///
/// A freeze of the kernel's outlives the process that made it, and a pod whose volume stays frozen hangs for good. So a
/// small process of its own stands by: it thaws the file system when this process ends, however it ends, and when the time
/// is over.
public final class Freeze: Sendable {
    private let root: OpenFile
    private let guardian: pid_t
    private let limit: Duration
    /// When writers came to be held, or a moment before.
    private let start: ContinuousClock.Instant
    /// The end of the pipe that tells the guardian that this process lives; nil once it is closed.
    private let lifeline: Mutex<Int32?>

    /// Writes all out and holds further writers.
    ///
    /// - Parameter limit: after this time they go on, whatever happens.
    /// - Throws: `failedPrecondition` where it is frozen already.
    public init(_ mountPoint: FilePath, limit: Duration) throws {
        let root = try OpenFile(mountPoint, O_RDONLY | O_DIRECTORY)
        let descriptor = root.descriptor
        // Most of what is to be written is written while writers still go on.
        try systemCall("sync the file system at \(mountPoint)") { clinux_sync_file_system(descriptor) }
        var end: Int32 = -1
        let milliseconds = Int32(clamping: limit.components.seconds * 1000)
        guardian = try systemCall("start a process that thaws \(mountPoint)") {
            clinux_start_thaw_guard(descriptor, milliseconds, &end)
        }
        lifeline = Mutex(end)
        self.root = root
        self.limit = limit
        start = .now
        do {
            try systemCall("freeze the file system at \(mountPoint)") { clinux_freeze(descriptor) }
        } catch let error as PerSSDError where error.errno == .resourceBusy {
            throw PerSSDError(
                .failedPrecondition, "the file system at \(mountPoint) is frozen already, by somebody else",
                remedy: "thaw it: fsfreeze --unfreeze", cause: error)
        }
    }

    deinit { dismissGuardian() }

    /// Lets the writers go on.
    ///
    /// - Returns: how long they were held, at the most.
    /// - Throws: `aborted` where they went on before: what was done meanwhile cannot count on them having stood still.
    @discardableResult
    public func thaw() throws -> Duration {
        let descriptor = root.descriptor
        // Also where it fails here: the other process tries, too.
        defer { dismissGuardian() }
        do {
            try systemCall("thaw the file system at \(root.path)") { clinux_thaw(descriptor) }
            return .now - start
        } catch let error as PerSSDError where error.errno == .invalidArgument {
            throw PerSSDError(
                .aborted,
                "the file system at \(root.path) was thawed before its time: by somebody else, or because \(limit) were over",
                remedy: "try again")
        }
    }

    private func dismissGuardian() {
        let end = lifeline.withLock { end in
            defer { end = nil }
            return end
        }
        guard let end else { return }
        close(end)
        _ = clinux_exit_status(guardian)
    }
}
