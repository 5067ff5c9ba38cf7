import CSI
import CSIRules
import Errors
import Persistence
import RPC
import Units

extension ControllerPlugin {
    public func createVolume(
        _ request: CreateVolumeRequest, context: RPCContext
    ) async throws -> CreateVolumeResponse {
        let new = try newVolume(request)
        let requisite = request.accessibilityRequirements?.requisite ?? []
        do {
            // What was made already is answered whatever has become of the nodes since.
            _ = try await catalog.volume(VolumeID(name: new.name))
        } catch let error as PerSSDError where error.code == .notFound {
            if case .volume(let source) = new.source { try await settleToClone(source, until: context.deadline) }
            let capacity = try await catalog.capacity(of: new)
            let placement = try await placement(of: new.parameters.pool, in: requisite)
            try placement.require(capacity: capacity, in: requisite)
        }
        let record = try await catalog.createVolume(new)
        logger.info(
            "volume is there",
            metadata: [
                "volume": "\(record.volume)", "for": "\(record.title)", "size": "\(ByteCount(record.capacityBytes))",
                "pool": "\(record.parameters.pool)",
            ])
        return CreateVolumeResponse(volume: message(record))
    }

    public func deleteVolume(
        _ request: DeleteVolumeRequest, context: RPCContext
    ) async throws -> DeleteVolumeResponse {
        // An id that no volume can have is one that does not exist, and deleting that succeeds.
        guard let id = try VolumeID.named(request.volumeID) else { return DeleteVolumeResponse() }
        let holder = try await catalog.deleteVolume(id)
        logger.info("volume is deleted", metadata: ["volume": "\(id)"])
        if let holder, holder.cluster == cluster { await tellOfDeletion(holder, id, until: context.deadline) }
        return DeleteVolumeResponse()
    }

    /// The node keeps back what nobody needs any more. It would see that before it sends anything; told, it has the room now.
    private func tellOfDeletion(
        _ holder: NodeReference, _ id: VolumeID, until deadline: ContinuousClock.Instant?
    ) async {
        let limit = ContinuousClock.now + Detach.agentPatience
        do {
            try await agents.handOver(id, on: holder, until: min(deadline ?? limit, limit))
        } catch {
            logger.notice(
                "a volume is deleted, and its node learns of it a little later: \(error)",
                metadata: ["volume": "\(id)", "node": "\(holder)"])
        }
    }

    private func newVolume(_ request: CreateVolumeRequest) throws -> NewVolume {
        try RequestChecks.required(request.name, "name")
        try CapabilityRules.wellFormed(request.volumeCapabilities)
        try CapabilityRules.supported(request.volumeCapabilities)
        try RequestChecks.map(request.parameters, "parameters")
        try RequestChecks.map(request.mutableParameters, "mutable_parameters")
        let source = try Self.source(request.volumeContentSource)
        try CapabilityRules.canBeFilled(request.volumeCapabilities, isClone: source != nil)
        let (made, claim) = try Self.parse(request.parameters)
        // A VolumeAttributesClass says more than the StorageClass.
        let parameters = try made.changed(to: request.mutableParameters)
        try parameters.requireConsistent()
        let range = request.capacityRange ?? CapacityRange()
        let smallest = CapabilityRules.smallest(request.volumeCapabilities)
        // Bounds that are wrong by themselves are refused as they came.
        _ = try VolumeSize.choose(required: range.requiredBytes, limit: range.limitBytes)
        guard range.limitBytes == 0 || range.limitBytes >= smallest else {
            let fileSystems = Set(request.volumeCapabilities.compactMap(\.fileSystem)).sorted()
            throw PerSSDError(
                .outOfRange,
                "limit_bytes \(range.limitBytes) is below \(smallest), the least that "
                    + "\(fileSystems.joined(separator: " and ")) needs",
                remedy: "raise limit_bytes" + (fileSystems == ["ext4"] ? "" : ", or use ext4"))
        }
        // Where nobody says how large, it is the default, which is enough for all.
        let required = range.requiredBytes == 0 ? 0 : max(range.requiredBytes, smallest)
        let capacity = try VolumeSize.choose(required: required, limit: range.limitBytes)
        for capability in request.volumeCapabilities {
            // A clone brings its file system with it, as large as it is.
            try parameters.checkFileSystem(capability.fileSystem, capacityBytes: source == nil ? capacity : nil)
        }
        return NewVolume(
            name: request.name, requiredBytes: source == nil ? required : range.requiredBytes,
            limitBytes: range.limitBytes, parameters: parameters, claim: claim, source: source)
    }

    /// - Throws: `notFound` for an id that no volume or snapshot can have.
    private static func source(_ source: VolumeContentSource?) throws -> CloneSource? {
        guard let source else { return nil }
        switch source.type {
        case .snapshot(let snapshot):
            try RequestChecks.required(snapshot.snapshotID, "volume_content_source.snapshot.snapshot_id")
            guard let id = SnapshotID(snapshot.snapshotID) else { throw noSnapshot(snapshot.snapshotID) }
            return .snapshot(id)
        case .volume(let volume):
            try RequestChecks.required(volume.volumeID, "volume_content_source.volume.volume_id")
            guard let id = VolumeID(volume.volumeID) else { throw noVolume(volume.volumeID) }
            return .volume(id)
        case nil:
            throw PerSSDError(
                .invalidArgument, "volume_content_source says neither which snapshot nor which volume",
                remedy: "give one of them, or leave it out")
        }
    }

    private static func message(_ source: CloneSource) -> VolumeContentSource {
        switch source {
        case .snapshot(let id): VolumeContentSource(type: .snapshot(.init(snapshotID: id.rawValue)))
        case .volume(let id): VolumeContentSource(type: .volume(.init(volumeID: id.rawValue)))
        }
    }

    /// A StorageClass's parameters, and the claim that the provisioner tells beside them.
    static func parse(
        _ all: [String: String]
    ) throws -> (parameters: VolumeParameters, claim: VolumeRecord.Claim?) {
        var rest = all
        let name = rest.removeValue(forKey: Driver.ProvisionerKey.claimName)
        let namespace = rest.removeValue(forKey: Driver.ProvisionerKey.claimNamespace)
        rest[Driver.ProvisionerKey.volumeName] = nil
        let parameters = try VolumeParameters(parsing: rest)
        guard let name, let namespace else { return (parameters, nil) }
        return (parameters, VolumeRecord.Claim(namespace: namespace, name: name))
    }

    /// A volume as CSI has it: accessible from every node of its pool.
    func message(_ record: VolumeRecord) -> Volume {
        Volume(
            capacityBytes: Int64(clamping: record.capacityBytes), volumeID: record.volume.rawValue,
            volumeContext: Self.context(of: record), contentSource: record.origin.map { Self.message($0.source) },
            accessibleTopology: [
                Topology(segments: [Driver.TopologyKey.pool(record.parameters.pool): Driver.TopologyKey.poolValue])
            ])
    }

    static func context(of record: VolumeRecord) -> [String: String] {
        [Driver.VolumeContextKey.incarnation: record.incarnation.rawValue]
    }
}
