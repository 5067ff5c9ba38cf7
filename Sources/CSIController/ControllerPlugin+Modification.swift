import CSI
import CSIRules
import Errors
import Persistence
import RPC

extension ControllerPlugin {
    /// Changes parameters of a volume in its record. A node that has the volume is told to read it, and reads it by itself a
    /// little later where it cannot be told.
    public func controllerModifyVolume(
        _ request: ControllerModifyVolumeRequest, context: RPCContext
    ) async throws -> ControllerModifyVolumeResponse {
        let id = try VolumeID.named(request.volumeID)
        try RequestChecks.map(request.mutableParameters, "mutable_parameters")
        guard !request.mutableParameters.isEmpty else {
            throw PerSSDError(
                .invalidArgument, "mutable_parameters is missing",
                remedy: "give at least one of \(VolumeParameters.mutableKeys.joined(separator: ", "))")
        }
        // Refused whatever volume it is.
        _ = try VolumeParameters().changed(to: request.mutableParameters)
        guard let id else { throw Self.noVolume(request.volumeID) }
        let record = try await catalog.modifyVolume(id, to: request.mutableParameters)
        logger.info("volume is modified", metadata: ["volume": "\(id)", "for": "\(record.title)"])
        await tellHolder(of: id, until: context.deadline)
        return ControllerModifyVolumeResponse()
    }

    private func tellHolder(of id: VolumeID, until deadline: ContinuousClock.Instant?) async {
        do {
            // Also where an earlier try has changed the record: it may not have come as far as here.
            let lease = try await catalog.head(id).value.lease
            guard let holder = lease?.holder, holder.cluster == cluster else { return }
            try await agents.reread(id, on: holder, until: deadline)
        } catch {
            logger.notice(
                "a volume is modified, and its node learns of it a little later: \(error)",
                metadata: ["volume": "\(id)"])
        }
    }
}
