"""Drives and volume groups that cannot be used: each refused by name, with the reason, and nothing on them is changed."""

import pytest

from pools import ThinPools, lvm

PROGRAM_SECONDS = 240


def start(cluster, *pool, first="true", seconds=PROGRAM_SECONDS - 60):
    """Starts a plugin with a pool that cannot be, beside the one that runs; returns its exit status and its words.

    first: a command of the shell before that, in a mount namespace that ends with the plugin.
    seconds: after which a plugin that has not ended by itself gets SIGTERM.
    """
    node = cluster.nodes["node-a"]
    if len(pool) == 1:
        pool = ("--pool", *pool)
    result = node.run(
        "unshare", "--mount", "sh", "-c", f'{first} && exec "$@"', "sh",
        "timeout", "--preserve-status", str(seconds), cluster.binaries / "perssd-node", "--endpoint", "unix:///run/never.sock", "--store",
        *cluster.node_store_arguments, "--cluster", "test", "--node-id", "other", "--state-directory", "/run/other",
        *pool, check=False, timeout=PROGRAM_SECONDS, environment=cluster.environment)
    return result.status, result.err.decode()


@pytest.mark.parametrize("serial, reason", [
    ("system", "is mounted at /mnt/system"),
    ("small", "is too small"),
    ("locked", "takes no writes"),
    # Two pools that want the same drive.
    ("thin-0", f"belongs to the volume group '{ThinPools.GROUP}'"),
])
def test_the_plugin_ends_where_a_drive_cannot_be_used(thin_pools, serial, reason):
    device = thin_pools.nodes["node-a"].device(serial)
    status, words = start(thin_pools, f"volumeGroup=other,drives={device},create=true")
    assert status != 0 and f"the drive {device} cannot be used: it {reason}" in words, words


def test_a_drive_that_takes_no_writes_costs_the_others_nothing(thin_pools):
    """LVM would put its label on the first, and fail at the second."""
    node = thin_pools.nodes["node-a"]
    spare, locked = node.device("pool-3"), node.device("locked")
    status, words = start(thin_pools, f"volumeGroup=other,drives={spare}:{locked},create=true")
    assert status != 0 and f"the drive {locked} cannot be used" in words, words
    assert node.run("blkid", "-p", spare, check=False).status == 2


@pytest.fixture
def spare_pool(thin_pools):
    """A pool of one drive, with volumes in it; yields where its metadata are on the drive. It is not active."""
    node = thin_pools.nodes["node-a"]
    drive = node.device("pool-3")
    tags = ["--addtag", "perssd"]
    lvm(node, "vgcreate", *tags, "--addtag", "perssd.format=1", "--addtag", "perssd.pool=default", "spare", drive)
    try:
        lvm(node, "lvcreate", "--yes", "--type", "thin-pool", "--size", "256m", "--poolmetadatasize", "4m", *tags,
            "--addtag", "perssd.kind=pool", "--name", "perssd", "spare")
        # Two, as LVM takes metadata that are one change behind for those of a command that was killed.
        for name in ("first", "second"):
            lvm(node, "lvcreate", "--yes", "--virtualsize", "64m", "--thinpool", "spare/perssd", "--name", name, "spare")
        lvm(node, "vgchange", "--activate", "n", "spare")
        extents = lvm(node, "lvs", "-a", "--noheadings", "-o", "seg_pe_ranges", "spare/perssd_tmeta").text
        start_of_extents = lvm(node, "pvs", "--noheadings", "--nosuffix", "--units", "b", "-o", "pe_start", drive).text
        extent = int(extents.strip().rsplit(":", 1)[1].split("-")[0])
        yield drive, int(start_of_extents) + extent * (4 << 20)
    finally:
        lvm(node, "vgchange", "--activate", "n", "spare", check=False)
        # vgremove wants the pool in order.
        lvm(node, "pvremove", "--force", "--force", "--yes", drive)


@pytest.mark.parametrize("block, contents", [
    # The trees of the pool.
    (1, b"\xa5" * 15 * 4096),
    # Its superblock: the kernel would make a new one.
    (0, bytes(4096)),
], ids=["damaged", "zeroed"])
def test_a_pool_that_needs_repair_is_for_an_operator(thin_pools, spare_pool, block, contents):
    node = thin_pools.nodes["node-a"]
    drive, place = spare_pool
    node.write(drive, contents, offset=place + block * 4096)
    before = lvm(node, "vgs", "--noheadings", "-o", "vg_seqno,lv_count", "spare").text
    status, words = start(thin_pools, "volumeGroup=spare")
    assert status != 0 and "lvconvert --repair" in words and "spare" in words, words
    assert lvm(node, "vgs", "--noheadings", "-o", "vg_seqno,lv_count", "spare").text == before
    if block:
        kept = node.run("dd", f"if={drive}", "bs=4096", f"skip={place // 4096 + block}", "count=15").out
        assert kept == contents
    assert node.run("ls", "/dev/mapper").text.count("spare-") == 0


def test_two_pools_cannot_have_one_volume_group(thin_pools):
    status, words = start(thin_pools, f"volumeGroup={thin_pools.GROUP},name=second")
    assert status != 0 and thin_pools.GROUP in words, words


def test_tools_that_are_missing_or_too_old(thin_pools):
    node = thin_pools.nodes["node-a"]
    spare = node.device("pool-3")
    pool = f"volumeGroup=other,drives={spare},create=true"
    node.write("/run/old-lvm", b"#!/bin/sh\necho '  LVM version:     2.02.98(2) (2012-10-15)'\n")
    node.run("chmod", "+x", "/run/old-lvm")
    status, words = start(thin_pools, pool, first="mount --bind /run/old-lvm /usr/sbin/lvm")
    assert status != 0 and "2.02.98" in words and "install lvm2" in words, words
    # Without any, as on a machine that is not meant to have such a pool, the plugin does no harm, and serves what it can.
    status, words = start(thin_pools, pool, first="mount -t tmpfs tmpfs /usr/sbin", seconds=45)
    assert status == 0 and "does without the pool 'default'" in words and "apt-get install lvm2" in words, words
    assert "INFO serving" in words and words.rstrip().splitlines()[-1].split()[1:3] == ["INFO", "ended"], words
    assert node.run("blkid", "-p", spare, check=False).status == 2


def test_a_pool_that_comes_to_be_there_is_noticed(thin_pools):
    """A drive is fitted, or wiped, while the plugin serves without the pool that wants it."""
    node = thin_pools.nodes["node-a"]
    drive = node.device("pool-3")
    node.run("mkfs.ext4", "-q", drive, timeout=120)
    node.write("/run/other.yaml", b"pools: [{name: default, volumeGroup: other, create: true, drives: {serial: pool-3}}]\n")
    try:
        status, words = start(
            thin_pools, "--config", "/run/other.yaml", first=f"{{ (sleep 30; wipefs --all --quiet {drive}) & }}")
        assert "does without the pool 'default'" in words and "carries" in words, words
        assert status == 0 and "the pool 'default' is there: ending" in words, words
    finally:
        lvm(node, "vgchange", "--activate", "n", "other", check=False)
        node.run("wipefs", "--all", "--quiet", drive, check=False)
        lvm(node, "pvremove", "--force", "--force", "--yes", drive, check=False)


def test_tags_that_make_no_sense_cost_one_volume_and_not_the_pool(thin_pools):
    node = thin_pools.nodes["node-a"]
    odd, good = (thin_pools.create(name, size=64 << 20) for name in ("odd-tags", "good-tags"))
    for volume in (odd, good):
        path = thin_pools.publish(volume, "node-a")
        node.write(path / "file", b"committed")
        thin_pools.unpublish(volume, "node-a")
    copy = f"{thin_pools.GROUP}/{thin_pools.copy_name(odd)}"
    assert thin_pools.processes["node-a"].stop() == 0
    lvm(node, "lvchange", "--deltag", "perssd.generation=1", "--addtag", "perssd.generation=first", copy)
    thin_pools.restart("node-a")
    assert "is not as PerSSD left it" in thin_pools.processes["node-a"].text()
    path = thin_pools.publish(good, "node-a")
    assert node.read(path / "file") == b"committed"
    thin_pools.unpublish(good, "node-a")
    # The copy is left alone, whatever is asked for; the bucket has the volume, and another node serves it.
    assert thin_pools.copy_name(odd) in thin_pools.copies("node-a")
    path = thin_pools.publish(odd, "node-b")
    assert thin_pools.nodes["node-b"].read(path / "file") == b"committed"
    thin_pools.unpublish(odd, "node-b")
    lvm(node, "lvremove", "--yes", copy)
