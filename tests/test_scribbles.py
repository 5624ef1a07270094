from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_dfc.images import Window
from napari_dfc.scribbles import UNPAINTED, pack, prepare, unpack


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.uint32, np.int64, np.uint64])
def test_classes_rise_and_are_carried_by_the_first_channels(dtype: type) -> None:
    painted = np.array([[0, 90, 7], [7, 0, 90], [0, 0, 100]]).astype(dtype)
    strokes = prepare(painted, (3, 3), 8)
    assert strokes.classes == (7, 90, 100)
    assert strokes.targets.tolist() == [[-1, 1, 0], [0, -1, 1], [-1, -1, 2]]


def test_values_up_to_the_dtype_s_range_are_classes() -> None:
    largest = 2**64 - 1
    strokes = prepare(np.array([[largest, 1]], dtype=np.uint64), (1, 2), 4)
    assert strokes.classes == (1, largest)
    assert strokes.targets.tolist() == [[1, 0]]


def test_bool_strokes_are_one_class() -> None:
    assert prepare(np.array([[True, False]]), (1, 2), 4).classes == (1,)


def test_strokes_on_masked_pixels_are_ignored() -> None:
    strokes = prepare(np.array([[5, 6, 0]]), (1, 3), 4, mask=np.array([[False, True, True]]))
    assert strokes.classes == (6,)
    assert strokes.targets.tolist() == [[UNPAINTED, 0, UNPAINTED]]


@pytest.mark.parametrize(
    ("painted", "error", "words"),
    [
        (np.zeros((2, 3)), TypeError, "values of type float64; accepted are integers"),
        (np.zeros((3, 2), int), ValueError, r"shape \(3, 2\); accepted is that of the image's plane, \(2, 3\)"),
        (np.ones((1, 2, 3), int), ValueError, "shape"),
        (np.array([[0, -4, 1]] * 2), ValueError, "hold the value -4; accepted are 0 .* and positive integers"),
        (np.zeros((2, 3), int), ValueError, "hold no painted pixel"),
        (np.arange(6).reshape(2, 3), ValueError, "5 classes and the network has 4 channels"),
    ],
)
def test_bad_strokes_are_refused_in_words(painted: np.ndarray, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        prepare(painted, (2, 3), 4)


def test_classes_painted_only_where_the_image_is_not_looked_at_are_named() -> None:
    painted = np.array([[9, 5, 6, 0, 300], [7, 0, 6, 0, 5]], dtype=np.uint16)
    mask = np.array([[False, True, True, True], [True, True, True, True]])
    strokes = prepare(painted[:, :4], (2, 4), 4, mask=mask)
    assert (strokes.classes, strokes.left_out) == ((5, 6, 7), (9,))
    window = Window(slice(0, 2), slice(1, 4), (2, 5))
    strokes = prepare(painted, (2, 5), 4, window=window)
    assert (strokes.classes, strokes.left_out) == ((5, 6), (7, 9, 300))
    assert prepare(painted, (2, 5), 8).left_out == ()


def test_strokes_only_on_masked_pixels_are_refused() -> None:
    with pytest.raises(ValueError, match="no painted pixel where the image can be used"):
        prepare(np.array([[5, 0]]), (1, 2), 4, mask=np.array([[False, True]]))


painted_images = hnp.arrays(
    np.uint16, hnp.array_shapes(min_dims=2, max_dims=2, max_side=6), elements=st.sampled_from([0, 1, 9, 700])
)


@given(painted_images)
def test_packing_and_unpacking_gives_the_painted_image_back(painted: np.ndarray) -> None:
    if not painted.any():
        return
    record = json.loads(json.dumps(pack(prepare(painted, painted.shape, 8), iteration=4)))
    np.testing.assert_array_equal(unpack(record), painted)
    assert record["iteration"] == 4
