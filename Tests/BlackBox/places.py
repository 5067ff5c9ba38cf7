"""File systems of their own, in files."""

import contextlib
import subprocess

from cluster import loops_below
from waiting import wait_for


@contextlib.contextmanager
def xfs_in_file(path, size, *options):
    """An XFS of its own, as sparse as what is written to it, mounted beside its file."""
    place = path.with_suffix("")
    with open(path, "wb") as file:
        file.truncate(size)
    subprocess.run(["mkfs.xfs", "-q", *options, path], check=True)
    place.mkdir()
    subprocess.run(["mount", "-o", "loop", path, place], check=True)
    yield place
    for device in loops_below(place):
        # Left by a test that failed.
        subprocess.run(["losetup", "-d", f"/dev/{device}"], check=False)
    # The kernel puts a detach off while somebody looks at the device.
    wait_for(f"that no loop device has a file below {place}", lambda: loops_below(place), lambda left: not left, seconds=30)
    subprocess.run(["umount", place], check=True)
    place.rmdir()
    path.unlink()
