#!/usr/bin/env python3
"""Terrain parameters of elevation tiles, computed by a workflow whose data gets from pod to pod in several ways. See README.md."""

import argparse
import os
import pathlib
import shutil
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]

# What each is; `comparison` makes them.
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


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, epilog="\n".join(
        ["ways:", *(f"  {name:18} {what}" for name, what in WAYS.items())]))
    parser.add_argument("--side", type=int, default=4096, help="pixels of the elevation model in each direction (4096)")
    parser.add_argument("--grid", type=int, default=8, help="tiles in each direction (8: 64 tiles)")
    parser.add_argument("--workers", type=int, default=4, help="pods that share the tiles (4)")
    parser.add_argument("--ways", default=",".join(WAYS), help="which ways, with commas between them (all)")
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


def main():
    chosen = options()
    binaries = checked_environment(chosen.ways)
    # The same clients of CSI and of the server as the tests that drive the programs from outside. They need packages that only now are
    # known to be there.
    sys.path.insert(0, str(ROOT / "Tests" / "BlackBox"))
    import comparison
    import grpc
    import workflow

    try:
        comparison.compare(chosen, WAYS, binaries)
    except KeyboardInterrupt:
        raise SystemExit(130)
    except workflow.Failed as failure:
        raise SystemExit(f"terrain.py: a step failed: {failure}")
    except grpc.RpcError as failure:
        raise SystemExit(f"terrain.py: a plugin answered {failure.code().name}: {failure.details()}")


if __name__ == "__main__":
    main()
