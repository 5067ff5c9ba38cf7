import Foundation
import Persistence
import Settings
import TestSupport
import Testing

@Suite struct SnapshotsCommandTests {
    @Test func snapshotsAreListedWhetherTheirVolumesLiveOrNot() async throws {
        let bucket = try await SampleBucket()
        let catalog = Catalog(store: bucket.store)
        func snapshots(_ arguments: String...) async throws -> Run {
            try await Run.perssd(["snapshots"] + arguments + ["--store", bucket.url])
        }
        #expect(try await snapshots().output.hasPrefix("no snapshots in "))
        let first = try await catalog.createSnapshot(name: "nightly", of: bucket.volume.volume)
        let empty = try await catalog.createSnapshot(name: "of-nothing", of: VolumeID(name: "pvc-two"))
        let text = try await snapshots()
        let lines = text.output.split(separator: "\n").map { $0.split(separator: " ").map(String.init) }
        #expect(lines.count == 3 && lines[0].prefix(3) == ["SNAPSHOT", "ID", "VOLUME"])
        #expect(lines.contains { $0.prefix(4) == ["nightly", first.snapshot.rawValue, "default/data", "2"] })
        #expect(lines.contains { $0.prefix(2) == ["of-nothing", empty.snapshot.rawValue] && $0[3] == "-" })

        _ = try await catalog.deleteVolume(bucket.volume.volume)
        let listed = try #require(try await snapshots("--json").json() as? [[String: Any]])
        #expect(
            listed.count == 2 && listed.contains { $0["generation"] as? Int == 2 && $0["isReady"] as? Bool == true })
        // By its id a volume is found that is gone; by its claim it is not.
        let gone = try #require(
            try await snapshots(bucket.volume.volume.rawValue, "--json").json() as? [[String: Any]])
        #expect(gone.map { $0["name"] as? String } == ["nightly"])
        #expect(try await snapshots("default/data").exitCode == ExitMeaning.notFound.rawValue)
        // What the list says is what a clone is made of.
        let clone = try await Run.perssd(["clone", first.snapshot.rawValue, "again", "--store", bucket.url])
        #expect(clone.exitCode == 0, "\(clone.output)")
    }
}
