import CSI
import CSIRules
import Errors
import Persistence
import RPC
import Units

extension ControllerPlugin {
    /// Makes a volume larger in its record. Its local copy grows with NodeExpandVolume, or at the next publish.
    ///
    /// Where a node has the volume and its pool cannot hold more, the call fails and nothing changes, so that the claim
    /// can still be taken back; the node's word is up to one interval old, and the node itself looks again.
    public func controllerExpandVolume(
        _ request: ControllerExpandVolumeRequest, context: RPCContext
    ) async throws -> ControllerExpandVolumeResponse {
        let id = try VolumeID.named(request.volumeID)
        guard let range = request.capacityRange, range.requiredBytes != 0 || range.limitBytes != 0 else {
            throw PerSSDError(
                .invalidArgument, "capacity_range is missing, or says nothing", remedy: "give required_bytes")
        }
        if let capability = request.volumeCapability {
            try CapabilityRules.wellFormed(capability, "volume_capability")
            try CapabilityRules.supported(capability)
        }
        guard let id else { throw Self.noVolume(request.volumeID) }
        let volume = try await catalog.volume(id)
        let before = volume.record.capacityBytes
        let capacity = try VolumeSize.grow(before, required: range.requiredBytes, limit: range.limitBytes)
        if capacity > before { try await requireRoom(toGrow: volume, to: capacity) }
        let record = try await catalog.expandVolume(
            id, incarnation: volume.record.incarnation, requiredBytes: range.requiredBytes,
            limitBytes: range.limitBytes)
        if record.capacityBytes > before {
            logger.info(
                "volume is larger",
                metadata: [
                    "volume": "\(id)", "before": "\(ByteCount(before))", "size": "\(ByteCount(record.capacityBytes))",
                ])
        }
        return ControllerExpandVolumeResponse(
            capacityBytes: Int64(clamping: record.capacityBytes), nodeExpansionRequired: true)
    }

    private func requireRoom(toGrow volume: VolumeListing, to capacity: UInt64) async throws {
        let record = volume.record
        guard let holder = volume.head.lease?.holder else {
            return try await placement(of: record.parameters.pool, in: []).require(capacity: capacity, in: [])
        }
        // A holder that nothing is known of will say so itself.
        guard let pool = try await catalog.node(holder)?.pool(record.parameters.pool) else { return }
        let growth = capacity - record.capacityBytes
        guard pool.availableBytes < growth else { return }
        throw PerSSDError(
            .resourceExhausted,
            "volume \(record.volume) cannot grow by \(ByteCount(growth)) on node \(holder): "
                + "\(ByteCount(pool.freeBytes)) of its pool '\(pool.name)' are free, and "
                + "\(ByteCount(pool.evictableBytes)) can be evicted",
            remedy: "make the pool larger, wait until volumes leave the node, or expand it on a node with more room")
    }
}
