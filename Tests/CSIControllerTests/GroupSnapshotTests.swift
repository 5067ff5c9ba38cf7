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

@Suite struct GroupSnapshotTests {
    private let store = MemoryStore()

    /// Two volumes with a generation each; those of `open` are then open on nodes "a" and "b".
    private func bench(open: Int) async throws -> (bench: Bench, volumes: [Volume]) {
        let bench = try await Bench.withNodes(store)
        var volumes: [Volume] = []
        for (index, node) in ["a", "b"].enumerated() {
            let volume = try await bench.create("pvc-\(index)")
            try await bench.open(volume, on: node)
            try await bench.commit(volume, on: node, closing: true)
            if index < open { try await bench.open(volume, on: node) }
            volumes.append(volume)
        }
        return (bench, volumes)
    }

    private func channel(_ bench: Bench, _ agents: any NodeAgents) throws -> DirectChannel {
        DirectChannel(
            try ControllerPlugin(
                catalog: bench.catalog, cluster: Bench.cluster, version: "1", agents: agents, logger: bench.log.logger
            ).methods())
    }

    private func create(
        _ bench: Bench, _ ids: [String], _ name: String = "group", agents: any NodeAgents = NoNodeAgents()
    ) async throws -> VolumeGroupSnapshot {
        let response = try await GroupControllerClient(channel(bench, agents)).createVolumeGroupSnapshot(
            CreateVolumeGroupSnapshotRequest(
                name: name, sourceVolumeIDs: ids,
                parameters: ["csi.storage.k8s.io/volumegroupsnapshot/name": "mine"]))
        return try #require(response.groupSnapshot)
    }

    private func snapshots(_ bench: Bench) async throws -> [Snapshot] {
        try await bench.controller.listSnapshots(ListSnapshotsRequest()).entries.compactMap(\.snapshot)
    }

    /// The members' records, before and after everybody sees them.
    private var memberIDs: [SnapshotID] { Self.memberIDs(store) }

    private static func memberIDs(_ store: MemoryStore) -> [SnapshotID] {
        store.keys.filter { $0.hasPrefix("snapshots/") }.compactMap { SnapshotID(String($0.dropFirst(10).dropLast(5))) }
    }

    @Test func whatNobodyWritesIsPinnedAtOnce() async throws {
        let (bench, volumes) = try await bench(open: 0)
        let ids = volumes.map(\.volumeID)
        let made = try await create(bench, ids)
        #expect(made.readyToUse && made.groupSnapshotID.hasPrefix("group-"))
        #expect(made.creationTime == Timestamp(seconds: Int64(bench.catalog.time.timeIntervalSince1970)))
        #expect(Set(made.snapshots.map(\.sourceVolumeID)) == Set(ids))
        #expect(made.snapshots.allSatisfy { $0.readyToUse && $0.groupSnapshotID == made.groupSnapshotID })
        #expect(try await create(bench, ids.reversed()) == made)
        #expect(Set(try await snapshots(bench).map(\.snapshotID)) == Set(made.snapshots.map(\.snapshotID)))
        let groups = GroupControllerClient(try channel(bench, NoNodeAgents()))
        let request = GetVolumeGroupSnapshotRequest(
            groupSnapshotID: made.groupSnapshotID, snapshotIDs: made.snapshots.map(\.snapshotID))
        #expect(try await groups.getVolumeGroupSnapshot(request).groupSnapshot == made)
        await expectStatus(.invalidArgument, made.groupSnapshotID, "group snapshot") {
            try await bench.controller.deleteSnapshot(
                DeleteSnapshotRequest(snapshotID: made.snapshots[0].snapshotID))
        }
        for _ in 0..<2 {
            _ = try await groups.deleteVolumeGroupSnapshot(
                DeleteVolumeGroupSnapshotRequest(
                    groupSnapshotID: made.groupSnapshotID, snapshotIDs: request.snapshotIDs))
        }
        #expect(try await snapshots(bench).isEmpty)
        await expectStatus(.notFound, made.groupSnapshotID) { try await groups.getVolumeGroupSnapshot(request) }
    }

    @Test func allHoldBeforeAnyGoesOn() async throws {
        let (bench, volumes) = try await bench(open: 2)
        let catalog = bench.catalog
        let epochs = [
            "a": try await bench.head(volumes[0]).epoch, "b": try await bench.head(volumes[1]).epoch,
        ]
        // At the release, nodes say when they have cut.
        let agents = ScriptedAgents(cut: { [store] step, _, node in
            guard step == .release else { return }
            for id in Self.memberIDs(store) {
                // The other node's is not its own.
                _ = try? await catalog.noteCut(of: id, at: catalog.time, by: node, epoch: epochs[node.node] ?? 0)
            }
        })
        let ids = volumes.map(\.volumeID)
        let made = try await create(bench, ids, agents: agents)
        let calls = agents.calls.withLock { $0 }
        #expect(calls.count == 6)
        for (index, step) in ["prepare", "hold", "release"].enumerated() {
            #expect(Set(calls[(2 * index)..<(2 * index + 2)]) == ["\(step) c/a", "\(step) c/b"])
        }
        #expect(!made.readyToUse && made.snapshots.allSatisfy { !$0.readyToUse })
        // Asked again, the nodes are asked whether it still comes.
        #expect(try await !create(bench, ids, agents: agents).readyToUse)
        #expect(Set(agents.calls.withLock { $0 }.suffix(2)) == ["confirm c/a", "confirm c/b"])
        let lost = ScriptedAgents(cut: { _, _, _ in throw PerSSDError(.failedPrecondition, "the cut is lost") })
        await expectStatus(.failedPrecondition, "the cut is lost") { try await create(bench, ids, agents: lost) }
        let away = ScriptedAgents(cut: { _, _, _ in throw PerSSDError(.unavailable, "node a does not answer") })
        #expect(try await !create(bench, ids, agents: away).readyToUse)
        for (index, node) in ["a", "b"].enumerated() {
            try await bench.commit(volumes[index], on: node, closing: false)
            // One is not enough.
            #expect(try await create(bench, ids, agents: agents).readyToUse == (index == 1))
        }
    }

    @Test func whereOneCannotBeCutThereIsNone() async throws {
        let (bench, volumes) = try await bench(open: 2)
        let ids = volumes.map(\.volumeID)
        for failing in [GroupCutStep.prepare, .hold, .release] {
            let agents = ScriptedAgents(cut: { step, _, node in
                if step == failing, node.node == "b" { throw PerSSDError(.unavailable, "node b does not answer") }
            })
            await expectStatus(.unavailable, "'group' is not made", "nothing of it is there", "node b does not answer")
            {
                try await create(bench, ids, agents: agents)
            }
            let calls = agents.calls.withLock { $0 }
            #expect(Set(calls.suffix(2)) == ["abandon c/a", "abandon c/b"])
            #expect(calls.contains { $0.hasPrefix("release") } == (failing == .release))
            #expect(try await snapshots(bench).isEmpty && memberIDs.isEmpty)
            await expectStatus(.notFound) {
                try await GroupControllerClient(channel(bench, agents)).getVolumeGroupSnapshot(
                    GetVolumeGroupSnapshotRequest(groupSnapshotID: GroupSnapshotID(name: "group").rawValue))
            }
        }
        await expectStatus(.failedPrecondition, "does not talk to nodes") { try await create(bench, ids) }
        #expect(memberIDs.isEmpty)
    }

    @Test func aMemberThatIsWrittenMeanwhileIsNotOfTheMoment() async throws {
        let (bench, volumes) = try await bench(open: 1)
        let agents = ScriptedAgents(cut: { step, _, _ in
            if step == .hold { try await bench.open(volumes[1], on: "b") }
        })
        await expectStatus(.aborted, "has begun to use volume \(volumes[1].volumeID)") {
            try await create(bench, volumes.map(\.volumeID), agents: agents)
        }
        #expect(!agents.calls.withLock { $0 }.contains { $0.hasPrefix("release") })
        #expect(memberIDs.isEmpty)
    }

    @Test func anAnswerOfTheStoreThatIsLostLosesNoGroup() async throws {
        let (bench, volumes) = try await bench(open: 0)
        let writes = Mutex(0)
        store.intervene(after: { call in
            guard call.operation == .write, call.path.hasPrefix("groups/") else { return }
            let number = writes.withLock { writes in
                writes += 1
                return writes
            }
            // The first begins it, and the second makes it.
            if number == 2 { throw PerSSDError(.unavailable, "the answer is lost") }
        })
        defer { store.intervene() }
        let made = try await create(bench, volumes.map(\.volumeID))
        #expect(made.readyToUse && writes.withLock { $0 } == 2)
        #expect(try await snapshots(bench).count == 2)
    }

    @Test func badInput() async throws {
        let (bench, volumes) = try await bench(open: 0)
        let ids = volumes.map(\.volumeID)
        await expectStatus(.invalidArgument, "name is missing") { try await create(bench, ids, "") }
        await expectStatus(.invalidArgument, "source_volume_ids is missing") { try await create(bench, []) }
        await expectStatus(.invalidArgument, "twice") { try await create(bench, [ids[0], ids[0]]) }
        await expectStatus(.notFound, "'x'") { try await create(bench, [ids[0], "x"]) }
        await expectStatus(.notFound, strangeVolume.volumeID) {
            try await create(bench, [ids[0], strangeVolume.volumeID])
        }
        let made = try await create(bench, ids)
        await expectStatus(.alreadyExists, "'group'") { try await create(bench, [ids[0]]) }
        let groups = GroupControllerClient(try channel(bench, NoNodeAgents()))
        await expectStatus(.invalidArgument, "group_snapshot_id is missing") {
            try await groups.getVolumeGroupSnapshot(GetVolumeGroupSnapshotRequest())
        }
        await expectStatus(.invalidArgument, "snapshot_ids") {
            try await groups.getVolumeGroupSnapshot(
                GetVolumeGroupSnapshotRequest(
                    groupSnapshotID: made.groupSnapshotID, snapshotIDs: [made.snapshots[0].snapshotID]))
        }
        await expectStatus(.invalidArgument, "'x'") {
            try await groups.deleteVolumeGroupSnapshot(
                DeleteVolumeGroupSnapshotRequest(groupSnapshotID: made.groupSnapshotID, snapshotIDs: ["x"]))
        }
        await expectStatus(.notFound, "'x'") {
            try await groups.getVolumeGroupSnapshot(GetVolumeGroupSnapshotRequest(groupSnapshotID: "x"))
        }
        _ = try await groups.deleteVolumeGroupSnapshot(DeleteVolumeGroupSnapshotRequest(groupSnapshotID: "x"))
        #expect(try await snapshots(bench).count == 2)
        let capabilities = try await groups.groupControllerGetCapabilities(GroupControllerGetCapabilitiesRequest())
        #expect(capabilities.capabilities.count == 1)
    }
}
