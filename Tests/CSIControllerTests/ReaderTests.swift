import CSI
import CatalogTestSupport
import Errors
import Persistence
import RPC
import Testing

/// MULTI_NODE_READER_ONLY at the controller.
@Suite struct ReaderTests {
    let bench: Bench
    init() async throws { bench = try await Bench.withNodes() }

    /// A volume with one generation, which nobody has.
    private func written(_ name: String = "pvc-1") async throws -> Volume {
        let volume = try await bench.create(name)
        try await bench.open(volume)
        try await bench.commit(volume, closing: true)
        return volume
    }

    private func read(
        _ volume: Volume, on node: String, _ capability: VolumeCapability = mountCapability(.multiNodeReaderOnly)
    ) async throws -> [String: String] {
        try await bench.controller.controllerPublishVolume(
            publishRequest(volume, on: node, capability: capability, readonly: true)
        ).publishContext
    }

    private func published(_ volume: Volume) async throws -> [String] {
        let response = try await bench.controller.controllerGetVolume(
            ControllerGetVolumeRequest(volumeID: volume.volumeID))
        let listed = try await bench.controller.listVolumes(ListVolumesRequest()).entries
            .first { $0.volume?.volumeID == volume.volumeID }
        #expect(listed?.status?.publishedNodeIDs == response.status?.publishedNodeIDs)
        return response.status?.publishedNodeIDs ?? []
    }

    @Test func manyNodesReadAndNobodyHoldsTheLease() async throws {
        let volume = try await written()
        let context = try await read(volume, on: "a")
        #expect(context == ["generation": "1", "incarnation": try await bench.head(volume).incarnation.rawValue])
        #expect(try await read(volume, on: "a") == context)
        #expect(try await read(volume, on: "b") == context)
        #expect(try await published(volume) == ["a", "b"])
        #expect(try await bench.head(volume).lease == nil)
        await expectStatus(.failedPrecondition, "c/a reads generation 1") {
            try await bench.controller.deleteVolume(DeleteVolumeRequest(volumeID: volume.volumeID))
        }
        try await bench.unpublish(volume, from: "b")
        #expect(try await published(volume) == ["a"])
        try await bench.unpublish(volume, from: "")
        #expect(try await published(volume).isEmpty)
        _ = try await bench.controller.deleteVolume(DeleteVolumeRequest(volumeID: volume.volumeID))
    }

    @Test func oneNodeEitherReadsOrWrites() async throws {
        let volume = try await written()
        _ = try await read(volume, on: "a")
        await expectStatus(.alreadyExists, "many nodes") { try await bench.publish(volume, on: "a") }
        // Another one may write meanwhile; then nobody begins to read.
        _ = try await bench.publish(volume, on: "b")
        #expect(try await published(volume) == ["b", "a"])
        await expectStatus(.alreadyExists, "for writing") { try await read(volume, on: "b") }
        try await bench.register("c")
        await expectStatus(.failedPrecondition, "c/b", "granted") { try await read(volume, on: "c") }
        #expect(try await read(volume, on: "a")["generation"] == "1")
        try await bench.open(volume, on: "b")
        try await bench.commit(volume, on: "b", closing: true)
        #expect(try await read(volume, on: "c")["generation"] == "2")
        await expectStatus(.alreadyExists, "mount") {
            try await read(volume, on: "c", blockCapability(.multiNodeReaderOnly))
        }
    }

    @Test func theNodeNeedsThePoolAndRoom() async throws {
        let volume = try await written()
        try await bench.register("f", pool: "fast")
        await expectStatus(.failedPrecondition, "no pool 'default'") { try await read(volume, on: "f") }
        try await bench.register("a", total: 10 << 30, free: 512 << 20)
        await expectStatus(.resourceExhausted, "1.0 GiB") { try await read(volume, on: "a") }
        try await bench.register("a", total: 10 << 30, free: 1 << 30)
        _ = try await read(volume, on: "a")
        // It is there by now.
        try await bench.register("a", total: 10 << 30, free: 0)
        _ = try await read(volume, on: "a")
    }

    @Test func aVolumeThatNobodyCouldEverWriteIsRefused() async throws {
        let onlyReaders = [mountCapability(.multiNodeReaderOnly)]
        await expectStatus(.invalidArgument, "would stay empty", "dataSource") {
            try await bench.controller.createVolume(createRequest("empty", capabilities: onlyReaders))
        }
        _ = try await bench.controller.createVolume(
            createRequest("both", capabilities: onlyReaders + [mountCapability()]))
        let source = try await written()
        var request = createRequest("clone", capabilities: onlyReaders)
        request.volumeContentSource = VolumeContentSource(type: .volume(.init(volumeID: source.volumeID)))
        let clone = try #require(try await bench.controller.createVolume(request).volume)
        #expect(try await read(clone, on: "a")["generation"] == "1")
        #expect(try await read(clone, on: "b")["generation"] == "1")
        let validated = try await bench.controller.validateVolumeCapabilities(
            ValidateVolumeCapabilitiesRequest(volumeID: clone.volumeID, volumeCapabilities: onlyReaders))
        #expect(validated.confirmed?.volumeCapabilities == onlyReaders)
        let capacity = try await bench.controller.getCapacity(GetCapacityRequest(volumeCapabilities: onlyReaders))
        #expect(capacity.availableCapacity > 0)
    }
}
