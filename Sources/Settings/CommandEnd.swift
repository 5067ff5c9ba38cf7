import ArgumentParser
import Errors
import Foundation

/// What the exit code of a command or process means; documented in docs/errors.md.
public enum ExitMeaning: Int32, Sendable, CaseIterable {
    case success = 0
    /// None of the others.
    case failure = 1
    /// Wrong options, arguments or settings.
    case usage = 2
    /// No such volume, generation, bucket or file.
    case notFound = 3
    /// What is stored is missing in part, damaged, or of a version that is not known here.
    case corrupt = 4
    /// The store cannot be reached, does not know us, or says no.
    case storeUnusable = 5
    /// SIGINT or SIGTERM.
    case interrupted = 130

    public init(_ error: PerSSDError) {
        self =
            switch error.code {
            case .invalidArgument: .usage
            case .notFound, .storeMissing: .notFound
            case .corrupt, .unsupported: .corrupt
            case .unavailable, .unauthenticated, .permissionDenied: .storeUnusable
            case .cancelled: .interrupted
            default: .failure
            }
    }
}

/// Runs a command to its end, and tells on standard error, in one line, why it could not go on.
///
/// - Returns: the exit code, as `ExitMeaning`.
public func runToEnd<Root: AsyncParsableCommand>(_ root: Root.Type, arguments: [String]? = nil) async -> Int32 {
    // A pipe that is closed is an error of the write to it, and no reason to die unheard.
    signal(SIGPIPE, SIG_IGN)
    var command: any ParsableCommand
    do {
        command = try Root.parseAsRoot(arguments)
    } catch {
        return tell(error, of: root)
    }
    do {
        if var asynchronous = command as? any AsyncParsableCommand {
            try await asynchronous.run()
        } else {
            try command.run()
        }
        return ExitMeaning.success.rawValue
    } catch let code as ExitCode {
        return code.rawValue
    } catch is CancellationError {
        return ExitMeaning.interrupted.rawValue
    } catch  where root.exitCode(for: error).isSuccess {
        // Of a command without subcommands, help comes only now.
        return tell(error, of: root)
    } catch {
        let error = PerSSDError(wrapping: error)
        line("\(root.configuration.commandName ?? "perssd"): \(error)", to: .standardError)
        return ExitMeaning(error).rawValue
    }
}

/// Help and version come as errors, too.
private func tell<Root: ParsableCommand>(_ error: any Error, of root: Root.Type) -> Int32 {
    let isClean = root.exitCode(for: error).isSuccess
    line(root.fullMessage(for: error), to: isClean ? .standardOutput : .standardError)
    return (isClean ? ExitMeaning.success : .usage).rawValue
}

private func line(_ text: String, to file: FileHandle) {
    guard !text.isEmpty else { return }
    // Where nobody reads there is nobody to tell.
    try? file.write(contentsOf: Data((text + "\n").utf8))
}
