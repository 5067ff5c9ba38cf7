"""The example of a termination handler: what it runs exists, and reaches the node plugin's socket where the chart has it."""

import pathlib
import shlex
import subprocess

import yaml

from manifests import ROOT, container, the

EXAMPLE = ROOT / "deploy" / "termination-handler" / "aws-spot.yaml"


def example():
    return yaml.safe_load(EXAMPLE.read_text())["spec"]["template"]["spec"]


def flush_words():
    (container,) = [one for one in example()["containers"] if one["name"] == "flush"]
    (line,) = [line for line in container["args"][0].splitlines() if line.startswith("perssd ")]
    return container, shlex.split(line)


def test_the_flush_is_one_that_perssd_knows(binaries, tmp_path):
    _, words = flush_words()
    socket = words[words.index("--socket") + 1]
    words[words.index("--socket") + 1] = str(tmp_path / "none.sock")
    words[0] = str(binaries / "perssd")
    result = subprocess.run(words, capture_output=True, text=True, timeout=60)
    # Not 2, as for an option that is none.
    assert result.returncode == 1 and "no node plugin answers" in result.stderr, result
    settings = yaml.safe_load(the("minimal", "ConfigMap", "node")["data"]["perssd.yaml"])
    assert socket == settings["stateDirectory"] + "/control.sock"


def test_the_socket_is_mounted_where_it_is_asked_for():
    container_, words = flush_words()
    directory = str(pathlib.PurePath(words[words.index("--socket") + 1]).parent)
    (mount,) = [one for one in container_["volumeMounts"] if one["mountPath"] == directory]
    (volume,) = [one for one in example()["volumes"] if one["name"] == mount["name"]]
    assert volume["hostPath"]["path"] == directory
    assert container("minimal", "perssd-node")["image"] == container_["image"]


def test_both_scripts_are_scripts():
    for one in example()["containers"]:
        subprocess.run([*one["command"][:1], "-n", "-c", one["args"][0]], check=True, timeout=30)
