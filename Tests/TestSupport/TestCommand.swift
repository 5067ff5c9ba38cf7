import Foundation

/// Programs that run to their end.
public enum TestCommand {
    /// Runs `program` and waits for it.
    ///
    /// - Parameter program: an absolute path.
    /// - Returns: its exit status (as `TestProcess.waitForExit`) and all it printed.
    public static func status(
        _ program: String, _ arguments: [String] = [], environment: [String: String?] = [:],
        within limit: Duration = .seconds(120)
    ) async throws -> (status: Int32, output: String) {
        try await withTemporaryDirectory("run") { directory in
            let process = try await TestProcess.start(
                program, arguments, environment: environment, directory: directory)
            let status = try await process.waitForExit(within: limit)
            return (status, process.output)
        }
    }

    /// Runs `program`, which has to succeed.
    ///
    /// - Returns: what it printed, without white space at the end.
    /// - Throws: `TestSetupError` with its output, where its exit status is not 0.
    @discardableResult public static func run(
        _ program: String, _ arguments: [String] = [], environment: [String: String?] = [:],
        within limit: Duration = .seconds(120)
    ) async throws -> String {
        let (status, output) = try await status(program, arguments, environment: environment, within: limit)
        guard status == 0 else {
            throw TestSetupError("\(program) \(arguments.joined(separator: " ")) ended with \(status): \(output)")
        }
        return output.trimmingCharacters(in: .whitespacesAndNewlines)
    }
}
