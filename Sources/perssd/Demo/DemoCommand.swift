import ArgumentParser
import Errors
import Foundation
import Settings

struct DemoCommand: AsyncParsableCommand {
    enum Store: String, ExpressibleByArgument, CaseIterable, Sendable {
        case directory, s3
    }

    static let configuration = CommandConfiguration(
        commandName: "demo",
        abstract: "Moves a volume between two nodes of this machine, and compares every file.",
        discussion: """
            Starts a controller and two node plugins as processes of their own, and drives them over their Unix sockets \
            as kubelet and the CSI sidecars would. Everything is in one directory, and gone when the demo ends. What a \
            demo that was killed leaves behind, the next one clears. Needs root, as it mounts file systems.
            """)

    @Option(help: "Where volumes are staged out to: directory, or s3 (SeaweedFS, started and stopped here).")
    var store = Store.directory
    @Option(
        help:
            "A directory tree to copy onto the volume (default: the first of some on this machine that is large enough).",
        completion: .directory)
    var data: String?
    @Option(help: "Where the demo has its bucket, pools and sockets.", completion: .directory)
    var directory = "/var/tmp/perssd-demo"
    @Option(help: "SeaweedFS's program, for --store s3 (default: .venv/bin/weed, then weed in PATH).")
    var weed: String?
    @Flag(help: "Print the table as JSON, for scripts.") var json = false

    mutating func run() async throws {
        guard geteuid() == 0 else {
            throw PerSSDError(
                .failedPrecondition, "the demo mounts file systems, and only root may do that",
                remedy: "run it as root, for example with sudo")
        }
        let data = try Self.dataDirectory(data)
        let weed = store == .s3 ? try Self.weedProgram(weed) : nil
        let (path, json) = (directory, json)
        try await untilInterrupted {
            let directory = try await DemoDirectory.take(path)
            for thing in try await directory.clear() { Output.note("cleared what an earlier demo left: \(thing)") }
            let stage = DemoStage(directory: directory)
            do {
                let steps = try await stage.play(data: data, weed: weed)
                await stage.end()
                try await directory.remove()
                if json { try Output.json(steps) } else { Output.line("\n" + DemoSteps.table(steps)) }
            } catch {
                // Also where it was interrupted: what was mounted must not stay.
                await Task.detached {
                    await stage.end()
                    do {
                        _ = try await directory.releaseDevices()
                    } catch {
                        Output.note("could not clear up; the next demo tries again: \(PerSSDError(wrapping: error))")
                    }
                }.value
                Output.note("the processes' logs are in \(path)")
                throw error
            }
        }
    }

    /// Trees that are on most machines, the first of which that has 50 MB or more is taken, else the largest.
    private static let usualData = [
        "/usr/share/doc", "/usr/lib/python3", "/usr/share/perl", "/usr/share/locale", "/usr/share/zoneinfo", "/etc",
    ]
    private static let enoughBytes: UInt64 = 50_000_000

    private static func dataDirectory(_ given: String?) throws -> String {
        func isDirectory(_ path: String) -> Bool {
            var isDirectory: ObjCBool = false
            return FileManager.default.fileExists(atPath: path, isDirectory: &isDirectory) && isDirectory.boolValue
        }
        if let given {
            guard isDirectory(given) else {
                throw PerSSDError(
                    .notFound, "there is no directory '\(given)'", remedy: "give another one with --data")
            }
            return given
        }
        var best: (path: String, bytes: UInt64)?
        for path in usualData where isDirectory(path) {
            let bytes = size(of: path)
            if bytes > best?.bytes ?? 0 { best = (path, bytes) }
            if bytes >= enoughBytes { break }
        }
        guard let best else {
            throw PerSSDError(.notFound, "no directory to copy was found", remedy: "give one with --data")
        }
        return best.path
    }

    private static func size(of path: String) -> UInt64 {
        let keys: [URLResourceKey] = [.fileSizeKey, .isRegularFileKey]
        let files = FileManager.default.enumerator(at: URL(fileURLWithPath: path), includingPropertiesForKeys: keys)
        var bytes: UInt64 = 0
        for case let file as URL in files ?? FileManager.DirectoryEnumerator() {
            bytes += UInt64((try? file.resourceValues(forKeys: Set(keys)).fileSize) ?? 0)
            if bytes >= enoughBytes { break }
        }
        return bytes
    }

    private static func weedProgram(_ given: String?) throws -> String {
        let search = ProcessInfo.processInfo.environment["PATH"]?.split(separator: ":").map { "\($0)/weed" } ?? []
        let places = given.map { [$0] } ?? ([FileManager.default.currentDirectoryPath + "/.venv/bin/weed"] + search)
        guard let path = places.first(where: { FileManager.default.isExecutableFile(atPath: $0) }) else {
            throw PerSSDError(
                .failedPrecondition,
                "SeaweedFS's program 'weed' was not found (looked at \(places.joined(separator: ", ")))",
                remedy: "install it with scripts/install-dependencies.sh, or give its path with --weed")
        }
        return path
    }
}
