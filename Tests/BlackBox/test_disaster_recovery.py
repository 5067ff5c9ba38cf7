"""A cluster is gone, and another one goes on with its volumes, by PersistentVolumes that are made by hand: docs/disaster-recovery.md."""

import json
import os
import pathlib
import shutil
import tempfile

import pytest

from cluster import MIB, Cluster, block, csi, mount, refused
from test_main_job import fingerprint, write_tree
from test_restore_without_cluster import clone, destroy, snapshot, write

READERS = mount(mode="MULTI_NODE_READER_ONLY")


def by_hand(volume_id, **attributes):
    """What a PersistentVolume by hand says: the handle, and `volumeAttributes` where somebody gave any."""
    return csi.Volume(volume_id=volume_id, volume_context=attributes)


def test_a_new_cluster_takes_up_the_volumes_of_one_that_is_lost(cluster, binaries, workplace, store):
    results = cluster.create("results", size=64 * MIB)
    tree = write(cluster, results, write_tree)
    made = snapshot(cluster, results, "first")
    # Its pod has just ended, and nobody has detached it yet.
    later = write(cluster, results, lambda path: (path / "later").write_text("2"), detach=False)
    raw = cluster.create("raw", size=16 * MIB, capability=block())
    device = os.urandom(16 * MIB)
    with open(cluster.publish(raw, "node-b", capability=block()), "wb") as file:
        file.write(device)
    cluster.unpublish(raw, "node-b")
    model = cluster.create("model", size=64 * MIB)
    epoch_1 = write(cluster, model, lambda path: (path / "epoch-1").write_bytes(os.urandom(MIB)))
    (cluster.publish(model, "node-a", pod="trainer") / "epoch-2").write_bytes(os.urandom(MIB))
    data = cluster.create("data", size=64 * MIB)
    write(cluster, data, lambda path: (path / "tile").write_text("1"))
    cluster.publish(data, "node-b", pod="reader", capability=READERS)

    destroy(cluster)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="rebuilt-", dir=workplace))
    with Cluster(binaries, directory, store, name="rebuilt") as rebuilt:
        rebuilt.start_controller()
        rebuilt.start_node("node-x")
        rebuilt.start_node("node-y")
        listed = {volume["name"]: volume
                  for volume in json.loads(rebuilt.perssd("volumes", "--contents", "--json").stdout)}
        assert [listed[name]["content"] for name in ("raw", "results", "model")] == ["raw", "ext4", "ext4"]
        found = {name: by_hand(volume["id"]) for name, volume in listed.items()}

        # Nobody had it: it is there at once. The incarnation, where it is said, has to be the volume's.
        wrong = by_hand(listed["raw"]["id"], incarnation=listed["data"]["incarnation"])
        assert "deleted and made anew" in refused(
            "NOT_FOUND", lambda: rebuilt.publish(wrong, "node-x", capability=block()))
        right = by_hand(listed["raw"]["id"], incarnation=listed["raw"]["incarnation"])
        assert rebuilt.publish(right, "node-x", capability=block()).read_bytes() == device
        rebuilt.unpublish(right, "node-x")

        # What the lost nodes had stays theirs, whatever the new controller does, until somebody revokes it.
        for name, state in (("results", "closed"), ("model", "open")):
            message = refused("FAILED_PRECONDITION", lambda: rebuilt.publish(found[name], "node-x"))
            assert f"held by node test/node-a ({state} since" in message
            rebuilt.detach(found[name], "node-x")
            lease = json.loads(rebuilt.perssd("lease", name, "--json").stdout)["lease"]
            assert (lease["node"], lease["state"]) == ("test/node-a", state)
            rebuilt.perssd("lease", name, "--revoke", "--yes")
        loss = json.loads(rebuilt.perssd("lease", "model", "--json").stdout)["loss"]
        assert (loss["node"], loss["newestGeneration"]) == ("test/node-a", 1)
        assert "loss" not in json.loads(rebuilt.perssd("lease", "results", "--json").stdout)

        # From then on they are like any other: read, written, moved.
        for name, left in (("results", later), ("model", epoch_1)):
            path = rebuilt.publish(found[name], "node-x")
            assert fingerprint(path) == left
            (path / "rebuilt").write_text(name)
            rebuilt.unpublish(found[name], "node-x")
            assert (rebuilt.publish(found[name], "node-y") / "rebuilt").read_text() == name
            rebuilt.unpublish(found[name], "node-y")

        # A reader of the lost cluster holds up neither readers nor writers, but a deletion.
        for node in ("node-x", "node-y"):
            path = rebuilt.publish(found["data"], node, pod="reader", capability=READERS)
            assert (path / "tile").read_text() == "1"
            rebuilt.unpublish(found["data"], node, pod="reader")
        assert "node test/node-b reads generation 1" in refused(
            "FAILED_PRECONDITION", lambda: rebuilt.delete(found["data"]))
        for node in ("node-a", "node-b"):
            cluster.age_node(node)
        rebuilt.perssd("forget", "test", "--yes")
        rebuilt.delete(found["data"])

        # A snapshot is taken up by its id, as a VolumeSnapshotContent by hand names it.
        entry, = rebuilt.controller.ListSnapshots(
            csi.ListSnapshotsRequest(snapshot_id=made.snapshot_id), timeout=60).entries
        assert entry.snapshot.ready_to_use
        again = clone(rebuilt, "again", entry.snapshot)
        assert fingerprint(rebuilt.publish(again, "node-y")) == tree
        rebuilt.unpublish(again, "node-y")

        rebuilt.delete(found["results"])
        report = json.loads(rebuilt.perssd("verify", "--all", "--history", "--json").stdout)
        assert report["isSound"] and len(report["volumes"]) == 3
        rebuilt.check_nothing_leaked_while_running()


@pytest.mark.parametrize("store", ["directory"], indirect=True)
def test_volumes_go_on_in_a_copy_of_the_bucket(cluster):
    volume = cluster.create("moved", size=64 * MIB)
    left = write(cluster, volume, write_tree)
    for process in cluster.processes.values():
        assert process.stop() == 0
    old = cluster.store_arguments[0].removeprefix("file://")
    shutil.copytree(old, old + "-new")
    shutil.rmtree(old)
    cluster.store_arguments[0] = f"file://{old}-new"
    cluster.start_controller()
    for node in ("node-a", "node-b"):
        cluster.start_node(node)
    path = cluster.publish(volume, "node-a")
    assert fingerprint(path) == left
    # Its local copy is of a generation that is there, too.
    assert "restored generation" not in cluster.processes["node-a"].text()
    (path / "new").write_text("bucket")
    cluster.unpublish(volume, "node-a")
    assert (cluster.publish(volume, "node-b") / "new").read_text() == "bucket"
    cluster.unpublish(volume, "node-b")
    cluster.perssd("verify", "--all", "--history")
