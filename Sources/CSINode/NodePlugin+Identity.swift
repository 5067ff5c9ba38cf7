import CSI
import CSIRules
import Errors
import RPC

extension NodePlugin: IdentityService {
    public func getPluginInfo(
        _ request: GetPluginInfoRequest, context: RPCContext
    ) async throws -> GetPluginInfoResponse {
        GetPluginInfoResponse(name: Driver.name, vendorVersion: version)
    }

    public func getPluginCapabilities(
        _ request: GetPluginCapabilitiesRequest, context: RPCContext
    ) async throws -> GetPluginCapabilitiesResponse {
        GetPluginCapabilitiesResponse(capabilities: Driver.pluginCapabilities)
    }

    /// FAILED_PRECONDITION, with the reason, where the bucket or the pool cannot be used.
    public func probe(_ request: ProbeRequest, context: RPCContext) async throws -> ProbeResponse {
        do {
            try await health.check()
        } catch let error as PerSSDError {
            throw error.during("the node plugin is not ready", code: .failedPrecondition)
        }
        return ProbeResponse(ready: true)
    }
}
