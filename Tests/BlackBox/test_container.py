"""Node plugins whose containers end under pods that use their volumes.

A container's process has mounts of its own, of which those that kubelet wants "bidirectional" are shared with the machine. They go
with it, and the kernel then names what lies behind a loop device by what is left of its path."""

import os
import pathlib
import subprocess
import tempfile

import pytest

from cluster import MIB, Cluster, block, loops_below, mounts_below


@pytest.fixture
def containers(binaries, workplace):
    """A cluster whose plugins run in mount namespaces of their own."""
    bucket = tempfile.mkdtemp(prefix="bucket-", dir=workplace)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="cluster-", dir=workplace))
    subprocess.run(["mount", "--bind", directory, directory], check=True)
    subprocess.run(["mount", "--make-shared", directory], check=True)
    try:
        with Cluster(binaries, directory, ([f"file://{bucket}"], {})) as cluster:
            cluster.start_controller()
            cluster.wrapper = ["unshare", "--mount", "--propagation", "unchanged"]
            for name in ("node-a", "node-b"):
                cluster.start_node(name)
            yield cluster
            cluster.check_nothing_leaked_while_running()
    finally:
        for path in sorted(mounts_below(directory), key=len, reverse=True):
            subprocess.run(["umount", "--lazy", path], check=False)


@pytest.mark.parametrize("end", ["stop", "kill"])
def test_pods_keep_their_volumes_when_the_plugins_container_ends(containers, end):
    cluster = containers
    files = cluster.create("files")
    raw = cluster.create("raw", size=32 * MIB, capability=block())
    directory = cluster.publish(files, "node-a", "files")
    device = cluster.publish(raw, "node-a", "raw", capability=block())
    # As kubelet does with what it has had published, before it shows it to the pod.
    mapped = cluster.directory / "node-a" / "volumeDevices" / "pvc-1" / "dev" / "1-2-3"
    mapped.parent.mkdir(parents=True)
    mapped.touch()
    subprocess.run(["mount", "--bind", device, mapped], check=True)
    scratch = cluster.publish_scratch("node-a", "scratch", size="64Mi")
    (scratch / "own").write_text("kept while the pod is there")
    written = os.urandom(MIB)
    with open(device, "wb") as disk:
        disk.write(written)
        os.fsync(disk.fileno())
    attached = loops_below(cluster.directory / "node-a")
    assert len(attached) == 3

    with open(directory / "log", "w") as pod:
        for count in range(3):
            pod.write(f"{count}\n")
            pod.flush()
            getattr(cluster.processes["node-a"], end)()
            cluster.restart("node-a")
            # Nothing is attached once more, or taken away.
            assert loops_below(cluster.directory / "node-a") == attached
        names = [name for name in (pathlib.Path("/sys/block") / loop / "loop" / "backing_file" for loop in attached)
                 if not name.read_text().startswith(str(cluster.directory))]
        assert len(names) == 3, "the kernel still knows the whole paths: this test shows nothing"
        pod.write("after\n")

    # kubelet asks again when it has been restarted, too.
    assert cluster.publish(files, "node-a", "files") == directory
    assert cluster.publish(raw, "node-a", "raw", capability=block()) == device
    assert loops_below(cluster.directory / "node-a") == attached
    assert (scratch / "own").read_text() == "kept while the pod is there"
    cluster.unpublish_scratch("node-a", "scratch")
    cluster.unpublish(files, "node-a", "files")
    subprocess.run(["umount", mapped], check=True)
    cluster.unpublish(raw, "node-a", "raw")
    assert mounts_below(cluster.directory / "node-a") == []

    assert (cluster.publish(files, "node-b", "files") / "log").read_text() == "0\n1\n2\nafter\n"
    with open(cluster.publish(raw, "node-b", "raw", capability=block()), "rb") as disk:
        assert disk.read(MIB) == written
    cluster.unpublish(files, "node-b", "files")
    cluster.unpublish(raw, "node-b", "raw")
