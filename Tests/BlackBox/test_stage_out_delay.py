"""Volumes that stay on their node for the next pod: stageOutDelay."""

import json
import os
import pathlib
import tempfile
import urllib.parse

import boto3

from cluster import MIB, Cluster, csi, mount, mounts_below, patiently, refused, until_ready
from waiting import wait_for

DELAYED = {"stageOut": "background", "stageOutDelay": "1h"}


def lease(cluster, volume):
    state = json.loads(cluster.perssd("lease", volume.volume_id, "--json").stdout)
    return {"lease": None, "loss": None, **state}


def packs(cluster):
    """What the store holds of blocks and block maps."""
    url = urllib.parse.urlparse(cluster.store_arguments[0])
    if url.scheme == "file":
        return sorted(str(path) for path in pathlib.Path(url.path).glob("lineages/*/packs/**/*") if path.is_file())
    client = boto3.client(
        "s3", endpoint_url=cluster.store_arguments[2], region_name="us-east-1",
        aws_access_key_id=cluster.environment["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=cluster.environment["AWS_SECRET_ACCESS_KEY"])
    prefix = url.path.strip("/") + "/lineages/"
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=url.netloc, Prefix=prefix)
    return sorted(item["Key"] for page in pages for item in page.get("Contents", []) if "/packs/" in item["Key"])


def wait_for_release(cluster, volume):
    """The node gives its lease back by itself."""
    wait_for("a volume that no node holds", lambda: lease(cluster, volume), lambda state: state["lease"] is None, pause=0.2)


def images(cluster, node, volume):
    return list((cluster.directory / node / "pool").rglob(f"*{volume.volume_id}*"))


def published_on(cluster, volume):
    for entry in cluster.controller.ListVolumes(csi.ListVolumesRequest(), timeout=60).entries:
        if entry.volume.volume_id == volume.volume_id:
            return list(entry.status.published_node_ids)
    return None


def test_a_volume_that_comes_back_to_its_node_is_not_staged_out_in_between(cluster):
    volume = cluster.create("chain", parameters=DELAYED)
    before = packs(cluster)
    for step in range(3):
        path = cluster.publish(volume, "node-a")
        for earlier in range(step):
            assert (path / f"step-{earlier}").read_text() == str(earlier)
        (path / f"step-{step}").write_text(str(step))
        (path / "bulk").write_bytes(os.urandom(4 * MIB))
        assert published_on(cluster, volume) == ["node-a"]
        cluster.unpublish(volume, "node-a")
        # Detached as Kubernetes sees it, and held back as the node does.
        assert published_on(cluster, volume) == []
        state = lease(cluster, volume)
        assert state["epoch"] == 1 and state["generation"] == 0 and state["loss"] is None
        assert state["lease"]["node"] == "test/node-a" and state["lease"]["state"] == "open"
        assert state["lease"]["heldBackUntil"] and not state["lease"]["isAttached"]
        assert "held back" in cluster.perssd("volumes").stdout
    assert packs(cluster) == before
    assert mounts_below(cluster.directory / "node-a") == []
    # The last of them wants it in the bucket.
    cluster.publish(volume, "node-b")
    cluster.unpublish(volume, "node-b")
    assert len(packs(cluster)) > len(before)


def test_a_volume_that_moves_within_the_delay_has_all_there(cluster):
    volume = cluster.create("moving", parameters=DELAYED)
    contents = os.urandom(8 * MIB)
    for source, target in [("node-a", "node-b"), ("node-b", "node-a")]:
        path = cluster.publish(volume, source)
        (path / f"from {source}").write_bytes(contents)
        cluster.unpublish(volume, source)
        path = cluster.publish(volume, target)
        assert (path / f"from {source}").read_bytes() == contents
        state = lease(cluster, volume)
        assert state["lease"]["node"] == f"test/{target}" and state["loss"] is None
        assert state["lease"].get("heldBackUntil") is None
        cluster.unpublish(volume, target)
    cluster.perssd("verify", volume.volume_id)


def test_a_volume_that_is_deleted_within_the_delay_is_never_sent(cluster):
    volume = cluster.create("intermediate", parameters=DELAYED)
    path = cluster.publish(volume, "node-a")
    (path / "bulk").write_bytes(os.urandom(8 * MIB))
    before = packs(cluster)
    # Not while it is attached.
    cluster.unpublish(volume, "node-a", detach=False)
    refused("FAILED_PRECONDITION", lambda: cluster.controller.DeleteVolume(
        csi.DeleteVolumeRequest(volume_id=volume.volume_id), timeout=60))
    cluster.detach(volume, "node-a")
    assert images(cluster, "node-a", volume)
    cluster.delete(volume)
    # The node is told, and lets it go long before its hour is over.
    wait_for("that the local copy goes", lambda: images(cluster, "node-a", volume), lambda left: not left)
    assert packs(cluster) == before
    assert "no volumes" in cluster.perssd("volumes").stdout
    # Its name can have another life, which knows nothing of this one.
    volume = cluster.create("intermediate", parameters=DELAYED)
    path = cluster.publish(volume, "node-a")
    assert os.listdir(path) == ["lost+found"]
    cluster.unpublish(volume, "node-a")


def test_the_delay_ends_by_itself(cluster):
    volume = cluster.create("patient", parameters={"stageOut": "background", "stageOutDelay": "3s"})
    path = cluster.publish(volume, "node-a")
    (path / "file").write_text("kept")
    cluster.unpublish(volume, "node-a")
    wait_for_release(cluster, volume)
    assert lease(cluster, volume)["generation"] == 1
    path = cluster.publish(volume, "node-b")
    assert (path / "file").read_text() == "kept"
    cluster.unpublish(volume, "node-b")


def test_a_node_that_is_lost_within_the_delay(cluster):
    volume = cluster.create("lost-late", parameters={**DELAYED, "nodeLossTimeout": "1s"})
    path = cluster.publish(volume, "node-a")
    (path / "kept").write_text("committed")
    cluster.unpublish(volume, "node-a")
    path = cluster.publish(volume, "node-b")
    cluster.unpublish(volume, "node-b")
    assert lease(cluster, volume)["lease"] is not None, "nothing is held back"
    path = cluster.publish(volume, "node-b")
    (path / "lost").write_text("held back")
    cluster.unpublish(volume, "node-b")
    cluster.processes["node-b"].kill()
    attach = csi.ControllerPublishVolumeRequest(
        volume_id=volume.volume_id, node_id="node-a", volume_capability=mount(),
        volume_context=volume.volume_context)
    # Its record still says that it lives.
    message = refused("ABORTED", lambda: cluster.controller.ControllerPublishVolume(attach, timeout=10))
    assert "node test/node-b has not committed all" in message
    assert lease(cluster, volume)["loss"] is None
    cluster.age_node("node-b")
    path = cluster.publish(volume, "node-a")
    assert (path / "kept").read_text() == "committed" and not (path / "lost").exists()
    loss = lease(cluster, volume)["loss"]
    assert loss["node"] == "test/node-b" and loss["newestGeneration"] == 1
    cluster.unpublish(volume, "node-a")
    # It comes back, and keeps what it had as a branch.
    cluster.restart("node-b")
    wait_for("a branch", lambda: lease(cluster, volume)["branches"])


def test_a_plugin_that_is_started_again_goes_on_waiting(cluster):
    volume = cluster.create("restarted", parameters=DELAYED)
    path = cluster.publish(volume, "node-a")
    (path / "file").write_text("held back")
    cluster.unpublish(volume, "node-a")
    before = packs(cluster)
    cluster.processes["node-a"].kill()
    cluster.restart("node-a")
    path = cluster.publish(volume, "node-a")
    assert (path / "file").read_text() == "held back"
    cluster.unpublish(volume, "node-a")
    assert packs(cluster) == before and lease(cluster, volume)["generation"] == 0
    cluster.processes["node-a"].kill()
    cluster.restart("node-a")
    path = cluster.publish(volume, "node-b")
    assert (path / "file").read_text() == "held back"
    cluster.unpublish(volume, "node-b")


def test_what_is_held_back_is_in_snapshots_clones_and_what_others_read(cluster):
    volume = cluster.create("source", parameters=DELAYED)

    def write(name):
        path = cluster.publish(volume, "node-a")
        (path / name).write_text(name)
        cluster.unpublish(volume, "node-a")

    write("for a snapshot")
    made = until_ready(lambda: cluster.controller.CreateSnapshot(
        csi.CreateSnapshotRequest(name="of-held-back", source_volume_id=volume.volume_id), timeout=60).snapshot)
    write("for a clone")
    clone = patiently(lambda: cluster.controller.CreateVolume(csi.CreateVolumeRequest(
        name="clone-of-held-back", capacity_range=csi.CapacityRange(required_bytes=256 * MIB),
        volume_capabilities=[mount()], volume_content_source=csi.VolumeContentSource(
            volume=csi.VolumeContentSource.VolumeSource(volume_id=volume.volume_id))), timeout=60)).volume
    path = cluster.publish(clone, "node-b")
    assert (path / "for a clone").read_text() == "for a clone"
    cluster.unpublish(clone, "node-b")
    write("for readers")
    reading = mount(mode="MULTI_NODE_READER_ONLY")
    for node in ("node-b", "node-a"):
        path = cluster.publish(volume, node, capability=reading, readonly=True)
        assert (path / "for readers").read_text() == "for readers"
    for node in ("node-b", "node-a"):
        cluster.unpublish(volume, node)
    restored = patiently(lambda: cluster.controller.CreateVolume(csi.CreateVolumeRequest(
        name="of-the-snapshot", capacity_range=csi.CapacityRange(required_bytes=256 * MIB),
        volume_capabilities=[mount()], volume_content_source=csi.VolumeContentSource(
            snapshot=csi.VolumeContentSource.SnapshotSource(snapshot_id=made.snapshot_id))),
        timeout=60)).volume
    path = cluster.publish(restored, "node-b")
    assert sorted(os.listdir(path)) == ["for a snapshot", "lost+found"]
    cluster.unpublish(restored, "node-b")


def test_a_group_snapshot_has_what_is_held_back(cluster):
    volumes = [cluster.create(f"member-{index}", parameters=DELAYED) for index in range(2)]
    for volume in volumes:
        path = cluster.publish(volume, "node-a")
        (path / "file").write_text(volume.volume_id)
        cluster.unpublish(volume, "node-a")
    request = csi.CreateVolumeGroupSnapshotRequest(
        name="held-back", source_volume_ids=[volume.volume_id for volume in volumes])

    def make():
        return cluster.groups.CreateVolumeGroupSnapshot(request, timeout=60).group_snapshot

    assert len(until_ready(make).snapshots) == 2
    for volume in volumes:
        assert lease(cluster, volume)["generation"] == 1


def test_a_pool_that_lacks_room_ends_the_delay(binaries, workplace):
    bucket = tempfile.mkdtemp(prefix="bucket-", dir=workplace)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="cluster-", dir=workplace))
    with Cluster(binaries, directory, ([f"file://{bucket}"], {})) as cluster:
        cluster.start_controller()
        cluster.start_node("node-a", size="600MiB")
        first = cluster.create("first", parameters=DELAYED)
        path = cluster.publish(first, "node-a")
        (path / "file").write_text("first")
        cluster.unpublish(first, "node-a")
        second = cluster.create("second", parameters=DELAYED)
        path = cluster.publish(second, "node-a")
        cluster.unpublish(second, "node-a")
        # Room for two, and the third takes that of the one that was used longest ago.
        third = cluster.create("third")
        cluster.publish(third, "node-a")
        assert lease(cluster, first)["generation"] == 1 and not images(cluster, "node-a", first)
        assert lease(cluster, second)["generation"] == 0 and images(cluster, "node-a", second)
        cluster.unpublish(third, "node-a")
        path = cluster.publish(first, "node-a")
        assert (path / "file").read_text() == "first"
        cluster.unpublish(first, "node-a")


def test_parameters_that_do_not_go_together_are_refused(cluster):
    for parameters, word in [
        ({"stageOutDelay": "10m"}, "stageOut: background"),
        ({"stageOut": "onUnpublish", "stageOutDelay": "10m"}, "stageOut: background"),
        ({"stageOut": "background", "stageOutDelay": "25h"}, "up to 24h"),
        ({"stageOut": "background", "stageOutDelay": "soon"}, "up to 24h"),
    ]:
        assert word in refused("INVALID_ARGUMENT", lambda: cluster.create("wrong", parameters=parameters))
    volume = cluster.create("changing", parameters=DELAYED)

    def modify(**parameters):
        cluster.controller.ControllerModifyVolume(csi.ControllerModifyVolumeRequest(
            volume_id=volume.volume_id, mutable_parameters=parameters), timeout=60)

    assert "stageOutDelay" in refused("INVALID_ARGUMENT", lambda: modify(stageOut="onUnpublish"))
    path = cluster.publish(volume, "node-a")
    (path / "file").write_text("x")
    cluster.unpublish(volume, "node-a")
    # Its node is told, and holds nothing back any more.
    modify(stageOutDelay="none")
    wait_for_release(cluster, volume)
    assert lease(cluster, volume)["generation"] == 1
