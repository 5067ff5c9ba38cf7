"""Volumes move between two nodes, from pools of each kind, and a move costs what was changed."""

import hashlib
import json
import os
import subprocess

import pytest

from cluster import MIB, mount

# For xfs the least that there is: over four drives mkfs.xfs sees the stripes of the pool, and has least room for them.
SIZES = {"ext4": 96 * MIB, "xfs": 300 * MIB, "btrfs": 128 * MIB}
CHECKS = {"ext4": ["e2fsck", "-fn"], "xfs": ["xfs_repair", "-n"], "btrfs": ["btrfs", "check", "--readonly"]}


def sha256(node, path):
    return node.run("sha256sum", path).text.split()[0]


def check_file_system(cluster, volume, fs_type):
    """Of the newest generation, on this machine, which is faster."""
    image = cluster.directory / "restored.img"
    cluster.perssd("restore", volume.volume_id, "--to", str(image))
    result = subprocess.run([*CHECKS[fs_type], str(image)], capture_output=True, text=True)
    image.unlink()
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("fs_type", SIZES)
def test_a_volume_moves_to_a_node_with_drives_of_its_own(cluster, fs_type):
    a, b = cluster.nodes["node-a"], cluster.nodes["node-b"]
    first, second = os.urandom(8 * MIB), os.urandom(3 * MIB + 17)
    volume = cluster.create(f"mover-{fs_type}", size=SIZES[fs_type], capability=mount(fs_type))
    path = cluster.publish(volume, "node-a", capability=mount(fs_type))
    a.write(path / "first", first)
    a.run("ln", path / "first", path / "link")
    cluster.unpublish(volume, "node-a")

    path = cluster.publish(volume, "node-b", capability=mount(fs_type))
    assert b.read(path / "link") == first
    b.write(path / "second", second)
    b.run("rm", path / "link")
    cluster.unpublish(volume, "node-b")

    path = cluster.publish(volume, "node-a", capability=mount(fs_type))
    assert sha256(a, path / "first") == hashlib.sha256(first).hexdigest()
    assert sha256(a, path / "second") == hashlib.sha256(second).hexdigest()
    assert set(a.run("ls", path).text.split()) - {"lost+found"} == {"first", "second"}
    cluster.unpublish(volume, "node-a")
    check_file_system(cluster, volume, fs_type)
    cluster.perssd("verify", volume.volume_id)


def test_a_change_in_place_costs_what_was_changed(cluster):
    node = cluster.nodes["node-a"]
    volume = cluster.create("in-place", size=96 * MIB)
    path = cluster.publish(volume, "node-a")
    node.write(path / "data", os.urandom(32 * MIB))
    cluster.unpublish(volume, "node-a", detach=False)
    path = cluster.publish(volume, "node-a")
    node.write(path / "data", os.urandom(MIB), offset=7 * MIB)
    cluster.unpublish(volume, "node-a")
    log = json.loads(cluster.perssd("log", volume.volume_id, "--json").stdout)
    newest = log["generations"][0]
    # Beside the file's own blocks of 256 KiB there are those of the file system that say when it was written.
    assert newest["number"] == 2 and MIB <= newest["sentBytes"] <= newest["readBytes"] <= 3 * MIB, newest
