import CSI
import CatalogTestSupport
import Errors
import Persistence
import RPC
import Testing

/// What ControllerGetVolume says of a volume.
@Suite struct HealthTests {
    private func get(_ bench: Bench, _ volume: Volume) async throws -> ControllerGetVolumeResponse {
        try await bench.controller.controllerGetVolume(ControllerGetVolumeRequest(volumeID: volume.volumeID))
    }

    @Test func tellsWhereAVolumeIsAndWhatItWouldComeBackAs() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create()
        var found = try await get(bench, volume)
        #expect(found.volume == volume && found.status?.publishedNodeIDs == [])
        #expect(found.status?.volumeCondition?.abnormal == false)
        #expect(found.status?.volumeCondition?.message.contains("nothing") == true)
        _ = try await bench.publish(volume, on: "b")
        try await bench.open(volume, on: "b")
        try await bench.commit(volume, on: "b", closing: false)
        bench.clock.advance(75)
        try await bench.register("b")
        found = try await get(bench, volume)
        #expect(found.status?.publishedNodeIDs == ["b"])
        #expect(found.status?.volumeCondition?.abnormal == false)
        #expect(found.status?.volumeCondition?.message == "the newest generation is 1, 1 min 15 s old")
        await expectStatus(.notFound, "no volume") { try await get(bench, strangeVolume) }
        await expectStatus(.notFound, "no volume") { try await get(bench, Volume(volumeID: "vol-1")) }
        await expectStatus(.invalidArgument, "volume_id") { try await get(bench, Volume()) }
    }

    @Test func tellsOfASilentNodeAndOfALoss() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create(parameters: ["nodeLossTimeout": "1s"])
        _ = try await bench.publish(volume)
        try await bench.open(volume)
        try await bench.commit(volume, closing: false)
        bench.clock.advance(3600)
        var condition = try #require(try await get(bench, volume).status?.volumeCondition)
        #expect(condition.abnormal && condition.message.contains("node a"), "\(condition.message)")
        #expect(condition.message.contains("silent for 1 h") && condition.message.contains("generation is 1"))
        _ = try await bench.catalog.updateHead(try bench.id(volume)) { $0.revoking(now: bench.catalog.time) }
        condition = try #require(try await get(bench, volume).status?.volumeCondition)
        #expect(condition.abnormal && condition.message.contains("is lost to the volume"), "\(condition.message)")
        // What is committed since is what counts.
        _ = try await bench.publish(volume, on: "b")
        try await bench.register("b")
        try await bench.open(volume, on: "b")
        try await bench.commit(volume, on: "b", closing: true)
        condition = try #require(try await get(bench, volume).status?.volumeCondition)
        #expect(!condition.abnormal && condition.message.contains("generation is 2"))
    }
}
