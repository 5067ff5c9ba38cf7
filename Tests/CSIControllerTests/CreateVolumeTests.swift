import CSI
import CatalogTestSupport
import Errors
import Persistence
import RPC
import Testing

@Suite struct CreateVolumeTests {
    @Test func answersWithWhatWasMade() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create()
        #expect(volume.volumeID == VolumeID(name: "pvc-1").rawValue)
        #expect(volume.capacityBytes == 1 << 30)
        #expect(volume.accessibleTopology == [Topology(segments: ["pool.csi.perssd.io/default": "true"])])
        #expect(volume.contentSource == nil)
        let record = try await bench.catalog.volume(try bench.id(volume)).record
        #expect(volume.volumeContext == ["incarnation": record.incarnation.rawValue])
    }

    @Test func isIdempotent() async throws {
        let bench = try await Bench.withNodes()
        let first = try await bench.create()
        #expect(try await bench.create() == first)
        // Even where the nodes have gone since.
        for node in ["a", "b"] { try await bench.store.remove(try ObjectKey("nodes/c/\(node).json")) }
        #expect(try await bench.create() == first)
        await expectStatus(.alreadyExists, "pvc-1", "capacity") {
            try await bench.controller.createVolume(createRequest(required: 2 << 30))
        }
        await expectStatus(.alreadyExists, "parameters") {
            try await bench.controller.createVolume(createRequest(parameters: ["stageOut": "background"]))
        }
    }

    @Test func theProvisionersKeysBecomeTheClaim() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create(parameters: [
            "csi.storage.k8s.io/pvc/name": "data", "csi.storage.k8s.io/pvc/namespace": "team",
            "csi.storage.k8s.io/pv/name": "pvc-1", "stageOut": "background", "nodeLossTimeout": "2m",
        ])
        let record = try await bench.catalog.volume(try bench.id(volume)).record
        #expect(record.claim == VolumeRecord.Claim(namespace: "team", name: "data"))
        #expect(record.parameters == VolumeParameters(stageOut: .background, nodeLossTimeout: 120))
        await expectStatus(.invalidArgument, "csi.storage.k8s.io/other", "compressionLevel") {
            try await bench.create("pvc-2", parameters: ["csi.storage.k8s.io/other": "x"])
        }
    }

    @Test func namesAreChecked() async throws {
        let bench = try await Bench.withNodes()
        await expectStatus(.invalidArgument, "name is missing") { try await bench.create("") }
        let longest = String(repeating: "n", count: 128)
        #expect(try await bench.create(longest).capacityBytes > 0)
        await expectStatus(.invalidArgument, "name", "129", "128") { try await bench.create(longest + "n") }
        await expectStatus(.invalidArgument, "name", "4096 bytes") {
            try await bench.create(String(repeating: "\u{1F4BE}", count: 1024))
        }
        await expectStatus(.invalidArgument, "name", "U+1B") { try await bench.create("a\u{1B}b") }
        for name in ["../../etc/passwd", "a b", "/", "ü".precomposedStringWithCanonicalMapping, "."] {
            let volume = try await bench.create(name)
            #expect(VolumeID(volume.volumeID) != nil)
        }
    }

    @Test(arguments: [
        (VolumeCapability(), "access_mode"),
        (VolumeCapability(accessType: .block(.init())), "access_mode"),
        (VolumeCapability(accessMode: .init(mode: .singleNodeWriter)), "access_type"),
        (mountCapability(.unknown), "access_mode"),
        (mountCapability(.multiNodeSingleWriter), "MULTI_NODE_SINGLE_WRITER"),
        (blockCapability(.multiNodeMultiWriter), "MULTI_NODE_MULTI_WRITER"),
        (mountCapability(.unrecognized(77)), "77"),
        (mountCapability(fsType: "ext3"), "ext3"),
        (mountCapability(group: "1000"), "volume_mount_group"),
        (mountCapability(fsType: String(repeating: "x", count: 129)), "fs_type"),
        (mountCapability(flags: [String(repeating: "x", count: 4097)]), "mount_flags"),
        (mountCapability(flags: ["a\u{7}"]), "mount_flags"),
    ])
    func capabilitiesThatCannotBeAreRefused(_ capability: VolumeCapability, _ word: String) async throws {
        let bench = try await Bench.withNodes()
        await expectStatus(.invalidArgument, word) {
            try await bench.controller.createVolume(createRequest(capabilities: [mountCapability(), capability]))
        }
        #expect(try await bench.catalog.volumes(after: nil, limit: 1).isEmpty)
    }

    @Test(arguments: [
        mountCapability(.singleNodeSingleWriter), mountCapability(.singleNodeMultiWriter, fsType: "ext4"),
        mountCapability(.singleNodeReaderOnly, flags: ["noatime"]), blockCapability(), mountCapability(fsType: "xfs"),
    ])
    func capabilitiesThatCanBe(_ capability: VolumeCapability) async throws {
        let bench = try await Bench.withNodes()
        let response = try await bench.controller.createVolume(createRequest(capabilities: [capability]))
        #expect(response.volume != nil)
    }

    @Test func capabilitiesAreRequiredAndAgree() async throws {
        let bench = try await Bench.withNodes()
        await expectStatus(.invalidArgument, "volume_capabilities is missing") {
            try await bench.controller.createVolume(createRequest(capabilities: []))
        }
        await expectStatus(.invalidArgument, "ext4 and xfs") {
            try await bench.controller.createVolume(
                createRequest(capabilities: [mountCapability(fsType: "xfs"), mountCapability(fsType: "ext4")]))
        }
    }

    @Test func sizesAreChecked() async throws {
        let bench = try await Bench.withNodes()
        await expectStatus(.invalidArgument, "-1") {
            try await bench.controller.createVolume(createRequest(required: -1))
        }
        await expectStatus(.invalidArgument, "-5") {
            try await bench.controller.createVolume(createRequest(required: 0, limit: -5))
        }
        await expectStatus(.outOfRange, "below required_bytes") {
            try await bench.controller.createVolume(createRequest(required: 2 << 30, limit: 1 << 30))
        }
        await expectStatus(.outOfRange) { try await bench.controller.createVolume(createRequest(required: .max)) }
        var request = createRequest()
        request.capacityRange = nil
        #expect(try await bench.controller.createVolume(request).volume?.capacityBytes == 1 << 30)
    }

    @Test(arguments: [("", Int64(16 << 20)), ("ext4", 16 << 20), ("xfs", 300 << 20), ("btrfs", 128 << 20)])
    func eachFileSystemHasItsLeastSize(_ fileSystem: String, _ least: Int64) async throws {
        let bench = try await Bench.withNodes()
        let capabilities = [mountCapability(fsType: fileSystem)]
        let small = try await bench.controller.createVolume(createRequest(required: 1, capabilities: capabilities))
        #expect(small.volume?.capacityBytes == least)
        // Where nobody says how large, the least is not what is meant.
        let any = try await bench.controller.createVolume(
            createRequest("pvc-2", required: 0, capabilities: capabilities))
        #expect(any.volume?.capacityBytes == 1 << 30)
        await expectStatus(.outOfRange, "the least that \(fileSystem.isEmpty ? "ext4" : fileSystem) needs") {
            try await bench.controller.createVolume(
                createRequest("pvc-3", required: 0, limit: least - 1, capabilities: capabilities))
        }
    }

    @Test func parametersHaveToFitTheFileSystem() async throws {
        let bench = try await Bench.withNodes()
        await expectStatus(.invalidArgument, "inodeRatio", "btrfs") {
            try await bench.controller.createVolume(
                createRequest(capabilities: [mountCapability(fsType: "btrfs")], parameters: ["inodeRatio": "64Ki"]))
        }
        await expectStatus(.invalidArgument, "journalSize", "at most 128.0 MiB") {
            try await bench.controller.createVolume(createRequest(parameters: ["journalSize": "256Mi"]))
        }
        await expectStatus(.invalidArgument, "journalSize", "raw block volume") {
            try await bench.controller.createVolume(
                createRequest(capabilities: [blockCapability()], parameters: ["journalSize": "8Mi"]))
        }
        let made = try await bench.controller.createVolume(createRequest(parameters: ["journalSize": "8Mi"]))
        let id = try bench.id(try #require(made.volume))
        #expect(try await bench.catalog.volume(id).record.parameters.journalSize == 8 << 20)
        let confirmed = try await bench.controller.validateVolumeCapabilities(
            ValidateVolumeCapabilitiesRequest(
                volumeID: id.rawValue, volumeCapabilities: [mountCapability(fsType: "btrfs")]))
        #expect(confirmed.confirmed == nil && confirmed.message.contains("journalSize"))
    }

    @Test func xfsNeedsSomeSize() async throws {
        let bench = try await Bench.withNodes()
        let xfs = [mountCapability(fsType: "xfs")]
        let small = try await bench.controller.createVolume(createRequest(required: 16 << 20, capabilities: xfs))
        #expect(small.volume?.capacityBytes == 300 << 20)
        #expect(
            try await bench.controller.createVolume(createRequest(required: 16 << 20, capabilities: xfs)) == small)
        await expectStatus(.outOfRange, "xfs") {
            try await bench.controller.createVolume(
                createRequest("pvc-2", required: 16 << 20, limit: 64 << 20, capabilities: xfs))
        }
        let ext4 = try await bench.controller.createVolume(
            createRequest("pvc-3", required: 16 << 20, limit: 64 << 20, capabilities: [mountCapability(fsType: "ext4")])
        )
        #expect(ext4.volume?.capacityBytes == 16 << 20)
    }

    @Test func whatIsNotSupportedIsRefused() async throws {
        let bench = try await Bench.withNodes()
        var request = createRequest()
        request.mutableParameters = ["iops": "5"]
        await expectStatus(.invalidArgument, "mutable_parameters", "iops") {
            try await bench.controller.createVolume(request)
        }
        await expectStatus(.invalidArgument, "unknown StorageClass parameter 'color'", "blockSize") {
            try await bench.create(parameters: ["color": "blue"])
        }
        await expectStatus(.invalidArgument, "parameters", "4096") {
            try await bench.create(parameters: ["pool": String(repeating: "p", count: 5000)])
        }
    }

    @Test func secretsAreNeverLogged() async throws {
        let bench = try await Bench.withNodes()
        var request = createRequest()
        request.secrets = ["password": "hunter2"]
        _ = try await bench.controller.createVolume(request)
        request.parameters = ["wrong": "x"]
        await expectStatus(.invalidArgument) { try await bench.controller.createVolume(request) }
        #expect(!bench.log.messages().isEmpty)
        #expect(!bench.log.messages().contains { $0.contains("hunter2") })
    }

    // MARK: Topology and room

    private func request(in topologies: [[String: String]], pool: String? = nil) -> CreateVolumeRequest {
        var request = createRequest(parameters: pool.map { ["pool": $0] } ?? [:])
        request.accessibilityRequirements = TopologyRequirement(
            requisite: topologies.map { Topology(segments: $0) })
        return request
    }

    @Test func topologiesHaveToHaveThePool() async throws {
        let bench = try await Bench.withNodes()
        try await bench.register("f", pool: "fast")
        try await bench.register("foreign", pool: "exotic", cluster: "d")
        let node = "topology.csi.perssd.io/node"
        func pool(_ name: String) -> String { "pool.csi.perssd.io/" + name }
        for good in [[node: "a"], [pool("default"): "true"], [node: "b", pool("default"): "true"], [:]] {
            _ = try await bench.controller.createVolume(request(in: [good]))
        }
        _ = try await bench.controller.createVolume(request(in: [[node: "f"], [node: "a"]]))
        try await bench.catalog.deleteVolume(VolumeID(name: "pvc-1"))
        let elsewhere = [
            [node: "f"], [node: "nobody"], [pool("fast"): "true"], [node: "a", pool("fast"): "true"], ["zone": "z"],
        ]
        for bad in elsewhere {
            await expectStatus(.resourceExhausted, "default", bad.keys.sorted()[0]) {
                try await bench.controller.createVolume(request(in: [bad]))
            }
        }
        await expectStatus(.resourceExhausted, "'exotic'", "default, fast") {
            try await bench.controller.createVolume(createRequest(parameters: ["pool": "exotic"]))
        }
        let fast = try await bench.controller.createVolume(
            request(in: [[node: "f", pool("fast"): "true"]], pool: "fast"))
        #expect(fast.volume?.accessibleTopology == [Topology(segments: [pool("fast"): "true"])])
    }

    @Test func withoutNodesThereIsNoRoom() async throws {
        await expectStatus(.resourceExhausted, "none") { try await Bench().create() }
    }

    @Test func aVolumeHasToFitIntoSomePool() async throws {
        let bench = Bench()
        try await bench.register("a", total: 1 << 30)
        try await bench.register("b", total: 3 << 30, free: 0)
        _ = try await bench.controller.createVolume(createRequest(required: 3 << 30))
        await expectStatus(.resourceExhausted, "3.0 GiB", "node b", "4.0 GiB") {
            try await bench.controller.createVolume(createRequest("pvc-2", required: 4 << 30))
        }
    }

    // MARK: Delete

    @Test func deletingIsIdempotent() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create()
        for _ in 0..<2 {
            _ = try await bench.controller.deleteVolume(DeleteVolumeRequest(volumeID: volume.volumeID))
        }
        for id in [strangeVolume.volumeID, "no id of ours", "../x", "vol-"] {
            _ = try await bench.controller.deleteVolume(DeleteVolumeRequest(volumeID: id))
        }
        await expectStatus(.invalidArgument, "volume_id is missing") {
            try await bench.controller.deleteVolume(DeleteVolumeRequest())
        }
        await expectStatus(.invalidArgument, "volume_id", "129") {
            try await bench.controller.deleteVolume(
                DeleteVolumeRequest(volumeID: String(repeating: "v", count: 129)))
        }
    }

    @Test func deletingWhatIsPublishedIsRefused() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create()
        _ = try await bench.publish(volume)
        await expectStatus(.failedPrecondition, "c/a", "unpublish") {
            try await bench.controller.deleteVolume(DeleteVolumeRequest(volumeID: volume.volumeID))
        }
        try await bench.unpublish(volume)
        _ = try await bench.controller.deleteVolume(DeleteVolumeRequest(volumeID: volume.volumeID))
        let again = try await bench.create()
        #expect(again.volumeID == volume.volumeID)
        #expect(again.volumeContext != volume.volumeContext)
    }
}
