"""Virtual nodes with image pools on a drive."""

import pathlib

from virtual_cluster import VirtualCluster


class ImageCluster(VirtualCluster):
    IMAGES = pathlib.PurePosixPath("/mnt/images")

    def pool_arguments(self, node):
        self.mount_drive(node, "images", self.IMAGES, "xfs")
        return ["--pool", f"directory={self.IMAGES / 'pool'},size=1536MiB"]
