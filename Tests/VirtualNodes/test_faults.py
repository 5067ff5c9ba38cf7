"""Kills, losses of power and drives that go away, with pools of each kind: what is committed stays, and nothing half is served."""

import os
import time

import grpc
import pytest

from cluster import MIB, csi, mount, patiently

# Not run to the end with thin pools yet.
IMAGES_ALONE = pytest.mark.parametrize("kind", ["images"], indirect=True, scope="session")

# Of the time that the call takes when nothing happens to it.
KILLS = [0.1, 0.5, 0.9]
POWER_LOSSES = [0.3, 0.8]


def begin_unpublish(cluster, volume, node):
    return cluster.node(node).NodeUnpublishVolume.future(
        csi.NodeUnpublishVolumeRequest(volume_id=volume.volume_id, target_path=cluster.target(node, "pod")), timeout=120)


def begin_publish(cluster, volume, node):
    attached = patiently(lambda: cluster.controller.ControllerPublishVolume(
        csi.ControllerPublishVolumeRequest(
            volume_id=volume.volume_id, node_id=node, volume_capability=mount()), timeout=60))
    return cluster.node(node).NodePublishVolume.future(
        csi.NodePublishVolumeRequest(
            volume_id=volume.volume_id, publish_context=attached.publish_context,
            target_path=cluster.target(node, "pod"), volume_capability=mount()), timeout=120)


class Interrupted:
    """A volume that has been at home on node-a, and the times that its publish and its unpublish take."""

    def __init__(self, cluster, name):
        self.cluster, self.node = cluster, cluster.nodes["node-a"]
        self.volume = cluster.create(name, size=96 * MIB)
        self.contents = {}
        self.publish_seconds = self.timed(lambda: self.publish("node-b"))
        self.write("node-b", "first")
        self.unpublish_seconds = self.timed(lambda: cluster.unpublish(self.volume, "node-b"))

    @staticmethod
    def timed(work):
        start = time.monotonic()
        work()
        return time.monotonic() - start

    def publish(self, node):
        return self.cluster.publish(self.volume, node)

    def write(self, node, name):
        self.contents[name] = os.urandom(12 * MIB)
        self.cluster.nodes[node].write(f"{self.cluster.target(node, 'pod')}/{name}", self.contents[name])

    def check(self, node):
        """Publishes it at a node and finds all that was written."""
        path = self.publish(node)
        for name, contents in self.contents.items():
            assert self.cluster.nodes[node].read(path / name) == contents
        self.cluster.unpublish(self.volume, node)


def test_the_plugin_is_killed_during_unpublish(cluster):
    it = Interrupted(cluster, "killed-out")
    for fraction in KILLS:
        it.publish("node-a")
        it.write("node-a", f"at {fraction}")
        call = begin_unpublish(cluster, it.volume, "node-a")
        time.sleep(fraction * it.unpublish_seconds)
        cluster.processes["node-a"].kill()
        call.exception()
        cluster.restart("node-a")
        cluster.unpublish(it.volume, "node-a")
    it.check("node-b")
    cluster.perssd("verify", it.volume.volume_id)


def test_the_plugin_is_killed_during_publish(cluster):
    it = Interrupted(cluster, "killed-in")
    for fraction in KILLS:
        # Away and changed, so that there is something to restore.
        it.publish("node-b")
        it.write("node-b", "first")
        cluster.unpublish(it.volume, "node-b")
        call = begin_publish(cluster, it.volume, "node-a")
        time.sleep(fraction * it.publish_seconds)
        cluster.processes["node-a"].kill()
        call.exception()
        cluster.restart("node-a")
        it.check("node-a")


@IMAGES_ALONE
def test_the_power_fails_during_unpublish(cluster):
    it = Interrupted(cluster, "power-out")
    for fraction in POWER_LOSSES:
        it.publish("node-a")
        it.write("node-a", f"at {fraction}")
        call = begin_unpublish(cluster, it.volume, "node-a")
        time.sleep(fraction * it.unpublish_seconds)
        cluster.lose_power("node-a")
        call.exception()
        cluster.unpublish(it.volume, "node-a")
    it.check("node-b")
    cluster.perssd("verify", it.volume.volume_id)


@IMAGES_ALONE
def test_the_power_fails_during_publish(cluster):
    it = Interrupted(cluster, "power-in")
    for fraction in POWER_LOSSES:
        it.publish("node-b")
        it.write("node-b", "first")
        cluster.unpublish(it.volume, "node-b")
        call = begin_publish(cluster, it.volume, "node-a")
        time.sleep(fraction * it.publish_seconds)
        cluster.lose_power("node-a")
        call.exception()
        it.check("node-a")


@IMAGES_ALONE
def test_the_power_fails_while_a_pod_writes(cluster):
    it = Interrupted(cluster, "power-pod")
    it.publish("node-a")
    it.write("node-a", "synced")
    path = cluster.target("node-a", "pod")
    it.node.start(["dd", "if=/dev/urandom", f"of={path}/unsynced", "bs=1M", "count=40"], "dd.log", {})
    time.sleep(0.3)
    cluster.lose_power("node-a")
    # Its journal is replayed, what the pod had synced is there, and all of it moves on.
    it.publish("node-a")
    cluster.unpublish(it.volume, "node-a")
    it.check("node-b")


def test_a_drive_is_pulled_out_under_a_volume(cluster):
    it = Interrupted(cluster, "pulled")
    path = it.publish("node-a")
    it.write("node-a", "synced")
    it.node.pull_out(cluster.DRIVE)
    assert it.node.run("sh", "-c", f"echo more > {path}/more; sync -f {path}", check=False).status != 0
    start = time.monotonic()
    with pytest.raises(grpc.RpcError, match="look for errors of the drive|bring the missing drive back") as failed:
        cluster.node("node-a").NodeUnpublishVolume(
            csi.NodeUnpublishVolumeRequest(volume_id=it.volume.volume_id, target_path=str(path)), timeout=60)
    assert time.monotonic() - start < 50
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
    # The volume stays this node's, as it holds work that is not committed.
    with pytest.raises(grpc.RpcError) as refused:
        cluster.node("node-b").NodePublishVolume(
            csi.NodePublishVolumeRequest(
                volume_id=it.volume.volume_id, target_path=cluster.target("node-b", "pod"), volume_capability=mount()),
            timeout=60)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    # The drive comes back with the next boot, and the volume with it.
    cluster.lose_power("node-a")
    cluster.unpublish(it.volume, "node-a")
    it.check("node-b")
