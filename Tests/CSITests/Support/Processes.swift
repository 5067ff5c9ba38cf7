import Foundation

/// The root of the package.
let packageRoot = URL(fileURLWithPath: #filePath)
    .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()

/// What a test needs and does not find, or what a program of a test says.
struct TestFailure: Error, CustomStringConvertible {
    let description: String

    init(_ description: String) { self.description = description }
}

struct ProgramResult {
    let status: Int32
    let output: String
    let errors: String
}

/// Runs a program to its end. Its output goes through files, so that no pipe can fill up.
func run(_ program: String, _ arguments: [String], in directory: URL = packageRoot) async throws -> ProgramResult {
    try await withTemporaryDirectory { temporary in
        let (output, errors) = (temporary.appending(path: "output"), temporary.appending(path: "errors"))
        for file in [output, errors] { try Data().write(to: file) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: program)
        process.arguments = arguments
        process.currentDirectoryURL = directory
        process.standardInput = FileHandle.nullDevice
        process.standardOutput = try FileHandle(forWritingTo: output)
        process.standardError = try FileHandle(forWritingTo: errors)
        let status = try await withCheckedThrowingContinuation {
            (continuation: CheckedContinuation<Int32, any Error>) in
            process.terminationHandler = { continuation.resume(returning: $0.terminationStatus) }
            do { try process.run() } catch { continuation.resume(throwing: error) }
        }
        return ProgramResult(
            status: status, output: String(decoding: try Data(contentsOf: output), as: UTF8.self),
            errors: String(decoding: try Data(contentsOf: errors), as: UTF8.self))
    }
}

/// Runs a script of Tests/CSITests/Python and returns its output.
///
/// - Throws: `TestFailure` with what the script says where it fails, or with what to install.
@discardableResult
func python(_ script: String, _ arguments: String...) async throws -> String {
    let python = packageRoot.appending(path: ".venv/bin/python").path
    guard FileManager.default.isExecutableFile(atPath: python) else {
        throw TestFailure("\(python) is missing: python3 -m venv .venv && .venv/bin/pip install protobuf grpcio")
    }
    let path = packageRoot.appending(path: "Tests/CSITests/Python/\(script)").path
    let result = try await run(python, ["-B", path] + arguments)
    guard result.status == 0 else {
        throw TestFailure(
            "\(script) \(arguments.joined(separator: " ")): exit status \(result.status): \(result.errors) "
                + "(it needs .venv/bin/pip install protobuf grpcio, and apt-get install protobuf-compiler)")
    }
    return result.output
}

func withTemporaryDirectory<Result>(_ body: (URL) async throws -> Result) async throws -> Result {
    let directory = FileManager.default.temporaryDirectory.appending(path: "perssd-csi-tests-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: false)
    defer { try? FileManager.default.removeItem(at: directory) }
    return try await body(directory)
}
