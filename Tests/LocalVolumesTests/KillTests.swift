import DeviceTestSupport
import Errors
import Foundation
import LinuxSystem
import SystemPackage
import Testing

/// Kills a process that works on a pool, again and again, and looks whether all it was told to be done is there, and nothing
/// else.
@Suite(.serialized) struct KillTests {
    /// At random, with several volumes: this finds what takes long.
    @Test(arguments: PoolPlace.allCases) func nothingIsLostOrLeakedByKillsAtRandom(_ place: PoolPlace) async throws {
        try await Scratch.with { scratch in
            let directory = try place.makeDirectory(in: scratch)
            var random = SmallRandom(state: place == .xfs ? 1 : 2)
            var known: [String: String] = [:]
            var steps = 0
            var round: UInt64 = 0
            while round < 10 || steps < 60 && round < 100 {
                round += 1
                let delay = UInt32.random(in: 5...250, using: &random)
                let lines = try work(scratch, directory, seed: round, milliseconds: delay)
                steps += lines.count { $0.hasPrefix("ok") }
                let possible = Self.possible(after: lines, from: known)
                known = try observe(scratch, directory)
                try check(directory, known, possible)
            }
            // The test tests nothing where the helper got nowhere.
            #expect(steps >= 60)
        }
    }

    /// Before each call that changes a file, one after the other: this finds the gaps that are too short for chance.
    @Test(arguments: PoolPlace.allCases) func nothingIsLostOrLeakedByAKillAtAnyCall(_ place: PoolPlace) async throws {
        try await Scratch.with { scratch in
            let directory = try place.makeDirectory(in: scratch)
            var possible: [String: [String]] = [:]
            var number = 0
            var isKilled = true
            while isKilled {
                number += 1
                let output = try OpenFile(scratch.appending("output"), O_RDWR | O_CREAT | O_TRUNC)
                let process = try start(["sequence", directory.string, "\(number)"], output: output.descriptor)
                process.waitUntilExit()
                isKilled = process.terminationReason == .uncaughtSignal
                try #require(isKilled ? process.terminationStatus == SIGKILL : process.terminationStatus == 0)
                let lines = try lines(output.path)
                let start = try #require(lines.firstIndex(of: "ready"))
                let found = try Self.copies(in: lines.prefix(start)).mapValues(\.state)
                try #require(
                    (possible["v"] ?? ["absent"]).contains(found["v"] ?? "absent"),
                    "a kill at call \(number - 1) left \(found), and not one of \(possible)")
                possible = Self.possible(after: lines, from: [:])
            }
            try check(directory, try observe(scratch, directory), possible)
            // As many calls as the steps have at the least.
            #expect(number > (place == .xfs ? 60 : 35))
        }
    }

    /// Of each volume, the states that it may be in once the helper has said `lines`.
    private static func possible(after lines: [String], from known: [String: String]) -> [String: [String]] {
        var certain = known
        var possible = known.mapValues { [$0] }
        for line in lines {
            let words = line.split(separator: " ").map(String.init)
            guard words.count == 3 else { continue }
            if words[0] == "try" {
                possible[words[1]] = [certain[words[1]] ?? "absent", words[2]]
            } else {
                certain[words[1]] = words[2]
                possible[words[1]] = [words[2]]
            }
        }
        return possible
    }

    private func check(_ directory: FilePath, _ known: [String: String], _ possible: [String: [String]]) throws {
        for (volume, states) in possible {
            try #require(
                states.contains(known[volume] ?? "absent"),
                "\(volume) is \(known[volume] ?? "absent"), and not one of \(states)")
        }
        #expect(Set(known.keys).isSubset(of: possible.keys))
        #expect(try DurableFile.names(in: directory.appending("volumes")) == known.keys.sorted())
        for volume in known.keys {
            for name in try DurableFile.names(in: directory.appending("volumes").appending(volume)) {
                let isExpected = ["image", "record.json", "cut"].contains(name) || name.hasPrefix("base-")
                #expect(isExpected, "\(volume) has \(name)")
            }
        }
        for name in ["new", "trash"] { #expect(try DurableFile.names(in: directory.appending(name)).isEmpty) }
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
        let copies = try Self.copies(in: try lines(output.path)[...])
        #expect(Set(try loops(below: directory).map(\.path.string)) == Set(copies.values.compactMap(\.device)))
        return copies.mapValues(\.state)
    }

    private static func copies(in lines: ArraySlice<String>) throws -> [String: (state: String, device: String?)] {
        var copies: [String: (state: String, device: String?)] = [:]
        for line in lines {
            let words = line.split(separator: " ").map(String.init)
            try #require(words.count == 4 && words[0] == "copy", "\(line)")
            copies[words[1]] = (words[2], words[3] == "-" ? nil : words[3])
        }
        return copies
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
