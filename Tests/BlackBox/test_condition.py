"""What NodeGetVolumeStats says of a volume, with real faults of file systems, pool and bucket."""

import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from cluster import Cluster, MIB, csi, loops_below, mount, patiently, refused
from waiting import wait_for


def stats(cluster, volume, node="node-a", pod="pod"):
    return cluster.node(node).NodeGetVolumeStats(
        csi.NodeGetVolumeStatsRequest(volume_id=volume.volume_id, volume_path=cluster.target(node, pod)), timeout=60)


def condition(cluster, volume, abnormal):
    return wait_for(
        f"a volume's condition that is {'abnormal' if abnormal else 'well'}",
        lambda: stats(cluster, volume).volume_condition, lambda found: found.abnormal == abnormal, pause=0.5)


def problem(cluster, volume):
    """The message, once the volume is not well."""
    return condition(cluster, volume, abnormal=True).message


def wait_until_well(cluster, volume):
    condition(cluster, volume, abnormal=False)


@pytest.fixture
def mounted(workplace):
    """Mounts what a test asks for, and takes it away at the end, however the test ended."""
    paths = []

    def mount_at(*arguments):
        path = pathlib.Path(tempfile.mkdtemp(prefix="mount-", dir=workplace))
        subprocess.run(["mount", *arguments, str(path)], check=True)
        paths.append(path)
        return path

    yield mount_at
    for path in paths:
        subprocess.run(["umount", str(path)], check=True)


@pytest.fixture
def place(binaries, workplace):
    """Makes a cluster on a directory as the bucket; a test may need its own bucket or pool."""
    clusters = []

    def make(bucket=None, pool=None):
        bucket = bucket or tempfile.mkdtemp(prefix="bucket-", dir=workplace)
        directory = pathlib.Path(tempfile.mkdtemp(prefix="cluster-", dir=workplace))
        cluster = Cluster(binaries, directory, ([f"file://{bucket}"], {}))
        clusters.append(cluster)
        cluster.start_controller()
        cluster.start_node("node-a", pool=pool)
        return cluster

    yield make
    for cluster in clusters:
        cluster.__exit__()


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs"])
def test_a_volume_that_is_well(cluster, fs_type):
    volume = cluster.create(f"well-{fs_type}", size=320 * MIB, capability=mount(fs_type))
    cluster.publish(volume, "node-a", capability=mount(fs_type))
    answer = stats(cluster, volume)
    assert not answer.volume_condition.abnormal and answer.volume_condition.message
    assert answer.usage[0].total > 200 * MIB
    cluster.unpublish(volume, "node-a")
    # Read-only on purpose is nothing that is wrong.
    cluster.publish(volume, "node-a", capability=mount(fs_type), readonly=True)
    assert not stats(cluster, volume).volume_condition.abnormal
    cluster.unpublish(volume, "node-a")


def test_an_ext4_that_turned_read_only(place):
    cluster = place()
    volume = cluster.create("broken")
    path = cluster.publish(volume, "node-a")
    (path / "file").write_text("before the error")
    os.sync()
    source = subprocess.run(
        ["findmnt", "-n", "-o", "SOURCE", str(path)], check=True, capture_output=True, text=True).stdout.strip()
    pathlib.Path(f"/sys/fs/ext4/{os.path.basename(source)}/trigger_fs_error").write_text("1")
    assert "ext4 has turned read-only" in problem(cluster, volume)
    cluster.unpublish(volume, "node-a")
    # It is checked, and as good as before.
    path = cluster.publish(volume, "node-a")
    assert (path / "file").read_text() == "before the error"
    (path / "file").write_text("after it")
    assert not stats(cluster, volume).volume_condition.abnormal
    cluster.unpublish(volume, "node-a")


def test_an_xfs_that_shut_down(place):
    cluster = place()
    volume = cluster.create("broken", size=320 * MIB, capability=mount("xfs"))
    path = cluster.publish(volume, "node-a", capability=mount("xfs"))
    (path / "file").write_text("before the error")
    os.sync()
    subprocess.run(["xfs_io", "-x", "-c", "shutdown", str(path)], check=True)
    assert "xfs does not answer" in problem(cluster, volume)
    cluster.unpublish(volume, "node-a")
    path = cluster.publish(volume, "node-a", capability=mount("xfs"))
    assert (path / "file").read_text() == "before the error"
    assert not stats(cluster, volume).volume_condition.abnormal
    cluster.unpublish(volume, "node-a")


def test_a_bucket_that_is_away_for_a_while(place, workplace):
    bucket = pathlib.Path(tempfile.mkdtemp(prefix="bucket-", dir=workplace))
    cluster = place(bucket)
    volume = cluster.create("cut off")
    cluster.publish(volume, "node-a")
    assert not stats(cluster, volume).volume_condition.abnormal
    away = bucket.with_name(bucket.name + "-away")
    bucket.rename(away)
    message = problem(cluster, volume)
    assert "the bucket cannot be used since 20" in message and str(bucket) in message
    away.rename(bucket)
    wait_until_well(cluster, volume)
    bucket.rename(away)
    # NOT_FOUND would say that the volume is gone.
    message = refused("UNAVAILABLE", lambda: cluster.node("node-a").NodeUnpublishVolume(
        csi.NodeUnpublishVolumeRequest(volume_id=volume.volume_id, target_path=cluster.target("node-a", "pod")),
        timeout=20))
    assert "there is no directory" in message
    away.rename(bucket)
    cluster.unpublish(volume, "node-a")


def test_in_another_bucket_nothing_passes_for_deleted(place, workplace):
    bucket = pathlib.Path(tempfile.mkdtemp(prefix="bucket-", dir=workplace))
    cluster = place(bucket)
    volume = cluster.create("mislaid")
    path = cluster.publish(volume, "node-a")
    (path / "file").write_text("in no generation yet")
    # The plugin is started again where the bucket has been replaced by an empty one, and the volume is nowhere to be seen.
    cluster.processes["node-a"].kill()
    away = bucket.with_name(bucket.name + "-away")
    bucket.rename(away)
    bucket.mkdir()
    with pytest.raises(RuntimeError, match="is another store, with the id"):
        cluster.restart("node-a")
    assert (path / "file").read_text() == "in no generation yet"
    shutil.rmtree(bucket)
    away.rename(bucket)
    cluster.restart("node-a")
    cluster.unpublish(volume, "node-a")
    path = cluster.publish(volume, "node-a")
    assert (path / "file").read_text() == "in no generation yet"
    cluster.unpublish(volume, "node-a")
    # With all of it committed, another bucket may come.
    cluster.processes["node-a"].kill()
    bucket.rename(away)
    bucket.mkdir()
    cluster.restart("node-a")


def test_a_deleted_volume_goes_from_its_node_if_the_bucket_is_the_one_it_was_in(place, workplace):
    bucket = pathlib.Path(tempfile.mkdtemp(prefix="bucket-", dir=workplace))
    cluster = place(bucket)
    volume = cluster.create("given-up")
    path = cluster.publish(volume, "node-a")
    (path / "file").write_text("in no generation")
    cluster.perssd("lease", volume.volume_id, "--revoke", "--yes")
    cluster.detach(volume, "node-a")
    cluster.delete(volume)
    # As if it had not been deleted, and the bucket emptied.
    identity = (bucket / "perssd.json").rename(bucket.with_name(bucket.name + "-identity"))
    request = csi.NodeUnpublishVolumeRequest(volume_id=volume.volume_id, target_path=str(path))
    # The first try knows nothing of it yet.
    refused("NOT_FOUND", lambda: cluster.node("node-a").NodeUnpublishVolume(request, timeout=60))
    message = refused("UNAVAILABLE", lambda: cluster.node("node-a").NodeUnpublishVolume(request, timeout=60))
    assert "is not the store any more" in message
    images = cluster.directory / "node-a" / "pool"
    assert list(images.rglob(f"*{volume.volume_id}*"))
    identity.rename(bucket / "perssd.json")
    patiently(lambda: cluster.node("node-a").NodeUnpublishVolume(request, timeout=60))
    assert not list(images.rglob(f"*{volume.volume_id}*"))


def test_a_bucket_that_is_full(mounted, place):
    bucket = mounted("-t", "tmpfs", "-o", "size=24m", "tmpfs")
    cluster = place(bucket)
    volume = cluster.create("too much")
    path = cluster.publish(volume, "node-a")
    (path / "noise").write_bytes(os.urandom(64 * MIB))
    target = cluster.target("node-a", "pod")
    with pytest.raises(Exception) as failure:
        cluster.node("node-a").NodeUnpublishVolume(
            csi.NodeUnpublishVolumeRequest(volume_id=volume.volume_id, target_path=target), timeout=60)
    assert "cannot stage out" in failure.value.details()
    # The pod comes back meanwhile.
    path = cluster.publish(volume, "node-a")
    message = problem(cluster, volume)
    assert "staging out fails since 20" in message and "space" in message
    assert (path / "noise").stat().st_size == 64 * MIB
    subprocess.run(["mount", "-o", "remount,size=256m", str(bucket)], check=True)
    cluster.unpublish(volume, "node-a")
    cluster.publish(volume, "node-a")
    wait_until_well(cluster, volume)
    cluster.unpublish(volume, "node-a")


def test_a_drive_that_failed(mounted, place, workplace):
    image = workplace / "drive.img"
    with open(image, "wb") as file:
        file.truncate(1 << 30)
    subprocess.run(["mkfs.xfs", "-q", str(image)], check=True)
    drive = mounted("-o", "loop", str(image))
    cluster = place(pool=drive / "pool")
    volume = cluster.create("lost", size=64 * MIB)
    path = cluster.publish(volume, "node-a")
    assert not stats(cluster, volume).volume_condition.abnormal
    subprocess.run(["xfs_io", "-x", "-c", "shutdown", str(drive)], check=True)
    try:
        assert "its device does not read" in problem(cluster, volume)
    finally:
        # Nothing can be staged out any more, so what is left is taken away by hand.
        for process in cluster.processes.values():
            process.kill()
        for place_of_mount in (path, cluster.directory / "node-a" / "state" / "mounts" / volume.volume_id):
            subprocess.run(["umount", str(place_of_mount)], check=True)
        for device in loops_below(drive):
            subprocess.run(["losetup", "-d", f"/dev/{device}"], check=True)
