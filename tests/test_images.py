from __future__ import annotations

import dask.array
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_dfc.images import prepare

DTYPES = ["bool", "u1", "u2", "u4", "u8", "i1", "i2", "i4", "i8", "f2", "f4", "f8", ">u2", ">f4"]


def ramp(dtype: str) -> np.ndarray:
    values = np.arange(20).reshape(4, 5)
    return values.astype(dtype) if dtype != "bool" else values > 9


# ---------------------------------------------------------------------- what is accepted


@pytest.mark.parametrize("dtype", DTYPES)
def test_every_real_dtype_is_scaled_by_its_own_percentiles(dtype: str) -> None:
    image = ramp(dtype)
    low, high = np.percentile(image.astype(float), (0.1, 99.9))
    plane = prepare(image)
    assert plane.values.shape == (1, 4, 5)
    assert plane.values.dtype == np.float32
    np.testing.assert_allclose(plane.values[0], (image.astype(float) - low) / (high - low), atol=1e-6)
    assert plane.mask is None
    assert plane.offset[0] == pytest.approx(low)
    assert plane.scale[0] == pytest.approx(high - low)


@pytest.mark.parametrize(("dtype", "largest"), [("u1", 255), ("u2", 65535), ("i2", 32767), ("f4", 1), ("bool", 1)])
def test_published_scaling_divides_by_the_dtype_s_largest_value(dtype: str, largest: int) -> None:
    image = ramp(dtype)
    plane = prepare(image, scaling="published")
    np.testing.assert_allclose(plane.values[0], image.astype(float) / largest, rtol=1e-6)


def test_rgb_gives_three_channels_each_scaled_by_itself() -> None:
    image = np.stack([ramp("u1"), ramp("u1") * 3, 200 - ramp("u1")], axis=-1)
    plane = prepare(image)
    assert plane.values.shape == (3, 4, 5)
    np.testing.assert_allclose(plane.values[0], plane.values[1], atol=1e-6)
    np.testing.assert_allclose(plane.values[0], 1 - plane.values[2], atol=1e-6)


def test_transparent_pixels_are_masked_and_alpha_is_no_feature() -> None:
    alpha = np.full((4, 5), 7, np.uint8)
    alpha[1, 2] = 0
    image = np.dstack([ramp("u1"), ramp("u1"), ramp("u1"), alpha])
    plane = prepare(image)
    assert len(plane.values) == 3
    assert np.argwhere(~plane.mask).tolist() == [[1, 2]]
    assert (plane.values[:, 1, 2] == 0).all()


@pytest.mark.parametrize("axis", [0, 1, 2, -1, -3])
def test_channels_may_lie_on_any_axis(axis: int) -> None:
    channels = np.random.default_rng(0).integers(0, 99, (6, 4, 5))
    plane = prepare(np.moveaxis(channels, 0, axis), channel_axis=axis)
    np.testing.assert_array_equal(plane.values, prepare(channels, channel_axis=0).values)
    assert plane.values.shape == (6, 4, 5)


def test_fourth_of_named_channels_is_no_alpha() -> None:
    channels = np.zeros((4, 5, 4))
    channels[..., :3] = ramp("u1")[..., None]
    assert prepare(channels, channel_axis=-1).mask is None
    assert len(prepare(channels, channel_axis=-1).values) == 4


def test_images_of_a_tuple_are_taken_together() -> None:
    gray, rgb = ramp("u2"), np.dstack([ramp("u1")] * 3)
    plane = prepare((gray, rgb))
    assert plane.values.shape == (4, 4, 5)
    assert plane.dtypes == ("uint16", "uint8", "uint8", "uint8")


@pytest.mark.parametrize("shape", [(1, 4, 5), (1, 1, 4, 5)])
def test_axes_of_length_1_before_the_plane_are_dropped(shape: tuple[int, ...]) -> None:
    np.testing.assert_array_equal(prepare(ramp("u1").reshape(shape)).values, prepare(ramp("u1")).values)


def test_single_channel_of_a_stack_is_still_a_stack() -> None:
    with pytest.raises(ValueError, match="has 3 axes beside the channels"):
        prepare(np.zeros((1, 5, 8, 8)), channel_axis=0)


def test_dask_zarr_and_arrays_with_named_axes_are_read() -> None:
    image = np.random.default_rng(0).integers(0, 99, (6, 4, 5)).astype(np.uint16)

    class Named:
        dims = ("band", "y", "x")
        dtype = image.dtype

        def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
            return image

    expected = prepare(image, channel_axis=0)
    for other in (dask.array.from_array(image), zarr.array(image)):
        assert prepare(other, channel_axis=0).sha256 == expected.sha256
    assert prepare(Named()).sha256 == expected.sha256


def test_inputs_are_never_modified() -> None:
    image, mask = ramp("f4"), np.ones((4, 5), bool)
    image[0, 0], mask[1, 1] = np.nan, False
    for array in (image, mask):
        array.flags.writeable = False
    prepare(image, mask=mask)


# ---------------------------------------------------------------------- masks, odd values


def test_nan_and_infinity_are_masked_and_take_no_part_in_the_scaling() -> None:
    image = ramp("f8")
    image[0, 0], image[3, 4], image[2, 2] = np.nan, np.inf, -np.inf
    plane = prepare(image)
    finite = np.isfinite(image)
    np.testing.assert_array_equal(plane.mask, finite)
    low, high = np.percentile(image[finite], (0.1, 99.9))
    assert (plane.offset[0], plane.scale[0]) == (pytest.approx(low), pytest.approx(high - low))
    assert (plane.values[0][~finite] == 0).all()
    assert np.isfinite(plane.values).all()


def test_a_pixel_that_is_nan_in_one_channel_is_masked_in_all() -> None:
    channels = np.stack([ramp("f4"), ramp("f4")])
    channels[1, 2, 3] = np.nan
    plane = prepare(channels, channel_axis=0)
    assert not plane.mask[2, 3]
    assert plane.values[0, 2, 3] == 0


def test_masked_pixels_take_no_part_in_the_scaling() -> None:
    image, mask = ramp("f4"), np.ones((4, 5), bool)
    image[0], mask[0] = 1e6, False
    assert prepare(image, mask=mask).scale[0] < 20


def test_constant_image_becomes_zeros() -> None:
    assert (prepare(np.full((4, 5), 1234, np.uint16)).values == 0).all()


def test_sparse_signal_below_the_percentiles_is_kept() -> None:
    image = np.zeros((60, 60))
    image[30, 30] = 8.0
    plane = prepare(image)
    assert (plane.offset[0], plane.scale[0]) == (0, 8)
    assert plane.values[0, 30, 30] == 1


def test_huge_values_are_scaled_before_they_are_narrowed() -> None:
    assert prepare(ramp("f8") * 1e300).values.max() == pytest.approx(1, abs=0.01)
    with pytest.raises(ValueError, match="too far apart to scale"):
        prepare(np.array([[-1.7e308, 1.7e308]]))


@given(
    hnp.arrays(
        st.sampled_from([np.uint8, np.int16, np.uint16, np.float32]),
        hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8),
    )
)
def test_any_image_is_finite_and_scaled_back_by_its_constants(image: np.ndarray) -> None:
    finite = np.isfinite(image)
    if not finite.any():
        with pytest.raises(ValueError, match="no pixel"):
            prepare(image)
        return
    plane = prepare(image, dtype=np.float64)
    assert np.isfinite(plane.values).all()
    back = plane.values[0] * plane.scale[0] + plane.offset[0]
    largest = np.abs(image[finite].astype(float)).max()
    np.testing.assert_allclose(back[finite], image[finite].astype(float), atol=1e-9 * largest + 1e-300, rtol=1e-9)


def test_digest_tells_content_type_and_mask_apart() -> None:
    mask = np.ones((4, 5), bool)
    mask[0, 0] = False
    digests = {
        prepare(ramp("u1")).sha256,
        prepare(ramp("u2")).sha256,
        prepare(ramp("u1")[::-1]).sha256,
        prepare(ramp("u1").reshape(5, 4)).sha256,
        prepare(ramp("u1"), mask=mask).sha256,
    }
    assert len(digests) == 5
    assert prepare(ramp("u1")).sha256 == prepare(ramp("u1").copy()).sha256


# ---------------------------------------------------------------------- what is refused


@pytest.mark.parametrize("image", [np.zeros((4, 4), complex), np.array([["a", "b"]]), np.array([[None, 1]])])
def test_values_that_are_not_real_are_refused(image: np.ndarray) -> None:
    with pytest.raises(TypeError, match=r"values of type .*; accepted are Boolean, integer and real numbers"):
        prepare(image)


def test_dates_are_refused() -> None:
    with pytest.raises(TypeError, match="datetime64"):
        prepare(np.zeros((4, 4), "datetime64[s]"))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (0,)])
def test_empty_images_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="has no pixels"):
        prepare(np.zeros(shape))


@pytest.mark.parametrize("shape", [(), (9,), (5, 6, 7), (2, 5, 6, 3), (2, 3, 5, 6)])
def test_wrong_numbers_of_axes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="accepted are 2"):
        prepare(np.zeros(shape))


def test_channel_axis_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match="channel_axis is 3; the image of shape"):
        prepare(np.zeros((3, 4, 5)), channel_axis=3)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_images_without_a_usable_pixel_are_refused(value: float) -> None:
    with pytest.raises(ValueError, match="no pixel of the image can be used"):
        prepare(np.full((4, 5), value))
    with pytest.raises(ValueError, match="no pixel of the image can be used"):
        prepare(ramp("u1"), mask=np.zeros((4, 5), bool))
    with pytest.raises(ValueError, match="no pixel of the image can be used"):
        prepare(np.zeros((4, 5, 4), np.uint8))  # transparent everywhere


def test_bad_masks_are_refused() -> None:
    with pytest.raises(TypeError, match="mask has values of type uint8; accepted is bool"):
        prepare(ramp("u1"), mask=np.ones((4, 5), np.uint8))
    with pytest.raises(ValueError, match=r"mask has shape \(5, 4\); the image has 4 x 5 pixels"):
        prepare(ramp("u1"), mask=np.ones((5, 4), bool))


def test_tuples_of_different_sizes_and_of_nothing_are_refused() -> None:
    with pytest.raises(ValueError, match="4 x 5 and 5 x 4 pixels"):
        prepare((ramp("u1"), ramp("u1").T))
    with pytest.raises(ValueError, match="empty tuple"):
        prepare(())
