"""Processes of their own, and what the system says of each; a server; a place on disk. All end with the benchmark."""

import json
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request

DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL", "--"]
# No proxy, profile or trust store of whoever starts it has a part in what is measured.
CLEAN_ENVIRONMENT = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "LC_ALL": "C.UTF-8"}


class Cost:
    """What a process took: seconds by the clock and of the processor, and its peak memory in bytes."""

    def __init__(self, wall, usage, output):
        self.wall, self.cpu, self.peak = wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024
        self.output = output

    @property
    def json(self):
        return json.loads(self.output)


def run(command, environment=None, stdin=None, keep_output=False):
    """Runs a program to its end; fails with what it said where it fails."""
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as errors, \
            open(stdin or os.devnull, "rb") as source:
        start = time.monotonic()
        process = subprocess.Popen(
            DIE_WITH_PARENT + [str(word) for word in command], env={**CLEAN_ENVIRONMENT, **(environment or {})},
            stdin=source, stdout=out if keep_output else subprocess.DEVNULL, stderr=errors)
        try:
            _, status, usage = os.wait4(process.pid, 0)
        except BaseException:
            process.kill()
            process.wait()
            raise
        wall = time.monotonic() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode != 0:
            errors.seek(0)
            raise RuntimeError(
                f"{pathlib.Path(command[0]).name} ended with {process.returncode}: "
                f"{errors.read()[-3000:].decode(errors='replace')}")
        out.seek(0)
        return Cost(wall, usage, out.read())


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class SeaweedFS:
    """A real S3 server on loopback, with keys of its own."""

    region = "us-east-1"

    def __init__(self, directory, program):
        (directory / "data").mkdir(parents=True)
        self.access_key, self.secret_key = secrets.token_hex(10), secrets.token_hex(20)
        identity = {
            "name": "bench", "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
        (directory / ".seaweedfs").mkdir()
        (directory / ".seaweedfs" / "master.toml").write_text("[master.volume_growth]\ncopy_1 = 1\n")
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        command = [
            program, "-logtostderr=true", "server", f"-dir={directory / 'data'}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
            f"-master.port={free_port()}", f"-master.port.grpc={free_port()}", "-master.volumeSizeLimitMB=1024",
            "-master.telemetry=false", f"-volume.port={free_port()}", f"-volume.port.grpc={free_port()}",
            "-volume.max=2000", "-volume.minFreeSpace=1", "-filer", f"-filer.port={free_port()}",
            f"-filer.port.grpc={free_port()}", f"-filer.localSocket={directory / 'filer.sock'}", "-s3",
            f"-s3.port={port}", f"-s3.port.grpc={free_port()}", "-s3.port.iceberg=0", "-s3.port.lance=0",
            f"-s3.localSocket={directory / 's3.sock'}", f"-s3.config={directory / 's3.json'}"]
        self.log = open(directory / "log", "wb")
        self.process = subprocess.Popen(
            DIE_WITH_PARENT + [str(word) for word in command], env={**CLEAN_ENVIRONMENT, "HOME": str(directory)},
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        try:
            self._wait_until_ready()
        except BaseException:
            self.stop()
            raise

    def _wait_until_ready(self):
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(
                    f"SeaweedFS ended with {self.process.returncode}: "
                    f"{pathlib.Path(self.log.name).read_text(errors='replace')[-3000:]}")
            try:
                urllib.request.urlopen(self.endpoint, timeout=2)
            except urllib.error.HTTPError as error:
                # Without a signature it says no, once it has read who may.
                if error.code == 403:
                    return
            except OSError:
                pass
            time.sleep(0.2)
        raise RuntimeError("SeaweedFS did not start within two minutes")

    def stop(self):
        # A graceful end takes it up to half a minute, and nothing of it is kept.
        self.process.kill()
        self.process.wait()
        self.log.close()


class Workplace:
    """A directory on a disk, removed at the end with what is mounted and attached in it."""

    def __init__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="perssd-bench-", dir="/var/tmp"))

    def __enter__(self):
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._end)
        return self

    @staticmethod
    def _end(number, _):
        raise SystemExit(128 + number)

    def __truediv__(self, name):
        return self.path / name

    def make_reflink_directory(self, name, size_bytes):
        """A directory on an XFS of its own, which shares blocks between files as a node's pool does."""
        image, directory = self.path / f"{name}.xfs", self.path / name
        with open(image, "wb") as file:
            file.truncate(size_bytes)
        directory.mkdir()
        run(["mkfs.xfs", "-q", "-m", "reflink=1", image])
        run(["mount", "-o", "loop", image, directory])
        return directory

    def __exit__(self, *_):
        for path in sorted(self._mounts(), key=len, reverse=True):
            # What a killed pool left attached on it holds the mount.
            for device in self._loops_below(path):
                subprocess.run(["losetup", "--detach", device], check=False)
            subprocess.run(["umount", path], check=False)
        for device in self._loops_below(str(self.path)):
            subprocess.run(["losetup", "--detach", device], check=False)
        if self._mounts():
            print(f"perssd-bench: {self.path} is still mounted on, and stays", flush=True)
        else:
            shutil.rmtree(self.path, ignore_errors=True)

    def _mounts(self):
        with open("/proc/self/mountinfo") as table:
            paths = [line.split()[4] for line in table]
        return [path for path in paths if path.startswith(f"{self.path}/")]

    @staticmethod
    def _loops_below(directory):
        for device in pathlib.Path("/sys/block").glob("loop*"):
            try:
                backing = (device / "loop" / "backing_file").read_text().strip()
            except OSError:
                continue
            if backing.startswith(f"{directory}/"):
                yield f"/dev/{device.name}"
