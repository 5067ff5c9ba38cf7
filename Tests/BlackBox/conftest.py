"""The processes as a cluster starts them, driven over their sockets by an independent gRPC client."""

import os
import pathlib
import secrets
import shutil
import tempfile

import pytest

from cluster import MIB, Cluster
from figures import pytest_terminal_summary  # noqa: F401
from fixtures import binaries, seaweedfs, workplace, xfs_in_file  # noqa: F401

def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("these tests mount file systems: run them as root", returncode=3)
    for program in ("mkfs.ext4", "mkfs.xfs", "e2fsck", "xfs_repair", "mkfs.btrfs", "btrfs", "xfs_io", "losetup", "setpriv"):
        if shutil.which(program) is None:
            pytest.exit(f"{program} is missing: run scripts/install-dependencies.sh test", returncode=3)


@pytest.fixture(params=["directory", "s3"])
def store(request, workplace):
    """What --store and the environment have to say for each kind of store."""
    if request.param == "directory":
        path = pathlib.Path(tempfile.mkdtemp(prefix="bucket-", dir=workplace))
        return [f"file://{path}"], {}
    server = request.getfixturevalue("seaweedfs")
    prefix = secrets.token_hex(6)
    return [f"s3://{server.bucket}/some/{prefix}", "--store-endpoint", server.endpoint], server.environment


@pytest.fixture
def cluster(store, binaries, workplace):
    """A controller and two nodes on one store."""
    with Cluster(binaries, pathlib.Path(tempfile.mkdtemp(prefix="cluster-", dir=workplace)), store) as cluster:
        cluster.start_controller()
        cluster.start_node("node-a")
        cluster.start_node("node-b")
        yield cluster
        cluster.check_nothing_leaked_while_running()


@pytest.fixture
def reflink_pool(workplace):
    """A directory on an XFS, where cuts share blocks."""
    with xfs_in_file(workplace / "reflink.img", 2048 * MIB) as place:
        yield place / "pool"
