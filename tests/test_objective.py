from __future__ import annotations

import math

import torch

from napari_dfc.objective import StripObjective
from napari_dfc.settings import Settings

# one row of two pixels above another, two channels
RESPONSE = torch.tensor([[[0.0, 1.0], [3.0, 1.0]], [[0.0, 5.0], [3.0, 4.0]]], dtype=torch.float64)


def gradient_of(objective: StripObjective, rows: int) -> torch.Tensor:
    """All rows, taken in strips."""
    objective.start(n_labels=2)
    gradient = torch.zeros_like(RESPONSE)
    for top in range(0, 2, rows):
        objective.add(RESPONSE[top : top + rows + 1], top, gradient[top : top + rows], wanted=True)
    return gradient


def test_losses_and_gradient_of_two_by_two_pixels() -> None:
    settings = Settings(n_channels=2, continuity_weight=10.0)
    for rows in (1, 2):
        objective = StripObjective((2, 2), settings, None, None, 2, rows, torch.float64)
        gradient = gradient_of(objective, rows)
        assert objective.clusters.tolist() == [[1, 0], [1, 1]]
        losses = objective.losses()
        # the winner leads by 1, 2, 5 and 1
        similarity = sum(math.log1p(math.exp(-lead)) for lead in (1, 2, 5, 1)) / 4
        assert math.isclose(float(losses.similarity), similarity)
        # across: 3 and 0, 3 and 1 of four; down: 0 and 4, 0 and 3 of four
        assert math.isclose(float(losses.continuity), 7 / 4 + 7 / 4)
        assert math.isclose(float(losses.total), similarity + 35)
        # upper left pixel: its share in the softmax, and the signs of its differences, + and 0 across, 0 and + down
        loser = 1 / (1 + math.exp(1)) / 4
        expected = torch.tensor(
            [loser - 10 / 4, -loser - 10 / 4], dtype=torch.float64
        )  # across: + and 0; down: 0 and +
        torch.testing.assert_close(gradient[0, 0], expected)


def test_continuity_weight_follows_the_labels_of_the_pass_before() -> None:
    gradients = []
    # weights of 10 * 2 / 15 and, in the second objective, as much at all times
    for schedule, weight in (("similarity", 10.0), ("constant", 4 / 3)):
        settings = Settings(n_channels=2, continuity_weight=weight, continuity_schedule=schedule)
        objective = StripObjective((2, 2), settings, None, None, 2, 1, torch.float64)
        gradients.append(gradient_of(objective, 1))
        losses = objective.losses()
        assert math.isclose(float(losses.total - losses.similarity), 4 / 3 * 7 / 2)
    torch.testing.assert_close(*gradients)


def test_pixels_are_drawn_to_the_wanted_channel_and_painted_ones_to_their_stroke() -> None:
    settings = Settings(n_channels=2, continuity_weight=0.0, similarity_weight=1.0, scribble_weight=3.0)
    targets = torch.tensor([[-1, -1], [-1, 0]])
    wanted = torch.tensor([[0, 0], [1, 1]])
    objective = StripObjective((2, 2), settings, None, targets, 2, 2, torch.float64)
    objective.start(2, wanted)
    gradient = torch.zeros_like(RESPONSE)
    objective.add(RESPONSE, 0, gradient, wanted=True)
    losses = objective.losses()
    assert objective.clusters.tolist() == [[1, 0], [1, 1]]
    # upper left: the other channel leads by 1; upper right and lower left: the wanted one does, by 2 and 5
    similarity = (math.log1p(math.exp(1)) + math.log1p(math.exp(-2)) + math.log1p(math.exp(-5))) / 3
    assert math.isclose(float(losses.similarity), similarity)
    assert math.isclose(float(losses.scribble), math.log1p(math.exp(1)))
    assert math.isclose(float(losses.total), similarity + 3 * math.log1p(math.exp(1)))
    share = 1 / (1 + math.exp(-1)) / 3  # of channel 1 in the upper left pixel, which is to lose it
    torch.testing.assert_close(gradient[0, 0], torch.tensor([-share, share], dtype=torch.float64))


def test_painted_and_masked_pixels() -> None:
    mask = torch.tensor([[True, True], [False, True]])
    targets = torch.tensor([[1, -1], [-1, 0]])
    settings = Settings(n_channels=2, continuity_weight=0.0, scribble_weight=3.0)
    objective = StripObjective((2, 2), settings, mask, targets, 2, 2, torch.float64)
    gradient = gradient_of(objective, 2)
    losses = objective.losses()
    assert math.isclose(float(losses.similarity), math.log1p(math.exp(-2)))  # of the one free pixel
    assert math.isclose(float(losses.scribble), (math.log1p(math.exp(-1)) + math.log1p(math.exp(1))) / 2)
    assert math.isclose(float(losses.continuity), 3 / 2 + 3 / 2)  # one pair across, one down
    assert gradient[1, 0].tolist() == [0, 0]
    share = 1 / (1 + math.exp(-1))  # of channel 1 at the lower right pixel, painted as channel 0
    torch.testing.assert_close(gradient[1, 1], torch.tensor([-1.5 * share, 1.5 * share], dtype=torch.float64))
