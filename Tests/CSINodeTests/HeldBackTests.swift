import Errors
import Foundation
import Persistence
import Testing

@testable import CSINode

/// Volumes that a node keeps back for a pod that may come next, on real pools.
@Suite(.serialized) struct HeldBackTests {
    private static let delayed = ["stageOut": "background", "stageOutDelay": "1h"]

    private func head(_ volume: VolumeRecord, _ harness: NodeHarness) async throws -> Head {
        try await harness.catalog.head(volume.volume).value
    }

    private func grant(_ volume: VolumeRecord, _ harness: NodeHarness, to node: String = "a") async throws {
        let reference = try NodeReference(cluster: "test", node: node)
        let time = harness.catalog.time
        let publication = Lease.Publication(accessMode: "SINGLE_NODE_WRITER", accessType: "mount", readOnly: false)
        _ = try await harness.catalog.updateHead(volume.volume) {
            try $0.granting(to: reference, as: publication, now: time)
        }
    }

    private func write(_ text: String, to path: String) throws {
        try Data(text.utf8).write(to: URL(fileURLWithPath: path + "/file"))
    }

    /// Attached, published, written and left.
    private func use(_ volume: VolumeRecord, _ node: TestNode) async throws {
        try await grant(volume, node.harness)
        try write("held back", to: try await node.publish(volume))
        try await node.unpublish(volume)
    }

    private func waitUntil(_ isSo: () async throws -> Bool) async throws {
        let deadline = ContinuousClock.now + .seconds(120)
        while try await !isSo() {
            guard .now < deadline else { return #expect(Bool(false), "it never was so") }
            try await Task.sleep(for: .milliseconds(50))
        }
    }

    private func packs(_ harness: NodeHarness) async throws -> Int {
        try await harness.catalog.store.list(prefix: "lineages/", after: nil, limit: 1000).count
    }

    @Test func staysAsItIsAndIsFoundAgain() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("waiting", parameters: Self.delayed)
        let a = try await harness.node("a")
        try await use(volume, a)
        var now = try await head(volume, harness)
        #expect(now.lease?.isHeldBack == true && now.newest == nil)
        let left = try #require(now.lease?.heldBackUntil).timeIntervalSince(harness.catalog.time)
        #expect(left > 3500 && left <= 3600)
        // What would be lost is told, and the room can be had.
        let exposure = await a.plugin.volumes.exposures()[volume.volume]
        #expect(exposure != nil && exposure?.generation == nil)
        let report = try #require(try await a.plugin.volumes.poolReports().first)
        #expect(report.evictableBytes >= volume.capacityBytes)
        try await grant(volume, harness)
        let path = try await a.publish(volume)
        #expect(try String(contentsOfFile: path + "/file", encoding: .utf8) == "held back")
        now = try await head(volume, harness)
        #expect(now.lease?.isHeldBack == false && now.lease?.heldBackUntil == nil && now.epoch == 1)
        #expect(try await packs(harness) == 0)
        try await a.unpublish(volume)
        try await a.plugin.handOver(volume.volume)
        try await waitUntil { try await head(volume, harness).lease?.state == .closed }
        #expect(try await head(volume, harness).newest?.number == 1)
    }

    @Test func isNotWhereNobodyCouldEndIt() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("alone", parameters: Self.delayed)
        let a = try await harness.node("a")
        // Nobody attaches it.
        try write("x", to: try await a.publish(volume))
        try await a.unpublish(volume)
        try await waitUntil { try await head(volume, harness).lease == nil }
        // Somebody waits for it.
        try await grant(volume, harness)
        try write("y", to: try await a.publish(volume))
        let time = harness.catalog.time
        _ = try await harness.catalog.updateHead(volume.volume) {
            $0.requestingDetach(from: nil, holderSeenAt: nil, now: time)
        }
        try await a.unpublish(volume)
        try await waitUntil { try await head(volume, harness).lease?.state == .closed }
        #expect(try await head(volume, harness).newest?.number == 2)
    }

    @Test func checkpointsEndIt() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume(
            "checked", parameters: Self.delayed.merging(["checkpointInterval": "10m"]) { $1 })
        let a = try await harness.node("a")
        try await use(volume, a)
        let until = try #require(try await head(volume, harness).lease?.heldBackUntil)
        #expect(until.timeIntervalSince(harness.catalog.time) <= 600)
    }

    /// A controller that cannot reach the node's agent has only the bucket to say so.
    @Test func whoWaitsIsFoundInTheHead() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("wanted", parameters: Self.delayed)
        let a = try await harness.node("a")
        try await use(volume, a)
        await a.plugin.recordWatch.look()
        let before = try await head(volume, harness)
        #expect(before.lease?.isHeldBack == true)
        let time = harness.catalog.time
        _ = try await harness.catalog.updateHead(volume.volume) {
            $0.withdrawing(from: nil).requestingDetach(from: nil, holderSeenAt: nil, now: time)
        }
        await a.plugin.recordWatch.look()
        try await waitUntil { try await head(volume, harness).lease == nil }
        #expect(try await head(volume, harness).newest?.number == 1)
    }

    /// Nor for the next volume of its name.
    @Test(arguments: [false, true]) func aDeletedVolumeIsNeverSentAndItsCopyGoes(isMadeAnew: Bool) async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("deleted", parameters: Self.delayed)
        let a = try await harness.node("a")
        try await use(volume, a)
        _ = try await harness.catalog.updateHead(volume.volume) { $0.withdrawing(from: nil) }
        try await harness.catalog.deleteVolume(volume.volume)
        if isMadeAnew { _ = try await harness.volume("deleted", parameters: Self.delayed) }
        // As the node looks at the records of volumes in use.
        await a.plugin.recordWatch.look()
        try await waitUntil { await a.plugin.volumes.copyStates().isEmpty }
        #expect(try await packs(harness) == 0)
    }

    @Test func aStartGoesOnForWhatIsLeft() async throws {
        let harness = try await NodeHarness()
        let left = try await harness.volume("left", parameters: Self.delayed)
        let over = try await harness.volume("over", parameters: Self.delayed)
        let asked = try await harness.volume("asked", parameters: Self.delayed)
        // With the process the lock on its pool goes.
        func firstLife() async throws {
            let node = try await harness.node("a")
            for volume in [left, over, asked] { try await use(volume, node) }
        }
        try await firstLife()
        let (a, past) = (try NodeReference(cluster: "test", node: "a"), harness.catalog.time - 10)
        _ = try await harness.catalog.updateHead(over.volume) { try $0.holdingBack(by: a, epoch: 1, until: past) }
        _ = try await harness.catalog.updateHead(asked.volume) {
            $0.requestingDetach(from: nil, holderSeenAt: nil, now: past)
        }
        let second = try await harness.node("a")
        try await waitUntil { try await head(over, harness).lease?.state == .closed }
        try await waitUntil { try await head(asked, harness).lease?.state == .closed }
        #expect(try await head(left, harness).lease?.isHeldBack == true)
        // The head says so before the node has noticed that it is done.
        try await waitUntil { await second.plugin.volumes.inUse() == [left.volume] }
        try await second.plugin.handOver(left.volume)
        try await waitUntil { try await head(left, harness).newest?.number == 1 }
    }
}
