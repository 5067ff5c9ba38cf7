"""Processes that are killed, nodes that are lost, and who may write then."""

import json
import os
import re
import shutil
import subprocess
import time

import pytest

from cluster import MIB, csi, loops_below, mount, mounts_below, patiently, refused
from waiting import wait_for_words


def test_a_writer_goes_on_while_the_node_plugin_is_killed_and_comes_back(cluster):
    volume = cluster.create("survivor")
    path = cluster.publish(volume, "node-a")
    with open(path / "log", "w") as log:
        log.write("before\n")
        log.flush()
        cluster.processes["node-a"].kill()
        log.write("while the plugin is away\n")
        log.flush()
        os.fsync(log.fileno())
        cluster.restart("node-a")
        log.write("after\n")
    # A repeated publish finds what is there.
    assert cluster.publish(volume, "node-a") == path
    cluster.unpublish(volume, "node-a")
    path = cluster.publish(volume, "node-b")
    assert (path / "log").read_text() == "before\nwhile the plugin is away\nafter\n"
    cluster.unpublish(volume, "node-b")


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05, 0.1, 0.2, 0.4])
def test_a_kill_during_the_stage_out_loses_nothing(cluster, delay):
    volume = cluster.create("killed")
    path = cluster.publish(volume, "node-a")
    contents = os.urandom(30 * MIB)
    (path / "data").write_bytes(contents)
    call = cluster.node("node-a").NodeUnpublishVolume.future(
        csi.NodeUnpublishVolumeRequest(volume_id=volume.volume_id, target_path=str(path)), timeout=60)
    time.sleep(delay)
    cluster.processes["node-a"].kill()
    call.exception()
    cluster.restart("node-a")
    cluster.unpublish(volume, "node-a")
    path = cluster.publish(volume, "node-b")
    assert (path / "data").read_bytes() == contents
    cluster.unpublish(volume, "node-b")
    cluster.perssd("verify", volume.volume_id)


@pytest.mark.parametrize("delay", [0.0, 0.03, 0.1, 0.3])
def test_a_kill_during_the_restore_serves_nothing_half(cluster, delay):
    volume = cluster.create("half")
    path = cluster.publish(volume, "node-a")
    contents = os.urandom(30 * MIB)
    (path / "data").write_bytes(contents)
    cluster.unpublish(volume, "node-a")
    attached = patiently(lambda: cluster.controller.ControllerPublishVolume(
        csi.ControllerPublishVolumeRequest(
            volume_id=volume.volume_id, node_id="node-b", volume_capability=mount()), timeout=60))
    call = cluster.node("node-b").NodePublishVolume.future(
        csi.NodePublishVolumeRequest(
            volume_id=volume.volume_id, publish_context=attached.publish_context,
            target_path=cluster.target("node-b", "pod"), volume_capability=mount()), timeout=60)
    time.sleep(delay)
    cluster.processes["node-b"].kill()
    call.exception()
    cluster.restart("node-b")
    path = cluster.publish(volume, "node-b")
    assert (path / "data").read_bytes() == contents
    cluster.unpublish(volume, "node-b")


def test_two_nodes_never_hold_a_volume(cluster):
    volume = cluster.create("one-writer")
    cluster.publish(volume, "node-a")
    message = refused("FAILED_PRECONDITION", lambda: cluster.publish(volume, "node-b"))
    assert "node-a" in message
    # Without the controller, either.
    message = refused("FAILED_PRECONDITION", lambda: cluster.node("node-b").NodePublishVolume(
        csi.NodePublishVolumeRequest(
            volume_id=volume.volume_id, target_path=cluster.target("node-b", "pod"), volume_capability=mount()),
        timeout=60))
    assert "node-a" in message
    cluster.unpublish(volume, "node-a")


def test_a_node_takes_the_lease_itself_where_nobody_attaches(cluster):
    volume = cluster.create("unattached")
    for name, text in (("node-a", "one"), ("node-b", "two")):
        target = cluster.target(name, "pod")
        patiently(lambda: cluster.node(name).NodePublishVolume(
            csi.NodePublishVolumeRequest(
                volume_id=volume.volume_id, target_path=target, volume_capability=mount()), timeout=60))
        with open(os.path.join(target, "log"), "a") as log:
            log.write(text)
        if text == "two":
            assert open(os.path.join(target, "log")).read() == "onetwo"
        cluster.unpublish(volume, name, detach=False)
    cluster.delete(volume)


def test_a_lost_node_is_fenced_and_its_work_becomes_a_branch(cluster):
    volume = cluster.create("lost", parameters={"nodeLossTimeout": "1s"})
    path = cluster.publish(volume, "node-a")
    (path / "committed").write_text("generation 1")
    cluster.unpublish(volume, "node-a")
    path = cluster.publish(volume, "node-a")
    (path / "uncommitted").write_text("never staged out")
    cluster.processes["node-a"].kill()
    # Its record says until when it counts as alive: three intervals of 30 s are too long for a test.
    cluster.age_node("node-a")
    cluster.detach(volume, "node-a")
    assert "revoked" in cluster.processes["controller"].text()

    path = cluster.publish(volume, "node-b")
    assert sorted(os.listdir(path)) == ["committed", "lost+found"]
    (path / "by node b").write_text("generation 2")
    cluster.unpublish(volume, "node-b")

    # The node comes back: what it wrote is kept, and does not replace what was committed since.
    subprocess.run(["umount", str(cluster.target("node-a", "pod"))], check=True)
    cluster.restart("node-a")
    wait_for_words(cluster.processes["node-a"], "the work is kept as a branch")
    path = cluster.publish(volume, "node-a")
    assert sorted(os.listdir(path)) == ["by node b", "committed", "lost+found"]
    cluster.unpublish(volume, "node-a")


def forget_pool(cluster, node, path):
    """The machine comes back with the same name, and nothing else."""
    cluster.processes[node].kill()
    subprocess.run(["umount", "--recursive", str(path)], check=True)
    for place in mounts_below(cluster.directory / node):
        subprocess.run(["umount", place], check=True)
    for device in loops_below(cluster.directory / node):
        subprocess.run(["losetup", "--detach", f"/dev/{device}"], check=True)
    for name in ("pool", "state"):
        shutil.rmtree(cluster.directory / node / name)
    (cluster.directory / node / "pool").mkdir()
    cluster.restart(node)


def test_a_node_that_lost_its_pool_says_what_is_lost(cluster):
    volume = cluster.create("gone")
    path = cluster.publish(volume, "node-a")
    (path / "kept").write_text("committed")
    cluster.unpublish(volume, "node-a")
    path = cluster.publish(volume, "node-a")
    (path / "lost").write_text("in no generation")
    forget_pool(cluster, "node-a", path)
    # The pod that kubelet starts again there has its old epoch: it must not go back in time without a word.
    request = csi.NodePublishVolumeRequest(
        volume_id=volume.volume_id, publish_context={"epoch": "2", "incarnation": volume.volume_context["incarnation"]},
        target_path=str(path), volume_capability=mount())
    message = refused("FAILED_PRECONDITION", lambda: cluster.node("node-a").NodePublishVolume(request, timeout=60))
    assert "taken back" in message
    loss = json.loads(cluster.perssd("lease", volume.volume_id, "--json").stdout)["loss"]
    assert (loss["node"], loss["newestGeneration"], loss["epoch"]) == ("test/node-a", 1, 2)
    # Attached again, it goes on.
    path = cluster.publish(volume, "node-a")
    assert (path / "kept").read_text() == "committed" and not (path / "lost").exists()
    # Its pod is gone with the machine: detaching waits for nothing.
    forget_pool(cluster, "node-a", path)
    cluster.node("node-a").NodeUnpublishVolume(
        csi.NodeUnpublishVolumeRequest(volume_id=volume.volume_id, target_path=str(path)), timeout=60)
    cluster.detach(volume, "node-a")
    assert json.loads(cluster.perssd("lease", volume.volume_id, "--json").stdout)["loss"]["epoch"] == 4
    path = cluster.publish(volume, "node-b")
    assert (path / "kept").read_text() == "committed"
    cluster.unpublish(volume, "node-b")


def test_a_node_that_lost_its_pool_is_asked_when_the_volume_is_detached(cluster):
    volume = cluster.create("gone-unasked")
    path = cluster.publish(volume, "node-a")
    (path / "kept").write_text("committed")
    cluster.unpublish(volume, "node-a")
    path = cluster.publish(volume, "node-a")
    (path / "lost").write_text("in no generation")
    forget_pool(cluster, "node-a", path)
    # Kubelet has forgotten the pod with the machine, and calls nothing on the node.
    path.rmdir()
    cluster.detach(volume, "node-a")
    loss = json.loads(cluster.perssd("lease", volume.volume_id, "--json").stdout)["loss"]
    assert (loss["node"], loss["newestGeneration"], loss["epoch"]) == ("test/node-a", 1, 2)
    # The controller goes by the head, which the node changes before it says so.
    wait_for_words(cluster.processes["node-a"], "and its local copy is gone")
    path = cluster.publish(volume, "node-b")
    assert (path / "kept").read_text() == "committed" and not (path / "lost").exists()
    cluster.unpublish(volume, "node-b")


def test_a_second_controller_changes_nothing(cluster):
    other = cluster.start_controller("controller-2").controller
    names = [f"twice-{index}" for index in range(10)]
    calls = []
    for name in names:
        request = csi.CreateVolumeRequest(
            name=name, capacity_range=csi.CapacityRange(required_bytes=64 * MIB), volume_capabilities=[mount()])
        calls += [stub.CreateVolume.future(request, timeout=60) for stub in (cluster.controller, other)]
    ids = [call.result().volume.volume_id for call in calls]
    assert ids[0::2] == ids[1::2]
    listed = [entry.volume.volume_id for entry in other.ListVolumes(csi.ListVolumesRequest(), timeout=60).entries]
    assert set(ids) <= set(listed) and len(listed) == len(set(listed))


def test_sigterm_ends_the_processes_gracefully_and_leaves_no_socket(cluster):
    volume = cluster.create("graceful")
    path = cluster.publish(volume, "node-a")
    assert cluster.processes["node-a"].stop() == 0
    assert not os.path.exists(cluster.processes["node-a"].socket_path)
    assert str(path) in mounts_below(cluster.directory), "the pod's mount stays"
    cluster.restart("node-a")
    cluster.unpublish(volume, "node-a")
    assert mounts_below(cluster.directory) == []
    assert loops_below(cluster.directory) == []
