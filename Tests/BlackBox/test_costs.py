"""What snapshots and clones cost, whatever the size of their volume."""

import os
import re
import time

import pytest

from call_log import with_cost
from cluster import GIB, MIB
from fixtures import xfs_in_file
from test_snapshots import clone, ready, snapshot

TIB = 1024 * GIB


@pytest.fixture
def large_pool(workplace):
    """A directory on an XFS with room for a large volume, as long as little is written."""
    with xfs_in_file(workplace / "large.img", 1200 * GIB, "-l", "size=64m") as place:
        yield place / "pool"


def timed(call):
    start = time.monotonic()
    value = call()
    return value, time.monotonic() - start


def test_a_snapshot_and_a_clone_cost_no_more_for_a_large_volume(large_pool, cluster):
    node = cluster.start_node("node-c", pool=large_pool, size="1100GiB")
    volume = cluster.create("large", size=TIB)
    path = cluster.publish(volume, "node-c")
    (path / "some").write_bytes(os.urandom(8 * MIB))

    # While a pod has it, the cut is what counts: writers stand still meanwhile.
    made = ready(cluster, volume, "while published")
    assert made.size_bytes == TIB
    frozen = [int(held) for held in re.findall(r"frozenMilliseconds=(\d+)", node.text())]
    print(f"figure freeze {max(frozen)} ms")
    assert len(frozen) == 1 and frozen[0] < 1000
    cluster.unpublish(volume, "node-c")

    small = cluster.create("small", size=64 * MIB)
    cluster.publish(small, "node-c")
    cluster.unpublish(small, "node-c")
    costs = {size: cost_of_snapshot_and_clone(cluster, of) for size, of in ((64 * MIB, small), (TIB, volume))}
    for kind in ("snapshot", "clone"):
        seconds, requests = costs[TIB][kind]
        print(f"figure {kind}_of_1_tib {seconds:.3f} s")
        print(f"figure {kind}_of_1_tib_requests {requests} requests")
        # The controller's sign of life may come between.
        assert requests <= costs[64 * MIB][kind][1] + 1


def cost_of_snapshot_and_clone(cluster, volume):
    controller, name = cluster.processes["controller"], volume.volume_id
    (made, snapshot_seconds), snapshot_requests = with_cost(
        controller, "CreateSnapshot", lambda: timed(lambda: snapshot(cluster, volume, f"of {name}")), "storeRequests")
    assert made.ready_to_use
    (copy, clone_seconds), clone_requests = with_cost(
        controller, "CreateVolume", lambda: timed(lambda: clone(cluster, f"copy of {name}", snapshot=made)), "storeRequests")
    assert copy.capacity_bytes == volume.capacity_bytes
    return {"snapshot": (snapshot_seconds, snapshot_requests), "clone": (clone_seconds, clone_requests)}
