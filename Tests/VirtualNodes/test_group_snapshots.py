"""Group snapshots on real drives: what each kind of pool can hold still."""

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
        # Device-mapper holds a volume for its own cut only.
        message = refused("FAILED_PRECONDITION", lambda: make(cluster, "both", volumes))
        assert "for its own cut only" in message
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
