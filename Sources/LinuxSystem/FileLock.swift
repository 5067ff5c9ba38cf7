import Errors
import Glibc
import SystemPackage

/// A lock that ends with its process, however that ends: flock(2) on a file that stays.
public final class FileLock: Sendable {
    public let path: FilePath
    private let file: OpenFile

    /// Takes the lock, or fails after two seconds: for an instant, a process that has just been started by the last
    /// holder may hold it too.
    ///
    /// - Throws: `failedPrecondition`, with the holder's process id, where it is held.
    public init(_ path: FilePath) throws {
        let file = try OpenFile(path, O_RDWR | O_CREAT | O_NOFOLLOW)
        var isLocked = try Self.tryLock(file)
        for _ in 0..<100 where !isLocked {
            usleep(20_000)
            isLocked = try Self.tryLock(file)
        }
        guard isLocked else {
            let holder = (try? DurableFile.read(path)).flatMap { $0 }.map { String(decoding: $0, as: UTF8.self) } ?? ""
            throw PerSSDError(
                .failedPrecondition, "\(path) is locked by \(holder.isEmpty ? "another process" : "process \(holder)")",
                remedy: "one process at a time can use it: end the other, or give each a directory of its own")
        }
        // The number serves only the message above, so it need not be durable.
        let number = Array(String(getpid()).utf8)
        try file.truncate(toBytes: 0)
        try number.withUnsafeBytes { try file.write(at: 0, from: $0) }
        self.path = path
        self.file = file
    }

    private static func tryLock(_ file: borrowing OpenFile) throws -> Bool {
        let descriptor = file.descriptor
        do {
            try systemCall("lock \(file.path)") { flock(descriptor, LOCK_EX | LOCK_NB) }
            return true
        } catch let error as PerSSDError where error.errno == .wouldBlock {
            return false
        }
    }
}
