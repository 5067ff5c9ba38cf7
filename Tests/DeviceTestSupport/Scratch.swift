import Errors
import Foundation
import LinuxSystem
import SystemPackage

/// A temporary directory whose mounts and loop devices go with it, also those of an earlier run that was killed.
public final class Scratch: Sendable {
    private static let prefix = "perssd-devices-"
    private static let parent = FilePath("/tmp")

    public let path: FilePath

    private init(_ path: FilePath) { self.path = path }

    /// Runs `body` with a new directory, and clears up after it whatever happens.
    ///
    /// `body` may block: it runs on threads that other tests do not need.
    public static func with<Value: Sendable>(_ body: (Scratch) async throws -> Value) async throws -> Value {
        try await withTaskExecutorPreference(BlockingExecutor.shared) { try await runAndClear(body) }
    }

    private static func runAndClear<Value: Sendable>(_ body: (Scratch) async throws -> Value) async throws -> Value {
        try clearEarlierRuns
        let name = "\(prefix)\(ProcessInfo.processInfo.processIdentifier)-\(DurableFile.randomName())"
        let scratch = Scratch(parent.appending(name))
        try DurableFile.makeDirectory(scratch.path, mode: 0o755)
        let result: Result<Value, any Error>
        do { result = .success(try await body(scratch)) } catch { result = .failure(error) }
        // What a failed test left does not hide how it failed.
        do { try clear(scratch.path) } catch { if case .success = result { throw error } }
        return try result.get()
    }

    public func appending(_ name: String) -> FilePath { path.appending(name) }

    public func makeDirectory(_ name: String) throws -> FilePath {
        try DurableFile.makeDirectory(path.appending(name), mode: 0o755)
        return path.appending(name)
    }

    /// A sparse file of `size` bytes.
    public func makeImage(_ name: String, size: UInt64) throws -> FilePath {
        let file = try OpenFile(path.appending(name), O_RDWR | O_CREAT | O_EXCL)
        try file.truncate(toBytes: size)
        return path.appending(name)
    }

    /// A mounted file system of its own, on a loop device with direct I/O.
    public func makeFileSystem(_ name: String, _ type: String, size: UInt64, _ mkfsOptions: [String] = []) throws
        -> FilePath
    {
        let image = try makeImage(name + ".img", size: size)
        try run("mkfs.\(type)", mkfsOptions + ["-q", image.string])
        let loop = try LoopDevice.attach(image)
        let directory = try makeDirectory(name)
        let place = try OpenFile(place: directory, mustBeDirectory: true)
        var options = MountOptions()
        if type == "xfs" { try options.add("nouuid") }
        try Mount.fileSystem(type, device: loop.path, at: place, options: options)
        return directory
    }

    /// Runs a program to its end; fails, with what it said, unless it ends with 0.
    @discardableResult
    public func run(_ program: String, _ arguments: [String]) throws -> String {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
        process.arguments = [program] + arguments
        let pipe = Pipe()
        process.standardOutput = pipe
        process.standardError = pipe
        try process.run()
        let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
        process.waitUntilExit()
        guard process.terminationStatus == 0 else {
            throw PerSSDError(
                .internal,
                "\(program) \(arguments.joined(separator: " ")) ended with \(process.terminationStatus): \(output)",
                remedy: "install it: apt-get install e2fsprogs xfsprogs btrfs-progs util-linux mount")
        }
        return output
    }

    // MARK: Clearing up

    private static let clearing: Result<Void, any Error> = Result {
        for name in try DurableFile.names(in: parent) where name.hasPrefix(prefix) {
            guard let pid = Int32(name.dropFirst(prefix.count).prefix { $0 != "-" }), kill(pid, 0) != 0 else {
                continue
            }
            try clear(parent.appending(name))
        }
    }

    private static var clearEarlierRuns: Void {
        get throws { try clearing.get() }
    }

    /// Unmounts and detaches what lies below, nested ones too, then removes the files.
    private static func clear(_ path: FilePath) throws {
        let below = path.string + "/"
        for _ in 0..<20 {
            for entry in try MountTable.current().entries.reversed() where entry.mountPoint.string.hasPrefix(below) {
                _ = try? MountedFileSystem.thaw(entry.mountPoint)
                try? Mount.unmount(entry.mountPoint)
            }
            for loop in try LoopDevice.all() where isBelow(loop, below) { try? loop.detach() }
            if try left(below) == 0 { break }
            usleep(50_000)
        }
        guard try left(below) == 0 else {
            throw PerSSDError(.failedPrecondition, "mounts or loop devices below \(path) are still in use")
        }
        try FileManager.default.removeItem(atPath: path.string)
    }

    /// Also one that a mount namespace has attached that is gone, whose file the kernel names differently.
    private static func isBelow(_ loop: LoopDevice, _ below: String) -> Bool {
        loop.backingPath.string.hasPrefix(below) || loop.givenName.hasPrefix(below)
    }

    private static func left(_ below: String) throws -> Int {
        try MountTable.current().entries.filter { $0.mountPoint.string.hasPrefix(below) }.count
            + LoopDevice.all().filter { isBelow($0, below) }.count
    }
}
