"""What is left of pieces at a level, against cutting at every level there is, and values worked out by hand."""

import numpy as np
import pytest

from napari_dfc.hierarchy import Hierarchy
from plain_hierarchy import together_at


def random_hierarchy(seed: int, n_pieces: int = 12, n_merges: int = 11) -> Hierarchy:
    """Pieces of a line, any two of which may merge at any cost."""
    random = np.random.default_rng(seed)
    alive, merges = list(range(n_pieces)), []
    for _ in range(n_merges):
        one, other = random.choice(alive, size=2, replace=False)
        alive.remove(other)
        merges.append((one, other))
    pieces = np.arange(1, n_pieces + 1, dtype=np.int32).repeat(random.integers(1, 4, n_pieces))[None]
    return Hierarchy(pieces, np.array(merges), random.random(n_merges))


@pytest.mark.parametrize(("seed", "n_merges"), [(0, 11), (1, 11), (2, 8)])
def test_two_pieces_are_one_from_the_level_whose_cut_says_so(seed: int, n_merges: int) -> None:
    hierarchy = random_hierarchy(seed, n_merges=n_merges)
    ones, others = (each.ravel() for each in np.indices((12, 12)))
    expected = [together_at(hierarchy, one + 1, other + 1) for one, other in zip(ones, others, strict=True)]
    assert hierarchy.level_between(ones, others).tolist() == expected
    assert np.isinf(expected).any() == (n_merges < 11)  # where several are left, some are never one


def test_what_follows_merges_the_pieces_that_were_left() -> None:
    first = random_hierarchy(3, n_merges=7)
    left = first.cut_to(1)
    then = Hierarchy(left, np.array([[4, 0], [2, 3], [4, 1], [2, 4]]), np.array([0.0, 2.0, 3.0, 4.0]))
    both = first.followed_by(then)
    assert both.levels.tolist() == [*first.levels, first.levels[-1], 2.0, 3.0, 4.0]
    assert np.array_equal(both.cut(first.levels[2]), first.cut(first.levels[2]))
    assert np.array_equal(both.cut_to(5), left)
    for level in (2.0, 3.0, 4.0):
        pairs = set(zip(both.cut(level).ravel().tolist(), then.cut(level).ravel().tolist(), strict=True))
        assert len(pairs) == both.cut(level).max() == then.cut(level).max()


def test_as_many_pieces_are_left_at_a_level_as_its_cut_has() -> None:
    hierarchy = random_hierarchy(4, n_merges=8)
    for level in (0.0, *hierarchy.levels, 2.0):
        assert hierarchy.n_left(level) == hierarchy.cut(level).max()


def test_a_hierarchy_until_some_are_left_merges_no_further() -> None:
    whole = random_hierarchy(5)
    for n_left in (1, 5, 12, 20):
        shorter = whole.until(n_left)
        assert np.array_equal(shorter.cut_to(1), whole.cut_to(n_left))
        assert np.array_equal(shorter.cut_to(n_left + 2), whole.cut_to(n_left + 2))


def test_distinctness_compares_with_the_next_merge_of_the_region() -> None:
    pieces = np.array([[1, 1, 2, 2, 0, 3, 3]], dtype=np.int32)
    hierarchy = Hierarchy(pieces, np.array([[0, 1]]), np.array([4.0]))
    assert hierarchy.distinctness(1.0)[0].tolist() == pytest.approx([0.75] * 4 + [np.nan] + [1.0] * 2, nan_ok=True)
    assert hierarchy.distinctness(4.0)[0, 0] == 1.0


def test_averages_weigh_pieces_by_their_pixels() -> None:
    hierarchy = Hierarchy(np.array([[1, 1, 1, 2, 3]], dtype=np.int32), np.array([[0, 1], [0, 2]]), np.array([1.0, 2.0]))
    features = np.float32([[0], [4], [9]])
    assert hierarchy.average(features, 2).tolist() == [[1.0], [9.0]]
    assert hierarchy.average(features, 3).tolist() == features.tolist()
