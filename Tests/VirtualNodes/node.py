"""A machine in software that boots in seconds, with NVMe drives that can be pulled out and a plug that can be, too."""

import concurrent.futures
import dataclasses
import pathlib
import signal
import subprocess
import time

from node_agent import Agent, NodeError
from qmp import Monitor
from servers import DIE_WITH_PARENT, free_port

BOOT_SECONDS = 180

# What is to die with its parent dies with the thread that began it, so this one lives as long as the process.
STARTER = concurrent.futures.ThreadPoolExecutor(max_workers=1)


@dataclasses.dataclass
class Drive:
    """An NVMe drive; what is on it outlives the machine."""

    serial: str
    size: int
    # Whether it takes writes; one that does not says nothing of it.
    writable: bool = True


class VirtualNode:
    """A node whose root is this machine's own, read-only below a layer in memory: what is built here runs there.

    Its memory is lost by `kill`, as in a loss of power. What its drives had acknowledged is not: the emulated drives have
    no cache of their own that could lose it.
    """

    # As seen from a node, where this machine's loopback is.
    MACHINE = "10.0.2.2"
    # Where a node sees `shared`.
    SHARED = pathlib.PurePosixPath("/run/shared")

    def __init__(self, name, directory, kernel, drives):
        """
        directory: for the drives' contents, which are sparse, and for logs.
        """
        self.name, self.directory, self.kernel = name, directory, kernel
        self.drives = {drive.serial: drive for drive in drives}
        self.shared = directory / "shared"
        self.shared.mkdir(parents=True)
        self.empty_drives()
        self.process = None
        self.boots = 0

    def contents(self, serial):
        """The file that holds a drive's contents. Look into it only while the machine is off."""
        return self.directory / f"{serial}.drive"

    def empty_drives(self):
        for serial in self.drives:
            self.empty_drive(serial)

    def empty_drive(self, serial):
        """Only while the machine is off."""
        with open(self.contents(serial), "wb") as file:
            file.truncate(self.drives[serial].size)

    # Power

    def boot(self):
        self.switch_on()
        self.wait_until_up()

    def switch_on(self):
        """Begins to boot. The node ends with this process, if not before."""
        assert not self.is_on, f"{self.name} is on already"
        self.boots += 1
        self.agent = Agent(free_port())
        # What listens at GUEST_PORT in the node is reached here.
        self.port = free_port()
        # And what listens at AGENT_PORT here.
        self.agent_port = free_port()
        self.serial_log = self.directory / f"serial-{self.boots}.log"
        self.log = self.directory / f"qemu-{self.boots}.log"
        with open(self.log, "wb") as log:
            self.process = STARTER.submit(
                subprocess.Popen, DIE_WITH_PARENT + self._command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            ).result()

    def wait_until_up(self, seconds=BOOT_SECONDS):
        deadline = time.monotonic() + seconds
        while True:
            status = self.process.poll()
            if status is not None or time.monotonic() > deadline:
                what = "does not answer" if status is None else f"ended with {status}"
                self.kill()
                raise NodeError(f"{self.name} {what}: {self.log.read_text()}{self.serial_text()[-3000:]}")
            try:
                # QEMU takes the connection at once, and knocks ever more seldom at a node that is not up yet.
                self.agent.call("run", timeout=1, patience=0, command=["true"], environment={})
                self.set_clock()
                return
            except NodeError:
                time.sleep(0.1)

    # The ports in the node that `port` and `agent_port` of this machine lead to.
    GUEST_PORT = 9001
    AGENT_PORT = 9002

    def _command(self):
        # Two processors, as with one of them, and so one queue, QEMU 7.2 loses sight of commands: the kernel waits for them
        # until it gives up the drive. All programs run on the first: the two would wait for each other, for long where the
        # machine has no core to spare. Where the translated code of all tests has no room, all of it is thrown away and
        # translated again.
        command = [
            "qemu-system-x86_64", "-name", self.name, "-accel", "tcg,thread=multi,tb-size=1024", "-cpu", "Nehalem",
            "-machine", "q35", "-smp", "2", "-m", "1G", "-nodefaults", "-display", "none", "-no-reboot",
            "-rtc", "base=utc", "-serial", f"file:{self.serial_log}",
            "-qmp", f"unix:{self.directory / 'monitor'},server=on,wait=off",
            "-kernel", str(self.kernel.image), "-initrd", str(self.kernel.initial_files),
            "-append", "console=ttyS0 panic=-1 loglevel=5 no_timer_check mitigations=off nokaslr net.ifnames=0 "
                       f"isolcpus=1 hostname={self.name}",
            "-fsdev", "local,id=machine,path=/,security_model=none,readonly=on,multidevs=remap",
            "-device", "virtio-9p-pci,fsdev=machine,mount_tag=machine",
            "-fsdev", f"local,id=shared,path={self.shared},security_model=none",
            "-device", "virtio-9p-pci,fsdev=shared,mount_tag=shared",
            "-netdev", f"user,id=net,hostfwd=tcp:127.0.0.1:{self.agent.port}-:9000,"
                       f"hostfwd=tcp:127.0.0.1:{self.port}-:{self.GUEST_PORT},"
                       f"hostfwd=tcp:127.0.0.1:{self.agent_port}-:{self.AGENT_PORT}",
            "-device", "virtio-net-pci,netdev=net,romfile=",
        ]
        for slot, drive in enumerate(self.drives.values(), start=1):
            command += [
                "-drive", f"file={self.contents(drive.serial)},if=none,id=contents-{drive.serial},format=raw,"
                          f"cache=unsafe,discard=unmap,readonly={'off' if drive.writable else 'on'}",
                "-device", f"pcie-root-port,id=slot-{slot},chassis={slot},slot={slot}",
                "-device", self._device(drive, slot),
            ]
        return command

    @staticmethod
    def _device(drive, slot):
        return (f"nvme,id=drive-{drive.serial},bus=slot-{slot},serial={drive.serial},"
                f"drive=contents-{drive.serial},max_ioqpairs=2")

    @property
    def is_on(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """The power is gone."""
        if self.process is None:
            return
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process = None

    def serial_text(self):
        return self.serial_log.read_text(errors="replace") if self.serial_log.exists() else ""

    # Drives

    def device(self, serial):
        """The node's name for a drive; /dev/nvme0n1."""
        for line in self.run("lsblk", "--nodeps", "--noheadings", "--output", "NAME,SERIAL").text.splitlines():
            name, *rest = line.split()
            if rest == [serial]:
                return f"/dev/{name}"
        raise NodeError(f"{self.name} has no drive {serial}")

    def pull_out(self, serial):
        """Takes a drive out of the running node; the next boot has it again."""
        monitor = Monitor(self.directory / "monitor")
        try:
            monitor.call("device_del", id=f"drive-{serial}")
            monitor.wait_for("DEVICE_DELETED", seconds=30, device=f"drive-{serial}")
        finally:
            monitor.close()

    # Commands

    def run(self, *command, **options):
        """Runs a command in the node. See Agent.run."""
        return self.agent.run(command, **options)

    def start(self, command, log, environment):
        """Begins a command that goes on in the background; its output goes to a file below SHARED. Returns its pid."""
        return self.agent.call(
            "start", command=command, log=str(self.SHARED / log), environment=environment)[0]["pid"]

    def status(self, pid):
        """How what `start` has begun has ended; None while it runs."""
        return self.agent.call("poll", pid=pid)[0]["status"]

    def signal(self, pid, number):
        self.agent.call("signal", pid=pid, signal=int(number))

    def write(self, path, contents, offset=None):
        """A file, or with an offset a part of one. It is synced."""
        self.agent.call("write", contents, timeout=120, path=str(path), offset=offset)

    def read(self, path):
        return self.agent.call("read", timeout=120, path=str(path))[1]

    def set_clock(self):
        """Makes it the machine's; the store refuses requests that are a quarter of an hour off. Returns the error."""
        return self.agent.call("clock", time=time.time())[0]["difference"]


def boot_all(nodes):
    """Those that are off, side by side."""
    off = [node for node in nodes if not node.is_on]
    for node in off:
        node.switch_on()
    for node in off:
        node.wait_until_up()
