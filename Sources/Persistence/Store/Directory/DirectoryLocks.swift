import Blocking
import Digests
import Errors
import Foundation
import Glibc
import Synchronization

/// One writer at a time of each key: in the process by waiting in turn, and between processes and hosts by a lock on
/// one byte of the store's lock file.
///
/// Open file description locks (fcntl(2)) hold between processes of a host, and, where the file system passes them on
/// (NFS 4, Lustre with -o flock, GPFS), between hosts. The kernel lets go of them when a process dies. Unlike the older
/// kind they do not end when another part of the process closes the same file. Keys share bytes by chance, which costs
/// a wait at worst.
final class DirectoryLocks: Sendable {
    private let root: DirectoryRoot
    private let turns = Turns()
    /// How long a lock may be held by others before a writer gives up.
    private let patience: Duration

    private static let file = "lock"
    private static let bytes: UInt64 = 1 << 16

    init(_ root: DirectoryRoot, patience: Duration = .seconds(30)) { (self.root, self.patience) = (root, patience) }

    /// Runs `body`, which blocks, on a thread of `pool`, holding the lock of `key`.
    func withLock<Value: Sendable>(
        _ key: ObjectKey, on pool: BlockingPool, _ body: @escaping @Sendable () throws -> Value
    ) async throws -> Value {
        let position = Self.position(key)
        try await turns.take(position)
        defer { turns.pass(position) }
        return try await pool.run { [self] in
            let lock = try lock(position)
            // Closing it unlocks it, which must not come before `body` has ended.
            defer { withExtendedLifetime(lock) {} }
            return try body()
        }
    }

    static func position(_ key: ObjectKey) -> UInt64 {
        SHA256.digest(key.path).bytes.prefix(8).reduce(0) { $0 << 8 | UInt64($1) } % bytes
    }

    private func lock(_ position: UInt64) throws -> LockedFile {
        let clock = ContinuousClock()
        let end = clock.now + patience
        var pause = Duration.milliseconds(1)
        while true {
            if let locked = try attempt(position) { return locked }
            guard clock.now < end else {
                throw PerSSDError(
                    .unavailable,
                    "byte \(position) of \(path) has been locked by another writer for \(patience.components.seconds) s",
                    remedy: "look for a process or host that hangs while it uses this store (/proc/locks)")
            }
            // Waiting in the kernel would have no end where a host that holds the lock hangs.
            usleep(UInt32(pause.components.attoseconds / 1_000_000_000_000) + UInt32.random(in: 0..<1000))
            pause = min(pause * 2, .milliseconds(50))
        }
    }

    private var path: String { "\(root.path)/\(DirectoryRoot.reserved)/\(Self.file)" }

    /// - Returns: nil where somebody else holds it.
    private func attempt(_ position: UInt64) throws -> LockedFile? {
        let folder = try root.openReserved()
        let number = uninterrupted {
            openat(folder.number, Self.file, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0o600)
        }
        guard number >= 0 else { throw fileError(errno, "cannot open \(path)") }
        let locked = LockedFile(taking: number)
        var request = Glibc.flock()
        request.l_type = Int16(F_WRLCK)
        request.l_whence = Int16(SEEK_SET)
        request.l_start = off_t(position)
        request.l_len = 1
        let setOpenFileDescriptionLock: Int32 = 37  // F_OFD_SETLK, which Glibc's module leaves out.
        if uninterrupted({ fcntl(number, setOpenFileDescriptionLock, &request) }) == -1 {
            if errno == EAGAIN || errno == EACCES { return nil }
            let failure = errno == EINVAL ? ENOLCK : errno
            throw fileError(failure, "cannot lock \(path)")
        }
        // A lock on a file that has been removed keeps nobody out.
        var mine = stat()
        try check(fstat(number, &mine), "cannot look at \(path)")
        guard let now = try status(of: Self.file, in: folder, path), now.st_ino == mine.st_ino else { return nil }
        return locked
    }
}

/// Closed, and so unlocked, with its last reference.
private final class LockedFile: Sendable {
    private let number: Int32
    init(taking number: Int32) { self.number = number }
    deinit { close(number) }
}

/// Turns at numbered things, first come first served. Who waits holds no thread.
final class Turns: Sendable {
    private struct Waiter {
        var id: UInt64
        var continuation: CheckedContinuation<Void, any Error>
    }

    private struct State {
        /// Those in use, with who waits for them.
        var queues: [UInt64: [Waiter]] = [:]
        var nextID: UInt64 = 0
    }

    private let state = Mutex(State())

    /// - Throws: `CancellationError` where the task is cancelled before its turn.
    func take(_ position: UInt64) async throws {
        try Task.checkCancellation()
        let id = state.withLock { state in
            state.nextID += 1
            return state.nextID
        }
        try await withTaskCancellationHandler {
            try await withCheckedThrowingContinuation { continuation in
                enum Outcome { case taken, waiting, cancelled }
                let outcome: Outcome = state.withLock { state in
                    if state.queues[position] == nil {
                        state.queues[position] = []
                        return .taken
                    }
                    // The handler may have run before this; it runs after this otherwise, as it needs the lock.
                    if Task.isCancelled { return .cancelled }
                    state.queues[position]?.append(Waiter(id: id, continuation: continuation))
                    return .waiting
                }
                switch outcome {
                case .taken: continuation.resume()
                case .cancelled: continuation.resume(throwing: CancellationError())
                case .waiting: break
                }
            }
        } onCancel: {
            let waiter = state.withLock { state -> Waiter? in
                guard let index = state.queues[position]?.firstIndex(where: { $0.id == id }) else { return nil }
                return state.queues[position]?.remove(at: index)
            }
            waiter?.continuation.resume(throwing: CancellationError())
        }
    }

    func pass(_ position: UInt64) {
        let next = state.withLock { state -> Waiter? in
            guard state.queues[position]?.isEmpty == false else {
                state.queues[position] = nil
                return nil
            }
            return state.queues[position]?.removeFirst()
        }
        next?.continuation.resume()
    }
}
