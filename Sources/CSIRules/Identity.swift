import CSI

extension Driver {
    /// What GetPluginCapabilities answers for either plugin: there is a controller, a volume is not reachable from every
    /// node, what snapshots hold is told of, and volumes grow while they are used.
    public static var pluginCapabilities: [PluginCapability] {
        let services: [PluginCapability.Service.Kind] = [
            .controllerService, .volumeAccessibilityConstraints, .snapshotMetadataService,
        ]
        return services.map { PluginCapability(type: .service(PluginCapability.Service(type: $0))) }
            + [PluginCapability(type: .volumeExpansion(PluginCapability.VolumeExpansion(type: .online)))]
    }
}
