from __future__ import annotations

import numpy as np
import pytest

from bsd500 import best_overlaps, interval, score


def test_overlap_of_every_segment_with_its_best_component() -> None:
    segments = np.array([[1, 1, 2, 2], [1, 1, 2, 2]])
    # two components of one label, which touch nowhere
    prediction = np.array([[5, 5, 7, 5], [5, 5, 7, 5]])
    assert best_overlaps(prediction, segments) == [1.0, 0.5]
    # corners alone do not connect: the right part falls into four
    prediction = np.array([[5, 5, 6, 7], [5, 5, 7, 6]])
    assert best_overlaps(prediction, segments) == [1.0, 0.25]


def test_a_blank_prediction_scores_each_segment_s_share_of_the_image() -> None:
    segments = np.array([[1, 2, 2, 2], [3, 3, 3, 3]])
    assert best_overlaps(np.zeros((2, 4), dtype=int), segments) == [1 / 8, 3 / 8, 4 / 8]


def test_modes_take_every_annotator_or_one() -> None:
    fine, coarse = np.array([[1, 2, 3, 4]]), np.array([[1, 1, 1, 1]])
    found = score(np.array([[1, 1, 1, 1]]), [coarse, fine])
    assert found == {"all": [1.0, 0.25, 0.25, 0.25, 0.25], "fine": [0.25] * 4, "coarse": [1.0]}


def test_interval_of_a_constant_difference_is_that_difference() -> None:
    ours, theirs = [[0.5, 0.7], [0.2]], [[0.4, 0.6], [0.1]]
    assert interval(ours, theirs) == pytest.approx((0.1, 0.1))
