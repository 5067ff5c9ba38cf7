import Foundation
import Persistence
import Settings
import TestSupport
import Testing

@testable import perssd

/// Nodes and clusters that will not come back are given up.
@Suite struct ForgetCommandTests {
    /// Node n1 of a lost cluster has a volume open, n2 reads another; a cluster that lives has a third.
    private struct Place {
        let bucket: SampleBucket
        let catalog: Catalog
        let third: VolumeID

        init(seen ago: Double = 5000) async throws {
            bucket = try await SampleBucket()
            catalog = Catalog(store: bucket.store)
            try await bucket.stageOut(Data(repeating: 7, count: 4 << 20), asVolume: "pvc-read")
            try await bucket.stageOut(Data(repeating: 8, count: 4 << 20), asVolume: "pvc-three")
            third = VolumeID(name: "pvc-three")
            try await open(bucket.volume.volume, "old", "n1")
            try await open(third, "new", "n1")
            for cluster in ["old", "new"] {
                _ = try await catalog.beginReading(
                    catalog.volume(VolumeID(name: "pvc-read")), by: NodeReference(cluster: cluster, node: "n2"), as: nil
                )
                for node in ["n1", "n2"] {
                    let now = Date()
                    try await catalog.save(
                        NodeRecord(
                            node: NodeReference(cluster: cluster, node: node), pools: [], startedAt: now,
                            seenAt: now.addingTimeInterval(-ago), interval: 30))
                }
            }
        }

        private func open(_ volume: VolumeID, _ cluster: String, _ node: String) async throws {
            let reference = try NodeReference(cluster: cluster, node: node)
            _ = try await catalog.updateHead(volume) {
                try $0.opening(by: reference, expectedEpoch: nil, now: catalog.time)
            }
        }

        func forget(_ arguments: String...) async throws -> Run {
            try await Run.perssd(["forget"] + arguments + ["--store", bucket.url])
        }

        func nodes() async throws -> [String] {
            var found: [String] = []
            for cluster in try await catalog.clusters() {
                found += try await catalog.nodes(of: cluster).map(\.node.description)
            }
            return found
        }

        func readers() async throws -> [String] {
            try await catalog.readers(of: VolumeID(name: "pvc-read")).map(\.node.description).sorted()
        }
    }

    @Test func aClusterIsGivenUpAndNoOther() async throws {
        let place = try await Place()
        let shown = try await place.forget("old", "--dry-run")
        #expect(shown.exitCode == 0 && shown.output.contains("goes back to generation 2"), "\(shown.output)")
        #expect(try await place.nodes().count == 4)
        #expect(try await place.catalog.head(place.bucket.volume.volume).value.lease != nil)

        let run = try await place.forget("old", "--yes", "--json")
        #expect(run.exitCode == 0, "\(run.output)")
        let report = try #require(run.json() as? [String: Any])
        #expect(
            (report["leases"] as? [[String: Any]])?.count == 1 && (report["readers"] as? [[String: Any]])?.count == 1)
        #expect(report["nodes"] as? [String] == ["old/n1", "old/n2"] && report["isDone"] as? Bool == true)
        let head = try await place.catalog.head(place.bucket.volume.volume).value
        #expect(head.lease == nil && head.loss?.newestGeneration == 2)
        #expect(try await place.readers() == ["new/n2"])
        #expect(try await place.nodes() == ["new/n1", "new/n2"])
        #expect(try await place.catalog.head(place.third).value.lease?.holder.cluster == "new")
        #expect(try await place.forget("old", "--yes").exitCode == 3)
    }

    @Test func oneNodeIsGivenUpAndItsNeighboursStay() async throws {
        let place = try await Place()
        #expect(try await place.forget("old/n2", "--yes").exitCode == 0)
        #expect(try await place.readers() == ["new/n2"])
        #expect(try await place.nodes() == ["new/n1", "new/n2", "old/n1"])
        #expect(try await place.catalog.head(place.bucket.volume.volume).value.lease?.holder.node == "n1")
    }

    @Test func aNodeThatLivesIsRefusedAndNothingIsChanged() async throws {
        let place = try await Place(seen: 5)
        let run = try await place.forget("old", "--yes")
        #expect(
            run.exitCode == 1 && run.output.contains("alive, by what the bucket says: old/n1, old/n2"), "\(run.output)")
        #expect(try await place.nodes().count == 4)
        #expect(try await place.readers().count == 2)
        #expect(try await place.catalog.head(place.bucket.volume.volume).value.loss == nil)
    }

    @Test func itAsksAndTakesNoOtherAnswer() async throws {
        let place = try await Place()
        // Nobody answers.
        let run = try await place.forget("old")
        #expect(run.exitCode == 1 && run.output.contains("not confirmed"), "\(run.output)")
        #expect(try await place.nodes().count == 4)
        #expect(try await place.forget("old", "--json").exitCode == 2)
        #expect(try await place.forget("nobody", "--yes").exitCode == 3)
        #expect(try await place.forget("a//b", "--yes").exitCode == 2)
    }

    @Test func aLeaseThatChangesMeanwhileIsLeft() async throws {
        let place = try await Place()
        let left = try await NodeLeftovers(of: "old", in: place.catalog)
        let node = try NodeReference(cluster: "old", node: "n1")
        let id = place.bucket.volume.volume
        let epoch = try await place.catalog.head(id).value.epoch
        _ = try await place.catalog.updateHead(id) {
            try $0.closing(by: node, epoch: epoch, now: place.catalog.time)
                .opening(by: node, expectedEpoch: nil, now: place.catalog.time)
        }
        await #expect(throws: (any Error).self) { try await left.takeAway(in: place.catalog) }
        #expect(try await place.catalog.head(id).value.lease?.holder == node)
        #expect(try await place.nodes().count == 4)
    }
}
