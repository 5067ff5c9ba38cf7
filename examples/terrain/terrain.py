#!/usr/bin/env python3
"""Terrain parameters of elevation tiles, computed by a workflow whose data gets from pod to pod in several ways. See README.md."""

import argparse
import contextlib
import hashlib
import math
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MIB = 1 << 20

# name: what it is; `ways` makes them once the packages that they need are known to be there.
WAYS = {
    "local": "one node's drive, and no bucket: what the work takes by itself",
    "perssd": "PerSSD, on both nodes, stageOut: onUnpublish",
    "perssd-background": "PerSSD, on both nodes, stageOut: background",
    "perssd-together": "PerSSD, on one node, stageOut: background",
    "perssd-delay": "PerSSD, on one node, with stageOutDelay for what only later steps read",
    "rclone-mount": "rclone mount on both nodes",
    "s3fs": "s3fs on both nodes",
    "copy": "both nodes' drives, rclone copy after each step and back where a step runs on the other node",
    "copy-together": "one node's drive, rclone copy after each step",
}
DEFAULT_WAYS = [name for name in WAYS if name != "perssd-delay"]


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog="\n".join(
        ["ways:", *(f"  {name:18} {what}" for name, what in WAYS.items())]))
    parser.add_argument("--side", type=int, default=4096, help="pixels of the elevation model in each direction (4096)")
    parser.add_argument("--grid", type=int, default=8, help="tiles in each direction (8: 64 tiles)")
    parser.add_argument("--workers", type=int, default=4, help="pods that share the tiles (4)")
    parser.add_argument("--ways", default=",".join(DEFAULT_WAYS), help="which ways, with commas between them (all)")
    parser.add_argument("--rounds", type=int, default=1, help="how often, for medians (1)")
    parser.add_argument("--latency", type=float, default=0, help="milliseconds to the bucket, one way (0)")
    parser.add_argument("--bandwidth", type=int, default=0, help="MiB a second to the bucket, and as many from it (0: no bound)")
    parser.add_argument("--directory", default="/var/tmp", help="where to have everything, on a disk (/var/tmp)")
    chosen = parser.parse_args()
    chosen.ways = chosen.ways.split(",")
    if unknown := set(chosen.ways) - set(WAYS):
        parser.error(f"--ways: {', '.join(sorted(unknown))}: there are {', '.join(WAYS)}")
    if min(chosen.side, chosen.grid, chosen.workers, chosen.rounds) < 1 or min(chosen.latency, chosen.bandwidth) < 0:
        parser.error("sizes and counts are 1 or more, bounds 0 or more")
    if chosen.side % chosen.grid or chosen.side // chosen.grid < 16:
        parser.error(f"--side {chosen.side} has to be a multiple of --grid {chosen.grid}, with 16 pixels a tile or more")
    if chosen.workers > chosen.grid**2:
        parser.error("--workers: there are not as many tiles")
    return chosen


def checked_environment(ways):
    """The directory of PerSSD's programs. Ends, saying what to do, where anything is missing."""
    if os.geteuid() != 0:
        raise SystemExit("terrain.py mounts file systems and attaches loop devices: run it as root")
    needed = ["gdaldem", "gdal_translate", "gdalbuildvrt", "mkfs.xfs", "losetup", "setpriv"]
    needed += ["s3fs"] if "s3fs" in ways else []
    needed += ["fusermount3"] if "rclone-mount" in ways else []
    if missing := [program for program in needed if shutil.which(program) is None]:
        raise SystemExit(f"{', '.join(missing)} is missing: run examples/terrain/run, which installs it")
    binaries = pathlib.Path(os.environ.get("PERSSD_BIN", ROOT / ".build" / "release"))
    if not (binaries / "perssd-node").exists():
        raise SystemExit(f"{binaries} has no perssd-node: run examples/terrain/run, which builds it")
    return binaries


OPTIONS = options() if __name__ == "__main__" else None
BINARIES = checked_environment(OPTIONS.ways) if __name__ == "__main__" else None

# The same clients of CSI and of the server as the tests that drive the programs from outside.
sys.path.insert(0, str(ROOT / "Tests" / "BlackBox"))
import grpc  # noqa: E402

from cluster import loops_below, mounts_below  # noqa: E402
from link import Link  # noqa: E402
from places import xfs_in_file  # noqa: E402
from servers import SeaweedFS  # noqa: E402
import volumes  # noqa: E402
import ways  # noqa: E402
import workflow  # noqa: E402

MAKERS = {
    "local": ways.LocalDisk,
    "perssd": volumes.on_unpublish,
    "perssd-background": volumes.in_background,
    "perssd-together": volumes.together_in_background,
    "perssd-delay": volumes.delayed,
    "rclone-mount": ways.RcloneMount,
    "s3fs": ways.S3FS,
    "copy": ways.CopiedDisk,
    "copy-together": lambda bench: ways.CopiedDisk(bench, ways.TOGETHER),
}


def note(text):
    print(f"# {text}", flush=True)


class Bench:
    """What all ways share: the server behind its link, the nodes' drives, and the work."""

    def __init__(self, workplace, server, link, work):
        self.workplace, self.server, self.link, self.work = workplace, server, link, work
        self.binaries, self.rclone = BINARIES, ROOT / ".venv" / "bin" / "rclone"
        self.drives, self.count = {}, 0
        # The sum of all volumes on one node, and cuts and bases besides.
        names = ["tiles", *work.groups, *workflow.PARAMETERS]
        self.pool_bytes = 3 * sum(work.size(name) for name in names)

    def drive(self, node):
        return self.drives[node]

    def prefix(self):
        """A new one for each run, so that none finds what another has left."""
        self.count += 1
        return f"run-{self.count}"

    def run(self, name):
        """One way, once: times, traffic, and the digests of what is then in the bucket."""
        with contextlib.ExitStack() as stack:
            # New drives, which nobody pays for that comes after.
            for node in ways.NODES:
                self.drives[node] = stack.enter_context(
                    xfs_in_file(self.workplace / f"{node}-{self.count}.xfs", 2 * self.pool_bytes + 512 * MIB))
            way = stack.enter_context(MAKERS[name](self))
            os.sync()
            before = self.link.traffic
            times = workflow.run(way, self.work)
            sent, fetched = (now - then for now, then in zip(self.link.traffic, before))
            with tempfile.TemporaryDirectory(dir=self.workplace) as directory:
                way.fetch_results(pathlib.Path(directory))
                digests = [
                    digest(pathlib.Path(directory) / parameter / f"{parameter}.tif") for parameter in workflow.PARAMETERS]
            return {"makespan": times.makespan, "durable": times.durable if way.keeps != "nothing" else math.nan,
                    "sent": sent, "fetched": fetched, "keeps": way.keeps}, digests


def digest(raster):
    """Of its pixels alone."""
    with tempfile.TemporaryDirectory(dir=raster.parent) as directory:
        pixels = pathlib.Path(directory) / "pixels"
        subprocess.run(["gdal_translate", "-q", "-of", "ENVI", raster, pixels], check=True)
        with open(pixels, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()


def expected_digests(elevation, workplace):
    """What each mosaic has to be: computed of the whole model at once, without any tiles."""
    found = []
    for parameter in workflow.PARAMETERS:
        whole = workplace / "whole.tif"
        subprocess.run(["gdaldem", parameter, "-q", "-compute_edges", elevation, whole], check=True)
        found.append(digest(whole))
        whole.unlink()
    return found


def report(results):
    """The table, and figures: what counts is the ratios, each within a round."""
    print(f"\n{'':18} {'makespan':>10} {'durable':>10} {'to bucket':>11} {'from it':>11}   kept in the bucket")
    for name, rounds in results.items():
        middle = {key: statistics.median(one[key] for one in rounds) for key in ("makespan", "durable", "sent", "fetched")}
        durable = "never" if math.isnan(middle["durable"]) else f"{middle['durable']:.1f} s"
        print(f"{name:18} {middle['makespan']:8.1f} s {durable:>10} {middle['sent'] / MIB:7.0f} MiB "
              f"{middle['fetched'] / MIB:7.0f} MiB   {rounds[0]['keeps']}")
    print()
    for name, rounds in results.items():
        key = name.replace("-", "_")
        for what in ("makespan", "durable"):
            if not math.isnan(rounds[0][what]):
                print(f"figure terrain_{key}_{what} {statistics.median(one[what] for one in rounds):.2f} s")
        print(f"figure terrain_{key}_sent {statistics.median(one['sent'] for one in rounds) / MIB:.1f} MiB")
        print(f"figure terrain_{key}_fetched {statistics.median(one['fetched'] for one in rounds) / MIB:.1f} MiB")
    for mine in (name for name in results if name.startswith("perssd")):
        for other in (name for name in results if not name.startswith("perssd")):
            for what in ("makespan", "durable"):
                if math.isnan(results[other][0][what]):
                    continue
                ratio = statistics.median(a[what] / b[what] for a, b in zip(results[mine], results[other]))
                print(f"figure terrain_{what}_{mine.replace('-', '_')}_over_{other.replace('-', '_')} {ratio:.2f} ratio")


@contextlib.contextmanager
def workplace():
    """A directory on a disk, removed at the end with what is mounted and attached in it."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="perssd-terrain-", dir=OPTIONS.directory))
    try:
        yield path
    finally:
        for place in sorted(mounts_below(path), key=len, reverse=True):
            for device in loops_below(place):
                subprocess.run(["losetup", "--detach", f"/dev/{device}"], check=False)
            subprocess.run(["umount", place], check=False)
        for device in loops_below(path):
            subprocess.run(["losetup", "--detach", f"/dev/{device}"], check=False)
        if mounts_below(path):
            note(f"{path} is still mounted on, and stays")
        else:
            shutil.rmtree(path, ignore_errors=True)


def main():
    def end(number, _):
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(workplace())
        server = SeaweedFS(place / "seaweedfs", ROOT / ".venv" / "bin" / "weed")
        stack.callback(server.stop)
        link = stack.enter_context(Link(
            int(server.endpoint.rpartition(":")[2]), OPTIONS.latency / 1000, OPTIONS.bandwidth * MIB))
        server.endpoint = f"http://127.0.0.1:{link.port}"
        note(f"an elevation model of {OPTIONS.side} x {OPTIONS.side} pixels, and what its parameters have to be")
        elevation = place / "elevation.tif"
        subprocess.run(
            ["/usr/bin/python3", workflow.STEPS / "elevation.py", elevation, str(OPTIONS.side)], check=True)
        expected = expected_digests(elevation, place)
        bench = Bench(place, server, link, workflow.Work(elevation, OPTIONS.side, OPTIONS.grid, OPTIONS.workers))
        # A server's first write into a bucket is slow.
        server.client.put_object(Bucket=server.bucket, Key="first", Body=b"first")
        results = {name: [] for name in OPTIONS.ways}
        for number in range(OPTIONS.rounds):
            for name in OPTIONS.ways:
                note(f"round {number + 1}, {name}: {WAYS[name]}")
                result, digests = bench.run(name)
                if digests != expected:
                    raise SystemExit(f"terrain.py: {name}: the mosaics in the bucket are not those of the whole model")
                results[name].append(result)
    note("in each way all three mosaics have the pixels that the whole model gives at once")
    report(results)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        raise SystemExit(130)
    except workflow.Failed as failure:
        raise SystemExit(f"terrain.py: a step failed: {failure}")
    except grpc.RpcError as failure:
        raise SystemExit(f"terrain.py: a plugin answered {failure.code().name}: {failure.details()}")
