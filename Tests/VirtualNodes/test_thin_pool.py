"""Pools of thin logical volumes over four NVMe drives."""

import json
import os
import random

import grpc
import pytest

from cluster import GIB, MIB, mount
from pools import lvm

PAGE = 4096


def newest_generation(cluster, volume):
    return json.loads(cluster.perssd("log", volume.volume_id, "--json").stdout)["generations"][0]


def test_the_pool_is_made_as_configured_and_of_these_drives_alone(thin_pools):
    node = thin_pools.nodes["node-a"]
    drives = lvm(node, "pvs", "--noheadings", "-o", "pv_name,vg_name").text.split()
    assert dict(zip(drives[::2], drives[1::2])) == {
        node.device(f"thin-{number}"): thin_pools.GROUP for number in range(4)}
    report = lvm(node, "lvs", "-a", "--reportformat", "json", "-o", "lv_name,stripes", thin_pools.GROUP).text
    stripes = {volume["lv_name"]: volume["stripes"] for volume in json.loads(report)["report"][0]["lv"]}
    assert stripes["[perssd_tdata]"] == "4"


def test_scattered_pages_cost_their_blocks_to_read_and_themselves_to_send(thin_pools):
    node = thin_pools.nodes["node-a"]
    volume = thin_pools.create("pages", size=128 * MIB)
    path = thin_pools.publish(volume, "node-a")
    contents = bytearray(os.urandom(24 * MIB))
    node.write(path / "data", bytes(contents))
    thin_pools.unpublish(volume, "node-a", detach=False)
    path = thin_pools.publish(volume, "node-a")
    pages = random.Random(1).sample(range(len(contents) // PAGE), 48)
    for page in pages:
        contents[page * PAGE:(page + 1) * PAGE] = new = os.urandom(PAGE)
        node.write(path / "data", new, offset=page * PAGE)
    thin_pools.unpublish(volume, "node-a")
    newest = newest_generation(thin_pools, volume)
    changed = len(pages) * PAGE
    # A block has 256 KiB, and is read whole; 2 MiB are for what the file system notes.
    assert changed <= newest["readBytes"] <= len(pages) * 256 * 1024 + 2 * MIB, newest
    assert changed <= newest["sentBytes"] <= 2 * changed + MIB, newest
    print(f"figure thin_pages_sent_over_changed {newest['sentBytes'] / changed:.2f} ratio")
    path = thin_pools.publish(volume, "node-b")
    assert thin_pools.nodes["node-b"].read(path / "data") == bytes(contents)
    thin_pools.unpublish(volume, "node-b")


def test_a_node_with_an_older_generation_fetches_what_differs(thin_pools):
    a, b = thin_pools.nodes["node-a"], thin_pools.nodes["node-b"]
    volume = thin_pools.create("delta", size=96 * MIB)
    path = thin_pools.publish(volume, "node-b")
    contents = os.urandom(12 * MIB)
    b.write(path / "data", contents)
    thin_pools.unpublish(volume, "node-b")
    path = thin_pools.publish(volume, "node-a")
    change = os.urandom(MIB)
    a.write(path / "data", change, offset=5 * MIB)
    thin_pools.unpublish(volume, "node-a")

    path, fetched = thin_pools.publish_and_count(volume, "node-b")
    assert MIB <= fetched <= 3 * MIB, fetched
    assert b.read(path / "data") == contents[:5 * MIB] + change + contents[6 * MIB:]
    thin_pools.unpublish(volume, "node-b", detach=False)
    # And one with the newest fetches no data at all.
    _, fetched = thin_pools.publish_and_count(volume, "node-b")
    assert fetched < 64 * 1024
    thin_pools.unpublish(volume, "node-b")


def test_clean_copies_are_evicted_where_room_is_needed(thin_pools):
    node = thin_pools.nodes["node-a"]
    volumes = [thin_pools.create(f"evicted-{number}", size=3 * GIB // 2) for number in range(3)]
    written = {}
    for volume in volumes:
        thin_pools.wait_for_room("node-a", 3 * GIB // 2)
        path = thin_pools.publish(volume, "node-a")
        written[volume.volume_id] = os.urandom(MIB)
        node.write(path / "data", written[volume.volume_id])
        thin_pools.unpublish(volume, "node-a")
    names = [thin_pools.copy_name(volume) for volume in volumes]
    # The pool has room for two of them: the one that was used the longest ago went.
    assert thin_pools.copies("node-a") & set(names) == set(names[1:])
    thin_pools.wait_for_room("node-a", 3 * GIB // 2)
    path = thin_pools.publish(volumes[0], "node-a")
    assert node.read(path / "data") == written[volumes[0].volume_id]
    assert thin_pools.copies("node-a") & set(names) == {names[0], names[2]}
    thin_pools.unpublish(volumes[0], "node-a")
    for volume in volumes:
        thin_pools.delete(volume)


def test_a_full_pool_takes_no_more_and_goes_on(thin_pools):
    node = thin_pools.nodes["node-a"]
    held = [thin_pools.create(f"held-{number}", size=3 * GIB // 2) for number in range(2)]
    paths = [thin_pools.publish(volume, "node-a", pod=volume.volume_id) for volume in held]
    more = thin_pools.create("one-too-many", size=3 * GIB // 2)
    with pytest.raises(grpc.RpcError) as refused:
        thin_pools.publish(more, "node-a", pod="more")
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED
    for path in paths:
        node.write(path / "data", b"still written")
        node.run("sync", "-f", path)
    for volume in held:
        thin_pools.unpublish(volume, "node-a", pod=volume.volume_id)
    # Now the two can be evicted.
    thin_pools.wait_for_room("node-a", 3 * GIB // 2)
    thin_pools.publish(more, "node-a", pod="more")
    thin_pools.unpublish(more, "node-a", pod="more")
    for volume in [*held, more]:
        thin_pools.delete(volume)


def test_a_pod_cannot_write_more_than_its_volume_has(thin_pools):
    """What a pod may write is bounded by its volume, not by the pool."""
    node = thin_pools.nodes["node-a"]
    volume = thin_pools.create("bounded", size=64 * MIB, capability=mount())
    path = thin_pools.publish(volume, "node-a")
    result = node.run("dd", "if=/dev/zero", f"of={path}/zeros", "bs=1M", "count=100", check=False)
    assert result.status != 0 and b"No space left" in result.err
    node.run("rm", path / "zeros")
    thin_pools.unpublish(volume, "node-a")
