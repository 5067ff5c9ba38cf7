/// What both plugins say of the driver, and what one tells the other through the orchestrator.
public enum Driver {
    /// As a StorageClass names it.
    public static let name = "csi.perssd.io"

    /// Topology: which node, and which pool a node has. Both are labels of the Kubernetes node.
    public static let nodeTopologyKey = "topology.csi.perssd.io/node"
    public static let poolTopologyKey = "topology.csi.perssd.io/pool"

    /// In the publish context: the epoch of the lease that the controller granted.
    public static let epochKey = "epoch"

    /// In the volume context and in the publish context: which life of its id the volume is, `Incarnation` as text.
    public static let incarnationKey = "incarnation"

    /// In CreateVolume's parameters, from external-provisioner with `--extra-create-metadata`.
    public static let claimNameKey = "csi.storage.k8s.io/pvc/name"
    public static let claimNamespaceKey = "csi.storage.k8s.io/pvc/namespace"
    public static let volumeNameKey = "csi.storage.k8s.io/pv/name"

    /// Volumes are not reachable from everywhere, and there is a controller.
    public static var pluginCapabilities: [PluginCapability] {
        [.controllerService, .volumeAccessibilityConstraints].map {
            PluginCapability(type: .service(PluginCapability.Service(type: $0)))
        }
    }
}
