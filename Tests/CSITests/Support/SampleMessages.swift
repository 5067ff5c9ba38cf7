@testable import CSI

/// Messages as a plugin or an orchestrator would make them.
enum SampleMessages {
    static let mounted = VolumeCapability(
        accessType: .mount(.init(fsType: "xfs", mountFlags: ["noatime", "", "nodiscard"], volumeMountGroup: "1000")),
        accessMode: .init(mode: .singleNodeSingleWriter))
    static let block = VolumeCapability(accessType: .block(.init()), accessMode: .init(mode: .unrecognized(4711)))

    static let createVolume = CreateVolumeRequest(
        name: "pvc-äöü-€-💾",
        capacityRange: .init(requiredBytes: 1 << 40, limitBytes: .max),
        volumeCapabilities: [mounted, block, .init()],
        parameters: ["blockSize": "1 MiB", "": "empty key", "empty value": ""],
        secrets: ["user": "scientist", "password": "correct horse"],
        volumeContentSource: .init(type: .snapshot(.init(snapshotID: "snap-1"))),
        accessibilityRequirements: .init(
            requisite: [.init(segments: ["pool": "a"]), .init()], preferred: [.init(segments: ["pool": "b"])]),
        mutableParameters: ["checkpointInterval": "5m"])

    static let snapshot = Snapshot(
        sizeBytes: -1, snapshotID: "snap-1", sourceVolumeID: "vol-1",
        creationTime: .init(seconds: -62_135_596_800, nanoseconds: 999_999_999), readyToUse: true, groupSnapshotID: "g")

    static let all: [any CSIMessage] = [
        createVolume,
        snapshot,
        CreateVolumeResponse(),
        CreateVolumeResponse(volume: Volume()),
        CreateVolumeResponse(
            volume: Volume(
                capacityBytes: 42, volumeID: "vol-1", volumeContext: ["a": "b"],
                contentSource: .init(type: .volume(.init(volumeID: "vol-0"))),
                accessibleTopology: [.init(segments: ["z": "1", "a": "2"])])),
        ProbeResponse(ready: nil), ProbeResponse(ready: false), ProbeResponse(ready: true),
        GetCapacityResponse(availableCapacity: .min, maximumVolumeSize: 0, minimumVolumeSize: nil),
        GetCapacityResponse(availableCapacity: 7, maximumVolumeSize: .max, minimumVolumeSize: -5),
        PluginCapability(), PluginCapability(type: .service(.init())),
        PluginCapability(type: .volumeExpansion(.init(type: .offline))),
        ControllerGetCapabilitiesResponse(
            capabilities: ControllerServiceCapability.RPC.Kind.allCases.map { .init(type: .rpc(.init(type: $0))) }),
        ListVolumesResponse(
            entries: [
                .init(
                    volume: Volume(volumeID: "v"),
                    status: .init(publishedNodeIDs: ["n1", "n2"], volumeCondition: .init(abnormal: true, message: "m")))
            ], nextToken: "2"),
        NodePublishVolumeRequest(
            volumeID: "v", publishContext: ["epoch": "3"], stagingTargetPath: "", targetPath: "/var/lib/kubelet/x",
            volumeCapability: mounted, readonly: true, secrets: ["k": "s"], volumeContext: ["c": "d"]),
        NodeGetVolumeStatsResponse(
            usage: [.init(available: 1, total: 3, used: 2, unit: .bytes), .init(total: 9, unit: .inodes)],
            volumeCondition: .init(abnormal: false, message: "all is well")),
        NodeGetInfoResponse(nodeID: "node-1", maxVolumesPerNode: 16, accessibleTopology: .init(segments: ["n": "1"])),
        GetMetadataDeltaResponse(
            blockMetadataType: .variableLength, volumeCapacityBytes: 1 << 30,
            blockMetadata: [.init(byteOffset: 0, sizeBytes: 4096), .init(byteOffset: 1 << 20, sizeBytes: 65536)]),
        GetMetadataAllocatedRequest(snapshotID: "s", startingOffset: 1 << 40, maxResults: .min, secrets: ["a": "b"]),
        VolumeGroupSnapshot(
            groupSnapshotID: "g", snapshots: [snapshot, .init()], creationTime: .init(seconds: 1), readyToUse: false),
    ]
}
