"""Virtual nodes with pools of each kind."""

import pathlib

from virtual_cluster import VirtualCluster


class ImagePools(VirtualCluster):
    """Images on an XFS with reflink, on a drive of its own."""

    KIND = "images"
    DIRECTORY = pathlib.PurePosixPath("/mnt/images")
    # What to pull out to hurt the pool.
    DRIVE = "images"

    def pool_arguments(self, node):
        self.mount_drive(node, "images", self.DIRECTORY, "xfs")
        return ["--pool", f"directory={self.DIRECTORY / 'pool'},size=1536MiB"]


# For the tests' own commands: there is no udev in a node.
LVM_CONFIGURATION = 'devices{use_devicesfile=0} activation{udev_sync=0 udev_rules=0 monitoring=0}'


def lvm(node, command, *arguments, **options):
    return node.run(
        "lvm", command, "--config", LVM_CONFIGURATION, *arguments, environment={"DM_DISABLE_UDEV": "1"}, **options)


class ThinPools(VirtualCluster):
    """Thin logical volumes, striped over four drives."""

    KIND = "lvm"
    GROUP = "perssd-nvme"
    DRIVE = "thin-1"

    DRIVES = ["thin-0", "thin-1", "thin-2", "thin-3"]
    LAYOUT = "striped"

    CONFIGURATION = """\
pools:
  - name: default
    volumeGroup: {group}
    layout: {layout}
    create: true
    drives:
      serial: [{drives}]
"""

    def pool_arguments(self, node):
        configuration = self.CONFIGURATION.format(group=self.GROUP, layout=self.LAYOUT, drives=", ".join(self.DRIVES))
        node.write("/run/perssd.yaml", configuration.encode())
        return ["--config", "/run/perssd.yaml"]

    def copies(self, name):
        """The names of the logical volumes that hold local copies."""
        selection = f"vg_name={self.GROUP} && lv_tags=perssd.kind=copy"
        listing = lvm(self.nodes[name], "lvs", "--noheadings", "-o", "lv_name", "--select", selection).text
        return set(listing.split())

    @staticmethod
    def copy_name(volume):
        return "copy." + volume.volume_id.replace("-", ".")


class MirroredPools(ThinPools):
    """The same on a mirror of two drives."""

    KIND = "raid1"
    GROUP = "perssd-mirror"
    DRIVES = ["pool-0", "pool-1"]
    LAYOUT = "raid1"
    DRIVE = "pool-1"
    # To replace it with.
    SPARE = "pool-2"
