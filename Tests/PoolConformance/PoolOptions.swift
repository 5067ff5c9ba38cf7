import ArgumentParser
import Errors
import LocalVolumes
import Logging
import SystemPackage

/// Which pool to work on.
struct PoolOptions: ParsableArguments {
    @Option(help: "A directory for a pool of images.")
    var directory: String?
    @Option(help: "A volume group for a pool of logical volumes.")
    var vg: String?
    @Option(help: "The drives to make the volume group of.")
    var drives: [String] = []
    @Flag(help: "Make the volume group of all empty NVMe namespaces.")
    var allEmpty = false
    @Option(help: "linear, striped or raid1.")
    var layout = "linear"
    @Option(help: "The pool's name.")
    var name = "default"
    @Flag(help: "Do not make the volume group where it is missing.")
    var existing = false

    func open() async throws -> any VolumePool {
        var logger = Logger(label: "pool-conformance") { StreamLogHandler.standardError(label: $0) }
        logger.logLevel = .notice
        if let directory {
            return try await ImagePool.open(
                name: name, directory: FilePath(directory), options: ImagePool.Options(size: 1 << 30, reserve: 0),
                logger: logger)
        }
        guard let vg, let layout = LVMPool.Layout(rawValue: layout) else {
            throw ValidationError("give --directory, or --vg and a --layout that there is")
        }
        return try await LVMPool.open(
            name: name,
            options: LVMPool.Options(
                volumeGroup: vg, drives: DriveSelection(paths: drives, allEmptyNVMe: allEmpty), layout: layout,
                mayCreate: !existing),
            logger: logger)
    }

    /// As arguments for another process that works on the same pool.
    var arguments: [String] {
        var arguments = ["--name", name, "--layout", layout]
        if let directory { arguments += ["--directory", directory] }
        if let vg { arguments += ["--vg", vg, "--existing"] }
        return arguments
    }
}

/// One line, out at once: what a kill leaves in a buffer is lost.
func say(_ line: String) { DeviceBytes.writeLine(line) }

struct Failure: Error, CustomStringConvertible {
    var description: String
}

func require(_ condition: Bool, _ what: @autoclosure () -> String, line: Int = #line) throws {
    if !condition { throw Failure(description: "line \(line): \(what())") }
}

/// Fails unless `body` throws an error with the code.
func requireError(
    _ code: PerSSDError.Code, line: Int = #line, _ body: () async throws -> Void
) async throws {
    do {
        try await body()
    } catch let error as PerSSDError {
        try require(error.code == code, "\(error.code) and not \(code): \(error)", line: line)
        return
    }
    throw Failure(description: "line \(line): no error, and \(code) was to come")
}
