import CSI
import CSIRules
import Errors
import Persistence
import RPC

extension ControllerPlugin {
    /// What the nodes' pools have free or can evict, by the nodes' own records; nodes whose plugin is gone count nothing.
    public func getCapacity(
        _ request: GetCapacityRequest, context: RPCContext
    ) async throws -> GetCapacityResponse {
        if !request.volumeCapabilities.isEmpty { try CapabilityRules.wellFormed(request.volumeCapabilities) }
        try RequestChecks.map(request.parameters, "parameters")
        // external-provisioner hands on a class's parameters as they stand here. Only for CreateVolume it takes those out that are
        // for itself, such as the file system's name.
        let forTheDriver = request.parameters.filter { !$0.key.hasPrefix(Driver.reservedPrefix) }
        let parameters = try Self.parse(forTheDriver).parameters
        do {
            try CapabilityRules.supported(request.volumeCapabilities)
        } catch let error as PerSSDError where error.code == .invalidArgument {
            // There is no room for volumes that cannot be.
            return GetCapacityResponse(availableCapacity: 0)
        }
        let segments = request.accessibleTopology?.segments ?? [:]
        try RequestChecks.map(segments, "accessible_topology.segments")
        let topologies = segments.isEmpty ? [] : [Topology(segments: segments)]
        let placement = try await placement(of: parameters.pool, in: topologies)
        let now = catalog.time
        let rooms = placement.candidates.filter { $0.node.isAlive(at: now) }.map(\.pool.availableBytes)
        let total = rooms.reduce(into: UInt64(0)) { sum, room in
            let (value, overflow) = sum.addingReportingOverflow(room)
            sum = overflow ? .max : value
        }
        let largest = min(rooms.max() ?? 0, VolumeSize.largest)
        let smallest = max(CapabilityRules.smallest(request.volumeCapabilities), Int64(VolumeSize.granule))
        return GetCapacityResponse(
            availableCapacity: Int64(clamping: total),
            maximumVolumeSize: Int64(clamping: largest / VolumeSize.granule * VolumeSize.granule),
            minimumVolumeSize: smallest)
    }
}
