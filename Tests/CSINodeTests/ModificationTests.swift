import DeviceTestSupport
import Errors
import Foundation
import LinuxSystem
import Persistence
import SystemPackage
import TestSupport
import Testing

@testable import CSINode

/// What a node does about parameters that change under its pods.
@Suite(.serialized) struct ModificationTests {
    /// Text that zstd makes smaller, the more so the harder it tries.
    private func write(_ megabytes: Int, to path: String) throws {
        var text = Data(capacity: megabytes << 20)
        var number: UInt64 = 1
        while text.count < megabytes << 20 {
            number = number &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            text.append(contentsOf: "step \(number >> 40): energy \(number >> 50) eV, force \(number >> 44)\n".utf8)
        }
        try text.write(to: URL(fileURLWithPath: path))
    }

    private func modify(_ volume: VolumeRecord, _ harness: NodeHarness, _ parameters: [String: String]) async throws {
        _ = try await harness.catalog.modifyVolume(volume.volume, to: parameters)
    }

    @Test func aStageOutObeysItsBandwidthAndIsToldOfAnotherWhileItRuns() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("paced", parameters: ["stageOutBandwidth": "1Mi"])
        let node = try await harness.node("a")
        let path = try await node.publish(volume)
        try write(48, to: path + "/text")
        let start = ContinuousClock.now
        let ended = Task { [node] in
            try await node.unpublish(volume)
            return ContinuousClock.now
        }
        try await Task.sleep(for: .seconds(5))
        // All of it is some 15 MiB, as sent.
        #expect(try await harness.catalog.volume(volume.volume).head.newest == nil)
        try await modify(volume, harness, ["stageOutBandwidth": "none"])
        try await node.plugin.reread(volume.volume)
        let end = try await ended.value
        let newest = try #require(try await harness.catalog.volume(volume.volume).head.newest)
        let sent = try await harness.catalog.generation(newest).provenance.sentBytes
        #expect(
            sent > 10 << 20 && end - start < .seconds(Double(sent) / Double(1 << 20)) * 0.8, "\(end - start), \(sent)")
    }

    @Test func theNextStageOutCompressesAsItIsToldNow() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("level")
        let node = try await harness.node("a")
        var sent: [UInt64] = []
        for level in ["1", "15"] {
            let path = try await node.publish(volume)
            // Nobody tells the node: it reads the record itself.
            try await modify(volume, harness, ["compressionLevel": level])
            try write(8, to: path + "/text-\(level)")
            try await node.unpublish(volume)
            let newest = try #require(try await harness.catalog.volume(volume.volume).head.newest)
            sent.append(try await harness.catalog.generation(newest).provenance.sentBytes)
        }
        #expect(sent[1] < sent[0] * 95 / 100, "\(sent)")
    }

    @Test func theEndOfAPodReturnsAsItIsToldNow() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("mode", parameters: ["stageOutBandwidth": "1Mi"])
        let node = try await harness.node("a")
        let path = try await node.publish(volume)
        try write(48, to: path + "/text")
        // What the node knows from now on is out of date.
        try await node.plugin.reread(volume.volume)
        try await modify(volume, harness, ["stageOut": "background"])
        try await node.unpublish(volume)
        #expect(try await harness.catalog.volume(volume.volume).head.newest == nil)
        try await modify(volume, harness, ["stageOutBandwidth": "none"])
        try await node.plugin.reread(volume.volume)
        let actor = await node.plugin.volumes.actor(for: volume.volume)
        try await actor.settle(inBackground: false, until: .now + .seconds(60))
        #expect(try await harness.catalog.volume(volume.volume).head.newest?.number == 1)
    }

    @Test(arguments: [true, false])
    func checkpointsBeginUnderThePod(isTold: Bool) async throws {
        try await Scratch.with { scratch in
            let harness = try await NodeHarness()
            let volume = try await harness.volume("interval")
            let xfs = try scratch.makeFileSystem("xfs", "xfs", size: 1 << 30)
            let node = try await harness.node("a", pool: xfs.appending("pool"))
            let path = try await node.publish(volume)
            try Data("first".utf8).write(to: URL(fileURLWithPath: path + "/first"))
            try await Task.sleep(for: .seconds(10))
            await node.plugin.checkpoints.look()
            try await modify(volume, harness, ["checkpointInterval": "10s"])
            if isTold { try await node.plugin.reread(volume.volume) } else { await node.plugin.recordWatch.look() }
            let end = ContinuousClock.now + .seconds(60)
            func newest() async throws -> UInt64? {
                try await harness.catalog.volume(volume.volume).head.newest?.number
            }
            while try await newest() == nil, .now < end {
                await node.plugin.checkpoints.look()
                try await Task.sleep(for: .milliseconds(100))
            }
            #expect(try await newest() == 1)
            try await node.unpublish(volume)
        }
    }
}
