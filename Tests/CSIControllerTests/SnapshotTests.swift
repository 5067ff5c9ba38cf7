import Agents
import CSI
import CSIController
import CatalogTestSupport
import Errors
import Foundation
import Persistence
import RPC
import Synchronization
import Testing

@Suite struct SnapshotTests {
    private func written(_ bench: Bench, _ name: String = "pvc-1", generations: Int = 1) async throws -> Volume {
        let volume = try await bench.create(name)
        for _ in 0..<generations {
            try await bench.open(volume)
            try await bench.commit(volume, closing: true)
        }
        return volume
    }

    private func snapshot(
        _ bench: Bench, _ volume: Volume, _ name: String = "snapshot-1", agents: any NodeAgents = NoNodeAgents()
    ) async throws -> Snapshot {
        let plugin = try ControllerPlugin(
            catalog: bench.catalog, cluster: Bench.cluster, version: "1", agents: agents, logger: bench.log.logger)
        let controller = ControllerClient(DirectChannel(plugin.methods()))
        let response = try await controller.createSnapshot(
            CreateSnapshotRequest(
                sourceVolumeID: volume.volumeID, name: name,
                parameters: ["csi.storage.k8s.io/volumesnapshot/name": "mine"]))
        return try #require(response.snapshot)
    }

    private func clone(
        _ bench: Bench, _ name: String, of kind: VolumeContentSource.Kind, required: Int64 = 1 << 30
    ) async throws -> Volume {
        var request = createRequest(name, required: required)
        request.volumeContentSource = VolumeContentSource(type: kind)
        return try #require(try await bench.controller.createVolume(request).volume)
    }

    @Test func aVolumeThatNobodyHasIsSnapshotAtOnce() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await written(bench, generations: 2)
        let made = try await snapshot(bench, volume)
        #expect(made.readyToUse && made.sourceVolumeID == volume.volumeID && made.sizeBytes == volume.capacityBytes)
        #expect(made.creationTime == Timestamp(seconds: Int64(bench.catalog.time.timeIntervalSince1970)))
        #expect(try await snapshot(bench, volume) == made)
        let found = try await bench.controller.getSnapshot(GetSnapshotRequest(snapshotID: made.snapshotID))
        #expect(found.snapshot == made)
        // It stays when the volume goes, and is deleted without it.
        _ = try await bench.controller.deleteVolume(DeleteVolumeRequest(volumeID: volume.volumeID))
        let copy = try await clone(bench, "copy", of: .snapshot(.init(snapshotID: made.snapshotID)))
        #expect(copy.contentSource == VolumeContentSource(type: .snapshot(.init(snapshotID: made.snapshotID))))
        #expect(try await bench.head(copy).newest?.number == 2)
        for _ in 0..<2 {
            _ = try await bench.controller.deleteSnapshot(DeleteSnapshotRequest(snapshotID: made.snapshotID))
        }
        await expectStatus(.notFound, made.snapshotID) {
            try await bench.controller.getSnapshot(GetSnapshotRequest(snapshotID: made.snapshotID))
        }
    }

    @Test func aVolumeThatAPodHasIsDeliveredByItsNode() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await written(bench)
        try await bench.open(volume)
        let node = try NodeReference(cluster: Bench.cluster, node: "a")
        let epoch = try await bench.head(volume).epoch
        let cutAt = bench.catalog.time
        let agents = ScriptedAgents(deliver: { id, _ in
            _ = try await bench.catalog.noteCut(of: id, at: cutAt, by: node, epoch: epoch)
        })
        let cut = try await snapshot(bench, volume, agents: agents)
        #expect(!cut.readyToUse && cut.creationTime == Timestamp(seconds: Int64(cutAt.timeIntervalSince1970)))
        #expect(agents.calls.withLock { $0 } == ["\(cut.snapshotID) c/a"])
        await expectStatus(.failedPrecondition, "not ready") {
            try await clone(bench, "early", of: .snapshot(.init(snapshotID: cut.snapshotID)))
        }
        let generation = try await bench.commit(volume, closing: false)
        _ = try await bench.catalog.makeReady(
            try #require(SnapshotID(cut.snapshotID)), generation, cutAt: cutAt, by: node, epoch: epoch)
        let ready = try await snapshot(bench, volume, agents: NoNodeAgents())
        #expect(ready.readyToUse && ready.snapshotID == cut.snapshotID && ready.creationTime == cut.creationTime)
    }

    @Test func whatTheNodeCannotDoIsToldWithWhatIsNewest() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await written(bench)
        try await bench.open(volume)
        bench.clock.advance(90)
        let silent = ScriptedAgents(deliver: { _, _ in throw PerSSDError(.unavailable, "node a does not answer") })
        await expectStatus(.unavailable, "node a does not answer", "newest generation is 1", "1 min 30 s old") {
            try await snapshot(bench, volume, agents: silent)
        }
        let idle = ScriptedAgents()
        await expectStatus(.aborted, "has not cut") { try await snapshot(bench, volume, agents: idle) }
        await expectStatus(.failedPrecondition, "does not talk to nodes") { try await snapshot(bench, volume) }
    }

    @Test func ofAVolumeThatWasNeverWrittenThereIsAnEmptySnapshot() async throws {
        let bench = try await Bench.withNodes()
        let empty = try await bench.create("empty")
        let made = try await snapshot(bench, empty)
        #expect(made.readyToUse && made.sizeBytes == empty.capacityBytes)
        for (index, source) in [
            VolumeContentSource.Kind.snapshot(.init(snapshotID: made.snapshotID)),
            .volume(.init(volumeID: empty.volumeID)),
        ].enumerated() {
            let copy = try await clone(bench, "copy-\(index)", of: source)
            #expect(copy.capacityBytes == empty.capacityBytes)
            #expect(try await bench.head(copy).newest == nil)
        }
    }

    @Test func badRequestsAreRefused() async throws {
        let bench = try await Bench.withNodes()
        let (volume, unfinished) = (try await written(bench), try await bench.create("unfinished"))
        try await bench.open(unfinished)
        let other = try await written(bench, "other")
        let made = try await snapshot(bench, volume)
        await expectStatus(.alreadyExists, "snapshot-1") { try await snapshot(bench, other) }
        await expectStatus(.notFound, "no volume") { try await snapshot(bench, strangeVolume, "of-none") }
        await expectStatus(.invalidArgument, "name is missing") { try await snapshot(bench, volume, "") }
        await expectStatus(.invalidArgument, "color") {
            try await bench.controller.createSnapshot(
                CreateSnapshotRequest(sourceVolumeID: volume.volumeID, name: "s", parameters: ["color": "blue"]))
        }
        await expectStatus(.failedPrecondition, "nothing to clone") {
            try await clone(bench, "c1", of: .volume(.init(volumeID: unfinished.volumeID)))
        }
        for id in ["vol-1", strangeVolume.volumeID] {
            await expectStatus(.notFound, id) { try await clone(bench, "c2", of: .volume(.init(volumeID: id))) }
        }
        for id in ["snap-1", SnapshotID(name: "never made").rawValue] {
            await expectStatus(.notFound, id) { try await clone(bench, "c3", of: .snapshot(.init(snapshotID: id))) }
        }
        await expectStatus(.outOfRange, "1073741824", "never smaller") {
            try await clone(bench, "c4", of: .snapshot(.init(snapshotID: made.snapshotID)), required: 1 << 20)
        }
        let copy = try await clone(bench, "c5", of: .volume(.init(volumeID: volume.volumeID)), required: 2 << 30)
        #expect(copy.capacityBytes == 2 << 30)
        #expect(try await clone(bench, "c5", of: .volume(.init(volumeID: volume.volumeID)), required: 2 << 30) == copy)
        await expectStatus(.alreadyExists, "c5") { try await bench.create("c5") }
        #expect(try await bench.controller.deleteSnapshot(DeleteSnapshotRequest(snapshotID: "no-id")) == .init())
    }

    @Test func snapshotsAreListedByPageVolumeAndID() async throws {
        let bench = try await Bench.withNodes()
        let volumes = [try await written(bench, "one"), try await written(bench, "two")]
        var made: [Snapshot] = []
        for index in 0..<6 {
            made.append(try await snapshot(bench, volumes[index % 2], "s\(index)"))
        }
        made.sort { $0.snapshotID < $1.snapshotID }
        func list(_ request: ListSnapshotsRequest) async throws -> ListSnapshotsResponse {
            try await bench.controller.listSnapshots(request)
        }
        func snapshots(_ response: ListSnapshotsResponse) -> [Snapshot] { response.entries.compactMap(\.snapshot) }
        #expect(snapshots(try await list(.init())) == made)
        var (found, token) = ([Snapshot](), "")
        repeat {
            let page = try await list(.init(maxEntries: 4, startingToken: token))
            #expect(page.entries.count <= 4)
            found += snapshots(page)
            token = page.nextToken
        } while !token.isEmpty
        #expect(found == made)
        let ofOne = try await list(.init(sourceVolumeID: volumes[0].volumeID))
        #expect(snapshots(ofOne) == made.filter { $0.sourceVolumeID == volumes[0].volumeID })
        #expect(snapshots(try await list(.init(snapshotID: made[2].snapshotID))) == [made[2]])
        for request in [
            ListSnapshotsRequest(snapshotID: "snap-none"), .init(sourceVolumeID: "vol-none"),
            .init(sourceVolumeID: strangeVolume.volumeID), .init(snapshotID: SnapshotID(name: "x").rawValue),
        ] { #expect(try await list(request) == ListSnapshotsResponse()) }
        await expectStatus(.aborted, "starting_token") { try await list(.init(startingToken: "made-up")) }
        await expectStatus(.invalidArgument, "max_entries") { try await list(.init(maxEntries: -1)) }
    }
}
