import Foundation
import Synchronization

/// A new, empty directory that goes, with all in it, when the last reference to it does, and at the latest when the
/// test process ends. What is mounted inside is unmounted first.
///
/// All of them lie in one directory of the test process below /tmp, on which it holds a lock. After a kill -9 the next
/// test process finds the lock free and clears what was left.
///
/// A variable that is not used any more may be let go before its scope ends: keep the directory with what lives in it, or
/// use `withTemporaryDirectory`.
public final class TemporaryDirectory: Sendable {
    /// Short enough for the path of a Unix socket in it (108 bytes), free of symbolic links.
    public let path: String

    private static let counter = Atomic<Int>(0)

    public init(_ name: String = "d") throws {
        let number = Self.counter.add(1, ordering: .relaxed).newValue
        path = "\(try ProcessDirectory.shared.get())/\(name)\(number)"
        guard mkdir(path, 0o755) == 0 else { throw TestSetupError("cannot make \(path): \(errnoText())") }
    }

    deinit { Leftovers.remove(path) }

    public static func + (directory: TemporaryDirectory, name: String) -> String { "\(directory.path)/\(name)" }
}

/// Runs `body` with a directory that is gone afterwards.
public func withTemporaryDirectory<Value>(
    _ name: String = "d", _ body: (TemporaryDirectory) async throws -> Value
) async throws -> Value {
    let directory = try TemporaryDirectory(name)
    defer { Leftovers.remove(directory.path) }
    return try await body(directory)
}

/// The directory of this test process.
enum ProcessDirectory {
    private static let prefix = "/tmp/perssd-test."

    static let shared: Result<String, any Error> = Result {
        Leftovers.sweep(prefix: prefix)
        // Made and locked under another name, so that nobody sweeps it before it is locked.
        var template = Array("/tmp/perssd-test-new.XXXXXX".utf8CString)
        guard mkdtemp(&template) != nil else { throw TestSetupError("cannot make a directory in /tmp: \(errnoText())") }
        let made = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
        let lock = open("\(made)/.lock", O_RDWR | O_CREAT | O_CLOEXEC, 0o600)
        guard lock >= 0, flock(lock, LOCK_EX | LOCK_NB) == 0 else {
            throw TestSetupError("cannot lock \(made)/.lock: \(errnoText())")
        }
        let path = prefix + made.suffix(6)
        guard chmod(made, 0o755) == 0, rename(made, path) == 0 else {
            throw TestSetupError("cannot rename \(made) to \(path): \(errnoText())")
        }
        ExitCleaner.install()
        return path
    }
}

/// Ends what tests have started and removes what they have made, when the process exits.
enum ExitCleaner {
    private static let installed = Atomic<Bool>(false)

    static func install() {
        guard installed.exchange(true, ordering: .sequentiallyConsistent) == false else { return }
        atexit {
            TestProcess.killAll()
            if case .success(let path) = ProcessDirectory.shared { Leftovers.remove(path) }
        }
    }
}

/// Removes directories of tests together with mounts and loop devices in them.
enum Leftovers {
    /// Clears the directories of this user whose test process is gone.
    static func sweep(prefix: String) {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/tmp")) ?? []
        for path in names.map({ "/tmp/\($0)" }) where path.hasPrefix(prefix) {
            var status = stat()
            guard lstat(path, &status) == 0, status.st_uid == geteuid(), status.st_mode & S_IFMT == S_IFDIR else {
                continue
            }
            let lock = open("\(path)/.lock", O_RDWR | O_CLOEXEC | O_NOFOLLOW)
            guard lock >= 0 else { continue }
            if flock(lock, LOCK_EX | LOCK_NB) == 0 { remove(path) }
            close(lock)
        }
    }

    static func remove(_ path: String) {
        unmountAll(below: path)
        detachLoopDevices(backedBelow: path)
        // A mount that could not be undone must not be emptied instead.
        guard mounts(below: path).isEmpty else { return }
        try? FileManager.default.removeItem(atPath: path)
    }

    static func unmountAll(below path: String) {
        // Later mounts lie on top of earlier ones.
        for point in mounts(below: path).reversed() where umount2(point, 0) != 0 {
            _ = umount2(point, CInt(MNT_DETACH))
        }
    }

    private static func mounts(below path: String) -> [String] {
        guard let table = try? String(contentsOfFile: "/proc/self/mountinfo", encoding: .utf8) else { return [] }
        return table.split(separator: "\n").compactMap { line in
            let fields = line.split(separator: " ")
            guard fields.count > 4 else { return nil }
            let point = String(fields[4]).replacingOccurrences(of: "\\040", with: " ")
            return point == path || point.hasPrefix(path + "/") ? point : nil
        }
    }

    private static func detachLoopDevices(backedBelow path: String) {
        let names = (try? FileManager.default.contentsOfDirectory(atPath: "/sys/block")) ?? []
        for name in names where name.hasPrefix("loop") {
            let attribute = "/sys/block/\(name)/loop/backing_file"
            guard let backing = try? String(contentsOfFile: attribute, encoding: .utf8), backing.hasPrefix(path + "/")
            else {
                continue
            }
            let device = open("/dev/\(name)", O_RDONLY | O_CLOEXEC)
            guard device >= 0 else { continue }
            let loopClearFileDescriptor: UInt = 0x4C01
            _ = ioctl(device, loopClearFileDescriptor)
            close(device)
        }
    }
}

func errnoText() -> String { String(cString: strerror(errno)) }
