"""Cuts and snapshots of volumes that are being written."""

import time

from cluster import MIB, csi, mount, until_ready
from node import boot_all
from pools import lvm

GROUP = "cuts"


def test_a_cut_while_a_pod_writes_holds_all_that_was_synced_before(nodes, binaries):
    # Beside the plugin and its pool, with a pool of its own.
    node = nodes["node-b"]
    boot_all([node])
    drive = node.device("pool-3")
    try:
        said = node.run(
            binaries / "pool-conformance", "writing", "--vg", GROUP, "--drives", drive, "--fs", "ext4", "--cuts", "3",
            timeout=300).text
        print(said)
        assert "writing passed: ext4" in said
    finally:
        node.run("umount", "/run/pool-conformance-written", check=False)
        lvm(node, "vgremove", "--yes", GROUP, check=False)
        node.run("wipefs", "--all", "--quiet", drive, check=False)


def test_a_snapshot_while_a_pod_writes_is_a_volume_on_the_other_node(cluster):
    """The controller asks the node's agent; the snapshot is ready when what was cut is committed."""
    a, b = cluster.nodes["node-a"], cluster.nodes["node-b"]
    volume = cluster.create("written", size=96 * MIB)
    path = cluster.publish(volume, "node-a")
    # Numbered lines, each synced before the next.
    writer = a.start(
        ["sh", "-c", f"n=0; while :; do n=$((n + 1)); echo $n >> {path}/log; sync {path}/log; sleep 0.05; done"], "writer.log", {})
    wanted = csi.CreateSnapshotRequest(source_volume_id=volume.volume_id, name="while written")
    try:
        time.sleep(2)
        before = int(a.run("tail", "-n", "1", path / "log").text)
        made = until_ready(lambda: cluster.controller.CreateSnapshot(wanted, timeout=60).snapshot, seconds=120)
        time.sleep(1)
    finally:
        a.signal(writer, 9)
    after = int(a.run("tail", "-n", "1", path / "log").text)
    cluster.unpublish(volume, "node-a")

    copy = cluster.controller.CreateVolume(csi.CreateVolumeRequest(
        name="copy of written", volume_capabilities=[mount()],
        volume_content_source=csi.VolumeContentSource(
            snapshot=csi.VolumeContentSource.SnapshotSource(snapshot_id=made.snapshot_id))), timeout=60).volume
    there = cluster.publish(copy, "node-b")
    lines = b.read(there / "log").decode().split()
    assert lines == [str(number) for number in range(1, len(lines) + 1)]
    # What was synced before it was asked for is in it, and what came last is not.
    assert before <= len(lines) < after, (before, len(lines), after)
    cluster.unpublish(copy, "node-b")
    cluster.perssd("verify", copy.volume_id)
