import Errors
import Subprocess
import SystemPackage

/// Runs commands as child processes: no standard input, no inherited files, a session of their own.
public struct SubprocessRunner: CommandRunner {
    private let packages: [String: String]

    /// - Parameter packages: which Debian package holds a program, beyond those known here.
    public init(packages: [String: String] = [:]) {
        self.packages = Self.knownPackages.merging(packages) { $1 }
    }

    private static let knownPackages = [
        "mkfs.ext4": "e2fsprogs", "e2fsck": "e2fsprogs", "resize2fs": "e2fsprogs", "dumpe2fs": "e2fsprogs",
        "mkfs.xfs": "xfsprogs", "xfs_repair": "xfsprogs", "xfs_growfs": "xfsprogs", "xfs_db": "xfsprogs",
        "mkfs.btrfs": "btrfs-progs", "btrfs": "btrfs-progs", "blkid": "util-linux", "losetup": "mount",
        "lvm": "lvm2", "thin_delta": "thin-provisioning-tools", "thin_dump": "thin-provisioning-tools",
    ]

    private static let searchPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    public func run(_ command: Command) async throws -> CommandResult {
        try Task.checkCancellation(of: command)
        return try await withThrowingTaskGroup(of: CommandResult?.self) { group in
            group.addTask { try await runToEnd(command) }
            group.addTask {
                try? await Task.sleep(for: command.timeout)
                return nil
            }
            // Leaving the group waits for the child, which its cancelled task ends.
            defer { group.cancelAll() }
            if let result = try await group.next() ?? nil { return result }
            try Task.checkCancellation(of: command)
            throw PerSSDError(
                .deadlineExceeded, "\(command.program) did not end within \(command.timeout), and was ended",
                remedy: "look in dmesg for a drive that hangs")
        }
    }

    private func runToEnd(_ command: Command) async throws -> CommandResult {
        var environment: [Environment.Key: String] = ["LC_ALL": "C", "PATH": Self.searchPath]
        for (name, value) in command.environment {
            guard let key = Environment.Key(rawValue: name) else {
                throw PerSSDError(.internal, "'\(name)' cannot name an environment variable")
            }
            environment[key] = value
        }
        var options = PlatformOptions()
        options.createSession = true
        options.teardownSequence = [
            .send(signal: .terminate, toProcessGroup: true, allowedDurationToNextStep: .seconds(2))
        ]
        let program = command.program
        let executable: Executable = program.hasPrefix("/") ? .path(FilePath(program)) : .name(program)
        let record: ExecutionResult<Void, BytesOutput, BytesOutput>
        do {
            record = try await Subprocess.run(
                executable, arguments: Arguments(command.arguments), environment: .custom(environment),
                workingDirectory: "/", platformOptions: options, input: .none,
                output: .bytes(limit: command.outputLimit), error: .bytes(limit: command.outputLimit))
        } catch {
            throw failure(of: command, error)
        }
        try Task.checkCancellation(of: command)
        let exitCode: Int32 =
            switch record.terminationStatus {
            case .exited(let code): code
            case .signaled(let signal): -signal
            }
        let result = CommandResult(
            exitCode: exitCode, standardOutput: record.standardOutput, standardError: record.standardError)
        guard command.acceptedExitCodes.contains(exitCode) else {
            throw PerSSDError(
                .internal, "\(program) failed",
                cause: CommandFailure(
                    program: program, arguments: command.arguments, exitCode: exitCode,
                    standardOutput: result.standardOutput, standardError: result.standardError))
        }
        return result
    }

    private func failure(of command: Command, _ error: any Error) -> PerSSDError {
        guard let cause = error as? SubprocessError else {
            return PerSSDError(wrapping: error, during: command.program)
        }
        switch cause.code {
        case .executableNotFound:
            let package = packages[command.program]
            return PerSSDError(
                .failedPrecondition, "the program \(command.program) is not installed",
                remedy: package.map { "apt-get install \($0)" } ?? "install it, or put it on \(Self.searchPath)",
                cause: cause)
        case .outputLimitExceeded:
            return PerSSDError(
                .outOfRange, "\(command.program) wrote more than \(command.outputLimit) bytes, and was ended",
                cause: cause)
        default:
            return PerSSDError(.internal, "could not run \(command.program)", cause: cause)
        }
    }
}

extension Task where Success == Never, Failure == Never {
    fileprivate static func checkCancellation(of command: Command) throws {
        if isCancelled { throw PerSSDError(.cancelled, "\(command.program) was cancelled") }
    }
}
