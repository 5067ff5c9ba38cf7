import Blocking
import Errors
import Foundation
import LinuxSystem
import Synchronization
import SystemPackage

/// A process that ends when this one does, however that ends.
final class ChildProcess: Sendable {
    let name: String
    /// Its standard output and error.
    let logPath: String
    private let pid: pid_t
    private let isReaped = Mutex(false)
    private let ending: Task<Void, any Error>

    /// The kernel sends the signal of PR_SET_PDEATHSIG when the *thread* that made the child ends (prctl(2)). This one
    /// never does.
    private static let spawner = BlockingPool(label: "spawn", maximumThreads: 1)
    private static let waiters = BlockingPool(label: "wait", maximumThreads: 16)

    /// - Parameter recordPath: where the process is noted, so that a later run finds it should all else fail.
    static func start(
        _ name: String, _ program: String, _ arguments: [String], environment: [String: String], logPath: String,
        recordPath: String
    ) async throws -> ChildProcess {
        try await spawner.run {
            // setpriv makes the process its parent's in death, then becomes the program.
            let vector = ["setpriv", "--pdeathsig", "KILL", "--", program] + arguments
            let pid = try spawn("/usr/bin/setpriv", vector, environment, logPath: logPath)
            let child = ChildProcess(name, pid, logPath: logPath)
            if let start = ProcessRecord.startTime(of: pid) {
                try DurableFile.write([UInt8]("\(pid) \(start)".utf8), to: FilePath(recordPath))
            }
            return child
        }
    }

    private init(_ name: String, _ pid: pid_t, logPath: String) {
        (self.name, self.pid, self.logPath) = (name, pid, logPath)
        ending = Task {
            try await Self.waiters.run {
                // Looks without reaping, so that the number cannot be another process's while it may be signalled.
                var information = siginfo_t()
                while waitid(P_PID, id_t(pid), &information, WEXITED | WNOWAIT) != 0, errno == EINTR {}
            }
        }
    }

    var isRunning: Bool {
        var information = siginfo_t()
        return isReaped.withLock { isReaped in
            guard !isReaped else { return false }
            return waitid(P_PID, id_t(pid), &information, WEXITED | WNOWAIT | WNOHANG) == 0
                && information._sifields._sigchld.si_pid == 0
        }
    }

    func signal(_ number: Int32) {
        isReaped.withLock { isReaped in
            if !isReaped { kill(pid, number) }
        }
    }

    /// Asks the process to end, and ends it where it does not within `patience`.
    func stop(_ number: Int32 = SIGTERM, patience: Duration = .seconds(35)) async {
        signal(number)
        let impatient = Task {
            try await Task.sleep(for: patience)
            signal(SIGKILL)
        }
        _ = await ending.result
        impatient.cancel()
        isReaped.withLock { isReaped in
            guard !isReaped else { return }
            var status: Int32 = 0
            waitpid(pid, &status, 0)
            isReaped = true
        }
    }

    /// The last line of its log, for an error.
    var lastWords: String {
        let text = (try? String(contentsOfFile: logPath, encoding: .utf8)) ?? ""
        return text.split(separator: "\n").last.map(String.init) ?? "it wrote nothing"
    }

    private static func spawn(
        _ path: String, _ vector: [String], _ environment: [String: String], logPath: String
    ) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        posix_spawn_file_actions_init(&actions)
        defer { posix_spawn_file_actions_destroy(&actions) }
        posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, logPath, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, STDOUT_FILENO, STDERR_FILENO)

        var attributes = posix_spawnattr_t()
        posix_spawnattr_init(&attributes)
        defer { posix_spawnattr_destroy(&attributes) }
        var defaults = sigset_t()
        sigfillset(&defaults)
        var mask = sigset_t()
        sigemptyset(&mask)
        posix_spawnattr_setsigdefault(&attributes, &defaults)
        posix_spawnattr_setsigmask(&attributes, &mask)
        // A group of its own: a Ctrl-C at the terminal is for us, and we end the children in order.
        posix_spawnattr_setpgroup(&attributes, 0)
        posix_spawnattr_setflags(
            &attributes, Int16(POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP))

        let argv = vector.map { strdup($0) } + [nil]
        let envp = environment.map { strdup("\($0)=\($1)") } + [nil]
        defer { for string in argv + envp { free(string) } }
        var pid: pid_t = 0
        let result = posix_spawn(&pid, path, &actions, &attributes, argv, envp)
        guard result == 0 else {
            throw PerSSDError(
                .failedPrecondition, "cannot start \(vector[4]) with \(path): \(String(cString: strerror(result)))",
                remedy: "install util-linux, which has setpriv")
        }
        return pid
    }
}

/// A process that an earlier run noted: its number, and when it began, which together name it for good.
struct ProcessRecord {
    private let pid: pid_t
    private let start: UInt64

    init?(_ bytes: [UInt8]) {
        let parts = String(decoding: bytes, as: UTF8.self).split(separator: " ")
        guard parts.count == 2, let pid = pid_t(parts[0]), pid > 1, let start = UInt64(parts[1]) else { return nil }
        (self.pid, self.start) = (pid, start)
    }

    var isRunning: Bool { Self.startTime(of: pid) == start }

    /// Kills it, if it still runs, and waits for its end.
    func end() async throws {
        for _ in 0..<100 {
            guard isRunning else { return }
            kill(pid, SIGKILL)
            try await Task.sleep(for: .milliseconds(50))
        }
        throw PerSSDError(
            .failedPrecondition, "process \(pid) of an earlier demo does not end", remedy: "end it, then try again")
    }

    /// When a process began, in clock ticks since boot (proc(5), field 22 of stat); nil where there is none.
    static func startTime(of pid: pid_t) -> UInt64? {
        guard let text = try? String(contentsOfFile: "/proc/\(pid)/stat", encoding: .utf8),
            // The name, in parentheses, may hold anything.
            let end = text.lastIndex(of: ")")
        else { return nil }
        let fields = text[text.index(after: end)...].split(separator: " ")
        guard fields.count > 19, fields[0] != "Z" else { return nil }
        return UInt64(fields[19])
    }
}
