import Foundation
import RPC
import Synchronization
import Testing

/// The package's own Python environment, which has grpcio.
enum Python {
    private static let testDirectory = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        .deletingLastPathComponent()
    private static let interpreter = testDirectory.deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent(".venv/bin/python")

    static func process(_ script: String, _ arguments: [String]) throws -> Process {
        let hint: Comment = "make a virtual environment in .venv and install grpcio in it"
        try #require(FileManager.default.isExecutableFile(atPath: interpreter.path), hint)
        let process = Process()
        process.executableURL = interpreter
        process.arguments = [testDirectory.appendingPathComponent("Python/\(script)").path] + arguments
        // A proxy that the environment names is not for the loopback device.
        process.environment = ProcessInfo.processInfo.environment.filter { !$0.key.lowercased().hasSuffix("_proxy") }
        return process
    }

    /// What `client.py` prints.
    struct Outcome: Decodable {
        var code: String
        var message: String?
        var details: String?
        var equal: Bool?
        var lines: [String]?
        var messages: [String]?
    }

    /// Makes a call from another process; nil where that process was killed by a signal.
    static func call(_ address: RPCAddress, _ scenario: String, _ argument: String = "") async throws -> Outcome? {
        let target =
            switch address {
            case .unix(let path): "unix:\(path)"
            case .tcp(let host, let port): "\(host):\(port)"
            }
        let client = try process("client.py", [target, scenario, argument])
        let output = Pipe()
        client.standardOutput = output
        let ended = AsyncStream<Void>.makeStream()
        client.terminationHandler = { _ in ended.continuation.finish() }
        try client.run()
        for await _ in ended.stream {}
        // The output is small enough to wait in the pipe.
        let text = output.fileHandleForReading.readDataToEndOfFile()
        if client.terminationReason == .uncaughtSignal { return nil }
        try #require(client.terminationStatus == 0, "client.py failed; its complaint is above")
        return try JSONDecoder().decode(Outcome.self, from: text)
    }
}

/// A grpcio server in a process of its own.
final class PythonServer: Sendable {
    let address: RPCAddress
    let notes: Journal
    private let input: Pipe
    private let process: Process

    private init(_ address: RPCAddress, _ notes: Journal, _ input: Pipe, _ process: Process) {
        (self.address, self.notes, self.input, self.process) = (address, notes, input, process)
    }

    static func with<Result>(
        _ transport: Transport, isolation: isolated (any Actor)? = #isolation,
        _ body: (PythonServer, RPCClient) async throws -> Result
    ) async throws -> Result {
        try await withTemporaryDirectory { directory async throws in
            let path = directory + "/py.sock"
            let process = try Python.process("server.py", [transport == .unix ? "unix:\(path)" : "127.0.0.1:0"])
            let (input, output, notes) = (Pipe(), Pipe(), Journal())
            (process.standardInput, process.standardOutput) = (input, output)
            let unfinished = Mutex("")
            output.fileHandleForReading.readabilityHandler = { handle in
                let text = String(decoding: handle.availableData, as: UTF8.self)
                unfinished.withLock { unfinished in
                    var lines = (unfinished + text).split(separator: "\n", omittingEmptySubsequences: false)
                    unfinished = String(lines.popLast() ?? "")
                    for line in lines { notes.note(String(line)) }
                }
            }
            try process.run()
            defer {
                output.fileHandleForReading.readabilityHandler = nil
                try? input.fileHandleForWriting.close()
                process.waitUntilExit()
            }
            try #require(await becomesTrue(within: .seconds(30)) { !notes.events.isEmpty }, "server.py did not start")
            let address: RPCAddress =
                transport == .unix
                ? .unix(path: path) : .tcp(host: "127.0.0.1", port: try #require(UInt16(notes.events[0])))
            let client = try RPCClient(address)
            let result: Result
            do {
                result = try await body(PythonServer(address, notes, input, process), client)
            } catch {
                await client.close()
                throw error
            }
            await client.close()
            return result
        }
    }
}
