import Foundation
import Settings
import TestSupport
import Testing

/// The demo, as a program: it does the main job, and leaves nothing behind, whatever ends it.
@Suite(.serialized) struct DemoTests {
    private struct Place {
        let directory: TemporaryDirectory
        /// Made and removed by the demo.
        let demo: String
        let data: String

        init() throws {
            directory = try TemporaryDirectory("demo")
            demo = directory + "d"
            data = directory + "data"
            try FileManager.default.createDirectory(atPath: data, withIntermediateDirectories: false)
            for number in 0..<20 {
                let bytes = Data((0..<50_000).map { _ in UInt8.random(in: 0...255) })
                try bytes.write(to: URL(fileURLWithPath: "\(data)/file \(number)"))
            }
        }

        var arguments: [String] { ["demo", "--directory", demo, "--data", data] }

        func start(_ more: [String] = []) async throws -> TestProcess {
            try await TestProcess.start(
                try PackageRoot.builtProgram("perssd"), arguments + more, directory: directory)
        }

        /// What of the demo is still there.
        func leftovers() throws -> [String] {
            var found: [String] = []
            for line in try String(contentsOfFile: "/proc/self/mountinfo", encoding: .utf8).split(separator: "\n")
            where line.contains(demo) { found.append("mount: \(line)") }
            for name in try FileManager.default.contentsOfDirectory(atPath: "/sys/block") {
                let backing = try? String(contentsOfFile: "/sys/block/\(name)/loop/backing_file", encoding: .utf8)
                if backing?.hasPrefix(demo) == true { found.append("device: \(name)") }
            }
            return found + processes()
        }

        func hasMountsAndDevices() throws -> Bool {
            let left = try leftovers()
            return left.contains { $0.hasPrefix("mount: ") } && left.contains { $0.hasPrefix("device: ") }
        }

        func processes() -> [String] {
            let pids = (try? FileManager.default.contentsOfDirectory(atPath: "/proc"))?.filter { Int($0) != nil } ?? []
            return pids.compactMap { pid in
                guard let line = FileManager.default.contents(atPath: "/proc/\(pid)/cmdline") else { return nil }
                let text = String(decoding: line, as: UTF8.self)
                return text.contains("\(demo)/") ? "process: \(text)" : nil
            }
        }
    }

    private struct Step: Decodable {
        var title: String
        var requests: Int
        var sentBytes: UInt64
        var receivedBytes: UInt64
    }

    @Test(arguments: ["directory", "s3"]) func theMainJobIsDone(store: String) async throws {
        let place = try Place()
        var arguments = place.arguments + ["--store", store, "--json"]
        if store == "s3" { arguments += ["--weed", try PackageRoot.virtualEnvironmentProgram("weed")] }
        let run = try await Run.perssd(arguments)
        #expect(run.exitCode == 0, "\(run.output)")
        // The steps are told of on standard error, which comes first in what the test sees.
        let start = try #require(run.output.range(of: "\n["), "\(run.output)")
        let steps = try JSONDecoder().decode([Step].self, from: Data(run.output[start.lowerBound...].utf8))
        try #require(steps.count == 11)
        #expect(run.output.contains("all 34 entries are the same"), "\(run.output)")
        let (first, restored, second, changed) = (steps[3], steps[4], steps[7], steps[8])
        // 1 MB of data and 8 MiB of the demo's own, none of which can be compressed.
        #expect(first.sentBytes > 9_000_000 && first.requests > 0)
        #expect(restored.receivedBytes > 9_000_000)
        // What changed is little, and so is what is sent and fetched for it.
        #expect(second.sentBytes > 65_536 && second.sentBytes < first.sentBytes / 5)
        #expect(changed.receivedBytes > 65_536 && changed.receivedBytes < first.sentBytes / 5)
        #expect(try place.leftovers() == [])
        #expect(!FileManager.default.fileExists(atPath: place.demo))
    }

    @Test func whatAKilledDemoLeavesTheNextOneClears() async throws {
        let place = try Place()
        // It mounts and unmounts while it goes on, and on a busy machine the kill may come between.
        for _ in 0..<10 {
            let process = try await place.start()
            try await process.waitUntilReady { process.output.contains("mounted at") }
            process.kill()
            _ = try? await process.waitForExit()
            // The processes die with their parent, at once.
            for _ in 0..<600 where !place.processes().isEmpty { try await Task.sleep(for: .milliseconds(100)) }
            #expect(place.processes() == [])
            if try place.hasMountsAndDevices() { break }
        }
        #expect(try place.hasMountsAndDevices(), "nothing was mounted whenever the demo was killed")

        let next = try await Run.perssd(place.arguments)
        #expect(next.exitCode == 0, "\(next.output)")
        #expect(next.output.contains("cleared what an earlier demo left: mount "))
        #expect(next.output.contains("cleared what an earlier demo left: loop device "))
        #expect(try place.leftovers() == [])
    }

    @Test func anInterruptedDemoClearsUp() async throws {
        let place = try Place()
        let process = try await place.start()
        try await process.waitUntilReady { process.output.contains("mounted at") }
        process.send(signal: SIGINT)
        #expect(try await process.waitForExit() == ExitMeaning.interrupted.rawValue, "\(process.output)")
        #expect(try place.leftovers() == [])
    }

    @Test func twoDemosDoNotMeet() async throws {
        let place = try Place()
        let process = try await place.start()
        try await process.waitUntilReady { process.output.contains("starting") }
        // Else it may have ended before the second one looks, where the machine is busy.
        process.send(signal: SIGSTOP)
        defer { process.send(signal: SIGCONT) }
        let second = try await Run.perssd(place.arguments)
        process.send(signal: SIGCONT)
        #expect(second.exitCode == 1)
        #expect(second.output.contains("is locked by process"), "\(second.output)")
        #expect(try await process.waitForExit(within: .seconds(180)) == 0, "\(process.output)")
        // Its directories go with it.
        withExtendedLifetime(place) {}
    }

    @Test func aDirectoryOfSomebodyElseIsLeftAlone() async throws {
        let place = try Place()
        let precious = place.data + "/file 0"
        let run = try await Run.perssd(["demo", "--directory", place.data, "--data", place.data])
        #expect(run.exitCode == 1)
        #expect(run.output.contains("is not a directory that the demo made"), "\(run.output)")
        #expect(FileManager.default.fileExists(atPath: precious))
        let missing = try await Run.perssd(["demo", "--directory", place.demo, "--data", place.data + "/no"])
        #expect(missing.exitCode == ExitMeaning.notFound.rawValue)
        #expect(!FileManager.default.fileExists(atPath: place.demo))
    }
}
