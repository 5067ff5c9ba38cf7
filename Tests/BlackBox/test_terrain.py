"""examples/terrain, as small as can be: it runs as one command, and its mosaics are what they have to be."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import pytest

from cluster import loops_below, mounts_below
from waiting import wait_for

EXAMPLE = pathlib.Path(__file__).resolve().parents[2] / "examples" / "terrain"


@pytest.fixture
def place(workplace):
    """Where all is that the example makes; nothing of it may be left."""
    path = pathlib.Path(tempfile.mkdtemp(prefix="t-", dir=workplace))
    yield path
    assert (mounts_below(path), loops_below(path), list(path.iterdir())) == ([], [], [])


@pytest.fixture
def start(binaries, place):
    def start(*arguments, example=EXAMPLE):
        return subprocess.Popen(
            [sys.executable, example / "terrain.py", "--directory", place, "--side", "256", "--grid", "2", "--workers", "2",
             *arguments],
            env={**os.environ, "PERSSD_BIN": str(binaries)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            process_group=0)

    return start


def test_the_workflow_on_volumes(start):
    process = start("--ways", "local,perssd-background,copy")
    output, errors = process.communicate(timeout=900)
    assert process.returncode == 0, errors
    figures = dict(re.findall(r"^figure (\w+) ([\d.]+) \S+$", output, re.MULTILINE))
    for name in ("perssd_background", "copy"):
        assert 0 < float(figures[f"terrain_{name}_makespan"]) <= float(figures[f"terrain_{name}_durable"])
        # The tiles, their parameters and the mosaics: 22 bytes a pixel, of which compression leaves a half at least.
        assert float(figures[f"terrain_{name}_sent"]) > 0.6
    assert figures["terrain_local_sent"] == "0.0" and "terrain_local_durable" not in figures


def test_a_wrong_mosaic_is_noticed(start, tmp_path):
    """With a step that computes at the tiles' margins what it has no neighbours for."""
    for name in ("Tests", "proto", ".venv"):
        (tmp_path / name).symlink_to(EXAMPLE.parents[1] / name)
    copy = shutil.copytree(EXAMPLE, tmp_path / "examples" / "terrain")
    step = copy / "steps" / "cut.sh"
    assert "margin=8" in step.read_text()
    for step in (step, copy / "steps" / "parameters.sh"):
        step.write_text(step.read_text().replace("margin=8", "margin=0"))
    process = start("--ways", "local", example=copy)
    _, errors = process.communicate(timeout=600)
    assert process.returncode == 1 and "are not those of the whole model" in errors, errors


# Ctrl-C, and what timeout(1) and a system that is shut down send.
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_an_end_from_outside_leaves_nothing(start, place, number):
    process = start("--ways", "perssd")
    try:
        wait_for("a pod's volume", lambda: mounts_below(place), lambda paths: any("/pods/" in path for path in paths),
                 pause=0.02, over=lambda: process.poll() is not None)
        # As a terminal does it: to all that have not left its group.
        os.killpg(process.pid, number)
        _, errors = process.communicate(timeout=600)
    finally:
        process.kill()
    assert process.returncode == 128 + number and "Traceback" not in errors, errors
