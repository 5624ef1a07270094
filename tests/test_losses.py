from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from napari_dfc.losses import continuity_loss, painted_shares, scheduled_weight, scribble_loss, similarity_loss

#: Two channels on 2x2 pixels; softmax of (0, log 3) is (1/4, 3/4).
RESPONSE = torch.tensor([[[[0.0, 0.0], [0.0, 0.0]], [[math.log(3), 0.0], [0.0, math.log(3)]]]], dtype=torch.float64)


def pixels(*rows: list[int]) -> Tensor:
    return torch.tensor([list(rows)], dtype=torch.bool)


def test_similarity_is_the_mean_log_of_the_chosen_softmax() -> None:
    clusters = torch.tensor([[[1, 0], [0, 0]]])
    expected = -(math.log(3 / 4) + 2 * math.log(1 / 2) + math.log(1 / 4)) / 4
    assert similarity_loss(RESPONSE, clusters).item() == pytest.approx(expected)


def test_similarity_counts_the_chosen_pixels_only() -> None:
    clusters = torch.tensor([[[1, 0], [0, 0]]])
    expected = -(math.log(3 / 4) + math.log(1 / 2)) / 2
    assert similarity_loss(RESPONSE, clusters, pixels([1, 1], [0, 0])).item() == pytest.approx(expected)
    assert similarity_loss(RESPONSE, clusters, pixels([0, 0], [0, 0])).item() == 0


def test_continuity_is_the_sum_of_both_directions_means() -> None:
    # channel 1 differs by log 3 down both columns and along both rows; channel 0 nowhere: half of 4 differences each
    assert continuity_loss(RESPONSE).item() == pytest.approx(math.log(3) / 2 + math.log(3) / 2)


def test_continuity_counts_pairs_of_which_both_take_part() -> None:
    # left column only: one vertical pair in 2 channels, no horizontal one
    assert continuity_loss(RESPONSE, pixels([1, 0], [1, 0])).item() == pytest.approx(math.log(3) / 2)
    assert continuity_loss(RESPONSE, pixels([1, 0], [0, 1])).item() == 0


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
def test_continuity_of_a_single_row_or_column_is_that_of_the_other_direction(shape: tuple[int, int]) -> None:
    values = torch.tensor([0.0, 2.0, 2.0, -1.0, 0.0]).reshape(1, 1, *shape)
    assert continuity_loss(values).item() == pytest.approx((2 + 0 + 3 + 1) / 4)


def test_continuity_of_one_pixel_is_0() -> None:
    assert continuity_loss(torch.ones(1, 3, 1, 1)).item() == 0


@pytest.mark.parametrize(
    ("schedule", "expected"), [("constant", [3, 3, 3]), ("similarity", [0.2, 3, 6]), ("continuity", [150, 10, 5])]
)
def test_the_continuity_weight_follows_the_number_of_labels(schedule: str, expected: list[float]) -> None:
    for n_labels, weight in zip((1, 15, 30), expected, strict=True):
        assert scheduled_weight(3.0, schedule, n_labels) == pytest.approx(weight)
        on_device = scheduled_weight(3.0, schedule, torch.tensor(n_labels, dtype=torch.float64))
        assert float(on_device) == pytest.approx(weight)


def test_scribble_counts_painted_pixels_only() -> None:
    targets = torch.tensor([[[1, -1], [-1, 0]]])
    assert scribble_loss(RESPONSE, targets).item() == pytest.approx(-(math.log(3 / 4) + math.log(1 / 4)) / 2)
    assert scribble_loss(RESPONSE, torch.full((1, 2, 2), -1)).item() == 0


def test_balanced_scribble_counts_every_class_alike() -> None:
    targets = torch.tensor([[[1, 1], [1, 0]]])
    ones = -(math.log(3 / 4) + 2 * math.log(1 / 2)) / 3
    assert scribble_loss(RESPONSE, targets, balanced=True).item() == pytest.approx((ones - math.log(1 / 4)) / 2)


def test_painted_shares_leave_out_absent_classes() -> None:
    targets = torch.tensor([0, 2, 2, -1])
    assert painted_shares(targets, n_clusters=5, balanced=True).tolist() == [0.5, 0.25, 0.25, 0]
    assert painted_shares(targets, n_clusters=5, balanced=False).tolist() == pytest.approx([1 / 3, 1 / 3, 1 / 3, 0])


def test_gradients_are_those_of_pytorch_s_own_losses() -> None:
    generator = torch.Generator().manual_seed(0)
    ours = torch.randn(1, 6, 7, 9, generator=generator, dtype=torch.float64, requires_grad=True)
    theirs = ours.detach().clone().requires_grad_()
    clusters = ours.argmax(1)
    (similarity_loss(ours, clusters) + 2 * continuity_loss(ours)).backward()
    down, across = theirs[:, :, 1:] - theirs[:, :, :-1], theirs[..., 1:] - theirs[..., :-1]
    l1 = torch.nn.functional.l1_loss
    plain = torch.nn.functional.cross_entropy(theirs, clusters)
    (plain + 2 * (l1(down, torch.zeros_like(down)) + l1(across, torch.zeros_like(across)))).backward()
    assert torch.allclose(ours.grad, theirs.grad, atol=1e-14)
