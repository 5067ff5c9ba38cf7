"""Volumes on thin pools that grow while a pod writes to them."""

import os
import signal

import pytest

from cluster import MIB, mount
from node_agent import NodeError
from test_expansion import expand, expand_on_node
from test_moves import check_file_system

SIZES = {"ext4": (64 * MIB, 192 * MIB), "xfs": (300 * MIB, 420 * MIB), "btrfs": (128 * MIB, 256 * MIB)}
# More than is left free before the growth.
BEYOND = 12 * MIB


def file_system_bytes(node, path, what):
    """what: %b for all of it, %a for what is free."""
    blocks, size = node.run("stat", "--file-system", "--format", f"{what} %S", path).text.split()
    return int(blocks) * int(size)


@pytest.mark.parametrize("fs_type", SIZES)
def test_a_volume_grows_under_a_pod_that_writes(thin_pools, fs_type):
    a, b = thin_pools.nodes["node-a"], thin_pools.nodes["node-b"]
    capability, (small, large) = mount(fs_type), SIZES[fs_type]
    volume = thin_pools.create(f"growing-{fs_type}", size=small, capability=capability)
    # A small generation, of which node-b keeps its copy.
    path = thin_pools.publish(volume, "node-b", capability=capability)
    first, beyond = os.urandom(4 * MIB), os.urandom(BEYOND)
    b.write(path / "first", first)
    thin_pools.unpublish(volume, "node-b")

    path = thin_pools.publish(volume, "node-a", capability=capability)
    # While there is no room, a btrfs has none for a line either: it is tried again.
    count = f"exec 3> {path}/numbers; i=0; while sleep 0.1; do i=$((i + 1)); until echo $i >&3; do sleep 0.1; done; done"
    writer = a.start(["sh", "-c", count], "writer.log", {})
    # Room that is given away and not written, so that what comes next has no place but beyond the old end.
    a.run("fallocate", "--length", file_system_bytes(a, path, "%a") - BEYOND * 2 // 3, path / "filler")
    with pytest.raises(NodeError, match="No space left"):
        a.write(path / "beyond", beyond)
    before = file_system_bytes(a, path, "%b")
    lines = len(a.read(path / "numbers").splitlines())

    assert expand(thin_pools, volume, large) == large
    assert expand_on_node(thin_pools, volume, "node-a", large) == large
    assert file_system_bytes(a, path, "%b") - before >= 100 * MIB
    a.write(path / "beyond", beyond)
    a.signal(writer, signal.SIGTERM)
    numbers = a.read(path / "numbers").splitlines()
    assert numbers == [b"%d" % (index + 1) for index in range(len(numbers))] and len(numbers) > lines
    thin_pools.unpublish(volume, "node-a")

    path = thin_pools.publish(volume, "node-b", capability=capability)
    assert b.read(path / "first") == first
    assert b.read(path / "beyond") == beyond
    assert b.read(path / "numbers").splitlines() == numbers
    assert file_system_bytes(b, path, "%b") - before >= 100 * MIB
    thin_pools.unpublish(volume, "node-b")
    check_file_system(thin_pools, volume, fs_type)
    thin_pools.perssd("verify", volume.volume_id)
    thin_pools.delete(volume)
