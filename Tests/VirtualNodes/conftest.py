"""Two virtual nodes that stay up for all tests, and clusters on them."""

import os
import pathlib
import shutil
import signal
import sys
import tempfile

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "BlackBox"))

from figures import pytest_terminal_summary  # noqa: E402, F401
from fixtures import binaries, seaweedfs, workplace  # noqa: E402, F401
from kernel import NEWER, Kernel  # noqa: E402
from node import Drive, VirtualNode, boot_all  # noqa: E402
from pools import ImagePools, ThinPools  # noqa: E402

MIB = 1 << 20


def pytest_sessionstart(session):
    # As an interrupt, so that the fixtures clear up.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if os.geteuid() != 0:
        pytest.exit("virtual nodes show this machine's root: run these tests as root", returncode=3)
    for program in ("qemu-system-x86_64", "busybox", "cpio", "modprobe", "lvm", "thin_delta", "mkfs.xfs", "mkfs.btrfs",
                    "e2fsck", "xfs_repair", "setpriv"):
        if shutil.which(program) is None:
            pytest.exit(f"{program} is missing: run scripts/install-dependencies.sh test", returncode=3)


def group(item):
    """What one pair of nodes does together, where several pairs share the work: a file, with one kind of pool."""
    kind = item.callspec.params.get("kind", "") if hasattr(item, "callspec") else ""
    # Ten points on logical volumes take a third of all the time.
    return f"{item.path.stem} {kind} {item.originalname if 'killed_and' in item.name else ''}".strip()


def pytest_collection_modifyitems(items):
    for item in items:
        item.add_marker(pytest.mark.xdist_group(group(item)))
    # The longest first, so that nobody is left alone with it at the end.
    items.sort(key=lambda item: "killed_and" not in item.name)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    if report.failed:
        item.has_failed = True
    return report


@pytest.fixture(scope="session")
def nodes(workplace):
    kernel = Kernel(workplace)
    nodes = {
        name: VirtualNode(name, workplace / name, kernel, [
            Drive("system", 640 * MIB), Drive("images", 2048 * MIB), *(Drive(f"pool-{n}", 1024 * MIB) for n in range(4)),
            *(Drive(f"thin-{n}", 1024 * MIB) for n in range(4)), Drive("small", 256 * MIB),
            Drive("locked", 640 * MIB, writable=False),
        ])
        for name in ("node-a", "node-b")
    }
    try:
        boot_all(nodes.values())
        yield nodes
    finally:
        for node in nodes.values():
            node.kill()


@pytest.fixture(scope="session")
def pools(nodes, binaries, workplace, seaweedfs):
    """A cluster for each kind of pool, on the same nodes."""
    clusters = {kind.KIND: kind(binaries, workplace, seaweedfs, nodes) for kind in (ImagePools, ThinPools)}
    yield clusters
    for cluster in clusters.values():
        cluster.__exit__()


@pytest.fixture(scope="session", params=[ImagePools.KIND, ThinPools.KIND])
def kind(request):
    return request.param


@pytest.fixture
def cluster(request, kind, pools):
    """Each kind of pool in turn. What a test that failed leaves is done away with."""
    pools[kind].bring_up()
    yield pools[kind]
    after_test(request, pools[kind])


@pytest.fixture
def thin_pools(request, pools):
    """As `cluster`, with pools of logical volumes alone."""
    pools[ThinPools.KIND].bring_up()
    yield pools[ThinPools.KIND]
    after_test(request, pools[ThinPools.KIND])


@pytest.fixture
def newer_node(request, binaries, workplace, seaweedfs):
    """A cluster with thin pools on one node alone, which boots for this test with a kernel that freezes what is frozen."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="newer-", dir=workplace))
    node = VirtualNode("newer", directory / "node", Kernel(directory, NEWER), [
        Drive("system", 640 * MIB), *(Drive(f"thin-{n}", 1024 * MIB) for n in range(4))])
    cluster = ThinPools(binaries, workplace, seaweedfs, {node.name: node})
    try:
        cluster.bring_up()
        yield cluster
        after_test(request, cluster)
    finally:
        node.kill()
        cluster.__exit__()


def after_test(request, cluster):
    if not getattr(request.node, "has_failed", False):
        cluster.check_nothing_leaked_while_running()
        return
    for name, node in cluster.nodes.items():
        plugin = cluster.processes[name].text() if name in cluster.processes else ""
        lines = [line[:1000] for line in plugin.splitlines()[-40:]]
        print(f"--- perssd-node on {name}:", *lines, f"--- console of {name}:", node.serial_text()[-3000:], sep="\n")
    cluster.reset()
