import Blocking
import Foundation
import Synchronization

/// A program that a test runs beside itself: a server, a plugin, a racing writer.
///
/// It dies with the test process, also when that is killed (prctl(2), PR_SET_PDEATHSIG), at the test process's exit, and
/// when the last reference to it goes.
public final class TestProcess: Sendable {
    public let pid: pid_t
    /// Both its standard output and its standard error go here.
    public let outputFile: String

    private let name: String
    /// nil while it runs.
    private let exitStatus = Mutex<Int32?>(nil)

    /// The parent-death signal is sent when the *thread* that started the child ends. This pool's one thread never does.
    private static let starter = BlockingPool(label: "test-process", maximumThreads: 1)
    private static let running = Mutex<Set<pid_t>>([])

    /// - Parameters:
    ///   - program: an absolute path.
    ///   - environment: changes to the test process's own environment; nil takes a variable away.
    ///   - directory: where its output is kept.
    ///   - outputFile: given where the output must go elsewhere than into `directory`.
    public static func start(
        _ program: String, _ arguments: [String] = [], environment: [String: String?] = [:],
        directory: TemporaryDirectory, outputFile: String? = nil
    ) async throws -> TestProcess {
        let wrapper = try PackageRoot.systemProgram("setpriv", package: "util-linux")
        let name = String(program.split(separator: "/").last ?? "")
        let output = outputFile ?? (directory + "\(name).\(UInt32.random(in: 0...UInt32.max)).log")
        var variables = ProcessInfo.processInfo.environment
        for (key, value) in environment { variables[key] = value }
        let settings = variables.map { "\($0)=\($1)" }
        let words = [wrapper, "--pdeathsig", "KILL", "--", program] + arguments
        let pid = try await starter.run {
            guard access(program, X_OK) == 0 else { throw TestSetupError("\(program) cannot be run: \(errnoText())") }
            return try spawn(words, settings, output: output)
        }
        return TestProcess(pid: pid, name: name, outputFile: output)
    }

    private init(pid: pid_t, name: String, outputFile: String) {
        (self.pid, self.name, self.outputFile) = (pid, name, outputFile)
        ExitCleaner.install()
        Self.running.withLock { _ = $0.insert(pid) }
    }

    deinit { kill() }

    public var isRunning: Bool { poll() == nil }

    /// All it has printed so far.
    public var output: String {
        String(decoding: FileManager.default.contents(atPath: outputFile) ?? Data(), as: UTF8.self)
    }

    /// Asks `condition` again and again until it says true.
    ///
    /// - Throws: `TestSetupError` with the end of the program's output, where the program ends or time runs out.
    public func waitUntilReady(
        within limit: Duration = .seconds(60), every pause: Duration = .milliseconds(50),
        _ condition: @Sendable () async throws -> Bool
    ) async throws {
        let clock = ContinuousClock()
        let end = clock.now + limit
        while try await !condition() {
            if let status = poll() {
                throw TestSetupError("\(name) ended with \(Self.text(of: status)) before it was ready: \(outputTail)")
            }
            guard clock.now < end else {
                throw TestSetupError("\(name) was not ready after \(limit): \(outputTail)")
            }
            try await Task.sleep(for: pause)
        }
    }

    /// Waits for it to end by itself.
    ///
    /// - Returns: its exit status, or 128 plus the number of the signal that ended it, as a shell has it.
    public func waitForExit(within limit: Duration = .seconds(60)) async throws -> Int32 {
        let clock = ContinuousClock()
        let end = clock.now + limit
        while true {
            if let status = poll() { return Self.code(of: status) }
            guard clock.now < end else { throw TestSetupError("\(name) still ran after \(limit): \(outputTail)") }
            try await Task.sleep(for: .milliseconds(5))
        }
    }

    /// Sends a signal: SIGSTOP and SIGCONT to hold a server up, SIGHUP and the like.
    public func send(signal: Int32) {
        exitStatus.withLock { status in
            // Under the lock the process has not been reaped, so the number is still its own.
            if status == nil { _ = Foundation.kill(pid, signal) }
        }
    }

    /// SIGTERM, and SIGKILL where that has not ended it within `grace`.
    ///
    /// - Returns: as `waitForExit`.
    @discardableResult public func terminate(grace: Duration = .seconds(10)) async -> Int32 {
        send(signal: SIGTERM)
        if let code = try? await waitForExit(within: grace) { return code }
        kill()
        return 128 + SIGKILL
    }

    /// SIGKILL. The process is gone when this returns.
    public func kill() {
        send(signal: SIGKILL)
        _ = exitStatus.withLock { reap(&$0, options: 0) }
    }

    static func killAll() {
        running.withLock { pids in
            for pid in pids { _ = Foundation.kill(pid, SIGKILL) }
            for pid in pids { _ = waitpid(pid, nil, 0) }
            pids.removeAll()
        }
    }

    private func poll() -> Int32? { exitStatus.withLock { reap(&$0, options: WNOHANG) } }

    private func reap(_ known: inout Int32?, options: Int32) -> Int32? {
        if known != nil { return known }
        var status: Int32 = 0
        var result: pid_t
        repeat { result = waitpid(pid, &status, options) } while result < 0 && errno == EINTR
        if result == 0 { return nil }
        known = result == pid ? status : 0
        Self.running.withLock { _ = $0.remove(pid) }
        return known
    }

    private var outputTail: String { String(output.suffix(2000)) }

    /// wait(2): the low seven bits are the signal, the next byte the exit status.
    private static func code(of status: Int32) -> Int32 {
        let signal = status & 0x7f
        return signal == 0 ? (status >> 8) & 0xff : 128 + signal
    }

    private static func text(of status: Int32) -> String {
        let signal = status & 0x7f
        return signal == 0 ? "status \((status >> 8) & 0xff)" : "signal \(signal)"
    }

    private static func spawn(_ words: [String], _ settings: [String], output: String) throws -> pid_t {
        var actions = posix_spawn_file_actions_t()
        var attributes = posix_spawnattr_t()
        posix_spawn_file_actions_init(&actions)
        posix_spawnattr_init(&attributes)
        defer {
            posix_spawn_file_actions_destroy(&actions)
            posix_spawnattr_destroy(&attributes)
        }
        posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0)
        posix_spawn_file_actions_addopen(&actions, 1, output, O_WRONLY | O_CREAT | O_APPEND, 0o600)
        posix_spawn_file_actions_adddup2(&actions, 1, 2)
        // Whatever of ours lacks FD_CLOEXEC; closing one that is gone by then does no harm.
        for name in try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd") {
            if let descriptor = Int32(name), descriptor > 2 { posix_spawn_file_actions_addclose(&actions, descriptor) }
        }
        // Threads of Swift's runtime block signals, and a test runner may ignore some: the child starts afresh.
        var signals = sigset_t()
        sigemptyset(&signals)
        posix_spawnattr_setsigmask(&attributes, &signals)
        sigfillset(&signals)
        posix_spawnattr_setsigdefault(&attributes, &signals)
        posix_spawnattr_setflags(&attributes, Int16(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF))

        var arguments = words.map { strdup($0) } + [nil]
        var environment = settings.map { strdup($0) } + [nil]
        defer { for pointer in arguments + environment { free(pointer) } }
        var pid: pid_t = 0
        let error = posix_spawn(&pid, words[0], &actions, &attributes, &arguments, &environment)
        guard error == 0 else { throw TestSetupError("cannot start \(words): \(String(cString: strerror(error)))") }
        return pid
    }
}
