"""Group snapshots on real drives: what each kind of pool can hold still."""

import concurrent.futures
import json
import re
import subprocess
import sys
import time

import grpc

from cluster import MIB, csi, mount, patiently, refused, until_ready
from pools import ThinPools


def make(cluster, name, volumes):
    request = csi.CreateVolumeGroupSnapshotRequest(name=name, source_volume_ids=[v.volume_id for v in volumes])
    return cluster.groups.CreateVolumeGroupSnapshot(request, timeout=60).group_snapshot


def ready(cluster, name, volumes, seconds=120):
    return until_ready(lambda: make(cluster, name, volumes), seconds)


def listed(cluster):
    return cluster.controller.ListSnapshots(csi.ListSnapshotsRequest(), timeout=60).entries


def test_one_volume_that_is_written_and_others(cluster, kind):
    names = ("node-a", "node-b")
    volumes = [cluster.create(f"group-{name}", size=64 * MIB) for name in names]
    paths = [cluster.publish(volume, name) for volume, name in zip(volumes, names)]
    for path, name in zip(paths, names):
        cluster.nodes[name].write(path / "file", f"on {name}".encode())
        cluster.nodes[name].run("sync", path / "file")
    before = len(listed(cluster))
    if kind == ThinPools.KIND:
        # With this kernel, device-mapper holds a volume for its own cut only.
        message = refused("FAILED_PRECONDITION", lambda: make(cluster, "both", volumes))
        assert "for its own cut only, on Linux 6.1." in message
        assert len(listed(cluster)) == before
    else:
        ready(cluster, "both", volumes)
        assert len(listed(cluster)) == before + 2
    cluster.unpublish(volumes[1], "node-b")

    made = ready(cluster, "one", volumes)
    snapshot = next(s for s in made.snapshots if s.source_volume_id == volumes[0].volume_id)
    copy = patiently(lambda: cluster.controller.CreateVolume(csi.CreateVolumeRequest(
        name="copy of one", volume_capabilities=[mount()],
        volume_content_source=csi.VolumeContentSource(snapshot=csi.VolumeContentSource.SnapshotSource(
            snapshot_id=snapshot.snapshot_id))), timeout=60).volume)
    there = cluster.publish(copy, "node-b", pod="copy")
    assert cluster.nodes["node-b"].read(there / "file") == b"on node-a"
    cluster.unpublish(copy, "node-b", pod="copy")
    cluster.unpublish(volumes[0], "node-a")


# Writes a number to one file after the other, and goes on to the next number when all have it, each synced before the next.
WRITER = """
import os, sys, time
files = [os.open(path, os.O_WRONLY | os.O_CREAT) for path in sys.argv[1:]]
number = 0
while True:
    number += 1
    for file in files:
        os.pwrite(file, b"%020d" % number, 0)
        os.fsync(file)
    time.sleep(0.01)
"""


# To mount without a look into a journal: what is frozen needs none.
OPTIONS = {"ext4": "noload", "xfs": "norecovery", "btrfs": "rescue=nologreplay"}


def number_in(cluster, group, volume, options):
    """What the writer's file has in a group's snapshot of a volume, which is restored here for that."""
    history = json.loads(cluster.perssd("log", volume.volume_id, "--json").stdout)["generations"]
    prefix = f"{group}/{volume.volume_id}/"
    number, = [g["number"] for g in history if any(name.startswith(prefix) for name in g["snapshots"])]
    image, place = (cluster.directory / f"{volume.volume_id}.{what}" for what in ("image", "mounted"))
    cluster.perssd("restore", f"{volume.volume_id}@{number}", "--to", str(image))
    place.mkdir()
    subprocess.run(["mount", "-o", f"loop,ro,{options}", image, place], check=True)
    try:
        return int((place / "number").read_text())
    finally:
        subprocess.run(["umount", place], check=True)


def kill_while_it_holds(cluster, volumes):
    """Kills the plugin while all of the volumes stand still, and at most one is cut."""
    plugin, node = cluster.processes["newer"], cluster.nodes["newer"]
    with concurrent.futures.ThreadPoolExecutor() as pool:
        call = pool.submit(make, cluster, "all", volumes)
        deadline = time.monotonic() + 60
        # One guard for each, and they hold for seconds.
        while len(node.run("pgrep", "-x", "perssd-thaw", check=False).text.split()) < len(volumes):
            assert time.monotonic() < deadline and not call.done()
            time.sleep(0.02)
        plugin.kill()
        assert isinstance(call.exception(), grpc.RpcError)


def test_thin_volumes_that_are_written_are_cut_at_one_moment(newer_node):
    """Where the kernel can freeze what is frozen: Linux 6.8 or later."""
    cluster, node = newer_node, newer_node.nodes["newer"]
    kinds = {"ext4": 64 * MIB, "xfs": 320 * MIB, "btrfs": 128 * MIB}
    volumes = {kind: cluster.create(kind, size=size, capability=mount(kind)) for kind, size in kinds.items()}
    places = [cluster.publish(volumes[kind], "newer", pod=kind, capability=mount(kind)) for kind in kinds]

    def written():
        # The last one to be written: what is before it may be one ahead.
        return int(node.read(places[-1] / "number"))

    def goes_on():
        reached, deadline = written(), time.monotonic() + 30
        while written() < reached + 3:
            assert time.monotonic() < deadline and node.status(writer) is None
            time.sleep(0.1)

    writer = node.start([sys.executable, "-c", WRITER, *(str(place / "number") for place in places)], "writer.log", {})
    try:
        deadline = time.monotonic() + 30
        while node.run("test", "-s", places[-1] / "number", check=False).status != 0 or written() < 3:
            assert time.monotonic() < deadline and node.status(writer) is None
            time.sleep(0.1)
        kill_while_it_holds(cluster, list(volumes.values()))
        goes_on()
        cluster.start_node("newer")

        before = written()
        # Answered when all are cut.
        patiently(lambda: make(cluster, "all", list(volumes.values())))
        after = written()
        goes_on()
    finally:
        node.signal(writer, 9)
    held = [int(number) for number in re.findall(r"frozenMilliseconds=(\d+)", cluster.processes["newer"].text())]
    assert len(held) >= len(volumes)
    print(f"figure group_pause_thin_pool {max(held[-len(volumes):])} ms")

    ready(cluster, "all", list(volumes.values()))

    cut = [number_in(cluster, "all", volume, OPTIONS[kind]) for kind, volume in volumes.items()]
    # What was written later is in no cut without all that was written before.
    assert cut == sorted(cut, reverse=True) and cut[-1] >= cut[0] - 1, (before, cut, after)
    assert before <= cut[-1] and cut[0] <= after + 1, (before, cut, after)
    for kind, volume in volumes.items():
        cluster.unpublish(volume, "newer", pod=kind)
