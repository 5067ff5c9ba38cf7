import CSI
import CatalogTestSupport
import Persistence
import RPC
import Testing

@Suite struct CapacityTests {
    private func capacity(
        _ bench: Bench, _ segments: [String: String]? = nil, pool: String? = nil,
        capabilities: [VolumeCapability] = []
    ) async throws -> GetCapacityResponse {
        try await bench.controller.getCapacity(
            GetCapacityRequest(
                volumeCapabilities: capabilities, parameters: pool.map { ["pool": $0] } ?? [:],
                accessibleTopology: segments.map { Topology(segments: $0) }))
    }

    private let node = "topology.csi.perssd.io/node"
    private func pool(_ name: String) -> String { "pool.csi.perssd.io/" + name }

    @Test func addsWhatIsFreeAndWhatCanBeEvicted() async throws {
        let bench = Bench()
        try await bench.register("a", total: 100 << 30, free: 10 << 30, evictable: 5 << 30)
        try await bench.register("b", total: 100 << 30, free: (20 << 30) + 1, evictable: 0)
        try await bench.register("f", pool: "fast", total: 100 << 30, free: 7 << 30)
        try await bench.register("foreign", total: 100 << 30, cluster: "d")
        let all = try await capacity(bench)
        #expect(all.availableCapacity == (35 << 30) + 1)
        // A volume is on one node, in whole granules.
        #expect(all.maximumVolumeSize == 20 << 30)
        #expect(all.minimumVolumeSize == 4 << 20)
        let a = try await capacity(bench, [node: "a", pool("default"): "true"])
        #expect(a.availableCapacity == 15 << 30)
        #expect(a.maximumVolumeSize == 15 << 30)
        #expect(try await capacity(bench, [pool("default"): "true"]).availableCapacity == all.availableCapacity)
        #expect(try await capacity(bench, [node: "f"], pool: "fast").availableCapacity == 7 << 30)
    }

    @Test func elsewhereThereIsNone() async throws {
        let bench = try await Bench.withNodes()
        let elsewhere = [
            [node: "nobody"], [node: "../x"], [pool("fast"): "true"], [pool("default"): "false"], ["zone": "z"],
            [node: "a", pool("fast"): "true"],
        ]
        for segments in elsewhere {
            let response = try await capacity(bench, segments)
            #expect(response.availableCapacity == 0)
            #expect(response.maximumVolumeSize == 0)
        }
        #expect(try await capacity(bench, pool: "fast").availableCapacity == 0)
        #expect(
            try await capacity(bench, capabilities: [mountCapability(.multiNodeMultiWriter)]).availableCapacity == 0)
        #expect(try await capacity(Bench()).availableCapacity == 0)
    }

    @Test func aNodeWhosePluginIsGoneCountsNothing() async throws {
        let bench = try await Bench.withNodes()
        bench.clock.advance(60)
        try await bench.register("b", total: 1 << 30)
        #expect(try await capacity(bench).availableCapacity == (100 << 30) + (1 << 30))
        bench.clock.advance(30)
        #expect(try await capacity(bench).availableCapacity == 1 << 30)
    }

    @Test func hugeFiguresStayFigures() async throws {
        let bench = Bench()
        try await bench.register("a", total: .max)
        try await bench.register("b", total: .max)
        let response = try await capacity(bench)
        #expect(response.availableCapacity == .max)
        #expect(response.maximumVolumeSize == Int64(VolumeSize.largest))
    }

    @Test func asksOnlyAboutTheNodeThatIsMeant() async throws {
        let store = MemoryStore()
        let bench = try await Bench.withNodes(store)
        store.forgetCalls()
        _ = try await capacity(bench, [node: "a", pool("default"): "true"])
        #expect(store.calls.map(\.path) == ["nodes/c/a.json"])
    }

    /// external-provisioner takes out what is for itself for CreateVolume, and not here.
    @Test func whatAClassTellsTheProvisionerIsNoParameter() async throws {
        let bench = Bench()
        try await bench.register("a", total: 100 << 30, free: 10 << 30, evictable: 0)
        let answer = try await bench.controller.getCapacity(
            GetCapacityRequest(
                parameters: [
                    "csi.storage.k8s.io/fstype": "ext4", "csi.storage.k8s.io/provisioner-secret-name": "key",
                    "stageOut": "background",
                ],
                accessibleTopology: Topology(segments: [node: "a"])))
        #expect(answer.availableCapacity == 10 << 30)
    }

    @Test func argumentsAreChecked() async throws {
        let bench = try await Bench.withNodes()
        await expectStatus(.invalidArgument, "unknown StorageClass parameter") {
            try await bench.controller.getCapacity(GetCapacityRequest(parameters: ["color": "blue"]))
        }
        await expectStatus(.invalidArgument, "access_type") {
            try await capacity(bench, capabilities: [VolumeCapability(accessMode: .init(mode: .singleNodeWriter))])
        }
        #expect(
            try await capacity(bench, capabilities: [mountCapability(fsType: "xfs")]).minimumVolumeSize == 300 << 20)
    }
}
