"""Facts of the sidecars, each of the version that the chart names: what they understand, call, and may do."""

# Registered by all sidecars that talk to the API server (csi-lib-utils), besides klog's --v.
COMMON = {
    "csi-address", "feature-gates", "http-endpoint", "kube-api-burst", "kube-api-qps", "kubeconfig", "leader-election",
    "leader-election-lease-duration", "leader-election-namespace", "leader-election-renew-deadline",
    "leader-election-retry-period", "metrics-address", "metrics-path", "v", "version",
}

FLAGS = {
    "csi-provisioner:v6.3.0": COMMON | {
        "capacity-for-immediate-binding", "capacity-ownerref-level", "capacity-poll-interval", "capacity-threads",
        "cloning-protection-threads", "controller-publish-readonly", "default-fstype", "enable-capacity",
        "extra-create-metadata", "immediate-topology", "kube-api-capacity-burst", "kube-api-capacity-qps",
        "node-deployment", "prevent-volume-mode-conversion", "retry-interval-max", "retry-interval-start",
        "snapshot-orphan-sweep-interval", "strict-topology", "timeout", "volume-name-prefix", "volume-name-uuid-length",
        "worker-threads"},
    "csi-attacher:v4.12.0": COMMON | {
        "default-fstype", "max-entries", "max-grpc-log-length", "reconcile-sync", "resync", "retry-interval-max",
        "retry-interval-start", "timeout", "worker-threads"},
    "csi-resizer:v2.2.1": COMMON | {
        "extra-modify-metadata", "handle-volume-inuse-error", "resync-period", "retry-interval-max",
        "retry-interval-start", "timeout", "workers"},
    "csi-snapshotter:v8.6.0": COMMON | {
        "extra-create-metadata", "groupsnapshot-name-prefix", "groupsnapshot-name-uuid-length", "node-deployment",
        "resync-period", "retry-interval-max", "retry-interval-start", "snapshot-name-prefix",
        "snapshot-name-uuid-length", "timeout", "worker-threads"},
    "csi-node-driver-registrar:v2.17.0": {
        "connection-timeout", "csi-address", "enable-pprof", "health-port", "http-endpoint", "kubelet-registration-path",
        "mode", "plugin-registration-path", "timeout", "v", "version"},
    "livenessprobe:v2.19.0": {
        "csi-address", "health-port", "http-endpoint", "metrics-address", "metrics-path", "probe-timeout", "v"},
}

# What each calls, as far as a capability has to announce it: of the controller, the group controller, and the plugin.
CALLS = {
    "csi-provisioner": {
        "plugin": {"CONTROLLER_SERVICE", "VOLUME_ACCESSIBILITY_CONSTRAINTS"},
        # PUBLISH_UNPUBLISH_VOLUME: so that it waits for a detach before it deletes.
        "controller": {"CREATE_DELETE_VOLUME", "GET_CAPACITY", "CLONE_VOLUME", "CREATE_DELETE_SNAPSHOT",
                       "PUBLISH_UNPUBLISH_VOLUME", "MODIFY_VOLUME", "SINGLE_NODE_MULTI_WRITER"}},
    "csi-attacher": {
        "plugin": {"CONTROLLER_SERVICE"},
        "controller": {"PUBLISH_UNPUBLISH_VOLUME", "PUBLISH_READONLY", "LIST_VOLUMES", "LIST_VOLUMES_PUBLISHED_NODES",
                       "SINGLE_NODE_MULTI_WRITER"}},
    "csi-resizer": {
        "plugin": {"CONTROLLER_SERVICE"},
        "controller": {"EXPAND_VOLUME", "MODIFY_VOLUME", "SINGLE_NODE_MULTI_WRITER"}},
    "csi-snapshotter": {
        "plugin": {"CONTROLLER_SERVICE"},
        "controller": {"CREATE_DELETE_SNAPSHOT", "LIST_SNAPSHOTS"}},
}
GROUP_CALLS = {
    "plugin": {"GROUP_CONTROLLER_SERVICE"},
    "group": {"CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT"}}

READ = {"get", "list", "watch"}
EVENTS = {("", "events"): {"list", "watch", "create", "update", "patch"}}

# What each does in the whole cluster. The attacher reads no secrets, as the driver takes none; the resizer reads no pods, with
# --handle-volume-inuse-error=false.
RIGHTS = {
    "provisioner": EVENTS | {
        ("", "persistentvolumes"): READ | {"create", "patch", "delete"},
        ("", "persistentvolumeclaims"): READ | {"update"},
        ("", "nodes"): READ,
        ("storage.k8s.io", "csinodes"): READ,
        ("storage.k8s.io", "storageclasses"): READ,
        ("storage.k8s.io", "volumeattachments"): READ,
        ("storage.k8s.io", "volumeattributesclasses"): {"get"}},
    "attacher": {
        ("", "persistentvolumes"): READ | {"patch"},
        ("storage.k8s.io", "csinodes"): READ,
        ("storage.k8s.io", "volumeattachments"): READ | {"patch"},
        ("storage.k8s.io", "volumeattachments/status"): {"patch"}},
    "resizer": EVENTS | {
        ("", "persistentvolumes"): READ | {"patch"},
        ("", "persistentvolumeclaims"): READ,
        ("", "persistentvolumeclaims/status"): {"patch"},
        ("storage.k8s.io", "volumeattributesclasses"): READ},
}
# With snapshots, and with group snapshots.
SNAPSHOT_RIGHTS = {
    "provisioner": {
        ("snapshot.storage.k8s.io", "volumesnapshots"): READ | {"update"},
        ("snapshot.storage.k8s.io", "volumesnapshotcontents"): {"get", "list"}},
    "snapshotter": EVENTS | {
        ("snapshot.storage.k8s.io", "volumesnapshotclasses"): READ,
        ("snapshot.storage.k8s.io", "volumesnapshotcontents"): READ | {"update", "patch"},
        ("snapshot.storage.k8s.io", "volumesnapshotcontents/status"): {"update", "patch"}},
}
GROUP_RIGHTS = {
    ("groupsnapshot.storage.k8s.io", "volumegroupsnapshotclasses"): READ,
    ("groupsnapshot.storage.k8s.io", "volumegroupsnapshotcontents"): READ | {"update", "patch"},
    ("groupsnapshot.storage.k8s.io", "volumegroupsnapshotcontents/status"): {"update", "patch"},
}
# In the release's namespace.
NAMESPACE_RIGHTS = {
    ("coordination.k8s.io", "leases"): READ | {"create", "update", "delete"},
    ("storage.k8s.io", "csistoragecapacities"): READ | {"create", "update", "patch", "delete"},
    ("", "pods"): {"get"},
    ("apps", "replicasets"): {"get"},
}
