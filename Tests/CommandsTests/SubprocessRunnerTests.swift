import Commands
import Errors
import Foundation
import Testing

@Suite(.serialized) struct SubprocessRunnerTests {
    private let runner = SubprocessRunner(packages: ["no-such-program": "a-package"])

    @Test func keepsOutputsApartAndTheEnvironmentPlain() async throws {
        let result = try await runner.run(
            Command("sh", ["-c", "echo out; echo err >&2; env"], environment: ["EXTRA": "1"]))
        #expect(result.standardError == Array("err\n".utf8))
        let lines = Set(result.outputText.split(separator: "\n").map(String.init))
        #expect(lines.isSuperset(of: ["out", "LC_ALL=C", "EXTRA=1"]))
        #expect(!lines.contains { $0.hasPrefix("HOME=") })
    }

    @Test func passesArgumentsAsTheyAre() async throws {
        let arguments = ["$(id)", "a b", "'", "", "; ls", "ü"]
        let result = try await runner.run(Command("printf", ["%s|"] + arguments))
        #expect(result.outputText == arguments.map { $0 + "|" }.joined())
    }

    @Test func hasNoInput() async throws {
        let result = try await runner.run(Command("cat", [], timeout: .seconds(120)))
        #expect(result.standardOutput.isEmpty)
    }

    @Test func saysHowAProgramFailed() async throws {
        let error = try #require(
            await failure { try await runner.run(Command("sh", ["-c", "echo why >&2; exit 3"])) })
        let cause = try #require(error.commandFailure)
        #expect(error.code == .internal)
        #expect(cause.exitCode == 3)
        #expect(cause.standardError == Array("why\n".utf8))
        #expect(error.description.contains("sh -c echo why >&2; exit 3 ended with 3: why"))
    }

    @Test func acceptsTheExitCodesAskedFor() async throws {
        let command = Command("sh", ["-c", "exit 1"], acceptedExitCodes: [0, 1])
        #expect(try await runner.run(command).exitCode == 1)
    }

    @Test func saysWhatSignalEndedAProgram() async throws {
        let error = try #require(await failure { try await runner.run(Command("sh", ["-c", "kill -9 $$"])) })
        #expect(error.commandFailure?.exitCode == -9)
        #expect(error.description.contains("was ended by signal 9"))
    }

    @Test func namesThePackageOfAMissingProgram() async throws {
        let error = try #require(await failure { try await runner.run(Command("no-such-program", [])) })
        #expect(error.code == .failedPrecondition)
        #expect(error.remedy == "apt-get install a-package")
        let other = try #require(await failure { try await runner.run(Command("/no/such/program", [])) })
        #expect(other.code == .failedPrecondition)
    }

    @Test func boundsTheOutput() async throws {
        let error = try #require(
            await failure {
                try await runner.run(Command("yes", [], timeout: .seconds(300), outputLimit: 10_000))
            })
        #expect(error.code == .outOfRange)
    }

    @Test func endsAProgramAtItsTimeout() async throws {
        let (error, seconds) = try await ending { runner in
            try await runner.run(Command("sleep", ["1234.5"], timeout: .milliseconds(300)))
        }
        #expect(error.code == .deadlineExceeded)
        #expect(seconds < 300)
        #expect(!isRunning("1234.5"))
    }

    @Test func endsAProgramThatIgnoresTheFirstSignal() async throws {
        let script = "trap '' TERM; while :; do sleep 0.05; done; : 2345.6"
        let (error, _) = try await ending { runner in
            try await runner.run(Command("sh", ["-c", script], timeout: .milliseconds(300)))
        }
        #expect(error.code == .deadlineExceeded)
        #expect(!isRunning("2345.6"))
    }

    @Test func endsAProgramWhenItsTaskIsCancelled() async throws {
        let (error, seconds) = try await ending { runner in
            let task = Task { try await runner.run(Command("sleep", ["3456.7"])) }
            for _ in 0..<200 where !isRunning("3456.7") { try await Task.sleep(for: .milliseconds(50)) }
            #expect(isRunning("3456.7"))
            task.cancel()
            return try await task.value
        }
        #expect(error.code == .cancelled)
        #expect(seconds < 300)
        #expect(!isRunning("3456.7"))
    }

    private func ending(
        _ body: (SubprocessRunner) async throws -> CommandResult
    ) async throws -> (PerSSDError, Double) {
        let start = ContinuousClock.now
        let error = try #require(await failure { try await body(runner) })
        let duration = ContinuousClock.now - start
        return (error, Double(duration.components.seconds))
    }

    private func failure(_ body: () async throws -> CommandResult) async -> PerSSDError? {
        do {
            _ = try await body()
            return nil
        } catch {
            return error as? PerSSDError
        }
    }

    /// Whether some process has `text` in its command line.
    private func isRunning(_ text: String) -> Bool {
        let processes = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
        return processes.contains { name in
            guard Int32(name) != nil, let line = FileManager.default.contents(atPath: "/proc/\(name)/cmdline") else {
                return false
            }
            return String(decoding: line, as: UTF8.self).contains(text)
        }
    }
}
