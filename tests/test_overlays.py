from __future__ import annotations

import numpy as np

from napari_dfc.images import prepare
from napari_dfc.overlays import draw_overlay


def halves() -> np.ndarray:
    labels = np.ones((8, 12), np.uint8)
    labels[:, 6:] = 2
    return labels


def test_without_opacity_only_outlines_are_drawn_over_the_image() -> None:
    image = np.tile(np.linspace(0, 1, 12), (8, 1))
    image[0, 0], image[0, 11] = 0, 1
    picture = draw_overlay(prepare(image), halves(), opacity=0)
    gray = (picture[..., 0] == picture[..., 1]) & (picture[..., 1] == picture[..., 2])
    assert np.unique(np.nonzero(~gray)[1]).tolist() == [5, 6]  # both sides of the border
    values = picture[3, :5, 0].astype(int)
    np.testing.assert_allclose(values, np.rint(image[3, :5] * 255), atol=2)


def test_regions_have_different_colors_and_a_label_always_the_same() -> None:
    plane = prepare(np.zeros((8, 12)))
    picture = draw_overlay(plane, halves())
    assert picture[4, 1].tolist() != picture[4, 10].tolist()
    other = draw_overlay(plane, np.full((8, 12), 2, np.uint8))
    assert picture[4, 10].tolist() == other[4, 10].tolist()


def test_unlabelled_pixels_are_left_as_they_are() -> None:
    image = np.arange(96.0).reshape(8, 12)
    labels = halves()
    labels[2:5, 2:5] = 0
    plain, drawn = draw_overlay(prepare(image), np.zeros_like(labels)), draw_overlay(prepare(image), labels)
    np.testing.assert_array_equal(plain[2:5, 2:5], drawn[2:5, 2:5])
    assert (plain[..., 0] == plain[..., 1]).all()


def test_color_images_keep_the_balance_of_their_channels() -> None:
    image = np.zeros((8, 12, 3), np.uint8)
    image[..., 0], image[..., 1] = np.linspace(0, 200, 12), 100
    picture = draw_overlay(prepare(image), np.zeros((8, 12), np.uint8))
    assert picture[3, 6, 1] == 255 * 100 // 200 or abs(int(picture[3, 6, 1]) - 128) <= 2
    assert (picture[..., 2] == 0).all()


def test_images_of_other_channel_counts_are_shown_gray() -> None:
    plane = prepare(np.random.default_rng(0).random((5, 8, 12)), channel_axis=0)
    picture = draw_overlay(plane, np.zeros((8, 12), np.uint8))
    assert (picture[..., 0] == picture[..., 2]).all()
    assert len(np.unique(picture)) > 10
