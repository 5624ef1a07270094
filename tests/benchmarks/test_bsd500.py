from __future__ import annotations

import numpy as np
import pytest

from bsd500 import interval, score


def test_modes_take_every_annotator_or_one() -> None:
    fine, coarse = np.array([[1, 2, 3, 4]]), np.array([[1, 1, 1, 1]])
    found = score(np.array([[1, 1, 1, 1]]), [coarse, fine])
    assert found == {"all": [1.0, 0.25, 0.25, 0.25, 0.25], "fine": [0.25] * 4, "coarse": [1.0]}


def test_interval_of_a_constant_difference_is_that_difference() -> None:
    ours, theirs = [[0.5, 0.7], [0.2]], [[0.4, 0.6], [0.1]]
    assert interval(ours, theirs) == pytest.approx((0.1, 0.1))
