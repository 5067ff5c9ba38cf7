"""A mirror of two drives that loses one under a pod."""

import json
import os
import subprocess

import grpc
import pytest

from cluster import MIB, csi
from pools import MirroredPools, lvm


@pytest.fixture
def mirrored(nodes, binaries, workplace, seaweedfs):
    node = nodes["node-a"]
    cluster = MirroredPools(binaries, workplace, seaweedfs, {"node-a": node})
    try:
        cluster.bring_up()
        yield cluster
    finally:
        cluster.stop()
        # The drive that was pulled out would be back with the next boot, and take itself for a part of the group.
        node.kill()
        for serial in [*MirroredPools.DRIVES, MirroredPools.SPARE]:
            node.empty_drive(serial)
        cluster.__exit__()


def layout(node):
    """What device each part of the mirrors lies on, by the part's name."""
    report = lvm(node, "lvs", "-a", "--reportformat", "json", "-o", "lv_name,devices", MirroredPools.GROUP).text
    return {part["lv_name"]: part["devices"] for part in json.loads(report)["report"][0]["lv"]}


def test_a_mirror_that_lost_a_drive_serves_its_pod_and_its_data_come_out(mirrored):
    node, group = mirrored.nodes["node-a"], MirroredPools.GROUP
    volume = mirrored.create("mirrored", size=64 * MIB)
    path = mirrored.publish(volume, "node-a")
    before, after = os.urandom(4 * MIB), os.urandom(4 * MIB)
    node.write(path / "before", before)
    node.pull_out(MirroredPools.DRIVE)
    node.write(path / "after", after)
    assert node.read(path / "after") == after

    # LVM changes nothing while a drive is missing, so there is no cut, and the volume stays dirty.
    with pytest.raises(grpc.RpcError, match="while PVs are missing.*vgreduce --removemissing --mirrorsonly") as refused:
        mirrored.node("node-a").NodeUnpublishVolume(
            csi.NodeUnpublishVolumeRequest(volume_id=volume.volume_id, target_path=str(path)), timeout=60)
    assert refused.value.code() == grpc.StatusCode.UNAVAILABLE
    # What the error says to do.
    lvm(node, "vgreduce", "--removemissing", "--mirrorsonly", "--force", group)
    mirrored.unpublish(volume, "node-a")
    check_contents(mirrored, volume, {"before": before, "after": after})

    # One drive goes on as the pool, and a second makes it a mirror again, while a pod uses it.
    path = mirrored.publish(volume, "node-a")
    assert node.read(path / "after") == after
    spare = node.device(MirroredPools.SPARE)
    lvm(node, "vgextend", group, spare)
    for part in ("perssd_tdata", "perssd_tmeta"):
        lvm(node, "lvconvert", "--yes", "--repair", f"{group}/{part}")
        assert f"{spare}(" in layout(node)[f"[{part}_rimage_1]"]
    node.write(path / "mirrored", b"again")
    mirrored.unpublish(volume, "node-a")
    check_contents(mirrored, volume, {"before": before, "after": after, "mirrored": b"again"})


def check_contents(cluster, volume, files):
    """Of the newest generation, as the bucket has it."""
    image = cluster.directory / "restored.img"
    cluster.perssd("restore", volume.volume_id, "--to", str(image))
    for name, contents in files.items():
        found = subprocess.run(["debugfs", "-R", f"cat /{name}", str(image)], check=True, capture_output=True).stdout
        assert found == contents, name
    image.unlink()
