import CSI
import Errors
import Foundation
import LocalVolumes
import Persistence
import SystemPackage
import TestSupport
import Testing

@testable import CSINode

/// A node with several pools.
@Suite(.serialized) struct NodePoolsTests {
    private static let size: Int64 = 64 << 20

    @Test func eachVolumeIsInItsPool() async throws {
        let harness = try await NodeHarness()
        let node = try await harness.node("a", more: ["scratch"])
        let plain = try await harness.volume("plain")
        let scratch = try await harness.volume("scratch", parameters: ["pool": "scratch"])
        for volume in [plain, scratch] {
            let path = try await node.publish(volume, pod: volume.volume.rawValue)
            #expect(FileManager.default.createFile(atPath: path + "/data", contents: Data(volume.name.utf8)))
        }
        let used = try await node.plugin.volumes.poolReports()
        #expect(used.map(\.name) == ["default", "scratch"])
        for report in used { #expect(report.totalBytes - report.freeBytes == UInt64(Self.size)) }
        for volume in [plain, scratch] { try await node.unpublish(volume, pod: volume.volume.rawValue) }
        let idle = try await node.plugin.volumes.poolReports()
        for report in idle { #expect(report.evictableBytes == UInt64(Self.size)) }

        for volume in [plain, scratch] {
            let path = try await node.publish(volume, pod: volume.volume.rawValue)
            #expect(FileManager.default.contents(atPath: path + "/data") == Data(volume.name.utf8))
            try await node.unpublish(volume, pod: volume.volume.rawValue)
        }
    }

    @Test func onePoolMakesNoRoomInAnother() async throws {
        let harness = try await NodeHarness()
        let node = try await harness.node("a", poolSize: 100 << 20, more: ["scratch"])
        let plain = try await harness.volume("plain")
        try await node.publish(plain)
        try await node.unpublish(plain)
        for name in ["one", "two"] {
            let volume = try await harness.volume(name, parameters: ["pool": "scratch"])
            try await node.publish(volume)
            try await node.unpublish(volume)
        }
        let reports = try await node.plugin.volumes.poolReports()
        #expect(reports.map(\.evictableBytes) == [UInt64(Self.size), UInt64(Self.size)])
        // The second one took the place of the first, in its own pool.
        let pools = harness.directory + "a/pool-"
        let names = try ["default", "scratch"].map {
            try FileManager.default.contentsOfDirectory(atPath: pools + $0 + "/volumes")
        }
        #expect(
            names == [[VolumeID(name: "plain").rawValue], [VolumeID(name: "two").rawValue]])
    }

    @Test func aVolumeOfAPoolThatIsNotHereIsRefused() async throws {
        let harness = try await NodeHarness()
        let node = try await harness.node("a", more: ["scratch"])
        let volume = try await harness.volume("elsewhere", parameters: ["pool": "archive"])
        let error = await #expect(throws: PerSSDError.self) { try await node.publish(volume) }
        #expect(error?.code == .failedPrecondition)
        #expect("\(error as Any)".contains("belongs to pool 'archive'"))
        #expect("\(error as Any)".contains("'default', 'scratch'"))
        // It would have been opened for nothing.
        #expect(try await harness.catalog.volume(volume.volume).head.lease == nil)
    }

    @Test func theVolumesNextLifeMayBeInAnotherPool() async throws {
        let harness = try await NodeHarness()
        let node = try await harness.node("a", more: ["scratch"])
        let first = try await harness.volume("again")
        try await node.publish(first)
        try await node.unpublish(first)
        _ = try await harness.catalog.updateHead(first.volume) { try $0.releasing(from: nil) }
        try await harness.catalog.deleteVolume(first.volume)
        let second = try await harness.volume("again", parameters: ["pool": "scratch"])
        try await node.publish(second)
        let reports = try await node.plugin.volumes.poolReports()
        #expect(reports.map { $0.totalBytes - $0.freeBytes } == [0, UInt64(Self.size)])
        try await node.unpublish(second)
    }

    @Test func whatIsNotHereIsUnpublishedAllTheSame() async throws {
        let harness = try await NodeHarness()
        let node = try await harness.node("a", more: ["scratch"])
        let volume = try await harness.volume("never")
        try await node.unpublish(volume)
        let gone = try await harness.volume("gone", parameters: ["pool": "scratch"])
        try await node.publish(gone)
        try await node.unpublish(gone)
        try await node.unpublish(gone)
    }

    @Test func theNodeTellsOfAllItsPools() async throws {
        let node = try await NodeHarness().node("a", more: ["scratch"])
        let info = try await node.plugin.nodeGetInfo(NodeGetInfoRequest(), context: node.context())
        #expect(
            info.accessibleTopology?.segments == [
                "topology.csi.perssd.io/node": "a", "pool.csi.perssd.io/default": "true",
                "pool.csi.perssd.io/scratch": "true",
            ])
    }

    @Test func namesAreTheirOwn() async throws {
        let harness = try await NodeHarness()
        var pools: [any VolumePool] = []
        for directory in ["one", "two"] {
            pools.append(
                try await ImagePool.open(
                    name: "same", directory: FilePath(harness.directory + directory), logger: harness.logger))
        }
        let twice = #expect(throws: PerSSDError.self) { try NodePools(pools) }
        #expect(twice?.message.contains("'same'") == true)
        #expect(throws: PerSSDError.self) { try NodePools([]) }
    }

    private static let missing = MissingPool(
        name: "default", reason: PerSSDError(.poolMissing, "there are no drives", remedy: "add some"))

    @Test func aNodeWithoutItsPoolServesAndSaysWhy() async throws {
        let harness = try await NodeHarness()
        let node = try await harness.node("a", missing: [Self.missing])
        try await node.plugin.requireReady()
        #expect(node.plugin.readinessText.contains("without the pool 'default': there are no drives (add some)"))
        let info = try await node.plugin.nodeGetInfo(NodeGetInfoRequest(), context: node.context())
        #expect(info.accessibleTopology?.segments == [Driver.TopologyKey.node: "a"])
        #expect(try await harness.catalog.node(node.plugin.node)?.pools == [])
        let missing = await node.plugin.measurements().filter { $0.name == "perssd_pool_missing" }
        #expect(missing.map(\.values) == [["default"]] && missing.map(\.value) == [1])
        let volume = try await harness.volume("homeless")
        let error = await #expect(throws: PerSSDError.self) { try await node.publish(volume) }
        #expect(error?.code == .failedPrecondition)
        #expect(error?.description.contains("belongs to pool 'default', which this node lacks") == true)
        #expect(error?.description.contains("there are no drives") == true)
    }

    /// What the pool holds is there again when the pool is: it must not be taken for lost meanwhile.
    @Test func whatAMissingPoolHoldsIsNotTakenForLost() async throws {
        let harness = try await NodeHarness()
        let volume = try await harness.volume("waiting", parameters: ["pool": "scratch"])
        let holder = try NodeReference(cluster: "test", node: "a")
        _ = try await harness.catalog.updateHead(volume.volume) { [now = harness.catalog.time] head in
            try head.opening(by: holder, expectedEpoch: nil, now: now)
        }
        var scratch = Self.missing
        scratch.name = "scratch"
        let node = try await harness.node("a", more: ["scratch"], missing: [scratch])
        #expect(node.plugin.readinessText.hasPrefix("ready\nwithout the pool 'scratch'"))
        await #expect(throws: PerSSDError.self) { try await node.publish(volume) }
        try await node.unpublish(volume)
        let head = try await harness.catalog.head(volume.volume).value
        #expect(head.loss == nil)
        #expect(head.lease?.holder == holder && head.lease?.state == .open)
        // A volume of the pool that is there is lost if its copy is.
        let other = try await harness.volume("gone")
        _ = try await harness.catalog.updateHead(other.volume) { [now = harness.catalog.time] head in
            try head.opening(by: holder, expectedEpoch: nil, now: now)
        }
        try await node.unpublish(other)
        #expect(try await harness.catalog.head(other.volume).value.loss?.node == holder)
    }

    @Test func aMissingPoolCountsForANodesNames() throws {
        #expect(throws: PerSSDError.self) { try NodePools([], missing: [Self.missing, Self.missing]) }
        #expect(throws: PerSSDError.self) { try NodePools([], missing: []) }
        #expect(throws: Never.self) { try NodePools([], missing: [Self.missing]) }
    }
}
