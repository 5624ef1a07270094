"""Doubtful regions, on margins whose regions are known."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_dfc as dfc
from napari_dfc.samples import read_sample
from napari_dfc.uncertainty import Spot, uncertain_spots


def two_squares() -> np.ndarray:
    """One of 11 pixels with a margin of 0.2, one of 7 with 0, in certainty."""
    margin = np.ones((30, 40))
    margin[4:15, 5:16] = 0.2
    margin[18:25, 28:35] = 0.0
    return margin


def test_spots_are_the_doubtful_regions_by_how_many_pixels_are_expected_to_be_wrong() -> None:
    # an opening by a disk rounds the corners off: 3 pixels at each of four
    found = uncertain_spots(two_squares())
    assert [(spot.row, spot.column, spot.top, spot.left) for spot in found] == [(9, 10, 4, 5), (21, 31, 18, 28)]
    assert [(spot.height, spot.width, spot.mask.sum()) for spot in found] == [(11, 11, 121 - 12), (7, 7, 49 - 12)]
    assert [spot.score for spot in found] == pytest.approx([(121 - 12) * 0.4, (49 - 12) * 0.5])


def test_outlines_of_a_spot_run_between_its_pixels_and_the_others() -> None:
    mask = np.ones((3, 4), dtype=bool)
    mask[1, 1] = False
    spot = Spot(row=10, column=21, score=11.0, top=10, left=20, mask=mask)
    around, hole = spot.outlines
    assert {*map(tuple, hole.tolist())} == {(10.5, 21), (11, 20.5), (11.5, 21), (11, 21.5)}
    np.testing.assert_array_equal((around.min(axis=0), around.max(axis=0)), ((9.5, 19.5), (12.5, 23.5)))
    for line in spot.outlines:
        np.testing.assert_array_equal(line[0], line[-1])


def test_long_rim_does_not_win_over_a_doubtful_object() -> None:
    margin = np.ones((60, 60))
    labels = np.where(np.arange(60) < 30, 1, 2)[None].repeat(60, axis=0)
    margin[:, 26:34] = 0.0  # 480 pixels, about the boundary
    margin[8:22, 5:19] = 0.3  # 196 pixels in one label
    spots = uncertain_spots(margin, labels)
    assert [(spot.height, spot.width) for spot in spots] == [(14, 14)]
    assert uncertain_spots(margin)[0].height == 60  # unless nobody says where the boundary is


def test_only_so_many_spots_are_given() -> None:
    assert len(uncertain_spots(two_squares(), most=1)) == 1
    assert uncertain_spots(two_squares(), most=1) == uncertain_spots(two_squares())[:1]


def test_where_all_is_equally_certain_there_is_no_spot() -> None:
    assert uncertain_spots(np.full((9, 9), 0.4)) == []
    assert uncertain_spots(np.full((9, 9), np.nan)) == []


def test_region_of_less_than_a_wrong_pixel_is_no_spot() -> None:
    margin = np.ones((30, 30))
    margin[10:17, 10:17] = 0.99
    assert uncertain_spots(margin) == []


def test_masked_and_painted_pixels_are_never_chosen() -> None:
    margin = two_squares()
    margin[:16] = np.nan
    assert [spot.row for spot in uncertain_spots(margin)] == [21]
    painted = np.zeros(margin.shape, dtype=np.uint8)
    painted[18:25, 28:35] = 3
    assert uncertain_spots(margin, painted=painted) == []


def test_region_beside_the_border_or_a_mask_is_not_thin_for_that() -> None:
    margin = np.ones((30, 40))
    margin[12:18, :3] = 0.0  # a part of an object that goes on outside
    for outside in (0, 5):
        padded = np.pad(margin, ((0, 0), (outside, 0)), constant_values=np.nan)
        (spot,) = uncertain_spots(padded)
        assert (spot.height, spot.width) == (6, 3)


@pytest.mark.parametrize("name", ["labels", "painted"])
def test_array_of_another_shape_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=rf"{name} has the shape \(2, 3\); accepted is that of margin, \(30, 40\)"):
        uncertain_spots(two_squares(), **{name: np.ones((2, 3), dtype=int)})


def test_less_than_one_spot_is_refused() -> None:
    with pytest.raises(ValueError, match="most is 0; accepted is a whole number from 1"):
        uncertain_spots(two_squares(), most=0)


@settings(max_examples=50)
@given(seed=st.integers(0, 1000), smooth=st.sampled_from([1, 3, 5]))
def test_every_spot_lies_in_doubt_and_scores_fall(seed: int, smooth: int) -> None:
    random = np.random.default_rng(seed)
    margin = np.kron(random.random((40 // smooth, 40 // smooth)), np.ones((smooth, smooth)))
    margin[random.random(margin.shape) < 0.02] = np.nan
    labels = (np.kron(random.random((8, 8)), np.ones((5, 5))) > 0.5)[: margin.shape[0], : margin.shape[1]].astype(int)
    painted = random.random(margin.shape) < 0.02
    spots = uncertain_spots(margin, labels, painted=painted)
    scores = [spot.score for spot in spots]
    assert scores == sorted(scores, reverse=True)
    assert all(score >= 1 for score in scores)
    for spot in spots:
        assert margin[spot.row, spot.column] < np.nanmax(margin)
        assert not painted[spot.row, spot.column]
        assert spot.score <= spot.height * spot.width / 2


def test_spots_of_a_run_lie_where_its_margin_is_low() -> None:
    sample = read_sample("stained_tissue")
    image, painted = sample.image[10:120, 120:260], sample.scribbles[10:120, 120:260]
    result = dfc.segment(image, scribbles=painted, preset="fast", max_iterations=8, n_networks=1)
    spots = result.uncertain_spots(most=3, painted=painted)
    assert 1 <= len(spots) <= 3
    for spot in spots:
        assert result.margin[spot.row, spot.column] < np.median(result.margin)
        assert painted[spot.row, spot.column] == 0
