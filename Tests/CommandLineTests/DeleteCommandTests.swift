import Foundation
import Persistence
import Settings
import TestSupport
import Testing

@Suite struct DeleteCommandTests {
    private func delete(_ bucket: SampleBucket, _ arguments: String...) async throws -> Run {
        try await Run.perssd(["delete"] + arguments + ["--store", bucket.url])
    }

    private func volumes(_ bucket: SampleBucket) async throws -> [String] {
        try await Catalog(store: bucket.store).allVolumes().map(\.record.name).sorted()
    }

    @Test func aVolumeIsDeletedAndWhatWasMadeOfItStays() async throws {
        let bucket = try await SampleBucket()
        let catalog = Catalog(store: bucket.store)
        _ = try await catalog.createSnapshot(name: "nightly", of: bucket.volume.volume)
        let run = try await delete(bucket, "default/data", "--yes")
        #expect(run.exitCode == 0 && run.output.contains("default/data"), "\(run.output)")
        #expect(try await volumes(bucket) == ["pvc-two"])
        #expect(try await Run.perssd(["clone", "nightly", "again", "--store", bucket.url]).exitCode == 0)
        #expect(try await delete(bucket, "default/data", "--yes").exitCode == ExitMeaning.notFound.rawValue)
    }

    @Test func whatIsInUseOrNotConfirmedStays() async throws {
        let bucket = try await SampleBucket()
        let catalog = Catalog(store: bucket.store)
        // Nobody answers.
        let asked = try await delete(bucket, "default/data")
        #expect(asked.exitCode == 1 && asked.output.contains("not confirmed"), "\(asked.output)")
        #expect(try await delete(bucket, "default/data@1", "--yes").exitCode == ExitMeaning.usage.rawValue)
        let node = try NodeReference(cluster: "c", node: "n1")
        _ = try await catalog.updateHead(bucket.volume.volume) {
            try $0.opening(by: node, expectedEpoch: nil, now: catalog.time)
        }
        let held = try await delete(bucket, "default/data", "--yes")
        #expect(held.exitCode == 1 && held.output.contains("node c/n1 holds it"), "\(held.output)")
        #expect(try await volumes(bucket) == ["pvc-one", "pvc-two"])
    }
}
