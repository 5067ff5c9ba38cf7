"""What a node does while its thin pool fills up behind its back."""

import os
import re
import time

import grpc
import pytest

from cluster import MIB, csi
from pools import ThinPools, lvm


class SmallPool(ThinPools):
    """One drive, on one node."""

    KIND = "small"
    GROUP = "perssd-small"
    CONFIGURATION = f"""\
metrics:
  listen: 127.0.0.1:9464
pools:
  - name: default
    volumeGroup: {GROUP}
    create: true
    drives:
      serial: pool-2
"""


@pytest.fixture
def small_pool(nodes, pools, binaries, workplace, seaweedfs, request):
    node = nodes["node-a"]
    cluster = SmallPool(binaries, workplace, seaweedfs, {"node-a": node})
    try:
        cluster.bring_up()
        yield cluster
        cluster.check_nothing_leaked_while_running()
    finally:
        if getattr(request.node, "has_failed", False):
            print(*cluster.processes["node-a"].text().splitlines()[-40:], node.serial_text()[-3000:], sep="\n")
            # Whatever is mounted.
            cluster.stop()
            node.kill()
            node.empty_drive("pool-2")
        else:
            cluster.stop()
            lvm(node, "vgchange", "--activate", "n", cluster.GROUP)
            lvm(node, "pvremove", "--force", "--force", "--yes", node.device("pool-2"))
        cluster.__exit__()


def used(cluster):
    """How full the pool is, in percent."""
    pool = f"{cluster.GROUP}/perssd"
    return float(lvm(cluster.nodes["node-a"], "lvs", "--noheadings", "-o", "data_percent", pool).text)


def measured(cluster, what):
    """What the plugin tells Prometheus of that, in percent."""
    text = cluster.nodes["node-a"].run("curl", "-sS", "http://127.0.0.1:9464/metrics").text
    value, = re.findall(rf'^perssd_pool_{what}_used_ratio{{pool="default"}} (\S+)$', text, re.M)
    return float(value) * 100


def condition(cluster, volume, pod):
    return cluster.node("node-a").NodeGetVolumeStats(csi.NodeGetVolumeStatsRequest(
        volume_id=volume.volume_id, volume_path=cluster.target("node-a", pod)), timeout=60).volume_condition


def wait(cluster, what, seconds=60):
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, cluster.processes["node-a"].text()[-3000:]
        time.sleep(0.5)


def test_a_pool_that_somebody_fills_gives_up_what_is_clean_and_tells_of_the_rest(small_pool):
    cluster, node = small_pool, small_pool.nodes["node-a"]
    left, published = (cluster.create(name, size=96 * MIB) for name in ("left", "published"))
    for volume in (left, published):
        path = cluster.publish(volume, "node-a", pod=volume.volume_id)
        node.write(path / "noise", os.urandom(56 * MIB))
        if volume is left:
            cluster.unpublish(volume, "node-a", pod=volume.volume_id)

    lvm(node, "lvcreate", "--yes", "--virtualsize", "2g", "--thinpool", f"{cluster.GROUP}/perssd", "--name", "theirs",
        cluster.GROUP)
    device = node.run("readlink", "-f", f"/dev/{cluster.GROUP}/theirs").text.strip()
    total = int(lvm(node, "lvs", "--noheadings", "--nosuffix", "--units", "b", "-o", "lv_size",
                    f"{cluster.GROUP}/perssd").text)
    written = 0

    def fill(percent):
        """Writes zeros to the foreign volume until the pool is that full."""
        nonlocal written
        count = int((percent - used(cluster)) * total / 100) // MIB
        node.run("dd", "if=/dev/zero", f"of={device}", "bs=1M", f"seek={written}", f"count={count}", "oflag=direct",
                 "conv=notrunc", timeout=120)
        written += count

    fill(96)
    wait(cluster, lambda: cluster.copies("node-a") == {cluster.copy_name(published)})
    # That was enough.
    assert used(cluster) < 95
    assert not condition(cluster, published, published.volume_id).abnormal
    fill(96)
    wait(cluster, lambda: condition(cluster, published, published.volume_id).abnormal)
    message = condition(cluster, published, published.volume_id).message
    assert "short of room" in message and "% full" in message and "vgextend" in message, message
    assert "WARNING the pool 'default' is short of room" in cluster.processes["node-a"].text()
    wait(cluster, lambda: abs(measured(cluster, "data") - used(cluster)) < 1)
    assert 0 < measured(cluster, "metadata") < 50

    # The pod does not feel it, and nobody else is let in.
    path = cluster.target("node-a", published.volume_id)
    node.run("dd", "if=/dev/zero", f"of={path}/more", "bs=1M", "count=4", "conv=fsync")
    with pytest.raises(grpc.RpcError) as refused:
        cluster.publish(left, "node-a", pod="other")
    assert refused.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED

    lvm(node, "lvremove", "--yes", f"{cluster.GROUP}/theirs")
    wait(cluster, lambda: not condition(cluster, published, published.volume_id).abnormal)
    cluster.unpublish(published, "node-a", pod=published.volume_id)
    # The other one comes back from the bucket; the controller has granted it to this node already.
    cluster.publish(left, "node-a", pod="other")
    cluster.unpublish(left, "node-a", pod="other")
