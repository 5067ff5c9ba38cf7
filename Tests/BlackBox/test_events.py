"""What the plugins tell Kubernetes of volumes, on which pods and claims, and that nobody waits for it."""

import os
import pathlib
import re
import subprocess
import tempfile
import time
import uuid

import grpc
import pytest

from cluster import MIB, Cluster, csi, mounts_below
from kubernetes_api import KubernetesAPI
from metrics import LISTEN, Metrics
from test_crash_and_lease import forget_pool


@pytest.fixture
def api(workplace):
    api = KubernetesAPI(pathlib.Path(tempfile.mkdtemp(prefix="api-", dir=workplace)) / "server")
    yield api
    api.go_on()
    # The server itself holds each event against Kubernetes' schema and rules.
    state = api.state()
    assert state["refused"] == []
    # Nothing is asked of it but what the chart gives the right to.
    for request in state["requests"]:
        assert (request["method"], request["path"].count("/")) in (("POST", 5), ("PATCH", 6)), request
        assert request["path"].startswith("/api/v1/namespaces/science/events") and request["token"] == api.TOKEN
    assert api.TOKEN not in str(state["events"])
    api.stop()


@pytest.fixture
def place(api, binaries, workplace):
    """Two nodes and a controller on a shared directory, which post events."""
    bucket = pathlib.Path(tempfile.mkdtemp(prefix="bucket-", dir=workplace)) / "bucket"
    bucket.mkdir()
    with started(api, binaries, workplace, ([f"file://{bucket}"], {})) as cluster:
        cluster.bucket = bucket
        yield cluster
        cluster.check_nothing_leaked_while_running()


def started(api, binaries, workplace, store):
    cluster = Cluster(binaries, pathlib.Path(tempfile.mkdtemp(prefix="cluster-", dir=workplace)), store)
    cluster.start_controller(arguments=[*api.arguments, *LISTEN])
    for node in ("node-a", "node-b"):
        cluster.start_node(node, arguments=[*api.arguments, *LISTEN])
    return cluster


def claim(cluster, name, **parameters):
    """A volume as the provisioner makes it for a claim, and the claim's UID."""
    uid = str(uuid.uuid4())
    volume = cluster.create(f"pvc-{uid}", parameters={
        "csi.storage.k8s.io/pvc/name": name, "csi.storage.k8s.io/pvc/namespace": "science",
        "csi.storage.k8s.io/pv/name": f"pvc-{uid}", **parameters})
    return volume, uid


def pod(name):
    """What kubelet says of the pod, and its UID."""
    uid = str(uuid.uuid4())
    return {"csi.storage.k8s.io/pod.name": name, "csi.storage.k8s.io/pod.namespace": "science",
            "csi.storage.k8s.io/pod.uid": uid, "csi.storage.k8s.io/serviceAccount.name": "default",
            "csi.storage.k8s.io/ephemeral": "false"}, uid


def test_what_pods_and_claims_hear_of_a_volume_that_moves(api, binaries, workplace, seaweedfs):
    store = ([f"s3://{seaweedfs.bucket}/events/{uuid.uuid4().hex}", "--store-endpoint", seaweedfs.endpoint],
             seaweedfs.environment)
    with started(api, binaries, workplace, store) as cluster:
        volume, results = claim(cluster, "results")
        first, first_uid = pod("first")
        path = cluster.publish(volume, "node-a", context=first)
        (path / "data").write_bytes(os.urandom(8 * MIB))
        cluster.unpublish(volume, "node-a")
        (message,) = api.wait(first_uid, "Committed")
        assert api.wait(results, "Committed") == [message]
        assert re.fullmatch(
            r"volume science/results: committed generation 1: [\d.]+ MiB had changed, [\d.]+ MiB were sent, in .* s", message)
        # It was new: there was nothing to restore.
        assert [reason for reason, _ in api.described(first_uid)] == ["Committed"]

        second, second_uid = pod("second")
        path = cluster.publish(volume, "node-b", context=second)
        (message,) = api.wait(second_uid, "Restored")
        assert re.match(r"volume science/results: restored generation 1 from the bucket: (\S+) MiB, for which (\S+) MiB", message)
        assert float(re.search(r"bucket: (\S+) MiB", message)[1]) >= 8
        (path / "more").write_bytes(os.urandom(MIB))
        cluster.unpublish(volume, "node-b")
        (message,) = api.wait(second_uid, "Committed")
        assert "committed generation 2: " in message

        # The local copy is older there, and only what differs is fetched.
        third, third_uid = pod("third")
        cluster.publish(volume, "node-a", context=third)
        (message,) = api.wait(third_uid, "Restored")
        assert "brought the local copy from generation 1 to generation 2: " in message
        # And there it is current now: nothing is said of a start that fetches nothing.
        cluster.unpublish(volume, "node-a")
        api.wait(third_uid, "Committed")
        fourth, fourth_uid = pod("fourth")
        cluster.publish(volume, "node-a", context=fourth)
        cluster.unpublish(volume, "node-a")
        api.wait(fourth_uid, "Committed")
        assert [reason for reason, _ in api.described(fourth_uid)] == ["Committed"]

        # Each is where it belongs, and nowhere else.
        api.wait(results, "Committed", 4)
        events = api.state()["events"]
        reasons = [event["reason"] for event in events if event["involvedObject"]["uid"] == results]
        assert sorted(reasons) == ["Committed"] * 4 + ["Restored"] * 2
        for event in events:
            kind = "PersistentVolumeClaim" if event["involvedObject"]["uid"] == results else "Pod"
            assert event["involvedObject"]["kind"] == kind and event["metadata"]["namespace"] == "science"
            assert event["reportingComponent"] == "csi.perssd.io" and event["reportingInstance"].startswith("node-")
            assert not any(secret in str(event) for secret in seaweedfs.environment.values())
        assert len(events) == 12
        for node, count in (("node-a", 8), ("node-b", 4)):
            metrics = Metrics(cluster.processes[node])
            assert metrics.wait(lambda posted: posted >= count, "perssd_events_total", outcome="posted") == count
        assert Metrics(cluster.processes["controller"]).value("perssd_events_total", outcome="failed") == 0


def test_what_is_lost_with_a_node_is_told_and_what_it_kept(api, place):
    volume, uid = claim(place, "lost", nodeLossTimeout="1s")
    place.publish(volume, "node-a")
    place.unpublish(volume, "node-a")
    writer, writer_uid = pod("writer")
    path = place.publish(volume, "node-a", context=writer)
    (path / "work").write_text("never staged out")
    place.processes["node-a"].kill()
    place.age_node("node-a")
    place.detach(volume, "node-a")
    (message,) = api.wait(uid, "LeaseRevoked")
    assert "what node node-a wrote since" in message and "which stands at generation 1" in message

    successor, successor_uid = pod("successor")
    place.publish(volume, "node-b", context=successor)
    (message,) = api.wait(successor_uid, "DataLost")
    assert "it goes on from generation 1: what node node-a wrote since" in message
    pathlib.Path(place.target("node-b", "pod"), "new").write_text("generation 2")
    place.unpublish(volume, "node-b")

    subprocess.run(["umount", place.target("node-a", "pod")], check=True)
    place.restart("node-a")
    (message,) = api.wait(writer_uid, "BranchKept")
    assert "after generation 1 is kept as the branch of epoch" in message
    assert api.wait(uid, "BranchKept") == [message]
    # Whoever comes later loses nothing by it.
    later, later_uid = pod("later")
    place.publish(volume, "node-a", context=later)
    place.unpublish(volume, "node-a")
    api.wait(later_uid, "Committed")
    assert [reason for reason, _ in api.described(later_uid)] == ["Restored", "Committed"]
    types = {event["reason"]: event["type"] for event in api.state()["events"]}
    assert {types[reason] for reason in ("LeaseRevoked", "DataLost", "BranchKept")} == {"Warning"}


def test_a_local_copy_that_is_gone_is_told(api, place):
    volume, uid = claim(place, "gone")
    path = place.publish(volume, "node-a")
    (path / "lost").write_text("in no generation")
    forget_pool(place, "node-a", path)
    with pytest.raises(Exception, match="taken back"):
        place.publish(volume, "node-a")
    (message,) = api.wait(uid, "LocalCopyLost")
    assert "node node-a had the volume open since" in message and "which stands at its creation" in message
    again, again_uid = pod("again")
    place.publish(volume, "node-a", context=again)
    (message,) = api.wait(again_uid, "DataLost")
    assert "it goes on from its creation" in message
    place.unpublish(volume, "node-a")


def test_a_stage_out_that_fails_is_told_until_it_succeeds(api, place):
    volume, uid = claim(place, "failing")
    writer, writer_uid = pod("writer")
    path = place.publish(volume, "node-a", context=writer)
    (path / "data").write_bytes(os.urandom(MIB))
    away = place.bucket.with_name("away")
    place.bucket.rename(away)
    with pytest.raises(grpc.RpcError):
        place.node("node-a").NodeUnpublishVolume(
            csi.NodeUnpublishVolumeRequest(volume_id=volume.volume_id, target_path=str(path)), timeout=60)
    (message,) = api.wait(writer_uid, "StageOutFailed")
    assert "what was written is not in the bucket yet, and staging out is tried again: cannot stage out volume" in message
    assert api.wait(uid, "StageOutFailed")
    away.rename(place.bucket)
    place.unpublish(volume, "node-a")
    api.wait(writer_uid, "Committed")


def test_a_long_stage_out_and_who_waits_for_it_are_told(api, place):
    """Slow by its own wish: after a pack of 32 MiB there is half a minute's pause, so it takes more than a minute."""
    volume, uid = claim(place, "slow", stageOut="background", stageOutBandwidth="1Mi")
    writer, writer_uid = pod("writer")
    path = place.publish(volume, "node-a", context=writer)
    (path / "data").write_bytes(os.urandom(70 * MIB))
    place.unpublish(volume, "node-a", detach=False)
    assert api.described(writer_uid) == []
    place.detach(volume, "node-a")
    (message,) = api.wait(writer_uid, "StagingOut")
    assert re.match(r"volume science/slow: staging out: \d+%, .* of ", message), message
    (message,) = api.wait(uid, "WaitingForNode")
    assert re.search(r"node node-a has not committed all it wrote, .* waiting for (3\d|[4-9]\d) s", message), message
    api.wait(uid, "Committed")
    # Not one for each look: one event for the wait, and one for the progress, which is brought up to date.
    reasons = [reason for reason, _ in api.described(uid)]
    assert sorted(reasons) == ["Committed", "StagingOut", "WaitingForNode"]


def test_what_waits_on_its_node_for_the_next_pod_is_told(api, place):
    volume, uid = claim(place, "held", stageOut="background", stageOutDelay="1h")
    writer, writer_uid = pod("writer")
    path = place.publish(volume, "node-a", context=writer)
    (path / "data").write_bytes(os.urandom(MIB))
    place.unpublish(volume, "node-a", detach=False)
    (message,) = api.wait(writer_uid, "HeldBack")
    assert "stays on node node-a alone for a pod that may come next" in message and "1 h 0 min" in message
    place.detach(volume, "node-a")
    assert [reason for reason, _ in api.described(writer_uid)] == ["HeldBack"]
    # It is wanted elsewhere.
    place.publish(volume, "node-b")
    api.wait(writer_uid, "Committed")
    assert [reason for reason, _ in api.described(writer_uid)] == ["HeldBack", "Committed"]
    place.unpublish(volume, "node-b")


def test_an_api_server_that_hangs_or_is_away_holds_nobody_up(api, place):
    volume, uid = claim(place, "unhurried")
    api.hold()
    started = time.monotonic()
    for index in range(3):
        path = place.publish(volume, "node-a", context=pod(f"pod-{index}")[0])
        (path / "data").write_bytes(os.urandom(MIB))
        place.unpublish(volume, "node-a")
    # A single request to it takes 15 s, and is tried again; and there would be one for each of the six events.
    assert time.monotonic() - started < 45
    api.go_on()
    # Nothing got lost meanwhile.
    assert len(api.wait(uid, "Committed", 3)) == 3
    api.hold()
    place.publish(volume, "node-a")
    place.unpublish(volume, "node-a")
    started = time.monotonic()
    assert place.processes["node-a"].stop() == 0
    assert time.monotonic() - started < 20
    api.go_on()
    place.restart("node-a")


def test_without_the_right_the_plugins_say_so_once(api, place):
    api.behave(faults=[{"kind": "status", "status": 403, "times": 1000000, "body": {"message": "User cannot create events"}}])
    volume, _ = claim(place, "silent")
    for node in ("node-a", "node-a", "node-b", "node-b"):
        place.publish(volume, node, context=pod("pod")[0])
        place.unpublish(volume, node)
    for node in ("node-a", "node-b"):
        # Nothing waits for an event, so the answer to one may come after that to the call that it tells of.
        metrics = Metrics(place.processes[node])
        assert metrics.wait(lambda count: count >= 4, "perssd_events_total", outcome="dropped")
        assert metrics.value("perssd_events_total", outcome="posted") == 0
        lines = [line for line in place.processes[node].text().splitlines() if "no events are posted" in line]
        assert len(lines) == 1 and "WARNING" in lines[0] and "User cannot create events" in lines[0], lines
    assert len(api.state()["requests"]) == 2
    assert mounts_below(place.directory) == []


def test_off_and_outside_of_a_cluster_nobody_is_asked(api, binaries, workplace):
    bucket = tempfile.mkdtemp(prefix="bucket-", dir=workplace)
    with Cluster(binaries, pathlib.Path(tempfile.mkdtemp(prefix="cluster-", dir=workplace)), ([f"file://{bucket}"], {})) as cluster:
        cluster.start_controller(arguments=[*api.arguments, "--events", "off"])
        cluster.start_node("node-a", arguments=[*api.arguments, "--events", "off"])
        cluster.start_node("node-b")
        volume, _ = claim(cluster, "quiet")
        for node in ("node-a", "node-b"):
            cluster.publish(volume, node, context=pod("pod")[0])
            cluster.unpublish(volume, node)
        assert "events" not in cluster.processes["node-a"].text()
        (line,) = [line for line in cluster.processes["node-b"].text().splitlines() if "events" in line]
        assert " INFO no events are posted to pods and claims: no API server of Kubernetes is known" in line
    assert api.state()["requests"] == []
