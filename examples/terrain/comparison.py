"""Runs the workflow in each way, checks what is in the bucket afterwards, and reports."""

import contextlib
import hashlib
import math
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import tempfile

import volumes
import ways
import workflow
from cluster import loops_below, mounts_below
from link import Link
from places import xfs_in_file
from servers import SeaweedFS

ROOT = pathlib.Path(__file__).resolve().parents[2]
MIB = 1 << 20

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

    def __init__(self, binaries, workplace, server, link, work):
        self.workplace, self.server, self.link, self.work = workplace, server, link, work
        self.binaries, self.rclone = binaries, ROOT / ".venv" / "bin" / "rclone"
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


def seconds(value):
    return "never" if math.isnan(value) else f"{value:.1f} s"


def report(results):
    """The table, and figures: what counts is the ratios, each within a round."""
    print(f"\n{'':18} {'makespan':>10} {'durable':>10} {'to bucket':>11} {'from it':>11}   kept in the bucket")
    for name, rounds in results.items():
        middle = {key: statistics.median(one[key] for one in rounds) for key in ("makespan", "durable", "sent", "fetched")}
        durable = seconds(middle["durable"])
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
def workplace(directory):
    """A directory on a disk, removed at the end with what is mounted and attached in it."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="perssd-terrain-", dir=directory))
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


def compare(options, descriptions, binaries):
    """All ways that the options name, in as many rounds as they say."""
    def end(number, _):
        raise SystemExit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
    with contextlib.ExitStack() as stack:
        place = stack.enter_context(workplace(options.directory))
        server = SeaweedFS(place / "seaweedfs", ROOT / ".venv" / "bin" / "weed")
        stack.callback(server.stop)
        link = stack.enter_context(Link(
            int(server.endpoint.rpartition(":")[2]), options.latency / 1000, options.bandwidth * MIB))
        server.endpoint = f"http://127.0.0.1:{link.port}"
        note(f"an elevation model of {options.side} x {options.side} pixels, and what its parameters have to be")
        elevation = place / "elevation.tif"
        subprocess.run(
            ["/usr/bin/python3", workflow.STEPS / "elevation.py", elevation, str(options.side)], check=True)
        expected = expected_digests(elevation, place)
        bench = Bench(binaries, place, server, link, workflow.Work(elevation, options.side, options.grid, options.workers))
        # A server's first write into a bucket is slow.
        server.client.put_object(Bucket=server.bucket, Key="first", Body=b"first")
        results = {name: [] for name in options.ways}
        for number in range(options.rounds):
            for name in options.ways:
                note(f"round {number + 1}, {name}: {descriptions[name]}")
                result, digests = bench.run(name)
                if digests != expected:
                    raise SystemExit(f"terrain.py: {name}: the mosaics in the bucket are not those of the whole model")
                results[name].append(result)
                note(f"  {result['makespan']:.1f} s, durable: {seconds(result['durable'])}")
    note("in each way all three mosaics have the pixels that the whole model gives at once")
    report(results)
