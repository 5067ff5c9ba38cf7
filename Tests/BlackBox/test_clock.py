"""A node whose clock is off by hours: it works, it looks neither dead nor alive for hours too long, and it says what is wrong."""

import datetime
import json
import os
import pathlib
import subprocess
import tempfile
import time

import pytest

from cluster import MIB, Cluster, csi, until_ready

LIBRARY = f"/usr/lib/{os.uname().machine}-linux-gnu/faketime/libfaketimeMT.so.1"


def off_by(offset):
    """The environment of a process whose wall clock is off. Durations and the times of files stay as they are."""
    if not os.path.exists(LIBRARY):
        pytest.fail("libfaketime is missing: run scripts/install-dependencies.sh test")
    return {"LD_PRELOAD": LIBRARY, "FAKETIME": offset, "FAKETIME_DONT_FAKE_MONOTONIC": "1", "NO_FAKE_STAT": "1"}


@pytest.fixture
def make_cluster(store, binaries, workplace, reflink_pool):
    """A controller whose clock is right, and a node whose clock is not."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="clock-", dir=workplace))
    with Cluster(binaries, directory, store) as cluster:
        def start(offset):
            cluster.start_controller()
            right = cluster.environment
            cluster.environment = {**right, **off_by(offset)}
            cluster.start_node("node-a", pool=reflink_pool)
            cluster.environment = right
            cluster.start_node("node-b")
            return cluster
        yield start


def seen_at(cluster, name):
    nodes = json.loads(cluster.perssd("nodes", "--json").stdout)
    (node,) = [node for node in nodes if node["node"].split("/")[-1] == name]
    return node, datetime.datetime.fromisoformat(node["seenAt"]).timestamp()


@pytest.mark.parametrize("offset, words", [("-3h", "3 h 0 min behind"), ("+5h", "5 h 0 min ahead of")])
def test_a_node_whose_clock_is_off_by_hours_is_like_any_other(make_cluster, offset, words):
    cluster = make_cluster(offset)
    text = cluster.processes["node-a"].text()
    assert "this machine's clock is " + words in text and "NTP" in text, text[-3000:]
    # Its own lines show that the process believes the wrong time.
    first = datetime.datetime.fromisoformat(text.split(" ", 1)[0]).timestamp()
    assert abs(first - time.time()) > 2 * 3600
    assert "this machine's clock" not in cluster.processes["node-b"].text()
    node, time_of_record = seen_at(cluster, "node-a")
    assert node["isAlive"] and abs(time_of_record - time.time()) < 120
    # Written, cut under its pod by way of the agent and its certificate, moved, and dated right.
    volume = cluster.create("dated", size=128 * MIB)
    path = cluster.publish(volume, "node-a")
    (path / "data").write_text("kept")
    snapshot = until_ready(lambda: cluster.controller.CreateSnapshot(
        csi.CreateSnapshotRequest(source_volume_id=volume.volume_id, name="under-the-pod"), timeout=30).snapshot)
    assert abs(snapshot.creation_time.seconds - time.time()) < 120
    (path / "data").write_text("kept, and more")
    cluster.unpublish(volume, "node-a")
    path = cluster.publish(volume, "node-b")
    assert (path / "data").read_text() == "kept, and more"
    cluster.unpublish(volume, "node-b")
    for generation in json.loads(cluster.perssd("log", volume.volume_id, "--json").stdout)["generations"]:
        at = datetime.datetime.fromisoformat(generation["stagedOutAt"]).timestamp()
        assert abs(at - time.time()) < 300, generation


def test_a_dead_node_whose_clock_was_ahead_is_given_up_in_time(make_cluster):
    """By its own clock it would have been alive for another five hours."""
    cluster = make_cluster("+5h")
    volume = cluster.create("lost", parameters={"nodeLossTimeout": "1s"})
    cluster.publish(volume, "node-a")
    cluster.processes["node-a"].kill()
    _, time_of_record = seen_at(cluster, "node-a")
    assert time_of_record < time.time() + 60
    cluster.age_node("node-a")
    cluster.detach(volume, "node-a")
    assert "revoked" in cluster.processes["controller"].text()
    subprocess.run(["umount", cluster.target("node-a", "pod")], check=True)
