import Agents
import CSI
import CSIController
import Errors
import Persistence
import RPC
import Synchronization
import Testing

@Suite struct ModifyVolumeTests {
    private func modify(
        _ bench: Bench, _ volume: Volume, _ parameters: [String: String], agents: any NodeAgents = NoNodeAgents()
    ) async throws {
        let plugin = try ControllerPlugin(
            catalog: bench.catalog, cluster: Bench.cluster, version: "1", agents: agents, logger: bench.log.logger)
        _ = try await ControllerClient(DirectChannel(plugin.methods())).controllerModifyVolume(
            ControllerModifyVolumeRequest(volumeID: volume.volumeID, mutableParameters: parameters))
    }

    private func parameters(_ bench: Bench, _ volume: Volume) async throws -> VolumeParameters {
        try await bench.catalog.volume(bench.id(volume)).record.parameters
    }

    @Test func theNodeThatHasTheVolumeIsTold() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create()
        let failure = Mutex<PerSSDError?>(nil)
        let agents = ScriptedAgents(reread: { _, _ in if let failure = failure.withLock({ $0 }) { throw failure } })
        try await modify(bench, volume, ["compressionLevel": "3"], agents: agents)
        #expect(agents.calls.withLock { $0 }.isEmpty)
        _ = try await bench.publish(volume, on: "b")
        try await modify(bench, volume, ["checkpointInterval": "30s"], agents: agents)
        // Told again where the same is asked for again: the first try may have ended before.
        try await modify(bench, volume, ["checkpointInterval": "30s"], agents: agents)
        #expect(agents.calls.withLock { $0 } == ["\(volume.volumeID) c/b", "\(volume.volumeID) c/b"])
        #expect(
            try await parameters(bench, volume) == VolumeParameters(compressionLevel: 3, checkpointInterval: 30))
        // A node that does not answer reads it by itself.
        failure.withLock { $0 = PerSSDError(.unavailable, "node b does not answer") }
        try await modify(bench, volume, ["checkpointInterval": "none"], agents: agents)
        #expect(try await parameters(bench, volume).checkpointInterval == nil)
        #expect(bench.log.messages(.notice).contains { $0.contains("node b does not answer") })
    }

    @Test func whatCannotBeChangedIsRefusedAndNothingIs() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create()
        for (wanted, word) in [
            (["iops": "1", "compressionLevel": "3"], "'iops'"), (["blockSize": "64Ki"], "'blockSize'"),
            ([:], "missing"),
        ] {
            await expectStatus(.invalidArgument, word, "stageOutBandwidth") {
                try await modify(bench, volume, wanted)
            }
        }
        await expectStatus(.invalidArgument, "compressionLevel is '20'") {
            try await modify(bench, volume, ["compressionLevel": "20"])
        }
        await expectStatus(.invalidArgument, "4096") {
            try await modify(bench, volume, ["retention": String(repeating: "l", count: 5000)])
        }
        await expectStatus(.invalidArgument, "volume_id is missing") {
            try await modify(bench, Volume(), ["compressionLevel": "3"])
        }
        for missing in [strangeVolume, Volume(volumeID: "none")] {
            await expectStatus(.notFound, missing.volumeID) {
                try await modify(bench, missing, ["compressionLevel": "3"])
            }
        }
        #expect(try await parameters(bench, volume) == VolumeParameters())
    }

    @Test func aNewVolumeGetsWhatItsAttributesClassSays() async throws {
        let bench = try await Bench.withNodes()
        var request = createRequest(parameters: ["compressionLevel": "3", "blockSize": "64Ki"])
        request.mutableParameters = ["compressionLevel": "9", "stageOutBandwidth": "5Mi"]
        let volume = try #require(try await bench.controller.createVolume(request).volume)
        let expected = VolumeParameters(blockSize: 65_536, compressionLevel: 9, stageOutBandwidth: 5 << 20)
        #expect(try await parameters(bench, volume) == expected)
        #expect(try await bench.controller.createVolume(request).volume == volume)
        request.mutableParameters = ["pool": "fast"]
        await expectStatus(.invalidArgument, "mutable_parameters has 'pool'", "may be changed are") {
            try await bench.controller.createVolume(request)
        }
    }

    @Test func validationLooksAtWhatHoldsNow() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create(parameters: ["blockSize": "64Ki"])
        try await modify(bench, volume, ["compressionLevel": "9"])
        func validate(_ parameters: [String: String], _ mutable: [String: String]) async throws -> String {
            let answer = try await bench.controller.validateVolumeCapabilities(
                ValidateVolumeCapabilitiesRequest(
                    volumeID: volume.volumeID, volumeCapabilities: [mountCapability()], parameters: parameters,
                    mutableParameters: mutable))
            #expect((answer.confirmed == nil) != answer.message.isEmpty)
            #expect(answer.confirmed == nil || answer.confirmed?.mutableParameters == mutable)
            return answer.message
        }
        #expect(try await validate(["blockSize": "64Ki"], ["compressionLevel": "9"]).isEmpty)
        #expect(try await validate([:], ["compressionLevel": "1"]).contains("other mutable_parameters"))
        #expect(try await validate(["blockSize": "128Ki"], [:]).contains("other parameters"))
    }
}
