from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_dfc.numbering import apply_numbers, label_numbers


def test_numbers_fall_with_area_and_ties_keep_their_order() -> None:
    assert label_numbers([5, 9, 5, 0, 20]).tolist() == [3, 2, 4, 5, 1]


def test_scribbled_classes_keep_their_values_and_others_take_the_gaps() -> None:
    #                     classes 2 and 4 | free channels
    assert label_numbers([1, 1000, 10, 30, 20], classes=(2, 4)).tolist() == [2, 4, 5, 1, 3]


@given(
    areas=st.lists(st.integers(0, 50), min_size=4, max_size=20),
    classes=st.sets(st.integers(1, 2**64 - 1), max_size=4),
)
def test_numbers_are_positive_different_and_as_small_as_can_be(areas: list[int], classes: set[int]) -> None:
    kept = sorted(classes)
    numbers = label_numbers(areas, kept).tolist()
    assert numbers[: len(kept)] == kept
    free = [number for number in range(1, 100) if number not in classes]
    assert sorted(numbers[len(kept) :]) == free[: len(areas) - len(kept)]
    by_number = sorted(zip(numbers[len(kept) :], areas[len(kept) :], strict=True))
    assert [area for _, area in by_number] == sorted(areas[len(kept) :], reverse=True)


@pytest.mark.parametrize(("largest", "dtype"), [(255, "u1"), (256, "u2"), (70_000, "u4"), (2**40, "u8")])
def test_labels_have_the_smallest_dtype_for_the_numbers_in_use(largest: int, dtype: str) -> None:
    numbers = np.array([largest, 1, 2**63], dtype=np.uint64)  # the last one is not in use
    labels = apply_numbers(np.array([[0, 1], [1, 0]]), numbers)
    assert labels.dtype == np.dtype(dtype)
    assert labels.tolist() == [[largest, 1], [1, largest]]


def test_masked_pixels_are_0_and_do_not_count() -> None:
    numbers = np.array([3, 900], dtype=np.uint64)
    labels = apply_numbers(np.array([[0, 1]]), numbers, np.array([[True, False]]))
    assert labels.tolist() == [[3, 0]]
    assert labels.dtype == np.uint8
