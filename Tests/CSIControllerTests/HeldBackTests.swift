import Agents
import CSI
import CatalogTestSupport
import Errors
import Foundation
import Persistence
import RPC
import Synchronization
import Testing

/// Volumes that a node keeps back for a pod that may come next.
@Suite struct HeldBackTests {
    /// What the node "a" does when it is asked to hand a volume over.
    private final class Node: Sendable {
        let answer = Mutex<(@Sendable (VolumeID) async throws -> Void)?>(nil)
    }

    /// A volume that node "a" had open, holds back, and, where it says so, is detached from.
    private func heldBack(
        _ node: Node? = nil, parameters: [String: String] = [:], isDetached: Bool = true
    ) async throws -> (bench: Bench, volume: Volume, agents: ScriptedAgents) {
        let agents = ScriptedAgents(handOver: { id, _ in try await node?.answer.withLock { $0 }?(id) })
        var bench = try await Bench.withNodes()
        bench.agents = agents
        let volume = try await bench.create(
            parameters: ["stageOut": "background", "stageOutDelay": "10m"].merging(parameters) { $1 })
        _ = try await bench.publish(volume)
        try await bench.open(volume)
        try await bench.commit(volume, closing: false)
        try await holdBack(volume, bench)
        if isDetached { try await bench.unpublish(volume) }
        return (bench, volume, agents)
    }

    private func holdBack(_ volume: Volume, _ bench: Bench) async throws {
        let a = try NodeReference(cluster: Bench.cluster, node: "a")
        let now = bench.clock.now
        _ = try await bench.catalog.updateHead(try bench.id(volume)) {
            try $0.holdingBack(by: a, epoch: $0.epoch, until: now + 600)
        }
    }

    private func calls(_ agents: ScriptedAgents) -> [String] { agents.calls.withLock { $0 } }

    @Test func aDetachIsDoneAtOnceAndTheNodeKeepsTheLease() async throws {
        let (bench, volume, agents) = try await heldBack()
        let head = try await bench.head(volume)
        #expect(head.lease?.isHeldBack == true && head.lease?.publication == nil && head.lease?.holder.node == "a")
        #expect(head.epoch == 1 && head.loss == nil && head.lease?.detachRequestedAt == nil)
        let entry = try await bench.controller.listVolumes(ListVolumesRequest()).entries.first
        #expect(entry?.status?.publishedNodeIDs == [])
        // Again, from any node, and long after: it is detached.
        bench.clock.advance(7200)
        try await bench.unpublish(volume)
        try await bench.unpublish(volume, from: "")
        #expect(try await bench.head(volume) == head)
        #expect(calls(agents).isEmpty)
    }

    @Test func theSameNodeHasItAgainAtTheSameEpoch() async throws {
        let (bench, volume, agents) = try await heldBack()
        #expect(try await bench.publish(volume)["epoch"] == "1")
        #expect(try await bench.head(volume).lease?.publication != nil)
        #expect(calls(agents).isEmpty)
        // While pods write there, it is waited for again.
        try await bench.open(volume)
        await expectStatus(.aborted, "node c/a") { try await bench.unpublish(volume) }
    }

    @Test func anotherNodeHasItOnceTheFirstHasCommitted() async throws {
        let node = Node()
        let (bench, volume, agents) = try await heldBack(node)
        await expectStatus(.aborted, "node c/a has not committed all") {
            try await bench.controller.controllerPublishVolume(
                publishRequest(volume, on: "b"), options: RPCCallOptions(timeout: .seconds(2)))
        }
        #expect(try await bench.head(volume).loss == nil)
        node.answer.withLock { $0 = { _ in _ = try await bench.commit(volume, closing: true) } }
        let answer = try await bench.controller.controllerPublishVolume(
            publishRequest(volume, on: "b"), options: RPCCallOptions(timeout: .seconds(60)))
        #expect(answer.publishContext["epoch"] == "2")
        let head = try await bench.head(volume)
        #expect(head.lease?.holder.node == "b" && head.newest?.number == 2 && head.loss == nil)
        #expect(calls(agents) == Array(repeating: "hand over \(try bench.id(volume)) c/a", count: 2))
    }

    @Test func aPodThatWasSoonerOnTheFirstNodeKeepsIt() async throws {
        let node = Node()
        let (bench, volume, _) = try await heldBack(node)
        node.answer.withLock {
            $0 = { _ in
                _ = try await bench.publish(volume)
                try await bench.open(volume)
            }
        }
        await expectStatus(.failedPrecondition, "held by node c/a") {
            try await bench.controller.controllerPublishVolume(
                publishRequest(volume, on: "b"), options: RPCCallOptions(timeout: .seconds(60)))
        }
        let head = try await bench.head(volume)
        #expect(head.lease?.holder.node == "a" && head.lease?.detachRequestedAt == nil && head.epoch == 1)
    }

    @Test func whileItIsAttachedToItsNodeNoOtherHasIt() async throws {
        let (bench, volume, agents) = try await heldBack(isDetached: false)
        await expectStatus(.failedPrecondition, "held by node c/a") { try await bench.publish(volume, on: "b") }
        #expect(calls(agents).isEmpty)
    }

    @Test func aNodeWithoutRoomEndsNothing() async throws {
        let (bench, volume, agents) = try await heldBack()
        try await bench.register("b", free: 1 << 20)
        await expectStatus(.resourceExhausted, "no room") { try await bench.publish(volume, on: "b") }
        #expect(calls(agents).isEmpty)
        #expect(try await bench.head(volume).lease?.detachRequestedAt == nil)
    }

    @Test func aSilentNodeLosesItAsInADetach() async throws {
        let (bench, volume, _) = try await heldBack(parameters: ["nodeLossTimeout": "5m"])
        // Silent for long, and nobody had asked until now.
        bench.clock.advance(3600)
        try await bench.register("b")
        await expectStatus(.aborted) { try await bench.publish(volume, on: "b") }
        bench.clock.advance(299)
        await expectStatus(.aborted) { try await bench.publish(volume, on: "b") }
        #expect(try await bench.head(volume).loss == nil)
        bench.clock.advance(2)
        try await bench.register("b")
        #expect(try await bench.publish(volume, on: "b")["epoch"] == "3")
        let head = try await bench.head(volume)
        #expect(head.loss?.node.node == "a" && head.loss?.newestGeneration == 1)
        #expect(bench.log.messages(.error).contains { $0.contains("its lease is revoked") })
        #expect(bench.told.all.map(\.occurrence.reason).contains(.leaseRevoked))
    }

    @Test func aDeletionNeedsNoCommitAndTellsTheNode() async throws {
        let node = Node()
        let (bench, volume, agents) = try await heldBack(node, isDetached: false)
        let request = DeleteVolumeRequest(volumeID: volume.volumeID)
        await expectStatus(.failedPrecondition, "in use") { try await bench.controller.deleteVolume(request) }
        try await bench.unpublish(volume)
        node.answer.withLock { $0 = { _ in throw PerSSDError(.unavailable, "node a does not answer") } }
        _ = try await bench.controller.deleteVolume(request)
        #expect(calls(agents) == ["hand over \(try bench.id(volume)) c/a"])
        #expect(bench.log.messages(.notice).contains { $0.contains("learns of it a little later") })
        await expectStatus(.notFound) { try await bench.publish(volume) }
        _ = try await bench.controller.deleteVolume(request)
        #expect(calls(agents).count == 1)
    }

    @Test func readersAndClonesHaveWhatWasHeldBack() async throws {
        let node = Node()
        let (bench, volume, agents) = try await heldBack(node)
        node.answer.withLock { $0 = { _ in _ = try await bench.commit(volume, closing: true) } }
        let reading = publishRequest(volume, on: "b", capability: mountCapability(.multiNodeReaderOnly), readonly: true)
        let answer = try await bench.controller.controllerPublishVolume(
            reading, options: RPCCallOptions(timeout: .seconds(60)))
        #expect(answer.publishContext["generation"] == "2")
        try await bench.unpublish(volume, from: "b")
        _ = try await bench.publish(volume)
        try await bench.open(volume)
        try await holdBack(volume, bench)
        var request = createRequest("clone")
        request.volumeContentSource = VolumeContentSource(type: .volume(.init(volumeID: volume.volumeID)))
        // Its pod has just ended.
        await expectStatus(.aborted, "still attached") { try await bench.controller.createVolume(request) }
        try await bench.unpublish(volume)
        let made = try await bench.controller.createVolume(request, options: RPCCallOptions(timeout: .seconds(60)))
        let clone = try #require(made.volume)
        #expect(try await bench.head(clone).newest?.number == 3)
        #expect(calls(agents).count == 2)
        // It is there already, and asks nobody again.
        _ = try await bench.controller.createVolume(request)
        #expect(calls(agents).count == 2)
    }

    @Test func aDelayWithoutStageOutInTheBackgroundIsRefused() async throws {
        let bench = try await Bench.withNodes()
        await expectStatus(.invalidArgument, "stageOutDelay is 60s", "stageOut: background") {
            try await bench.create(parameters: ["stageOutDelay": "1m"])
        }
        var request = createRequest(parameters: ["stageOutDelay": "1m"])
        request.mutableParameters = ["stageOut": "background"]
        let volume = try #require(try await bench.controller.createVolume(request).volume)
        #expect(try await bench.catalog.volume(bench.id(volume)).record.parameters.stageOutDelay == 60)
        await expectStatus(.invalidArgument, "stageOutDelay is '25h'") {
            try await bench.create("other", parameters: ["stageOut": "background", "stageOutDelay": "25h"])
        }
    }
}
