"""Parameters that change while a volume lives: a VolumeAttributesClass."""

import os
import time

import pytest

from cluster import MIB, csi, mount, patiently, refused


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


@pytest.mark.parametrize("agent", ["reached", "not reached"])
def test_a_published_volume_is_checkpointed_as_soon_as_it_is_told_to_be(reflink_pool, cluster, agent):
    cluster.start_node("node-x", pool=reflink_pool, size="1GiB")
    volume = cluster.create("interval", size=64 * MIB)
    path = cluster.publish(volume, "node-x")
    (path / "file").write_bytes(os.urandom(MIB))
    if agent == "not reached":
        # Its record goes, and with it all that controllers know of the agent.
        cluster.age_node("node-x")
    modify(cluster, volume, checkpointInterval="10s")
    # The node looks by itself once a minute.
    deadline = time.monotonic() + (20 if agent == "reached" else 85)
    while "gen" not in (text := cluster.perssd("log", volume.volume_id).stdout) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert "gen" in text
    cluster.unpublish(volume, "node-x")


def test_a_volume_is_made_with_its_attributes_and_obeys_others_at_once(cluster):
    request = csi.CreateVolumeRequest(
        name="paced", capacity_range=csi.CapacityRange(required_bytes=64 * MIB), volume_capabilities=[mount()],
        mutable_parameters={"stageOutBandwidth": "1Mi", "stageOut": "background"})
    volume = patiently(lambda: cluster.controller.CreateVolume(request, timeout=60)).volume
    path = cluster.publish(volume, "node-a")
    (path / "file").write_bytes(os.urandom(30 * MIB))
    begin = time.monotonic()
    cluster.unpublish(volume, "node-a", detach=False)
    # In the background: the pod is gone at once, and the volume stays with its node for half a minute.
    assert time.monotonic() - begin < 10
    time.sleep(max(0, begin + 8 - time.monotonic()))
    refused("ABORTED", lambda: cluster.controller.ControllerUnpublishVolume(
        csi.ControllerUnpublishVolumeRequest(volume_id=volume.volume_id, node_id="node-a"), timeout=2))
    modify(cluster, volume, stageOutBandwidth="none")
    cluster.detach(volume, "node-a")
    assert time.monotonic() - begin < 22
    cluster.perssd("verify", volume.volume_id)
