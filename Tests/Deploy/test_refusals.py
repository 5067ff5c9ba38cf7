"""Values that can't be are refused, with what to do."""

import pytest
import yaml

from manifests import EXAMPLES, template

BUCKET = {"store": {"location": "s3://bucket", "credentials": {"existingSecret": "key"}}}


def refusal(values):
    result = template("--values", "-", input=yaml.safe_dump(values), check=False)
    assert result.returncode != 0, "it is not refused"
    return " ".join(result.stderr.split())


def store(location="s3://bucket", **more):
    return {"store": {"location": location, **more}}


def pools(*entries):
    return {**BUCKET, "node": {"pools": list(entries)}}


@pytest.mark.parametrize("values, message", [
    ({}, "store.location is missing: give the bucket as s3://"),
    (store(), "store.credentials is empty: give existingSecret"),
    (store(credentials={"existingSecret": "key", "accessKeyID": "a", "secretAccessKey": "b"}), "more than one way"),
    (store(credentials={"existingSecret": "key", "ambient": True}), "more than one way"),
    (store(credentials={"accessKeyID": "a"}), "both of accessKeyID and secretAccessKey"),
    (store(credentials={"existingSecret": "key"}, volume={"emptyDir": {}}), "store.volume is for file:///"),
    (store("file:///mnt/shared"), "store.volume is missing"),
    (store("file:///mnt/shared", volume={"emptyDir": {}}, credentials={"ambient": True}), "remove them"),
    ({**BUCKET, "controller": {"replicas": 0}}, "controller.replicas is 0"),
    (pools(), "node.pools is empty"),
    (pools({"name": "default"}), "neither a directory nor a volumeGroup"),
    (pools({"directory": "/pool", "volumeGroup": "perssd"}), "has a directory and a volumeGroup"),
    (pools({"volumeGroup": "perssd", "create": True}), "says no drives: give drives"),
    (pools({"volumeGroup": "perssd", "create": True, "drives": {}}), "says no drives: give drives"),
    (pools({"volumeGroup": "perssd", "size": "1Ti"}), "size goes with a directory"),
    (pools({"volumeGroup": "perssd", "stripes": 2}), "stripes go with layout: striped"),
    (pools({"directory": "/pool", "layout": "striped"}), "layout goes with a volumeGroup"),
    (pools({"directory": "/a"}, {"directory": "/b"}), "two pools have that name"),
    (pools({"name": "other", "directory": "/a"}), "node.pools has none of that name"),
    ({**BUCKET, "storageClasses": {"striped": {"enabled": True}}}, "the pool 'striped'"),
    ({**BUCKET, "storageClasses": {"scratch": {"clusterDefault": True}}}, "scratch can't be the cluster's default"),
    ({**BUCKET, "storageClasses": {"default": {"clusterDefault": True}, "background": {"clusterDefault": True}}},
     "are all the cluster's default"),
    ({**BUCKET, "storageClasses": {"background": {"name": "perssd"}}}, "both named perssd"),
    ({**BUCKET, "metrics": {"port": 9465}}, "are the same: give two ports"),
    ({**BUCKET, "node": {"agentPort": 9808}}, "port 9808 is livenessprobe's"),
    ({**BUCKET, "node": {"agentPort": 9809}}, "port 9809 is the registrar's"),
    ({**BUCKET, "snapshots": {"enabled": False}, "groupSnapshots": {"enabled": True}}, "needs snapshots.enabled"),
])
def test_contradictions(values, message):
    assert message in refusal(values)


# The schema's own messages name the place; what may stand there, values.yaml says.
@pytest.mark.parametrize("values, place", [
    ({**BUCKET, "stroe": {}}, "stroe"),
    (store("bucket"), "/store/location"),
    (store("file://relative"), "/store/location"),
    (store(endpoint="s3.example.org"), "/store/endpoint"),
    ({**BUCKET, "controller": {"replicas": "two"}}, "/controller/replicas"),
    (pools({"directory": "relative"}), "/node/pools/0/directory"),
    (pools({"directory": "/a", "sizes": "1Gi"}), "sizes"),
    (pools({"directory": "/a", "name": "with space"}), "/node/pools/0/name"),
    (pools({"volumeGroup": "perssd", "layout": "raid5"}), "/node/pools/0/layout"),
    ({**BUCKET, "node": {"kubeletDirectory": "/var/lib/kubelet/"}}, "/node/kubeletDirectory"),
    ({**BUCKET, "log": {"level": "loud"}}, "/log/level"),
    ({**BUCKET, "collection": {"interval": "daily"}}, "/collection/interval"),
    ({**BUCKET, "events": {"enabled": "auto"}}, "/events/enabled"),
    ({**BUCKET, "storageClasses": {"default": {"parameters": {"blockSiez": "1Mi"}}}}, "blockSiez"),
    ({**BUCKET, "volumeAttributesClasses": {"fast": {"blockSize": "1Mi"}}}, "/volumeAttributesClasses/fast"),
])
def test_values_that_the_schema_refuses(values, place):
    text = refusal(values)
    assert "values don't meet the specifications of the schema" in text and place in text


def test_the_examples_are_about_something():
    assert {"minimal", "volume-groups", "shared-directory", "inline-key"} <= set(EXAMPLES)
