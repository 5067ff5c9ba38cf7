"""Ephemeral volumes, and volumes that many nodes read, on thin pools."""

import time

from cluster import MIB, csi, mount, patiently
from pools import lvm


def test_scratch_lives_as_long_as_its_pod_and_its_machine(thin_pools):
    node, before = thin_pools.nodes["node-a"], thin_pools.copies("node-a")
    path = thin_pools.publish_scratch("node-a", "scratch", size="320Mi", fsType="xfs")
    node.write(path / "file", b"x" * MIB)
    made, = thin_pools.copies("node-a") - before
    tags = lvm(node, "lvs", "--noheadings", "-o", "lv_tags", f"{thin_pools.GROUP}/{made}").text
    assert "perssd.use=ephemeral" in tags, tags
    thin_pools.processes["node-a"].kill()
    thin_pools.restart("node-a")
    assert thin_pools.publish_scratch("node-a", "scratch", size="320Mi", fsType="xfs") == path
    assert node.read(path / "file") == b"x" * MIB
    thin_pools.unpublish_scratch("node-a", "scratch")
    assert thin_pools.copies("node-a") == before

    # What a loss of power leaves goes with the next start, as its pod has.
    thin_pools.publish_scratch("node-a", "scratch", size="64Mi")
    assert len(thin_pools.copies("node-a")) == len(before) + 1
    thin_pools.lose_power("node-a")
    assert thin_pools.copies("node-a") == before
    thin_pools.unpublish_scratch("node-a", "scratch")


def test_two_nodes_read_a_snapshot_whose_journal_has_to_be_replayed(thin_pools):
    """xfs, cut while it is mounted, leaves its log for the next mount, even for one that only reads."""
    cluster, a = thin_pools, thin_pools.nodes["node-a"]
    volume = cluster.create("source of readers", size=320 * MIB, capability=mount(fs_type="xfs"))
    path = cluster.publish(volume, "node-a", capability=mount(fs_type="xfs"))
    a.run("dd", "if=/dev/urandom", f"of={path}/data", "bs=1M", "count=4", "conv=fsync")
    wanted = csi.CreateSnapshotRequest(source_volume_id=volume.volume_id, name="for readers")
    deadline = time.monotonic() + 120
    while not (made := patiently(lambda: cluster.controller.CreateSnapshot(wanted, timeout=60).snapshot)).ready_to_use:
        assert time.monotonic() < deadline, made
        time.sleep(0.2)
    contents = a.run("sha256sum", path / "data").text.split()[0]
    cluster.unpublish(volume, "node-a")

    readers = mount(fs_type="xfs", mode="MULTI_NODE_READER_ONLY")
    clone = cluster.controller.CreateVolume(csi.CreateVolumeRequest(
        name="to be read", volume_capabilities=[readers], volume_content_source=csi.VolumeContentSource(
            snapshot=csi.VolumeContentSource.SnapshotSource(snapshot_id=made.snapshot_id))), timeout=60).volume
    for name, node in cluster.nodes.items():
        path = cluster.publish(clone, name, pod="reader", capability=readers, readonly=True)
        assert node.run("sha256sum", path / "data").text.split()[0] == contents
        denied = node.run("touch", path / "new", check=False)
        assert denied.status != 0 and b"Read-only file system" in denied.err, denied
        tags = lvm(node, "lvs", "--noheadings", "-o", "lv_tags", f"{cluster.GROUP}/{cluster.copy_name(clone)}").text
        assert "perssd.use=reading" in tags and "perssd.state=recovered" in tags, tags
    cluster.processes["node-b"].kill()
    cluster.restart("node-b")
    for name, node in cluster.nodes.items():
        assert node.run("sha256sum", path / "data").text.split()[0] == contents
        cluster.unpublish(clone, name, pod="reader")
        # What was replayed is no generation, and no cache.
        assert cluster.copy_name(clone) not in cluster.copies(name)
    cluster.delete(clone)
