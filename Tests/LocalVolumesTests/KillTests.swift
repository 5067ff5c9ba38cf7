import DeviceTestSupport
import Errors
import Foundation
import LinuxSystem
import SystemPackage
import Testing

/// Kills a process that works on a pool, again and again, and looks whether all it was told to be done is there, and nothing
/// else.
@Suite(.serialized) struct KillTests {
    @Test(arguments: PoolPlace.allCases) func nothingIsLostOrLeakedWhereverAKillComes(_ place: PoolPlace) async throws {
        try await Scratch.with { scratch in
            let directory = try place.makeDirectory(in: scratch)
            var random = SmallRandom(state: place == .xfs ? 1 : 2)
            var known: [String: String] = [:]
            var steps = 0
            var round: UInt64 = 0
            while round < 20 || steps < 60 && round < 100 {
                round += 1
                let delay = UInt32.random(in: 5...250, using: &random)
                let lines = try work(scratch, directory, seed: round, milliseconds: delay)
                var possible = known.mapValues { [$0] }
                for line in lines {
                    let words = line.split(separator: " ").map(String.init)
                    guard words.count == 3 else { continue }
                    switch words[0] {
                    case "try": possible[words[1]] = [known[words[1]] ?? "absent", words[2]]
                    default:
                        known[words[1]] = words[2]
                        possible[words[1]] = [words[2]]
                        steps += 1
                    }
                }
                known = try observe(scratch, directory)
                for (volume, states) in possible {
                    try #require(
                        states.contains(known[volume] ?? "absent"),
                        "round \(round): \(volume) is \(known[volume] ?? "absent"), and not one of \(states)")
                }
                #expect(Set(known.keys).isSubset(of: possible.keys))
                for name in ["new", "trash"] { #expect(try DurableFile.names(in: directory.appending(name)).isEmpty) }
            }
            // The test tests nothing where the helper got nowhere.
            #expect(steps >= 60)
        }
    }

    /// Lets the helper work until it is killed, and returns what it said.
    private func work(
        _ scratch: Scratch, _ directory: FilePath, seed: UInt64, milliseconds: UInt32
    ) throws -> [String] {
        let output = try OpenFile(scratch.appending("output"), O_RDWR | O_CREAT | O_TRUNC)
        let process = try start(["work", directory.string, "\(seed)"], output: output.descriptor)
        for _ in 0..<1000 where try output.status().sizeBytes == 0 && process.isRunning { usleep(10_000) }
        usleep(milliseconds * 1000)
        try #require(process.isRunning, "the helper ended by itself")
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        return try lines(output.path)
    }

    /// What a start finds; no loop device but those of the copies is left by it.
    private func observe(_ scratch: Scratch, _ directory: FilePath) throws -> [String: String] {
        let output = try OpenFile(scratch.appending("observed"), O_RDWR | O_CREAT | O_TRUNC)
        let process = try start(["observe", directory.string], output: output.descriptor)
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
        var states: [String: String] = [:]
        var devices: Set<String> = []
        for line in try lines(output.path) {
            let words = line.split(separator: " ").map(String.init)
            try #require(words.count == 4 && words[0] == "copy", "\(line)")
            states[words[1]] = words[2]
            if words[3] != "-" { devices.insert(words[3]) }
        }
        #expect(Set(try loops(below: directory).map(\.path.string)) == devices)
        return states
    }

    private func start(_ arguments: [String], output: Int32) throws -> Process {
        let process = Process()
        let here = URL(fileURLWithPath: try FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
        process.executableURL = here.deletingLastPathComponent().appendingPathComponent("local-volumes-crash-helper")
        process.arguments = arguments
        process.standardOutput = FileHandle(fileDescriptor: output, closeOnDealloc: false)
        try process.run()
        return process
    }

    /// The whole lines of a file.
    private func lines(_ path: FilePath) throws -> [String] {
        let text = String(decoding: try DurableFile.read(path, limit: 16 << 20) ?? [], as: UTF8.self)
        return text.split(separator: "\n", omittingEmptySubsequences: false).dropLast().map(String.init)
    }
}
