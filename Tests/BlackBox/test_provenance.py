"""Who made a generation, and that nobody can change what is said of it."""

import json
import pathlib
import subprocess

import pytest

from cluster import MIB


def pod(name, **labels):
    """What kubelet adds to a volume's context for a pod, and labels of its workflow."""
    return {"csi.storage.k8s.io/pod.name": name, "csi.storage.k8s.io/pod.namespace": "lab",
            "csi.storage.k8s.io/pod.uid": f"uid-{name}", "csi.storage.k8s.io/serviceAccount.name": "runner",
            "csi.storage.k8s.io/ephemeral": "false",
            **{f"workflow.csi.perssd.io/{label}": value for label, value in labels.items()}}


def generations(cluster, volume):
    return json.loads(cluster.perssd("log", volume.volume_id, "--json").stdout)["generations"]


def test_a_plugin_that_was_killed_knows_who_had_the_volume(cluster):
    volume = cluster.create("told", size=64 * MIB)
    path = cluster.publish(volume, "node-a", "first", context=pod("survivor", run="17", **{"-bad": "left out"}))
    gone = cluster.publish(volume, "node-a", "second", context=pod("gone"))
    (path / "file").write_bytes(b"written by somebody")
    plugin = cluster.processes["node-a"]
    assert "workflow label '-bad' is left out" in plugin.text()
    plugin.kill()
    # As kubelet leaves it, where the pod ends and the plugin is not there.
    subprocess.run(["umount", gone], check=True)
    cluster.restart("node-a")
    cluster.unpublish(volume, "node-a", "first", detach=False)
    cluster.unpublish(volume, "node-a", "second")
    made = generations(cluster, volume)
    assert len(made) == 1 and made[0]["node"] == "test/node-a"
    uses = made[0]["uses"]
    assert [(use["pod"], use["namespace"], use["serviceAccount"]) for use in uses] == [
        ("survivor", "lab", "runner"), ("gone", "lab", "runner")]
    assert uses[0]["labels"] == {"run": "17"} and uses[1]["labels"] == {}
    assert all(made[0]["startedAt"] <= use["startedAt"] <= use["endedAt"] for use in uses)
    assert uses[0]["endedAt"] <= made[0]["cutAt"] <= made[0]["stagedOutAt"]

    # The next one, without a pod, names nobody; nor does the record of what is over stay on the node.
    path = cluster.publish(volume, "node-b")
    (path / "more").write_bytes(b"by nobody")
    cluster.unpublish(volume, "node-b")
    made = generations(cluster, volume)
    assert made[0]["uses"] == [] and made[0]["parentDigest"] == made[1]["digest"]
    for node in ("node-a", "node-b"):
        assert list((cluster.directory / node / "state" / "uses").iterdir()) == []

    # A file that is damaged costs the provenance, and nothing else.
    path = cluster.publish(volume, "node-b", context=pod("forgotten"))
    (path / "last").write_bytes(b"by somebody")
    cluster.processes["node-b"].kill()
    (cluster.directory / "node-b" / "state" / "uses" / f"{volume.volume_id}.json").write_text("{")
    cluster.restart("node-b")
    cluster.unpublish(volume, "node-b")
    made = generations(cluster, volume)
    assert made[0]["number"] == 3 and made[0]["uses"] == []


@pytest.mark.parametrize("store", ["directory"], indirect=True)
def test_a_record_that_was_changed_missing_or_exchanged_is_told_of(cluster, store):
    volume = cluster.create("chain", size=64 * MIB)
    for number in range(1, 5):
        path = cluster.publish(volume, "node-a", context=pod(f"step-{number}", run=str(number)))
        (path / f"file-{number}").write_bytes(b"x" * number)
        cluster.unpublish(volume, "node-a", detach=False)
    cluster.detach(volume, "node-a")
    bucket = store[0][0].removeprefix("file://")
    records = {int(file.stem): file for file in pathlib.Path(bucket).glob("volumes/*/generations/*/*.json")}
    assert sorted(records) == [1, 2, 3, 4]
    whole = {number: file.read_bytes() for number, file in records.items()}

    def verify():
        done = cluster.perssd("verify", "chain", "--history", "--json", check=False)
        return done.returncode, json.loads(done.stdout)["findings"]

    assert verify() == (0, [])
    # Somebody claims that another pod has made it.
    records[2].write_bytes(whole[2].replace(b"step-2", b"step-9"))
    code, findings = verify()
    assert code == 4 and len(findings) == 1 and "generation 2 " in findings[0] and "SHA-256 differs" in findings[0]
    records[2].unlink()
    code, findings = verify()
    assert code == 4 and len(findings) == 1 and "generation 2 " in findings[0] and "missing" in findings[0]
    records[2].write_bytes(whole[3])
    records[3].write_bytes(whole[2])
    code, findings = verify()
    assert code == 4 and len(findings) == 2, findings
    assert "generation 3 " in findings[0] and "that of generation 2" in findings[0]
    assert "generation 2 " in findings[1] and "says that it is generation 3" in findings[1]
    for number in (2, 3):
        records[number].write_bytes(whole[number])
    assert verify() == (0, [])
