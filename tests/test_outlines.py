from __future__ import annotations

import numpy as np
import pytest
from skimage.draw import polygon

from napari_dfc.outlines import fill_polygon


@pytest.mark.parametrize("seed", range(40))
def test_polygons_are_those_of_scikit_image(seed: int) -> None:
    random = np.random.default_rng(seed)
    corners = random.uniform(-8, 30, (random.integers(3, 9), 2))
    if seed % 2:
        corners = corners.round()  # corners and edges on centers of pixels
    expected, inside = np.zeros((22, 25), dtype=bool), np.zeros((22, 25), dtype=bool)
    expected[polygon(*corners.T, shape=expected.shape)] = True
    fill_polygon(inside, corners)
    along = corners[:, None] + np.linspace(0, 1, 20_001)[:, None] * (np.roll(corners, -1, axis=0) - corners)[:, None]
    for place in np.argwhere(inside != expected):  # on the outline, but for rounding
        assert np.linalg.norm(along - place, axis=-1).min() < 2e-3


def test_a_point_beyond_the_picture_marks_nothing() -> None:
    inside = np.zeros((3, 4), dtype=bool)
    fill_polygon(inside, np.full((3, 2), 9.0))
    assert not inside.any()
