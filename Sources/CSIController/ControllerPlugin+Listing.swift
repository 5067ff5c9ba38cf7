import CSI
import CSIRules
import Errors
import Persistence
import RPC

extension ControllerPlugin {
    public func controllerGetCapabilities(
        _ request: ControllerGetCapabilitiesRequest, context: RPCContext
    ) async throws -> ControllerGetCapabilitiesResponse {
        let calls: [ControllerServiceCapability.RPC.Kind] = [
            .createDeleteVolume, .publishUnpublishVolume, .listVolumes, .listVolumesPublishedNodes, .getCapacity,
            .singleNodeMultiWriter, .publishReadonly, .expandVolume, .createDeleteSnapshot, .listSnapshots,
            .getSnapshot, .cloneVolume, .getVolume, .modifyVolume,
        ]
        return ControllerGetCapabilitiesResponse(
            capabilities: calls.map {
                ControllerServiceCapability(type: .rpc(ControllerServiceCapability.RPC(type: $0)))
            })
    }

    /// All volumes of the bucket, in the order of their ids.
    public func listVolumes(
        _ request: ListVolumesRequest, context: RPCContext
    ) async throws -> ListVolumesResponse {
        let paging = try Paging(
            maxEntries: request.maxEntries, startingToken: request.startingToken, call: "ListVolumes"
        ) { VolumeID($0) }
        let found = try await catalog.volumes(after: paging.after, limit: paging.limit + 1)
        let page = found.prefix(paging.limit)
        let readers = try await catalog.readingNodes(of: page.map(\.record.volume), cluster: cluster)
        return ListVolumesResponse(
            entries: page.map { listing in
                ListVolumesResponse.Entry(
                    volume: message(listing.record),
                    status: ListVolumesResponse.VolumeStatus(
                        publishedNodeIDs: publishedNodes(listing.head, readers: readers[listing.record.volume])))
            },
            nextToken: found.count > paging.limit ? page.last?.record.volume.rawValue ?? "" : "")
    }

    public func validateVolumeCapabilities(
        _ request: ValidateVolumeCapabilitiesRequest, context: RPCContext
    ) async throws -> ValidateVolumeCapabilitiesResponse {
        let id = try VolumeID.named(request.volumeID)
        try CapabilityRules.wellFormed(request.volumeCapabilities)
        try RequestChecks.map(request.volumeContext, "volume_context")
        try RequestChecks.map(request.parameters, "parameters")
        try RequestChecks.map(request.mutableParameters, "mutable_parameters")
        guard let id else { throw Self.noVolume(request.volumeID) }
        let record = try await catalog.volume(id).record
        do {
            try CapabilityRules.supported(request.volumeCapabilities)
            try Self.requireSame(request, record)
        } catch let error as PerSSDError where error.code == .invalidArgument {
            return ValidateVolumeCapabilitiesResponse(message: error.description)
        }
        return ValidateVolumeCapabilitiesResponse(
            confirmed: ValidateVolumeCapabilitiesResponse.Confirmed(
                volumeContext: request.volumeContext, volumeCapabilities: request.volumeCapabilities,
                parameters: request.parameters, mutableParameters: request.mutableParameters))
    }

    private static func requireSame(_ request: ValidateVolumeCapabilitiesRequest, _ record: VolumeRecord) throws {
        guard try record.parameters.changed(to: request.mutableParameters) == record.parameters else {
            throw PerSSDError(.invalidArgument, "the volume has other mutable_parameters")
        }
        for capability in request.volumeCapabilities {
            let smallest = CapabilityRules.smallest([capability])
            guard record.capacityBytes >= UInt64(smallest) else {
                throw PerSSDError(
                    .invalidArgument,
                    "the volume has \(record.capacityBytes) bytes, and \(capability.fileSystem ?? "") needs \(smallest)"
                )
            }
            try record.parameters.checkFileSystem(capability.fileSystem, capacityBytes: nil)
        }
        let context = context(of: record)
        for (key, value) in request.volumeContext.sorted(by: { $0.key < $1.key }) where context[key] != value {
            throw PerSSDError(.invalidArgument, "volume_context has '\(key.prefix(100))', which the volume has not so")
        }
        guard !request.parameters.isEmpty else { return }
        let made = try parse(request.parameters).parameters.changed(to: request.mutableParameters)
        guard record.wasMade(with: made) else {
            throw PerSSDError(.invalidArgument, "the volume was made with other parameters")
        }
    }

    /// The ids of this cluster's nodes that a controller published the volume on.
    func publishedNodes(_ head: Head, readers: [String]?) -> [String] {
        let readers = readers ?? []
        guard let lease = head.lease, lease.publication != nil, lease.holder.cluster == cluster,
            !readers.contains(lease.holder.node)
        else { return readers }
        return [lease.holder.node] + readers
    }

    static func noVolume(_ id: String) -> PerSSDError {
        PerSSDError(.notFound, "there is no volume '\(id)'")
    }
}
