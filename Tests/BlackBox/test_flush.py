"""A node that is drained or about to end: all that its volumes hold goes to the bucket, against the clock where there is one."""

import json
import os
import pathlib
import signal
import subprocess
import tempfile
import time

import pytest

from cluster import MIB, Cluster, csi, mounts_below, patiently
from waiting import wait_for, wait_for_words


@pytest.fixture
def bucket(tmp_path):
    return tmp_path / "bucket"


@pytest.fixture
def make_node(bucket, binaries, workplace, reflink_pool):
    """Starts a node whose pool can cut volumes under their pods, and a controller, on a shared directory."""
    bucket.mkdir()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="flush-", dir=workplace))
    with Cluster(binaries, directory, ([f"file://{bucket}"], {})) as cluster:
        cluster.start_controller()

        def start(*arguments):
            cluster.start_node("node-a", pool=reflink_pool, arguments=arguments)
            return cluster

        yield start


def dirty(cluster, name, mebibytes, **parameters):
    """A volume that a pod has, and that holds so much that is in no generation."""
    volume = cluster.create(name, size=128 * MIB, parameters=parameters)
    path = cluster.publish(volume, "node-a", pod=name)
    write(path / "data", mebibytes)
    return volume


def write(path, mebibytes):
    with open(path, "wb") as file:
        file.write(os.urandom(mebibytes * MIB))
        file.flush()
        # What is in memory only is not counted as unsaved, and this is to tell volumes apart.
        os.fsync(file.fileno())


def flush_command(cluster, *arguments):
    socket = cluster.directory / "node-a" / "state" / "control.sock"
    return [str(cluster.binaries / "perssd"), "flush", "--socket", str(socket), *arguments]


def flush(cluster, *arguments, prefix=()):
    return subprocess.run(
        [*prefix, *flush_command(cluster, *arguments)], capture_output=True, text=True, timeout=300)


def report(result):
    return {volume["name"]: volume for volume in json.loads(result.stdout)["volumes"]}


def generations(bucket, volume):
    return sorted(bucket.glob(f"volumes/{volume.volume_id}/generations/*/*.json"))


def committed_at(bucket, volume):
    return generations(bucket, volume)[-1].stat().st_mtime_ns


def test_a_flush_saves_all_volumes_the_dirtiest_first(make_node, bucket):
    cluster = make_node("--parallel-transfers", "1")
    volumes = {name: dirty(cluster, name, size) for name, size in (("small", 2), ("large", 24), ("middle", 9))}
    idle = cluster.create("idle", size=64 * MIB)
    cluster.publish(idle, "node-a", pod="idle")
    cluster.unpublish(idle, "node-a", pod="idle")
    result = flush(cluster, "--json", "--deadline", "200s")
    assert result.returncode == 0, result.stderr + result.stdout
    found = report(result)
    assert [(name, found[name]["outcome"]) for name in found] == [
        ("large", "committed"), ("middle", "committed"), ("small", "committed")]
    times = [committed_at(bucket, volumes[name]) for name in ("large", "middle", "small")]
    assert times == sorted(times)
    for name, volume in found.items():
        assert volume["isPublished"] and volume["generation"] == 1
        assert volume["sentBytes"] >= {"small": 2, "middle": 9, "large": 24}[name] * MIB
    # The pods still have theirs, and what is in the bucket is what they wrote.
    for name, volume in volumes.items():
        path = pathlib.Path(cluster.target("node-a", name))
        restored = cluster.directory / f"{name}.image"
        cluster.perssd("restore", volume.volume_id, "--to", str(restored))
        mounted = cluster.directory / f"{name}.mounted"
        mounted.mkdir()
        subprocess.run(["mount", "-o", "loop", str(restored), str(mounted)], check=True)
        try:
            assert (mounted / "data").read_bytes() == (path / "data").read_bytes()
        finally:
            subprocess.run(["umount", str(mounted)], check=True)
    # Again: there is nothing that the generations have not, or next to nothing, and people read it.
    again = flush(cluster)
    assert again.returncode == 0 and "3 of 3 volumes of node test/node-a are in the bucket" in again.stdout, again
    for name in volumes:
        cluster.unpublish(volumes[name], "node-a", pod=name)
    result = flush(cluster, "--json")
    assert result.returncode == 0 and json.loads(result.stdout)["volumes"] == []


def test_what_does_not_make_it_is_said_and_harms_nothing(make_node, bucket):
    cluster = make_node("--parallel-transfers", "1", "--stage-out-bandwidth", "1Mi")
    volumes = {name: dirty(cluster, name, size) for name, size in (("first", 40), ("second", 4))}
    start = time.monotonic()
    result = flush(cluster, "--json", "--deadline", "4s")
    assert result.returncode == 1, result.stderr + result.stdout
    # It does not wait for what is late; the rest is for a machine that is busy.
    assert time.monotonic() - start < 30
    found = report(result)
    assert found["first"]["outcome"] == "late" and found["second"]["outcome"] == "notBegun", found
    assert "staging out" in found["first"]["detail"]
    assert all(generations(bucket, volume) == [] for volume in volumes.values())
    text = flush(cluster, "--deadline", "1s")
    assert text.returncode == 1 and "NOT in time" in text.stdout and "0 of 2 volumes" in text.stdout
    # What was begun goes on, and is whole.
    wait_for("a generation of what was late", lambda: generations(bucket, volumes["first"]), seconds=300)
    cluster.perssd("verify", volumes["first"].volume_id)
    for name, volume in volumes.items():
        cluster.unpublish(volume, "node-a", pod=name)
    cluster.perssd("verify", "--all")


def test_a_flush_ends_what_is_held_up_in_the_background(make_node, bucket):
    cluster = make_node("--parallel-transfers", "1", "--stage-out-bandwidth", "1Mi")
    # For about sixteen seconds, of which the flush is to find the rest.
    leaving = dirty(cluster, "leaving", 20, stageOut="background")
    published = dirty(cluster, "published", 3)
    cluster.unpublish(leaving, "node-a", pod="leaving", detach=False)
    assert generations(bucket, leaving) == []
    result = flush(cluster, "--json")
    assert result.returncode == 0, result.stderr + result.stdout
    found = report(result)
    assert (found["leaving"]["outcome"], found["leaving"]["isPublished"]) == ("committed", False)
    assert found["published"]["outcome"] == "committed"
    assert len(generations(bucket, leaving)) == 1
    cluster.detach(leaving, "node-a")
    cluster.unpublish(published, "node-a", pod="published")


def test_a_flush_ends_the_delay_of_a_stage_out(make_node, bucket):
    cluster = make_node()
    waiting = dirty(cluster, "waiting", 3, stageOut="background", stageOutDelay="1h")
    cluster.unpublish(waiting, "node-a", pod="waiting")
    assert generations(bucket, waiting) == []
    result = flush(cluster, "--json")
    assert result.returncode == 0, result.stderr + result.stdout
    assert report(result)["waiting"]["outcome"] == "committed" and len(generations(bucket, waiting)) == 1


def test_only_root_may_flush(make_node):
    cluster = make_node()
    socket = cluster.directory / "node-a" / "state" / "control.sock"
    assert socket.stat().st_mode & 0o777 == 0o600
    # Whoever can reach the socket, and is not root.
    for path in [socket.parent, *socket.parent.parents]:
        if path != pathlib.Path("/"):
            path.chmod(path.stat().st_mode | 0o011)
    result = flush(
        cluster, prefix=("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"))
    assert result.returncode == 1 and "no node plugin answers" in result.stderr, result


def test_a_flush_without_a_plugin_says_so(make_node):
    cluster = make_node()
    cluster.processes["node-a"].stop()
    result = flush(cluster, "--deadline", "5s")
    assert result.returncode == 1 and "no node plugin answers" in result.stderr, result
    assert flush(cluster, "--deadline", "soon").returncode == 2
    cluster.restart("node-a")
    # Its CSI socket is another one.
    result = subprocess.run(
        [str(cluster.binaries / "perssd"), "flush", "--socket", str(cluster.directory / "node-a.sock")],
        capture_output=True, text=True, timeout=60)
    assert result.returncode == 1 and "control socket" in result.stderr, result


def terminated(cluster, seconds=60):
    """Tells the node plugin to end; returns its exit status and how long it took."""
    process = cluster.processes["node-a"].process
    start = time.monotonic()
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=seconds), time.monotonic() - start


def test_sigterm_flushes_where_it_is_told_to(make_node, bucket, tmp_path):
    log = tmp_path / "termination-log"
    log.touch()
    cluster = make_node(
        "--flush-on-termination", "200s", "--termination-log", str(log), "--parallel-transfers", "1",
        "--stage-out-bandwidth", "1Mi")
    # For longer than a process has that does not flush.
    volumes = {name: dirty(cluster, name, size) for name, size in (("one", 3), ("two", 34))}
    process = cluster.processes["node-a"]
    process.process.send_signal(signal.SIGTERM)
    wait_for_words(process, "flushing the node's volumes")
    # Calls are served meanwhile: kubelet takes the pods' volumes away.
    process.process.send_signal(signal.SIGTERM)
    patiently(lambda: cluster.node("node-a").NodeUnpublishVolume(
        csi.NodeUnpublishVolumeRequest(
            volume_id=volumes["one"].volume_id, target_path=cluster.target("node-a", "one")), timeout=60))
    assert process.process.wait(timeout=200) == 0, process.text()[-3000:]
    assert "2 of 2 volumes of node test/node-a are in the bucket" in log.read_text()
    assert "two: committed as generation 1" in log.read_text()
    assert "flush: 2 of 2 volumes" in process.text()
    assert all(len(generations(bucket, volume)) >= 1 for volume in volumes.values())
    assert str(cluster.target("node-a", "two")) in mounts_below(cluster.directory), "the pod's mount stays"
    cluster.restart("node-a")
    cluster.unpublish(volumes["two"], "node-a", pod="two")
    cluster.detach(volumes["one"], "node-a")


@pytest.mark.parametrize("last", ["deadline", "kill"])
def test_sigterm_says_what_did_not_make_it(make_node, bucket, tmp_path, last):
    log = tmp_path / "termination-log"
    log.touch()
    cluster = make_node(
        "--flush-on-termination", "3s" if last == "deadline" else "100s", "--termination-log", str(log),
        "--stage-out-bandwidth", "1Mi")
    volume = dirty(cluster, "much", 40)
    contents = (pathlib.Path(cluster.target("node-a", "much")) / "data").read_bytes()
    process = cluster.processes["node-a"]
    if last == "deadline":
        status, _ = terminated(cluster)
        assert status == 0, process.text()[-3000:]
        assert "0 of 1 volumes of node test/node-a are in the bucket" in log.read_text()
        assert "much: NOT in time (staging out" in log.read_text()
    else:
        process.process.send_signal(signal.SIGTERM)
        wait_for_words(process, "flushing the node's volumes")
        # It is in the middle of it.
        wait_for("a pack", lambda: [path for path in bucket.glob("lineages/*/packs/**/*") if path.is_file()])
        process.kill()
        assert log.read_text() == ""
    assert generations(bucket, volume) == []
    # Nothing is lost by that: the next process has it all.
    process.command = [word if word not in ("3s", "100s") else "0s" for word in process.command]
    process.command = [word if word != "1Mi" else "none" for word in process.command]
    cluster.restart("node-a")
    cluster.unpublish(volume, "node-a", pod="much")
    path = cluster.publish(volume, "node-a", pod="again")
    assert (path / "data").read_bytes() == contents
    cluster.unpublish(volume, "node-a", pod="again")
    cluster.perssd("verify", volume.volume_id)


def test_sigterm_alone_flushes_nothing_and_a_writer_goes_on(make_node, bucket):
    cluster = make_node("--stage-out-bandwidth", "1Mi")
    volume = dirty(cluster, "busy", 40)
    path = pathlib.Path(cluster.target("node-a", "busy"))
    with open(path / "log", "w") as log:
        status, seconds = terminated(cluster)
        # At that bandwidth a flush would take longer.
        assert status == 0 and seconds < 20
        log.write("still here")
        log.flush()
        os.fsync(log.fileno())
    assert generations(bucket, volume) == []
    assert "flushing the node's volumes" not in cluster.processes["node-a"].text()
    process = cluster.processes["node-a"]
    process.command = [word if word != "1Mi" else "none" for word in process.command]
    cluster.restart("node-a")
    cluster.unpublish(volume, "node-a", pod="busy")
