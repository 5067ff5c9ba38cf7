import CSI
import CSIRules
import Errors
import RPC

extension ControllerPlugin {
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

    /// Healthy is a controller that can use its store.
    public func probe(_ request: ProbeRequest, context: RPCContext) async throws -> ProbeResponse {
        do {
            try await health.check()
        } catch let error as PerSSDError {
            throw error.during("the store at \(catalog.store.location) cannot be used", code: .failedPrecondition)
        }
        return ProbeResponse(ready: true)
    }
}
