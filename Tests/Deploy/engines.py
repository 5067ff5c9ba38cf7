"""What workflow engines do with the examples, in small: volumes are directories, a snapshot is a copy, a pod is its containers' commands.

Each engine's function goes through an example in the engine's own order, and leaves the claims behind as directories. An order
that reads what nobody has written yet, a claim that is not there, a mount or an argument that is wrong, all show in what comes out.
"""

import json
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import yaml

STEPS = pathlib.Path(__file__).resolve().parents[2] / "examples" / "terrain" / "steps"
# Of the elevation model, in place of the examples' 8192, and tiles in each direction, in place of 8: a second's work, and one tile
# for each of four workers.
SIDE, GRID = "256", "2"


class Namespace:
    """Claims and snapshots, by name, and the pods that use them."""

    def __init__(self, directory):
        self.directory = directory
        self.claims, self.snapshots, self.specifications = {}, {}, []

    def create(self, document):
        kind, name, spec = document["kind"], document["metadata"]["name"], document["spec"]
        if kind == "VolumeSnapshot":
            assert name not in self.snapshots
            self.snapshots[name] = self._directory(self.claims[spec["source"]["persistentVolumeClaimName"]])
            return
        assert kind == "PersistentVolumeClaim" and name not in self.claims, name
        self.specifications.append(spec)
        source = spec.get("dataSource")
        self.claims[name] = self._directory(self.snapshots[source["name"]] if source else None)

    def _directory(self, contents=None):
        path = pathlib.Path(tempfile.mkdtemp(dir=self.directory))
        if contents:
            shutil.copytree(contents, path, dirs_exist_ok=True)
        return path

    def run(self, words, mounts, environment=None):
        """A container's command, with the directories that it has in its own places: {place: (directory, may be written)}."""
        with tempfile.TemporaryDirectory(dir=self.directory) as scratch:
            places = {**mounts, "/tmp": (scratch, True)}
            alternatives = "|".join(re.escape(place) for place in sorted(places, key=len, reverse=True))
            words = [
                re.sub(rf"(?<![\w./-])({alternatives})(?=[/\s\"]|$)", lambda found: str(places[found[1]][0]),
                       re.sub(r"(?<![\w.])8(?![\w.])", GRID, re.sub(r"\b8192\b", SIDE, word)))
                for word in words]
            before = {place: _contents(path) for place, (path, writable) in mounts.items() if not writable}
            result = subprocess.run(
                words, env={"PATH": os.environ["PATH"], **(environment or {})}, capture_output=True, text=True, timeout=120)
            assert result.returncode == 0, f"{words}: {result.stderr}"
            for place, contents in before.items():
                assert _contents(mounts[place][0]) == contents, f"{words} write to {place}"

    def run_pod(self, spec, container, environment=None):
        volumes = {volume["name"]: volume for volume in spec["volumes"]}
        mounts = {}
        for one in container["volumeMounts"]:
            volume = volumes[one["name"]]
            if "configMap" in volume:
                assert volume["configMap"]["name"] == "terrain-steps"
                mounts[one["mountPath"]] = (STEPS, False)
            else:
                claim = volume["persistentVolumeClaim"]
                assert claim.get("readOnly", False) == one.get("readOnly", False)
                mounts[one["mountPath"]] = (self.claims[claim["claimName"]], not claim.get("readOnly", False))
        self.run([*container["command"], *container.get("args", [])], mounts, environment)


def ordered(tasks):
    """Names in an order that the dependencies allow, {name: those before it}, and of these the worst: what is listed last is done as
    soon as nothing forbids it, so that a dependency that is missing shows."""
    left = dict(tasks)
    while left:
        ready = [name for name, before in left.items() if not set(before) & set(left)]
        assert ready, f"{list(left)} wait for each other"
        left.pop(ready[-1])
        yield ready[-1]


def _contents(directory):
    return sorted((str(path), path.stat().st_mtime_ns) for path in pathlib.Path(directory).rglob("*"))


def jobs(namespace, documents):
    """One document after the other, each Job to its end, as the README's commands do."""
    for document in documents:
        if document["kind"] != "Job":
            namespace.create(document)
            continue
        spec = document["spec"]
        pod = spec["template"]["spec"]
        for index in range(spec.get("completions", 1)):
            namespace.run_pod(pod, pod["containers"][0], {"JOB_COMPLETION_INDEX": str(index)})


class Argo:
    """Templates of a Workflow: container, resource, steps and dag, and what these give each other."""

    def __init__(self, namespace, workflow):
        self.namespace, self.spec = namespace, workflow["spec"]
        self.templates = {template["name"]: template for template in self.spec["templates"]}

    def run(self):
        self._template(self.spec["entrypoint"], {})

    def _filled(self, value, values):
        """With all that stands in double braces; whatever is not known is an error."""
        text = re.sub(r"\{\{([^}]+)\}\}", lambda found: values[found[1].strip()], json.dumps(value))
        return json.loads(text)

    def _template(self, name, arguments):
        template = self.templates[name]
        declared = {one["name"] for one in template.get("inputs", {}).get("parameters", [])}
        assert set(arguments) == declared, f"{name}: {set(arguments)} in place of {declared}"
        values = {"workflow.name": "terrain-x", **{f"inputs.parameters.{key}": value for key, value in arguments.items()}}
        if "dag" in template:
            tasks = {task["name"]: task for task in template["dag"]["tasks"]}
            for one in ordered({name: re.findall(r"[\w-]+", task.get("depends", "")) for name, task in tasks.items()}):
                self._task(tasks[one], values)
        elif "steps" in template:
            for group in template["steps"]:
                for one in group:
                    self._task(one, values)
        elif "resource" in template:
            self.namespace.create(yaml.safe_load(self._filled(template["resource"]["manifest"], values)))
        else:
            template = self._filled(template, values)
            self.namespace.run_pod(
                {"volumes": [*self.spec["volumes"], *template.get("volumes", [])]}, template["container"])

    def _task(self, task, values):
        items = task.get("withItems") or [None]
        if "withSequence" in task:
            items = [str(number) for number in range(int(task["withSequence"]["count"]))]
        for item in items:
            given = task.get("arguments", {}).get("parameters", [])
            known = {**values, "item": item} if item is not None else values
            self._template(task["template"], {one["name"]: self._filled(one["value"], known) for one in given})


def argo(namespace, workflow):
    Argo(namespace, workflow).run()


def tekton(namespace, documents, run):
    """A PipelineRun, its Pipeline, and that one's Tasks."""
    named = {(document["kind"], document["metadata"]["name"]): document["spec"] for document in documents}
    pipeline = named["Pipeline", run["spec"]["pipelineRef"]["name"]]
    values = {one["name"]: one["default"] for one in pipeline["params"]}
    workspaces = {}
    for binding in run["spec"]["workspaces"]:
        if "configMap" in binding:
            assert binding["configMap"]["name"] == "terrain-steps"
            workspaces[binding["name"]] = STEPS
        else:
            claim = {"kind": "PersistentVolumeClaim", "metadata": {"name": binding["name"]},
                     "spec": binding["volumeClaimTemplate"]["spec"]}
            namespace.create(claim)
            workspaces[binding["name"]] = namespace.claims[binding["name"]]
    assert set(workspaces) == {one["name"] for one in pipeline["workspaces"]}
    tasks = {task["name"]: task for task in pipeline["tasks"]}
    for name in ordered({name: task.get("runAfter", []) for name, task in tasks.items()}):
        task = tasks[name]
        matrix = task.get("matrix", {}).get("params", [])
        assert len(matrix) < 2
        for value in matrix[0]["value"] if matrix else [None]:
            given = {one["name"]: _replaced(one["value"], {f"params.{k}": v for k, v in values.items()})
                     for one in task["params"]}
            if matrix:
                given[matrix[0]["name"]] = value
            spec = named["Task", task["taskRef"]["name"]]
            assert set(given) == {one["name"] for one in spec["params"]}
            mounts = {one["name"]: workspaces[one["workspace"]] for one in task["workspaces"]}
            assert set(mounts) == {one["name"] for one in spec["workspaces"]}
            known = {**{f"params.{k}": v for k, v in given.items()},
                     **{f"workspaces.{k}.path": f"/workspace/{k}" for k in mounts}}
            writable = {one["name"]: not one.get("readOnly", False) for one in spec["workspaces"]}
            for step in spec["steps"]:
                namespace.run(
                    [_replaced(word, known) for word in [*step["command"], *step["args"]]],
                    {f"/workspace/{k}": (path, writable[k]) for k, path in mounts.items()})


def _replaced(text, values):
    return re.sub(r"\$\(([\w.-]+)\)", lambda found: values[found[1]], text)


def kubeflow(namespace, specification, platform):
    """A compiled pipeline: its tasks in order, and what the platform part says of claims and mounts."""
    tasks = specification["root"]["dag"]["tasks"]
    inputs = {name: one.get("defaultValue") for name, one in
              specification["root"]["inputDefinitions"]["parameters"].items()}
    executors = specification["deploymentSpec"]["executors"]
    platforms = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    outputs = {}

    def value(parameter):
        if "runtimeValue" in parameter:
            return parameter["runtimeValue"]["constant"]
        if "componentInputParameter" in parameter:
            return inputs[parameter["componentInputParameter"]]
        return outputs[parameter["taskOutputParameter"]["producerTask"]]

    for name in ordered({name: task.get("dependentTasks", []) for name, task in tasks.items()}):
        task = tasks[name]
        given = {key: value(one) for key, one in task.get("inputs", {}).get("parameters", {}).items()}
        executor = specification["components"][task["componentRef"]["name"]]["executorLabel"]
        container = executors[executor]["container"]
        if container["image"] == "argostub/createpvc":
            outputs[name] = claim = f"terrain{given['pvc_name_suffix']}"
            namespace.create({"kind": "PersistentVolumeClaim", "metadata": {"name": claim}, "spec": {
                "storageClassName": given["storage_class_name"], "accessModes": given["access_modes"],
                "resources": {"requests": {"storage": given["size"]}}}})
        elif container["image"] == "argostub/deletepvc":
            shutil.rmtree(namespace.claims.pop(given["pvc_name"]))
        else:
            mounts = {}
            for one in platforms[executor].get("pvcMount", []):
                parameter = one["pvcNameParameter"]
                mounts[one["mountPath"]] = (namespace.claims[value(parameter)], one["mountPath"] != "/elevation")
            for one in platforms[executor]["configMapAsVolume"]:
                assert one["configMapName"] == "terrain-steps"
                mounts[one["mountPath"]] = (STEPS, False)
            words = [re.sub(r"\{\{\$\.inputs\.parameters\['(\w+)'\]\}\}", lambda found: _number(given[found[1]]), word)
                     for word in [*container["command"], *container["args"]]]
            namespace.run(words, mounts)


def _number(value):
    return str(int(value)) if isinstance(value, float) else str(value)
