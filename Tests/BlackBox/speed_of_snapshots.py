"""What lists of many volumes and snapshots take, and what differs between two snapshots: `make bench-snapshots`, no part of
the tests. On SeaweedFS; PERSSD_BENCH_ENTRIES (10000) and PERSSD_BENCH_GIB (2) make it smaller.
"""

import concurrent.futures
import os
import random
import time

import pytest

from cluster import GIB, MIB, block, csi, patiently

ENTRIES = int(os.environ.get("PERSSD_BENCH_ENTRIES", "10000"))
VOLUME = int(os.environ.get("PERSSD_BENCH_GIB", "2")) * GIB
# What the sidecars ask for.
PAGE = 500
BLOCK = 4096


@pytest.fixture
def store(seaweedfs):
    return ([f"s3://{seaweedfs.bucket}/speed", "--store-endpoint", seaweedfs.endpoint], seaweedfs.environment)


def all_pages(method, request_type):
    """Seconds for all pages, and how many entries there were."""
    start, count, token = time.monotonic(), 0, ""
    while True:
        response = method(request_type(max_entries=PAGE, starting_token=token), timeout=300)
        count, token = count + len(response.entries), response.next_token
        if not token:
            return time.monotonic() - start, count


def plain_list(seaweedfs, prefix):
    """The same for the keys, as the store's own client lists them."""
    start, count = time.monotonic(), 0
    for page in seaweedfs.client.get_paginator("list_objects_v2").paginate(Bucket=seaweedfs.bucket, Prefix=prefix):
        count += len(page.get("Contents", []))
    return time.monotonic() - start, count


def test_pages_of_lists(cluster, seaweedfs):
    def make(number):
        volume = cluster.create(f"volume-{number}", size=64 * MIB)
        patiently(lambda: cluster.controller.CreateSnapshot(csi.CreateSnapshotRequest(
            source_volume_id=volume.volume_id, name=f"snapshot-{number}"), timeout=60))

    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        list(threads.map(make, range(ENTRIES)))
    lists = {
        "volumes": (cluster.controller.ListVolumes, csi.ListVolumesRequest, "speed/volumes/", 2 * ENTRIES),
        "snapshots": (cluster.controller.ListSnapshots, csi.ListSnapshotsRequest, "speed/snapshots/", ENTRIES),
    }
    for what, (method, request_type, prefix, objects) in lists.items():
        # In turns, as the machine is not the same all the time.
        rounds = []
        for _ in range(3):
            plain, keys = plain_list(seaweedfs, prefix)
            seconds, count = all_pages(method, request_type)
            assert count == ENTRIES and keys >= objects, (count, keys)
            rounds.append((seconds / plain, seconds, plain))
        ratio, seconds, plain = sorted(rounds)[1]
        print(f"figure list_{what}_over_list_of_keys {ratio:.2f} ratio")
        print(f"figure list_{what}_of_{ENTRIES} {seconds:.2f} s")
        print(f"figure list_of_keys_of_{what} {plain:.2f} s")


def test_a_delta(cluster):
    volume = cluster.create("delta", size=VOLUME, capability=block())

    def write(pieces):
        path = cluster.publish(volume, "node-a", capability=block())
        device = os.open(path, os.O_WRONLY)
        for offset, size in pieces:
            os.pwrite(device, os.urandom(size), offset)
        os.fsync(device)
        os.close(device)
        cluster.unpublish(volume, "node-a")
        return cluster.controller.CreateSnapshot(csi.CreateSnapshotRequest(
            source_volume_id=volume.volume_id, name=f"after {len(pieces)}"), timeout=60).snapshot.snapshot_id

    base = write([(offset, MIB) for offset in range(0, VOLUME, MIB)])
    pages = random.Random(1).sample(range(VOLUME // BLOCK), VOLUME // 100 // BLOCK)
    target = write([(page * BLOCK, BLOCK) for page in pages])
    seconds = []
    for _ in range(3):
        start = time.monotonic()
        told = [entry for response in cluster.processes["controller"].metadata.GetMetadataDelta(
            csi.GetMetadataDeltaRequest(base_snapshot_id=base, target_snapshot_id=target), timeout=300)
            for entry in response.block_metadata]
        seconds.append(time.monotonic() - start)
    assert sum(entry.size_bytes for entry in told) >= len(pages) * BLOCK
    print(f"figure delta_per_gib {sorted(seconds)[1] / (VOLUME / GIB) * 1000:.1f} ms")
    print(f"figure delta_blocks {sum(entry.size_bytes for entry in told) // (256 * 1024)} blocks")
