from __future__ import annotations

import pytest

from bench import interval


def test_interval_of_a_constant_difference_is_that_difference() -> None:
    ours, theirs = [[0.5, 0.7], [0.2]], [[0.4, 0.6], [0.1]]
    assert interval(ours, theirs) == pytest.approx((0.1, 0.1))
