"""Basins, votes and merging, against values worked out by hand and a plain implementation that starts anew."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from skimage.measure import label

from napari_dfc import regions
from napari_dfc.cancellation import Cancelled
from napari_dfc.images import prepare
from napari_dfc.regions import Hierarchy, Votes, basins_of, contrast_of


def pieces_and_features(seed: int, side: int = 7, n_pieces: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Connected pieces of a small square, a feature of two numbers for each, and a contrast."""
    random = np.random.default_rng(seed)
    centers = random.integers(0, side, size=(n_pieces, 2))
    grid = np.stack(np.mgrid[:side, :side], -1)[:, :, None]
    nearest = np.abs(grid - centers).sum(-1).argmin(-1)
    pieces = label(nearest + 1, connectivity=1).astype(np.int32)
    features = random.normal(size=(pieces.max(), 2)).astype(np.float32)
    return pieces, features, random.uniform(0.1, 1, size=(side, side)).astype(np.float32)


def cheapest(regions: np.ndarray, means: np.ndarray, contrast: np.ndarray) -> tuple[float, int, int]:
    """The cost of the next merge and its two regions, counted from the pixels."""
    found = []
    for one in np.unique(regions):
        for other in np.unique(regions[regions > one]):
            steepness = []
            for a, b, g, h in (
                (regions[:, 1:], regions[:, :-1], contrast[:, 1:], contrast[:, :-1]),
                (regions[1:], regions[:-1], contrast[1:], contrast[:-1]),
            ):
                apart = ((a == one) & (b == other)) | ((a == other) & (b == one))
                steepness += np.maximum(g, h)[apart].tolist()
            if steepness:
                m, n = (regions == one).sum(), (regions == other).sum()
                distance = float(((means[regions == one].mean(0) - means[regions == other].mean(0)) ** 2).sum())
                cost = (m * n / (m + n)) ** 0.8 * distance * np.mean(steepness) ** 2 / len(steepness)
                found.append((cost, one, other))
    return min(found)


def test_contrast_of_a_ramp_is_its_slope_over_the_standard_deviation() -> None:
    ramp = np.tile(np.arange(40.0) * 3, (9, 1))
    contrast = contrast_of(ramp[None])
    assert contrast[4, 10:30] == pytest.approx(3 / ramp.std(), rel=1e-3)
    both = contrast_of(np.stack([ramp, ramp]))  # both channels twice the squares, both twice the variance
    assert both[4, 10:30] == pytest.approx(contrast[4, 10:30], rel=1e-5)


def test_contrast_is_scaled_by_the_pixels_that_take_part() -> None:
    ramp = np.tile(np.arange(40.0), (9, 1))
    mask = np.zeros(ramp.shape, dtype=bool)
    mask[:, :20] = True
    assert contrast_of(ramp[None], mask)[4, 10] == pytest.approx(1 / ramp[:, :20].std(), rel=1e-3)


def test_contrast_knows_no_edge_at_the_border_of_a_mask() -> None:
    random = np.random.default_rng(0)
    image = 100 + random.normal(size=(40, 40))
    mask = np.ones(image.shape, dtype=bool)
    mask[10:20, 10:20] = False
    plane = prepare(image, mask=mask)
    contrast = contrast_of(plane.values, plane.mask)
    assert contrast[mask].max() < 1.5 * contrast_of(prepare(image).values).max()


def test_basins_beside_a_mask_are_those_without_it() -> None:
    grid = np.stack(np.meshgrid(np.arange(60), np.arange(12)))
    contrast = (1 + np.cos(grid * np.pi / 6).sum(0)).astype(np.float32)
    mask = np.ones(contrast.shape, dtype=bool)
    mask[:, 30:] = False
    assert len(np.unique(basins_of(contrast, mask)[:, :24])) == len(np.unique(basins_of(contrast)[:, :24]))


def test_as_many_equal_valleys_as_there_may_be_basins_do_not_keep_the_search_going(monkeypatch) -> None:
    monkeypatch.setattr(regions, "MOST_BASINS", 3)
    contrast = np.tile(np.float32([0, 1]), (4, 4))
    assert basins_of(contrast).max() == 4


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (4, 4), (2, 40)])
def test_the_smallest_images_have_basins(shape: tuple[int, int]) -> None:
    basins = basins_of(np.random.default_rng(0).random(shape, dtype=np.float32))
    assert np.unique(basins).tolist() == list(range(1, basins.max() + 1))


def test_a_flat_image_is_one_basin() -> None:
    assert np.unique(basins_of(contrast_of(np.ones((1, 12, 12))))).tolist() == [1]


def test_basins_are_connected_and_cover_what_takes_part() -> None:
    random = np.random.default_rng(0)
    mask = random.random((40, 50)) > 0.3
    pieces = basins_of(contrast_of(random.random((2, 40, 50)), mask), mask)
    assert ((pieces > 0) == mask).all()
    assert np.unique(pieces[mask]).tolist() == list(range(1, pieces.max() + 1))
    assert all(label(pieces == number, connectivity=1).max() == 1 for number in range(1, pieces.max() + 1))


def test_votes_measure_how_often_maps_put_two_basins_apart() -> None:
    pieces = np.array([[1, 1, 2, 2, 3, 3]], dtype=np.int32)
    votes = Votes(pieces)
    votes.add(np.array([[0, 0, 0, 0, 1, 1]]), 2)
    votes.add(np.array([[4, 4, 2, 2, 4, 4]]), 6)
    votes.add(np.array([[0, 0, 1, 1, 1, 1]]), 2)
    shares = votes.shares()
    apart = ((shares[:, None] - shares[None]) ** 2).sum(-1)
    variance = 3 * (1 - (1 / 3) ** 2 - (2 / 3) ** 2)  # three maps, two of whose clusters cover a third
    maps_apart = np.array([[0, 2, 2], [2, 0, 2], [2, 2, 0]])
    assert apart == pytest.approx(2 * maps_apart / variance, abs=1e-6)


def test_votes_keep_their_distances_in_principal_components() -> None:
    random = np.random.default_rng(0)
    pieces = np.arange(1, 41, dtype=np.int32).reshape(4, 10).repeat(3, axis=0)
    votes, all_shares = Votes(pieces), []
    for _ in range(20):  # two kinds of basins, so that few components hold all there is, and many columns
        order = random.permutation(6)
        votes.add(order[pieces % 3 + 3 * (pieces % 2)], 6)
        all_shares.append(np.eye(6)[order[np.arange(1, 41) % 3 + 3 * (np.arange(1, 41) % 2)]])
    full = np.concatenate(all_shares, axis=1)
    full /= np.sqrt(sum(1 - (share.mean(0) ** 2).sum() for share in all_shares))
    shares = votes.shares()
    assert shares.shape == (40, 32)
    expected = np.linalg.norm(full[:, None] - full[None], axis=-1)
    assert np.linalg.norm(shares[:, None] - shares[None], axis=-1) == pytest.approx(expected, abs=1e-5)


def test_votes_of_unknown_pixels_do_not_count() -> None:
    votes = Votes(np.array([[0, 1, 1, 2, 2]], dtype=np.int32))
    votes.add(np.array([[1, 0, 1, 1, 1]]), 2, known=np.array([[False, True, False, True, True]]))
    assert (votes.shares() > 0).tolist() == [[True, False], [False, True]]


@pytest.mark.parametrize("seed", range(6))
def test_every_merge_is_the_cheapest_of_all(seed: int) -> None:
    pieces, features, contrast = pieces_and_features(seed)
    hierarchy = Hierarchy(pieces, features, contrast)
    joined, means = pieces.copy(), features[pieces - 1].astype(np.float64)
    level = 0.0
    for (one, other), expected in zip(hierarchy.merges + 1, hierarchy.levels, strict=True):
        # in 49 pixels every merge lets a region grow by 2 %, so that no cost is outdated
        cost, first, second = cheapest(joined, means, contrast)
        level = max(level, cost)
        assert {one, other} == {first, second}
        assert expected == pytest.approx(level, rel=1e-4)
        joined[joined == other] = one
    assert len(np.unique(joined)) == 1


@given(seed=st.integers(0, 100), levels=st.tuples(st.floats(0, 1), st.floats(0, 1)))
def test_a_higher_level_only_joins_regions(seed: int, levels: tuple[float, float]) -> None:
    hierarchy = Hierarchy(*pieces_and_features(seed))
    fine, coarse = (hierarchy.cut(level) for level in sorted(levels))
    joined = {(a, b) for a, b in zip(fine.ravel(), coarse.ravel(), strict=True)}
    assert len(joined) == fine.max()
    assert coarse.max() == len(hierarchy.merges) + 1 - (hierarchy.levels <= max(levels)).sum()


def test_a_background_that_takes_in_specks_is_merged_nearly_in_the_exact_order(monkeypatch) -> None:
    random = np.random.default_rng(0)
    pieces = np.ones((60, 60), dtype=np.int32)
    for number, (row, column) in enumerate(np.argwhere(np.ones((15, 15))) * 4, start=2):
        pieces[row : row + 2, column : column + 2] = number
    features = random.normal(size=(pieces.max(), 2)).astype(np.float32)
    contrast = random.uniform(0.5, 1, size=pieces.shape).astype(np.float32)
    lazy = Hierarchy(pieces, features, contrast)
    monkeypatch.setattr(regions, "GROWTH", 1.0)
    exact = Hierarchy(pieces, features, contrast)
    assert not np.array_equal(lazy.levels, exact.levels)
    assert lazy.levels == pytest.approx(exact.levels, rel=0.1)


def test_merging_ends_once_nobody_waits() -> None:
    pieces = np.arange(1, 401, dtype=np.int32).reshape(20, 20)
    features = np.random.default_rng(0).random((400, 2), dtype=np.float32)
    with pytest.raises(Cancelled):
        Hierarchy(pieces, features, np.ones((20, 20), dtype=np.float32), lambda: True)


def test_distinctness_compares_with_the_next_merge_of_the_region() -> None:
    pieces = np.array([[1, 1, 2, 2, 0, 3, 3]], dtype=np.int32)
    hierarchy = Hierarchy(pieces, np.float32([[0], [2], [5]]), np.ones((1, 7), dtype=np.float32))
    assert hierarchy.levels.tolist() == [4.0]  # 1 ** 0.8 * 2 ** 2; the third has no neighbor
    assert hierarchy.distinctness(1.0)[0].tolist() == pytest.approx([0.75] * 4 + [np.nan] + [1.0] * 2, nan_ok=True)
    assert hierarchy.distinctness(4.0)[0, 0] == 1.0


def test_masked_pixels_stay_without_a_region() -> None:
    pieces = np.array([[1, 0, 2]], dtype=np.int32)
    hierarchy = Hierarchy(pieces, np.float32([[0], [0]]), np.ones((1, 3), dtype=np.float32))
    assert hierarchy.cut(9.0).tolist() == [[1, 0, 2]]
