from __future__ import annotations

import numpy as np
import pytest

import napari_dfc as dfc
from napari_dfc.images import prepare
from napari_dfc.scribbles import Arrival
from napari_dfc.stage import Stage

PLANE = prepare(np.random.default_rng(0).random((40, 50)))


def strokes(*values: int) -> np.ndarray:
    """A stroke of each class in a row of its own."""
    painted = np.zeros(PLANE.shape, np.uint16)
    for row, value in enumerate(values):
        painted[3 * row, 5:20] = value
    return painted


def first(*values: int, **changes: object) -> Stage:
    return Stage.first(PLANE, dfc.Settings(**changes), strokes(*values) if values else None)


def test_without_strokes_groups_vote_and_every_channel_is_a_cluster() -> None:
    stage = first(n_channels=12, n_groups=4)
    assert stage.takes_votes
    assert stage.n_clusters == 12
    assert stage.class_numbers == (1, 2, 3, 4)
    assert stage.factors is None
    assert stage.last == stage.settings.n_updates(has_strokes=False)


def test_two_painted_classes_have_a_channel_each() -> None:
    stage = first(7, 300)
    assert (stage.n_clusters, stage.classes, stage.least) == (2, (7, 300), 2)
    assert stage.run_numbers.tolist() == [7, 300]
    assert stage.edge_share == 0.5
    assert stage.factors == (1, 2, 1)  # two networks, and the one of filters


def test_one_painted_class_is_not_alone() -> None:
    stage = first(7, n_channels=4)
    assert not stage.restricted
    assert stage.run_numbers.tolist() == [7, 1, 2, 3]


@pytest.mark.parametrize(
    ("before", "after", "classes"),
    [
        ((7, 300), (7, 300, 5), (7, 300, 5)),  # a new class comes last
        ((7, 300), (300, 5), (300, 5)),  # one is gone
        ((7, 300), (300,), (7, 300)),  # one would be left alone: the other keeps its channel
        ((7,), (5,), (5,)),
        ((), (9, 2), (2, 9)),
    ],
)
def test_classes_after_other_strokes(before: tuple[int, ...], after: tuple[int, ...], classes: tuple[int, ...]) -> None:
    assert first(*before).following(Arrival(strokes(*after)), 10).classes == classes


def test_how_long_a_run_goes_on_after_strokes() -> None:
    groups, painted = first(max_iterations=60), first(7, 8, max_iterations=60)
    more = Arrival(strokes(7, 8, 9))
    assert groups.following(more, 5).last == 65  # as long as a run with strokes from its start
    assert painted.following(more, 10).last == 60  # its own end is later
    assert painted.following(more, 55).last == 75  # 20 updates at least
    assert painted.following(more._replace(updates=1), 61).last == 62
    assert first(7, 8, max_iterations=5).following(more, 6).last == 11  # no more than all iterations asked for


def test_clusters_keep_their_numbers_but_for_one_that_a_class_needs() -> None:
    before = first(n_channels=5, split_into="clusters")  # numbered 1 to 5
    stage = before.following(Arrival(strokes(2)), 3).inheriting(before, [4, 0, 1, 2, 3])
    # channel 4, which had number 5, now carries class 2; the cluster that had 2 takes 5
    assert stage.run_numbers.tolist() == [2, 1, 5, 3, 4]
