"""That the virtual nodes do what the other tests take for granted."""

import os
import time

import pytest

from node import boot_all
from node_agent import NodeError


@pytest.fixture
def node(nodes):
    node = nodes["node-a"]
    boot_all([node])
    return node


def test_a_command_brings_back_its_output_and_status(node):
    contents = os.urandom(100_000)
    result = node.run("sh", "-c", "cat; echo oops >&2; exit 3", input=contents, check=False)
    assert (result.status, result.out, result.err) == (3, contents, b"oops\n")
    with pytest.raises(NodeError, match="status 3"):
        node.run("sh", "-c", "exit 3")


def test_a_command_that_takes_too_long_is_killed_with_its_children(node):
    start = time.monotonic()
    with pytest.raises(NodeError, match="(?s)not done within 1 s.*begun"):
        node.run("sh", "-c", "echo begun; sleep 4321 & sleep 4321", timeout=1)
    assert time.monotonic() - start < 10
    assert node.run("pgrep", "-f", "^sleep 4321", check=False).status == 1


def test_files_go_in_and_out_bit_by_bit(node):
    contents = os.urandom(300_000)
    node.write("/run/file", contents)
    node.write("/run/file", b"in between", offset=1000)
    assert node.read("/run/file") == contents[:1000] + b"in between" + contents[1010:]
    with pytest.raises(NodeError, match="No such file"):
        node.read("/run/none")


def test_the_clocks_agree(node):
    node.set_clock()
    assert abs(node.set_clock()) < 0.5


def test_a_loss_of_power_takes_the_memory_and_leaves_the_drives(node):
    device = node.device("pool-3")
    node.write("/run/in-memory", b"gone")
    node.write(device, b"kept", offset=4096)
    try:
        node.kill()
        assert not node.is_on
        node.boot()
        assert node.run("test", "-e", "/run/in-memory", check=False).status == 1
        assert node.run("dd", f"if={node.device('pool-3')}", "bs=1", "skip=4096", "count=4").out == b"kept"
    finally:
        node.write(node.device("pool-3"), bytes(4096), offset=4096)


def test_a_drive_can_be_pulled_out_and_is_back_after_a_boot(node):
    node.pull_out("pool-3")
    with pytest.raises(NodeError, match="no drive pool-3"):
        node.device("pool-3")
    assert node.device("pool-2")
    node.kill()
    node.boot()
    assert node.device("pool-3")
