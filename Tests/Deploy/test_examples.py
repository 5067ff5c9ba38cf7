"""The examples for workflow engines: valid, served by the driver and the chart, and right in what they compute."""

import hashlib
import pathlib
import subprocess
import uuid
import warnings

import kubernetes_validate
import pytest
import yaml

import engines
from cluster import MIB, csi, mount, until_ready
from manifests import of_kind

ROOT = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "examples"
PYTHON = ROOT / ".build" / "workflow-tools" / "bin" / "python"
FILES = sorted(path for path in EXAMPLES.rglob("*.yaml"))
# kubernetes_validate knows Kubernetes' own kinds only. Argo's are tried with its models, and Tekton's by going through them.
ENGINES = {"Workflow", "Task", "Pipeline", "PipelineRun"}
ACCESS_MODES = {"ReadWriteOnce": "SINGLE_NODE_MULTI_WRITER", "ReadOnlyMany": "MULTI_NODE_READER_ONLY"}
MOSAICS = ("slope", "aspect", "hillshade")


def documents(*path):
    text = (EXAMPLES / pathlib.Path(*path)).read_text()
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


def compiled():
    """Kubeflow's pipeline: its specification, and the part for Kubernetes."""
    file = ROOT / ".build" / f"pipeline-{uuid.uuid4()}.yaml"
    try:
        subprocess.run(
            [PYTHON, EXAMPLES / "kubeflow" / "pipeline.py", file], check=True, capture_output=True, timeout=120)
        return list(yaml.safe_load_all(file.read_text()))
    finally:
        file.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def elevation(tmp_path_factory):
    path = tmp_path_factory.mktemp("elevation") / "elevation.tif"
    subprocess.run(["/usr/bin/python3", engines.STEPS / "elevation.py", path, engines.SIDE], check=True)
    return path


def digest(raster, directory):
    """Of its pixels."""
    subprocess.run(["gdal_translate", "-q", "-of", "ENVI", raster, directory / "pixels"], check=True)
    return hashlib.sha256((directory / "pixels").read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def expected(elevation, tmp_path_factory):
    """Of each mosaic: computed of the whole model, without any tiles."""
    directory, found = tmp_path_factory.mktemp("whole"), {}
    for name in MOSAICS:
        subprocess.run(["gdaldem", name, "-q", "-compute_edges", elevation, directory / "whole.tif"], check=True)
        found[name] = digest(directory / "whole.tif", directory)
    return found


def run(engine, namespace, elevation):
    """Goes through an example; returns the directory of each mosaic."""
    if engine == "jobs":
        for number in ("1-cut", "2-parameters", "3-mosaic"):
            engines.jobs(namespace, documents("jobs", f"{number}.yaml"))
        return dict.fromkeys(MOSAICS, namespace.claims["terrain-mosaics"])
    if engine == "argo":
        engines.argo(namespace, *documents("argo", "terrain.yaml"))
        return {name: namespace.claims[f"terrain-x-{name}"] for name in MOSAICS}
    if engine == "tekton":
        engines.tekton(namespace, documents("tekton", "terrain.yaml"), *documents("tekton", "run.yaml"))
        return dict.fromkeys(MOSAICS, namespace.claims["data"] / "mosaics")
    for name in ("elevation", "elevation-read"):
        engines.jobs(namespace, documents("kubeflow", f"{name}.yaml"))
    specification, platform = compiled()
    engines.kubeflow(namespace, specification, platform)
    return dict.fromkeys(MOSAICS, namespace.claims["terrain-mosaics"])


@pytest.fixture(scope="module")
def runs(elevation, tmp_path_factory):
    """Each example, gone through once."""
    done = {}

    def get(engine):
        if engine not in done:
            namespace = engines.Namespace(tmp_path_factory.mktemp(engine))
            done[engine] = namespace, run(engine, namespace, elevation)
        return done[engine]

    return get


ALL = pytest.mark.parametrize("engine", ["jobs", "argo", "tekton", "kubeflow"])


@ALL
def test_the_mosaics_are_those_of_the_whole_model(engine, runs, expected, tmp_path):
    _, mosaics = runs(engine)
    assert {name: digest(mosaics[name] / f"{name}.tif", tmp_path) for name in MOSAICS} == expected


@pytest.mark.parametrize("file", FILES, ids=lambda path: str(path.relative_to(EXAMPLES)))
def test_documents_are_what_kubernetes_knows(file):
    kinds = [document["kind"] for document in documents(file)]
    assert kinds
    for document in documents(file):
        if document["kind"] in ENGINES:
            continue
        if document["kind"] == "VolumeSnapshot":
            assert document["apiVersion"] == "snapshot.storage.k8s.io/v1"
            assert set(document["spec"]) == {"volumeSnapshotClassName", "source"}
            continue
        for version in ("1.34", "1.36", kubernetes_validate.latest_version()):
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                kubernetes_validate.validate(document, version, strict=True)


def test_argo_knows_all_of_the_workflow():
    result = subprocess.run(
        [PYTHON, pathlib.Path(__file__).parent / "engine_models.py", EXAMPLES / "argo" / "terrain.yaml"],
        check=True, capture_output=True, text=True, timeout=120)
    assert result.stdout.split() == []


def test_argo_may_make_what_the_workflow_makes():
    (role,) = [document for document in documents("argo", "rbac.yaml") if document["kind"] == "Role"]
    allowed = {(group, resource): set(rule["verbs"]) for rule in role["rules"] for group in rule["apiGroups"]
               for resource in rule["resources"]}
    (workflow,) = documents("argo", "terrain.yaml")
    for template in workflow["spec"]["templates"]:
        if "resource" in template:
            made = yaml.safe_load(template["resource"]["manifest"])
            plural = (made["apiVersion"].rpartition("/")[0], f"{made['kind'].lower()}s")
            assert {"create", "get"} <= allowed[plural]
            # What is waited for is watched.
            assert ("successCondition" not in template["resource"]) or {"list", "watch"} <= allowed[plural]
    (account,) = [document for document in documents("argo", "rbac.yaml") if document["kind"] == "ServiceAccount"]
    assert workflow["spec"]["serviceAccountName"] == account["metadata"]["name"]


def test_kubeflow_caches_no_step():
    """A claim that an earlier run has made and deleted is none."""
    specification, _ = compiled()
    for name, task in specification["root"]["dag"]["tasks"].items():
        assert not task["cachingOptions"].get("enableCache", False), name


@ALL
def test_claims_are_served(engine, runs, cluster):
    """Each claim's class is in the chart, and the driver makes such a volume; what many nodes read is made of a snapshot."""
    namespace, _ = runs(engine)
    classes = {one["metadata"]["name"]: one for one in of_kind("minimal", "StorageClass")}
    assert namespace.specifications
    source = cluster.create(f"source-{engine}")
    snapshot = until_ready(lambda: cluster.controller.CreateSnapshot(csi.CreateSnapshotRequest(
        name=f"snapshot-{engine}", source_volume_id=source.volume_id), timeout=60).snapshot)
    for spec in namespace.specifications:
        # Kubernetes' sidecars take ReadWriteOnce and ReadOnlyMany for one volume as an error.
        (mode,) = spec["accessModes"]
        assert (mode == "ReadOnlyMany") is ("dataSource" in spec)
        parameters = dict(classes[spec["storageClassName"]]["parameters"])
        file_system = parameters.pop("csi.storage.k8s.io/fstype")
        # The tests' node is smaller than what is asked for.
        request = csi.CreateVolumeRequest(
            name=f"pvc-{uuid.uuid4()}", parameters=parameters,
            capacity_range=csi.CapacityRange(required_bytes=512 * MIB),
            volume_capabilities=[mount(file_system, mode=ACCESS_MODES[mode])])
        if "dataSource" in spec:
            assert spec["dataSource"]["kind"] == "VolumeSnapshot"
            request.volume_content_source.snapshot.snapshot_id = snapshot.snapshot_id
        cluster.delete(cluster.controller.CreateVolume(request, timeout=30).volume)


def test_classes_that_examples_bring_are_accepted(cluster):
    classes = [document for file in FILES for document in documents(file) if document["kind"] == "StorageClass"]
    assert [one["metadata"]["name"] for one in classes] == ["perssd-intermediate"]
    for one in classes:
        parameters = dict(one["parameters"])
        assert one["provisioner"] == the_driver()
        request = csi.CreateVolumeRequest(
            name=f"pvc-{uuid.uuid4()}", capacity_range=csi.CapacityRange(required_bytes=512 * MIB),
            volume_capabilities=[mount(parameters.pop("csi.storage.k8s.io/fstype"))], parameters=parameters)
        cluster.delete(cluster.controller.CreateVolume(request, timeout=30).volume)


def the_driver():
    (driver,) = of_kind("minimal", "CSIDriver")
    return driver["metadata"]["name"]


def test_snapshot_classes_are_the_charts():
    (made,) = of_kind("minimal", "VolumeSnapshotClass")
    manifests = [document for file in FILES for document in documents(file)]
    (workflow,) = documents("argo", "terrain.yaml")
    manifests += [yaml.safe_load(template["resource"]["manifest"])
                  for template in workflow["spec"]["templates"] if "resource" in template]
    named = {document["spec"]["volumeSnapshotClassName"] for document in manifests if document["kind"] == "VolumeSnapshot"}
    assert named == {made["metadata"]["name"]}
