"""Kills, losses of power and drives that go away: what is committed stays, and nothing half is served."""

import collections
import os
import time

import grpc
import pytest

from cluster import MIB, csi, mount, patiently

# Of the time that a call takes when nothing happens to it.
POINTS = {"lvm": [0.05, 0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.85, 0.95], "images": [0.3, 0.7]}


class Traveller:
    """A volume on its way through the nodes, and what has to be in it."""

    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name
        self.volume = cluster.create(name, size=64 * MIB)
        self.contents = {}

    def target(self, node):
        return self.cluster.target(node, self.name)

    def begin_publish(self, node):
        attached = patiently(lambda: self.cluster.controller.ControllerPublishVolume(
            csi.ControllerPublishVolumeRequest(
                volume_id=self.volume.volume_id, node_id=node, volume_capability=mount()), timeout=60))
        return self.cluster.node(node).NodePublishVolume.future(
            csi.NodePublishVolumeRequest(
                volume_id=self.volume.volume_id, publish_context=attached.publish_context,
                target_path=self.target(node), volume_capability=mount()), timeout=120)

    def begin_unpublish(self, node):
        return self.cluster.node(node).NodeUnpublishVolume.future(
            csi.NodeUnpublishVolumeRequest(volume_id=self.volume.volume_id, target_path=self.target(node)),
            timeout=120)

    def publish(self, node):
        """Publishes it, and finds all that was written."""
        self.cluster.publish(self.volume, node, pod=self.name)
        self.check(node)

    def check(self, node):
        for name, contents in self.contents.items():
            assert self.cluster.nodes[node].read(f"{self.target(node)}/{name}") == contents, f"{self.name}: {name}"

    def unpublish(self, node):
        self.cluster.unpublish(self.volume, node, pod=self.name)

    def write(self, node, name, size=6 * MIB):
        """Writes a file, and syncs it."""
        self.contents[name] = os.urandom(size)
        self.cluster.nodes[node].write(f"{self.target(node)}/{name}", self.contents[name])


class Crossing:
    """On each node, one volume arrives while another leaves; then each goes on to the other node.

    The nodes do so one after the other: side by side, their processors wait for each other, and it takes longer.
    """

    def __init__(self, cluster, name):
        self.cluster, self.turn = cluster, 0
        self.here = {node: Traveller(cluster, f"{name}-1-{node}") for node in cluster.nodes}
        self.coming = {node: Traveller(cluster, f"{name}-2-{node}") for node in cluster.nodes}
        # How long the calls take, by node.
        self.seconds = {node: {} for node in cluster.nodes}
        # Which calls were cut short, and by what.
        self.interrupted = collections.Counter()
        self.on_each_node(self.arrive)

    def on_each_node(self, work):
        for node in self.cluster.nodes:
            work(node)

    def arrive(self, node):
        self.here[node].publish(node)
        self.here[node].write(node, "rewritten")

    def cross(self, work):
        """Does on each node what makes `here` leave and `coming` arrive."""
        self.turn += 1
        start = time.monotonic()
        self.on_each_node(work)
        leaving, self.here = self.here, self.coming
        first, second = self.cluster.nodes
        self.coming = {first: leaving[second], second: leaving[first]}
        for node, traveller in self.here.items():
            traveller.write(node, "rewritten")
            traveller.write(node, f"turn {self.turn}", size=MIB // 2)
        print(f"turn {self.turn}: {time.monotonic() - start:.0f} s")

    def undisturbed(self, node):
        self.seconds[node] = {}
        calls = {"unpublish": self.here[node].begin_unpublish(node), "publish": self.coming[node].begin_publish(node)}
        start = time.monotonic()
        for kind, call in calls.items():
            call.add_done_callback(
                lambda _, kind=kind: self.seconds[node].update({kind: time.monotonic() - start}))
        for call in calls.values():
            call.result()
        while len(self.seconds[node]) < len(calls):
            # Who waits may be told before those who are called back.
            time.sleep(0.01)
        self.coming[node].check(node)
        self.here[node].unpublish(node)

    def disturbed(self, node, fraction, disturb):
        """Both calls have come as far as `fraction` says when the node is disturbed."""
        leaving, coming, seconds = self.here[node], self.coming[node], self.seconds[node]
        shorter, longer = sorted(seconds, key=seconds.get)
        begin = {"unpublish": leaving.begin_unpublish, "publish": coming.begin_publish}
        calls = {longer: begin[longer](node)}
        time.sleep(fraction * (seconds[longer] - seconds[shorter]))
        calls[shorter] = begin[shorter](node)
        time.sleep(fraction * seconds[shorter])
        running = [kind for kind, call in calls.items() if not call.done()]
        disturb(node)
        for kind, call in calls.items():
            if call.exception() and kind in running:
                self.interrupted[kind, disturb.__name__] += 1
        # Served whole, or not at all.
        if self.cluster.nodes[node].run("mountpoint", "-q", coming.target(node), check=False).status == 0:
            coming.check(node)
        coming.publish(node)
        leaving.unpublish(node)

    def go_through(self, points, disturbances):
        """Each node has every other point."""
        # Twice: what arrives the first time is new, and is not restored.
        self.cross(self.undisturbed)
        self.cross(self.undisturbed)
        for disturb in disturbances:
            for turn in range(0, len(points), len(self.cluster.nodes)):
                fractions = dict(zip(self.cluster.nodes, points[turn:]))
                self.cross(lambda node: self.disturbed(node, fractions[node], disturb))
        # What has left last arrives, too.
        self.cross(self.undisturbed)
        self.on_each_node(lambda node: self.here[node].unpublish(node))
        for traveller in [*self.here.values(), *self.coming.values()]:
            self.cluster.perssd("verify", traveller.volume.volume_id)
        print("calls that were cut short:", dict(self.interrupted), "seconds of an undisturbed call:", self.seconds)
        # Else the calls were over before anything happened, and this has shown nothing.
        for kind in ("publish", "unpublish"):
            for disturb in disturbances:
                assert self.interrupted[kind, disturb.__name__] >= len(points) // 2, self.interrupted


def test_the_plugin_is_killed_and_the_power_fails_during_publish_and_unpublish(cluster):
    def kill(node):
        cluster.processes[node].kill()
        cluster.restart(node)

    Crossing(cluster, "crossing").go_through(POINTS[cluster.KIND], [kill, cluster.lose_power])


def test_the_power_fails_while_a_pod_writes(cluster):
    it = Traveller(cluster, "power-pod")
    it.publish("node-a")
    it.write("node-a", "synced")
    cluster.nodes["node-a"].start(
        ["dd", "if=/dev/urandom", f"of={it.target('node-a')}/unsynced", "bs=1M", "count=40"], "dd.log", {})
    time.sleep(0.3)
    cluster.lose_power("node-a")
    # Its journal is replayed, what the pod had synced is there, and all of it moves on.
    it.publish("node-a")
    it.unpublish("node-a")
    it.publish("node-b")
    it.unpublish("node-b")


def test_a_drive_is_pulled_out_under_a_volume(cluster):
    it = Traveller(cluster, "pulled")
    it.publish("node-a")
    it.write("node-a", "synced")
    node, path = cluster.nodes["node-a"], it.target("node-a")
    node.pull_out(cluster.DRIVE)
    assert node.run("sh", "-c", f"echo more > {path}/more; sync -f {path}", check=False).status != 0
    start = time.monotonic()
    with pytest.raises(grpc.RpcError, match="look for errors of the drive|bring the missing drive back") as failed:
        it.begin_unpublish("node-a").result(timeout=60)
    assert time.monotonic() - start < 50
    assert failed.value.code() == grpc.StatusCode.UNAVAILABLE
    # The volume stays this node's, as it holds work that is not committed.
    with pytest.raises(grpc.RpcError) as refused:
        cluster.node("node-b").NodePublishVolume(
            csi.NodePublishVolumeRequest(
                volume_id=it.volume.volume_id, target_path=it.target("node-b"), volume_capability=mount()),
            timeout=60)
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION
    # The drive comes back with the next boot, and the volume with it.
    cluster.lose_power("node-a")
    it.unpublish("node-a")
    it.publish("node-b")
    it.unpublish("node-b")
