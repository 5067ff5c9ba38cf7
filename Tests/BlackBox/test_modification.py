"""Parameters that change while a volume lives: a VolumeAttributesClass."""

import json
import os
import signal
import time

import pytest

from cluster import MIB, csi, mount, patiently, refused
from waiting import wait_for


def modify(cluster, volume, **parameters):
    cluster.controller.ControllerModifyVolume(
        csi.ControllerModifyVolumeRequest(volume_id=volume.volume_id, mutable_parameters=parameters), timeout=30)


def test_what_is_announced_and_what_is_refused(cluster):
    kinds = csi.ControllerServiceCapability.RPC.Type
    answer = cluster.controller.ControllerGetCapabilities(csi.ControllerGetCapabilitiesRequest(), timeout=10)
    assert kinds.Value("MODIFY_VOLUME") in [one.rpc.type for one in answer.capabilities]
    volume = cluster.create("refused", size=64 * MIB)
    for parameters in ({"iops": "3"}, {"pool": "fast", "compressionLevel": "3"}, {"stageOutBandwidth": "1"}):
        assert "stageOutBandwidth" in refused("INVALID_ARGUMENT", lambda: modify(cluster, volume, **parameters))
    modify(cluster, volume, compressionLevel="3")
    cluster.delete(volume)
    refused("NOT_FOUND", lambda: modify(cluster, volume, compressionLevel="3"))


def wait_for_generation(cluster, volume):
    return wait_for(
        "a generation of a published volume",
        lambda: json.loads(cluster.perssd("log", volume.volume_id, "--json").stdout)["generations"], pause=0.5)


def test_a_published_volume_is_checkpointed_as_soon_as_it_is_told_to_be(reflink_pool, cluster):
    begin = time.monotonic()
    cluster.start_node("node-x", pool=reflink_pool, size="1GiB")
    volume = cluster.create("interval", size=64 * MIB)
    path = cluster.publish(volume, "node-x")
    (path / "file").write_bytes(os.urandom(MIB))
    modify(cluster, volume, checkpointInterval="10s")
    wait_for_generation(cluster, volume)
    # By itself the node looks a minute after its start.
    assert time.monotonic() - begin < 60
    cluster.unpublish(volume, "node-x")


@pytest.mark.parametrize("store", ["directory"], indirect=True)
def test_a_node_that_could_not_be_told_looks_by_itself(reflink_pool, cluster):
    node = cluster.start_node("node-x", pool=reflink_pool, size="1GiB")
    volume = cluster.create("interval", size=64 * MIB)
    path = cluster.publish(volume, "node-x")
    (path / "file").write_bytes(os.urandom(MIB))
    # It is silent for so long that controllers take it for dead, and does not report in between.
    node.process.send_signal(signal.SIGSTOP)
    try:
        cluster.age_node("node-x")
        modify(cluster, volume, checkpointInterval="10s")
        assert "its node learns of it a little later" in cluster.processes["controller"].text()
    finally:
        node.process.send_signal(signal.SIGCONT)
    wait_for_generation(cluster, volume)
    cluster.unpublish(volume, "node-x")


def test_a_volume_is_made_with_its_attributes_and_obeys_others_at_once(cluster):
    request = csi.CreateVolumeRequest(
        name="paced", capacity_range=csi.CapacityRange(required_bytes=64 * MIB), volume_capabilities=[mount()],
        mutable_parameters={"stageOutBandwidth": "1Mi", "stageOut": "background"})
    volume = patiently(lambda: cluster.controller.CreateVolume(request, timeout=60)).volume
    path = cluster.publish(volume, "node-a")
    (path / "file").write_bytes(os.urandom(48 * MIB))
    begin = time.monotonic()
    cluster.unpublish(volume, "node-a", detach=False)
    # In the background: the pod is gone at once, and the volume stays with its node for three quarters of a minute, unless it is
    # told otherwise.
    assert time.monotonic() - begin < 20
    refused("ABORTED", lambda: cluster.controller.ControllerUnpublishVolume(
        csi.ControllerUnpublishVolumeRequest(volume_id=volume.volume_id, node_id="node-a"), timeout=10))
    modify(cluster, volume, stageOutBandwidth="none")
    cluster.detach(volume, "node-a")
    assert time.monotonic() - begin < 40
    cluster.perssd("verify", volume.volume_id)
