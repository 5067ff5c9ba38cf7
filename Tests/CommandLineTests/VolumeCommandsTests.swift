import Foundation
import Persistence
import Settings
import TestSupport
import Testing

/// The commands, as programs, on a store with volumes in it.
@Suite struct VolumeCommandsTests {
    @Test func volumesAreListedForPeopleAndForScripts() async throws {
        let bucket = try await SampleBucket()
        let text = try await Run.perssd(["volumes", "--store", bucket.url])
        #expect(text.exitCode == 0)
        let lines = text.output.split(separator: "\n")
        #expect(lines.count == 3)
        #expect(lines[0].split(separator: " ") == ["VOLUME", "ID", "SIZE", "GENERATION", "AGE", "LEASE", "READERS"])
        let first = lines[1].split(separator: " ")
        #expect(
            first.prefix(5) == ["default/data", Substring(bucket.volume.volume.rawValue), "24.0", "MiB", "2"]
                && first.suffix(3) == ["s", "free", "-"])
        #expect(lines[2].hasPrefix("pvc-two ") && lines[2].split(separator: " ").suffix(4) == ["-", "-", "free", "-"])

        let json = try await Run.perssd(["volumes", "--json"], environment: ["PERSSD_STORE": bucket.url])
        let volumes = try #require(json.json() as? [[String: Any]])
        let one = try #require(volumes.first { $0["name"] as? String == "pvc-one" })
        #expect(one["claim"] as? String == "default/data")
        #expect(one["id"] as? String == bucket.volume.volume.rawValue)
        #expect(one["generation"] as? Int == 2)
        #expect(one["capacityBytes"] as? Int == SampleBucket.size)
        #expect(one["lease"] == nil)
        let point = try #require(one["recoveryPoint"] as? [String: Any])
        #expect(point["generation"] as? Int == 2 && point["isDirty"] as? Bool == false)
        #expect((0..<600).contains(point["ageSeconds"] as? Int ?? -1))
        #expect(volumes.first { $0["name"] as? String == "pvc-two" }?["recoveryPoint"] == nil)

        // One that a node writes, and one whose newest generation is damaged.
        let catalog = Catalog(store: bucket.store)
        _ = try await catalog.updateHead(bucket.volume.volume) {
            try $0.opening(by: NodeReference(cluster: "c", node: "n1"), expectedEpoch: nil, now: catalog.time)
        }
        func listed() async throws -> [[String: Any]] {
            let run = try await Run.perssd(["volumes", "--json", "--store", bucket.url])
            #expect(run.exitCode == 0, "\(run.output)")
            return try #require(run.json() as? [[String: Any]])
        }
        let open = try await listed().first { $0["name"] as? String == "pvc-one" }
        #expect((open?["recoveryPoint"] as? [String: Any])?["isDirty"] as? Bool == true)
        try Data("{}".utf8).write(to: URL(fileURLWithPath: bucket.generationPath(2)))
        #expect(try await listed().first { $0["name"] as? String == "pvc-one" }?["recoveryPoint"] == nil)
        let damaged = try await Run.perssd(["volumes", "--store", bucket.url])
        #expect(damaged.output.contains("damaged  open on c/n1"), "\(damaged.output)")
    }

    @Test(arguments: ["id", "pvc-one", "default/data"])
    func aVolumeIsFoundByIDNameAndClaim(name: String) async throws {
        let bucket = try await SampleBucket()
        let name = name == "id" ? bucket.volume.volume.rawValue : name
        let run = try await Run.perssd(["log", name, "--store", bucket.url, "--json"])
        #expect(run.exitCode == 0, "\(run.output)")
        let report = try #require(run.json() as? [String: Any])
        let generations = try #require(report["generations"] as? [[String: Any]])
        #expect(generations.map { $0["number"] as? Int } == [2, 1])
        #expect(generations[0]["parent"] as? Int == 1)
        #expect(generations[1]["parent"] == nil)
        #expect(generations[0]["node"] as? String == "c/n1")
        // One block of 256 KiB changed.
        #expect(generations[0]["changedBytes"] as? Int == 262_144)
    }

    @Test func aLogIsShownForPeople() async throws {
        let bucket = try await SampleBucket()
        let run = try await Run.perssd(["log", "pvc-one", "--limit", "1", "--store", bucket.url])
        #expect(run.exitCode == 0)
        #expect(run.output.contains("volume:  default/data\n"))
        #expect(run.output.contains("\n* 2  "))
        #expect(run.output.contains("older ones: --limit shows more"))
        let empty = try await Run.perssd(["log", "pvc-two", "--store", bucket.url])
        #expect(empty.output.contains("nothing has been staged out yet"))
    }

    @Test func aSoundGenerationIsVerifiedAndADamagedOneIsNot() async throws {
        let bucket = try await SampleBucket()
        let sound = try await Run.perssd(["verify", "default/data", "--store", bucket.url])
        #expect(sound.exitCode == 0)
        #expect(sound.output.contains("generation 2 of default/data is sound: 3.0 MiB verified"), "\(sound.output)")

        try bucket.damage()
        let damaged = try await Run.perssd(["verify", "default/data@1", "--store", bucket.url])
        #expect(damaged.exitCode == ExitMeaning.corrupt.rawValue)
        #expect(damaged.output.contains("generation 1 of default/data is DAMAGED: "), "\(damaged.output)")
        let json = try await Run.perssd(["verify", "default/data@1", "--store", bucket.url, "--json"])
        #expect(json.exitCode == ExitMeaning.corrupt.rawValue)
        let report = try #require(json.json() as? [String: Any])
        #expect(report["isSound"] as? Bool == false)
        let ranges = try #require(report["damagedRanges"] as? [[Int]])
        #expect(ranges.allSatisfy { $0.count == 2 && $0[0] >= 5 << 20 && $0[1] < 8 << 20 } && !ranges.isEmpty)

        let path = bucket.directory + "restored"
        let restore = try await Run.perssd(["restore", "default/data@1", "--to", path, "--store", bucket.url])
        #expect(restore.exitCode == ExitMeaning.corrupt.rawValue, "\(restore.output)")
        #expect(!FileManager.default.fileExists(atPath: path))
        #expect(!FileManager.default.fileExists(atPath: path + ".perssd-partial"))
    }

    @Test func aGenerationIsRestoredToAFile() async throws {
        let bucket = try await SampleBucket()
        for (generation, contents) in zip(["@1", ""], [bucket.contents[0], bucket.contents[1]]) {
            let path = bucket.directory + "restored\(generation)"
            let run = try await Run.perssd(["restore", "pvc-one\(generation)", "--to", path, "--store", bucket.url])
            #expect(run.exitCode == 0, "\(run.output)")
            #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Data(contents))
            var status = stat()
            #expect(stat(path, &status) == 0)
            #expect(status.st_blocks * 512 < 4 << 20, "the file is not sparse")
        }
    }

    @Test func whatIsThereIsReplacedOnlyWhereAskedFor() async throws {
        let bucket = try await SampleBucket()
        let path = bucket.directory + "precious"
        try Data("precious".utf8).write(to: URL(fileURLWithPath: path))
        let refused = try await Run.perssd(["restore", "pvc-one", "--to", path, "--store", bucket.url])
        #expect(refused.exitCode == 1)
        #expect(refused.output.contains("is there already") && refused.output.contains("--force"))
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Data("precious".utf8))
        // What an earlier restore that was killed left is no hindrance.
        try Data("half".utf8).write(to: URL(fileURLWithPath: path + ".perssd-partial"))
        let forced = try await Run.perssd([
            "restore", "pvc-one", "--to", path, "--store", bucket.url, "--force", "--json",
        ])
        #expect(forced.exitCode == 0)
        #expect((try forced.json() as? [String: Any])?["sizeBytes"] as? Int == SampleBucket.size)
        #expect(try Data(contentsOf: URL(fileURLWithPath: path)) == Data(bucket.contents[1]))
        #expect(!FileManager.default.fileExists(atPath: path + ".perssd-partial"))
        let directory = try await Run.perssd([
            "restore", "pvc-one", "--to", bucket.directory.path, "--store", bucket.url,
        ])
        #expect(directory.exitCode == 1)
        #expect(directory.output.contains("neither a file nor a block device"))
    }

    @Test func exitCodesMeanWhatTheySay() async throws {
        let bucket = try await SampleBucket()
        func code(_ arguments: [String]) async throws -> Int32 { try await Run.perssd(arguments).exitCode }
        let store = ["--store", bucket.url]
        #expect(try await code(["--help"]) == 0)
        #expect(try await code(["--version"]) == 0)
        #expect(try await code(["--generate-completion-script", "bash"]) == 0)
        #expect(try await code(["volumes"]) == ExitMeaning.usage.rawValue)
        #expect(try await code(["volumes", "--stor"]) == ExitMeaning.usage.rawValue)
        #expect(try await code(["nonsense"]) == ExitMeaning.usage.rawValue)
        #expect(try await code(["log", "pvc-one@1"] + store) == ExitMeaning.usage.rawValue)
        #expect(try await code(["log", "pvc-none"] + store) == ExitMeaning.notFound.rawValue)
        #expect(try await code(["verify", "pvc-one@3"] + store) == ExitMeaning.notFound.rawValue)
        #expect(try await code(["verify", "pvc-two"] + store) == ExitMeaning.notFound.rawValue)
        #expect(try await code(["volumes", "--store", bucket.url + "/missing"]) == ExitMeaning.notFound.rawValue)
        let port = try freePort()
        let unreachable = try await Run.perssd(
            ["volumes", "--store", "s3://bucket", "--store-endpoint", "http://127.0.0.1:\(port)"],
            environment: ["AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"])
        #expect(unreachable.exitCode == ExitMeaning.storeUnusable.rawValue, "\(unreachable.output)")
    }
}
