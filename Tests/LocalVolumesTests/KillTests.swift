import DeviceTestSupport
import Errors
import Foundation
import KillTestSupport
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
                let transcript = try work(scratch, directory, seed: round, milliseconds: delay)
                steps += transcript.steps
                let possible = transcript.possible(from: known)
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
                let transcript = try transcript(output.path)
                let start = try #require(transcript.lines.firstIndex(of: "ready"))
                let found = try Self.copies(in: transcript.lines.prefix(start)).mapValues(\.state)
                try #require(
                    (possible["v"] ?? [Transcript.absent]).contains(found["v"] ?? Transcript.absent),
                    "a kill at call \(number - 1) left \(found), and not one of \(possible)")
                possible = transcript.possible()
            }
            try check(directory, try observe(scratch, directory), possible)
            // As many calls as the steps have at the least.
            #expect(number > (place == .xfs ? 60 : 35))
        }
    }

    private func check(_ directory: FilePath, _ known: [String: String], _ possible: [String: [String]]) throws {
        for (volume, states) in possible {
            try #require(
                states.contains(known[volume] ?? Transcript.absent),
                "\(volume) is \(known[volume] ?? Transcript.absent), and not one of \(states)")
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
    ) throws -> Transcript {
        let output = try OpenFile(scratch.appending("output"), O_RDWR | O_CREAT | O_TRUNC)
        let process = try start(["work", directory.string, "\(seed)"], output: output.descriptor)
        for _ in 0..<1000 where try output.status().sizeBytes == 0 && process.isRunning { usleep(10_000) }
        usleep(milliseconds * 1000)
        try #require(process.isRunning, "the helper ended by itself")
        kill(process.processIdentifier, SIGKILL)
        process.waitUntilExit()
        return try transcript(output.path)
    }

    /// What a start finds; no loop device but those of the copies is left by it.
    private func observe(_ scratch: Scratch, _ directory: FilePath) throws -> [String: String] {
        let output = try OpenFile(scratch.appending("observed"), O_RDWR | O_CREAT | O_TRUNC)
        let process = try start(["observe", directory.string], output: output.descriptor)
        process.waitUntilExit()
        try #require(process.terminationStatus == 0)
        let copies = try Self.copies(in: try transcript(output.path).lines[...])
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
        process.executableURL = try crashHelper()
        process.arguments = arguments
        process.standardOutput = FileHandle(fileDescriptor: output, closeOnDealloc: false)
        try process.run()
        return process
    }

    private func transcript(_ path: FilePath) throws -> Transcript {
        Transcript(try DurableFile.read(path, limit: 16 << 20) ?? [])
    }
}
