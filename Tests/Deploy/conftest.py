"""The manifests in deploy/, held against the programs, the sidecars and Kubernetes' own schemas."""

import os
import pathlib
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "BlackBox"))

from cluster import Cluster  # noqa: E402
from fixtures import binaries, workplace  # noqa: E402, F401
from manifests import HELM, KUBECTL  # noqa: E402


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("these tests start a node plugin: run them as root", returncode=3)
    for tool in (HELM, KUBECTL):
        if not tool.exists():
            pytest.exit(f"{tool} is missing: run scripts/install-dependencies.sh test", returncode=3)


@pytest.fixture(scope="session")
def cluster(binaries, workplace):  # noqa: F811
    """A controller and a node on a shared directory."""
    bucket = pathlib.Path(tempfile.mkdtemp(prefix="bucket-", dir=workplace))
    with Cluster(binaries, pathlib.Path(tempfile.mkdtemp(prefix="cluster-", dir=workplace)), (
            [f"file://{bucket}"], {})) as cluster:
        cluster.start_controller()
        # The pools that the examples' StorageClasses name.
        striped = cluster.directory / "node-a" / "striped"
        cluster.start_node("node-a", size="1GiB", arguments=["--pool", f"directory={striped},size=1GiB,name=striped"])
        yield cluster
