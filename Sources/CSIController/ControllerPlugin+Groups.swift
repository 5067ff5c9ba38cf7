import CSI
import CSIRules
import Errors
import Foundation
import Persistence
import RPC

/// Group snapshots: of several volumes, as they all were at one moment.
extension ControllerPlugin: GroupControllerService {
    public func groupControllerGetCapabilities(
        _ request: GroupControllerGetCapabilitiesRequest, context: RPCContext
    ) async throws -> GroupControllerGetCapabilitiesResponse {
        typealias Capability = GroupControllerServiceCapability
        return GroupControllerGetCapabilitiesResponse(
            capabilities: [Capability(type: .rpc(Capability.RPC(type: .createDeleteGetVolumeGroupSnapshot)))])
    }

    /// Pins the members that no pod writes at once, and has the others cut while all of them stand still.
    ///
    /// The first answer comes when all are cut; it is asked again until all are committed.
    public func createVolumeGroupSnapshot(
        _ request: CreateVolumeGroupSnapshotRequest, context: RPCContext
    ) async throws -> CreateVolumeGroupSnapshotResponse {
        try RequestChecks.required(request.name, "name")
        try RequestChecks.map(request.parameters, "parameters")
        try Self.requireKnown(request.parameters)
        let volumes = try Self.volumes(request.sourceVolumeIDs)
        let (standing, begun) = try await catalog.beginGroup(name: request.name, of: volumes)
        var record: GroupSnapshotRecord
        if let begun {
            do {
                record = try await GroupMaking(
                    catalog: catalog, agents: agents, begun: begun, deadline: context.deadline
                ).run()
            } catch {
                throw PerSSDError(
                    wrapping: error, during: "group snapshot '\(request.name)' is not made, and nothing of it is there")
            }
            logger.info(
                "group snapshot is cut", metadata: ["group": "\(record.group)", "volumes": "\(volumes.count)"])
        } else if let standing {
            record = standing
            try await confirm(record, until: context.deadline)
        } else {
            throw PerSSDError(.internal, "a group snapshot that is neither there nor begun")
        }
        return CreateVolumeGroupSnapshotResponse(groupSnapshot: try await message(record))
    }

    /// That what is not committed yet can still be.
    private func confirm(_ group: GroupSnapshotRecord, until deadline: ContinuousClock.Instant?) async throws {
        var waiting: [SnapshotRecord] = []
        for member in try await catalog.members(of: group) where !member.isReady {
            let now = try await catalog.settled(member)
            if !now.isReady { waiting.append(now) }
        }
        for node in Set(waiting.compactMap(\.delivery?.node)) {
            do {
                try await agents.cut(.confirm, of: group.group, group.incarnation, on: node, until: deadline)
            } catch let error as PerSSDError where error.code != .failedPrecondition {
                // Nobody knows for now.
                logger.notice("a node does not say how a group snapshot is: \(error)", metadata: ["node": "\(node)"])
            }
        }
    }

    public func deleteVolumeGroupSnapshot(
        _ request: DeleteVolumeGroupSnapshotRequest, context: RPCContext
    ) async throws -> DeleteVolumeGroupSnapshotResponse {
        // An id that no group can have is one that does not exist, and deleting that succeeds.
        guard let id = try GroupSnapshotID.named(request.groupSnapshotID) else {
            return DeleteVolumeGroupSnapshotResponse()
        }
        try await catalog.deleteGroup(id, snapshots: Self.snapshots(request.snapshotIDs))
        logger.info("group snapshot is deleted", metadata: ["group": "\(id)"])
        return DeleteVolumeGroupSnapshotResponse()
    }

    public func getVolumeGroupSnapshot(
        _ request: GetVolumeGroupSnapshotRequest, context: RPCContext
    ) async throws -> GetVolumeGroupSnapshotResponse {
        guard let id = try GroupSnapshotID.named(request.groupSnapshotID) else {
            throw PerSSDError(.notFound, "there is no group snapshot '\(request.groupSnapshotID)'")
        }
        let record = try await catalog.group(id)
        try record.requireMembers(Self.snapshots(request.snapshotIDs))
        return GetVolumeGroupSnapshotResponse(groupSnapshot: try await message(record))
    }

    /// - Throws: `notFound` for an id that no volume can have.
    private static func volumes(_ ids: [String]) throws -> Set<VolumeID> {
        guard !ids.isEmpty else {
            throw PerSSDError(
                .invalidArgument, "source_volume_ids is missing", remedy: "give the volumes of the group")
        }
        var volumes: Set<VolumeID> = []
        for id in ids {
            try RequestChecks.required(id, "an entry of source_volume_ids")
            guard let volume = VolumeID(id) else { throw noVolume(id) }
            guard volumes.insert(volume).inserted else {
                throw PerSSDError(
                    .invalidArgument, "source_volume_ids has \(id) twice", remedy: "name each volume once")
            }
        }
        return volumes
    }

    /// - Throws: `invalidArgument` for an id that no snapshot can have, which is then no member.
    private static func snapshots(_ ids: [String]) throws -> Set<SnapshotID> {
        Set(
            try ids.map { text in
                guard let id = SnapshotID(text) else {
                    throw PerSSDError(.invalidArgument, "snapshot_ids has '\(text.prefix(100))', which is no snapshot")
                }
                return id
            })
    }

    private func message(_ group: GroupSnapshotRecord) async throws -> VolumeGroupSnapshot {
        let members = try await catalog.members(of: group)
        return VolumeGroupSnapshot(
            groupSnapshotID: group.group.rawValue, snapshots: members.map(Self.message),
            creationTime: Timestamp(seconds: Int64(group.createdAt.timeIntervalSince1970), nanoseconds: 0),
            readyToUse: members.allSatisfy(\.isReady))
    }
}
