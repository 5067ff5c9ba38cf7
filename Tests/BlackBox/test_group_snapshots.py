"""Group snapshots: several volumes, on several nodes, as they were at one moment."""

import subprocess
import sys
import time

import grpc
import pytest

from cluster import MIB, csi, mount, refused, until_ready
from servers import DIE_WITH_PARENT
from waiting import wait_for

# A number into the first file, and once it is safe there into the second one: never is the second ahead of the first,
# nor behind by more than one.
WRITER = """
import os, sys, time
files = [open(path, "ab", buffering=0) for path in sys.argv[1:]]
number, longest, last = 0, 0.0, time.monotonic()
while True:
    number += 1
    for file in files:
        file.write(b"%d\\n" % number)
        os.fsync(file.fileno())
    now = time.monotonic()
    if now - last > longest:
        longest = now - last
        print(longest, flush=True)
    last = now
"""


class Writer:
    def __init__(self, *paths):
        self.paths = paths

    def __enter__(self):
        self.process = subprocess.Popen(
            DIE_WITH_PARENT + [sys.executable, "-c", WRITER, *map(str, self.paths)], stdout=subprocess.PIPE, text=True)
        self.wait_for_progress()
        return self

    def __exit__(self, *_):
        self.process.kill()
        # The longest pause between two rounds, in seconds.
        self.longest_pause = float(self.process.communicate()[0].split("\n")[-2])

    def wait_for_progress(self, lines=20):
        begin = self.lines()
        wait_for(f"the writer's line {begin + lines}", self.lines, lambda count: count >= begin + lines, pause=0.02,
                 over=lambda: self.process.poll() is not None)

    def lines(self):
        return last(self.paths[-1]) if self.paths[-1].exists() else 0


def last(path):
    """The last number in a file; one that was cut in its middle does not count."""
    lines = path.read_bytes().split(b"\n")[:-1]
    assert [int(line) for line in lines] == list(range(1, len(lines) + 1))
    return len(lines)


def make(cluster, name, volumes, timeout=60):
    """What the sidecar does, once."""
    return cluster.groups.CreateVolumeGroupSnapshot(
        csi.CreateVolumeGroupSnapshotRequest(name=name, source_volume_ids=[v.volume_id for v in volumes]),
        timeout=timeout).group_snapshot


def ready(cluster, name, volumes):
    return until_ready(lambda: make(cluster, name, volumes))


def delete(cluster, group):
    cluster.groups.DeleteVolumeGroupSnapshot(
        csi.DeleteVolumeGroupSnapshotRequest(
            group_snapshot_id=group.group_snapshot_id, snapshot_ids=[s.snapshot_id for s in group.snapshots]),
        timeout=30)


def listed(cluster):
    entries = cluster.controller.ListSnapshots(csi.ListSnapshotsRequest(), timeout=30).entries
    return [entry.snapshot for entry in entries]


def numbers(cluster, group, volumes, node):
    """What a clone of each member has in its file, in the order of the volumes."""
    found = []
    for volume in volumes:
        member = next(s for s in group.snapshots if s.source_volume_id == volume.volume_id)
        clone = cluster.controller.CreateVolume(csi.CreateVolumeRequest(
            name=f"clone-{member.snapshot_id}", volume_capabilities=[mount()],
            volume_content_source=csi.VolumeContentSource(snapshot=csi.VolumeContentSource.SnapshotSource(
                snapshot_id=member.snapshot_id))), timeout=60).volume
        path = cluster.publish(clone, node, pod="clone")
        found.append(last(path / "numbers"))
        cluster.unpublish(clone, node, pod="clone")
        cluster.delete(clone)
    return found


@pytest.fixture
def pair(reflink_pool, cluster):
    """Two nodes whose pools share blocks, each with a volume that a pod has."""
    volumes, paths = [], []
    for name in ("node-x", "node-y"):
        cluster.start_node(name, pool=reflink_pool.parent / name, size="900MiB")
        volume = cluster.create(f"of-{name}", size=64 * MIB)
        volumes.append(volume)
        paths.append(cluster.publish(volume, name) / "numbers")
    yield cluster, volumes, paths
    for volume, name in zip(volumes, ("node-x", "node-y")):
        cluster.unpublish(volume, name)


def test_what_is_announced(cluster):
    services = cluster.processes["controller"].identity.GetPluginCapabilities(
        csi.GetPluginCapabilitiesRequest(), timeout=10).capabilities
    assert csi.PluginCapability.Service.GROUP_CONTROLLER_SERVICE in [one.service.type for one in services]
    calls = cluster.groups.GroupControllerGetCapabilities(csi.GroupControllerGetCapabilitiesRequest(), timeout=10)
    assert [one.rpc.type for one in calls.capabilities] == [
        csi.GroupControllerServiceCapability.RPC.CREATE_DELETE_GET_VOLUME_GROUP_SNAPSHOT]


def test_volumes_that_are_written_on_two_nodes_are_of_one_moment(pair):
    cluster, volumes, paths = pair
    with Writer(*paths) as writer:
        groups = []
        for index in range(3):
            writer.wait_for_progress()
            begin = writer.lines()
            groups.append(ready(cluster, f"group-{index}", volumes))
            assert {s.source_volume_id for s in groups[-1].snapshots} == {v.volume_id for v in volumes}
            writer.wait_for_progress()
            assert writer.lines() > begin
    print(f"figure group-snapshot-longest-pause-of-a-writer {writer.longest_pause * 1000:.0f} ms")
    for group in groups:
        first, second = numbers(cluster, group, volumes, "node-a")
        assert 0 < second <= first <= second + 1
    assert {s.group_snapshot_id for s in listed(cluster)} == {g.group_snapshot_id for g in groups}
    again = make(cluster, "group-0", volumes)
    assert again == groups[0]
    refused("ALREADY_EXISTS", lambda: make(cluster, "group-0", volumes[:1]))
    message = refused("INVALID_ARGUMENT", lambda: cluster.controller.DeleteSnapshot(
        csi.DeleteSnapshotRequest(snapshot_id=groups[0].snapshots[0].snapshot_id), timeout=30))
    assert groups[0].group_snapshot_id in message
    for group in groups:
        delete(cluster, group)
        delete(cluster, group)
    assert listed(cluster) == []


def test_one_that_a_pod_writes_and_one_that_nobody_has(pair):
    cluster, volumes, paths = pair
    idle = cluster.create("idle", size=64 * MIB)
    path = cluster.publish(idle, "node-a")
    (path / "numbers").write_bytes(b"1\n2\n3\n")
    cluster.unpublish(idle, "node-a")
    with Writer(paths[0]):
        group = ready(cluster, "mixed", [volumes[0], idle])
    first, second = numbers(cluster, group, [volumes[0], idle], "node-b")
    assert first > 0 and second == 3
    delete(cluster, group)


def test_a_node_that_does_not_answer_leaves_nothing_and_nobody_waits(pair):
    cluster, volumes, paths = pair
    with Writer(paths[0]) as writer:
        cluster.processes["node-y"].kill()
        with pytest.raises(grpc.RpcError) as error:
            make(cluster, "group", volumes, timeout=20)
        assert error.value.code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.ABORTED)
        assert "nothing of it is there" in error.value.details()
        assert listed(cluster) == []
        writer.wait_for_progress()
        cluster.restart("node-y")
        # The same name makes it then.
        paths[1].write_bytes(b"1\n")
        group = ready(cluster, "group", volumes)
    first, second = numbers(cluster, group, volumes, "node-a")
    assert first > 0 and second == 1
    delete(cluster, group)


def test_one_that_cannot_be_cut_leaves_nothing(pair):
    cluster, volumes, paths = pair
    # Its pool lies on an ext4, which shares no blocks.
    other = cluster.create("of-node-a", size=64 * MIB)
    path = cluster.publish(other, "node-a")
    with Writer(paths[0], path / "numbers") as writer:
        message = refused("FAILED_PRECONDITION", lambda: make(cluster, "group", [volumes[0], other]))
        assert "cannot share blocks" in message and "nothing of it is there" in message
        writer.wait_for_progress()
    assert listed(cluster) == []
    refused("NOT_FOUND", lambda: make(cluster, "group", [volumes[0], csi.Volume(volume_id="vol-" + "0" * 32)]))
    refused("INVALID_ARGUMENT", lambda: make(cluster, "group", []))
    cluster.unpublish(other, "node-a")
    assert make(cluster, "group", [other]).ready_to_use


def test_a_controller_that_dies_over_it_leaves_nothing_in_the_way(pair):
    cluster, volumes, paths = pair
    with Writer(*paths) as writer:
        for pause in (0.02, 0.1, 0.25):
            call = cluster.groups.CreateVolumeGroupSnapshot.future(
                csi.CreateVolumeGroupSnapshotRequest(
                    name="group", source_volume_ids=[v.volume_id for v in volumes]), timeout=20)
            time.sleep(pause)
            cluster.processes["controller"].kill()
            call.cancel()
            # Whoever was held goes on by himself.
            writer.wait_for_progress()
            cluster.restart("controller")
            assert len(listed(cluster)) in (0, 2)
        group = ready(cluster, "group", volumes)
    first, second = numbers(cluster, group, volumes, "node-a")
    assert 0 < second <= first <= second + 1
    assert len(listed(cluster)) == 2
    delete(cluster, group)
