"""Ways of getting a workflow's data from pod to pod and into the bucket, other than PerSSD."""

import json
import os
import pathlib
import shutil
import subprocess
import threading
import time
import urllib.request

from servers import DIE_WITH_PARENT, free_port
from workflow import PARAMETERS, Processes

NODES = ("node-a", "node-b")
# All pods on one node, or in turns on both.
TOGETHER, SPREAD = NODES[:1], NODES


class Way:
    """How a pod's volumes get to it. What has to be done before a step counts as ended, so that the next can rely on it, is in
    `finish`; what nobody waits for is in `tear_down`."""

    # What else than the results is in the bucket at the end.
    keeps = "all"

    def __init__(self, bench, nodes=SPREAD):
        self.bench, self.nodes, self.processes = bench, nodes, Processes()

    def stages(self, work):
        return work.stages(self.nodes)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def before(self, stage):
        """Once, before a stage's pods are made."""

    def set_up(self, pod):
        """The directory of each volume that the pod has."""
        raise NotImplementedError

    def finish(self, pod):
        pass

    def tear_down(self, pod):
        pass

    def settle(self):
        """Waits until all that is to be durable is in the bucket."""

    def fetch_results(self, directory):
        """The mosaics as the bucket has them, and nobody's cache."""
        raise NotImplementedError


class LocalDisk(Way):
    """One node's drive and no bucket: what the work takes by itself. Nothing of it is durable."""

    keeps = "nothing"

    def __init__(self, bench, nodes=TOGETHER):
        super().__init__(bench, nodes)

    def volume(self, node, name):
        path = self.bench.drive(node) / "volumes" / name
        path.mkdir(parents=True, exist_ok=True)
        return path

    def set_up(self, pod):
        return {name: self.volume(pod.node, name) for name in [*pod.reads, pod.writes]}

    def fetch_results(self, directory):
        for parameter in PARAMETERS:
            shutil.copytree(self.volume(self.nodes[0], parameter), directory / parameter)


class Bucket:
    """A prefix of the bucket, for rclone, which is set up by its environment alone."""

    def __init__(self, bench, prefix, processes):
        server, self.program, self.processes = bench.server, bench.rclone, processes
        self.path = f"bucket:{server.bucket}/{prefix}"
        self.environment = {
            "PATH": os.environ["PATH"], "HOME": "/nonexistent", "RCLONE_CONFIG": "/dev/null",
            "RCLONE_CONFIG_BUCKET_TYPE": "s3", "RCLONE_CONFIG_BUCKET_PROVIDER": "Other",
            "RCLONE_CONFIG_BUCKET_ENDPOINT": server.endpoint, "RCLONE_CONFIG_BUCKET_REGION": "us-east-1",
            "RCLONE_CONFIG_BUCKET_ACCESS_KEY_ID": server.access_key,
            "RCLONE_CONFIG_BUCKET_SECRET_ACCESS_KEY": server.secret_key,
        }

    def copy_out(self, directory, name):
        self.processes.run([self.program, "copy", directory, f"{self.path}/{name}"], self.environment)

    def copy_back(self, name, directory):
        self.processes.run([self.program, "copy", f"{self.path}/{name}", directory], self.environment)


class CopiedDisk(LocalDisk):
    """A node's drive, and a copy to the bucket as the last act of each step; what was written elsewhere is copied from there first."""

    keeps = "all"

    def __init__(self, bench, nodes=SPREAD):
        super().__init__(bench, nodes)
        self.bucket = Bucket(bench, bench.prefix(), self.processes)
        self.written_on, self.lock = {}, threading.Lock()
        # (volume, node): pods of a node share what was copied to it.
        self.copies = {}

    def set_up(self, pod):
        for name in pod.reads:
            if self.written_on[name] == pod.node:
                continue
            with self.lock:
                copying = self.copies.setdefault((name, pod.node), threading.Lock())
            with copying:
                marker = self.bench.drive(pod.node) / "volumes" / f".{name}"
                if not marker.exists():
                    self.bucket.copy_back(name, self.volume(pod.node, name))
                    marker.touch()
        return super().set_up(pod)

    def finish(self, pod):
        self.bucket.copy_out(self.volume(pod.node, pod.writes), pod.writes)
        self.written_on[pod.writes] = pod.node

    def fetch_results(self, directory):
        for parameter in PARAMETERS:
            self.bucket.copy_back(parameter, directory / parameter)


class Mounted(Way):
    """The bucket itself, mounted for each pod, as drivers of mounted buckets do."""

    def __init__(self, bench, nodes=SPREAD):
        super().__init__(bench, nodes)
        self.prefix = bench.prefix()
        self.bucket = Bucket(bench, self.prefix, self.processes)
        # Some of these file systems mount only what is there.
        bench.server.client.put_object(Bucket=bench.server.bucket, Key=f"{self.prefix}/")
        self.mounts = {}

    def start(self, pod, directory, cache, log):
        """The file system's process, in the foreground."""
        raise NotImplementedError

    def set_up(self, pod):
        place = self.bench.drive(pod.node) / "pods" / pod.name
        directory, cache = place / "mount", place / "cache"
        directory.mkdir(parents=True)
        cache.mkdir()
        with open(place / "log", "wb") as log:
            process = self.start(pod, directory, cache, log)
        self.mounts[pod.name] = (process, directory)
        deadline = time.monotonic() + 60
        while not os.path.ismount(directory):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{directory} is not mounted: {(place / 'log').read_text(errors='replace')[-3000:]}")
            time.sleep(0.02)
        if pod.writes:
            (directory / pod.writes).mkdir()
        return {name: directory / name for name in [*pod.reads, pod.writes]}

    def tear_down(self, pod):
        process, directory = self.mounts.pop(pod.name)
        self._unmount(process, directory)

    @staticmethod
    def _unmount(process, directory):
        subprocess.run(["umount", directory], check=False)
        try:
            process.wait(timeout=60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def __exit__(self, *_):
        for process, directory in self.mounts.values():
            process.kill()
            self._unmount(process, directory)

    def fetch_results(self, directory):
        for parameter in PARAMETERS:
            self.bucket.copy_back(parameter, directory / parameter)


class RcloneMount(Mounted):
    """`rclone mount`, which uploads a file after it was closed: a step has ended when all its files have been."""

    def __init__(self, bench, nodes=SPREAD):
        super().__init__(bench, nodes)
        self.controls = {}

    def start(self, pod, directory, cache, log):
        port = self.controls[pod.name] = free_port()
        return subprocess.Popen(
            DIE_WITH_PARENT + [
                str(self.bench.rclone), "mount", self.bucket.path, str(directory), "--vfs-cache-mode", "writes",
                # Its own five seconds of waiting for more are saved: the step's end waits for the upload.
                "--vfs-write-back", "0s", "--cache-dir", str(cache), "--rc", "--rc-no-auth",
                "--rc-addr", f"127.0.0.1:{port}"],
            env=self.bucket.environment, stdout=log, stderr=log, process_group=0)

    def finish(self, pod):
        # The kernel tells the file system some moments after a process has closed its last file, so one look that finds nothing to do
        # is not enough.
        idle = 0
        while idle < 4:
            request = urllib.request.Request(
                f"http://127.0.0.1:{self.controls[pod.name]}/vfs/stats", data=b"{}",
                headers={"Content-Type": "application/json"})
            with urllib.request.urlopen(request, timeout=60) as answer:
                cache = json.load(answer)["diskCache"]
            if cache["erroredFiles"]:
                raise RuntimeError(f"rclone mount could not upload {cache['erroredFiles']} files of {pod.name}")
            idle = 0 if cache["uploadsInProgress"] or cache["uploadsQueued"] else idle + 1
            time.sleep(0.05)


class S3FS(Mounted):
    """`s3fs`, which uploads a file when it is closed."""

    def start(self, pod, directory, cache, log):
        server = self.bench.server
        passwords = pathlib.Path(directory).parent / "passwd"
        passwords.touch(mode=0o600)
        passwords.write_text(f"{server.access_key}:{server.secret_key}\n")
        return subprocess.Popen(
            DIE_WITH_PARENT + [
                "s3fs", f"{server.bucket}:/{self.prefix}", str(directory), "-f", "-o", f"passwd_file={passwords}",
                "-o", f"url={server.endpoint}", "-o", "use_path_request_style", "-o", f"tmpdir={cache}",
                "-o", "endpoint=us-east-1"],
            stdout=log, stderr=log, process_group=0)
