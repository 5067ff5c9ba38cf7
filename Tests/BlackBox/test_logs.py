"""What the processes log: one line for each call, as text or JSON, without secrets, at a level that can be changed."""

import json
import pathlib
import re
import signal
import tempfile

import pytest

from cluster import Cluster, MIB, csi, mount, patiently, refused
from waiting import wait_for, wait_for_words

SECRET = "not-to-be-seen-8f3a"


@pytest.fixture
def make(binaries, workplace):
    """Makes a cluster on a directory as the bucket; the level is what its settings say."""
    clusters = []

    def cluster():
        bucket = tempfile.mkdtemp(prefix="bucket-", dir=workplace)
        clusters.append(Cluster(
            binaries, pathlib.Path(tempfile.mkdtemp(prefix="cluster-", dir=workplace)), ([f"file://{bucket}"], {})))
        return clusters[-1]

    yield cluster
    for cluster in clusters:
        cluster.__exit__()


def lines(process, fresh=0):
    """Those that are whole."""
    return [json.loads(line) for line in process.text().split("\n")[fresh:-1]]


def calls(process, method, isOK=True):
    return [line for line in lines(process) if line["message"] == method and (line["code"] == "OK") == isOK]


def wait_for_calls(process, method, isOK=True):
    """A call's line may come after its answer."""
    return wait_for(
        f"the line of {method}", lambda: calls(process, method, isOK), over=process.has_ended)


def test_each_call_is_one_line_with_what_it_is_about(make):
    cluster = make()
    controller = cluster.start_controller(arguments=["--log-format", "json"])
    node = cluster.start_node("node-a", arguments=["--log-format", "json"])
    volume = cluster.create("logged")
    cluster.publish(volume, "node-a")
    cluster.unpublish(volume, "node-a")
    snapshot = patiently(lambda: cluster.controller.CreateSnapshot(
        csi.CreateSnapshotRequest(name="picture", source_volume_id=volume.volume_id), timeout=60)).snapshot
    cluster.controller.DeleteSnapshot(csi.DeleteSnapshotRequest(snapshot_id=snapshot.snapshot_id), timeout=60)
    cluster.controller.ControllerExpandVolume(csi.ControllerExpandVolumeRequest(
        volume_id=volume.volume_id, capacity_range=csi.CapacityRange(required_bytes=300 * MIB),
        volume_capability=mount()), timeout=60)
    refused("INVALID_ARGUMENT", lambda: cluster.create(""))
    cluster.delete(volume)
    about = {"volume": volume.volume_id}
    for process, method, fields in (
            (controller, "CreateVolume", {"name": "logged"}),
            (controller, "ControllerPublishVolume", {**about, "target": "node-a"}),
            (controller, "ControllerUnpublishVolume", {**about, "target": "node-a"}),
            (controller, "CreateSnapshot", {**about, "name": "picture"}),
            (controller, "DeleteSnapshot", {"snapshot": snapshot.snapshot_id}),
            (controller, "ControllerExpandVolume", about),
            (controller, "DeleteVolume", about),
            (node, "NodePublishVolume", about),
            (node, "NodeUnpublishVolume", about)):
        found = wait_for_calls(process, method)
        assert len(found) == 1, (method, found)
        line = found[0]
        assert fields.items() <= line.items() and line["level"] == "info", (method, line)
        assert int(line["ms"]) >= 0 and re.fullmatch(r"\d{4}-\d\d-\d\dT[\d:.]+Z", line["time"]), line
        assert line["node"], line
    failed = wait_for_calls(controller, "CreateVolume", isOK=False)
    assert [line["code"] for line in failed] == ["INVALID_ARGUMENT"] and "name" in failed[0]["error"]


def test_secrets_are_not_in_it(make):
    cluster = make()
    controller = cluster.start_controller(arguments=["--log-level", "trace"])
    node = cluster.start_node("node-a", arguments=["--log-level", "trace"])
    secrets = {"token": SECRET}
    request = csi.CreateVolumeRequest(
        name="secretive", capacity_range=csi.CapacityRange(required_bytes=64 * MIB), volume_capabilities=[mount()],
        secrets=secrets)
    volume = patiently(lambda: cluster.controller.CreateVolume(request, timeout=60)).volume
    attached = patiently(lambda: cluster.controller.ControllerPublishVolume(csi.ControllerPublishVolumeRequest(
        volume_id=volume.volume_id, node_id="node-a", volume_capability=mount(), secrets=secrets), timeout=60))
    patiently(lambda: cluster.node("node-a").NodePublishVolume(csi.NodePublishVolumeRequest(
        volume_id=volume.volume_id, publish_context=attached.publish_context,
        target_path=cluster.target("node-a", "pod"), volume_capability=mount(), secrets=secrets), timeout=60))
    cluster.unpublish(volume, "node-a")
    for process, method in ((controller, "CreateVolume"), (node, "NodePublishVolume")):
        # The whole request is in the log, but for the secret.
        wait_for(f"all of {method}", lambda: re.search(rf"DEBUG {method} began .*secrets(.|\n)* {method} code=OK", process.text()),
                 over=process.has_ended)
        assert SECRET not in process.text()


@pytest.mark.parametrize("program", ["perssd-node", "perssd-controller"])
def test_the_level_is_changed_while_a_process_runs(make, program):
    cluster = make()
    file = cluster.directory / "perssd.yaml"
    file.write_text("log:\n  level: info\n  format: json\n")
    cluster.log_level = None
    arguments = ["--config", str(file)]
    process = (cluster.start_controller(arguments=arguments) if program == "perssd-controller"
               else cluster.start_node("node-a", arguments=arguments))

    def call_and_see(*methods):
        """Of a probe, which is logged at debug only, and another call, which is from info on, exactly these get a line."""
        fresh = len(lines(process))
        process.identity.Probe(csi.ProbeRequest(), timeout=30)
        process.identity.GetPluginInfo(csi.GetPluginInfoRequest(), timeout=30)

        def seen():
            return {line["message"] for line in lines(process, fresh) if "code" in line}

        wait_for(f"lines of {methods}", seen, lambda found: found >= set(methods), over=process.has_ended)
        assert seen() == set(methods)

    def send(what, text):
        count = process.text().count(text) + 1
        process.process.send_signal(what)
        wait_for_words(process, text, count)

    call_and_see("GetPluginInfo")
    file.write_text("log:\n  level: debug\n  format: json\n")
    call_and_see("GetPluginInfo")
    send(signal.SIGHUP, "the log level is debug")
    call_and_see("Probe", "GetPluginInfo")
    # A file that cannot be read changes nothing, and ends nothing.
    file.write_text("log:\n  levle: error\n")
    send(signal.SIGHUP, "the log level stays")
    assert any("unknown key log.levle" in str(line) for line in lines(process))
    call_and_see("Probe", "GetPluginInfo")
    # Whatever is logged at all, the change is.
    file.write_text("log:\n  level: critical\n  format: json\n")
    send(signal.SIGHUP, "the log level is critical")
    fresh = len(lines(process))
    call_and_see()
    # To debug, and back to what the file said.
    send(signal.SIGUSR1, "the log level is debug")
    # What came in between is there by now, too.
    assert "the log level is debug" in lines(process, fresh)[0]["message"]
    call_and_see("Probe", "GetPluginInfo")
    send(signal.SIGUSR1, "the log level is critical")
    fresh = len(lines(process))
    call_and_see()
    assert process.stop() == 0
    assert lines(process, fresh) == []
