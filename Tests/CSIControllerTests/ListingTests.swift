import CSI
import CatalogTestSupport
import Errors
import Persistence
import RPC
import Synchronization
import Testing

@Suite struct ListingTests {
    private func list(_ bench: Bench, _ limit: Int32 = 0, _ token: String = "") async throws -> ListVolumesResponse {
        try await bench.controller.listVolumes(ListVolumesRequest(maxEntries: limit, startingToken: token))
    }

    private func ids(_ response: ListVolumesResponse) -> [String] {
        response.entries.compactMap { $0.volume?.volumeID }
    }

    @Test func listsAllVolumesAndWhereTheyAre() async throws {
        let bench = try await Bench.withNodes()
        #expect(try await list(bench).entries.isEmpty)
        let first = try await bench.create("pvc-1")
        let second = try await bench.create("pvc-2")
        let gone = try await bench.create("pvc-3")
        _ = try await bench.publish(second, on: "b")
        _ = try await bench.controller.deleteVolume(DeleteVolumeRequest(volumeID: gone.volumeID))
        let response = try await list(bench)
        #expect(response.nextToken.isEmpty)
        #expect(ids(response) == [first, second].map(\.volumeID).sorted())
        for entry in response.entries {
            let isSecond = entry.volume?.volumeID == second.volumeID
            #expect(entry.volume == (isSecond ? second : first))
            #expect(entry.status?.publishedNodeIDs == (isSecond ? ["b"] : []))
        }
        // Another cluster's nodes have other ids.
        let other = ControllerClient(DirectChannel(bench.plugin(cluster: "d").methods()))
        let theirs = try await other.listVolumes(ListVolumesRequest())
        #expect(theirs.entries.count == 2)
        #expect(theirs.entries.allSatisfy { $0.status?.publishedNodeIDs.isEmpty == true })
    }

    @Test func whatANodeTookItselfIsNotPublished() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create()
        try await bench.open(volume)
        #expect(try await list(bench).entries.first?.status?.publishedNodeIDs == [])
    }

    @Test func pagesWhileVolumesComeAndGo() async throws {
        let bench = try await Bench.withNodes()
        var made: [String] = []
        for index in 0..<7 { made.append(try await bench.create("pvc-\(index)").volumeID) }
        made.sort()
        let first = try await list(bench, 3)
        #expect(ids(first) == Array(made[0..<3]))
        #expect(!first.nextToken.isEmpty)
        // The token outlives the volume it names.
        for id in made[1...3] { _ = try await bench.controller.deleteVolume(DeleteVolumeRequest(volumeID: id)) }
        let second = try await list(bench, 3, first.nextToken)
        #expect(ids(second) == Array(made[4..<7]))
        #expect(second.nextToken.isEmpty)
        #expect(ids(try await list(bench, 100)).count == 4)
    }

    @Test func badPagesAreRefused() async throws {
        let bench = try await Bench.withNodes()
        await expectStatus(.invalidArgument, "max_entries", "-1") { try await list(bench, -1) }
        for token in ["invalid-token", "vol-", "17", "../x"] {
            await expectStatus(.aborted, "starting_token", "begin anew") { try await list(bench, 0, token) }
        }
    }

    // MARK: Validation

    private func validate(
        _ bench: Bench, _ volume: Volume, _ capabilities: [VolumeCapability] = [mountCapability()],
        _ change: (inout ValidateVolumeCapabilitiesRequest) -> Void = { _ in }
    ) async throws -> ValidateVolumeCapabilitiesResponse {
        var request = ValidateVolumeCapabilitiesRequest(
            volumeID: volume.volumeID, volumeContext: volume.volumeContext, volumeCapabilities: capabilities)
        change(&request)
        return try await bench.controller.validateVolumeCapabilities(request)
    }

    @Test func confirmsWhatItChecked() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create(parameters: ["stageOut": "background"])
        let capabilities = [mountCapability(fsType: "ext4"), blockCapability(.singleNodeSingleWriter)]
        let parameters = ["stageOut": "background", "compressionLevel": "1"]
        let response = try await validate(bench, volume, capabilities) { $0.parameters = parameters }
        #expect(response.message.isEmpty)
        #expect(response.confirmed?.volumeCapabilities == capabilities)
        #expect(response.confirmed?.volumeContext == volume.volumeContext)
        #expect(response.confirmed?.parameters == parameters)
    }

    @Test func doesNotConfirmWhatIsNotSo() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.controller.createVolume(createRequest(required: 16 << 20)).volume ?? Volume()
        func expectDenied(
            _ word: String, _ capability: VolumeCapability = mountCapability(),
            _ change: (inout ValidateVolumeCapabilitiesRequest) -> Void = { _ in }
        ) async throws {
            let response = try await validate(bench, volume, [mountCapability(), capability], change)
            #expect(response.confirmed == nil)
            #expect(response.message.contains(word), "'\(word)' is not in: \(response.message)")
        }
        try await expectDenied("MULTI_NODE_MULTI_WRITER", mountCapability(.multiNodeMultiWriter))
        try await expectDenied("zfs", mountCapability(fsType: "zfs"))
        try await expectDenied("xfs", mountCapability(fsType: "xfs"))
        try await expectDenied("other parameters") { $0.parameters = ["pool": "fast"] }
        try await expectDenied("color") { $0.parameters = ["color": "blue"] }
        try await expectDenied("volume_context") { $0.volumeContext = ["incarnation": "x"] }
        try await expectDenied("mutable_parameters") { $0.mutableParameters = ["iops": "1"] }
    }

    @Test func validationChecksItsFields() async throws {
        let bench = try await Bench.withNodes()
        let volume = try await bench.create()
        await expectStatus(.invalidArgument, "volume_id is missing") { try await validate(bench, Volume()) }
        await expectStatus(.invalidArgument, "volume_capabilities is missing") {
            try await validate(bench, volume, [])
        }
        await expectStatus(.invalidArgument, "volume_capabilities[0]", "access_type") {
            try await validate(bench, volume, [VolumeCapability(accessMode: .init(mode: .singleNodeWriter))])
        }
        await expectStatus(.notFound) { try await validate(bench, strangeVolume) }
        await expectStatus(.notFound, "no id of ours") { try await validate(bench, Volume(volumeID: "no id of ours")) }
    }

    // MARK: Capabilities and identity

    @Test func whatItCanDo() async throws {
        let bench = Bench()
        let calls = try await bench.controller.controllerGetCapabilities(ControllerGetCapabilitiesRequest())
        let names = calls.capabilities.map { capability -> String in
            guard case .rpc(let rpc) = capability.type else { return "" }
            return rpc.type.name
        }
        #expect(
            Set(names) == [
                "CREATE_DELETE_VOLUME", "PUBLISH_UNPUBLISH_VOLUME", "LIST_VOLUMES", "LIST_VOLUMES_PUBLISHED_NODES",
                "GET_CAPACITY", "SINGLE_NODE_MULTI_WRITER", "PUBLISH_READONLY", "EXPAND_VOLUME",
                "CREATE_DELETE_SNAPSHOT", "LIST_SNAPSHOTS", "GET_SNAPSHOT", "CLONE_VOLUME", "GET_VOLUME",
                "MODIFY_VOLUME",
            ])
    }

    @Test func whoItIs() async throws {
        let identity = IdentityClient(DirectChannel(Bench().plugin().methods()))
        let info = try await identity.getPluginInfo(GetPluginInfoRequest())
        #expect(info.name == "csi.perssd.io")
        #expect(info.vendorVersion == "1.2.3")
        let services = try await identity.getPluginCapabilities(GetPluginCapabilitiesRequest()).capabilities
        #expect(
            services.map(\.type) == [
                .service(PluginCapability.Service(type: .controllerService)),
                .service(PluginCapability.Service(type: .volumeAccessibilityConstraints)),
                .service(PluginCapability.Service(type: .groupControllerService)),
                .service(PluginCapability.Service(type: .snapshotMetadataService)),
                .volumeExpansion(PluginCapability.VolumeExpansion(type: .online)),
            ])
    }

    @Test func probeTellsTheTruthAboutTheStore() async throws {
        let store = MemoryStore()
        let fine = IdentityClient(DirectChannel(Bench(store).plugin().methods()))
        let begun = ContinuousClock.now
        for _ in 0..<3 { #expect(try await fine.probe(ProbeRequest()).ready == true) }
        // One question to the store for all of them.
        #expect(store.calls.map(\.operation) == [.check])

        store.intervene(before: { _ in throw PerSSDError(.unauthenticated, "the access key is unknown") })
        let remembered = try? await fine.probe(ProbeRequest()).ready
        // On a machine that is busy enough the answer is old by now, and another one is right.
        if .now - begun < .seconds(5) { #expect(remembered == true) }
        let broken = IdentityClient(DirectChannel(Bench(store).plugin().methods()))
        for _ in 0..<2 {
            await expectStatus(.failedPrecondition, "memory:", "the access key is unknown") {
                try await broken.probe(ProbeRequest())
            }
        }
        store.intervene()
        try await Task.sleep(for: .milliseconds(5100))
        #expect(try await broken.probe(ProbeRequest()).ready == true)
    }
}
