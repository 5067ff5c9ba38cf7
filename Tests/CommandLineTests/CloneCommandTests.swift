import Foundation
import Persistence
import Settings
import TestSupport
import Testing

@Suite struct CloneCommandTests {
    private func clone(_ bucket: SampleBucket, _ arguments: String...) async throws -> Run {
        try await Run.perssd(["clone"] + arguments + ["--store", bucket.url])
    }

    private func contents(_ bucket: SampleBucket, _ volume: String) async throws -> Data {
        let path = bucket.directory + "restored-\(volume)"
        let run = try await Run.perssd(["restore", volume, "--to", path, "--store", bucket.url])
        #expect(run.exitCode == 0, "\(run.output)")
        return try Data(contentsOf: URL(fileURLWithPath: path))
    }

    @Test func aCloneBeginsAtAnyGenerationOrSnapshotAndMovesNoData() async throws {
        let bucket = try await SampleBucket()
        let catalog = Catalog(store: bucket.store)
        let snapshot = try await catalog.createSnapshot(name: "nightly", of: bucket.volume.volume)
        let before = try bucket.packs().count
        let newest = try await clone(bucket, "default/data", "newest")
        #expect(newest.exitCode == 0, "\(newest.output)")
        #expect(newest.output.contains("begins at generation 2 of \(bucket.volume.volume)"))
        #expect(try await clone(bucket, "pvc-one@1", "older", "--size", "32MiB", "--pool", "fast").exitCode == 0)
        #expect(try await clone(bucket, "nightly", "by-name").exitCode == 0)
        let json = try await clone(bucket, snapshot.snapshot.rawValue, "by-id", "--json")
        let report = try #require(json.json() as? [String: Any])
        #expect(report["generation"] as? Int == 2 && report["source"] as? String == "snapshot \(snapshot.snapshot)")
        #expect(try bucket.packs().count == before)

        for (name, index) in [("newest", 1), ("older", 0), ("by-name", 1), ("by-id", 1)] {
            let data = try await contents(bucket, name)
            #expect(data == Data(bucket.contents[index]), "\(name)")
        }
        let older = try await catalog.volume(VolumeID(name: "older")).record
        #expect(older.capacityBytes == 32 << 20 && older.parameters.pool == "fast")
        #expect(older.lineage == bucket.volume.lineage && older.origin?.generation?.number == 1)
        // The same again is there.
        #expect(try await clone(bucket, "default/data", "newest").exitCode == 0)
        #expect(try await clone(bucket, "pvc-one@1", "older", "--size", "32MiB", "--pool", "fast").exitCode == 0)
        let empty = try await clone(bucket, "pvc-two", "empty")
        #expect(empty.exitCode == 0 && empty.output.contains("is empty, as its source is"))
    }

    @Test func whatCannotBeClonedIsRefusedAndMakesNothing() async throws {
        let bucket = try await SampleBucket()
        let catalog = Catalog(store: bucket.store)
        let node = try NodeReference(cluster: "c", node: "n1")
        _ = try await catalog.updateHead(VolumeID(name: "pvc-two")) {
            try $0.opening(by: node, expectedEpoch: nil, now: catalog.time)
        }
        _ = try await clone(bucket, "pvc-one@1", "taken")
        func expect(_ code: ExitMeaning, _ words: String, _ arguments: String...) async throws {
            let run = try await Run.perssd(["clone"] + arguments + ["--store", bucket.url])
            #expect(run.exitCode == code.rawValue && run.output.contains(words), "\(arguments): \(run.output)")
        }
        try await expect(.notFound, "neither a volume nor a snapshot 'none'", "none", "new")
        try await expect(.notFound, "no generation 3", "pvc-one@3", "new")
        try await expect(.notFound, "there is no volume 'nightly'", "nightly@1", "new")
        try await expect(.notFound, "there is no snapshot", SnapshotID(name: "none").rawValue, "new")
        try await expect(.failure, "nothing of it has been staged out yet", "pvc-two", "new")
        try await expect(.failure, "can be larger than its source, never smaller", "pvc-one", "new", "--size", "20MiB")
        try await expect(.failure, "exists already with the contents of", "pvc-one@2", "taken")
        try await expect(.failure, "exists already with no source", "pvc-one", "pvc-two")
        try await expect(.usage, "looks like a volume's id", "pvc-one", VolumeID(name: "x").rawValue)
        try await expect(.usage, "looks like", "pvc-one", "new@2")
        try await expect(.usage, "--size", "pvc-one", "new", "--size", "large")
        try await expect(.usage, "a pool's name", "pvc-one", "new", "--pool", "-")
        #expect(try await catalog.allVolumes().count == 3)
    }
}
