import Blocking
import Errors
import Foundation
import LinuxSystem
import SystemPackage

/// The one directory that all of a demo is in: bucket, pools, sockets, mounts, logs. What a run that was killed left in
/// it is cleared by the next; nothing outside of it is ever touched.
struct DemoDirectory: Sendable {
    let path: String
    /// Held for as long as the demo runs.
    private let lock: FileLock

    private static let marker = "this-directory-belongs-to-perssd-demo"

    /// Takes the directory, and clears what an earlier run left.
    ///
    /// - Parameter path: absolute, and free of symbolic links, as mounts and loop devices are known by their real paths.
    /// - Throws: `failedPrecondition` where another demo runs in it, or it is not the demo's.
    static func take(_ path: String) async throws -> DemoDirectory {
        try await BlockingPool.shared.run {
            guard path.hasPrefix("/"), path.utf8.count <= 60 else {
                throw PerSSDError(
                    .invalidArgument, "'\(path)' cannot be the directory of the demo",
                    remedy: "give an absolute path of at most 60 bytes: sockets lie in it")
            }
            let marker = FilePath("\(path)/\(marker)")
            if try FileStatus.of(FilePath(path), followingLinks: false) == nil {
                try DurableFile.makeDirectory(FilePath(path))
                try DurableFile.write([], to: marker)
            }
            guard try FileStatus.of(FilePath(path), followingLinks: false)?.kind == .directory,
                try FileStatus.of(marker, followingLinks: false)?.kind == .regular,
                realPath(path) == path
            else {
                throw PerSSDError(
                    .failedPrecondition, "\(path) is there, and is not a directory that the demo made",
                    remedy: "give another one with --directory")
            }
            let lock = try FileLock(marker)
            guard try FileStatus.of(marker, followingLinks: false) != nil else {
                throw PerSSDError(
                    .failedPrecondition, "another demo has just ended and removed \(path)", remedy: "try again")
            }
            return DemoDirectory(path: path, lock: lock)
        }
    }

    private init(path: String, lock: FileLock) { (self.path, self.lock) = (path, lock) }

    func file(_ name: String) -> String { "\(path)/\(name)" }

    func make(_ name: String) async throws -> String {
        let path = file(name)
        try await BlockingPool.shared.run {
            try FileManager.default.createDirectory(
                atPath: path, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
        }
        return path
    }

    /// Ends processes of an earlier run, then takes mounts, loop devices and files away.
    ///
    /// - Returns: what was found, for people; empty where there was nothing.
    func clear() async throws -> [String] {
        var found = try await endProcesses()
        found += try await releaseDevices()
        try await BlockingPool.shared.run { [path] in
            // With a mount left below, removing files would empty what is mounted.
            guard try Self.mounts(below: path).isEmpty else {
                throw PerSSDError(
                    .failedPrecondition, "something below \(path) is still mounted",
                    remedy: "see /proc/self/mountinfo; unmount it, then try again")
            }
            for name in try DurableFile.names(in: FilePath(path)) where name != Self.marker {
                try FileManager.default.removeItem(atPath: "\(path)/\(name)")
            }
        }
        return found
    }

    /// As `clear`, but the files stay: logs tell what went wrong.
    func releaseDevices() async throws -> [String] {
        try await BlockingPool.shared.run { [path] in
            var found: [String] = []
            // Later mounts lie on earlier ones.
            for point in try Self.mounts(below: path).reversed() {
                found.append("mount \(point)")
                try Mount.unmount(FilePath(point))
            }
            for device in try LoopDevice.all() where device.backingPath.string.hasPrefix(path + "/") {
                found.append("loop device \(device.path)")
                try device.detach()
            }
            return found
        }
    }

    /// Removes the directory itself; the lock goes with this value.
    func remove() async throws {
        _ = try await clear()
        try await BlockingPool.shared.run { [path] in try FileManager.default.removeItem(atPath: path) }
    }

    private func endProcesses() async throws -> [String] {
        let records = try await BlockingPool.shared.run { [path] in
            let directory = FilePath("\(path)/processes")
            guard try FileStatus.of(directory) != nil else { return [(String, ProcessRecord)]() }
            return try DurableFile.names(in: directory).compactMap { name in
                try DurableFile.read(directory.appending(name)).flatMap { ProcessRecord($0) }.map { (name, $0) }
            }
        }
        var found: [String] = []
        for (name, record) in records where record.isRunning {
            found.append("process \(name)")
            try await record.end()
        }
        return found
    }

    private static func mounts(below path: String) throws -> [String] {
        try MountTable.current().entries.map(\.mountPoint.string).filter { $0.hasPrefix(path + "/") }
    }

    private static func realPath(_ path: String) -> String? {
        guard let resolved = realpath(path, nil) else { return nil }
        defer { free(resolved) }
        return String(cString: resolved)
    }
}
