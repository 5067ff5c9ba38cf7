"""Ephemeral inline volumes: scratch on a node's pool, which goes with its pod."""

import os
import pathlib
import subprocess
import time

import pytest

from cluster import MIB, block, csi, loops_below, mount, mounts_below, patiently, refused


# What the store has no part in is tried with one kind of it, the quicker one.
one_store = pytest.mark.parametrize("store", ["directory"], indirect=True)


def local_copies(cluster, node):
    return sorted(os.listdir(cluster.directory / node / "pool" / "volumes"))


def objects(cluster):
    """What a bucket in a directory holds, but for what processes say of themselves."""
    root = pathlib.Path(cluster.store_arguments[0].removeprefix("file://"))
    names = [str(path.relative_to(root)) for path in root.rglob("*") if path.is_file()]
    return [name for name in names if not name.startswith((".", "nodes/", "controllers/", "perssd.json"))]


@one_store
@pytest.mark.parametrize("file_system", ["ext4", "xfs", "btrfs"])
def test_scratch_comes_and_goes_with_its_pod(cluster, file_system):
    path = cluster.publish_scratch("node-a", "pod", size="400Mi", fsType=file_system)
    assert subprocess.run(
        ["findmnt", "-no", "FSTYPE", str(path)], check=True, capture_output=True, text=True
    ).stdout.strip() == file_system
    space = os.statvfs(path)
    assert 250 * MIB < space.f_blocks * space.f_frsize <= 400 * MIB
    (path / "file").write_bytes(os.urandom(5 * MIB))
    before = objects(cluster)
    # kubelet asks again where an answer got lost.
    assert cluster.publish_scratch("node-a", "pod", size="400Mi", fsType=file_system) == path
    stats = cluster.node("node-a").NodeGetVolumeStats(
        csi.NodeGetVolumeStatsRequest(volume_id=cluster.scratch_id("pod"), volume_path=str(path)), timeout=60)
    used = {usage.unit: usage for usage in stats.usage}
    assert used[csi.VolumeUsage.BYTES].total > 250 * MIB and not stats.volume_condition.abnormal
    assert len(local_copies(cluster, "node-a")) == 1
    cluster.unpublish_scratch("node-a", "pod")
    cluster.unpublish_scratch("node-a", "pod")
    assert not path.exists() and local_copies(cluster, "node-a") == []
    assert loops_below(cluster.directory) == []
    assert objects(cluster) == before == []
    # Another pod of the name begins with nothing.
    path = cluster.publish_scratch("node-a", "pod", size="400Mi", fsType=file_system)
    assert set(os.listdir(path)) <= {"lost+found"}
    cluster.unpublish_scratch("node-a", "pod")


def test_scratch_survives_the_plugin_and_what_a_crash_leaves_goes(cluster):
    path = cluster.publish_scratch("node-a", "lives", size="64Mi")
    left = cluster.publish_scratch("node-a", "left", size="64Mi")
    (path / "file").write_bytes(b"before")
    cluster.processes["node-a"].kill()
    assert (path / "file").read_bytes() == b"before"
    # As a restart of the machine leaves it, where nothing is mounted any more.
    for place in reversed(mounts_below(left)):
        subprocess.run(["umount", place], check=True)
    left.rmdir()
    cluster.restart("node-a")
    assert len(local_copies(cluster, "node-a")) == 1
    (path / "more").write_bytes(b"after")
    assert cluster.publish_scratch("node-a", "lives", size="64Mi") == path
    stats = cluster.node("node-a").NodeGetVolumeStats(
        csi.NodeGetVolumeStatsRequest(volume_id=cluster.scratch_id("lives"), volume_path=str(path)), timeout=60)
    assert not stats.volume_condition.abnormal
    # kubelet takes away what it knows of, whether it is there or not.
    for pod in ("lives", "left"):
        cluster.unpublish_scratch("node-a", pod)
    assert local_copies(cluster, "node-a") == []
    assert loops_below(cluster.directory) == []


@one_store
@pytest.mark.parametrize("delay", [0.0, 0.05, 0.1, 0.2])
def test_a_kill_while_it_is_made_leaves_nothing(cluster, delay):
    call = cluster.node("node-a").NodePublishVolume.future(csi.NodePublishVolumeRequest(
        volume_id=cluster.scratch_id("half"), target_path=cluster.target("node-a", "half"),
        volume_context={"csi.storage.k8s.io/ephemeral": "true", "size": "1Gi"},
        volume_capability=mount(mode="SINGLE_NODE_WRITER")), timeout=60)
    time.sleep(delay)
    cluster.processes["node-a"].kill()
    call.exception()
    cluster.restart("node-a")
    path = cluster.publish_scratch("node-a", "half", size="1Gi")
    (path / "file").write_bytes(b"whole")
    cluster.unpublish_scratch("node-a", "half")
    assert local_copies(cluster, "node-a") == [] and loops_below(cluster.directory) == []


@one_store
def test_scratch_takes_the_room_of_what_is_cached_and_no_more(cluster):
    cluster.processes["node-a"].stop()
    cluster.start_node("node-a", size="300MiB")
    volume = cluster.create("cached", size=128 * MIB)
    path = cluster.publish(volume, "node-a")
    (path / "file").write_bytes(b"kept in the bucket")
    cluster.unpublish(volume, "node-a")
    assert len(local_copies(cluster, "node-a")) == 1
    first = cluster.publish_scratch("node-a", "first", size="256Mi")
    assert len(local_copies(cluster, "node-a")) == 1, "the clean copy gave way"
    message = refused("RESOURCE_EXHAUSTED", lambda: cluster.publish_scratch("node-a", "second", size="64Mi"))
    assert "64.0 MiB" in message, message
    # Nothing of the one that was refused is left, and scratch gives way to nobody.
    assert len(local_copies(cluster, "node-a")) == 1 and first.exists()
    # The node itself is asked: the controller knows of a pool what the node wrote last.
    target = pathlib.Path(cluster.target("node-a", "pod"))
    wanted = csi.NodePublishVolumeRequest(
        volume_id=volume.volume_id, target_path=str(target), volume_capability=mount())
    message = refused("RESOURCE_EXHAUSTED", lambda: cluster.node("node-a").NodePublishVolume(wanted, timeout=60))
    assert "128.0 MiB" in message, message
    cluster.unpublish_scratch("node-a", "first")
    patiently(lambda: cluster.node("node-a").NodePublishVolume(wanted, timeout=60))
    assert (target / "file").read_bytes() == b"kept in the bucket"
    cluster.unpublish(volume, "node-a")


@one_store
def test_attributes_that_cannot_be_are_refused_by_name(cluster):
    for attributes, word in [
        ({"sise": "1Gi"}, "sise"), ({"size": "much"}, "size is 'much'"), ({"size": "0"}, "size is '0'"),
        ({"size": "17Ti"}, "16Ti"), ({"fsType": "zfs"}, "ext4, xfs, btrfs"), ({"pool": "a b"}, "pool"),
        ({"inodeRatio": "1"}, "ephemeral volume cannot be used: parameter inodeRatio"), ({"fsType": "xfs", "inodeRatio": "16Ki"}, "inodeRatio"),
        ({"retention": "all"}, "retention"),
    ]:
        message = refused("INVALID_ARGUMENT", lambda: cluster.publish_scratch("node-a", "bad", **attributes))
        assert word in message and "StorageClass" not in message, message
    assert local_copies(cluster, "node-a") == []


@one_store
def test_what_no_scratch_can_be_is_refused(cluster):
    message = refused("FAILED_PRECONDITION", lambda: cluster.publish_scratch("node-a", "bad", pool="fast"))
    assert "fast" in message, message
    for capability, word in ((block(), "raw device"), (mount(mode="MULTI_NODE_READER_ONLY"), "many nodes"),
                             (mount(flags=["nonsense"]), "nonsense")):
        message = refused(
            "INVALID_ARGUMENT", lambda: cluster.publish_scratch("node-a", "bad", capability, size="64Mi"))
        assert word in message, message
    xfs = mount(fs_type="xfs")
    message = refused("INVALID_ARGUMENT", lambda: cluster.publish_scratch("node-a", "bad", xfs, fsType="ext4"))
    assert "fsType" in message, message
    volume = cluster.create("outlives", size=64 * MIB)
    message = refused("INVALID_ARGUMENT", lambda: cluster.node("node-a").NodePublishVolume(
        csi.NodePublishVolumeRequest(
            volume_id=volume.volume_id, target_path=cluster.target("node-a", "bad"), volume_capability=mount(),
            volume_context={"csi.storage.k8s.io/ephemeral": "true"}), timeout=60))
    assert "outlives its pod" in message, message
    assert local_copies(cluster, "node-a") == []
    # What kubelet adds for any other pod is no reason to refuse its volume.
    patiently(lambda: cluster.node("node-a").NodePublishVolume(
        csi.NodePublishVolumeRequest(
            volume_id=volume.volume_id, target_path=cluster.target("node-a", "pod"), volume_capability=mount(),
            volume_context={**volume.volume_context, "csi.storage.k8s.io/ephemeral": "false"}), timeout=60))
    cluster.unpublish(volume, "node-a")


@one_store
def test_scratch_needs_no_bucket(cluster):
    bucket = cluster.store_arguments[0].removeprefix("file://")
    os.rename(bucket, bucket + ".away")
    try:
        path = cluster.publish_scratch("node-a", "offline", size="64Mi")
        (path / "file").write_bytes(b"x")
        stats = cluster.node("node-a").NodeGetVolumeStats(
            csi.NodeGetVolumeStatsRequest(volume_id=cluster.scratch_id("offline"), volume_path=str(path)), timeout=60)
        assert not stats.volume_condition.abnormal, stats.volume_condition.message
        cluster.unpublish_scratch("node-a", "offline")
    finally:
        os.rename(bucket + ".away", bucket)
