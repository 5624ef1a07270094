"""Where two frames show the same, but for noise."""

from __future__ import annotations

import numpy as np
import pytest

from napari_dfc.images import prepare
from napari_dfc.noise import unchanged


@pytest.mark.parametrize("dark", ["clipped", "masked"])
def test_noise_is_told_beside_much_that_does_not_vary(dark: str) -> None:
    random = np.random.default_rng(3)
    scene = np.zeros((100, 100))
    scene[:, 60:] = 100  # 60 % are dark
    frames = [
        np.where(scene > 0, scene + random.normal(0, 5, scene.shape), 0).clip(0, 255).astype(np.uint8) for _ in "ab"
    ]
    frames[1][40:60, 75:95] = 200
    mask = scene > 0 if dark == "masked" else None
    constants = (np.zeros(1), np.full(1, 255.0))
    still = unchanged(*(prepare(frame, mask=mask, constants=constants) for frame in frames))
    assert still[:30, 65:].mean() > 0.98
    assert not still[45:55, 80:90].any()
    assert still[:, :55].all() == (dark == "clipped")


def test_noise_alone_is_no_change_and_a_moved_edge_is() -> None:
    random = np.random.default_rng(1)
    scene = np.zeros((80, 120))
    scene[:, 60:] = 10
    moved = np.roll(scene, 3, axis=1)
    moved[:, :3] = 0
    one, same, other = (
        prepare(each + random.normal(0, 1, scene.shape), scaling="published") for each in (scene, scene, moved)
    )
    # a normal deviate lies within three deviations 99.7 times in 100
    assert unchanged(one, same).mean() == pytest.approx(0.9973, abs=0.004)
    assert not unchanged(one, other)[:, 60:63].any()
    assert unchanged(one, other)[:, :50].mean() > 0.98


def test_the_noise_is_told_although_everything_moves() -> None:
    random = np.random.default_rng(2)
    rows, columns = np.mgrid[:100, :100]
    waves = [100 * np.sin((columns + shift) / 9) + random.normal(0, 1, rows.shape) for shift in (0, 20)]
    one, other = (prepare(each, scaling="published") for each in waves)
    assert unchanged(one, other).mean() < 0.05


def test_every_channel_has_a_say_and_masked_pixels_have_none() -> None:
    first = np.zeros((2, 12, 12))
    second = first.copy()
    second[1, :, 6:] = 1
    one, other = (prepare(each, channel_axis=0, scaling="published") for each in (first, second))
    found = unchanged(one, other)
    assert found[:, :2].all()
    assert not found[:, 6:].any()
    second[:, 3] = np.nan
    found = unchanged(one, prepare(second, channel_axis=0, scaling="published"))
    assert not found[3].any()
    assert unchanged(one, one).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 7), (7, 1)])
def test_the_smallest_frames_are_compared(shape: tuple[int, int]) -> None:
    one, other = (prepare(np.full(shape, value), scaling="published") for value in (1.0, 2.0))
    assert unchanged(one, one).all()
    assert not unchanged(one, other).any()
