import CSI
import CSIRules
import Errors
import LinuxSystem
import LocalVolumes
import Persistence
import RPC

extension NodePlugin: NodeService {
    /// Bytes of a path; the specification sets no bound but the system's (PATH_MAX).
    private static let pathLimit = 4095

    public func nodeGetInfo(_ request: NodeGetInfoRequest, context: RPCContext) async throws -> NodeGetInfoResponse {
        let info = registration.info
        await registration.told()
        return NodeGetInfoResponse(
            nodeID: info.nodeID, maxVolumesPerNode: Int64(info.maximumVolumes),
            accessibleTopology: Topology(segments: info.topology))
    }

    public func nodeGetCapabilities(
        _ request: NodeGetCapabilitiesRequest, context: RPCContext
    ) async throws -> NodeGetCapabilitiesResponse {
        let kinds: [NodeServiceCapability.RPC.Kind] = [
            .getVolumeStats, .singleNodeMultiWriter, .expandVolume, .volumeCondition,
        ]
        return NodeGetCapabilitiesResponse(
            capabilities: kinds.map { NodeServiceCapability(type: .rpc(NodeServiceCapability.RPC(type: $0))) })
    }

    public func nodePublishVolume(
        _ request: NodePublishVolumeRequest, context: RPCContext
    ) async throws -> NodePublishVolumeResponse {
        try RequestChecks.required(request.volumeID, "volume_id")
        try RequestChecks.required(request.targetPath, "target_path", limit: Self.pathLimit)
        try CapabilityRules.wellFormed(request.volumeCapability, "volume_capability")
        try RequestChecks.map(request.publishContext, "publish_context")
        try RequestChecks.map(request.volumeContext, "volume_context")
        guard let capability = request.volumeCapability else { return NodePublishVolumeResponse() }
        try CapabilityRules.supported(capability)
        if EphemeralAttributes.areIn(request.volumeContext) {
            try await publishEphemeral(request, capability, until: patience(context))
            return NodePublishVolumeResponse()
        }
        let id = try VolumeID(requested: request.volumeID)
        let path = try await publisher.resolve(target: request.targetPath)
        let publication = Publication(capability, at: path, readOnly: request.readonly)
        var wanted = try PublishRequest(publication, context: request.publishContext)
        wanted.use = use(request, publication)
        try await volumes.actor(for: id).publish(wanted, until: patience(context))
        return NodePublishVolumeResponse()
    }

    /// What the request says of who is to have the volume.
    private func use(_ request: NodePublishVolumeRequest, _ publication: Publication) -> VolumeUse? {
        let labels = WorkflowLabels(in: request.volumeContext)
        for omission in labels.omissions {
            logger.warning("\(omission)", metadata: ["volume": "\(request.volumeID)"])
        }
        let pod = VolumeUse.Pod(in: request.volumeContext)
        guard pod != nil || !labels.labels.isEmpty else { return nil }
        return VolumeUse(
            pod: pod, labels: labels.labels, isReadOnly: publication.isReadOnly, startedAt: catalog.time)
    }

    public func nodeUnpublishVolume(
        _ request: NodeUnpublishVolumeRequest, context: RPCContext
    ) async throws -> NodeUnpublishVolumeResponse {
        try RequestChecks.required(request.volumeID, "volume_id")
        try RequestChecks.required(request.targetPath, "target_path", limit: Self.pathLimit)
        if try await unpublishEphemeral(request, until: patience(context)) { return NodeUnpublishVolumeResponse() }
        let id = try VolumeID(requested: request.volumeID)
        let path = try await resolved(request.targetPath, tolerating: [.notFound])
        let actor = await volumes.actor(for: id)
        // Where they cannot be known now, the stage-out, which needs the bucket too, is waited for.
        let parameters = (try? await volumes.record(of: id))?.parameters
        let isInBackground = parameters?.stageOut == .background
        let deadline = patience(context)
        // kubelet asks again after two minutes at the latest.
        if !isInBackground { await volumes.noteAwaited(id, until: deadline + .seconds(150)) }
        try await actor.unpublish(
            path: path, inBackground: isInBackground,
            delay: isInBackground ? parameters?.stageOutDelay.map { .seconds($0) } : nil, until: deadline)
        // Else the controller would wait for a commit that cannot come.
        try await volumes.recordLossOfCopy(of: id)
        await volumes.forgetIfNothing(id)
        return NodeUnpublishVolumeResponse()
    }

    /// The path as the mount table has it.
    ///
    /// - Parameter tolerated: errors that say that nothing can be published there; the path is then as it was given.
    func resolved(_ path: String, tolerating tolerated: Set<PerSSDError.Code>) async throws -> String {
        do {
            return try await publisher.resolve(target: path)
        } catch let error as PerSSDError where tolerated.contains(error.code) {
            return path
        }
    }

    public func nodeExpandVolume(
        _ request: NodeExpandVolumeRequest, context: RPCContext
    ) async throws -> NodeExpandVolumeResponse {
        try RequestChecks.required(request.volumeID, "volume_id")
        try RequestChecks.required(request.volumePath, "volume_path", limit: Self.pathLimit)
        if let capability = request.volumeCapability {
            try CapabilityRules.wellFormed(capability, "volume_capability")
            try CapabilityRules.supported(capability)
        }
        let range = request.capacityRange ?? CapacityRange()
        let id = try VolumeID(requested: request.volumeID)
        let path = try await resolved(request.volumePath, tolerating: [.notFound, .invalidArgument])
        let bytes = try await volumes.expand(
            id, Expansion(path: path, requiredBytes: range.requiredBytes, limitBytes: range.limitBytes),
            until: patience(context))
        return NodeExpandVolumeResponse(capacityBytes: Int64(clamping: bytes))
    }

    public func nodeGetVolumeStats(
        _ request: NodeGetVolumeStatsRequest, context: RPCContext
    ) async throws -> NodeGetVolumeStatsResponse {
        try RequestChecks.required(request.volumeID, "volume_id")
        try RequestChecks.required(request.volumePath, "volume_path", limit: Self.pathLimit)
        let path = try await resolved(request.volumePath, tolerating: [.notFound, .invalidArgument])
        var report: VolumeReport
        if let scratch = await ephemerals.report(of: EphemeralID(name: request.volumeID), at: path) {
            report = scratch
        } else {
            report = try await volumes.report(of: VolumeID(requested: request.volumeID), at: path)
        }
        if let pool = report.pool, let problem = await poolWatch.problem(of: pool) { report.problems.append(problem) }
        if report.isInBucket, let problem = await storeWatch.problem() { report.problems.append(problem) }
        return NodeGetVolumeStatsResponse(usage: report.usage?.units ?? [], volumeCondition: report.condition)
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
                    used: Int64(clamping: stats.totalBytes - stats.freeBytes), unit: .bytes)
            ]
                // btrfs has no number of inodes that could be used up.
                + (stats.totalInodes == 0
                    ? []
                    : [
                        VolumeUsage(
                            available: Int64(clamping: stats.freeInodes), total: Int64(clamping: stats.totalInodes),
                            used: Int64(clamping: stats.totalInodes - stats.freeInodes), unit: .inodes)
                    ])
        }
    }
}
