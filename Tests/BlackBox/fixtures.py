"""What the tests of processes share, on this machine and in virtual nodes."""

import os
import pathlib
import shutil
import tempfile

import pytest

from places import xfs_in_file  # noqa: F401
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


@pytest.fixture(scope="session")
def seaweedfs(workplace):
    server = SeaweedFS(workplace / "seaweedfs", ROOT / ".venv" / "bin" / "weed")
    yield server
    server.stop()
