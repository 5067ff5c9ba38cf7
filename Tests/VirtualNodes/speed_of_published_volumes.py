"""fio through a published volume, over fio on a bare logical volume beside it: `make bench-nvme`, no part of the tests.

Nothing of PerSSD is between a pod and its file system, so what could differ is how that and its logical volume were made.
Times in an emulated machine say nothing; ratios of runs that take turns do.
"""

import json
import math
import statistics

from cluster import MIB, mount
from pools import lvm

ROUNDS = 7
SECONDS = 4
VOLUME = 256 * MIB
# All of it is written before, so that no run pays for chunks that are given out for the first time.
FILE = 96 * MIB
WORKLOADS = {
    "random_read_4k": ["--rw=randread", "--bs=4k"],
    "random_write_4k": ["--rw=randwrite", "--bs=4k"],
    "read_1m": ["--rw=read", "--bs=1m"],
    "write_1m": ["--rw=write", "--bs=1m"],
}


def fio(node, directory, *options):
    return json.loads(node.run(
        "fio", "--output-format=json", "--name=figure", f"--filename={directory}/file", f"--size={FILE}", "--direct=1",
        "--ioengine=libaio", "--iodepth=8", "--randrepeat=1", *options, timeout=120).text)["jobs"][0]


def rate(node, directory, workload):
    job = fio(node, directory, "--time_based", f"--runtime={SECONDS}", *WORKLOADS[workload])
    return job["read"]["iops"] + job["write"]["iops"]


def seconds_of_first_writes(node, directory):
    """Each page once, in random order."""
    return fio(node, directory, "--rw=randwrite", "--bs=4k", f"--io_size={FILE // 8}")["write"]["runtime"] / 1000


def bare_volume(node, group):
    """A thin logical volume as an administrator makes it, with the options of mkfs and mount that PerSSD's has."""
    lvm(node, "lvcreate", "--yes", "--virtualsize", f"{VOLUME}b", "--thinpool", f"{group}/perssd", "--name", "bare")
    device = f"/dev/{group}/bare"
    return device, "/run/bare"


def options_of(node, path):
    table = node.read("/proc/self/mountinfo").decode()
    line = next(line for line in table.splitlines() if line.split()[4] == str(path))
    return line.split()[5]


def test_published_over_bare(thin_pools):
    node = thin_pools.nodes["node-a"]
    volume = thin_pools.create("speed", size=VOLUME, capability=mount())
    published = thin_pools.publish(volume, "node-a")
    device, bare = bare_volume(node, thin_pools.GROUP)
    try:
        # Nothing is left to be written by a thread of the kernel in the middle of a run.
        node.run("mkfs.ext4", "-q", "-b", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", device)
        node.run("mkdir", "-p", bare)
        node.run("mount", "-o", options_of(node, published), device, bare)
        places = {"published": published, "bare": bare}
        for place in places.values():
            fio(node, place, "--rw=write", "--bs=1m", "--end_fsync=1")
        everything = []
        for workload in WORKLOADS:
            ratios = []
            for number in range(ROUNDS):
                # Whoever comes second finds another machine: they take turns in that, too.
                order = list(places) if number % 2 == 0 else list(places)[::-1]
                rates = {name: rate(node, places[name], workload) for name in order}
                ratios.append(rates["published"] / rates["bare"])
            everything.append(statistics.median(ratios))
            print(f"figure fio_{workload}_published_over_bare {everything[-1]:.3f} ratio", flush=True)
            print("#   rounds:", ", ".join(f"{ratio:.2f}" for ratio in ratios), flush=True)
        mean = math.exp(statistics.fmean(math.log(ratio) for ratio in everything))
        print(f"figure fio_published_over_bare {mean:.3f} ratio", flush=True)

        # After a stage-out the pool shares chunks between the volume and its base: who writes one first copies it.
        thin_pools.unpublish(volume, "node-a", detach=False)
        thin_pools.publish(volume, "node-a")
        shared = seconds_of_first_writes(node, published)
        alone = seconds_of_first_writes(node, bare)
        print(f"figure fio_first_random_writes_after_a_stage_out_over_bare {alone / shared:.3f} ratio", flush=True)
    finally:
        node.run("umount", bare, check=False)
        lvm(node, "lvremove", "--yes", f"{thin_pools.GROUP}/bare")
    thin_pools.unpublish(volume, "node-a")
