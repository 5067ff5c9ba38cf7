import Errors

/// An outside program to run, by an argument vector and never through a shell.
public struct Command: Sendable, Equatable {
    /// A name that is looked for in the system's directories, or an absolute path.
    public var program: String
    public var arguments: [String]
    /// Added to the plain environment (`LC_ALL=C` and the system's `PATH`) that every command gets.
    public var environment: [String: String]
    /// After this the program is ended; all commands end some time.
    public var timeout: Duration
    /// How many bytes it may write to each of its two outputs.
    public var outputLimit: Int
    /// The exit codes that mean success.
    public var acceptedExitCodes: Set<Int32>

    public init(
        _ program: String, _ arguments: [String], environment: [String: String] = [:],
        timeout: Duration = .seconds(600), outputLimit: Int = 4 << 20, acceptedExitCodes: Set<Int32> = [0]
    ) {
        self.program = program
        self.arguments = arguments
        self.environment = environment
        self.timeout = timeout
        self.outputLimit = outputLimit
        self.acceptedExitCodes = acceptedExitCodes
    }
}

public struct CommandResult: Sendable, Equatable {
    public var exitCode: Int32
    public var standardOutput: [UInt8]
    public var standardError: [UInt8]

    public init(exitCode: Int32, standardOutput: [UInt8] = [], standardError: [UInt8] = []) {
        (self.exitCode, self.standardOutput, self.standardError) = (exitCode, standardOutput, standardError)
    }

    public var outputText: String { String(decoding: standardOutput, as: UTF8.self) }
}

/// Runs outside programs: mkfs, fsck, blkid, lvm.
public protocol CommandRunner: Sendable {
    /// Runs the command to its end. A cancelled task ends the program first.
    ///
    /// - Throws: `failedPrecondition` where the program is not installed, saying which package holds it; a `CommandFailure`
    ///   as the cause of an `internal` error where it failed; `deadlineExceeded` and `cancelled` where it was ended.
    func run(_ command: Command) async throws -> CommandResult
}

/// How a command failed.
public struct CommandFailure: Error, Sendable, Equatable, CustomStringConvertible {
    public var program: String
    public var arguments: [String]
    /// Negative where a signal ended it.
    public var exitCode: Int32
    public var standardOutput: [UInt8]
    public var standardError: [UInt8]

    public init(
        program: String, arguments: [String], exitCode: Int32, standardOutput: [UInt8] = [], standardError: [UInt8] = []
    ) {
        self.program = program
        self.arguments = arguments
        self.exitCode = exitCode
        self.standardOutput = standardOutput
        self.standardError = standardError
    }

    /// "mkfs.xfs -K /dev/loop0 ended with 1: device is busy".
    public var description: String {
        let end = exitCode < 0 ? "was ended by signal \(-exitCode)" : "ended with \(exitCode)"
        let said = standardError.allSatisfy(Self.isBlank) ? standardOutput : standardError
        // The last words tell most.
        let words = String(decoding: said.suffix(600), as: UTF8.self).split(whereSeparator: \.isWhitespace)
        return ([program] + arguments).joined(separator: " ") + " \(end)"
            + (words.isEmpty ? "" : ": " + words.joined(separator: " "))
    }

    private static func isBlank(_ byte: UInt8) -> Bool { byte == 32 || (9...13).contains(byte) }
}

extension PerSSDError {
    /// How the command behind this error failed, where one did.
    public var commandFailure: CommandFailure? {
        for case let failure as CommandFailure in chain { return failure }
        return nil
    }
}
