"""The contrast of an image, against values worked out by hand or known of colors."""

import numpy as np
import pytest

from napari_dfc import contrast as contrast_module
from napari_dfc.contrast import contrast_of, gradient_magnitude, lab_of, with_even_noise
from napari_dfc.images import prepare


def test_contrast_of_a_ramp_is_its_slope_over_the_standard_deviation() -> None:
    ramp = np.tile(np.arange(40.0) * 3, (9, 1))
    contrast = gradient_magnitude(ramp[None])
    assert contrast[4, 10:30] == pytest.approx(3 / ramp.std(), rel=1e-3)
    both = gradient_magnitude(np.stack([ramp, ramp]))  # both channels twice the squares, both twice the variance
    assert both[4, 10:30] == pytest.approx(contrast[4, 10:30], rel=1e-5)


def test_contrast_is_scaled_by_the_pixels_that_take_part() -> None:
    ramp = np.tile(np.arange(40.0), (9, 1))
    mask = np.zeros(ramp.shape, dtype=bool)
    mask[:, :20] = True
    assert gradient_magnitude(ramp[None], mask)[4, 10] == pytest.approx(1 / ramp[:, :20].std(), rel=1e-3)


def test_contrast_knows_no_edge_at_the_border_of_a_mask() -> None:
    random = np.random.default_rng(0)
    image = 100 + random.normal(size=(40, 40))
    mask = np.ones(image.shape, dtype=bool)
    mask[10:20, 10:20] = False
    plane = prepare(image, mask=mask)
    contrast = gradient_magnitude(plane.values, plane.mask)
    assert contrast[mask].max() < 1.5 * gradient_magnitude(prepare(image).values).max()


def test_noise_of_counted_light_is_even_after_the_root() -> None:
    random = np.random.default_rng(0)
    truth = np.full((80, 80), 20.0)
    truth[:, :20] = 400.0
    rooted = with_even_noise(random.poisson(truth)[None].astype(np.float64))[0]
    counts = random.poisson(truth)
    assert counts[:, :20].std() > 4 * counts[:, 20:].std()
    assert rooted[:, :20].std() == pytest.approx(rooted[:, 20:].std(), rel=0.4)


def test_a_bright_or_a_gray_ground_stays_as_it_is() -> None:
    values = np.random.default_rng(0).random((2, 30, 30))
    assert with_even_noise(values) is values
    dark = values.copy()
    dark[:, 6:] *= 0.1  # the median at a twentieth of the range
    assert with_even_noise(dark) is not dark
    dark[1] = values[1]  # one channel of two is not dark
    assert with_even_noise(dark) is dark


def test_what_is_masked_says_nothing_of_the_ground() -> None:
    values = np.random.default_rng(0).random((1, 30, 30))
    mask = np.zeros((30, 30), dtype=bool)
    mask[:6] = True
    values[:, ~mask] = 0
    assert with_even_noise(values) is not values
    assert with_even_noise(values, mask) is values


def test_a_flat_image_has_no_dark_ground() -> None:
    values = np.ones((1, 5, 5))
    assert with_even_noise(values) is values


def test_channels_that_never_vary_and_dead_pixels_do_not_hide_a_dark_ground() -> None:
    values = np.random.default_rng(0).poisson(20.0, size=(1, 60, 60)).astype(np.float64)
    values[:, 20:30, 20:30] += 400
    green = np.concatenate([np.zeros_like(values), values, np.zeros_like(values)])
    assert np.array_equal(with_even_noise(green)[1], with_even_noise(values)[0])
    assert not with_even_noise(green)[[0, 2]].any()
    dead = 100 + values
    dead[0, 0, 0] = 0
    assert with_even_noise(dead)[0, 1:].max() == pytest.approx(with_even_noise(values)[0, 1:].max(), abs=0.05)
    assert with_even_noise(dead) is not dead


def test_lab_of_the_primary_colors_and_beyond_them() -> None:
    colors = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1.5, -0.2, 0]]).T[:, None]  # (3, 1, 4)
    known = [[53.24, 80.09, 67.20], [87.73, -86.18, 83.18], [32.30, 79.19, -107.86], [53.24, 80.09, 67.20]]
    found = lab_of(colors)[:, 0].T
    assert found == pytest.approx(np.array(known), abs=0.03)


def test_lab_taken_in_parts_is_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.random.default_rng(0).random((3, 11, 7), dtype=np.float32)
    whole = lab_of(values)
    monkeypatch.setattr(contrast_module, "PIXELS_AT_ONCE", 20)
    assert np.array_equal(lab_of(values), whole)


def test_edges_of_a_color_image_are_as_eyes_see_them() -> None:
    image = np.zeros((9, 30, 3), dtype=np.uint8)
    image[:, 15:, 1] = 255  # black to green, of which eyes make more than of black to blue
    blue = image[..., [0, 2, 1]]
    both = np.concatenate([image, np.zeros((9, 12, 3), dtype=np.uint8), blue], axis=1)
    contrast = contrast_of(prepare(both))[4]
    to_green, to_blue = contrast[10:20].max(), contrast[52:62].max()
    assert to_green / to_blue == pytest.approx(
        np.hypot(87.73, np.hypot(86.18, 83.18)) / np.hypot(32.3, 133.8), rel=0.01
    )
    channels = contrast_of(prepare(np.moveaxis(both, 2, 0), channel_axis=0))[4]  # three channels, not colors
    assert channels[10:20].max() == pytest.approx(channels[52:62].max())


def test_only_one_image_with_its_colors_last_is_a_color_image() -> None:
    color = np.random.default_rng(0).integers(0, 255, (8, 8, 3), dtype=np.uint8)
    assert prepare(color).is_rgb
    assert prepare(np.dstack([color, np.full((8, 8), 255, dtype=np.uint8)])).is_rgb
    assert not prepare(color, channel_axis=2).is_rgb
    assert not prepare((color, color[..., 0])).is_rgb
    assert not prepare(color[..., 0]).is_rgb
