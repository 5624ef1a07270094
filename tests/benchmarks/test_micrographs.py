from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label

from micrographs import LEAST_LENGTH, stroke, strokes


def ring(side: int = 60) -> np.ndarray:
    """A band, five pixels wide, around a disk's rim."""
    rows, columns = np.mgrid[:side, :side] - side // 2
    radius = np.hypot(rows, columns)
    return (radius > 18) & (radius < 23)


@pytest.mark.parametrize("seed", range(10))
def test_stroke_is_one_connected_line_inside_its_region(seed: int) -> None:
    painted = stroke(ring(), 30, np.random.default_rng(seed))
    assert not (painted & ~ring()).any()
    assert 24 <= painted.sum() <= 30
    assert label(painted, np.ones((3, 3)))[1] == 1


def test_stroke_in_a_region_of_one_pixel_is_that_pixel() -> None:
    region = np.zeros((4, 5), dtype=bool)
    region[3, 4] = True
    assert (stroke(region, 10, np.random.default_rng(0)) == region).all()


def test_strokes_follow_their_classes_and_their_seed() -> None:
    classes = np.where(ring(), 2, 1).astype(np.uint8)
    first, again, other = (strokes(classes, 3, seed) for seed in (0, 0, 1))
    painted = first > 0
    assert (first[painted] == classes[painted]).all()
    for value in (1, 2):
        assert LEAST_LENGTH * 0.8 <= (first == value).sum() <= 3 * LEAST_LENGTH
    assert (first == again).all()
    assert (first != other).any()
