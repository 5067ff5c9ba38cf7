"""What the manifests give to our own programs is what these take."""

import json
import re
import subprocess
import uuid

import pytest
import yaml

from cluster import MIB, csi, mount
from manifests import CHART, VARIANTS, container, containers, flags, of_kind, pod, the


def known(binaries, program):
    """The options of a program, and the variables of the environment that it reads."""
    text = subprocess.run(
        [binaries / program, "--experimental-dump-help"], check=True, capture_output=True, text=True, timeout=120).stdout
    arguments = json.loads(text)["command"]["arguments"]
    options = {name["name"] for argument in arguments for name in argument.get("names", [])}
    return options, " ".join(argument.get("discussion", "") for argument in arguments)


@pytest.mark.parametrize("variant", VARIANTS)
def test_options_and_variables_are_known(variant, binaries):
    for _, one in containers(variant):
        if not one["name"].startswith("perssd-"):
            continue
        assert one["command"] == [f"/usr/bin/{one['name']}"]
        options, variables = known(binaries, one["name"])
        assert set(flags(one)) <= options
        for variable in one.get("env", []):
            # POD_IP is for an option's value.
            assert variable["name"] in variables or f"$({variable['name']})" in str(one["args"]), variable


@pytest.mark.parametrize("component", ["controller", "node"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_configuration_file_is_accepted(variant, component, binaries, tmp_path):
    """All of it is read and checked before the store is looked at, the pools included; the controller has no pools, so that nothing
    is made of them here. So it has to be the store that does not suit."""
    file = tmp_path / "perssd.yaml"
    settings = the(variant, "ConfigMap", component)["data"]["perssd.yaml"]
    file.write_text(settings)
    given = [f"--{name}={value}" for name, value in flags(container(variant, f"perssd-{component}")).items()
             if name not in ("config", "endpoint", "store")]
    address = "fd00::7" if "[$(POD_IP)]" in str(given) else "10.0.0.7"
    result = subprocess.run(
        [binaries / "perssd-controller", "--config", file, "--endpoint", f"unix://{tmp_path}/csi.sock",
         "--store", f"file://{tmp_path}/missing", "--metrics-listen", "127.0.0.1:0",
         *(argument.replace("$(POD_IP)", address) for argument in given)],
        capture_output=True, text=True, timeout=120)
    assert f"there is no directory {tmp_path}/missing" in result.stderr
    # What stands in the file is where the pod has it.
    settings = yaml.safe_load(settings)
    plugin = container(variant, f"perssd-{component}")
    paths = {mount["mountPath"] for mount in plugin["volumeMounts"]}
    store = settings["store"]
    for needed in (store.get("credentialsDirectory"), store["location"].removeprefix("file://")):
        assert needed is None or needed.startswith("s3://") or needed in paths
    if "certificateAuthorities" in store:
        assert store["certificateAuthorities"].rpartition("/")[0] in paths
    assert settings["metrics"]["listen"].endswith(f":{plugin['ports'][0]['containerPort']}")
    if component == "node":
        assert settings["stateDirectory"] in paths
        assert {f"{settings['targetDirectory']}/pods", f"{settings['targetDirectory']}/plugins/kubernetes.io/csi"} <= paths
        for pool in settings["pools"]:
            directory = pool.get("directory")
            assert directory is None or any(f"{directory}/".startswith(f"{path}/") for path in paths), directory
        # A path in the container is the same on the machine, as mounts are seen from both.
        hosts = {v["name"]: v["hostPath"]["path"] for v in pod(the(variant, "DaemonSet"))["volumes"] if "hostPath" in v}
        for one in plugin["volumeMounts"]:
            if one["name"] in hosts and one["name"] != "socket":
                assert hosts[one["name"]] == one["mountPath"]


def create(cluster, parameters, file_system, modifiable=None):
    volume = cluster.controller.CreateVolume(csi.CreateVolumeRequest(
        name=f"pvc-{uuid.uuid4()}", capacity_range=csi.CapacityRange(required_bytes=512 * MIB),
        volume_capabilities=[mount(file_system)], parameters=parameters, mutable_parameters=modifiable or {}),
        timeout=60).volume
    cluster.delete(volume)


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_of_storage_classes_are_accepted(variant, cluster):
    classes = of_kind(variant, "StorageClass")
    assert len(classes) >= 3
    for one in classes:
        parameters = dict(one["parameters"])
        # The provisioner takes this one for itself.
        file_system = parameters.pop("csi.storage.k8s.io/fstype")
        assert not any(key.startswith("csi.storage.k8s.io/") for key in parameters)
        create(cluster, parameters, file_system)
        assert one["provisioner"] == the(variant, "CSIDriver")["metadata"]["name"]
        assert one["volumeBindingMode"] == "WaitForFirstConsumer" and one["allowVolumeExpansion"] is True
    defaults = [one["metadata"]["name"] for one in classes if one["metadata"].get("annotations")]
    assert defaults == (["perssd"] if variant == "volume-groups" else [])


@pytest.mark.parametrize("variant", VARIANTS)
def test_parameters_of_volume_attributes_classes_are_accepted(variant, cluster):
    classes = of_kind(variant, "VolumeAttributesClass")
    assert classes
    for one in classes:
        create(cluster, {}, "ext4", one["parameters"])


def refusal(cluster, **parameters):
    with pytest.raises(Exception) as caught:
        create(cluster, parameters.get("fixed", {}), "ext4", parameters.get("changeable"))
    return caught.value.details()


def test_the_schema_knows_the_parameters_that_the_driver_knows(cluster):
    """Both lists are in what the driver answers to a parameter that is not known."""
    schema = json.loads((CHART / "values.schema.json").read_text())["properties"]
    of_classes = schema["storageClasses"]["additionalProperties"]["properties"]["parameters"]["properties"]
    changeable = schema["volumeAttributesClasses"]["additionalProperties"]["oneOf"][0]["properties"]

    for properties, text in (
            (of_classes, refusal(cluster, fixed={"no-such": "x"})),
            (changeable, refusal(cluster, changeable={"no-such": "x"}))):
        (listed,) = re.findall(r" are ([A-Za-z, ]+)\)$", text)
        assert set(properties) == set(listed.split(", ")), text


def test_the_snapshot_classes_parameters(cluster):
    for variant in VARIANTS:
        for one in of_kind(variant, "VolumeSnapshotClass", "VolumeGroupSnapshotClass"):
            assert "parameters" not in one and one["driver"] == the(variant, "CSIDriver")["metadata"]["name"]


def test_the_version_is_the_programs(binaries):
    version = subprocess.run(
        [binaries / "perssd-node", "--version"], check=True, capture_output=True, text=True, timeout=120).stdout.strip()
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert str(chart["appVersion"]) == version
