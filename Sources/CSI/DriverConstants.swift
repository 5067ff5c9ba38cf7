/// What both plugins, and whoever talks to them, have to call alike.
public enum Driver {
    /// The plugin's name, as GetPluginInfo says it and StorageClasses have it.
    public static let name = "csi.perssd.io"

    /// Keys of a topology's segments. They are labels of Kubernetes nodes, too.
    public enum TopologyKey {
        /// The node's name, which is also its id.
        public static let node = "topology.csi.perssd.io/node"
        /// That a node has a pool. Volumes can be used on every node that has theirs. A key for each pool, as a node may have
        /// several, and a key has one value.
        public static func pool(_ name: String) -> String { poolPrefix + name }
        /// What such a key begins with; the pool's name follows.
        public static let poolPrefix = "pool.csi.perssd.io/"
        /// The value of each such key.
        public static let poolValue = "true"
    }

    /// Keys of a volume's context, which comes with every later call about the volume.
    public enum VolumeContextKey {
        /// Which life of its id the volume is: `Incarnation` as text.
        public static let incarnation = "incarnation"
        /// What the key of a workflow's label begins with; its name follows.
        public static let workflowPrefix = "workflow.csi.perssd.io/"
    }

    /// What the keys begin with that Kubernetes' own parts add, or read.
    public static let reservedPrefix = "csi.storage.k8s.io/"

    /// Keys that kubelet adds to the volume's context with the CSIDriver's `podInfoOnMount`.
    public enum PodInfoKey {
        /// What all of them begin with.
        public static let prefix = reservedPrefix
        public static let name = prefix + "pod.name"
        public static let namespace = prefix + "pod.namespace"
        public static let uid = prefix + "pod.uid"
        public static let serviceAccount = prefix + "serviceAccount.name"
        /// "true" for a volume that a pod's own description holds.
        public static let ephemeral = prefix + "ephemeral"
    }

    /// Keys of the context that ControllerPublishVolume gives to the node.
    public enum PublishContextKey {
        /// The epoch of the lease, in decimal.
        public static let epoch = "epoch"
        /// The number of the generation that a node reads, in decimal, where the volume is published for many nodes; there is
        /// no epoch then.
        public static let generation = "generation"
        /// As in the volume's context, for orchestrators that do not keep that.
        public static let incarnation = "incarnation"
    }

    /// Keys that external-provisioner adds to CreateVolume's parameters with `--extra-create-metadata`.
    public enum ProvisionerKey {
        public static let claimName = "csi.storage.k8s.io/pvc/name"
        public static let claimNamespace = "csi.storage.k8s.io/pvc/namespace"
        public static let volumeName = "csi.storage.k8s.io/pv/name"
    }

    /// Keys that external-snapshotter adds to the parameters of snapshots and group snapshots with `--extra-create-metadata`.
    public enum SnapshotterKey {
        public static let all = [
            "csi.storage.k8s.io/volumesnapshot/name", "csi.storage.k8s.io/volumesnapshot/namespace",
            "csi.storage.k8s.io/volumesnapshotcontent/name", "csi.storage.k8s.io/volumegroupsnapshot/name",
            "csi.storage.k8s.io/volumegroupsnapshot/namespace",
            "csi.storage.k8s.io/volumegroupsnapshotcontent/name",
        ]
    }
}
