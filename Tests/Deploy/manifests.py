"""The manifests as helm and kubectl render them."""

import functools
import os
import pathlib
import subprocess

import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
CHART = ROOT / "deploy" / "helm" / "perssd"
KUSTOMIZE = ROOT / "deploy" / "kustomize"
TOOLS = ROOT / ".build" / "deploy-tools"
HELM, KUBECTL = TOOLS / "helm", TOOLS / "kubectl"
EXAMPLES = {path.stem: path for path in sorted((CHART / "examples").glob("*.yaml"))}
# What each test of all manifests goes through: the chart with every example's values, of which "minimal" is the defaults and no more
# than has to be given, and what kustomize builds.
VARIANTS = [*EXAMPLES, "kustomize/base", "kustomize/example"]


def run(*command, check=True, **options):
    """Without the person's own settings of helm and kubectl."""
    environment = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    result = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=60, env=environment, **options)
    assert not check or result.returncode == 0, f"{command}: {result.stderr}"
    return result


def template(*arguments, check=True, **options):
    return run(HELM, "template", "perssd", CHART, "--namespace", "perssd-system", *arguments, check=check, **options)


def objects(text):
    return [document for document in yaml.load_all(text, Loader=yaml.CSafeLoader) if document]


@functools.cache
def rendered(variant):
    if variant.startswith("kustomize/"):
        return objects(run(KUBECTL, "kustomize", ROOT / "deploy" / variant).stdout)
    return objects(template("--values", EXAMPLES[variant]).stdout)


def of_kind(variant, *kinds):
    return [document for document in rendered(variant) if document["kind"] in kinds]


def the(variant, kind, ending=""):
    (found,) = [d for d in of_kind(variant, kind) if d["metadata"]["name"].endswith(ending)]
    return found


def pod(workload):
    return workload["spec"]["template"]["spec"]


def containers(variant):
    """(workload, container) for each container."""
    return [(workload, container) for workload in of_kind(variant, "Deployment", "DaemonSet")
            for container in pod(workload)["containers"]]


def container(variant, name):
    (found,) = [container for _, container in containers(variant) if container["name"] == name]
    return found


def flags(container):
    """{name: value}; "true" for a flag without one."""
    found = {}
    for argument in container.get("args", []):
        assert argument.startswith("--"), argument
        name, _, value = argument[2:].partition("=")
        assert name not in found, f"--{name} is given twice"
        found[name] = value or "true"
    return found
