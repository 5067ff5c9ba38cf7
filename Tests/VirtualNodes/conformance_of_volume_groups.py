"""A pool of logical volumes on real NVMe drives: the same steps that a pool of images is asked for, and what must be refused."""

import json
import struct

import pytest

from node import boot_all

# One group, made once: each command of LVM takes a second or two on an emulated processor.
GROUP = "conform"
CONFIG = ('devices{use_devicesfile=0 obtain_device_list_from_udev=0 external_device_info_source="none"} '
          "activation{udev_sync=0 udev_rules=0 monitoring=0} backup{backup=0 archive=0}")


class Tools:
    """The pool's test program and LVM, on one node."""

    def __init__(self, node, program):
        self.node, self.program = node, program

    def pool(self, command, *arguments, group=GROUP, check=True):
        result = self.node.run(
            str(self.program), command, "--vg", group, *arguments, timeout=600, check=False)
        said = result.text + result.err.decode()
        print(said)
        assert not check or result.status == 0, said
        return result.status, said

    def lvm(self, command, *arguments):
        return self.node.run("env", "DM_DISABLE_UDEV=1", "lvm", command, "--config", CONFIG, *arguments, timeout=120).text

    def drive(self, serial):
        return self.node.device(serial)

    def tags(self, volume):
        report = json.loads(self.lvm("lvs", "--reportformat", "json", "-o", "lv_tags", volume))
        return report["report"][0]["lv"][0]["lv_tags"].split(",")


@pytest.fixture(scope="module")
def tools(nodes, binaries):
    node = nodes["node-a"]
    boot_all([node])
    tools = Tools(node, binaries / "pool-conformance")
    yield tools
    if not node.is_on:
        boot_all([node])
    for group in (GROUP, "foreign"):
        node.run("env", "DM_DISABLE_UDEV=1", "lvm", "vgremove", "--yes", "--config", CONFIG, group, check=False, timeout=120)
    for number in range(4):
        node.run("wipefs", "--all", "--quiet", tools.drive(f"pool-{number}"), check=False)


def test_drives_that_carry_something_are_refused_by_name_with_the_reason(tools):
    device = tools.drive("pool-0")
    # A partition table as on a PC: one partition of 64 MiB from 1 MiB on.
    entry = struct.pack("<B3sB3sII", 0, bytes(3), 0x83, bytes(3), 2048, 131072)
    tools.node.write("/run/table", bytes(446) + entry + bytes(48) + b"\x55\xaa")
    refusals = [
        (["mkfs.ext4", "-q", "-F", device], "has a signature: ext4"),
        (["sh", "-c", f"mkdir -p /run/held; mount {device} /run/held"], "is mounted at /run/held"),
        (["umount", "/run/held"], "has a signature: ext4"),
        (["sh", "-c", f"wipefs -aq {device}; mkswap -q {device}; swapon {device}"], "is used as swap"),
        (["sh", "-c", f"swapoff {device}; wipefs -aq {device}; dd if=/run/table of={device} conv=fsync status=none; "
                      f"blockdev --rereadpt {device}"], "has partitions"),
        (["sh", "-c", f"wipefs -aq {device}; blockdev --rereadpt {device}; blockdev --setro {device}"], "is write-protected"),
    ]
    for command, reason in refusals:
        tools.node.run(*command)
        status, said = tools.pool("state", "--drives", device, check=False)
        assert status != 0 and f"the drive {device} cannot be used: it {reason}" in said
    tools.node.run("blockdev", "--setrw", device)
    status, said = tools.pool("state", "--drives", "/dev/nvme99n1", check=False)
    assert status != 0 and "the drive /dev/nvme99n1 is not there" in said


def test_a_group_of_the_right_name_that_is_not_ours_is_left_alone(tools):
    device = tools.drive("pool-3")
    tools.lvm("vgcreate", "foreign", device)
    tools.lvm("lvcreate", "--yes", "--size", "8m", "--name", "theirs", "foreign")
    before = tools.lvm("vgs", "--noheadings", "-o", "vg_seqno,vg_tags", "foreign")
    status, said = tools.pool("state", group="foreign", check=False)
    assert status != 0 and "was not made by PerSSD, and is left alone" in said
    assert tools.lvm("vgs", "--noheadings", "-o", "vg_seqno,vg_tags", "foreign") == before
    status, said = tools.pool("state", "--drives", device, check=False)
    assert status != 0 and "belongs to the volume group 'foreign'" in said


def test_a_striped_pool_does_all_that_a_pool_can_be_asked_for(tools):
    _, said = tools.pool(
        "sequence", "--layout", "striped", "--drives", tools.drive("pool-0"), "--drives", tools.drive("pool-1"))
    assert "allocated ranges are exact" in said and "sequence passed" in said
    assert "striped" in tools.lvm("lvs", "-a", "--noheadings", "-o", "segtype", f"{GROUP}/perssd_tdata")


def test_a_mounted_file_system_is_cut_whole(tools):
    assert "mounted passed: xfs" in tools.pool("mounted", "--existing", "--fs", "xfs")[1]


def test_no_kill_takes_what_was_done(tools):
    assert "kills passed" in tools.pool("kills", "--existing", "--rounds", "4")[1]


def test_tags_changed_by_hand_are_reported_and_left_alone(tools):
    tools.lvm("lvcreate", "--yes", "--virtualsize", "8m", "--thinpool", f"{GROUP}/perssd", "--name", "odd",
              "--addtag", "perssd", "--addtag", "perssd.kind=copy", "--addtag", "perssd.volume=vol-odd")
    before = tools.tags(f"{GROUP}/odd")
    _, said = tools.pool("state", "--existing")
    assert "damaged vol-odd" in said and f"{GROUP}/odd is not as PerSSD left it" in said
    assert tools.tags(f"{GROUP}/odd") == before
    tools.lvm("lvremove", "--yes", f"{GROUP}/odd")


def test_a_group_that_lacks_a_drive_is_reported(tools):
    tools.node.pull_out("pool-1")
    status, said = tools.pool("state", "--existing", check=False)
    assert status != 0 and f"1 of the drives of the volume group '{GROUP}' are missing" in said
    tools.node.kill()
    boot_all([tools.node])
    assert "total" in tools.pool("state", "--existing")[1]
