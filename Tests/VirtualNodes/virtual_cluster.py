"""A controller on this machine, and node plugins in virtual nodes."""

import pathlib
import secrets
import shutil
import signal
import tempfile

from call_log import with_cost
from cluster import Cluster, Plugin, csi
from node import boot_all
from waiting import wait_for

# The plugin is emulated, and may be a debug build.
READY_SECONDS = 300


class GuestPlugin(Plugin):
    """perssd-node in a virtual node."""

    def __init__(self, node, command, environment):
        self.guest, self.command, self.environment = node, command, environment
        self.log_name = f"{node.name}.log"
        self.start()

    def start(self):
        self.boot = self.guest.boots
        self.pid = self.guest.start(self.command, self.log_name, self.environment)
        try:
            self.connect(f"127.0.0.1:{self.guest.port}", "perssd-node", READY_SECONDS)
        except RuntimeError as error:
            # Whether it is slow or hangs, and where.
            look = "ps -eo pid,ppid,etimes,stat,wchan:20,args | grep -v ' \\[' | cut -c1-200; dmesg | tail -20"
            doing = self.guest.run("sh", "-c", look, check=False)
            raise RuntimeError(f"{error}\n{doing.text}") from error

    def has_ended(self):
        return not self.guest.is_on or self.guest.boots != self.boot or self.guest.status(self.pid) is not None

    def text(self):
        return (self.guest.shared / self.log_name).read_text(errors="replace")

    def kill(self):
        self._end(signal.SIGKILL)

    def stop(self):
        return self._end(signal.SIGTERM)

    def _end(self, what):
        self.channel.close()
        self.guest.signal(self.pid, what)
        status, _ = wait_for(
            f"the end of perssd-node on {self.guest.name}", lambda: (self.guest.status(self.pid), self.text()[-3000:]),
            lambda seen: seen[0] is not None, pause=0.05)
        return status


class VirtualCluster(Cluster):
    """Targets and pools are paths in the nodes; `directory` is this machine's.

    It stays up for many tests. A subclass says which pool its nodes have; one of them at a time has the nodes.
    """

    # What a node keeps is on a file system of a drive, as it has to outlive a loss of power.
    SYSTEM = pathlib.PurePosixPath("/mnt/system")
    running = None

    def __init__(self, binaries, workplace, seaweedfs, nodes):
        directory = pathlib.Path(tempfile.mkdtemp(prefix="cluster-", dir=workplace))
        super().__init__(binaries, directory, ([], seaweedfs.environment))
        self.nodes, self.seaweedfs = nodes, seaweedfs
        self.place = self.SYSTEM / self.KIND
        self.pods = self.place / "pods"
        self.new_bucket()

    def new_bucket(self):
        location = f"s3://{self.seaweedfs.bucket}/{secrets.token_hex(6)}"
        endpoint = self.seaweedfs.endpoint
        self.store_arguments = [location, "--store-endpoint", endpoint]
        seen_from_node = endpoint.replace("127.0.0.1", next(iter(self.nodes.values())).MACHINE)
        self.node_store_arguments = [location, "--store-endpoint", seen_from_node]

    def pool_arguments(self, node):
        """The options that give a node its pool, after what has to be mounted is."""
        raise NotImplementedError

    # Processes

    def bring_up(self):
        """Starts what does not run, and sets the nodes' clocks."""
        if VirtualCluster.running not in (None, self):
            VirtualCluster.running.stop()
        VirtualCluster.running = self
        if "controller" not in self.processes:
            self.start_controller()
        boot_all(self.nodes.values())
        for name, node in self.nodes.items():
            if abs(node.set_clock()) > 60:
                # Signatures of requests are good for 15 minutes.
                print(f"the clock of {name} was a minute off")
            if name not in self.processes or self.processes[name].has_ended():
                self.start_node(name)

    def start_node(self, name):
        node = self.nodes[name]
        self.mount_drive(node, "system", self.SYSTEM, "ext4")
        node.run("mkdir", "-p", self.pods)
        self.processes[name] = GuestPlugin(node, [
            str(self.binaries / "perssd-node"), "--endpoint", f"tcp://0.0.0.0:{node.GUEST_PORT}", "--store",
            *self.node_store_arguments, "--cluster", "test", "--log-level", "debug", "--node-id", name,
            "--state-directory", str(self.place / "state"), "--agent-listen", f"0.0.0.0:{node.AGENT_PORT}",
            "--agent-address", f"127.0.0.1:{node.agent_port}", *self.pool_arguments(node)], self.environment)
        return self.processes[name]

    @staticmethod
    def mount_drive(node, serial, place, fs_type):
        """Mounts a drive's file system, and makes it where there is none."""
        if node.run("mountpoint", "-q", place, check=False).status == 0:
            return
        device = node.device(serial)
        if node.run("blkid", "-p", device, check=False).status != 0:
            node.run(f"mkfs.{fs_type}", "-q", device)
        node.run("mkdir", "-p", place)
        node.run("mount", device, place)

    def publish_and_count(self, volume, name):
        """Publishes a volume; returns the path the pod sees, and how many bytes the node's plugin has received from the store for
        that, as its log says."""
        return with_cost(
            self.processes[name], "NodePublishVolume", lambda: self.publish(volume, name), "storeReceived")

    def wait_for_room(self, name, size):
        """Controllers know of a node's pool what its record says, which the node writes some time after the pool has changed."""
        request = csi.GetCapacityRequest(accessible_topology=csi.Topology(
            segments={"topology.csi.perssd.io/node": name}))
        wait_for(f"room for {size} bytes on {name}",
                 lambda: self.controller.GetCapacity(request, timeout=60).available_capacity, lambda free: free >= size)

    def lose_power(self, name):
        """Cuts a node's power, and boots it again, up to the plugin."""
        self.processes[name].channel.close()
        self.nodes[name].kill()
        self.nodes[name].boot()
        return self.start_node(name)

    def reset(self):
        """Does away with all that there is: processes, the nodes' memory, the contents of their drives, the bucket."""
        for process in self.processes.values():
            process.channel.close()
        self.processes.pop("controller").kill()
        self.processes.clear()
        for node in self.nodes.values():
            node.kill()
            node.empty_drives()
        VirtualCluster.running = None
        self.new_bucket()

    def stop(self):
        for process in self.processes.values():
            if not process.has_ended():
                process.stop()
        self.processes.clear()
        if VirtualCluster.running is self:
            VirtualCluster.running = None

    def __exit__(self, *_):
        self.stop()
        shutil.rmtree(self.directory)

    # Targets

    def target(self, node, pod):
        return str(self.pods / pod)

    def check_nothing_leaked_while_running(self):
        """What a test has unpublished is not mounted, nor is anything left of its targets."""
        for name, node in self.nodes.items():
            assert node.run("ls", self.pods).text.split() == []
            table = node.read("/proc/self/mountinfo").decode()
            points = [line.split()[4] for line in table.splitlines()]
            assert [point for point in points if point.startswith(f"{self.place}/")] == []
