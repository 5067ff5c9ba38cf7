"""What the sidecars are told, what they may do, and that the driver serves what they call."""

import re

import pytest

from cluster import csi
from manifests import VARIANTS, container, containers, flags, of_kind, pod, the
from sidecars import (
    CALLS, FLAGS, GROUP_CALLS, GROUP_RIGHTS, NAMESPACE_RIGHTS, RIGHTS, SNAPSHOT_RIGHTS)


def sidecars(variant):
    return [one for _, one in containers(variant) if not one["name"].startswith("perssd-")]


def has(variant, kind):
    return bool(of_kind(variant, kind))


@pytest.mark.parametrize("variant", VARIANTS)
def test_flags_are_those_of_the_versions(variant):
    for one in sidecars(variant):
        name = one["image"].removeprefix("registry.k8s.io/sig-storage/")
        assert name in FLAGS, f"sidecars.py has no facts of {name}"
        assert set(flags(one)) <= FLAGS[name], name


@pytest.mark.parametrize("variant", VARIANTS)
def test_sidecars_reach_the_plugins_socket(variant):
    for workload in of_kind(variant, "Deployment", "DaemonSet"):
        for one in pod(workload)["containers"]:
            given = flags(one)
            address = given.get("csi-address") or given["endpoint"].removeprefix("unix://")
            assert address == "/csi/csi.sock"
            assert {"name": "socket", "mountPath": "/csi"} in one["volumeMounts"]
    (socket,) = [v for v in pod(the(variant, "DaemonSet"))["volumes"] if v["name"] == "socket"]
    assert flags(container(variant, "csi-node-driver-registrar"))["kubelet-registration-path"] == (
        socket["hostPath"]["path"] + "/csi.sock")


def seconds(text):
    number, unit = re.fullmatch(r"([0-9.]+)(ms|s|m)", text).groups()
    return float(number) * {"ms": 0.001, "s": 1, "m": 60}[unit]


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_move_is_not_held_up_after_the_commit(variant):
    attacher = flags(container(variant, "csi-attacher"))
    # A detach waits in the driver till two seconds before the deadline, or three quarters of a short time.
    assert seconds(attacher["timeout"]) >= 60
    assert seconds(attacher["retry-interval-start"]) <= 1 and seconds(attacher["retry-interval-max"]) <= 5
    assert int(attacher["worker-threads"]) >= 100
    for name in ("csi-provisioner", "csi-resizer", "csi-snapshotter"):
        if name != "csi-snapshotter" or has(variant, "VolumeSnapshotClass"):
            given = flags(container(variant, name))
            assert seconds(given["timeout"]) >= 60 and seconds(given["retry-interval-max"]) <= 60


@pytest.mark.parametrize("variant", VARIANTS)
def test_replicas_elect_a_leader(variant):
    for one in pod(the(variant, "Deployment"))["containers"]:
        if one["name"] in ("perssd-controller", "livenessprobe"):
            continue
        given = flags(one)
        assert given["leader-election"] == "true" and given["leader-election-namespace"] == "$(NAMESPACE)"
        variables = {variable["name"] for variable in one["env"]}
        assert "NAMESPACE" in variables
        assert "enable-capacity" not in given or "POD_NAME" in variables


def rights(role):
    found = {}
    for rule in role["rules"]:
        assert set(rule) == {"apiGroups", "resources", "verbs"}
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                assert "*" not in (group, resource, *rule["verbs"])
                assert (group, resource) not in found
                found[group, resource] = set(rule["verbs"])
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_rights_are_what_the_sidecars_need_and_no_more(variant):
    expected = {name: dict(needed) for name, needed in RIGHTS.items()}
    if has(variant, "VolumeSnapshotClass"):
        for name, needed in SNAPSHOT_RIGHTS.items():
            expected[name] = expected.get(name, {}) | needed
    if has(variant, "VolumeGroupSnapshotClass"):
        expected["snapshotter"] |= GROUP_RIGHTS
    # The plugins' own.
    expected["events"] = {("", "events"): {"create", "patch"}}
    given = {role["metadata"]["name"].removeprefix("perssd-"): rights(role) for role in of_kind(variant, "ClusterRole")}
    assert given == expected
    assert rights(the(variant, "Role")) == NAMESPACE_RIGHTS
    bindings = of_kind(variant, "ClusterRoleBinding", "RoleBinding")
    assert {binding["roleRef"]["name"].removeprefix("perssd-") for binding in bindings} == {*expected, "controller"}
    for binding in bindings:
        subjects = {subject["name"] for subject in binding["subjects"]}
        assert subjects == {"perssd-controller"} | ({"perssd-node"} if binding["roleRef"]["name"] == "perssd-events" else set())


@pytest.fixture(scope="module")
def capabilities(cluster):
    process = cluster.processes["controller"]
    plugin = process.identity.GetPluginCapabilities(csi.GetPluginCapabilitiesRequest(), timeout=30).capabilities
    controller = cluster.controller.ControllerGetCapabilities(
        csi.ControllerGetCapabilitiesRequest(), timeout=30).capabilities
    group = cluster.groups.GroupControllerGetCapabilities(
        csi.GroupControllerGetCapabilitiesRequest(), timeout=30).capabilities
    node = cluster.node("node-a").NodeGetCapabilities(csi.NodeGetCapabilitiesRequest(), timeout=30).capabilities
    return {
        "plugin": {csi.PluginCapability.Service.Type.Name(c.service.type) for c in plugin if c.HasField("service")},
        "expansion": {csi.PluginCapability.VolumeExpansion.Type.Name(c.volume_expansion.type)
                      for c in plugin if c.HasField("volume_expansion")},
        "controller": {csi.ControllerServiceCapability.RPC.Type.Name(c.rpc.type) for c in controller},
        "group": {csi.GroupControllerServiceCapability.RPC.Type.Name(c.rpc.type) for c in group},
        "node": {csi.NodeServiceCapability.RPC.Type.Name(c.rpc.type) for c in node},
    }


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_driver_serves_what_deployed_sidecars_call(variant, capabilities):
    for one in sidecars(variant):
        for service, needed in CALLS.get(one["name"], {}).items():
            assert needed <= capabilities[service], one["name"]
    if has(variant, "VolumeGroupSnapshotClass"):
        assert "CSIVolumeGroupSnapshot=true" in flags(container(variant, "csi-snapshotter"))["feature-gates"]
        for service, needed in GROUP_CALLS.items():
            assert needed <= capabilities[service]
    # And what the driver can is deployed.
    names = {one["name"] for one in sidecars(variant)}
    assert {"csi-provisioner", "csi-attacher", "csi-resizer", "csi-node-driver-registrar", "livenessprobe"} <= names
    assert ("csi-snapshotter" in names) is has(variant, "VolumeSnapshotClass")


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_csidriver_says_what_the_driver_does(variant, capabilities, cluster):
    driver = the(variant, "CSIDriver")
    for process in cluster.processes.values():
        assert process.identity.GetPluginInfo(csi.GetPluginInfoRequest(), timeout=30).name == driver["metadata"]["name"]
    spec = driver["spec"]
    assert spec["attachRequired"] is ("PUBLISH_UNPUBLISH_VOLUME" in capabilities["controller"]) is True
    assert spec["storageCapacity"] is ("GET_CAPACITY" in capabilities["controller"]) is True
    assert flags(container(variant, "csi-provisioner"))["enable-capacity"] == "true"
    # kubelet changes the group of files only where the driver does not, and where a file system is named.
    assert "VOLUME_MOUNT_GROUP" not in capabilities["node"]
    assert spec["fsGroupPolicy"] == "ReadWriteOnceWithFSType"
    assert flags(container(variant, "csi-provisioner"))["default-fstype"] == "ext4"
    # Ephemeral volumes are told from others by what kubelet says of the pod.
    assert spec["volumeLifecycleModes"] == ["Persistent", "Ephemeral"] and spec["podInfoOnMount"] is True
    assert spec["requiresRepublish"] is False and spec["seLinuxMount"] is False
    assert "EXPAND_VOLUME" in capabilities["node"] and capabilities["expansion"] == {"ONLINE"}
