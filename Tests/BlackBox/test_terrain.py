"""examples/terrain, as small as can be: it runs as one command, and its mosaics are what they have to be."""

import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import pytest

from cluster import loops_below, mounts_below

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
    output, errors = process.communicate(timeout=300)
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
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and "are not those of the whole model" in errors, errors


def test_an_end_from_outside_leaves_nothing(start, place):
    process = start("--ways", "perssd")
    try:
        deadline = time.monotonic() + 120
        # A pod has a volume.
        while not any("/pods/" in path for path in mounts_below(place)):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        # As a terminal does it: to all that have not left its group.
        os.killpg(process.pid, signal.SIGINT)
        _, errors = process.communicate(timeout=180)
    finally:
        process.kill()
    assert process.returncode == 130 and "Traceback" not in errors, errors
