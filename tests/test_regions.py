from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from skimage.measure import regionprops_table

from napari_dfc import blocks
from napari_dfc.regions import class_objects, class_table, count_pixels, measure_regions, write_columns


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int32, np.int64, np.uint64])
def test_pixels_are_counted_for_every_number_but_0(dtype: type) -> None:
    assert count_pixels(np.array([[0, 2, 2], [7, 2, 0]], dtype=dtype)) == {2: 3, 7: 1}


@given(
    arrays(np.int64, array_shapes(min_dims=1, max_dims=4, max_side=6), elements=st.sampled_from([0, 1, 5, 2**40])),
    st.integers(1, 40),
)
@settings(max_examples=60)
def test_counting_by_blocks_is_counting(labels: np.ndarray, block: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_PIXELS", block)
        found = count_pixels(labels)
    expected = {number: int((labels == number).sum()) for number in (1, 5, 2**40)}
    assert found == {number: pixels for number, pixels in expected.items() if pixels}


def test_nothing_is_counted_where_there_is_nothing() -> None:
    assert count_pixels(np.zeros((0, 4), np.uint8)) == {}
    assert count_pixels(np.zeros((4, 0), np.uint8)) == {}


def test_what_is_no_label_map_is_refused() -> None:
    with pytest.raises(TypeError, match="float64; accepted are integers"):
        count_pixels(np.zeros((2, 2)))
    with pytest.raises(ValueError, match="the number -1; accepted are numbers from 0"):
        count_pixels(np.array([[0, -1]]))
    with pytest.raises(TypeError, match="accepted are integers"):
        class_objects(np.zeros((2, 2)), 1)


def test_areas_are_in_physical_units_and_shares_of_the_whole() -> None:
    table = class_table({1: 30, 4: 10}, n_pixels=80, pixel_area=0.25)
    assert table == {"number": [1, 4], "pixels": [30, 10], "area": [7.5, 2.5], "share": [0.375, 0.125]}


CLASSES = np.array(
    [
        [1, 0, 2, 2, 2, 0],
        [0, 1, 2, 3, 2, 0],
        [1, 1, 2, 2, 2, 1],
    ],
    dtype=np.uint8,
)


def test_objects_touch_by_their_sides_and_the_largest_has_number_1() -> None:
    expected = [[2, 0, 0, 0, 0, 0], [0, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 3]]
    objects = class_objects(CLASSES, 1)
    assert objects.tolist() == expected  # of two single pixels the upper one comes first
    assert objects.dtype == np.uint8


def test_small_objects_are_left_out() -> None:
    assert class_objects(CLASSES, 1, min_size=2).tolist() == [[0] * 6, [0, 1, 0, 0, 0, 0], [1, 1, 0, 0, 0, 0]]
    with pytest.raises(ValueError, match="min_size is 0"):
        class_objects(CLASSES, 1, min_size=0)


def test_an_object_takes_what_it_encloses() -> None:
    assert (class_objects(CLASSES, 2) == (CLASSES == 2)).all()
    assert (class_objects(CLASSES, 2, fill_holes=True) > 0).tolist() == [[False, False, True, True, True, False]] * 3
    assert class_objects(CLASSES, 2, min_size=9, fill_holes=True).any()  # a filled hole counts
    assert not class_objects(CLASSES, 2, min_size=9).any()


def test_a_ring_of_two_objects_that_touch_by_corners_encloses_nothing() -> None:
    ring = np.zeros((5, 5), dtype=np.uint8)
    ring[0, 1:4] = ring[4, 1:4] = ring[1:4, 0] = ring[1:4, 4] = 1
    assert class_objects(ring, 1, fill_holes=True).max() == 4
    assert class_objects(ring, 1, fill_holes=True)[2, 2] == 0


def test_objects_go_through_the_planes_of_a_stack_or_not() -> None:
    stack = np.zeros((3, 4, 5), dtype=np.uint16)
    stack[:, 1, 1] = stack[0, 3, 3:] = 9
    assert class_objects(stack, 9)[:, 1, 1].tolist() == [1, 1, 1]
    apart = class_objects(stack, 9, separate_axes=[0])
    assert apart[0, 3, 3:].tolist() == [1, 1]
    assert apart[:, 1, 1].tolist() == [2, 3, 4]
    with pytest.raises(ValueError, match="separate_axes holds 3; the labels have the axes 0 to 2"):
        class_objects(stack, 9, separate_axes=[3])


def test_holes_of_planes_and_of_volumes() -> None:
    stack = np.ones((3, 3, 3), dtype=np.uint8)
    stack[:, 1, 1] = 0  # a tunnel, open at both ends
    assert (class_objects(stack, 1, fill_holes=True) == stack).all()
    assert class_objects(stack, 1, fill_holes=True, separate_axes=[-3])[:, 1, 1].tolist() == [1, 2, 3]
    stack[[0, 2], 1, 1] = 1
    assert class_objects(stack, 1, fill_holes=True).all()


def test_many_objects_have_numbers_of_their_own() -> None:
    dots = np.zeros((64, 64), dtype=np.uint8)
    dots[::2, ::2] = 1
    objects = class_objects(dots, 1)
    assert objects.dtype == np.uint16
    assert sorted(np.unique(objects)) == list(range(1025))


def test_a_class_that_is_not_there_has_no_objects() -> None:
    assert not class_objects(CLASSES, 7).any()
    assert class_objects(np.zeros((0, 3), np.uint8), 1).shape == (0, 3)


def test_regions_are_measured_in_physical_units() -> None:
    labels = np.array([[5, 5, 0], [0, 5, 0], [0, 0, 9]])
    signal = np.array([[1, 2, 0], [0, 6, 0], [0, 0, 4]], dtype=np.uint8)
    to_world = [[0.5, 0, 10], [0, 2, 20], [0, 0, 1]]
    table = measure_regions(labels, {"DAPI": signal, "GFP": 2.0 * signal}, pixel_area=1.0, to_world=to_world)
    assert table["label"].tolist() == [5, 9]
    assert table["pixels"].tolist() == [3, 1]
    assert table["area"].tolist() == [3, 1]
    np.testing.assert_allclose(table["centroid-0"], [10 + 0.5 / 3, 11])
    np.testing.assert_allclose(table["centroid-1"], [20 + 2 * 2 / 3, 24])
    np.testing.assert_allclose(table["DAPI mean"], [3, 4])
    assert table["DAPI min"].tolist() == [1, 4]
    assert table["DAPI max"].tolist() == [6, 4]
    np.testing.assert_allclose(table["DAPI std"], [np.std([1, 2, 6]), 0])
    np.testing.assert_allclose(table["GFP std"], 2 * table["DAPI std"])
    assert list(table)[:5] == ["label", "pixels", "area", "centroid-0", "centroid-1"]


@given(
    arrays(np.uint16, array_shapes(min_dims=2, max_dims=3, max_side=7), elements=st.sampled_from([0, 1, 5, 300])),
    st.integers(1, 30),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=40)
def test_measures_are_scikit_image_s(labels: np.ndarray, block: int, seed: int) -> None:
    signal = np.random.default_rng(seed).normal(1e4, 1, labels.shape)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_PIXELS", block)
        table = measure_regions(labels, {"DAPI": signal})
    properties = ("label", "area", "centroid", "intensity_mean", "intensity_min", "intensity_max")
    expected = regionprops_table(labels, signal, properties=properties)
    assert table["label"].tolist() == expected["label"].tolist()
    assert table["pixels"].tolist() == expected["area"].tolist()
    for axis in range(labels.ndim):
        np.testing.assert_allclose(table[f"centroid-{axis}"], expected[f"centroid-{axis}"], atol=1e-12)
    for measure in ("mean", "min", "max"):
        np.testing.assert_allclose(table[f"DAPI {measure}"], expected[f"intensity_{measure}"])
    deviations = [signal[labels == number].std() for number in table["label"]]
    np.testing.assert_allclose(table["DAPI std"], deviations, atol=1e-9)


def test_regions_of_a_stack_are_measured_as_volumes() -> None:
    labels = np.zeros((4, 3, 3), dtype=np.uint8)
    labels[1:3, 0, 0] = 1
    table = measure_regions(labels, pixel_area=2 * 0.5 * 0.5, to_world=np.diag([2, 0.5, 0.5, 1]))
    assert table["area"].tolist() == [1.0]
    assert [table[f"centroid-{axis}"].tolist() for axis in range(3)] == [[3.0], [0.0], [0.0]]


def test_numbers_far_apart_are_measured_as_fast() -> None:
    table = measure_regions(np.array([[0, 3, 2**60]], dtype=np.uint64))
    assert table["label"].tolist() == [3, 2**60]
    assert table["centroid-1"].tolist() == [1, 2]


def test_an_empty_label_map_has_an_empty_table() -> None:
    table = measure_regions(np.zeros((3, 4), np.uint8), {"DAPI": np.zeros((3, 4))})
    assert {len(column) for column in table.values()} == {0}
    assert set(table) >= {"label", "pixels", "area", "centroid-0", "DAPI mean", "DAPI std"}


def test_a_channel_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"channel GFP has the shape \(2, 3\); the labels have \(3, 3\)"):
        measure_regions(np.ones((3, 3), int), {"GFP": np.zeros((2, 3))})


def test_a_table_is_written_whole_and_never_over_another(tmp_path: Path) -> None:
    path = tmp_path / "classes.csv"
    columns = {"name": ["a, b", "ß"], "area (µm²)": np.array([1 / 3, np.nan]), "pixels": [3, 12345678]}
    write_columns(path, columns)
    with path.open(encoding="utf-8-sig", newline="") as file:
        rows = list(csv.reader(file))
    assert rows == [["name", "area (µm²)", "pixels"], ["a, b", "0.333333", "3"], ["ß", "", "12345678"]]
    with pytest.raises(FileExistsError):
        write_columns(path, {"name": ["other"]})
    write_columns(path, {"name": ["other"]}, overwrite=True)
    assert path.read_text(encoding="utf-8-sig").split() == ["name", "other"]
    with pytest.raises(FileNotFoundError):
        write_columns(tmp_path / "missing" / "classes.csv", columns)
    assert [each.name for each in tmp_path.iterdir()] == ["classes.csv"]
