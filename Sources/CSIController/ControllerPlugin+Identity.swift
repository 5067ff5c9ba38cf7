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

    public func probe(_ request: ProbeRequest, context: RPCContext) async throws -> ProbeResponse {
        try await requireReady()
        return ProbeResponse(ready: true)
    }

    /// Ready is a controller that can use its store.
    ///
    /// - Throws: `failedPrecondition`, with the reason, where it cannot.
    public func requireReady() async throws {
        do {
            try await health.check()
        } catch let error as PerSSDError {
            throw error.during("the store at \(catalog.store.location) cannot be used", code: .failedPrecondition)
        }
    }
}
