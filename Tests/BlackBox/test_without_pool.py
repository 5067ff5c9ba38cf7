"""A node that lacks what its pool is made of says so, serves what it can, and is not started anew for ever."""

import pathlib
import re
import socket
import tempfile
import time
import urllib.error
import urllib.request

import grpc
import pytest

from cluster import MIB, Cluster, csi, mount, refused
from waiting import wait_for, wait_for_words

# No drive is like this, on no machine, so that no machine's drives are touched.
WITHOUT_DRIVES = """
pools:
  - name: default
    volumeGroup: perssd-none
    create: true
    drives:
      model: THERE IS NO SUCH DRIVE
"""


@pytest.fixture
def cluster(binaries, workplace, tmp_path):
    """A controller, a node that has its pool, and a configuration of one that lacks it."""
    bucket = tmp_path / "bucket"
    bucket.mkdir()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="without-", dir=workplace))
    with Cluster(binaries, directory, ([f"file://{bucket}"], {})) as cluster:
        cluster.start_controller()
        cluster.start_node("node-b")
        yield cluster


def start_without_drives(cluster, more="", arguments=()):
    (cluster.directory / "node-a" / "pods").mkdir(parents=True)
    settings = cluster.directory / "node-a" / "perssd.yaml"
    settings.write_text(WITHOUT_DRIVES + more)
    return cluster._start("node-a", "perssd-node", [
        "--node-id", "node-a", "--config", str(settings), "--metrics-listen", "127.0.0.1:0",
        "--state-directory", str(cluster.directory / "node-a" / "state"), *arguments])


def asked(node, path):
    address = re.search(r"metrics are served .*endpoint=tcp://(\S+)\s", node.text()).group(1)
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def topology(node):
    return dict(node.node.NodeGetInfo(csi.NodeGetInfoRequest(), timeout=30).accessible_topology.segments)


def test_a_node_without_drives_is_harmless_and_says_so(cluster):
    node = start_without_drives(cluster)
    assert topology(node) == {"topology.csi.perssd.io/node": "node-a"}
    assert node.identity.Probe(csi.ProbeRequest(), timeout=30).ready.value
    status, text = asked(node, "/readyz")
    assert status == 200 and text.startswith("ready") and "without the pool 'default'" in text
    assert "none can be used for the pool" in text
    assert 'perssd_pool_missing{pool="default"} 1' in asked(node, "/metrics")[1]
    errors = [line for line in node.text().splitlines() if " ERROR " in line]
    assert len(errors) == 1 and "the node does without the pool 'default'" in errors[0], errors
    assert "correct the selection" in errors[0]

    # The cluster places nothing there.
    def capacity(name):
        place = csi.Topology(segments={"topology.csi.perssd.io/node": name})
        return cluster.controller.GetCapacity(
            csi.GetCapacityRequest(accessible_topology=place), timeout=30).available_capacity
    assert capacity("node-a") == 0 and capacity("node-b") > 0
    volume = cluster.create("elsewhere", size=64 * MIB)
    message = refused("FAILED_PRECONDITION", lambda: cluster.publish(volume, "node-a"))
    assert "node-a has no pool 'default'" in message
    # Nor where nobody asks the controller.
    message = refused("FAILED_PRECONDITION", lambda: node.node.NodePublishVolume(
        csi.NodePublishVolumeRequest(
            volume_id=volume.volume_id, target_path=cluster.target("node-a", "pod"), volume_capability=mount()),
        timeout=60))
    assert "belongs to pool 'default', which this node lacks" in message and "none can be used" in message
    # Nothing is in the way of the volume elsewhere.
    path = cluster.publish(volume, "node-b")
    (path / "data").write_text("kept")
    cluster.unpublish(volume, "node-b")
    # An unpublish of what never was there is fine, as always.
    node.node.NodeUnpublishVolume(
        csi.NodeUnpublishVolumeRequest(
            volume_id=volume.volume_id, target_path=cluster.target("node-a", "pod")), timeout=60)
    assert not node.has_ended()
    assert node.stop() == 0


def test_the_other_pools_of_a_node_work_beside_one_that_is_missing(cluster):
    node = start_without_drives(
        cluster, f"  - name: scratch\n    directory: {cluster.directory}/node-a/pool\n    size: 1GiB\n")
    assert topology(node) == {
        "topology.csi.perssd.io/node": "node-a", "pool.csi.perssd.io/scratch": "true"}
    metrics = asked(node, "/metrics")[1]
    assert 'perssd_pool_missing{pool="default"} 1' in metrics and 'perssd_pool_missing{pool="scratch"} 0' in metrics
    volume = cluster.create("here", size=64 * MIB, parameters={"pool": "scratch"})
    path = cluster.publish(volume, "node-a")
    (path / "data").write_text("kept")
    cluster.unpublish(volume, "node-a")
    path = cluster.publish(volume, "node-a")
    assert (path / "data").read_text() == "kept"
    cluster.unpublish(volume, "node-a")


def test_kubelet_hears_of_a_pool_that_was_missing_before(cluster):
    """The registrar lives on, so that kubelet would not ask again: its socket goes, and with the next one kubelet asks."""
    path = cluster.directory / "csi.perssd.io-reg.sock"
    arguments = ["--registration-socket", str(path)]

    def notices(node):
        return node.text().count("kubelet was told of other pools than this node has now")

    def register():
        registrar = socket.socket(socket.AF_UNIX)
        registrar.bind(str(path))
        registrar.listen()
        return registrar

    with register():
        scratch = f"  - name: scratch\n    directory: {cluster.directory}/node-a/pool\n    size: 1GiB\n"
        node = start_without_drives(cluster, scratch, arguments)
        assert set(topology(node)) == {"topology.csi.perssd.io/node", "pool.csi.perssd.io/scratch"}
        assert node.stop() == 0
        # The next process finds the pool.
        settings = cluster.directory / "node-a" / "perssd.yaml"
        settings.write_text(
            f"pools:\n  - name: default\n    directory: {cluster.directory}/node-a/default\n    size: 1GiB\n" + scratch)
        node = cluster.restart("node-a")
        # The registrar of a new pod comes to it by itself.
        time.sleep(10)
        assert path.exists() and notices(node) == 0
        wait_for("that the registrar's socket goes", path.exists, lambda there: not there, over=node.has_ended)
        # It is said after that.
        wait_for_words(node, "kubelet was told of other pools than this node has now")
        assert notices(node) == 1, node.text()[-3000:]
    # The registrar's probe has started it again, and kubelet asks.
    with register():
        assert set(topology(node)) == {
            "topology.csi.perssd.io/node", "pool.csi.perssd.io/default", "pool.csi.perssd.io/scratch"}
        assert node.stop() == 0
        # An ordinary restart.
        node = cluster.restart("node-a")
        time.sleep(25)
        assert path.exists() and notices(node) == 1


def test_settings_that_cannot_be_still_end_the_plugin(cluster):
    """What no drive and no kernel would put right is for whoever wrote it."""
    for text, code, message in (
            ("pools:\n  - volumeGroup: perssd-none\n    create: true\n    drives: {path: /dev/perssd-none}\n", 3,
             "the drive /dev/perssd-none is not there"),
            ("pools:\n  - volumeGroup: perssd-none\n", 3, "there is no volume group 'perssd-none'"),
            ("pools:\n  - volumeGroup: perssd-none\n    create: true\n", 2, "no drives are given")):
        (cluster.directory / "bad").mkdir(exist_ok=True)
        settings = cluster.directory / "bad" / "perssd.yaml"
        settings.write_text(text)
        with pytest.raises(RuntimeError) as caught:
            cluster._start("bad", "perssd-node", [
                "--node-id", "bad", "--config", str(settings), "--state-directory", str(cluster.directory / "bad")])
        assert message in str(caught.value), message
