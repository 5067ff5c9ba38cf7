import CSI
import Errors
import Persistence

/// Ephemeral volumes: kubelet makes up their ids, and says only with NodePublishVolume that they are such.
extension NodePlugin {
    func publishEphemeral(
        _ request: NodePublishVolumeRequest, _ capability: VolumeCapability, until deadline: ContinuousClock.Instant
    ) async throws {
        guard VolumeID(request.volumeID) == nil else {
            throw PerSSDError(
                .invalidArgument, "volume_id \(request.volumeID) is the id of a volume that outlives its pod",
                remedy: "give an ephemeral volume another id")
        }
        let attributes = try EphemeralAttributes(request.volumeContext, capability)
        let path = try await publisher.resolve(target: request.targetPath)
        var publication = Publication(capability, at: path, readOnly: request.readonly)
        if case .mount(_, let flags) = publication.access {
            publication.access = .mount(fileSystem: attributes.fileSystem, flags: flags)
        }
        try await ephemerals.publish(
            EphemeralID(name: request.volumeID), PublishRequest(publication: publication, ephemeral: attributes),
            until: deadline)
    }

    /// - Returns: whether the volume is an ephemeral one, and is gone; also one that had gone before, where the id can be no
    ///   other volume's and nothing is at the target.
    func unpublishEphemeral(
        _ request: NodeUnpublishVolumeRequest, until deadline: ContinuousClock.Instant
    ) async throws -> Bool {
        let id = EphemeralID(name: request.volumeID)
        let isThere = await ephemerals.has(id)
        guard isThere || Self.isInline(request.volumeID) else { return false }
        let path = try await resolved(request.targetPath, tolerating: [.notFound])
        if isThere {
            try await ephemerals.unpublish(id, path: path, until: deadline)
        } else {
            // An answer that got lost is asked for again, and a mount of something else is not taken away.
            try await publisher.unpublish(device: nil, from: path)
        }
        return true
    }

    /// Whether kubelet has made up the id for a volume in a pod's description: "csi-" and a SHA-256. No volume of ours has it.
    private static func isInline(_ id: String) -> Bool {
        id.hasPrefix("csi-") && id.utf8.count == 68 && id.dropFirst(4).allSatisfy(\.isHexDigit)
    }
}
