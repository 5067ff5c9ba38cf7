import Errors
import Foundation
import Persistence
import Testing

@testable import CSINode

/// What a node does that is told that somebody waits for its lease.
@Suite(.serialized) struct HandOverTests {
    private func head(_ volume: VolumeRecord, _ harness: NodeHarness) async throws -> Head {
        try await harness.catalog.head(volume.volume).value
    }

    /// The lease as an earlier life of the node has left it, whose pool is gone.
    private func openWithoutCopy(_ volume: VolumeRecord, _ harness: NodeHarness, on node: String) async throws {
        let reference = try NodeReference(cluster: "test", node: node)
        let time = harness.catalog.time
        _ = try await harness.catalog.updateHead(volume.volume) {
            try $0.opening(by: reference, expectedEpoch: nil, now: time)
        }
    }

    @Test func whatIsLostWithItsCopyIsPutOnRecord() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("lost")
        try await openWithoutCopy(volume, harness, on: "a")
        let a = try await harness.node("a")
        try await a.plugin.handOver(volume.volume)
        let after = try await head(volume, harness)
        #expect(after.lease == nil)
        #expect(after.loss?.node.node == "a" && after.loss?.epoch == 1)
        // Once is enough, and nothing is left of the question.
        try await a.plugin.handOver(volume.volume)
        #expect(try await head(volume, harness) == after)
        #expect(await a.plugin.volumes.inUse().isEmpty)
    }

    @Test func anothersLeaseAndWhatDoesNotExistAreLeftAlone() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("others")
        try await openWithoutCopy(volume, harness, on: "b")
        let before = try await head(volume, harness)
        let a = try await harness.node("a")
        try await a.plugin.handOver(volume.volume)
        #expect(try await head(volume, harness) == before)
        try await a.plugin.handOver(VolumeID(name: "never made"))
    }

    @Test func whatAPodHasStaysWithIt() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("used")
        let a = try await harness.node("a")
        let path = try await a.publish(volume)
        try Data("x".utf8).write(to: URL(fileURLWithPath: path + "/file"))
        let before = try await head(volume, harness)
        try await a.plugin.handOver(volume.volume)
        #expect(try await head(volume, harness) == before)
        try await a.unpublish(volume)
        let after = try await head(volume, harness)
        #expect(after.newest?.number == 1 && after.loss == nil)
    }

    /// The copy is there, and nobody has looked yet.
    @Test func nothingIsLostBeforeTheNodeKnowsWhatItHas() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("early")
        try await openWithoutCopy(volume, harness, on: "a")
        let before = try await head(volume, harness)
        let a = try await harness.node("a", starting: false)
        await #expect(throws: PerSSDError.self) { try await a.plugin.handOver(volume.volume) }
        #expect(try await head(volume, harness) == before)
        try await a.plugin.start()
        try await a.plugin.handOver(volume.volume)
        #expect(try await head(volume, harness).loss != nil)
    }
}
