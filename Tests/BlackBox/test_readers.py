"""Volumes that many nodes read, each from a local copy of its own, while others write and garbage is collected."""

import errno
import os
import subprocess
import threading
import time

import pytest

from cluster import MIB, block, csi, mount, patiently, refused

READERS = mount(mode="MULTI_NODE_READER_ONLY")


def publish_for_readers(cluster, volume, node, pod="reader", capability=READERS):
    return cluster.publish(volume, node, pod=pod, capability=capability, readonly=True)


def published_on(cluster, volume):
    answer = cluster.controller.ControllerGetVolume(
        csi.ControllerGetVolumeRequest(volume_id=volume.volume_id), timeout=60)
    return list(answer.status.published_node_ids)


def write_generation(cluster, volume, node, contents):
    path = cluster.publish(volume, node, pod="writer")
    (path / "data").write_bytes(contents)
    cluster.unpublish(volume, node, pod="writer")


def refused_to_write(path):
    with pytest.raises(OSError) as failure:
        (path / "new").write_bytes(b"x")
    return failure.value.errno == errno.EROFS


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_two_nodes_read_one_generation_while_a_third_writes_and_garbage_is_collected(cluster):
    cluster.start_node("node-c")
    volume = cluster.create("dataset", parameters={"retention": "last=1"})
    first = os.urandom(8 * MIB)
    write_generation(cluster, volume, "node-c", first)
    paths = [publish_for_readers(cluster, volume, node) for node in ("node-a", "node-b")]
    assert published_on(cluster, volume) == ["node-a", "node-b"]

    failures, over = [], threading.Event()

    def read_on(path):
        while not over.is_set():
            # Past the page cache: from the local copy itself.
            with open(path / "data", "rb") as file:
                os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
                if file.read() != first:
                    failures.append(path)

    threads = [threading.Thread(target=read_on, args=(path,)) for path in paths]
    for thread in threads:
        thread.start()
    try:
        for _ in range(2):
            last = os.urandom(4 * MIB)
            write_generation(cluster, volume, "node-c", last)
            cluster.collect()
        # No younger pack is ever collected, and its age is the store's to say.
        time.sleep(62)
        for _ in range(3):
            cluster.collect()
        # What nobody reads has gone.
        assert cluster.perssd("verify", f"{volume.volume_id}@2", check=False).returncode == 3
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert failures == []
    assert all(refused_to_write(path) for path in paths)
    assert all((path / "data").read_bytes() == first for path in paths)
    message = refused("FAILED_PRECONDITION", lambda: cluster.controller.DeleteVolume(
        csi.DeleteVolumeRequest(volume_id=volume.volume_id), timeout=60))
    assert "reads generation 1" in message, message

    # A node that has lost its local copy restores the generation that was collected around.
    cluster.unpublish(volume, "node-a", pod="reader", detach=False)
    cluster.processes["node-a"].stop()
    subprocess.run(["rm", "-rf", str(cluster.directory / "node-a" / "pool")], check=True)
    (cluster.directory / "node-a" / "pool").mkdir()
    cluster.restart("node-a")
    path = publish_for_readers(cluster, volume, "node-a")
    assert (path / "data").read_bytes() == first
    cluster.perssd("verify", f"{volume.volume_id}@1")

    for node in ("node-a", "node-b"):
        cluster.unpublish(volume, node, pod="reader")
    assert published_on(cluster, volume) == []
    # Who comes now reads what is newest, and nothing keeps what was before.
    path = publish_for_readers(cluster, volume, "node-b")
    assert (path / "data").read_bytes() == last
    for _ in range(3):
        cluster.collect()
    assert cluster.perssd("verify", f"{volume.volume_id}@1", check=False).returncode == 3
    cluster.unpublish(volume, "node-b", pod="reader")
    cluster.delete(volume)


def test_a_reader_goes_on_while_the_plugin_is_killed_and_comes_back(cluster):
    volume = cluster.create("survivor")
    write_generation(cluster, volume, "node-a", b"one")
    path = publish_for_readers(cluster, volume, "node-b")
    cluster.processes["node-b"].kill()
    assert (path / "data").read_bytes() == b"one"
    write_generation(cluster, volume, "node-a", b"two")
    cluster.restart("node-b")
    # Found again as what it is: nobody writes it here, and a second pod reads the same.
    assert publish_for_readers(cluster, volume, "node-b") == path
    second = publish_for_readers(cluster, volume, "node-b", pod="second")
    assert (second / "data").read_bytes() == b"one" and refused_to_write(second)
    message = refused("FAILED_PRECONDITION", lambda: cluster.node("node-b").NodePublishVolume(
        csi.NodePublishVolumeRequest(
            volume_id=volume.volume_id, target_path=cluster.target("node-b", "writer"),
            volume_capability=mount()), timeout=60))
    assert "many nodes" in message, message
    cluster.unpublish(volume, "node-b", pod="second", detach=False)
    cluster.unpublish(volume, "node-b", pod="reader")
    path = publish_for_readers(cluster, volume, "node-b")
    assert (path / "data").read_bytes() == b"two"
    cluster.unpublish(volume, "node-b", pod="reader")


def test_readers_wait_for_a_writer_and_a_lost_reader_holds_up_nobody(cluster):
    volume = cluster.create("in-turn")
    message = refused("FAILED_PRECONDITION", lambda: publish_for_readers(cluster, volume, "node-b"))
    assert "never been written" in message, message
    path = cluster.publish(volume, "node-a")
    (path / "data").write_bytes(b"committed later")
    message = refused("FAILED_PRECONDITION", lambda: publish_for_readers(cluster, volume, "node-b"))
    assert "node-a" in message and "open" in message, message
    cluster.unpublish(volume, "node-a")
    path = publish_for_readers(cluster, volume, "node-b")
    assert (path / "data").read_bytes() == b"committed later"
    message = refused("ALREADY_EXISTS", lambda: cluster.publish(volume, "node-b", pod="writer"))
    assert "many nodes" in message, message
    # The node dies, and the orchestrator detaches the volume from it.
    cluster.processes["node-b"].kill()
    cluster.detach(volume, "node-b")
    cluster.delete(volume)
    subprocess.run(["umount", str(path)], check=True)
    cluster.restart("node-b")
    path.rmdir()


def test_raw_devices_and_clones_are_read_by_many(cluster):
    volume = cluster.create("raw", size=16 * MIB, capability=block())
    path = cluster.publish(volume, "node-a", capability=block())
    contents = os.urandom(MIB)
    with open(path, "r+b") as device:
        device.write(contents)
    cluster.unpublish(volume, "node-a")
    readers = block(mode="MULTI_NODE_READER_ONLY")
    made = cluster.controller.CreateVolume(csi.CreateVolumeRequest(
        name="raw-clone", volume_capabilities=[readers], volume_content_source=csi.VolumeContentSource(
            volume=csi.VolumeContentSource.VolumeSource(volume_id=volume.volume_id))), timeout=60).volume
    for node in ("node-a", "node-b"):
        path = publish_for_readers(cluster, made, node, capability=readers)
        with open(path, "rb") as device:
            assert device.read(MIB) == contents
        with pytest.raises(OSError):
            with open(path, "r+b") as device:
                device.write(b"x")
                device.flush()
                os.fsync(device.fileno())
    for node in ("node-a", "node-b"):
        cluster.unpublish(made, node, pod="reader")
    # Without a node's id: wherever it is in this cluster.
    patiently(lambda: cluster.controller.ControllerUnpublishVolume(
        csi.ControllerUnpublishVolumeRequest(volume_id=made.volume_id), timeout=60))
    cluster.delete(made)
