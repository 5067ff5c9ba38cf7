import CSI
import Errors
import LinuxSystem
import LocalVolumes
import Persistence
import RPC

extension NodePlugin: NodeService {
    public func nodeGetInfo(_ request: NodeGetInfoRequest, context: RPCContext) async throws -> NodeGetInfoResponse {
        NodeGetInfoResponse(
            nodeID: node.node,
            accessibleTopology: Topology(segments: [
                Driver.TopologyKey.node: node.node, Driver.TopologyKey.pool: pool.name,
            ]))
    }

    public func nodeGetCapabilities(
        _ request: NodeGetCapabilitiesRequest, context: RPCContext
    ) async throws -> NodeGetCapabilitiesResponse {
        let kinds: [NodeServiceCapability.RPC.Kind] = [.getVolumeStats, .singleNodeMultiWriter]
        return NodeGetCapabilitiesResponse(
            capabilities: kinds.map { NodeServiceCapability(type: .rpc(NodeServiceCapability.RPC(type: $0))) })
    }

    public func nodePublishVolume(
        _ request: NodePublishVolumeRequest, context: RPCContext
    ) async throws -> NodePublishVolumeResponse {
        try RequestChecks.present(request.volumeID, "volume_id")
        try RequestChecks.present(request.targetPath, "target_path")
        let capability = try RequestChecks.capability(request.volumeCapability, "volume_capability")
        let epoch = try RequestChecks.epoch(request.publishContext)
        let id = try RequestChecks.volume(request.volumeID)
        let path = try await publisher.resolve(target: RequestChecks.path(request.targetPath, "target_path"))
        let access: Publication.Access =
            switch capability.access {
            case .block: .block
            case .mount(let fileSystem, let flags): .mount(fileSystem: fileSystem, flags: flags)
            }
        let publication = Publication(
            path: path, access: access, isReadOnly: request.readonly || capability.mode == .singleNodeReaderOnly,
            isExclusive: capability.mode == .singleNodeSingleWriter)
        try await volumes.actor(for: id).publish(
            PublishRequest(publication: publication, epoch: epoch), until: patience(context))
        return NodePublishVolumeResponse()
    }

    public func nodeUnpublishVolume(
        _ request: NodeUnpublishVolumeRequest, context: RPCContext
    ) async throws -> NodeUnpublishVolumeResponse {
        try RequestChecks.present(request.volumeID, "volume_id")
        try RequestChecks.present(request.targetPath, "target_path")
        let id = try RequestChecks.volume(request.volumeID)
        let path = try await resolved(RequestChecks.path(request.targetPath, "target_path"))
        let actor = await volumes.actor(for: id)
        try await actor.unpublish(
            path: path, inBackground: await stagesOutInBackground(id), until: patience(context))
        await volumes.forgetIfNothing(id)
        return NodeUnpublishVolumeResponse()
    }

    /// The path as the mount table has it; a path that no target can have stays as it is,
    /// for nothing is published there.
    private func resolved(_ path: String) async throws -> String {
        do {
            return try await publisher.resolve(target: path)
        } catch let error as PerSSDError where error.code == .notFound || error.code == .invalidArgument {
            return path
        }
    }

    /// The volume's parameter. Where it cannot be known now, the stage-out, which needs the bucket too, is waited for.
    private func stagesOutInBackground(_ id: VolumeID) async -> Bool {
        (try? await volumes.record(of: id))?.parameters.stageOut == .background
    }

    public func nodeGetVolumeStats(
        _ request: NodeGetVolumeStatsRequest, context: RPCContext
    ) async throws -> NodeGetVolumeStatsResponse {
        try RequestChecks.present(request.volumeID, "volume_id")
        try RequestChecks.present(request.volumePath, "volume_path")
        let id = try RequestChecks.volume(request.volumeID)
        let path = try await resolved(request.volumePath)
        return NodeGetVolumeStatsResponse(usage: try await volumes.usage(of: id, at: path).units)
    }
}

extension VolumeUsageReport {
    /// As the specification counts it; of a device only the size is known.
    fileprivate var units: [VolumeUsage] {
        switch self {
        case .device(let bytes): [VolumeUsage(total: Int64(clamping: bytes), unit: .bytes)]
        case .fileSystem(let stats):
            [
                VolumeUsage(
                    available: Int64(clamping: stats.availableBytes), total: Int64(clamping: stats.totalBytes),
                    used: Int64(clamping: stats.totalBytes - stats.freeBytes), unit: .bytes),
                VolumeUsage(
                    available: Int64(clamping: stats.freeInodes), total: Int64(clamping: stats.totalInodes),
                    used: Int64(clamping: stats.totalInodes - stats.freeInodes), unit: .inodes),
            ]
        }
    }
}
