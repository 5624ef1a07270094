from __future__ import annotations

import json
import shlex
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from typer.testing import CliRunner

import napari_dfc as dfc
from napari_dfc.cli import app
from napari_dfc.records import as_command, as_python, pack_strokes
from napari_dfc.samples import read_sample
from napari_dfc.scribbles import UNPAINTED, Scribbles, pack

SETTINGS = dfc.Settings.from_preset("fast", n_channels=12, max_iterations=6, balance_scribbles=False)


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return read_sample("stained_tissue").image[:96, :120]


@pytest.fixture(scope="module")
def live(image: np.ndarray) -> dfc.Segmentation:
    """Of a run in which strokes arrived twice, and which was stopped."""
    strokes = np.zeros(image.shape[:2], np.uint16)
    strokes[20, 20:32], strokes[80, 90:100] = 1, 400
    run = dfc.Run(image, settings=SETTINGS)
    for iteration in run:
        if iteration.number == 3:
            run.send(strokes)
        if iteration.number == 5:
            strokes[50, 40:60] = 2
            run.send(strokes, updates=2)
        if iteration.number == 8:
            run.cancel()
    return run.result()


def test_copied_python_gives_the_same_labels(image: np.ndarray, live: dfc.Segmentation) -> None:
    found = {"image": image}
    exec(as_python(json.loads(json.dumps(live.record))), found)
    np.testing.assert_array_equal(found["labels"], live.labels)
    assert set(np.unique(live.labels)) == {1, 2, 400}


def test_copied_command_gives_the_same_labels(image: np.ndarray, live: dfc.Segmentation, tmp_path: Path) -> None:
    source, target = tmp_path / "my cells.png", tmp_path / "labels.tif"
    iio.imwrite(source, image)
    command = as_command(live.record, str(source), str(target))
    outcome = CliRunner().invoke(app, shlex.split(command)[1:])
    assert outcome.exit_code == 0, outcome.output
    np.testing.assert_array_equal(iio.imread(target), live.labels)


def test_a_switch_that_is_off_is_off_on_the_command_line(live: dfc.Segmentation) -> None:
    assert "--no-balance-scribbles" in shlex.split(as_command(live.record))
    assert "balance_scribbles=False" in as_python(live.record)


painted = arrays(np.int64, st.tuples(st.integers(1, 6), st.integers(1, 7)), elements=st.integers(UNPAINTED, 2))


@given(st.lists(painted, max_size=3))
def test_strokes_come_back_from_their_text(maps: list[np.ndarray]) -> None:
    classes = (5, 70_000, 1)
    record = {"strokes": [pack(Scribbles(classes, each), 4 * number) for number, each in enumerate(maps)]}
    found = dfc.unpack_strokes(pack_strokes(record))
    assert list(found) == [4 * number for number in range(len(maps))]
    for each, arrival in zip(maps, found.values(), strict=True):
        expected = np.where(each == UNPAINTED, 0, np.take(classes, each))
        np.testing.assert_array_equal(arrival.painted, expected)


def test_every_text_that_was_cut_or_changed_is_refused(live: dfc.Segmentation) -> None:
    text = pack_strokes(live.record)
    for cut in range(0, len(text), 7):
        with pytest.raises(ValueError, match="no strokes of napari-dfc"):
            dfc.unpack_strokes(text[:cut])
    for wrong in ("", "ä", "hello", text[:40] + "!" + text[41:]):
        with pytest.raises(ValueError, match="no strokes of napari-dfc"):
            dfc.unpack_strokes(wrong)
