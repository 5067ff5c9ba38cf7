import CSI

extension Driver {
    /// What GetPluginCapabilities answers for either plugin: there is a controller, of groups of volumes, too, a volume is not
    /// reachable from every node, what snapshots hold is told of, and volumes grow while they are used.
    public static var pluginCapabilities: [PluginCapability] {
        let services: [PluginCapability.Service.Kind] = [
            .controllerService, .volumeAccessibilityConstraints, .groupControllerService, .snapshotMetadataService,
        ]
        return services.map { PluginCapability(type: .service(PluginCapability.Service(type: $0))) }
            + [PluginCapability(type: .volumeExpansion(PluginCapability.VolumeExpansion(type: .online)))]
    }
}
