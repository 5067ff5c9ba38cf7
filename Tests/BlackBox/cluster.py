"""A controller and nodes as processes, and what kubelet and the sidecars do with them."""

import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import grpc

from servers import DIE_WITH_PARENT
from waiting import SECONDS, wait_for

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _compile_protocol():
    """csi.proto, compiled by Google's own compiler: nothing of the driver's is in the client."""
    directory = pathlib.Path(__file__).parent / "__pycache__" / "protocol"
    directory.mkdir(parents=True, exist_ok=True)
    # Beside the place, and moved there whole: others who begin at the same time are about to import what is there.
    with tempfile.TemporaryDirectory(dir=directory.parent) as made:
        subprocess.run(
            [sys.executable, "-m", "grpc_tools.protoc", f"-I{ROOT / 'proto'}", f"--python_out={made}",
             f"--grpc_python_out={made}", str(ROOT / "proto" / "csi.proto")], check=True)
        for path in pathlib.Path(made).iterdir():
            path.replace(directory / path.name)
    sys.path.insert(0, str(directory))


_compile_protocol()
import csi_pb2 as csi  # noqa: E402
import csi_pb2_grpc as csi_grpc  # noqa: E402

GIB = 1 << 30
MIB = 1 << 20


def _inodes_below(directory):
    for parent, _, names in os.walk(directory):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(os.path.join(parent, name))
                yield status.st_dev, status.st_ino


def loops_below(directory):
    """Loop devices whose backing file lies below a directory, by its path or, as the kernel does not know that of a file which was
    opened in a mount namespace that is gone, by its inode."""
    inodes = set(_inodes_below(directory))
    listed = subprocess.run(
        ["losetup", "--list", "--json", "--output", "NAME,BACK-FILE,BACK-INO,BACK-MAJ:MIN"],
        check=True, capture_output=True, text=True).stdout
    found = []
    for device in json.loads(listed)["loopdevices"] if listed.strip() else []:
        is_inside = (device["back-file"] or "").startswith(f"{directory}/")
        # Neither is known of a device that has just been detached, or whose file system has failed.
        if device["back-maj:min"] and device["back-ino"]:
            number = os.makedev(*map(int, device["back-maj:min"].split(":")))
            is_inside = is_inside or (number, int(device["back-ino"])) in inodes
        if is_inside:
            found.append(device["name"].removeprefix("/dev/"))
    return found


def mounts_below(directory):
    with open("/proc/self/mountinfo") as table:
        return [line.split()[4] for line in table if line.split()[4].startswith(str(directory))]


class Plugin:
    """A plugin with a client of its services, wherever its process runs."""

    def open(self, address):
        # A new connection each time: one that failed before is not to be waited for.
        self.channel = grpc.insecure_channel(address, options=[
            ("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100), ("grpc.max_reconnect_backoff_ms", 1000)])
        self.identity = csi_grpc.IdentityStub(self.channel)
        self.controller = csi_grpc.ControllerStub(self.channel)
        self.groups = csi_grpc.GroupControllerStub(self.channel)
        self.node = csi_grpc.NodeStub(self.channel)
        self.metadata = csi_grpc.SnapshotMetadataStub(self.channel)

    def connect(self, address, name, seconds=SECONDS):
        """Waits until the process that has just been started has taken up its work."""
        self.open(address)
        deadline = time.monotonic() + seconds
        while True:
            if self.has_ended():
                raise RuntimeError(f"{name} ended: {self.text()[-3000:]}")
            try:
                if self.identity.Probe(csi.ProbeRequest(), timeout=5).ready.value:
                    return
                reason = "it is starting"
            except grpc.RpcError as error:
                reason = error.details()
            if time.monotonic() > deadline:
                raise RuntimeError(f"{name} is not ready: {reason}\n{self.text()[-3000:]}")
            time.sleep(0.05)


class Process(Plugin):
    """One plugin process with its socket."""

    def __init__(self, command, environment, socket_path, log_path):
        self.command, self.environment = command, environment
        self.socket_path, self.log_path = socket_path, log_path
        self.start()

    def start(self):
        self.log = open(self.log_path, "ab")
        self.process = subprocess.Popen(
            DIE_WITH_PARENT + self.command, env={**os.environ, **self.environment}, stdout=self.log, stderr=self.log,
            # A terminal's Ctrl-C is for whoever started this, who ends it in order.
            process_group=0)
        self.connect(f"unix:{self.socket_path}", self.command[0])

    def has_ended(self):
        return self.process.poll() is not None

    def text(self):
        return pathlib.Path(self.log_path).read_text(errors="replace")

    def kill(self):
        self._end(signal.SIGKILL)

    def stop(self):
        """As the container runtime does; returns the exit status."""
        return self._end(signal.SIGTERM)

    def _end(self, what):
        self.channel.close()
        if self.process.poll() is None:
            self.process.send_signal(what)
        status = self.process.wait(timeout=60)
        self.log.close()
        return status


class Cluster:
    def __init__(self, binaries, directory, store, name="test"):
        self.binaries, self.directory, self.name = binaries, directory, name
        self.store_arguments, self.environment = store
        self.processes = {}
        # What a plugin's command begins with.
        self.wrapper = []
        # None for what a configuration file says.
        self.log_level = "debug"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        hung = []
        for name, process in self.processes.items():
            try:
                if not process.has_ended():
                    process.stop()
            except subprocess.TimeoutExpired:
                # It goes, so that all the rest can, and is reported then.
                process.kill()
                hung.append(name)
        for path in sorted(mounts_below(self.directory), key=len, reverse=True):
            subprocess.run(["umount", path], check=False)
        for device in loops_below(self.directory):
            subprocess.run(["losetup", "-d", f"/dev/{device}"], check=False)
        logs = [self.processes[name].text()[-2000:] for name in hung]
        shutil.rmtree(self.directory, ignore_errors=True)
        assert not hung, f"{hung} did not end within a minute of SIGTERM: {logs}"

    # Processes

    def _start(self, name, program, arguments):
        socket_path = self.directory / f"{name}.sock"
        command = [*self.wrapper, str(self.binaries / program), "--endpoint", f"unix://{socket_path}", "--store",
                   *self.store_arguments, "--cluster", self.name, *arguments]
        if self.log_level and "--log-level" not in arguments:
            command += ["--log-level", self.log_level]
        self.processes[name] = Process(command, self.environment, socket_path, self.directory / f"{name}.log")
        return self.processes[name]

    def start_controller(self, name="controller", arguments=()):
        return self._start(name, "perssd-controller", list(arguments))

    def start_node(self, name, size="8GiB", pool=None, arguments=()):
        pool = pool or self.directory / name / "pool"
        pool.mkdir(parents=True, exist_ok=True)
        (self.directory / name / "pods").mkdir(parents=True, exist_ok=True)
        return self._start(name, "perssd-node", [
            "--node-id", name, "--pool", f"directory={pool},size={size}",
            "--state-directory", str(self.directory / name / "state"), *arguments])

    def restart(self, name):
        process = self.processes[name]
        process.start()
        return process

    @property
    def controller(self):
        return self.processes["controller"].controller

    @property
    def groups(self):
        return self.processes["controller"].groups

    def node(self, name):
        return self.processes[name].node

    def target(self, node, pod):
        return str(self.directory / node / "pods" / pod)

    # What kubelet and the sidecars do

    def create(self, name, size=256 * MIB, capability=None, parameters=None):
        request = csi.CreateVolumeRequest(
            name=name, capacity_range=csi.CapacityRange(required_bytes=size),
            volume_capabilities=[capability or mount()], parameters=parameters or {})
        return patiently(lambda: self.controller.CreateVolume(request, timeout=60)).volume

    def publish(self, volume, node, pod="pod", capability=None, readonly=False, context=None, attach_readonly=None):
        """Attach, then publish; returns the path the pod sees. `context` is what kubelet adds to the volume's own. Kubernetes
        attaches a volume for writing whose pod only reads: `attach_readonly`, where it is not as `readonly`."""
        capability = capability or mount()
        attached = patiently(lambda: self.controller.ControllerPublishVolume(
            csi.ControllerPublishVolumeRequest(
                volume_id=volume.volume_id, node_id=node, volume_capability=capability,
                readonly=readonly if attach_readonly is None else attach_readonly,
                volume_context=volume.volume_context), timeout=60))
        target = self.target(node, pod)
        patiently(lambda: self.node(node).NodePublishVolume(
            csi.NodePublishVolumeRequest(
                volume_id=volume.volume_id, publish_context=attached.publish_context, target_path=target,
                volume_capability=capability, readonly=readonly,
                volume_context={**volume.volume_context, **(context or {})}), timeout=120))
        return pathlib.Path(target)

    def unpublish(self, volume, node, pod="pod", detach=True):
        patiently(lambda: self.node(node).NodeUnpublishVolume(
            csi.NodeUnpublishVolumeRequest(volume_id=volume.volume_id, target_path=self.target(node, pod)),
            timeout=120))
        if detach:
            self.detach(volume, node)

    @staticmethod
    def scratch_id(pod):
        """As kubelet makes it up for a volume in a pod's own description."""
        return "csi-" + hashlib.sha256(pod.encode()).hexdigest()

    def publish_scratch(self, node, pod, capability=None, **attributes):
        """Publishes an ephemeral volume; returns the path the pod sees."""
        context = {
            "csi.storage.k8s.io/ephemeral": "true", "csi.storage.k8s.io/pod.name": pod,
            "csi.storage.k8s.io/pod.namespace": "default", "csi.storage.k8s.io/pod.uid": "1-2-3",
            "csi.storage.k8s.io/serviceAccount.name": "default", **attributes}
        target = self.target(node, pod)
        patiently(lambda: self.node(node).NodePublishVolume(
            csi.NodePublishVolumeRequest(
                volume_id=self.scratch_id(pod), target_path=target, volume_context=context,
                volume_capability=capability or mount(fs_type="", mode="SINGLE_NODE_WRITER")), timeout=120))
        return pathlib.Path(target)

    def unpublish_scratch(self, node, pod):
        patiently(lambda: self.node(node).NodeUnpublishVolume(
            csi.NodeUnpublishVolumeRequest(
                volume_id=self.scratch_id(pod), target_path=self.target(node, pod)), timeout=120))

    def detach(self, volume, node):
        patiently(lambda: self.controller.ControllerUnpublishVolume(
            csi.ControllerUnpublishVolumeRequest(volume_id=volume.volume_id, node_id=node), timeout=60))

    def delete(self, volume):
        patiently(lambda: self.controller.DeleteVolume(
            csi.DeleteVolumeRequest(volume_id=volume.volume_id), timeout=60))

    def age_node(self, name):
        """Makes a node's record old, as if it had been silent for an hour."""
        self._age(f"nodes/{self.name}/", f"{name}.json", "seenAt")

    def collect(self):
        """Collects garbage, as if an hour had passed since the last time."""
        self._age("lineages/", "collection.json", "since")
        return self.perssd("gc", "--grace", "1m")

    def _age(self, prefix, suffix, field):
        program = str(pathlib.Path(__file__).parent / "age_records.py")
        subprocess.run(
            [sys.executable, program, prefix, suffix, field, *self.store_arguments],
            env={**os.environ, **self.environment}, check=True)

    def check_nothing_leaked_while_running(self):
        """Volumes that a test has unpublished are neither mounted nor attached."""
        for name in self.processes:
            pods = self.directory / name / "pods"
            if pods.exists():
                published = set(mounts_below(pods))
                left = [p for p in pods.iterdir() if str(p) not in published]
                assert left == [], f"targets are left on {name}: {left}"

    def perssd(self, *arguments, check=True):
        """The command line, on the same store."""
        command = [str(self.binaries / "perssd"), *arguments[:1], "--store", *self.store_arguments, *arguments[1:]]
        return subprocess.run(
            command, env={**os.environ, **self.environment}, check=check, capture_output=True, text=True, timeout=300)


def patiently(call, seconds=180):
    """Repeats a call as the orchestrator does, for as long as the plugin says that work goes on."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return call()
        except grpc.RpcError as error:
            if error.code() not in (grpc.StatusCode.ABORTED, grpc.StatusCode.UNAVAILABLE):
                raise
            if time.monotonic() > deadline:
                raise
            time.sleep(0.2)


def until_ready(make, seconds=SECONDS):
    """Asks for a snapshot, or a group of them, again and again, as its sidecar does, until it is ready."""
    return wait_for("a snapshot that is ready", lambda: patiently(make), lambda made: made.ready_to_use, seconds)


def mount(fs_type="ext4", mode="SINGLE_NODE_MULTI_WRITER", flags=()):
    return csi.VolumeCapability(
        mount=csi.VolumeCapability.MountVolume(fs_type=fs_type, mount_flags=flags),
        access_mode=csi.VolumeCapability.AccessMode(mode=csi.VolumeCapability.AccessMode.Mode.Value(mode)))


def block(mode="SINGLE_NODE_MULTI_WRITER"):
    return csi.VolumeCapability(
        block=csi.VolumeCapability.BlockVolume(),
        access_mode=csi.VolumeCapability.AccessMode(mode=csi.VolumeCapability.AccessMode.Mode.Value(mode)))


def refused(code, call):
    """The message of a call that has to fail with a code."""
    try:
        result = call()
    except grpc.RpcError as error:
        assert error.code() == getattr(grpc.StatusCode, code), f"{error.code()}: {error.details()}"
        return error.details()
    raise AssertionError(f"expected {code}, got {result}")
