"""What the tests of processes share, on this machine and in virtual nodes."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile

import pytest

from cluster import loops_below
from servers import SeaweedFS

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def binaries():
    """Where `swift build` has put the executables; `make test` tries a release, which it tells with PERSSD_BIN."""
    path = pathlib.Path(os.environ.get("PERSSD_BIN", ROOT / ".build" / "debug"))
    for name in ("perssd", "perssd-controller", "perssd-node"):
        if not (path / name).exists():
            pytest.exit(f"{path / name} is missing: run `swift build` first", returncode=3)
    return path


@pytest.fixture(scope="session")
def workplace():
    """A directory on a disk (a tmpfs has no direct I/O), unmounted and removed at the end."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="perssd-blackbox-", dir="/var/tmp"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


@contextlib.contextmanager
def xfs_in_file(path, size, *options):
    """An XFS of its own, as sparse as what is written to it, mounted beside its file."""
    place = path.with_suffix("")
    with open(path, "wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.xfs", "-q", *options, path], check=True)
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", path, place], check=True)
    yield place
    for device in loops_below(place):
        # Left by a test that failed.
        subprocess.run(["losetup", "-d", f"/dev/{device}"], check=False)
    subprocess.run(["umount", place], check=True)
    place.rmdir()
    path.unlink()


@pytest.fixture(scope="session")
def seaweedfs(workplace):
    server = SeaweedFS(workplace / "seaweedfs", ROOT / ".venv" / "bin" / "weed")
    yield server
    server.stop()
