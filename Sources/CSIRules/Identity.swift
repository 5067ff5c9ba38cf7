import CSI

extension Driver {
    /// What GetPluginCapabilities answers for either plugin: there is a controller, and a volume is not reachable from
    /// every node.
    public static var pluginCapabilities: [PluginCapability] {
        let services: [PluginCapability.Service.Kind] = [.controllerService, .volumeAccessibilityConstraints]
        return services.map { PluginCapability(type: .service(PluginCapability.Service(type: $0))) }
    }
}
