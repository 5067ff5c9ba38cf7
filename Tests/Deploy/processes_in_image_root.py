"""The plugins, started in the root file system that `make image-root` has made, as a container runtime would start them.

Run by `make test-image-root`, and not with the other tests: the image takes minutes to make.
"""

import os
import pathlib
import secrets
import shutil
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Tests" / "BlackBox"))

from cluster import GIB, MIB, Cluster, Process, csi, loops_below, mount, patiently  # noqa: E402
from servers import SeaweedFS  # noqa: E402

TAR = pathlib.Path(os.environ.get("PERSSD_IMAGE_ROOT", ROOT / ".build" / "image" / "perssd-root.tar"))
# As the image's USER says.
USER = "65532:65532"
# As a pod with readOnlyRootFilesystem has it: only where volumes are mounted can be written. The namespace goes with the
# process, and the mounts with it. A node plugin's /dev is the host's.
ENTER = """set -e
root=$1 user=$2
shift 2
mount --bind "$root" "$root"
for place in run var/lib/perssd; do mount --bind "$root/$place" "$root/$place"; done
mount -o remount,bind,ro "$root"
for place in proc sys dev; do mount --rbind /$place "$root/$place"; done
cd /
exec chroot --userspec="$user" "$root" /usr/bin/env -i PATH=/usr/sbin:/usr/bin "$@"
"""


@pytest.fixture(scope="module")
def image():
    if not TAR.exists():
        pytest.exit(f"{TAR} is missing: run make image-root", returncode=3)
    path = pathlib.Path(tempfile.mkdtemp(prefix="perssd-image-", dir="/var/tmp"))
    subprocess.run(["tar", "-xf", TAR, "-C", path, "--numeric-owner"], check=True)
    yield path
    for device in loops_below(path):
        # Left by a test that failed.
        subprocess.run(["losetup", "-d", f"/dev/{device}"], check=False)
    with open("/proc/self/mountinfo") as table:
        assert str(path) not in table.read(), "the plugins were to mount in their own namespace"
    shutil.rmtree(path)


@pytest.fixture(scope="module")
def seaweedfs():
    path = pathlib.Path(tempfile.mkdtemp(prefix="perssd-image-s3-", dir="/var/tmp"))
    server = SeaweedFS(path / "seaweedfs", ROOT / ".venv" / "bin" / "weed")
    yield server
    server.stop()
    shutil.rmtree(path, ignore_errors=True)


class Image(Cluster):
    """A cluster whose plugins run in the image; paths in requests are those of the image."""

    def __init__(self, root, store):
        directory = root / "run" / secrets.token_hex(3)
        directory.mkdir(mode=0o777)
        directory.chmod(0o777)
        super().__init__(None, directory, store)
        self.root = root

    def start(self, name, program, user, *arguments):
        inside = pathlib.Path("/") / self.directory.relative_to(self.root)
        environment = [f"{key}={value}" for key, value in self.environment.items()]
        command = [
            "unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "sh", str(self.root), user, *environment,
            f"/usr/bin/{program}", "--endpoint", f"unix://{inside}/{name}.sock", "--store", *self.store_arguments,
            "--cluster", "image", *arguments]
        process = Process(command, {}, self.directory / f"{name}.sock", self.directory / f"{name}.log")
        self.processes[name] = process
        return process

    def start_node(self, name):
        for place in ("state", "pool", "pods"):
            (self.root / "var/lib/perssd" / name / place).mkdir(parents=True)
        return self.start(
            name, "perssd-node", "0:0", "--node-id", name, "--pool", f"directory=/var/lib/perssd/{name}/pool,size=4GiB",
            "--state-directory", f"/var/lib/perssd/{name}/state")

    def target(self, node, pod):
        return f"/var/lib/perssd/{node}/pods/{pod}"

    def seen_by(self, node, path):
        """Where this process finds a path of a node's own mount namespace."""
        return pathlib.Path(f"/proc/{self.processes[node].process.pid}/root{path}")


def test_a_controller_runs_as_nobody_in_particular_and_ends_in_order(image):
    bucket = image / "run" / "bucket"
    bucket.mkdir()
    os.chown(bucket, 65532, 65532)
    with Image(image, (["file:///run/bucket"], {})) as cluster:
        controller = cluster.start("controller", "perssd-controller", USER)
        status = pathlib.Path(f"/proc/{controller.process.pid}/status").read_text()
        assert "\nUid:\t65532\t65532\t65532\t65532\n" in status and "\nCapEff:\t0000000000000000\n" in status
        assert controller.identity.Probe(csi.ProbeRequest(), timeout=10).ready.value
        info = controller.identity.GetPluginInfo(csi.GetPluginInfoRequest(), timeout=10)
        assert info.name == "csi.perssd.io"
        with pytest.raises(OSError, match="Read-only"):
            pathlib.Path(f"/proc/{controller.process.pid}/root/tmp/some").write_text("")
        assert not controller.controller.ListVolumes(csi.ListVolumesRequest(), timeout=10).entries
        assert controller.stop() == 0, controller.text()
        assert not (cluster.directory / "controller.sock").exists()


@pytest.mark.parametrize("file_system", ["ext4", "xfs", "btrfs"])
def test_a_volume_moves_between_nodes_with_what_the_image_brings(image, seaweedfs, file_system):
    store = ([f"s3://{seaweedfs.bucket}/{secrets.token_hex(4)}", "--store-endpoint", seaweedfs.endpoint], seaweedfs.environment)
    data = os.urandom(3 * MIB)
    with Image(image, store) as cluster:
        cluster.start("controller", "perssd-controller", USER)
        names = [f"{file_system}-a", f"{file_system}-b"]
        for name in names:
            cluster.start_node(name)
        volume = cluster.create("moves", size=GIB // 2)
        capability = mount(fs_type=file_system)
        path = cluster.publish(volume, names[0], capability=capability)
        (cluster.seen_by(names[0], path) / "data").write_bytes(data)
        cluster.unpublish(volume, names[0])
        # It grows where it is published next, which takes the tools for that.
        patiently(lambda: cluster.controller.ControllerExpandVolume(
            csi.ControllerExpandVolumeRequest(
                volume_id=volume.volume_id, capacity_range=csi.CapacityRange(required_bytes=GIB)), timeout=60))
        path = cluster.publish(volume, names[1], capability=capability)
        assert (cluster.seen_by(names[1], path) / "data").read_bytes() == data
        status = os.statvfs(cluster.seen_by(names[1], path))
        assert status.f_blocks * status.f_frsize > GIB * 3 // 4
        cluster.unpublish(volume, names[1])
        cluster.delete(volume)
        for name in ["controller", *names]:
            assert cluster.processes[name].stop() == 0, cluster.processes[name].text()


def test_the_command_line_reads_a_bucket(image, seaweedfs):
    result = subprocess.run(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "sh", str(image), USER,
         *(f"{key}={value}" for key, value in seaweedfs.environment.items()), "perssd", "volumes", "--store",
         f"s3://{seaweedfs.bucket}/empty", "--store-endpoint", seaweedfs.endpoint], capture_output=True, text=True, timeout=60)
    assert result.returncode == 0, result.stderr
