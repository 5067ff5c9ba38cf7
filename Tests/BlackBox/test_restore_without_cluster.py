"""Everything comes back on a machine that has nothing but the bucket's credentials."""

import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from cluster import MIB, block, csi, loops_below, mount, mounts_below, patiently
from test_main_job import CHECKS, fingerprint, write_tree

NOBODY = 65534


class Machine:
    """`perssd`, an empty directory, and what the store wants to know: no cluster, no settings, no privileges."""

    def __init__(self, directory, binaries, store):
        self.directory = directory
        arguments, self.environment = store
        shutil.copy(binaries / "perssd", directory / "perssd")
        os.chmod(directory / "perssd", 0o755)
        os.chown(directory, NOBODY, NOBODY)
        self.store = ["--store", *arguments]

    def perssd(self, *arguments, code=0):
        done = subprocess.run(
            ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "--",
             str(self.directory / "perssd"), *arguments, *self.store],
            env={"PATH": os.defpath, **self.environment}, cwd=self.directory, capture_output=True, text=True, timeout=300)
        assert done.returncode == code, f"{arguments}: {done.stdout}{done.stderr}"
        return done.stdout

    def restore(self, volume):
        path = self.directory / f"restored-{volume.replace('/', '-')}"
        self.perssd("restore", volume, "--to", str(path))
        return path


def destroy(cluster):
    """The power goes, and with it everything that the cluster had anywhere but in the bucket."""
    for process in cluster.processes.values():
        process.kill()
    for path in sorted(mounts_below(cluster.directory), key=len, reverse=True):
        subprocess.run(["umount", path], check=True)
    for device in loops_below(cluster.directory):
        subprocess.run(["losetup", "-d", f"/dev/{device}"], check=True)
    for path in cluster.directory.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def tree_in(image, fs_type):
    """What an image's file system holds, once that has been checked."""
    check = subprocess.run([*CHECKS[fs_type], str(image)], capture_output=True, text=True)
    assert check.returncode == 0, check.stdout + check.stderr
    place = pathlib.Path(tempfile.mkdtemp(dir=image.parent))
    subprocess.run(["mount", "-o", "loop,ro", image, place], check=True)
    try:
        return fingerprint(place)
    finally:
        subprocess.run(["umount", place], check=True)


def snapshot(cluster, volume, name):
    made = patiently(lambda: cluster.controller.CreateSnapshot(
        csi.CreateSnapshotRequest(source_volume_id=volume.volume_id, name=name), timeout=60)).snapshot
    assert made.ready_to_use
    return made


def clone(cluster, name, made):
    source = csi.VolumeContentSource(
        snapshot=csi.VolumeContentSource.SnapshotSource(snapshot_id=made.snapshot_id))
    return patiently(lambda: cluster.controller.CreateVolume(csi.CreateVolumeRequest(
        name=name, volume_capabilities=[mount()], volume_content_source=source), timeout=60)).volume


def write(cluster, volume, change, node="node-a", fs_type="ext4", detach=True):
    """Has a pod change a volume; returns what it left."""
    path = cluster.publish(volume, node, capability=mount(fs_type))
    change(path)
    left = fingerprint(path)
    cluster.unpublish(volume, node, detach=detach)
    return left


@pytest.mark.parametrize("store", ["s3"], indirect=True)
def test_every_volume_is_restored_with_nothing_but_the_bucket(cluster, binaries, workplace, store):
    expected = {}
    for fs_type, size in (("ext4", 128 * MIB), ("xfs", 320 * MIB)):
        volume = cluster.create(f"tree-{fs_type}", size=size, capability=mount(fs_type))
        expected[f"tree-{fs_type}"] = (fs_type, write(cluster, volume, write_tree, fs_type=fs_type))

    raw = cluster.create("raw", size=16 * MIB, capability=block())
    path = cluster.publish(raw, "node-b", capability=block())
    device = bytearray(os.urandom(16 * MIB))
    device[MIB:3 * MIB] = bytes(2 * MIB)
    with open(path, "wb") as file:
        file.write(device)
    cluster.unpublish(raw, "node-b")

    # One with snapshots, a clone of one of them that went its own way, and one that outlived its volume.
    history = cluster.create("history", size=64 * MIB)
    states = []
    for number in range(1, 4):
        states.append(write(cluster, history, lambda path: (path / f"step-{number}").write_bytes(os.urandom(MIB))))
        made = snapshot(cluster, history, f"snapshot-{number}")
        if number == 2:
            copy = clone(cluster, "copy", made)
    expected["history"] = ("ext4", states[2])
    expected["history@1"], expected["history@2"] = ("ext4", states[0]), ("ext4", states[1])
    expected["copy"] = ("ext4", write(cluster, copy, lambda path: (path / "own").write_text("the clone's"), "node-b"))
    assert set(expected["copy"][1]) == {"step-1", "step-2", "own"}
    doomed = cluster.create("doomed", size=64 * MIB)
    last_words = write(cluster, doomed, lambda path: (path / "kept").write_text("by a snapshot"))
    snapshot(cluster, doomed, "survivor")
    cluster.delete(doomed)

    cluster.create("never-written", size=64 * MIB)

    # Its node dies under it, and nobody ever takes the lease away.
    lost = cluster.create("lost", size=64 * MIB)
    expected["lost"] = ("ext4", write(cluster, lost, lambda path: (path / "committed").write_bytes(os.urandom(MIB))))
    path = cluster.publish(lost, "node-a")
    (path / "uncommitted").write_bytes(os.urandom(MIB))

    destroy(cluster)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="machine-", dir=workplace))
    # Nobody has to be let in above.
    os.chmod(workplace, 0o755)
    machine = Machine(directory, binaries, store)

    listed = {volume["name"]: volume for volume in json.loads(machine.perssd("volumes", "--json"))}
    assert set(listed) == {"tree-ext4", "tree-xfs", "raw", "history", "copy", "never-written", "lost"}
    lease = listed["lost"]["lease"]
    assert lease["node"] == "test/node-a" and lease["state"] == "open"
    assert listed["lost"]["recoveryPoint"]["isDirty"] and not listed["copy"]["recoveryPoint"]["isDirty"]
    report = json.loads(machine.perssd("verify", "--all", "--history", "--json"))
    assert report["isSound"] and len(report["volumes"]) == len(listed)

    for name, (fs_type, tree) in expected.items():
        image = machine.restore(name)
        assert tree_in(image, fs_type) == tree, name
        image.unlink()
    restored = machine.restore("raw").read_bytes()
    assert hashlib.sha256(restored).digest() == hashlib.sha256(device).digest()

    machine.perssd("clone", "survivor", "revived")
    assert tree_in(machine.restore("revived"), "ext4") == last_words
    machine.perssd("restore", "never-written", "--to", str(directory / "nothing"), code=3)
    assert not (directory / "nothing").exists()
    log = machine.perssd("log", "history")
    for words in ("* 3 ", "snapshot 'snapshot-1'", "| o  volume copy begins here, and is at generation 3"):
        assert words in log, log
    assert machine.perssd("cat", "copy", "/own") == "the clone's"
    assert "+ /step-2  1.0 MiB" in machine.perssd("diff", "history@1", "history@2")
