"""Volumes that grow while they are used, and between two uses."""

import os
import subprocess

import pytest

from cluster import MIB, block, csi, mount, patiently, refused
from test_main_job import CHECKS, fingerprint, write_tree


def expand(cluster, volume, size, limit=0):
    """What external-resizer does; returns the capacity."""
    response = patiently(lambda: cluster.controller.ControllerExpandVolume(
        csi.ControllerExpandVolumeRequest(
            volume_id=volume.volume_id,
            capacity_range=csi.CapacityRange(required_bytes=size, limit_bytes=limit)), timeout=60))
    assert response.node_expansion_required
    return response.capacity_bytes


def expand_on_node(cluster, volume, node, size, pod="pod"):
    """What kubelet does; returns the capacity."""
    return patiently(lambda: cluster.node(node).NodeExpandVolume(
        csi.NodeExpandVolumeRequest(
            volume_id=volume.volume_id, volume_path=cluster.target(node, pod),
            capacity_range=csi.CapacityRange(required_bytes=size)), timeout=120)).capacity_bytes


def total(path):
    status = os.statvfs(path)
    return status.f_blocks * status.f_frsize


def check_restored(cluster, volume, fs_type, size):
    image = cluster.directory / "restored.img"
    cluster.perssd("restore", volume.volume_id, "--to", str(image))
    assert image.stat().st_size == size
    result = subprocess.run([*CHECKS[fs_type], str(image)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("fs_type", ["xfs", "btrfs"])
def test_a_volume_grows_under_its_pod_and_moves(cluster, fs_type):
    capability = mount(fs_type)
    volume = cluster.create(f"grown-{fs_type}", size=320 * MIB, capability=capability)
    path = cluster.publish(volume, "node-a", capability=capability)
    write_tree(path)
    assert expand(cluster, volume, 640 * MIB) == 640 * MIB
    assert expand_on_node(cluster, volume, "node-a", 640 * MIB) == 640 * MIB
    assert total(path) > 500 * MIB
    (path / "beyond").write_bytes(os.urandom(8 * MIB) * 50)
    before = fingerprint(path)
    # Asked again, nothing happens.
    assert expand(cluster, volume, 640 * MIB) == 640 * MIB
    assert expand_on_node(cluster, volume, "node-a", 640 * MIB) == 640 * MIB
    cluster.unpublish(volume, "node-a")

    path = cluster.publish(volume, "node-b", capability=capability)
    assert fingerprint(path) == before
    assert total(path) > 500 * MIB
    cluster.unpublish(volume, "node-b")
    check_restored(cluster, volume, fs_type, 640 * MIB)
    cluster.perssd("verify", volume.volume_id)


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs"])
def test_a_volume_that_grew_while_nobody_had_it(cluster, fs_type):
    capability = mount(fs_type)
    volume = cluster.create(f"asleep-{fs_type}", size=320 * MIB, capability=capability)
    path = cluster.publish(volume, "node-a", capability=capability)
    write_tree(path)
    before = fingerprint(path)
    cluster.unpublish(volume, "node-a")
    assert expand(cluster, volume, 500 * MIB) == 500 * MIB

    # The newest generation is smaller than the volume.
    path = cluster.publish(volume, "node-b", capability=capability)
    assert fingerprint(path) == before
    assert total(path) > 380 * MIB
    (path / "written on b").write_bytes(os.urandom(MIB))
    changed = fingerprint(path)
    # kubelet asks all the same.
    assert expand_on_node(cluster, volume, "node-b", 500 * MIB) == 500 * MIB
    cluster.unpublish(volume, "node-b")

    # The copy that is still here is smaller than the newest generation.
    path = cluster.publish(volume, "node-a", capability=capability)
    assert fingerprint(path) == changed
    assert total(path) > 380 * MIB
    cluster.unpublish(volume, "node-a")
    check_restored(cluster, volume, fs_type, 500 * MIB)


def test_what_is_refused_and_leaves_all_as_it_is(cluster):
    volume = cluster.create("refused", size=64 * MIB, capability=block())
    path = cluster.publish(volume, "node-a", capability=block())
    message = refused("OUT_OF_RANGE", lambda: expand(cluster, volume, 0, limit=32 * MIB))
    assert "do not shrink" in message
    refused("OUT_OF_RANGE", lambda: expand(cluster, volume, 1 << 60))
    message = refused("RESOURCE_EXHAUSTED", lambda: expand(cluster, volume, 1 << 44))
    assert "pool" in message
    refused("RESOURCE_EXHAUSTED", lambda: expand_on_node(cluster, volume, "node-a", 1 << 44))
    refused("NOT_FOUND", lambda: expand_on_node(cluster, volume, "node-a", 128 * MIB, pod="nobody"))
    refused("NOT_FOUND", lambda: expand_on_node(cluster, volume, "node-b", 128 * MIB))
    assert expand(cluster, volume, 64 * MIB) == 64 * MIB
    assert expand(cluster, volume, 128 * MIB) == 128 * MIB
    assert expand_on_node(cluster, volume, "node-a", 128 * MIB) == 128 * MIB
    with open(path, "rb") as device:
        assert device.seek(0, os.SEEK_END) == 128 * MIB
    cluster.unpublish(volume, "node-a")


def test_a_plugin_that_is_killed_after_the_growth_finds_it_again(cluster):
    volume = cluster.create("killed", size=320 * MIB, capability=mount("xfs"))
    path = cluster.publish(volume, "node-a", capability=mount("xfs"))
    (path / "file").write_text("kept")
    expand(cluster, volume, 400 * MIB)
    expand_on_node(cluster, volume, "node-a", 400 * MIB)
    cluster.processes["node-a"].kill()
    cluster.restart("node-a")
    assert (path / "file").read_text() == "kept"
    assert expand_on_node(cluster, volume, "node-a", 400 * MIB) == 400 * MIB
    expand(cluster, volume, 500 * MIB)
    assert expand_on_node(cluster, volume, "node-a", 500 * MIB) == 500 * MIB
    assert total(path) > 400 * MIB
    cluster.unpublish(volume, "node-a")
    path = cluster.publish(volume, "node-b", capability=mount("xfs"))
    assert (path / "file").read_text() == "kept"
    cluster.unpublish(volume, "node-b")
