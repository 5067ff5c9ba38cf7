/// What both plugins, and whoever talks to them, have to call alike.
public enum Driver {
    /// The plugin's name, as GetPluginInfo says it and StorageClasses have it.
    public static let name = "csi.perssd.io"

    /// Keys of a topology's segments. They are labels of Kubernetes nodes, too.
    public enum TopologyKey {
        /// The node's name, which is also its id.
        public static let node = "topology.csi.perssd.io/node"
        /// The name of the node's pool. Volumes can be used on every node of their pool.
        public static let pool = "topology.csi.perssd.io/pool"
    }

    /// Keys of a volume's context, which comes with every later call about the volume.
    public enum VolumeContextKey {
        /// Which life of its id the volume is: `Incarnation` as text.
        public static let incarnation = "incarnation"
    }

    /// Keys of the context that ControllerPublishVolume gives to the node.
    public enum PublishContextKey {
        /// The epoch of the lease, in decimal.
        public static let epoch = "epoch"
        /// As in the volume's context, for orchestrators that do not keep that.
        public static let incarnation = "incarnation"
    }

    /// Keys that external-provisioner adds to CreateVolume's parameters with `--extra-create-metadata`.
    public enum ProvisionerKey {
        public static let claimName = "csi.storage.k8s.io/pvc/name"
        public static let claimNamespace = "csi.storage.k8s.io/pvc/namespace"
        public static let volumeName = "csi.storage.k8s.io/pv/name"
    }
}
