"""What is wrong is refused with what to do, and nothing is lost by it."""

import contextlib
import json
import os
import pathlib
import signal
import subprocess
import threading
import time

import grpc
import pytest

from cluster import Cluster, MIB, block, csi, mount, mounts_below, patiently, refused


@pytest.fixture
def bucket(workplace, tmp_path_factory):
    """A shared directory as the bucket, so that a test can damage it."""
    path = pathlib.Path(tmp_path_factory.mktemp("bucket", numbered=True))
    return path


@pytest.fixture
def damaged(bucket, binaries, workplace):
    with Cluster(binaries, workplace / f"damaged-{os.urandom(4).hex()}", ([f"file://{bucket}"], {})) as cluster:
        cluster.directory.mkdir()
        cluster.start_controller()
        cluster.start_node("node-a")
        cluster.start_node("node-b")
        yield cluster


def written(cluster, name="victim"):
    volume = cluster.create(name, size=64 * MIB)
    path = cluster.publish(volume, "node-a")
    (path / "data").write_bytes(os.urandom(8 * MIB))
    cluster.unpublish(volume, "node-a")
    return volume


def flip(path):
    contents = bytearray(path.read_bytes())
    contents[len(contents) // 2] ^= 0x10
    path.write_bytes(contents)


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def from_the_future(path):
    record = json.loads(path.read_text())
    record["version"] = 99
    path.write_text(json.dumps(record))


@pytest.mark.parametrize("what, damage", [
    ("lineages/*/packs/*", flip), ("lineages/*/packs/*", truncate), ("lineages/*/packs/*", os.unlink),
    ("volumes/*/generations/*/1.json", flip), ("volumes/*/generations/*/1.json", os.unlink),
    ("volumes/*/head.json", from_the_future), ("volumes/*/volume.json", from_the_future),
    ("volumes/*/head.json", truncate),
], ids=lambda value: value if isinstance(value, str) else value.__name__)
def test_damage_in_the_bucket_is_named_and_never_mounted(damaged, bucket, what, damage):
    volume = written(damaged)
    objects = sorted(bucket.glob(what), key=lambda path: path.stat().st_size)
    assert objects, f"nothing matches {what}: {sorted(str(p) for p in bucket.rglob('*'))}"
    damage(objects[-1])
    with pytest.raises(Exception) as caught:
        damaged.publish(volume, "node-b")
    message = caught.value.details()
    assert objects[-1].name.split(".")[0] in message, message
    if damage is from_the_future:
        assert "version 99" in message
    else:
        assert caught.value.code().name == "DATA_LOSS", message
    assert mounts_below(damaged.directory / "node-b") == []
    result = damaged.perssd("verify", volume.volume_id, check=False)
    assert result.returncode != 0


def test_a_full_pool_refuses_and_says_how_much_is_missing(damaged):
    volume = damaged.create("large", size=6 << 30)
    other = damaged.create("also large", size=6 << 30)
    damaged.publish(volume, "node-a", pod="one")
    message = refused("RESOURCE_EXHAUSTED", lambda: damaged.publish(other, "node-a", pod="two"))
    assert "6.0 GiB" in message
    damaged.unpublish(volume, "node-a", pod="one")
    request = csi.CreateVolumeRequest(
        name="impossible", capacity_range=csi.CapacityRange(required_bytes=100 << 30), volume_capabilities=[mount()])
    refused("RESOURCE_EXHAUSTED", lambda: damaged.controller.CreateVolume(request, timeout=60))


def test_a_full_bucket_keeps_the_volume_dirty_and_the_retry_finishes(workplace, binaries):
    bucket = workplace / f"small-{os.urandom(4).hex()}"
    bucket.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(bucket)], check=True)
    try:
        with Cluster(binaries, workplace / f"full-{os.urandom(4).hex()}", ([f"file://{bucket}"], {})) as cluster:
            cluster.directory.mkdir()
            cluster.start_controller()
            cluster.start_node("node-a")
            cluster.start_node("node-b")
            volume = cluster.create("too much", size=128 * MIB)
            path = cluster.publish(volume, "node-a")
            contents = os.urandom(20 * MIB)
            (path / "data").write_bytes(contents)
            message = refused("RESOURCE_EXHAUSTED", lambda: cluster.unpublish(volume, "node-a"))
            assert str(bucket) in message
            subprocess.run(["mount", "-o", "remount,size=200m", str(bucket)], check=True)
            cluster.unpublish(volume, "node-a")
            path = cluster.publish(volume, "node-b")
            assert (path / "data").read_bytes() == contents
            cluster.unpublish(volume, "node-b")
    finally:
        subprocess.run(["umount", str(bucket)], check=True)


def test_in_the_background_a_pod_is_gone_before_the_commit_and_detaching_waits_for_it(workplace, binaries):
    bucket = workplace / f"background-{os.urandom(4).hex()}"
    bucket.mkdir()
    # Too small at first, so that the commit cannot come before it is looked for.
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(bucket)], check=True)
    try:
        with Cluster(binaries, workplace / f"late-{os.urandom(4).hex()}", ([f"file://{bucket}"], {})) as cluster:
            cluster.directory.mkdir()
            cluster.start_controller()
            cluster.start_node("node-a")
            cluster.start_node("node-b")
            volume = cluster.create("late", size=128 * MIB, parameters={"stageOut": "background"})
            path = cluster.publish(volume, "node-a")
            contents = os.urandom(20 * MIB)
            (path / "data").write_bytes(contents)
            cluster.unpublish(volume, "node-a", detach=False)
            assert not path.exists()
            message = refused("ABORTED", lambda: cluster.controller.ControllerUnpublishVolume(
                csi.ControllerUnpublishVolumeRequest(volume_id=volume.volume_id, node_id="node-a"), timeout=10))
            assert "node-a" in message
            refused("FAILED_PRECONDITION", lambda: cluster.publish(volume, "node-b"))
            subprocess.run(["mount", "-o", "remount,size=200m", str(bucket)], check=True)
            cluster.detach(volume, "node-a")
            path = cluster.publish(volume, "node-b")
            assert (path / "data").read_bytes() == contents
            cluster.unpublish(volume, "node-b")
    finally:
        subprocess.run(["umount", str(bucket)], check=True)


@contextlib.contextmanager
def file_system(directory, name, size):
    """A file system of its own, as a pool's directory."""
    image, place = directory / f"{name}.img", directory / name
    place.mkdir()
    with open(image, "wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def test_a_pool_that_fills_up_in_the_middle_of_a_restore_serves_nothing_half(bucket, binaries, workplace):
    directory = workplace / f"filling-{os.urandom(4).hex()}"
    directory.mkdir()
    with file_system(directory, "small", 640 * MIB) as small:
        with Cluster(binaries, directory / "cluster", ([f"file://{bucket}"], {})) as cluster:
            cluster.directory.mkdir()
            cluster.start_controller()
            cluster.start_node("node-a")
            pool = small / "pool"
            cluster.start_node("node-b", pool=pool)
            volume = cluster.create("much", size=400 * MIB)
            path = cluster.publish(volume, "node-a")
            contents = os.urandom(200 * MIB)
            (path / "data").write_bytes(contents)
            cluster.unpublish(volume, "node-a")

            filler = small / "filler"
            filled = threading.Event()
            process = cluster.processes["node-b"].process

            def fill():
                image = pool / "volumes" / volume.volume_id / "image"
                while not image.exists() and not filled.is_set():
                    time.sleep(0.001)
                try:
                    # From here on in small steps, so that it does not get far while this waits for a processor.
                    process.send_signal(signal.SIGSTOP)
                    while not filled.is_set() and image.stat().st_blocks * 512 <= 8 * MIB:
                        process.send_signal(signal.SIGCONT)
                        time.sleep(0.002)
                        process.send_signal(signal.SIGSTOP)
                    # The file system keeps some of what it calls free for its own blocks.
                    step = 64 * MIB
                    with open(filler, "wb") as file:
                        while step >= MIB:
                            try:
                                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, step)
                            except OSError:
                                step //= 2
                    filled.set()
                finally:
                    process.send_signal(signal.SIGCONT)

            thread = threading.Thread(target=fill)
            thread.start()
            try:
                with pytest.raises(grpc.RpcError) as caught:
                    cluster.publish(volume, "node-b")
                assert filled.is_set(), caught.value.details()
            finally:
                filled.set()
                thread.join()
            assert volume.volume_id in caught.value.details()
            assert caught.value.code() in (grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.UNAVAILABLE)
            assert mounts_below(cluster.directory / "node-b") == []
            filler.unlink()
            path = cluster.publish(volume, "node-b")
            assert (path / "data").read_bytes() == contents
            cluster.unpublish(volume, "node-b")


@pytest.mark.parametrize("target, why", [
    ("relative/path", "INVALID_ARGUMENT"), ("/tmp/../etc/perssd", "INVALID_ARGUMENT"), ("", "INVALID_ARGUMENT"),
    ("/", "INVALID_ARGUMENT"), ("/no/such/parent/target", "NOT_FOUND"), ("/tmp/" + "x" * 300, "INVALID_ARGUMENT"),
])
def test_target_paths_that_cannot_be(damaged, target, why):
    volume = damaged.create("target", size=64 * MIB)
    refused(why, lambda: damaged.node("node-a").NodePublishVolume(
        csi.NodePublishVolumeRequest(
            volume_id=volume.volume_id, target_path=target, volume_capability=mount()), timeout=30))


def test_targets_that_are_taken_are_left_alone(damaged):
    volume = damaged.create("taken", size=64 * MIB)

    def publish(capability):
        damaged.node("node-a").NodePublishVolume(
            csi.NodePublishVolumeRequest(
                volume_id=volume.volume_id, target_path=str(target), volume_capability=capability), timeout=30)

    target = pathlib.Path(damaged.target("node-a", "file"))
    target.write_text("precious")
    refused("FAILED_PRECONDITION", lambda: publish(mount()))
    assert target.read_text() == "precious"
    target.unlink()

    link = pathlib.Path(damaged.target("node-a", "link"))
    link.symlink_to("/etc")
    target = link
    refused("FAILED_PRECONDITION", lambda: publish(mount()))
    assert link.is_symlink()
    link.unlink()

    target = pathlib.Path(damaged.target("node-a", "mounted"))
    target.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", str(target)], check=True)
    refused("FAILED_PRECONDITION", lambda: publish(mount()))
    refused("FAILED_PRECONDITION", lambda: damaged.node("node-a").NodeUnpublishVolume(
        csi.NodeUnpublishVolumeRequest(volume_id=volume.volume_id, target_path=str(target)), timeout=30))
    assert str(target) in mounts_below(target)
    subprocess.run(["umount", str(target)], check=True)


@pytest.mark.parametrize("volume_id", [
    "no-such-volume", "vol-00000000000000000000000000000000", "../../etc/passwd", "vol-" + "\u00e4" * 32, " ",
    "vol-" + "A" * 32,
])
def test_unknown_volumes(damaged, volume_id):
    node = damaged.node("node-a")
    refused("NOT_FOUND", lambda: node.NodePublishVolume(csi.NodePublishVolumeRequest(
        volume_id=volume_id, target_path=damaged.target("node-a", "pod"), volume_capability=mount()), timeout=30))
    refused("NOT_FOUND", lambda: node.NodeGetVolumeStats(csi.NodeGetVolumeStatsRequest(
        volume_id=volume_id, volume_path=damaged.target("node-a", "pod")), timeout=30))
    refused("NOT_FOUND", lambda: damaged.controller.ControllerPublishVolume(csi.ControllerPublishVolumeRequest(
        volume_id=volume_id, node_id="node-a", volume_capability=mount()), timeout=30))
    # Deleting what is not there has been done.
    damaged.controller.DeleteVolume(csi.DeleteVolumeRequest(volume_id=volume_id), timeout=30)


@pytest.mark.parametrize("name", ["a" * 129, "\u00e4" * 2048, "bell\a", "escape\x1b[31m"], ids=ascii)
def test_names_that_cannot_be(damaged, name):
    refused("INVALID_ARGUMENT", lambda: damaged.controller.CreateVolume(
        csi.CreateVolumeRequest(name=name, volume_capabilities=[mount()]), timeout=30))
    refused("INVALID_ARGUMENT", lambda: damaged.controller.DeleteVolume(
        csi.DeleteVolumeRequest(volume_id=name), timeout=30))


@pytest.mark.parametrize("name", ["with/slash", "..", ".", "with space", "\u00e4\u00f6\u00fc", "%2e%2e%2f", "a" * 128], ids=ascii)
def test_names_that_are_odd_and_valid(damaged, name):
    volume = damaged.create(name, size=64 * MIB)
    path = damaged.publish(volume, "node-a")
    (path / "file").write_text(name)
    damaged.unpublish(volume, "node-a")
    path = damaged.publish(volume, "node-b")
    assert (path / "file").read_text() == name
    damaged.unpublish(volume, "node-b")
    damaged.delete(volume)


def test_strings_with_a_nul_are_refused_and_not_cut(damaged):
    """protobuf's strings are UTF-8, in which NUL is a character; a C library must not end them there."""
    name = "visible\0hidden"
    message = refused("INVALID_ARGUMENT", lambda: damaged.controller.CreateVolume(
        csi.CreateVolumeRequest(name=name, volume_capabilities=[mount()]), timeout=30))
    assert "name" in message


@pytest.mark.parametrize("parameters, naming", [
    ({"blockSiez": "1Mi"}, "blockSize"), ({"blockSize": "3Mi"}, "power of two"), ({"compressionLevel": "99"}, "1 to 19"),
    ({"stageOut": "never"}, "onUnpublish"), ({"inodeRatio": "1"}, "4Ki to 64Mi"),
    ({"reservedBlocksPercent": "99"}, "0 to 50"), ({"journalSize": "1Mi"}, "4Mi to 1Gi"),
    ({"journalSize": "1Gi"}, "at most 128.0 MiB"), ({"nodeLossTimeout": "soon"}, "duration"),
])
def test_storage_class_parameters(damaged, parameters, naming):
    message = refused("INVALID_ARGUMENT", lambda: damaged.controller.CreateVolume(
        csi.CreateVolumeRequest(name="parameters", volume_capabilities=[mount()], parameters=parameters), timeout=30))
    assert naming in message


@pytest.mark.parametrize("required, limit, code", [
    (-1, 0, "INVALID_ARGUMENT"), (0, -1, "INVALID_ARGUMENT"), (2 * MIB, MIB, "OUT_OF_RANGE"),
    (1 << 62, 0, "OUT_OF_RANGE"), (5 * MIB, 6 * MIB, "OUT_OF_RANGE"),
])
def test_sizes_that_cannot_be(damaged, required, limit, code):
    refused(code, lambda: damaged.controller.CreateVolume(
        csi.CreateVolumeRequest(
            name="size", volume_capabilities=[mount()],
            capacity_range=csi.CapacityRange(required_bytes=required, limit_bytes=limit)), timeout=30))


def test_another_file_system_than_the_volumes_own(damaged):
    volume = damaged.create("ext4", size=320 * MIB)
    damaged.publish(volume, "node-a")
    damaged.unpublish(volume, "node-a")
    message = refused("FAILED_PRECONDITION", lambda: damaged.publish(volume, "node-a", capability=mount("xfs")))
    assert "ext4" in message
    damaged.detach(volume, "node-a")
    damaged.publish(volume, "node-a")
    damaged.unpublish(volume, "node-a")


def start_fails(binaries, arguments, environment=None):
    result = subprocess.run(
        [str(binaries / "perssd-controller"), "--endpoint", "unix:///tmp/perssd-never.sock", *arguments],
        env={**os.environ, **(environment or {})}, capture_output=True, text=True, timeout=120)
    assert result.returncode != 0
    return result.stderr


def test_processes_that_cannot_start_say_why(binaries, seaweedfs, tmp_path):
    bucket = seaweedfs.bucket
    s3 = ["--store", f"s3://{bucket}/p", "--store-endpoint", seaweedfs.endpoint]
    assert "no-such-option" in start_fails(binaries, ["--no-such-option", "x"])
    assert "/no/such/directory" in start_fails(binaries, ["--store", "file:///no/such/directory"])
    wrong = {**seaweedfs.environment, "AWS_SECRET_ACCESS_KEY": "wrong" * 8}
    text = start_fails(binaries, s3, wrong)
    assert "credential" in text.lower() or "secret" in text.lower(), text
    text = start_fails(
        binaries, ["--store", "s3://no-such-bucket/p", "--store-endpoint", seaweedfs.endpoint], seaweedfs.environment)
    assert "no-such-bucket" in text
    text = start_fails(
        binaries, ["--store", f"s3://{bucket}/p", "--store-endpoint", "ftp://127.0.0.1"], seaweedfs.environment)
    assert "ftp://127.0.0.1" in text
    config = tmp_path / "config.yaml"
    config.write_text("store:\n  locaton: file:///tmp\n")
    text = start_fails(binaries, ["--config", str(config)])
    assert "locaton" in text and "location" in text
