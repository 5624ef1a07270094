from __future__ import annotations

import json
import shlex
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from typer.testing import CliRunner

import napari_dfc as dfc
from napari_dfc.cli import app
from napari_dfc.records import _as_word, as_command, as_python, pack_mask, pack_strokes
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


def test_a_copied_command_names_the_axis_of_the_channels(image: np.ndarray, tmp_path: Path) -> None:
    source, target = tmp_path / "pair.tif", tmp_path / "labels.tif"
    data = np.ascontiguousarray(np.moveaxis(image[:32, :40, :2], -1, 0))
    tifffile.imwrite(source, data, photometric="minisblack")
    result = dfc.segment(data, channel_axis=0, preset="fast", n_channels=12, max_iterations=2, threads=1, device="cpu")
    command = as_command(result.record, str(source), str(target), channel_axis=0)
    outcome = CliRunner().invoke(app, shlex.split(command)[1:])
    assert outcome.exit_code == 0, outcome.output
    np.testing.assert_array_equal(iio.imread(target), result.labels)


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


@given(arrays(bool, st.tuples(st.integers(1, 9), st.integers(1, 9))))
def test_a_mask_comes_back_from_its_text(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(dfc.unpack_mask(pack_mask(mask)), mask)


def test_a_large_round_region_is_a_short_text() -> None:
    rows, columns = np.ogrid[:4000, :5000]
    assert len(pack_mask((rows - 2000) ** 2 + (columns - 2500) ** 2 < 1500**2)) < 20_000


def test_every_text_of_a_mask_that_was_cut_or_changed_is_refused(live: dfc.Segmentation) -> None:
    rows, columns = np.ogrid[:60, :80]
    text = pack_mask((rows - 30) ** 2 + (columns - 40) ** 2 < 400)
    for wrong in (*(text[:cut] for cut in range(0, len(text), 7)), "ä", text[:40] + "!" + text[41:]):
        with pytest.raises(ValueError, match="no region of napari-dfc"):
            dfc.unpack_mask(wrong)
    for numbers in ([], [3], [0, 0], [-2, 3], [2, 3, 7], [2, 3, 1, 0], [2, 3, -1], [1 << 40, 1 << 40]):
        with pytest.raises(ValueError, match="no region of napari-dfc"):
            dfc.unpack_mask(_as_word(np.array(numbers, "<i8").tobytes()))
    with pytest.raises(ValueError, match="no region of napari-dfc"):
        dfc.unpack_mask(pack_strokes(live.record))


@pytest.fixture(scope="module")
def region(image: np.ndarray) -> np.ndarray:
    """A disk in one corner of the image."""
    rows, columns = np.ogrid[: image.shape[0], : image.shape[1]]
    return (rows - 60) ** 2 + (columns - 80) ** 2 < 30**2


def test_copies_of_a_run_within_a_region_give_the_same_labels(
    image: np.ndarray, region: np.ndarray, tmp_path: Path
) -> None:
    result = dfc.segment(image, mask=region, preset="fast", n_groups=3, max_iterations=6)
    record = json.loads(json.dumps(result.record))
    found = {"image": image}
    exec(as_python(record), found)
    np.testing.assert_array_equal(found["labels"], result.labels)
    np.testing.assert_array_equal(dfc.run_again(record, image).labels, result.labels)
    source, target = tmp_path / "cells.png", tmp_path / "labels.tif"
    iio.imwrite(source, image)
    outcome = CliRunner().invoke(app, shlex.split(as_command(record, str(source), str(target)))[1:])
    assert outcome.exit_code == 0, outcome.output
    np.testing.assert_array_equal(iio.imread(target), result.labels)
