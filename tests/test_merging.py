"""The order of merging, against plain implementations that start anew from the pixels, and SciPy's."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from skimage.measure import label

from napari_dfc import merging
from napari_dfc.cancellation import Cancelled
from napari_dfc.hierarchy import Hierarchy
from napari_dfc.merging import Neighbors, consensus, merge_alike, merge_neighbors
from plain_hierarchy import together_at


def pieces_and_features(seed: int, side: int = 7, n_pieces: int = 10) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Connected pieces of a small square, a feature of two numbers for each, and a contrast."""
    random = np.random.default_rng(seed)
    centers = random.integers(0, side, size=(n_pieces, 2))
    grid = np.stack(np.mgrid[:side, :side], -1)[:, :, None]
    nearest = np.abs(grid - centers).sum(-1).argmin(-1)
    pieces = label(nearest + 1, connectivity=1).astype(np.int32)
    features = random.normal(size=(pieces.max(), 2)).astype(np.float32)
    return pieces, features, random.uniform(0.1, 1, size=(side, side)).astype(np.float32)


def order_of(seed: int) -> tuple[Neighbors, Hierarchy]:
    """The neighbors of such pieces, and the order in which they merge."""
    pieces, features, contrast = pieces_and_features(seed)
    neighbors = Neighbors.of(pieces, contrast)
    return neighbors, merge_neighbors(neighbors, features)


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


def test_boundaries_are_counted_by_hand() -> None:
    pieces = np.array([[1, 1, 2], [1, 1, 2], [3, 0, 2]], dtype=np.int32)
    found = Neighbors.of(pieces, np.arange(9, dtype=np.float32).reshape(3, 3))
    # 1 and 2 touch in two rows, 1 and 3 in a column; 2 and 3 only across what is masked
    assert (found.ones.tolist(), found.others.tolist()) == ([0, 0], [1, 2])
    assert (found.lengths.tolist(), found.contrasts.tolist()) == ([2.0, 1.0], [2.0 + 5.0, 6.0])


@pytest.mark.parametrize("seed", range(6))
def test_every_merge_is_the_cheapest_of_all(seed: int) -> None:
    pieces, features, contrast = pieces_and_features(seed)
    hierarchy = merge_neighbors(Neighbors.of(pieces, contrast), features)
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
    _, hierarchy = order_of(seed)
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
    lazy = merge_neighbors(Neighbors.of(pieces, contrast), features)
    monkeypatch.setattr(merging, "GROWTH", 1.0)
    exact = merge_neighbors(Neighbors.of(pieces, contrast), features)
    assert not np.array_equal(lazy.levels, exact.levels)
    assert lazy.levels == pytest.approx(exact.levels, rel=0.1)


def test_merging_ends_once_nobody_waits() -> None:
    pieces = np.arange(1, 401, dtype=np.int32).reshape(20, 20)
    features = np.random.default_rng(0).random((400, 2), dtype=np.float32)
    with pytest.raises(Cancelled):
        merge_neighbors(Neighbors.of(pieces, np.ones((20, 20), dtype=np.float32)), features, lambda: True)


def test_masked_pixels_stay_without_a_region() -> None:
    pieces = np.array([[1, 0, 2]], dtype=np.int32)
    hierarchy = merge_neighbors(Neighbors.of(pieces, np.ones((1, 3), dtype=np.float32)), np.float32([[0], [0]]))
    assert hierarchy.cut(9.0).tolist() == [[1, 0, 2]]


def test_merging_ends_at_as_many_regions_as_are_to_be_left() -> None:
    pieces, features, contrast = pieces_and_features(3)
    whole = merge_neighbors(Neighbors.of(pieces, contrast), features)
    for n_left in (1, 4, pieces.max(), pieces.max() + 5):
        ended = merge_neighbors(Neighbors.of(pieces, contrast), features, n_left=n_left)
        assert len(ended.merges) == max(pieces.max() - n_left, 0)
        assert np.array_equal(ended.levels, whole.levels[: len(ended.merges)])
        assert np.array_equal(ended.merges, whole.merges[: len(ended.merges)])


def strength_between(regions: np.ndarray, pieces: np.ndarray, hierarchies: list[Hierarchy]) -> tuple[float, int, int]:
    """The two regions with the weakest boundary, from the geometric mean of the levels at each pair of pixels."""
    found: dict[tuple[int, int], list[float]] = {}
    for here, there in (
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
        ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
    ):
        beside = (each.ravel() for each in (regions[here], regions[there], pieces[here], pieces[there]))
        for one, other, a, b in zip(*beside, strict=True):
            if one != other:
                levels = [together_at(each, a, b) for each in hierarchies]
                found.setdefault((min(one, other), max(one, other)), []).append(np.prod(levels) ** (1 / len(levels)))
    return min((float(np.mean(strengths)), *pair) for pair, strengths in found.items())


@pytest.mark.parametrize("seed", range(4))
def test_a_consensus_merges_across_the_weakest_boundary_of_all(seed: int) -> None:
    pieces, _, contrast = pieces_and_features(seed)
    random, neighbors = np.random.default_rng(seed), Neighbors.of(pieces, contrast)
    hierarchies = [
        merge_neighbors(neighbors, random.normal(size=(pieces.max(), 2)).astype(np.float32)) for _ in range(3)
    ]
    agreed = consensus(neighbors, hierarchies)
    joined, level = pieces.copy(), 0.0
    for (one, other), expected in zip(agreed.merges + 1, agreed.levels, strict=True):
        strength, first, second = strength_between(joined, pieces, hierarchies)
        level = max(level, strength)
        assert {one, other} == {first, second}
        assert expected == pytest.approx(level)
        joined[joined == other] = one
    assert len(np.unique(joined)) == 1


@given(seed=st.integers(0, 100))
def test_the_consensus_of_one_opinion_is_that_opinion(seed: int) -> None:
    neighbors, hierarchy = order_of(seed)
    agreed = consensus(neighbors, [hierarchy, hierarchy])
    assert agreed.levels == pytest.approx(np.maximum(hierarchy.levels, merging.LEAST_LEVEL))
    for level in hierarchy.levels[hierarchy.levels > merging.LEAST_LEVEL] * (1 + 1e-9):  # logarithms are rounded
        ours, theirs = agreed.cut(level), hierarchy.cut(level)
        pairs = {(a, b) for a, b in zip(ours.ravel(), theirs.ravel(), strict=True)}
        assert ours.max() == theirs.max() == len(pairs)


def test_one_hierarchy_that_merges_for_nothing_is_not_heard_alone() -> None:
    pieces = np.array([[1, 2, 3]], dtype=np.int32)
    for_nothing = Hierarchy(pieces, np.array([[0, 1], [0, 2]]), np.array([0.0, 1.0]))
    other = Hierarchy(pieces, np.array([[1, 2], [1, 0]]), np.array([0.01, 0.5]))
    least = merging.LEAST_LEVEL
    neighbors = Neighbors.of(pieces, np.ones((1, 3), dtype=np.float32))
    assert consensus(neighbors, [for_nothing, other]).levels == pytest.approx([(least * 0.5) ** 0.5, 0.1])


def test_what_all_merge_for_nothing_merges_for_nothing() -> None:
    pieces = np.arange(1, 13, dtype=np.int32).reshape(3, 4)
    neighbors = Neighbors.of(pieces, np.ones((3, 4), dtype=np.float32))
    for_nothing = merge_neighbors(neighbors, np.zeros((12, 1), dtype=np.float32))
    assert consensus(neighbors, [for_nothing, for_nothing]).levels.tolist() == [0.0] * 11


def test_finding_a_consensus_ends_once_nobody_waits() -> None:
    pieces = np.arange(1, 401, dtype=np.int32).reshape(20, 20)
    features = np.random.default_rng(0).random((400, 2), dtype=np.float32)
    neighbors = Neighbors.of(pieces, np.ones((20, 20), dtype=np.float32))
    hierarchy = merge_neighbors(neighbors, features)
    with pytest.raises(Cancelled):
        consensus(neighbors, [hierarchy], lambda: True)


def test_what_looks_alike_merges_in_the_order_of_scipys_ward_linkage() -> None:
    random = np.random.default_rng(0)
    regions = np.arange(1, 61, dtype=np.int32).reshape(6, 10)
    features = random.normal(size=(60, 3)).astype(np.float32)
    hierarchy = merge_alike(regions, features)
    expected = linkage(features.astype(np.float64), "ward")
    assert hierarchy.levels == pytest.approx(expected[:, 2] ** 2 / 2, rel=1e-6)  # SciPy's are distances, times root 2
    for n_groups in (1, 2, 5, 17, 59):
        ours = hierarchy.cut_to(n_groups)
        theirs = fcluster(expected, n_groups, "maxclust").reshape(6, 10)
        pairs = {(a, b) for a, b in zip(ours.ravel(), theirs.ravel(), strict=True)}
        assert ours.max() == len(pairs) == n_groups


def test_a_large_region_weighs_as_much_as_its_pixels() -> None:
    random = np.random.default_rng(1)
    features = random.normal(size=(12, 2)).astype(np.float32)
    regions = np.repeat(np.arange(1, 13, dtype=np.int32), random.integers(1, 9, size=12))[None]
    pixels = np.arange(1, regions.size + 1, dtype=np.int32)[None]  # the same, each pixel a region of its own
    by_regions = merge_alike(regions, features)
    by_pixels = merge_alike(pixels, features[regions[0] - 1])
    assert by_regions.levels == pytest.approx(by_pixels.levels[-11:], rel=1e-5)
    assert np.array_equal(by_regions.cut_to(4), by_pixels.cut_to(4))


def test_equal_regions_merge_first_and_end() -> None:
    hierarchy = merge_alike(np.arange(1, 9, dtype=np.int32).reshape(2, 4), np.float32([[0], [1]] * 4))
    assert hierarchy.levels[:6].tolist() == [0.0] * 6
    assert hierarchy.cut_to(2).tolist() == [[1, 2, 1, 2]] * 2


def test_groups_are_no_more_than_there_are_regions_and_no_fewer_than_one() -> None:
    hierarchy = merge_alike(np.array([[1, 0, 2]], dtype=np.int32), np.float32([[0], [3]]))
    assert hierarchy.cut_to(5).tolist() == [[1, 0, 2]]
    assert hierarchy.cut_to(1).tolist() == [[1, 0, 1]]
    assert merge_alike(np.ones((2, 2), dtype=np.int32), np.float32([[0]])).cut_to(3).tolist() == [[1, 1], [1, 1]]


def test_merging_into_groups_ends_once_nobody_waits() -> None:
    features = np.random.default_rng(0).random((400, 2), dtype=np.float32)
    with pytest.raises(Cancelled):
        merge_alike(np.arange(1, 401, dtype=np.int32).reshape(20, 20), features, lambda: True)


def test_distinctness_at_a_number_is_that_of_its_last_merge() -> None:
    hierarchy = merge_alike(np.arange(1, 5, dtype=np.int32)[None], np.float32([[0], [0], [2], [6]]))
    assert hierarchy.levels.tolist() == pytest.approx([0.0, 8 / 3, 64 / 3])  # 2/3 * 2 ** 2; 3/4 * (6 - 2/3) ** 2
    # three left, nothing paid so far; the equal ones would merge at no cost while four are left
    assert hierarchy.distinctness_at(4)[0].tolist() == [0.0, 0.0, 1.0, 1.0]
    assert hierarchy.distinctness_at(3)[0].tolist() == [1.0, 1.0, 1.0, 1.0]
    assert hierarchy.distinctness_at(2)[0].tolist() == pytest.approx([1 - 1 / 8] * 4)
    assert hierarchy.distinctness_at(1)[0].tolist() == [1.0] * 4
