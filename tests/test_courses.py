"""The iterations of a run: their numbers, one network after the other, and strokes that arrive on the way."""

from __future__ import annotations

from collections import deque

import numpy as np
import pytest
import torch

from napari_dfc.courses import Courses
from napari_dfc.devices import Device
from napari_dfc.images import prepare
from napari_dfc.optimization import Iteration
from napari_dfc.samples import read_sample
from napari_dfc.scribbles import Arrival
from napari_dfc.settings import Settings

CPU = Device("cpu", "CPU", "")
CLUSTERS = Settings.from_preset("fast", split_into="clusters", n_channels=10, max_iterations=7, min_labels=1)
GROUPS = Settings.from_preset("fast", n_channels=10, n_networks=3)


def courses(settings: Settings, *, schedule: dict[int, Arrival] | None = None, **given: object) -> Courses:
    """Of a piece of stained tissue, 48 x 60."""
    plane = prepare(read_sample("stained_tissue").image[30:78, 140:200])
    given = {"inbox": deque(), "cancelled": lambda: False, **given}
    return Courses(plane, settings, CPU, schedule or {}, **given)


def strokes(*classes: int) -> Arrival:
    """A stroke of each class, one below the other."""
    painted = np.zeros((48, 60), dtype=np.uint8)
    for place, number in enumerate(classes):
        painted[4 + 12 * place, 5:50] = number
    return Arrival(painted)


def maps(iterations: list[Iteration]) -> list[tuple[int, np.ndarray]]:
    return [(each.number, each.clusters.numpy().copy()) for each in iterations if not each.provisional]


def assert_same(some: list[tuple[int, np.ndarray]], others: list[tuple[int, np.ndarray]]) -> None:
    assert [number for number, _ in some] == [number for number, _ in others]
    for (_, one), (_, other) in zip(some, others, strict=True):
        np.testing.assert_array_equal(one, other)


def test_networks_that_vote_follow_one_another_and_their_iterations_are_counted_on() -> None:
    each = GROUPS.region_iterations
    numbers = [iteration.number for iteration in courses(GROUPS)]
    assert numbers == list(range(3 * each + 1))  # the untrained map is that of the first network alone


def test_iterated_over_once_more_it_goes_on_where_it_was() -> None:
    whole = maps(list(courses(CLUSTERS)))
    halves = courses(CLUSTERS)
    found = []
    for iteration in halves:
        found += maps([iteration])
        if iteration.number == 3:
            break
    found += maps(list(halves))
    assert_same(found, whole)


@pytest.mark.parametrize("settings", [CLUSTERS, GROUPS], ids=["clusters", "groups"])
def test_strokes_that_are_sent_and_strokes_that_are_scheduled_give_the_same(settings: Settings) -> None:
    inbox: deque[Arrival] = deque()
    live, sent = courses(settings, inbox=inbox), []
    for iteration in live:
        sent.append(iteration)
        if iteration.number == 2 and not iteration.provisional and not live.arrived:
            inbox.append(strokes(1, 4))
    assert [*live.arrived] == [3]
    assert live.stage.classes == (1, 4)
    replayed = list(courses(settings, schedule={3: strokes(1, 4)}))
    assert not any(each.provisional for each in replayed)  # nobody waits for them
    assert_same(maps(sent), maps(replayed))


def test_strokes_that_follow_before_anything_was_learned_from_others_take_their_place() -> None:
    inbox: deque[Arrival] = deque()
    live, found = courses(GROUPS, inbox=inbox), []
    for iteration in live:
        found.append(iteration)
        if iteration.provisional and live.stage.classes == (1, 4):
            inbox.append(strokes(2, 1, 3))
        elif iteration.number == 2 and not live.arrived:
            inbox.append(strokes(1, 4))
    assert live.stage.classes == (1, 2, 3)
    assert [*live.arrived] == [3]
    assert_same(maps(found), maps(list(courses(GROUPS, schedule={3: strokes(2, 1, 3)}))))


def test_what_is_shown_of_strokes_at_once_counts_its_own_labels() -> None:
    inbox: deque[Arrival] = deque()
    live, shown = courses(GROUPS, inbox=inbox), []
    for iteration in live:
        shown += [iteration] if iteration.provisional else []
        if iteration.number == 2 and not live.arrived:
            inbox.append(strokes(1, 4))
    (foretaste,) = shown
    assert foretaste.n_labels == len(torch.unique(foretaste.clusters)) <= 2


def test_strokes_that_cannot_be_used_are_refused_and_the_run_goes_on() -> None:
    inbox: deque[Arrival] = deque()
    live = courses(CLUSTERS, inbox=inbox)
    found = []
    for iteration in live:
        found.append(iteration)
        if iteration.number == 2 and not live.refused:
            inbox.append(Arrival(np.zeros((48, 61), dtype=np.uint8)))
    assert "(48, 61)" in live.refused
    assert not live.arrived
    assert_same(maps(found), maps(list(courses(CLUSTERS))))


def test_strokes_after_the_end_add_the_updates_they_ask_for() -> None:
    inbox: deque[Arrival] = deque()
    live = courses(CLUSTERS, schedule={0: strokes(1, 2)}, inbox=inbox)
    last = maps(list(live))[-1]
    inbox.append(Arrival(strokes(2, 1).painted, updates=4))
    further = maps(list(live))
    assert [number for number, _ in further] == [*range(last[0] + 1, last[0] + 6)]
    np.testing.assert_array_equal(further[0][1], last[1])  # the network as it was left: its pass with the new strokes
    assert [*live.all_arrivals()] == [0, last[0] + 1]
