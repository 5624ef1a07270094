from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_dfc.network import Ensemble, Network, initialize
from napari_dfc.succession import channel_sources, succeeded

CLUSTERS = np.array([[5, 5, 5, 2], [0, 0, 2, 2], [1, 3, 4, 4]])


def painted(*places: tuple[int, int, int]) -> np.ndarray:
    """Targets with these (index of a class, row, column)."""
    targets = np.full(CLUSTERS.shape, -1)
    for index, row, column in places:
        targets[row, column] = index
    return targets


def test_a_new_class_takes_the_channel_that_wins_under_its_strokes() -> None:
    assert channel_sources([7], [], painted((0, 0, 0), (0, 0, 1), (0, 0, 3)), CLUSTERS, 6) == [5, 0, 1, 2, 3, 4]


def test_a_channel_that_another_class_has_is_not_taken_but_the_one_that_wins_least() -> None:
    targets = painted((0, 0, 0), (1, 0, 1))
    sources = channel_sources([7, 8], [], targets, CLUSTERS, 7)
    assert sources[0] == 5
    assert sources[1] == 6  # which wins nowhere
    assert sorted(sources) == list(range(7))


def test_a_class_keeps_its_channel_and_one_that_is_gone_frees_its_own() -> None:
    # channel 0 carried 7 and channel 1 carried 8; 8 is gone, and 9 is painted where channel 1 wins
    assert channel_sources([7, 9], [7, 8], painted((1, 2, 0)), CLUSTERS, 6) == [0, 1, 2, 3, 4, 5]


@given(
    st.lists(st.integers(1, 9), unique=True, min_size=1, max_size=4),
    st.lists(st.integers(1, 9), unique=True, max_size=4),
    arrays(np.int64, (5, 6), elements=st.integers(-1, 3)),
    arrays(np.int64, (5, 6), elements=st.integers(0, 7)),
)
def test_every_channel_is_taken_once(
    classes: list[int], earlier: list[int], targets: np.ndarray, clusters: np.ndarray
) -> None:
    sources = channel_sources(classes, earlier, targets, clusters, 8)
    assert sorted(sources) == list(range(8))
    for index, value in enumerate(classes):
        if value in earlier:
            assert sources[index] == earlier.index(value)


def trained(network: Network | Ensemble, seed: int) -> list[torch.Tensor]:
    """First weights, and a momentum that is unlike for each weight."""
    initialize(network, "xavier", torch.Generator().manual_seed(seed))
    return [torch.full_like(weight, number + 1) for number, weight in enumerate(network.parameters())]


def test_features_and_momentum_go_on_and_channels_are_exchanged() -> None:
    before, after = Network(2, 6, 2, n_clusters=3), Network(2, 6, 2, n_clusters=4)
    momentum = trained(before, 1)
    found = succeeded(after, (before, momentum), [2, None, 0, 1], "xavier", torch.Generator().manual_seed(2))
    for one, other in zip(before.convolutions.parameters(), after.convolutions.parameters(), strict=True):
        assert torch.equal(one, other)
    for channel, source in ((0, 2), (2, 0), (3, 1)):
        assert torch.equal(after.classifier.weight[channel], before.classifier.weight[source])
    fresh = Network(2, 6, 2, n_clusters=4)
    initialize(fresh, "xavier", torch.Generator().manual_seed(2))
    assert torch.equal(after.classifier.weight[1], fresh.classifier.weight[1])
    names = [name for name, _ in after.named_parameters()]
    speeds = dict(zip(names, found, strict=True))
    of_before = dict(zip(names, momentum, strict=True))
    for name in ("classifier.weight", "response_normalization.bias"):
        assert torch.equal(speeds[name][1], torch.zeros_like(speeds[name][1]))
        assert torch.equal(speeds[name][0], of_before[name][0])
    assert torch.equal(speeds["convolutions.0.weight"], of_before["convolutions.0.weight"])


@pytest.mark.parametrize("is_ensemble", [False, True])
def test_of_several_networks_each_goes_on_and_a_single_one_becomes_the_first(is_ensemble: bool) -> None:
    members = [Network(1, 4, 2, n_clusters=2), Network(1, 4, 2, n_clusters=2), Network(1, 4, 0, n_clusters=2)]
    before = Ensemble(members, (1, 2, 1)) if is_ensemble else members[0]
    momentum = trained(before, 1)
    kinds = [Network(1, 4, 2, n_clusters=3), Network(1, 4, 2, n_clusters=3), Network(1, 4, 0, n_clusters=3)]
    after = Ensemble(kinds, (1, 2, 1))
    succeeded(after, (before, momentum), [0, 1, None], "xavier", torch.Generator().manual_seed(3))
    for number, (one, other) in enumerate(zip(members[:2], after.each()[:2], strict=True)):
        same = torch.equal(one.convolutions[0].weight, other.convolutions[0].weight)
        assert same == (is_ensemble or number == 0)
    fixed = after.each()[2].classifier.weight
    assert torch.equal(fixed[2], torch.zeros_like(fixed[2]))  # a new class of fixed features begins at zero
