"""Regions and groups of a kept run, on an image whose pieces are known."""

from collections.abc import Callable

import numpy as np
import pytest

from napari_dfc import merging, pieces
from napari_dfc.basins import Votes, basins_of, means_over
from napari_dfc.cancellation import Cancelled
from napari_dfc.contrast import contrast_of
from napari_dfc.hierarchy import Hierarchy
from napari_dfc.images import Plane, prepare
from napari_dfc.merging import Neighbors, consensus, merge_alike, merge_neighbors
from napari_dfc.pieces import KeptPieces, groups_of, regions_of
from napari_dfc.settings import Settings


def two_kinds_of_squares() -> tuple[Plane, np.ndarray]:
    """Squares of two brightnesses on a third, with a little noise, and which pixel belongs to what."""
    kinds = np.zeros((60, 60), dtype=int)
    for index, (row, column) in enumerate(((5, 5), (5, 35), (35, 5), (35, 35))):
        kinds[row : row + 15, column : column + 15] = 1 + index % 2
    noise = np.random.default_rng(0).normal(0, 0.02, size=kinds.shape)
    return prepare(kinds + noise), kinds


def merged(plane: Plane) -> tuple[Hierarchy, np.ndarray]:
    """Its regions, and votes that say nothing."""
    contrast = contrast_of(plane)
    basins = basins_of(contrast, plane.mask)
    brightness = np.bincount(basins.ravel(), plane.values[0].ravel())[1:] / np.bincount(basins.ravel())[1:]
    regions = merge_neighbors(Neighbors.of(basins, contrast), brightness[:, None].astype(np.float32))
    return regions, np.zeros((len(brightness), 2), dtype=np.float32)


def same_partition(one: np.ndarray, other: np.ndarray) -> float:
    """Share of pixels that are alike once each label of the one has the name of what it mostly covers."""
    return sum(np.bincount(other[one == number]).max() for number in np.unique(one)) / one.size


def votes_on(plane: Plane, kinds: np.ndarray, n_maps: int) -> Votes:
    """Label maps of which each takes a fifth of the pixels, others every time, for something else than they are."""
    random = np.random.default_rng(0)
    votes = Votes(basins_of(contrast_of(plane)))
    for _ in range(n_maps):
        votes.add(np.where(random.random(kinds.shape) < 0.2, random.integers(0, 3, kinds.shape), kinds), 3)
    return votes


def test_regions_of_three_label_maps_are_those_of_one_hierarchy() -> None:
    plane, kinds = two_kinds_of_squares()
    votes, contrast = votes_on(plane, kinds, 3), contrast_of(plane)
    regions = regions_of(votes, votes.shares(), contrast)
    alone = merge_neighbors(Neighbors.of(votes.basins, contrast), votes.shares())
    assert np.array_equal(regions.merges, alone.merges)
    assert np.array_equal(regions.levels, alone.levels)


def test_regions_of_many_label_maps_are_what_can_be_seen() -> None:
    plane, kinds = two_kinds_of_squares()
    votes = votes_on(plane, kinds, 24)
    regions = regions_of(votes, votes.shares(), contrast_of(plane))
    assert len(regions.merges) == votes.basins.max() - 1
    assert same_partition(regions.cut_to(5), kinds) > 0.97  # the four squares and what is around them


def consensus_of(
    monkeypatch: pytest.MonkeyPatch, votes: Votes, contrast: np.ndarray
) -> tuple[Hierarchy, list[Hierarchy]]:
    """The regions of votes, and the hierarchies that agreed on them."""
    asked: list[Hierarchy] = []

    def listen(neighbors: Neighbors, hierarchies: list[Hierarchy], cancelled: Callable[[], bool]) -> Hierarchy:
        asked.extend(hierarchies)
        return consensus(neighbors, hierarchies, cancelled)

    monkeypatch.setattr(pieces, "consensus", listen)
    return regions_of(votes, votes.shares(), contrast), asked


@pytest.mark.parametrize(("n_maps", "n_hierarchies"), [(3, 0), (4, 2), (12, 4), (24, 7), (120, 7)])
def test_label_maps_are_dealt_out_to_no_more_than_seven_hierarchies(
    monkeypatch: pytest.MonkeyPatch, n_maps: int, n_hierarchies: int
) -> None:
    plane, kinds = two_kinds_of_squares()
    votes, contrast = votes_on(plane, kinds, n_maps), contrast_of(plane)
    regions, asked = consensus_of(monkeypatch, votes, contrast)
    assert len(asked) == n_hierarchies
    half = (votes.basins.max() + 1) // 2
    first = merge_neighbors(Neighbors.of(votes.basins, contrast), votes.shares()).cut_to(half)
    assert np.array_equal(regions.cut_to(half), first)
    for start, hierarchy in enumerate(asked):
        assert np.array_equal(hierarchy.pieces, first)
        features = regions.average(votes.shares(start, n_hierarchies), half)
        of_part = merge_neighbors(Neighbors.of(first, contrast), features)
        assert np.array_equal(hierarchy.levels, of_part.levels)


def test_hierarchies_of_many_basins_begin_with_a_limited_number_of_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MOST_APART", 12)
    plane, kinds = two_kinds_of_squares()
    _, asked = consensus_of(monkeypatch, votes_on(plane, kinds, 4), contrast_of(plane))
    assert [hierarchy.pieces.max() for hierarchy in asked] == [12, 12]


def test_islands_do_not_count_as_pieces_that_could_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    plane, kinds = two_kinds_of_squares()
    mask = np.ones(kinds.shape, dtype=bool)
    mask[::4] = mask[:, ::4] = False  # 225 islands of nine pixels
    islands = Plane(plane.values, mask, plane.offset, plane.scale, plane.sha256, plane.dtypes)
    contrast = contrast_of(islands)
    votes = Votes((np.cumsum(mask).reshape(mask.shape) * mask).astype(np.int32))  # every pixel is a basin
    for _ in range(4):
        votes.add(kinds, 3)
    _, asked = consensus_of(monkeypatch, votes, contrast)
    n_merges = int(mask.sum()) - 225
    assert [len(hierarchy.merges) for hierarchy in asked] == [n_merges // 2] * 2


def test_regions_are_called_off_in_each_of_their_hierarchies(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "MERGES_BETWEEN_QUESTIONS", 1)
    plane, kinds = two_kinds_of_squares()
    votes, contrast = votes_on(plane, kinds, 4), contrast_of(plane)
    n_merges = votes.basins.max() - 1
    n_asked = 2 * (n_merges // 2) + n_merges  # first all together, then two parts, then their consensus
    for most in (0, n_merges // 2, n_merges, n_asked - 1):
        answers = iter([False] * most)
        with pytest.raises(Cancelled):
            regions_of(votes, votes.shares(), contrast, lambda answers=answers: next(answers, True))
    answers = iter([False] * 2 * n_merges)
    assert len(regions_of(votes, votes.shares(), contrast, lambda: next(answers)).merges) == n_merges


def test_groups_join_what_is_alike_by_brightness_where_votes_are_silent() -> None:
    plane, kinds = two_kinds_of_squares()
    regions, votes = merged(plane)
    assert same_partition(groups_of(regions, votes, plane).cut_to(3), kinds) > 0.97


def test_groups_follow_the_votes_where_brightness_is_silent() -> None:
    plane, kinds = two_kinds_of_squares()
    regions, _ = merged(plane)
    basins = regions.pieces
    mostly = np.array([np.bincount(kinds[basins == number]).argmax() for number in range(1, basins.max() + 1)])
    votes = np.eye(3, dtype=np.float32)[mostly]
    flat = Plane(np.zeros_like(plane.values), None, plane.offset, plane.scale, plane.sha256, plane.dtypes)
    assert same_partition(groups_of(regions, votes, flat).cut_to(3), kinds) > 0.97


@pytest.mark.parametrize(("least", "most", "n_regions"), [(1, 12, 12), (1, 1500, 40), (50, 1500, 50)])
def test_groups_are_made_of_regions_of_the_usual_scale_within_limits(
    monkeypatch: pytest.MonkeyPatch, least: int, most: int, n_regions: int
) -> None:
    plane, kinds = two_kinds_of_squares()
    regions, votes = merged(plane)
    monkeypatch.setattr(pieces, "LEAST_REGIONS", least)
    monkeypatch.setattr(pieces, "MOST_REGIONS", most)
    monkeypatch.setattr(pieces, "REGION_LEVEL", regions.levels[-40])  # with this merge made, 40 are left
    groups = groups_of(regions, votes, plane)
    for n_left in (n_regions, n_regions + 7):
        assert np.array_equal(groups.cut_to(n_left), regions.cut_to(n_left))
    assert not np.array_equal(groups.cut_to(n_regions - 1), regions.cut_to(n_regions - 1))
    brightness = means_over(regions.cut_to(n_regions), plane.values)
    alone = merge_alike(regions.cut_to(n_regions), brightness)
    assert len(groups.merges) == len(regions.merges)
    assert same_partition(groups.cut_to(3), alone.cut_to(3)) == 1.0
    assert same_partition(groups.cut_to(3), kinds) > 0.97


def test_groups_are_found_when_first_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    plane, _ = two_kinds_of_squares()
    kept = KeptPieces(*merged(plane), plane, Settings(split_into="regions"))
    assert kept.labels().max() > 1
    calls = []
    monkeypatch.setattr(pieces, "groups_of", lambda *arguments: calls.append(1) or groups_of(*arguments))
    assert [kept.groups_at(n_groups).max() for n_groups in (2, 3, 5)] == [2, 3, 5]
    assert calls == [1]


def test_pieces_are_numbered_by_falling_area_and_masked_pixels_are_0() -> None:
    mask = np.ones((60, 60), dtype=bool)
    mask[:, :3] = False
    plane = prepare(two_kinds_of_squares()[1] + 0.0, mask=mask)
    kept = KeptPieces(*merged(plane), plane, Settings(n_groups=3))
    labels = kept.labels()
    assert ((labels > 0) == mask).all()
    assert (np.diff(np.bincount(labels.ravel())[1:]) <= 0).all()
    assert np.array_equal(np.isnan(kept.probabilities()[0]), ~mask)


def test_islands_beyond_the_limit_go_with_what_looks_most_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "MOST_REGIONS", 6)
    mask = np.zeros((30, 30), dtype=bool)
    mask[::3, ::3] = True
    kinds = (np.arange(30) > 14)[None].repeat(30, axis=0)
    plane = prepare(kinds + np.random.default_rng(0).normal(0, 0.01, size=(30, 30)), mask=mask)
    regions, votes = merged(plane)
    assert regions.cut_to(6).max() == 100  # no two have a common border
    groups = groups_of(regions, votes, plane)
    assert groups.pieces.max() == 6
    assert same_partition(groups.cut_to(2)[mask], kinds[mask].astype(int)) == 1.0
