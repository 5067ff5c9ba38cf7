import ArgumentParser
import Errors
import Foundation

/// Runs a process of PerSSD: tells on standard error, in one line, why it could not go on.
///
/// - Returns: the exit code: 0 for an orderly end, 1 where something failed, 2 for wrong options or settings.
public func exitCode<Command: AsyncParsableCommand>(_ command: Command.Type) async -> Int32 {
    var parsed: any ParsableCommand
    do {
        parsed = try Command.parseAsRoot()
    } catch {
        // Help and version are "errors", too, with exit code 0.
        let text = Command.fullMessage(for: error)
        let isUsage = !Command.exitCode(for: error).isSuccess
        print(text, to: isUsage ? STDERR_FILENO : STDOUT_FILENO)
        return isUsage ? 2 : 0
    }
    do {
        if var asynchronous = parsed as? any AsyncParsableCommand {
            try await asynchronous.run()
        } else {
            try parsed.run()
        }
        return 0
    } catch let error as PerSSDError {
        print("\(Command._commandName): \(error)", to: STDERR_FILENO)
        return error.code == .invalidArgument ? 2 : 1
    } catch {
        print("\(Command._commandName): \(error)", to: STDERR_FILENO)
        return 1
    }
}

private func print(_ text: String, to descriptor: Int32) {
    guard !text.isEmpty else { return }
    FileHandle(fileDescriptor: descriptor).write(Data((text + "\n").utf8))
}
