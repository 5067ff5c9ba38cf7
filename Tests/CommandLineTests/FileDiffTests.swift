import Foundation
import Persistence
import Settings
import TestSupport
import Testing

@testable import perssd

/// Files that differ between generations of an ext4 that was really written.
@Suite(.serialized) struct FileDiffTests {
    /// Generations of pvc-one, each of the image as a step has left it; they begin at number 3.
    private func bucket(_ steps: [String], fileSystem: String = "mkfs.ext4 -q -O ^has_journal") async throws
        -> SampleBucket
    {
        let bucket = try await SampleBucket()
        let image = bucket.directory + "image"
        let place = bucket.directory + "mounted"
        try FileManager.default.createDirectory(atPath: place, withIntermediateDirectories: false)
        func shell(_ text: String) async throws { try await TestCommand.run("/bin/sh", ["-ec", text, "sh", place]) }
        try await shell("truncate -s \(SampleBucket.size) '\(image)'; PATH=$PATH:/sbin \(fileSystem) '\(image)'")
        for step in steps {
            try await shell(
                "mount -o loop '\(image)' \"$1\"; trap 'cd /; umount \"$1\"' EXIT; cd \"$1\"; \(step)")
            try await bucket.commit([UInt8](Data(contentsOf: URL(fileURLWithPath: image))))
        }
        return bucket
    }

    private func diff(_ bucket: SampleBucket, _ arguments: String...) async throws -> [String: Any] {
        let run = try await Run.perssd(["diff"] + arguments + ["--json", "--store", bucket.url])
        #expect(run.exitCode == 0, "\(run.output)")
        return try #require(run.json() as? [String: Any])
    }

    private func list(_ report: [String: Any]) throws -> [String] {
        let files = try #require(report["files"] as? [String: Any], "\(report)")
        return try #require(files["list"] as? [[String: Any]]).map {
            "\($0["change"] as? String ?? "?") \($0["path"] as? String ?? "?")"
        }
    }

    private static let first = """
        mkdir -p kept/deep gone; head -c 600000 /dev/urandom >kept/large; head -c 9000 /dev/urandom >kept/deep/same
        echo old >changed; echo x >gone/file; ln -s old link; echo y >mode; echo 12345 >sneaky; touch -d '2020-01-01' sneaky
        echo z >touched; mkdir turned; echo i >turned/inner; head -c 300000 /dev/zero | tr '\\0' 'a' >tail
        """
    private static let second = """
        rm -r gone; echo newer >changed; mkdir -p added/sub; echo 1 >added/sub/file; ln -sfn new link; chmod 600 mode
        printf 54321 | dd of=sneaky conv=notrunc status=none; touch -d '2020-01-01' sneaky; touch touched
        rm -r turned; echo f >turned; printf b | dd of=kept/large bs=1 seek=400000 conv=notrunc status=none
        chmod 700 kept/deep; printf b | dd of=tail bs=1 seek=299999 conv=notrunc status=none
        """

    @Test func filesAreToldOfByWhatHasBecomeOfThem() async throws {
        let bucket = try await bucket([Self.first, Self.second, "echo more >>changed"])
        let report = try await diff(bucket, "pvc-one@3", "pvc-one@4")
        #expect(
            try list(report) == [
                "added /added", "added /added/sub", "added /added/sub/file", "changed /changed", "removed /gone",
                "removed /gone/file", "attributes /kept/deep", "changed /kept/large", "changed /link",
                "attributes /mode", "changed /sneaky", "changed /tail", "attributes /touched", "changed /turned",
                "removed /turned/inner",
            ])
        let files = try #require(report["files"] as? [String: Any])
        #expect(["added", "removed", "changed", "attributes"].map { files[$0] as? Int } == [3, 3, 6, 3])
        let changed = try #require((files["list"] as? [[String: Any]])?.first { $0["path"] as? String == "/changed" })
        #expect(changed["oldSizeBytes"] as? Int == 4 && changed["sizeBytes"] as? Int == 6)

        // The other way round, what was added is removed.
        let back = try list(try await diff(bucket, "pvc-one@4", "pvc-one@3"))
        #expect(back.count == 15 && back.contains("removed /added/sub/file") && back.contains("added /gone/file"))
        #expect(try list(try await diff(bucket, "pvc-one@5")) == ["changed /changed"])
        #expect(try list(try await diff(bucket, "pvc-one@4", "pvc-one@4")).isEmpty)

        let text = try await Run.perssd(["diff", "pvc-one@3", "pvc-one@4", "--limit", "4", "--store", bucket.url])
        for words in [
            "+ /added/\n+ /added/sub/\n+ /added/sub/file  2 B\n* /changed  4 B -> 6 B\n", "... and 11 more",
            "15 files: 3 added, 3 removed, 6 changed, 3 with other attributes", "FIRST BYTE",
        ] { #expect(text.output.contains(words), "\(text.output)") }
        let without = try await diff(bucket, "pvc-one@3", "pvc-one@4", "--no-files")
        #expect(without["files"] == nil && without["filesProblem"] == nil)
        #expect(without["differingBytes"] as? Int == report["differingBytes"] as? Int)
    }

    /// Of a clone, whose maps and packs are others' by name, too.
    @Test func generationsOfTwoVolumesAreCompared() async throws {
        let bucket = try await bucket([Self.first, Self.second])
        let clone = try await Run.perssd(["clone", "pvc-one@3", "copy", "--store", bucket.url])
        #expect(clone.exitCode == 0, "\(clone.output)")
        let files = try list(try await diff(bucket, "copy", "pvc-one@4"))
        #expect(files.count == 15)
        // A volume's first is compared with nothing.
        try await bucket.stageOut(
            try Data(contentsOf: URL(fileURLWithPath: bucket.directory + "image")), asVolume: "alone")
        let alone = try list(try await diff(bucket, "alone"))
        #expect(alone.count == 15 && alone.allSatisfy { $0.hasPrefix("added /") }, "\(alone)")
    }

    @Test func whatTwoGenerationsHaveInCommonIsFetchedOnce() async throws {
        let bucket = try await bucket([
            "for i in $(seq 800); do mkdir d$i; echo $i >d$i/f; done", "echo changed >d700/f",
        ])
        let catalog = Catalog(store: bucket.store)
        let history = try await catalog.history(of: catalog.volume(bucket.volume.volume).head, limit: 2)
        var differing: [Range<UInt64>] = []
        let maps = history.map { StoredMap(root: $0.map, store: catalog.store, lineage: $0.lineage) }
        try await MapDifference(of: maps[0], since: maps[1]).run { differing.append($0) }
        func received(since old: GenerationRecord?, _ differing: [Range<UInt64>]) async throws -> (Int, UInt64) {
            let before = bucket.store.statistics
            let found = try await FileDifferences.find(
                FoundState(record: history[0]), since: old.map { FoundState(record: $0) }, differing: differing,
                in: catalog, limit: 10_000)
            return (found.count, bucket.store.statistics.since(before).bytesReceived)
        }
        let alone = try await received(since: nil, [0..<UInt64(SampleBucket.size)])
        let both = try await received(since: history[1], differing)
        #expect(alone.0 == 1601 && both.0 == 1)
        #expect(both.1 < alone.1 * 3 / 2, "\(both.1) bytes for two, \(alone.1) for one")
        print("figure diff-files-bytes-of-both-by-one \(Double(both.1) / Double(alone.1)) ratio")
    }

    @Test func whereTheFilesCannotBeReadTheBytesAreToldOfAllTheSame() async throws {
        let bucket = try await bucket(["echo 1 >file"])
        let report = try await diff(bucket, "pvc-one@2", "pvc-one@3")
        #expect(report["files"] == nil && (report["rangeCount"] as? Int ?? 0) > 0)
        #expect((report["filesProblem"] as? String)?.contains("no file system that is known here") == true)
        let text = try await Run.perssd(["diff", "pvc-one@2", "pvc-one@3", "--store", bucket.url])
        #expect(text.output.contains("files are not compared: generation 2") && text.output.contains("FIRST BYTE"))
    }
}
