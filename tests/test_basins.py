"""Basins and votes, against values worked out by hand."""

import numpy as np
import pytest
from skimage.measure import label

from napari_dfc.basins import Votes, basins_of, means_over
from napari_dfc.contrast import gradient_magnitude


def test_basins_beside_a_mask_are_those_without_it() -> None:
    grid = np.stack(np.meshgrid(np.arange(60), np.arange(12)))
    contrast = (1 + np.cos(grid * np.pi / 6).sum(0)).astype(np.float32)
    mask = np.ones(contrast.shape, dtype=bool)
    mask[:, 30:] = False
    assert len(np.unique(basins_of(contrast, mask)[:, :24])) == len(np.unique(basins_of(contrast)[:, :24]))


def test_as_many_equal_valleys_as_there_may_be_basins_do_not_keep_the_search_going() -> None:
    contrast = np.tile(np.float32([0, 1]), (4, 4))
    assert basins_of(contrast, most=3).max() == 4


@pytest.mark.parametrize("shape", [(1, 1), (1, 3), (4, 4), (2, 40)])
def test_the_smallest_images_have_basins(shape: tuple[int, int]) -> None:
    basins = basins_of(np.random.default_rng(0).random(shape, dtype=np.float32))
    assert np.unique(basins).tolist() == list(range(1, basins.max() + 1))


def test_a_flat_image_is_one_basin() -> None:
    assert np.unique(basins_of(gradient_magnitude(np.ones((1, 12, 12))))).tolist() == [1]


def test_basins_are_connected_and_cover_what_takes_part() -> None:
    random = np.random.default_rng(0)
    mask = random.random((40, 50)) > 0.3
    pieces = basins_of(gradient_magnitude(random.random((2, 40, 50)), mask), mask)
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


def test_some_of_the_label_maps_have_the_shares_that_they_would_have_alone() -> None:
    random = np.random.default_rng(0)
    pieces = np.arange(1, 41, dtype=np.int32).reshape(4, 10).repeat(3, axis=0)
    votes, alone = Votes(pieces), Votes(pieces)
    for index in range(7):
        clusters = random.integers(0, 2 + index, pieces.shape)
        votes.add(clusters, 2 + index)
        if index in (1, 4):
            alone.add(clusters, 2 + index)
    assert np.array_equal(votes.shares(1, 3), alone.shares())


def test_votes_of_unknown_pixels_do_not_count() -> None:
    votes = Votes(np.array([[0, 1, 1, 2, 2]], dtype=np.int32))
    votes.add(np.array([[1, 0, 1, 1, 1]]), 2, known=np.array([[False, True, False, True, True]]))
    assert (votes.shares() > 0).tolist() == [[True, False], [False, True]]


def test_basins_are_fewer_where_there_may_be_fewer() -> None:
    contrast = gradient_magnitude(np.random.default_rng(0).random((1, 60, 60)))
    n_basins = basins_of(contrast).max()
    assert basins_of(contrast, most=n_basins).max() == n_basins
    assert basins_of(contrast, most=n_basins // 2).max() <= n_basins // 2


def test_means_over_pieces_leave_masked_pixels_out() -> None:
    pieces = np.array([[2, 1, 0], [2, 2, 0]], dtype=np.int32)
    values = np.stack([np.arange(6.0).reshape(2, 3), np.ones((2, 3))])
    assert means_over(pieces, values) == pytest.approx(np.array([[1.0, 1.0], [7 / 3, 1.0]]))
