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

    public func probe(_ request: ProbeRequest, context: RPCContext) async throws -> ProbeResponse {
        try await requireReady()
        return ProbeResponse(ready: true)
    }

    /// What a probe is told besides: "ready", and what the node does without. That a pool is missing makes nothing unready: all
    /// that can be done is done, a new process would find the same, and a rollout goes on.
    public var readinessText: String {
        (["ready"] + pools.missing.map { "without the pool '\($0.name)': \($0.reason)" }).joined(separator: "\n")
    }

    /// - Throws: `failedPrecondition`, with the reason, where the bucket or the pool cannot be used.
    public func requireReady() async throws {
        do {
            try await health.check()
        } catch let error as PerSSDError {
            throw error.during("the node plugin is not ready", code: .failedPrecondition)
        }
    }
}
