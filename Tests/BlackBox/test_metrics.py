"""What Prometheus and probes are told while volumes come and go."""

import os
import pathlib
import re
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
from types import SimpleNamespace

import grpc
import pytest

from cluster import ROOT, Cluster, MIB, csi, refused
from metrics import LISTEN, Metrics
from servers import DIE_WITH_PARENT
from test_condition import stats
from test_snapshots import ready
from waiting import wait_for

PREFIX = "perssd_"


@pytest.fixture
def place(binaries, workplace):
    """Makes a cluster on a directory as the bucket."""
    clusters = []

    def make(bucket, pool=None):
        directory = pathlib.Path(tempfile.mkdtemp(prefix="cluster-", dir=workplace))
        cluster = Cluster(binaries, directory, ([f"file://{bucket}"], {}))
        clusters.append(cluster)
        controller = cluster.start_controller(arguments=LISTEN)
        node = cluster.start_node("node-a", pool=pool, arguments=LISTEN)
        return cluster, Metrics(controller), Metrics(node)

    yield make
    for cluster in clusters:
        cluster.__exit__()


def documented():
    """Name to type and plugins."""
    rows = re.findall(r"^\| `(perssd_\w+)` \| (\w+) \| [^|]* \| (\w+) \|", (ROOT / "docs/metrics.md").read_text(), re.M)
    return {name: (kind, plugins) for name, kind, plugins in rows}


def at_least(number):
    return lambda value: value is not None and value >= number


def test_a_volume_from_its_first_pod_to_another_node(reflink_pool, place, workplace):
    bucket = tempfile.mkdtemp(prefix="bucket-", dir=workplace)
    cluster, controller, node = place(bucket, pool=reflink_pool)
    volume = cluster.create("measured", parameters={"checkpointInterval": "10s"})
    of_volume = {"volume": volume.volume_id}
    size = node.value("perssd_pool_size_bytes", pool="default")
    assert size > 0 and node.value("perssd_pool_free_bytes", pool="default") <= size
    assert node.value("perssd_volume_recovery_point_age_seconds", **of_volume) is None
    assert node.value("perssd_publishes_total", source="new") is None

    path = cluster.publish(volume, "node-a")
    assert node.value("perssd_publishes_total", source="new") == 1
    # A call is counted when its answer has gone.
    assert node.wait(at_least(1), "perssd_rpc_duration_seconds_count", method="NodePublishVolume", code="OK") == 1
    assert node.value("perssd_volume_recovery_point_age_seconds", **of_volume) < 60
    assert "nothing of the volume has been staged out yet" in stats(cluster, volume).volume_condition.message
    # The file system below takes for itself, and gives back.
    node.wait(lambda free: free <= node.value("perssd_pool_size_bytes", pool="default") - 256 * MIB,
              "perssd_pool_free_bytes", pool="default")

    # What is written is not saved, until a checkpoint has brought it away.
    written = time.monotonic()
    (path / "noise").write_bytes(os.urandom(8 * MIB))
    subprocess.run(["sync", "-f", str(path)], check=True)
    # The first one may have been made before all of it was written.
    for what in ("read", "changed", "sent"):
        node.wait(at_least(8 * MIB), f"perssd_stage_out_{what}_bytes_total", kind="checkpoint")
    node.wait(at_least(8 * MIB / (256 << 10)), "perssd_stage_out_blocks_total", kind="checkpoint")
    saved = {"kind": "checkpoint", "outcome": "committed"}
    node.wait(at_least(1), "perssd_stage_out_duration_seconds_count", **saved)
    node.wait(at_least(1), "perssd_checkpoints_total", outcome="made")
    assert node.value("perssd_cut_freeze_seconds_count") >= 1
    node.wait(lambda unsaved: unsaved is not None and unsaved < MIB, "perssd_volume_unsaved_bytes", **of_volume)
    # It was cut after that; the store may tell whole seconds only.
    assert node.value("perssd_volume_recovery_point_age_seconds", **of_volume) < time.monotonic() - written + 2
    message = stats(cluster, volume).volume_condition.message
    assert re.search(r"the newest generation is \d+, .* old, and .* were written since", message), message
    node.wait(at_least(1), "perssd_checkpoints_total", outcome="skipped")

    # No checkpoint is to take from the snapshot what is new.
    cluster.controller.ControllerModifyVolume(csi.ControllerModifyVolumeRequest(
        volume_id=volume.volume_id, mutable_parameters={"checkpointInterval": "none"}), timeout=60)
    (path / "more").write_bytes(os.urandom(4 * MIB))
    subprocess.run(["sync", "-f", str(path)], check=True)
    node.wait(lambda unsaved: unsaved is not None, "perssd_volume_unsaved_bytes", **of_volume)
    ready(cluster, volume, "measured too")
    node.wait(at_least(1), "perssd_stage_out_duration_seconds_count", kind="snapshot", outcome="committed")

    seen = node.families()

    cluster.processes["node-a"].kill()
    cluster.restart("node-a")
    assert node.value("perssd_publishes_total", source="new") is None
    cluster.unpublish(volume, "node-a")
    for name in ("recovery_point_age_seconds", "unsaved_bytes"):
        assert node.value(f"perssd_volume_{name}", **of_volume) is None
    assert volume.volume_id not in node.get("/metrics")[2]
    ended = [node.value("perssd_stage_out_duration_seconds_count", kind="unpublish", outcome=outcome) or 0
             for outcome in ("committed", "unchanged")]
    assert sum(ended) == 1
    cluster.publish(volume, "node-a")
    assert node.value("perssd_publishes_total", source="warm") == 1
    assert node.wait(at_least(0), "perssd_volume_unsaved_bytes", **of_volume) < MIB
    (path / "late").write_bytes(os.urandom(MIB))
    cluster.unpublish(volume, "node-a")

    other = Metrics(cluster.start_node("node-b", arguments=LISTEN))
    cluster.publish(volume, "node-b")
    assert other.value("perssd_publishes_total", source="restored") == 1
    assert other.value("perssd_restore_duration_seconds_count", outcome="restored") == 1
    assert other.value("perssd_restore_blocks_total") >= 13 * MIB / (256 << 10)
    for what in ("received", "written"):
        assert other.value(f"perssd_restore_{what}_bytes_total") >= 13 * MIB, what
    other.wait(at_least(0), "perssd_volume_recovery_point_age_seconds", **of_volume)
    seen |= node.families() | other.families()
    cluster.unpublish(volume, "node-b")

    # All that is exposed is documented, and all that is documented is there; only a thin pool has what is of thin pools.
    for plugin, families in (("node", seen), ("controller", controller.families())):
        expected = {name: kind for name, (kind, plugins) in documented().items()
                    if plugins in (plugin, "both") and not re.match("perssd_pool_(meta)?data_used", name)}
        assert {name: family.type for name, family in families.items()} == expected, plugin


def test_the_controller(place, workplace):
    cluster, controller, node = place(tempfile.mkdtemp(prefix="bucket-", dir=workplace))
    volume = cluster.create("counted")
    of_create = {"method": "CreateVolume", "code": "OK"}
    assert controller.wait(at_least(1), "perssd_rpc_duration_seconds_count", **of_create) == 1
    buckets = [sample for sample in controller.families()["perssd_rpc_duration_seconds"].samples
               if sample.name.endswith("_bucket") and sample.labels.items() >= of_create.items()]
    counts = [sample.value for sample in buckets]
    assert counts == sorted(counts) and counts[-1] == 1 and buckets[-1].labels["le"] == "+Inf"
    assert controller.value("perssd_store_requests_total", operation="write", outcome="ok") >= 2
    # The store's test at the start loses conditional writes on purpose.
    assert controller.value("perssd_store_requests_total", operation="write", outcome="conflict") >= 1
    assert controller.value("perssd_store_sent_bytes_total") > 0
    version = next(iter(controller.families()["perssd_build_info"].samples)).labels["version"]
    assert version == cluster.processes["controller"].identity.GetPluginInfo(csi.GetPluginInfoRequest()).vendor_version
    refused("INVALID_ARGUMENT", lambda: cluster.create(""))
    of_create["code"] = "INVALID_ARGUMENT"
    assert controller.wait(at_least(1), "perssd_rpc_duration_seconds_count", **of_create) == 1
    cluster.delete(volume)
    assert controller.wait(at_least(1), "perssd_rpc_duration_seconds_count", method="DeleteVolume", code="OK") == 1
    for metrics in (controller, node):
        status, headers, text = metrics.get("/metrics", "HEAD")
        assert status == 200 and int(headers["Content-Length"]) > 1000 and text == ""
        assert metrics.get("/else")[0] == 404
        assert metrics.get("/metrics", "POST")[0] == 405


def test_what_a_lost_node_costs_is_counted(place, workplace):
    cluster, controller, node = place(tempfile.mkdtemp(prefix="bucket-", dir=workplace))
    # From the beginning, so that the first one is an increase.
    assert controller.value("perssd_leases_revoked_total") == 0 and node.value("perssd_branches_total") == 0
    volume = cluster.create("lost", parameters={"nodeLossTimeout": "1s"})
    (cluster.publish(volume, "node-a") / "work").write_text("never staged out")
    assert node.value("perssd_local_copies", state="dirty") == 1
    assert node.value("perssd_open_leases") == 1 and controller.value("perssd_losses_total") == 0
    cluster.processes["node-a"].kill()
    cluster.age_node("node-a")
    cluster.detach(volume, "node-a")
    assert controller.value("perssd_leases_revoked_total") == 1 and controller.value("perssd_losses_total") == 1
    subprocess.run(["umount", cluster.target("node-a", "pod")], check=True)
    cluster.restart("node-a")
    assert node.wait(at_least(1), "perssd_branches_total") == 1
    node.wait(lambda count: count == 0, "perssd_local_copies", state="dirty")
    node.wait(lambda count: count == 0, "perssd_open_leases")
    assert controller.value("perssd_leases_revoked_total") == 1 and controller.value("perssd_losses_total") == 1


def test_copies_that_make_room_are_counted(binaries, workplace):
    bucket = tempfile.mkdtemp(prefix="bucket-", dir=workplace)
    directory = pathlib.Path(tempfile.mkdtemp(prefix="cluster-", dir=workplace))
    with Cluster(binaries, directory, ([f"file://{bucket}"], {})) as cluster:
        cluster.start_controller()
        node = Metrics(cluster.start_node("node-a", size="700MiB", arguments=LISTEN))
        states = ("clean", "dirty", "recovered", "restoring")
        assert [node.value("perssd_local_copies", state=state) for state in states] == [0, 0, 0, 0]
        for index in range(3):
            volume = cluster.create(f"volume-{index}")
            cluster.publish(volume, "node-a")
            assert node.value("perssd_local_copies", state="dirty") == 1
            cluster.unpublish(volume, "node-a")
            assert node.value("perssd_local_copies", state="clean") == min(index + 1, 2)
        assert node.value("perssd_evictions_total") == 1


def test_requests_that_are_repeated_are_counted(binaries, workplace, seaweedfs):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="cluster-", dir=workplace))
    location = f"s3://{seaweedfs.bucket}/repeated/{directory.name}"
    with BusyServer(seaweedfs.endpoint) as server, Cluster(
            binaries, directory, ([location, "--store-endpoint", server.endpoint], seaweedfs.environment)) as cluster:
        controller = Metrics(cluster.start_controller(arguments=LISTEN))
        before = controller.value("perssd_store_retries_total")
        server.refusals = 3
        cluster.controller.ListVolumes(csi.ListVolumesRequest(), timeout=60)
        assert server.refusals == 0
        assert controller.value("perssd_store_retries_total") == before + 3
        for operation in ("list", "list_folders"):
            assert controller.value("perssd_store_requests_total", operation=operation, outcome="error") is None


class BusyServer(socketserver.ThreadingTCPServer):
    """Passes requests on to an S3 server, one a connection, or says that it is busy."""

    allow_reuse_address = daemon_threads = True

    def __init__(self, endpoint):
        super().__init__(("127.0.0.1", 0), None)
        host, port = endpoint.removeprefix("http://").split(":")
        self.upstream, self.refusals, self.lock = (host, int(port)), 0, threading.Lock()
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()

    def finish_request(self, client, _):
        head = client.recv(65536)
        if not head:
            return  # A connection for which nobody had a use.
        with self.lock:
            refuses, self.refusals = self.refusals > 0, max(0, self.refusals - 1)
        if refuses:
            client.sendall(b"HTTP/1.1 503 Slow Down\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return
        with socket.create_connection(self.upstream) as server:
            server.sendall(head.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
            threading.Thread(target=self._copy, args=(client, server), daemon=True).start()
            self._copy(server, client)

    @staticmethod
    def _copy(source, destination):
        try:
            while data := source.recv(65536):
                destination.sendall(data)
        except OSError:
            pass  # Either side has gone.


def test_ready_is_who_has_a_bucket(place, workplace):
    bucket = pathlib.Path(tempfile.mkdtemp(prefix="bucket-", dir=workplace))
    _, *all_metrics = place(bucket)
    for metrics in all_metrics:
        assert metrics.get("/readyz")[0] == 200
    away = bucket.with_name(bucket.name + "-away")
    bucket.rename(away)
    for metrics in all_metrics:
        assert metrics.value("perssd_store_requests_total", operation="check", outcome="error") is None
        text = readiness(metrics, 503)
        assert str(bucket) in text, text
        assert metrics.get("/healthz")[0] == 200
        assert metrics.value("perssd_store_requests_total", operation="check", outcome="error") >= 1
    away.rename(bucket)
    for metrics in all_metrics:
        readiness(metrics, 200)


def test_what_a_pod_left_behind_is_told_of_until_it_is_committed(place, workplace):
    bucket = pathlib.Path(tempfile.mkdtemp(prefix="bucket-", dir=workplace))
    cluster, _, node = place(bucket)
    volume = cluster.create("left behind")
    of_volume = {"volume": volume.volume_id}
    (cluster.publish(volume, "node-a") / "work").write_bytes(os.urandom(4 * MIB))
    away = bucket.with_name(bucket.name + "-away")
    bucket.rename(away)
    with pytest.raises(grpc.RpcError):
        cluster.node("node-a").NodeUnpublishVolume(
            csi.NodeUnpublishVolumeRequest(
                volume_id=volume.volume_id, target_path=cluster.target("node-a", "pod")), timeout=60)
    node.wait(at_least(1), "perssd_stage_out_duration_seconds_count", kind="unpublish", outcome="failed")
    assert node.value("perssd_volume_unsaved_bytes", **of_volume) >= 4 * MIB
    assert node.value("perssd_volume_recovery_point_age_seconds", **of_volume) >= 0
    away.rename(bucket)
    cluster.unpublish(volume, "node-a")
    assert node.value("perssd_volume_unsaved_bytes", **of_volume) is None
    assert node.value("perssd_volume_recovery_point_age_seconds", **of_volume) is None

    # A plugin that was restarted reads what it needs of a volume that it finds, but not how much was written before.
    cluster.publish(volume, "node-a")
    cluster.processes["node-a"].kill()
    cluster.restart("node-a")
    node.wait(at_least(0), "perssd_volume_recovery_point_age_seconds", **of_volume)
    assert "the newest generation is 1, " in stats(cluster, volume).volume_condition.message
    assert node.value("perssd_volume_unsaved_bytes", **of_volume) is None
    cluster.unpublish(volume, "node-a")


def test_a_start_that_waits_can_be_watched(binaries, workplace):
    log = workplace / "waiting.log"
    # Accepts connections, and never answers.
    with socket.create_server(("127.0.0.1", 0)) as silent, open(log, "wb") as output:
        process = subprocess.Popen(
            DIE_WITH_PARENT + [
                str(binaries / "perssd-controller"), "--endpoint", f"unix://{log}.sock", "--store", "s3://bucket/prefix",
                "--store-endpoint", f"http://127.0.0.1:{silent.getsockname()[1]}", *LISTEN],
            env={**os.environ, "AWS_ACCESS_KEY_ID": "none", "AWS_SECRET_ACCESS_KEY": "none"},
            stdout=output, stderr=output)
        try:
            wait_for("where metrics are served", log.read_text, lambda text: "metrics are served" in text,
                     over=lambda: process.poll() is not None)
            metrics = Metrics(SimpleNamespace(text=log.read_text))
            assert metrics.get("/healthz")[0] == 200
            assert metrics.get("/readyz")[::2] == (503, "the plugin is starting\n")
            assert metrics.value("perssd_store_sent_bytes_total") == 0
        finally:
            process.kill()
            process.wait()


def readiness(metrics, wanted):
    return wait_for(
        f"readiness {wanted}", lambda: metrics.get("/readyz")[::2], lambda answer: answer[0] == wanted, pause=0.3)[1]


def test_clients_that_misbehave_harm_nobody(place, workplace):
    cluster, controller, node = place(tempfile.mkdtemp(prefix="bucket-", dir=workplace))
    host, port = node.address.split(":")
    silent = [socket.create_connection((host, int(port)), timeout=60) for _ in range(300)]
    for connection in silent[::2]:
        try:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nX-Slow: ")
        except OSError:
            pass  # It was closed already, to make room.
    volume = cluster.create("undisturbed")
    path = cluster.publish(volume, "node-a")
    (path / "file").write_text("contents")
    assert node.value("perssd_publishes_total", source="new") == 1
    cluster.unpublish(volume, "node-a")
    # A stop in order waits for none of them.
    start = time.monotonic()
    assert cluster.processes["node-a"].stop() == 0
    assert time.monotonic() - start < 10
    for connection in silent:
        connection.close()


@pytest.mark.parametrize("program", ["perssd-node", "perssd-controller"])
@pytest.mark.parametrize("address, status, reason", [
    ("9090", 2, "it is neither a path nor host:port"),
    (":9090", 2, "the host is empty; 0.0.0.0 or [::] stands for all addresses"),
    ("127.0.0.1:http", 2, '"http" is not a port number'),
    ("unix:///run/metrics.sock", 2, "is no TCP address (give host:port)"),
    ("localhost:9090", 2, "cannot serve metrics at localhost:9090: it is no IP address"),
    ("192.0.2.1:9090", 2, "cannot serve metrics at 192.0.2.1:9090: Cannot assign requested address"),
    ("TAKEN", 1, "Address already in use (choose another address with --metrics-listen"),
])
def test_addresses_that_cannot_be(binaries, workplace, program, address, status, reason):
    bucket = tempfile.mkdtemp(prefix="bucket-", dir=workplace)
    pool = tempfile.mkdtemp(prefix="pool-", dir=workplace)
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = address.replace("TAKEN", f"127.0.0.1:{server.getsockname()[1]}")
        command = [
            str(binaries / program), "--endpoint", f"unix://{bucket}.sock", "--store", f"file://{bucket}",
            "--metrics-listen", address]
        if program == "perssd-node":
            command += ["--pool", f"directory={pool}/pool", "--state-directory", f"{pool}/state"]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert ended.returncode == status and reason in ended.stderr, ended.stderr
    assert os.listdir(bucket) == [] and os.listdir(pool) == []
