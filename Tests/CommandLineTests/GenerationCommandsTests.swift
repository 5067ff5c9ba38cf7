import Foundation
import Persistence
import Settings
import TestSupport
import Testing

/// The commands that look at generations and their history, as programs.
@Suite struct GenerationCommandsTests {
    private func ranges(_ report: [String: Any]) throws -> [[Int]] {
        try #require(report["ranges"] as? [[String: Int]]).map { [$0["offset"] ?? -1, $0["length"] ?? -1] }
    }

    private func diff(_ bucket: SampleBucket, _ arguments: [String]) async throws -> [String: Any] {
        let run = try await Run.perssd(["diff"] + arguments + ["--json", "--store", bucket.url])
        #expect(run.exitCode == 0, "\(run.output)")
        return try #require(run.json() as? [String: Any])
    }

    @Test func aDiffIsOfTheNewestAndTheOneBeforeUnlessOthersAreNamed() async throws {
        let bucket = try await SampleBucket()
        let changed = [[7 << 20, 256 << 10]]
        for arguments in [["pvc-one"], ["pvc-one@2"], ["default/data@1", "pvc-one"], ["pvc-one@2", "pvc-one@1"]] {
            let report = try await diff(bucket, arguments)
            #expect(try ranges(report) == changed)
            #expect(report["differingBytes"] as? Int == 256 << 10)
            #expect(report["rangeCount"] as? Int == 1)
            let sides = ["from", "to"].map { (report[$0] as? [String: Any])?["generation"] as? Int }
            #expect(sides == (arguments.last == "pvc-one@1" ? [2, 1] : [1, 2]))
        }
        let first = try await diff(bucket, ["pvc-one@1"])
        #expect(first["from"] == nil)
        #expect(try ranges(first) == [[5 << 20, 3 << 20]])
        let nothing = try await diff(bucket, ["pvc-one@2", "pvc-one"])
        #expect(try ranges(nothing).isEmpty && nothing["rangeCount"] as? Int == 0)

        let text = try await Run.perssd(["diff", "pvc-one", "--store", bucket.url])
        #expect(text.exitCode == 0)
        let lines = text.output.split(separator: "\n")
        #expect(lines.first == "generation 1 -> generation 2")
        #expect(lines[1].hasPrefix("files are not compared: generation 1 of"))
        #expect(lines[3].split(separator: " ") == ["7340032", "7602175", "256.0", "KiB"])
        #expect(lines.last == "1 range, 256.0 KiB in blocks of 256 KiB, of 24.0 MiB")
        let same = try await Run.perssd(["diff", "pvc-one@1", "pvc-one@1", "--store", bucket.url])
        #expect(same.output.contains("no byte differs"))
        let none = try await Run.perssd(["diff", "pvc-one", "pvc-two", "--store", bucket.url])
        #expect(none.exitCode == ExitMeaning.notFound.rawValue)
    }

    @Test func aDiffListsAsManyRangesAsAskedForAndCountsAll() async throws {
        let bucket = try await SampleBucket()
        var bytes = bucket.contents[1]
        for block in 0..<10 { bytes[block << 19] ^= 1 }
        try await bucket.commit(bytes)
        let report = try await diff(bucket, ["pvc-one", "--limit", "3"])
        #expect(report["rangeCount"] as? Int == 10)
        #expect(report["differingBytes"] as? Int == 10 << 18)
        #expect(try ranges(report) == (0..<3).map { [$0 << 19, 1 << 18] })
        let text = try await Run.perssd(["diff", "pvc-one", "--limit", "3", "--store", bucket.url])
        #expect(text.output.contains("... and 7 more"))
        let wrong = try await Run.perssd(["diff", "pvc-one", "--limit", "0", "--store", bucket.url])
        #expect(wrong.exitCode == ExitMeaning.usage.rawValue)
    }

    @Test func allOfAGenerationIsShown() async throws {
        let bucket = try await SampleBucket()
        func show(_ volume: String) async throws -> [String: Any] {
            let run = try await Run.perssd(["show", volume, "--json", "--store", bucket.url])
            #expect(run.exitCode == 0, "\(run.output)")
            return try #require(run.json() as? [String: Any])
        }
        let (second, first) = (try await show("pvc-one"), try await show("default/data@1"))
        let parent = try #require(second["parent"] as? [String: Any])
        let reference = try #require(first["reference"] as? [String: Any])
        #expect(reference["digest"] as? String == parent["digest"] as? String)
        // The digest is that of the object.
        let record = bucket.generationPath(1)
        #expect(try await TestCommand.run("/usr/bin/sha256sum", [record]).hasPrefix(parent["digest"] as? String ?? "-"))
        #expect(first["parent"] == nil && parent["number"] as? Int == 1)
        #expect((second["generation"] as? [String: Any])?["node"] as? String == "c/n1")
        #expect(second["blocks"] as? Int == 12)

        let text = try await Run.perssd(["show", "pvc-one", "--store", bucket.url])
        for words in ["generation:  2, the newest\n", "parent:      generation 1\n", "12 blocks of 256 KiB", "c/n1"] {
            #expect(text.output.contains(words), "\(text.output)")
        }
        let missing = try await Run.perssd(["show", "pvc-one@3", "--store", bucket.url])
        #expect(missing.exitCode == ExitMeaning.notFound.rawValue)
    }

    @Test func allVolumesAreVerifiedWhateverIsWrongWithOne() async throws {
        let bucket = try await SampleBucket()
        let sound = try await Run.perssd(["verify", "--all", "--history", "--store", bucket.url])
        #expect(sound.exitCode == 0, "\(sound.output)")
        #expect(sound.output.contains("generation 2 of default/data is sound"))
        #expect(sound.output.contains("the history of default/data is sound: 2 generations"))
        #expect(sound.output.contains("pvc-two has no generation"))
        #expect(sound.output.contains("2 volumes: 1 sound, 0 damaged, 1 with nothing staged out yet"))

        // A head that nobody can read.
        let third = try await Catalog(store: bucket.store).createVolume(
            NewVolume(name: "third", requiredBytes: 4 << 20, limitBytes: 0, parameters: .init(), claim: nil))
        try Data("{}".utf8).write(
            to: URL(fileURLWithPath: bucket.directory + "bucket/volumes/\(third.volume)/head.json"))
        try bucket.damage()
        let json = try await Run.perssd(["verify", "--all", "--json", "--store", bucket.url])
        #expect(json.exitCode == ExitMeaning.corrupt.rawValue, "\(json.output)")
        let report = try #require(json.json() as? [String: Any])
        #expect(report["isSound"] as? Bool == false)
        let volumes = try #require(report["volumes"] as? [[String: Any]])
        #expect(volumes.count == 3)
        func volume(_ id: VolumeID) -> [String: Any]? { volumes.first { $0["volume"] as? String == id.rawValue } }
        let (damaged, unreadable) = (volume(bucket.volume.volume), volume(third.volume))
        #expect(damaged?["isSound"] as? Bool == false && damaged?["generation"] as? Int == 2)
        #expect(unreadable?["isSound"] as? Bool == false && unreadable?["generation"] == nil)
        #expect((unreadable?["findings"] as? [String])?.first?.contains("head.json is no PerSSD record") == true)
        #expect(volume(VolumeID(name: "pvc-two"))?["isSound"] as? Bool == true)
        let text = try await Run.perssd(["verify", "--all", "--store", bucket.url])
        #expect(text.output.contains("3 volumes: 0 sound, 2 damaged, 1 with nothing staged out yet"), "\(text.output)")
    }

    @Test func aBrokenHistoryIsFoundWhereTheNewestGenerationIsSound() async throws {
        let bucket = try await SampleBucket()
        let path = bucket.generationPath(1)
        let record = try Data(contentsOf: URL(fileURLWithPath: path))
        try (record + Data("\n".utf8)).write(to: URL(fileURLWithPath: path))
        let newest = try await Run.perssd(["verify", "pvc-one", "--store", bucket.url])
        #expect(newest.exitCode == 0)
        let history = try await Run.perssd(["verify", "pvc-one", "--history", "--store", bucket.url])
        #expect(history.exitCode == ExitMeaning.corrupt.rawValue)
        #expect(history.output.contains("generation 2 of default/data is sound"), "\(history.output)")
        #expect(history.output.contains("its SHA-256 differs"))
        #expect(history.output.contains("DAMAGED: it can be followed back to generation 2"))
        let json = try await Run.perssd(["verify", "pvc-one", "--history", "--json", "--store", bucket.url])
        let report = try #require(json.json() as? [String: Any])
        #expect(report["isSound"] as? Bool == false)
        #expect((report["history"] as? [String: Any])?["oldest"] as? Int == 2)
        for arguments in [["--all", "pvc-one"], []] {
            let wrong = try await Run.perssd(["verify", "--store", bucket.url] + arguments)
            #expect(wrong.exitCode == ExitMeaning.usage.rawValue)
        }
    }
}
