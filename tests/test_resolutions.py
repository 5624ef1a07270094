from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from napari_dfc.resolutions import enlarged, possible_factors, shrunken_image, shrunken_mask, shrunken_targets


def squares(array: np.ndarray, factor: int) -> list[list[np.ndarray]]:
    """The squares of an array, (..., H, W), those at the border cut off."""
    height, width = array.shape[-2:]
    return [
        [array[..., top : top + factor, left : left + factor] for left in range(0, width, factor)]
        for top in range(0, height, factor)
    ]


@hypothesis_settings(max_examples=40)
@given(st.integers(1, 13), st.integers(1, 13), st.sampled_from([1, 2, 4]), st.integers(0, 10**6))
def test_shrunken_is_what_a_loop_over_the_squares_gives(height: int, width: int, factor: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    mask = random.random((height, width)) > 0.4
    image = random.random((2, height, width)) * mask
    targets = random.integers(-1, 3, (height, width))
    means, known, classes = [], [], []
    for of_image, of_mask, of_targets in zip(
        squares(image, factor), squares(mask, factor), squares(targets, factor), strict=True
    ):
        for values, usable, painted in zip(of_image, of_mask, of_targets, strict=True):
            means.append(values[:, usable].mean(1) if usable.any() else np.zeros(2))
            known.append(usable.any())
            counts = [(painted == channel).sum() for channel in range(3)]
            classes.append(int(np.argmax(counts)) if max(counts) else -1)
    found = shrunken_image(torch.from_numpy(image), torch.from_numpy(mask), factor)
    assert np.allclose(found.flatten(1).T.numpy(), means)
    assert shrunken_mask(torch.from_numpy(mask), factor).flatten().tolist() == known
    if factor > 1:
        assert shrunken_targets(torch.from_numpy(targets), 3, factor).flatten().tolist() == classes


@pytest.mark.parametrize("factor", [1, 2, 4])
def test_enlarged_probabilities_still_add_up_to_1(factor: int) -> None:
    small = torch.rand(5, 4, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).softmax(-1)
    found = enlarged(small, factor, (5 * factor, 4 * factor - factor // 2))
    assert found.shape == (5 * factor, 4 * factor - factor // 2, 3)
    assert torch.allclose(found.sum(-1), torch.ones(found.shape[:2], dtype=torch.float64))


def test_enlarged_values_lie_between_the_centers_of_their_squares() -> None:
    small = torch.tensor([[[0.0]], [[4.0]]])  # the centers of two squares of 4 pixels lie 1.5 and 5.5 pixels down
    assert enlarged(small, 4, (8, 4))[:, 0, 0].tolist() == [0, 0, 0.5, 1.5, 2.5, 3.5, 4, 4]


def test_a_fraction_without_a_class_s_strokes_is_not_taken() -> None:
    targets = torch.full((64, 64), -1)
    targets[8:10, 8:12] = 0
    targets[10, 8:10] = 1  # half of a square of 2 pixels, less than half of one of 4
    assert possible_factors((1, 2, 1, 4), (64, 64), targets, 2) == (1, 2, 1, 2)
    assert possible_factors((2, 4, 8), (64, 64), targets, 2) == (2, 2, 2)


def test_a_small_image_is_not_shrunken_to_nothing() -> None:
    targets = torch.full((33, 400), -1)
    targets[:, :100], targets[:, 300:] = 0, 1
    assert possible_factors((1, 2, 4, 8), (33, 400), targets, 2) == (1, 2, 2, 2)
