"""Processes killed at random moments while they save and apply: no broken file, and what goes on ends the same.

``python -m pytest tests/test_killed.py --kills 50`` kills as often for each test.
"""

from __future__ import annotations

import csv
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest

import napari_dfc as dfc
from napari_dfc.files import read_labels
from napari_dfc.samples import read_sample
from napari_dfc.whole_files import MARK

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is Unix's")

#: So many that they are not all done before an interruption reaches the process, however busy the machine is.
N_IMAGES = 150

#: Saves two networks in turn under one name, as fast as it can, once a line came in.
SAVING = """
import sys
import napari_dfc as dfc
models = [dfc.load(path) for path in sys.argv[1:3]]
print("ready", flush=True)
while True:
    for model in models:
        model.save(sys.argv[3], overwrite=True)
"""

#: Applies a network, once a line came in, so that the moments of killing are moments of work.
APPLYING = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # which who runs the tests in the background has switched off
from napari_dfc.devices import load_torch
load_torch()
from napari_dfc.cli import app
print("ready", flush=True)
app(sys.argv[1:])
"""


@pytest.fixture
def networks(tmp_path: Path) -> list[Path]:
    """Two of different classes."""
    image = read_sample("stained_tissue").image[:60, :70]
    paths = []
    for seed in range(2):
        options = {"split_into": "clusters", "max_iterations": 3, "n_channels": 8, "min_labels": 1, "seed": seed}
        paths.append(tmp_path / f"network{seed}.dfc.safetensors")
        dfc.segment(image, **options).model().save(paths[-1])
    return paths


def begun(code: str, *words: object) -> subprocess.Popen[str]:
    """A process that has loaded what it needs and begins its work."""
    command = [sys.executable, "-c", code, *map(str, words)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def ended(process: subprocess.Popen[str]) -> int:
    """Its exit status, once it and the processes that it has started have let go of their output."""
    process.communicate(timeout=60)
    return process.returncode


def labels_in(folder: Path) -> dict[str, bytes]:
    """The label files of a folder, without what was being written when a process was killed."""
    return {path.name: path.read_bytes() for path in folder.glob("*.tif") if MARK not in path.name}


def test_killed_while_it_saves(networks: list[Path], tmp_path: Path, pytestconfig: pytest.Config) -> None:
    chance = random.Random(0)
    folder = tmp_path / "saved"
    folder.mkdir()
    target = folder / "network.dfc.safetensors"
    known = {path.read_bytes() for path in networks}
    for _ in range(pytestconfig.getoption("--kills")):
        process = begun(SAVING, *networks, target)
        deadline = time.monotonic() + 30
        while not target.exists() and time.monotonic() < deadline:
            time.sleep(0.001)
        time.sleep(chance.uniform(0, 0.2))
        process.kill()
        ended(process)
        assert target.read_bytes() in known
        dfc.load(target)
        leftovers = [path for path in folder.iterdir() if path != target]
        assert all(MARK in path.name for path in leftovers)
        for path in leftovers:  # a minute later the next save removes them
            os.utime(path, (0, 0))
    dfc.load(networks[0]).save(target, overwrite=True)
    assert list(folder.iterdir()) == [target]


@pytest.mark.parametrize("jobs", [1, 2])
def test_killed_while_it_applies(networks: list[Path], tmp_path: Path, pytestconfig: pytest.Config, jobs: int) -> None:
    chance = random.Random(jobs)
    image = read_sample("stained_tissue").image
    images, whole, out = (tmp_path / name for name in ("images", "whole", "out"))
    images.mkdir()
    for index in range(6):
        iio.imwrite(images / f"{index}.png", np.roll(image, 40 * index, axis=1)[:120])
    words = ["apply", networks[0], images, "--jobs", jobs, "-o"]
    started = time.monotonic()
    assert ended(begun(APPLYING, *words, whole)) == 0
    seconds = time.monotonic() - started
    expected = labels_in(whole)
    assert len(expected) == 6
    for _ in range(pytestconfig.getoption("--kills")):
        process = begun(APPLYING, *words, out)
        time.sleep(chance.uniform(0, 0.7 * seconds))
        process.kill()
        ended(process)
        there = labels_in(out)
        assert all(expected[name] == data for name, data in there.items())
        if len(there) == 6:  # begin anew
            for path in out.iterdir():
                path.unlink()
    assert ended(begun(APPLYING, *words, out)) == 0
    assert labels_in(out) == expected
    for name in expected:
        read_labels(out / name)
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert {row["state"] for row in rows} <= {"done", "kept"}


@pytest.mark.parametrize("jobs", [1, 2])
def test_interrupted_it_says_what_is_left(networks: list[Path], tmp_path: Path, jobs: int) -> None:
    image = read_sample("stained_tissue").image
    images, out = tmp_path / "images", tmp_path / "out"
    images.mkdir()
    for index in range(N_IMAGES):
        iio.imwrite(images / f"{index}.png", image[index : index + 100])
    words = ["apply", networks[0], images, "--jobs", jobs, "-o", out]
    process = begun(APPLYING, *words)
    deadline = time.monotonic() + 60
    while len(list(out.glob("*.tif"))) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    told, complained = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "interrupted" in complained
    assert "Traceback" not in complained
    n_done = int(re.search(r"^(\d+) images segmented", told, re.MULTILINE).group(1))
    assert 0 < n_done < N_IMAGES
    assert f"{N_IMAGES - n_done} of {N_IMAGES} are left: the same call goes on with these" in told
    with (out / "results.csv").open(newline="", encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == n_done
