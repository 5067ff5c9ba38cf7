"""A cut of a volume that is being written."""

from node import boot_all
from pools import lvm

GROUP = "cuts"


def test_a_cut_while_a_pod_writes_holds_all_that_was_synced_before(nodes, binaries):
    # Beside the plugin and its pool, with a pool of its own.
    node = nodes["node-b"]
    boot_all([node])
    drive = node.device("pool-3")
    try:
        said = node.run(
            binaries / "pool-conformance", "writing", "--vg", GROUP, "--drives", drive, "--fs", "ext4", "--cuts", "4",
            timeout=300).text
        print(said)
        assert "writing passed: ext4" in said
    finally:
        node.run("umount", "/run/pool-conformance-written", check=False)
        lvm(node, "vgremove", "--yes", GROUP, check=False)
        node.run("wipefs", "--all", "--quiet", drive, check=False)
