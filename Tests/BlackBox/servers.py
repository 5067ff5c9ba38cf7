"""S3 servers as processes of their own, on loopback."""

import json
import secrets
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

import boto3

DIE_WITH_PARENT = ["setpriv", "--pdeathsig", "KILL", "--"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def free_seaweedfs_ports():
    """Ports whose gRPC twins, 10000 above, are free, too."""
    while True:
        port = free_port()
        if port + 10000 > 65535:
            continue
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port + 10000))
            except OSError:
                continue
        return port


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
                   f"-master.port={free_seaweedfs_ports()}", f"-volume.port={free_seaweedfs_ports()}",
                   f"-filer.port={free_seaweedfs_ports()}", "-master.volumeSizeLimitMB=1024", "-volume.max=60",
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
        self.client.create_bucket(Bucket=self.bucket)

    def _wait_until_ready(self):
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                raise RuntimeError(f"SeaweedFS ended with {self.process.returncode}: see {self.log.name}")
            try:
                urllib.request.urlopen(self.endpoint, timeout=2)
            except urllib.error.HTTPError as error:
                if error.code == 403:
                    return
            except OSError:
                pass
            time.sleep(0.2)
        raise RuntimeError("SeaweedFS did not start within 60 s")

    def stop(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.log.close()
