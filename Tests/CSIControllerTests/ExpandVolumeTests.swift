import CSI
import CatalogTestSupport
import Persistence
import RPC
import Testing

@Suite struct ExpandVolumeTests {
    private func expand(
        _ bench: Bench, _ volume: Volume, required: Int64 = 0, limit: Int64 = 0, capability: VolumeCapability? = nil
    ) async throws -> ControllerExpandVolumeResponse {
        try await bench.controller.controllerExpandVolume(
            ControllerExpandVolumeRequest(
                volumeID: volume.volumeID,
                capacityRange: CapacityRange(requiredBytes: required, limitBytes: limit), volumeCapability: capability))
    }

    @Test func raisesTheCapacityAndLeavesTheRestToTheNode() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create()
        for _ in 0..<2 {
            let response = try await expand(bench, volume, required: (2 << 30) - 1, capability: mountCapability())
            #expect(response.capacityBytes == 2 << 30)
            #expect(response.nodeExpansionRequired)
        }
        #expect(try await expand(bench, volume, required: 1 << 20).capacityBytes == 2 << 30)
        let listed = try await bench.controller.listVolumes(ListVolumesRequest())
        #expect(listed.entries.first?.volume?.capacityBytes == 2 << 30)
        // What was made and has grown since is still what was asked for.
        #expect(try await bench.create().capacityBytes == 2 << 30)
    }

    @Test func argumentsAreChecked() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create()
        await expectStatus(.invalidArgument, "volume_id") { try await expand(bench, Volume(), required: 1) }
        await expectStatus(.invalidArgument, "capacity_range") { try await expand(bench, volume) }
        await expectStatus(.invalidArgument, "capacity_range") {
            try await bench.controller.controllerExpandVolume(
                ControllerExpandVolumeRequest(volumeID: volume.volumeID))
        }
        await expectStatus(.invalidArgument, "MULTI_NODE_MULTI_WRITER") {
            try await expand(bench, volume, required: 2 << 30, capability: mountCapability(.multiNodeMultiWriter))
        }
        await expectStatus(.invalidArgument, "-1") { try await expand(bench, volume, required: -1) }
        await expectStatus(.notFound) { try await expand(bench, strangeVolume, required: 1) }
        await expectStatus(.notFound) { try await expand(bench, Volume(volumeID: "x"), required: 1) }
        await expectStatus(.outOfRange, "do not shrink") { try await expand(bench, volume, limit: 1 << 29) }
        await expectStatus(.outOfRange) { try await expand(bench, volume, required: 2 << 30, limit: 3 << 29) }
        await expectStatus(.outOfRange, "largest") { try await expand(bench, volume, required: 1 << 50) }
        #expect(try await bench.catalog.volume(bench.id(volume)).record.capacityBytes == 1 << 30)
    }

    /// So that a user can still take the larger claim back.
    @Test func whereThereIsNoRoomNothingChanges() async throws {
        let bench = Bench()
        try await bench.register("a", total: 4 << 30, free: 1 << 29, evictable: 1 << 29)
        try await bench.register("b", total: 8 << 30)
        let volume = try await bench.create()
        // Nobody has it: it could go wherever there is a pool that large.
        await expectStatus(.resourceExhausted, "8.0 GiB in all") { try await expand(bench, volume, required: 9 << 30) }
        #expect(try await expand(bench, volume, required: 3 << 29).capacityBytes == 3 << 29)
        _ = try await bench.publish(volume, on: "b")
        try await bench.register("b", total: 8 << 30, free: 1 << 29, evictable: 1 << 29)
        await expectStatus(.resourceExhausted, "cannot grow by 1.5 GiB on node c/b", "512.0 MiB") {
            try await expand(bench, volume, required: 3 << 30)
        }
        #expect(try await bench.catalog.volume(bench.id(volume)).record.capacityBytes == 3 << 29)
        #expect(try await expand(bench, volume, required: 5 << 29).capacityBytes == 5 << 29)
    }
}
