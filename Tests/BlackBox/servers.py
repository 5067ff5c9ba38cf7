"""S3 servers as processes of their own, on loopback."""

import json
import pathlib
import secrets
import signal
import socket
import subprocess
import urllib.error
import urllib.request

import boto3
import botocore.exceptions

from waiting import wait_for

DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL", "--"]


# By this process, which may be long in using them.
given_out = set()


def free_port(twin=0):
    """A port that nobody uses now, nor the one so far above it, and that stays free until it is used: it is none of those that the
    kernel gives to whoever connects somewhere, or binds to any port."""
    first_of_kernel = int(pathlib.Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
    lowest, end = 10240, first_of_kernel - twin
    assert end > lowest + 100, f"the kernel gives away all ports from {first_of_kernel} on: see net.ipv4.ip_local_port_range"
    for _ in range(1000):
        ports = {port := lowest + secrets.randbelow(end - lowest), port + twin}
        if not ports & given_out and all(map(is_free, ports)):
            given_out.update(ports)
            return port
    raise RuntimeError("no port is free")


def is_free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_seaweedfs_port():
    """One whose gRPC twin is free, too."""
    return free_port(twin=10000)


class SeaweedFS:
    def __init__(self, directory, program):
        if not program.exists():
            raise RuntimeError(f"{program} is missing: run scripts/install-dependencies.sh test")
        directory.mkdir(parents=True)
        self.access_key, self.secret_key = secrets.token_hex(10), secrets.token_hex(20)
        identity = {
            "name": "admin",
            "credentials": [{"accessKey": self.access_key, "secretKey": self.secret_key}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        }
        (directory / "s3.json").write_text(json.dumps({"identities": [identity]}))
        port = free_port()
        self.endpoint = f"http://127.0.0.1:{port}"
        command = [str(program), "server", f"-dir={directory}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1",
                   f"-master.port={free_seaweedfs_port()}", f"-volume.port={free_seaweedfs_port()}",
                   f"-filer.port={free_seaweedfs_port()}", "-master.volumeSizeLimitMB=1024", "-volume.max=60",
                   "-volume.minFreeSpace=1", "-filer", "-s3", f"-s3.port={port}",
                   f"-s3.port.grpc={free_port()}", f"-s3.config={directory / 's3.json'}",
                   # Fixed ports and names, which a second server on this machine would want, too.
                   "-s3.port.iceberg=0", "-s3.port.lance=0", "-master.telemetry=false",
                   f"-filer.localSocket={directory / 'filer.sock'}", f"-s3.localSocket={directory / 's3.sock'}"]
        self.log = open(directory / "log", "wb")
        # A terminal's Ctrl-C is for whoever started this, who ends it in order.
        self.process = subprocess.Popen(
            DIE_WITH_PARENT + command, stdout=self.log, stderr=self.log, process_group=0)
        self.environment = {
            "AWS_ACCESS_KEY_ID": self.access_key, "AWS_SECRET_ACCESS_KEY": self.secret_key,
            "AWS_REGION": "us-east-1",
        }
        self._wait_until_ready()
        self.client = boto3.client(
            "s3", endpoint_url=self.endpoint, region_name="us-east-1", aws_access_key_id=self.access_key,
            aws_secret_access_key=self.secret_key)
        # One for all tests, each with a prefix: every bucket takes volumes of SeaweedFS, and they run out.
        self.bucket = "perssd-" + secrets.token_hex(6)
        # Its parts find each other after they have begun to answer.
        self._wait_for("SeaweedFS makes a bucket", self._make_bucket)
        self._wait_for("SeaweedFS takes an object", self._take_object)

    def _wait_for(self, what, failure):
        wait_for(f"{what}: see {self.log.name}", failure, lambda seen: seen is None, pause=0.2,
                 over=lambda: self.process.poll() is not None)

    def _wait_until_ready(self):
        self._wait_for("SeaweedFS answers", self._answer)

    def _answer(self):
        """What is wrong yet; None for nothing, as from those that follow."""
        try:
            urllib.request.urlopen(self.endpoint, timeout=10).close()
        except urllib.error.HTTPError as error:
            # It wants to know who asks.
            return None if error.code == 403 else error
        except OSError as error:
            return error
        return "it lets everybody in"

    def _make_bucket(self):
        try:
            self.client.create_bucket(Bucket=self.bucket)
        except botocore.exceptions.ClientError as error:
            # Of a try whose answer was an error, or got lost.
            return None if error.response["Error"]["Code"].startswith("BucketAlready") else error
        except botocore.exceptions.BotoCoreError as error:
            return error
        return None

    def _take_object(self):
        try:
            self.client.put_object(Bucket=self.bucket, Key="first", Body=b"contents")
            self.client.delete_object(Bucket=self.bucket, Key="first")
        except (botocore.exceptions.ClientError, botocore.exceptions.BotoCoreError) as error:
            return error
        return None

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()
