from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from napari_dfc import blocks
from napari_dfc.edits import Edit, History, Replacement, keep_locked


def test_pixels_of_locked_classes_and_edited_ones_keep_their_label() -> None:
    present = np.array([[3, 1, 1], [3, 2, 0]], dtype=np.uint8)
    fresh = np.array([[1, 1, 2], [2, 3, 4]], dtype=np.int64)
    edited = np.array([[False, False, True], [False, False, True]])
    labels = keep_locked(fresh, present, locked=[3], edited=edited)
    assert labels.tolist() == [[3, 1, 1], [3, 3, 0]]
    assert labels.dtype == np.uint8
    assert fresh[0, 0] == 1  # the arrays themselves are left alone


def test_without_a_lock_everything_is_new() -> None:
    assert keep_locked([[1, 300]], [[2, 2]]).tolist() == [[1, 300]]


def test_kept_numbers_fit() -> None:
    labels = keep_locked(np.array([1, 1], np.uint8), np.array([70_000, 2]), locked=[70_000])
    assert labels.tolist() == [70_000, 1]
    assert keep_locked(np.array([900, 5]), np.array([1, 2], np.uint8), locked=[1, 900]).tolist() == [1, 5]


def test_label_maps_that_do_not_fit_together_are_refused() -> None:
    with pytest.raises(ValueError, match="they have to be the same"):
        keep_locked([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="they have to be the same"):
        keep_locked([1, 2], [1, 2], edited=[True])
    with pytest.raises(TypeError, match="fresh is of type float64"):
        keep_locked([1.0], [1])
    with pytest.raises(ValueError, match="present holds the number -1"):
        keep_locked([1], [-1])


@given(
    arrays(np.uint8, array_shapes(min_dims=1, max_dims=3, max_side=8), elements=st.integers(0, 4)),
    st.sets(st.integers(1, 4), min_size=1),
    st.integers(0, 4),
    st.integers(1, 600),
)
@settings(max_examples=60)
def test_a_replacement_is_taken_back(labels: np.ndarray, numbers: set[int], by: int, block: int) -> None:
    sources = sorted(numbers - {by})
    before = labels.copy()
    moved = {number: int((before == number).sum()) for number in sources}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(blocks, "BLOCK_PIXELS", block)
        replacement = Replacement(labels, sources, by)
    assert (labels == before).all()
    for _ in range(2):
        assert replacement.apply(labels) == moved
        assert (labels == np.where(np.isin(before, sources), by, before)).all()
        assert replacement.revert(labels) == moved
        assert (labels == before).all()


def test_what_was_painted_since_stays() -> None:
    labels = np.array([1, 2, 2, 3])
    replacement = Replacement(labels, [2], by=1)
    replacement.apply(labels)
    labels[1] = 7
    assert replacement.revert(labels) == {2: 1}
    assert labels.tolist() == [1, 7, 2, 3]
    labels[2] = 8
    assert replacement.apply(labels) == {2: 0}
    assert labels.tolist() == [1, 7, 8, 3]


def test_a_replacement_takes_a_bit_for_each_pixel_around() -> None:
    labels = np.zeros((1000, 1000), np.uint8)
    labels[10:26, 20:36] = 5
    assert Replacement(labels, [5], by=0).nbytes == 32


def add(number: int, to: list[int], nbytes: int = 0) -> Edit:
    return Edit(f"add {number}", lambda: to.append(number), lambda: to.remove(number), nbytes)


def test_edits_are_undone_and_redone_in_turn() -> None:
    numbers: list[int] = []
    history = History()
    assert (history.undo(), history.redo()) == ("", "")
    for number in (1, 2):
        history.do(add(number, numbers))
    assert history.to_undo == "add 2"
    assert history.undo() == "add 2"
    assert (numbers, history.to_redo) == ([1], "add 2")
    assert history.redo() == "add 2"
    assert (numbers, history.to_redo) == ([1, 2], "")
    history.undo()
    history.do(add(3, numbers))
    assert history.to_redo == ""
    history.clear()
    assert history.to_undo == ""


def test_the_oldest_edits_are_forgotten() -> None:
    numbers: list[int] = []
    history = History(most=3, most_bytes=100)
    for number in range(5):
        history.do(add(number, numbers))
    while history.undo():
        pass
    assert numbers == [0, 1]
    for number in (7, 8):
        history.do(add(number, numbers, nbytes=80))
    history.undo()
    assert history.to_undo == ""
    assert numbers == [0, 1, 7]
