"""A volume written on one node is read back on another."""

import hashlib
import os
import pathlib
import stat
import subprocess

import pytest

from cluster import GIB, MIB, block, csi, mount, patiently, refused


# Each looks at a whole file system and changes nothing.
CHECKS = {"ext4": ["e2fsck", "-fn"], "xfs": ["xfs_repair", "-n"], "btrfs": ["btrfs", "check", "--readonly"]}


def write_tree(root):
    """Files of all kinds and sizes, with what a copy often loses."""
    (root / "deep" / "er" / "still").mkdir(parents=True)
    (root / "deep" / "random").write_bytes(os.urandom(5 * MIB + 17))
    (root / "deep" / "er" / "zeros").write_bytes(bytes(3 * MIB))
    (root / "text").write_text("results of a year\n" * 10000)
    (root / "empty").touch()
    os.symlink("deep/random", root / "link")
    os.link(root / "text", root / "deep" / "hard")
    os.chown(root / "text", 1234, 5678)
    os.chmod(root / "deep", 0o2750)
    os.utime(root / "empty", (1_000_000_000, 1_100_000_000))
    os.setxattr(root / "text", "user.origin", b"node a \x00\xff")
    with open(root / "sparse", "wb") as file:
        file.seek(40 * MIB)
        file.write(b"end")
    for index in range(300):
        (root / "deep" / "er" / "still" / f"file {index} \u00e4").write_bytes(os.urandom(index * 13))


def fingerprint(root):
    """Everything about a tree that has to come back."""
    found = {}
    for directory, names, files in os.walk(root):
        for name in names + files:
            path = os.path.join(directory, name)
            relative = os.path.relpath(path, root)
            if relative == "lost+found":
                continue
            status = os.lstat(path)
            entry = [status.st_mode, status.st_uid, status.st_gid, status.st_nlink]
            if stat.S_ISLNK(status.st_mode):
                entry.append(os.readlink(path))
            else:
                entry.append(status.st_mtime_ns)
                entry.append({key: os.getxattr(path, key) for key in os.listxattr(path)})
            if stat.S_ISREG(status.st_mode):
                entry.append(hashlib.sha256(open(path, "rb").read()).hexdigest())
            found[relative] = entry
    return found


@pytest.mark.parametrize("fs_type", ["ext4", "xfs", "btrfs"])
def test_a_tree_moves_to_another_node_and_back(cluster, fs_type):
    size = 320 * MIB
    volume = cluster.create(f"tree-{fs_type}", size=size, capability=mount(fs_type))
    assert volume.capacity_bytes >= size
    path = cluster.publish(volume, "node-a", capability=mount(fs_type))
    write_tree(path)
    before = fingerprint(path)
    assert len(before) > 300
    cluster.unpublish(volume, "node-a")
    assert not path.exists()

    path = cluster.publish(volume, "node-b", capability=mount(fs_type))
    assert fingerprint(path) == before
    (path / "text").write_text("changed on node b")
    (path / "deep" / "random").unlink()
    changed = fingerprint(path)
    cluster.unpublish(volume, "node-b")

    path = cluster.publish(volume, "node-a", capability=mount(fs_type))
    assert fingerprint(path) == changed
    cluster.unpublish(volume, "node-a")

    image = cluster.directory / "restored.img"
    cluster.perssd("restore", volume.volume_id, "--to", str(image))
    result = subprocess.run([*CHECKS[fs_type], str(image)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    cluster.perssd("verify", volume.volume_id)
    cluster.delete(volume)
    assert volume.volume_id not in cluster.perssd("volumes").stdout


def test_a_raw_device_moves_bit_by_bit(cluster):
    volume = cluster.create("raw", size=64 * MIB, capability=block())
    path = cluster.publish(volume, "node-a", capability=block())
    assert stat.S_ISBLK(path.stat().st_mode)
    contents = os.urandom(3 * MIB)
    with open(path, "r+b", buffering=0) as device:
        device.seek(17 * MIB)
        device.write(contents)
        os.fsync(device.fileno())
    cluster.unpublish(volume, "node-a")
    path = cluster.publish(volume, "node-b", capability=block())
    with open(path, "rb") as device:
        everything = device.read()
    assert len(everything) == volume.capacity_bytes
    assert everything[17 * MIB:20 * MIB] == contents
    assert everything.count(0) >= len(everything) - len(contents)
    cluster.unpublish(volume, "node-b")


def test_several_targets_on_one_node_share_the_volume(cluster):
    volume = cluster.create("shared")
    first = cluster.publish(volume, "node-a", pod="one")
    second = cluster.publish(volume, "node-a", pod="two")
    (first / "from one").write_text("hello")
    assert (second / "from one").read_text() == "hello"
    cluster.unpublish(volume, "node-a", pod="one", detach=False)
    (second / "from two").write_text("still there")
    cluster.unpublish(volume, "node-a", pod="two")
    path = cluster.publish(volume, "node-b")
    assert sorted(os.listdir(path)) == ["from one", "from two", "lost+found"]
    cluster.unpublish(volume, "node-b")


def test_a_read_only_publication_cannot_write(cluster):
    volume = cluster.create("read-only")
    path = cluster.publish(volume, "node-a")
    (path / "file").write_text("to be read")
    cluster.unpublish(volume, "node-a")
    path = cluster.publish(volume, "node-b", readonly=True)
    assert (path / "file").read_text() == "to be read"
    with pytest.raises(OSError):
        (path / "other").write_text("not allowed")
    cluster.unpublish(volume, "node-b")


def test_a_pod_may_write_what_another_reads(cluster):
    volume = cluster.create("reader first")
    path = cluster.publish(volume, "node-a")
    (path / "file").write_text("one")
    cluster.unpublish(volume, "node-a", detach=False)
    # kubelet publishes read-only where the pod says so, whatever the attachment allows.
    reader = pathlib.Path(cluster.target("node-a", "reader"))
    patiently(lambda: cluster.node("node-a").NodePublishVolume(
        csi.NodePublishVolumeRequest(
            volume_id=volume.volume_id, target_path=str(reader), volume_capability=mount(), readonly=True),
        timeout=60))
    writer = cluster.publish(volume, "node-a", pod="writer")
    (writer / "file").write_text("two")
    assert (reader / "file").read_text() == "two"
    with pytest.raises(OSError):
        (reader / "file").write_text("not allowed")
    cluster.unpublish(volume, "node-a", pod="reader", detach=False)
    cluster.unpublish(volume, "node-a", pod="writer")
    path = cluster.publish(volume, "node-b")
    assert (path / "file").read_text() == "two"
    cluster.unpublish(volume, "node-b")


def test_one_pod_at_a_time_where_the_claim_says_so(cluster):
    capability = mount(mode="SINGLE_NODE_SINGLE_WRITER")
    volume = cluster.create("exclusive", capability=capability)
    cluster.publish(volume, "node-a", pod="one", capability=capability)
    message = refused("FAILED_PRECONDITION", lambda: cluster.publish(
        volume, "node-a", pod="two", capability=capability))
    assert "SINGLE_NODE_SINGLE_WRITER" in message
    cluster.unpublish(volume, "node-a", pod="one")


def test_the_pod_comes_back_to_its_node_and_nothing_is_moved(cluster):
    volume = cluster.create("warm")
    path = cluster.publish(volume, "node-a")
    (path / "data").write_bytes(os.urandom(20 * MIB))
    cluster.unpublish(volume, "node-a")
    path = cluster.publish(volume, "node-a")
    assert (path / "data").stat().st_size == 20 * MIB
    cluster.unpublish(volume, "node-a")
    log = cluster.processes["node-a"].text()
    assert "staged out" in log and "restored generation" not in log
    path = cluster.publish(volume, "node-b")
    cluster.unpublish(volume, "node-b")
    assert "restored generation" in cluster.processes["node-b"].text()


def test_mount_flags_reach_the_mount(cluster):
    capability = mount(flags=["noatime", "nodev"])
    volume = cluster.create("flags", capability=capability)
    path = cluster.publish(volume, "node-a", capability=capability)
    options = next(line for line in open("/proc/self/mountinfo") if line.split()[4] == str(path)).split()[5]
    assert "noatime" in options and "nodev" in options
    cluster.unpublish(volume, "node-a")
    nonsense = mount(flags=["no-such-flag"])
    volume = cluster.create("nonsense", capability=nonsense)
    message = refused("INVALID_ARGUMENT", lambda: cluster.publish(volume, "node-a", capability=nonsense))
    assert "no-such-flag" in message
    cluster.unpublish(volume, "node-a")
