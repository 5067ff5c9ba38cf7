import CSI
import Errors
import RPC

/// What a plugin's methods answer while it has not started yet.
///
/// Sidecars end where they find no socket for half a minute, and are then kept from starting for minutes; so there is one. Who
/// the plugin is and what it can do is told, so that kubelet's registrar and kubelet itself are done with it; Probe says that it
/// is not ready, which sidecars wait for; and everything else has to be tried again.
enum StartupGate {
    /// Ask nothing of the store.
    private static let open: Set<Substring> = [
        "GetPluginInfo", "GetPluginCapabilities", "ControllerGetCapabilities", "GroupControllerGetCapabilities",
        "NodeGetCapabilities", "NodeGetInfo",
    ]

    static func methods(_ methods: [RPCMethod], of startup: Startup) -> [RPCMethod] {
        methods.map { method in
            let name = method.path.split(separator: "/").last ?? ""
            guard !open.contains(name) else { return method }
            var gated = method
            switch method.handler {
            case .unary(let serve):
                gated.handler = .unary { request, context in
                    if name == "Probe", !startup.isStarted { return try ProbeResponse(ready: false).encode() }
                    try requireStarted(startup)
                    return try await serve(request, context)
                }
            case .serverStreaming(let serve):
                gated.handler = .serverStreaming { request, context, responses in
                    try requireStarted(startup)
                    try await serve(request, context, responses)
                }
            case .bidirectional(let serve):
                gated.handler = .bidirectional { requests, context, responses in
                    try requireStarted(startup)
                    try await serve(requests, context, responses)
                }
            }
            return gated
        }
    }

    /// Whether calls are answered at all, whatever the plugin can do; neither logged nor measured.
    static let sign = RPCMethod("/perssd.Process/Alive", .unary { _, _ in [] })

    private static func requireStarted(_ startup: Startup) throws(RPCStatus) {
        do { try startup.requireStarted() } catch { throw RPCStatus(error) }
    }
}
