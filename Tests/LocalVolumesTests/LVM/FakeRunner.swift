import Commands
import Errors
import Synchronization

/// Answers commands from a script and remembers them: to say what real tools say only after damage.
final class FakeRunner: CommandRunner {
    private let answer: @Sendable (Command) throws -> CommandResult
    private let commands = Mutex<[Command]>([])

    init(_ answer: @escaping @Sendable (Command) throws -> CommandResult) { self.answer = answer }

    func run(_ command: Command) async throws -> CommandResult {
        commands.withLock { $0.append(command) }
        let result = try answer(command)
        guard command.acceptedExitCodes.contains(result.exitCode) else {
            throw PerSSDError(
                .internal, "\(command.program) failed",
                cause: CommandFailure(
                    program: command.program, arguments: command.arguments, exitCode: result.exitCode,
                    standardOutput: result.standardOutput, standardError: result.standardError))
        }
        return result
    }

    /// All but the settings, which are the same for each.
    var calls: [String] {
        commands.withLock { commands in
            commands.map { command in
                var words = [command.program] + command.arguments
                if let index = words.firstIndex(of: "--config") { words.removeSubrange(index...index + 1) }
                return words.joined(separator: " ")
            }
        }
    }

    var last: Command? { commands.withLock { $0.last } }
}

func answered(_ output: String = "", error: String = "", exitCode: Int32 = 0) -> CommandResult {
    CommandResult(exitCode: exitCode, standardOutput: Array(output.utf8), standardError: Array(error.utf8))
}
