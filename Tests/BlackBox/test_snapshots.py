"""Snapshots and clones, of volumes that pods have and of those that nobody has."""

import os
import time

from cluster import MIB, csi, mount, refused, until_ready


def snapshot(cluster, volume, name):
    """What external-snapshotter does, once."""
    return cluster.controller.CreateSnapshot(
        csi.CreateSnapshotRequest(source_volume_id=volume.volume_id, name=name), timeout=60).snapshot


def ready(cluster, volume, name):
    return until_ready(lambda: snapshot(cluster, volume, name))


def clone(cluster, name, size=0, **source):
    kinds = {"snapshot": csi.VolumeContentSource(snapshot=csi.VolumeContentSource.SnapshotSource(
                 snapshot_id=source["snapshot"].snapshot_id)) if "snapshot" in source else None,
             "volume": csi.VolumeContentSource(volume=csi.VolumeContentSource.VolumeSource(
                 volume_id=source["volume"].volume_id)) if "volume" in source else None}
    wanted = next(kind for kind in kinds.values() if kind)
    made = cluster.controller.CreateVolume(csi.CreateVolumeRequest(
        name=name, capacity_range=csi.CapacityRange(required_bytes=size), volume_capabilities=[mount()],
        volume_content_source=wanted), timeout=60).volume
    assert made.content_source == wanted
    return made


def test_a_volume_that_nobody_has_is_snapshot_and_cloned_without_its_data(cluster):
    volume = cluster.create("source", size=64 * MIB)
    path = cluster.publish(volume, "node-a")
    (path / "file").write_bytes(contents := os.urandom(5 * MIB))
    cluster.unpublish(volume, "node-a")
    made = snapshot(cluster, volume, "nightly")
    assert made.ready_to_use and made.size_bytes == 64 * MIB
    path = cluster.publish(volume, "node-a")
    (path / "file").write_bytes(b"changed since")
    cluster.unpublish(volume, "node-a")
    cluster.delete(volume)
    # Its volume is gone. A larger clone, on another node, has what was there.
    copy = clone(cluster, "copy", size=128 * MIB, snapshot=made)
    path = cluster.publish(copy, "node-b")
    assert (path / "file").read_bytes() == contents
    assert os.statvfs(path).f_blocks * os.statvfs(path).f_frsize > 100 * MIB
    (path / "more").write_bytes(b"the clone's own")
    cluster.unpublish(copy, "node-b")
    cluster.perssd("verify", copy.volume_id)
    again = clone(cluster, "copy of copy", volume=copy)
    path = cluster.publish(again, "node-a")
    assert (path / "more").read_bytes() == b"the clone's own" and (path / "file").read_bytes() == contents
    cluster.unpublish(again, "node-a")
    cluster.controller.DeleteSnapshot(csi.DeleteSnapshotRequest(snapshot_id=made.snapshot_id), timeout=60)
    assert "no snapshot" in refused("NOT_FOUND", lambda: clone(cluster, "late", snapshot=made))


def test_a_volume_that_a_pod_writes_is_cut_by_its_node(reflink_pool, cluster):
    cluster.start_node("node-c", pool=reflink_pool)
    volume = cluster.create("written", size=64 * MIB)
    path = cluster.publish(volume, "node-c")
    for number in range(3):
        (path / f"file-{number}").write_bytes(os.urandom(MIB))
        asked = time.time()
        made = ready(cluster, volume, f"snapshot-{number}")
    # The store's clock may tell whole seconds only.
    assert asked - 2 < made.creation_time.seconds < time.time() + 2
    listed = cluster.controller.ListSnapshots(
        csi.ListSnapshotsRequest(source_volume_id=volume.volume_id), timeout=60).entries
    assert len(listed) == 3 and all(entry.snapshot.ready_to_use for entry in listed)
    # The pod goes on.
    (path / "last").write_bytes(b"after all snapshots")
    middle = snapshot(cluster, volume, "snapshot-1")
    cluster.unpublish(volume, "node-c")
    copy = clone(cluster, "middle", snapshot=middle)
    there = cluster.publish(copy, "node-a")
    assert {file.name for file in there.iterdir()} - {"lost+found"} == {"file-0", "file-1"}
    cluster.unpublish(copy, "node-a")


def test_where_the_node_cannot_cut_it_says_why_and_how_old_the_newest_is(cluster):
    volume = cluster.create("stuck", size=64 * MIB)
    path = cluster.publish(volume, "node-a")
    (path / "file").write_bytes(b"first")
    cluster.unpublish(volume, "node-a", detach=False)
    cluster.publish(volume, "node-a")
    message = refused("FAILED_PRECONDITION", lambda: snapshot(cluster, volume, "no-reflink"))
    assert "cannot share blocks" in message and "newest generation is 1" in message, message
    cluster.processes["node-a"].kill()
    message = refused("UNAVAILABLE", lambda: snapshot(cluster, volume, "dead"))
    assert "node-a" in message and "newest generation is 1" in message, message
    cluster.restart("node-a")
    cluster.unpublish(volume, "node-a")
    # Nobody has it any more: the same request is answered now.
    assert snapshot(cluster, volume, "dead").ready_to_use


def test_what_differs_between_two_snapshots_is_told_of(cluster):
    volume = cluster.create("metadata", size=64 * MIB)
    made, images = [], []
    for number in range(2):
        path = cluster.publish(volume, "node-a")
        (path / "file").write_bytes(os.urandom(3 * MIB))
        cluster.unpublish(volume, "node-a", detach=False)
        made.append(snapshot(cluster, volume, f"backup-{number}"))
        images.append(cluster.directory / f"image-{number}")
        cluster.perssd("restore", f"{volume.volume_id}@{number + 1}", "--to", str(images[-1]))
    metadata = cluster.processes["controller"].metadata
    allocated = list(metadata.GetMetadataAllocated(
        csi.GetMetadataAllocatedRequest(snapshot_id=made[1].snapshot_id), timeout=60))
    delta = list(metadata.GetMetadataDelta(csi.GetMetadataDeltaRequest(
        base_snapshot_id=made[0].snapshot_id, target_snapshot_id=made[1].snapshot_id, max_results=3), timeout=60))
    assert all(response.volume_capacity_bytes == 64 * MIB for response in allocated + delta)
    assert all(len(response.block_metadata) <= 3 for response in delta)
    # What a backup program does: the older image with the ranges of the delta is the newer one.
    old, new = (bytearray(image.read_bytes()) for image in images)
    changed = 0
    for block in (block for response in delta for block in response.block_metadata):
        end = block.byte_offset + block.size_bytes
        old[block.byte_offset:end] = new[block.byte_offset:end]
        changed += block.size_bytes
    assert old == new and 3 * MIB <= changed < 16 * MIB
    blank = bytearray(64 * MIB)
    for block in (block for response in allocated for block in response.block_metadata):
        end = block.byte_offset + block.size_bytes
        blank[block.byte_offset:end] = new[block.byte_offset:end]
    assert blank == new
    cluster.detach(volume, "node-a")
