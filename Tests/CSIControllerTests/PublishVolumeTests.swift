import CSI
import CatalogTestSupport
import Errors
import Persistence
import RPC
import Testing

@Suite struct PublishVolumeTests {
    @Test func grantsTheLease() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create()
        let context = try await bench.publish(volume)
        let head = try await bench.head(volume)
        #expect(context == ["epoch": "1", "incarnation": head.incarnation.rawValue])
        #expect(head.lease?.holder.node == "a")
        #expect(head.lease?.state == .granted)
        #expect(
            head.lease?.publication
                == Lease.Publication(accessMode: "SINGLE_NODE_WRITER", accessType: "mount", readOnly: false))
        #expect(try await bench.publish(volume) == context)
        #expect(try await bench.head(volume) == head)
    }

    @Test func keepsHowItWasPublished() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create()
        _ = try await bench.controller.controllerPublishVolume(
            publishRequest(volume, capability: blockCapability(.singleNodeMultiWriter), readonly: true))
        #expect(
            try await bench.head(volume).lease?.publication
                == Lease.Publication(accessMode: "SINGLE_NODE_MULTI_WRITER", accessType: "block", readOnly: true))
    }

    @Test func fieldsAreChecked() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create()
        func publish(_ change: (inout ControllerPublishVolumeRequest) -> Void) async throws -> [String: String] {
            var request = publishRequest(volume)
            change(&request)
            return try await bench.controller.controllerPublishVolume(request).publishContext
        }
        await expectStatus(.invalidArgument, "volume_id is missing") { try await publish { $0.volumeID = "" } }
        await expectStatus(.invalidArgument, "node_id is missing") { try await publish { $0.nodeID = "" } }
        await expectStatus(.invalidArgument, "node_id", "257") {
            try await publish { $0.nodeID = String(repeating: "n", count: 257) }
        }
        await expectStatus(.invalidArgument, "volume_capability is missing") {
            try await publish { $0.volumeCapability = nil }
        }
        await expectStatus(.invalidArgument, "MULTI_NODE_MULTI_WRITER") {
            try await publish { $0.volumeCapability = mountCapability(.multiNodeMultiWriter) }
        }
        await expectStatus(.invalidArgument, "volume_context") {
            try await publish { $0.volumeContext["x"] = String(repeating: "x", count: 5000) }
        }
        #expect(try await bench.head(volume).epoch == 0)
    }

    @Test func whatIsUnknownIsNotFound() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create()
        await expectStatus(.notFound, strangeVolume.volumeID) { try await bench.publish(strangeVolume) }
        await expectStatus(.notFound, "no id of ours") { try await bench.publish(Volume(volumeID: "no id of ours")) }
        for node in ["nobody", "../nodes", "a/b", "a b"] {
            await expectStatus(.notFound, node) { try await bench.publish(volume, on: node) }
        }
        try await bench.register("foreign", cluster: "d")
        await expectStatus(.notFound, "foreign", "cluster c") { try await bench.publish(volume, on: "foreign") }
    }

    @Test func aFormerLifeIsNotFound() async throws {
        let bench = try await Bench.withNodes()
        let old = try await bench.create()
        _ = try await bench.controller.deleteVolume(DeleteVolumeRequest(volumeID: old.volumeID))
        await expectStatus(.notFound) { try await bench.publish(old) }
        _ = try await bench.create()
        await expectStatus(.notFound, "made anew") { try await bench.publish(old) }
    }

    @Test func onlyOneNodeHasIt() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create()
        _ = try await bench.publish(volume)
        await expectStatus(.failedPrecondition, "held by node c/a", "granted") {
            try await bench.publish(volume, on: "b")
        }
        try await bench.unpublish(volume)
        #expect(try await bench.publish(volume, on: "b")["epoch"] == "2")
    }

    @Test func onlyOneWayAtATime() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create()
        _ = try await bench.publish(volume)
        await expectStatus(.alreadyExists, "SINGLE_NODE_WRITER") {
            try await bench.publish(volume, readonly: true)
        }
        await expectStatus(.alreadyExists, "mount") {
            try await bench.controller.controllerPublishVolume(publishRequest(volume, capability: blockCapability()))
        }
    }

    @Test func theNodeNeedsThePoolAndRoom() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create()
        try await bench.register("f", pool: "fast")
        await expectStatus(.failedPrecondition, "no pool 'default'", "fast") {
            try await bench.publish(volume, on: "f")
        }
        try await bench.register("full", total: 10 << 30, free: 512 << 20, evictable: 256 << 20)
        await expectStatus(.resourceExhausted, "1.0 GiB", "512.0 MiB", "256.0 MiB", "10.0 GiB", "c/full") {
            try await bench.publish(volume, on: "full")
        }
        try await bench.register("full", total: 10 << 30, free: 512 << 20, evictable: 512 << 20)
        _ = try await bench.publish(volume, on: "full")
        // The volume itself fills the pool now; publishing again finds it there.
        try await bench.register("full", total: 10 << 30, free: 0)
        _ = try await bench.publish(volume, on: "full")
    }

    // MARK: Unpublish

    @Test func unpublishingReleases() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create()
        _ = try await bench.publish(volume)
        try await bench.unpublish(volume, from: "b")
        #expect(try await bench.head(volume).lease != nil)
        try await bench.unpublish(volume)
        try await bench.unpublish(volume)
        #expect(try await bench.head(volume).lease == nil)
    }

    @Test func unpublishingFromAllMeansThisCluster() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create()
        _ = try await bench.publish(volume)
        let other = ControllerClient(DirectChannel(bench.plugin(cluster: "d").methods()))
        _ = try await other.controllerUnpublishVolume(ControllerUnpublishVolumeRequest(volumeID: volume.volumeID))
        #expect(try await bench.head(volume).lease?.holder.node == "a")
        try await bench.unpublish(volume, from: "")
        #expect(try await bench.head(volume).lease == nil)
    }

    @Test func unpublishingWhatIsGoneIsFine() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create()
        try await bench.unpublish(volume, from: "nobody")
        try await bench.unpublish(volume, from: "a/b")
        _ = try await bench.controller.deleteVolume(DeleteVolumeRequest(volumeID: volume.volumeID))
        try await bench.unpublish(volume)
        try await bench.unpublish(strangeVolume)
        try await bench.unpublish(Volume(volumeID: "no id of ours"))
        await expectStatus(.invalidArgument, "volume_id is missing") { try await bench.unpublish(Volume()) }
    }
}
