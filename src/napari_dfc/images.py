"""The door where an image comes in: any array becomes scaled channels of one plane, and what is wrong is said here."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Plane", "Window", "channels_differ", "prepare", "prepare_alike", "prepare_part"]

#: Percentiles of a channel that its scaling maps to 0 and 1.
PERCENTILES = (0.1, 99.9)

_CHANNEL_NAMES = ("c", "channel", "channels", "band", "bands")


@dataclass(frozen=True)
class Window:
    """The part of an image's plane that is looked at.

    Parameters
    ----------
    rows, columns : slice
    shape : tuple of int
        Rows and columns of the whole plane.
    """

    rows: slice
    columns: slice
    shape: tuple[int, int]

    @classmethod
    def around(cls, mask: NDArray[np.bool_]) -> Window | None:
        """The rectangle around the pixels that take part; None where that is all of the plane, or nothing.

        Examples
        --------
        >>> Window.around(np.array([[False, False, False], [False, True, True]]))
        Window(rows=slice(1, 2, None), columns=slice(1, 3, None), shape=(2, 3))
        """
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows) or (len(rows), len(columns)) == mask.shape:
            return None
        shape = (mask.shape[0], mask.shape[1])
        return cls(slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1), shape)

    def cut(self, values: NDArray[Any]) -> NDArray[Any]:
        """The part of an array (H, W) of the whole plane; a view."""
        return values[self.rows, self.columns]

    def put(self, values: NDArray[Any], outside: float = 0) -> NDArray[Any]:
        """An array (H, W) of the whole plane with these values in its part."""
        whole = np.zeros(self.shape, values.dtype) if outside == 0 else np.full(self.shape, outside, values.dtype)
        whole[self.rows, self.columns] = values
        return whole

    def as_list(self) -> list[list[int]]:
        """First row and the one after the last, the same of the columns, and the shape: for a record."""
        return [[self.rows.start, self.rows.stop], [self.columns.start, self.columns.stop], list(self.shape)]

    @classmethod
    def of_list(cls, numbers: Sequence[Sequence[int]]) -> Window:
        """What `as_list` was made of."""
        rows, columns, shape = numbers
        return cls(slice(*rows), slice(*columns), (shape[0], shape[1]))


@dataclass(frozen=True)
class Plane:
    """One plane of an image, ready for the network.

    Parameters
    ----------
    values : (C, H, W) ndarray of float32 or float64
        Scaled channels, 0 where masked.
    mask : (H, W) ndarray of bool, or None
        True where a pixel takes part; None where all do.
    offset, scale : (C,) ndarray of float64
        ``values = (image - offset) / scale``.
    sha256 : str
        Digest of the channels as they came in, with their shapes and data types.
    dtypes : tuple of str
        Data type of each channel as it came in.
    is_rgb : bool
        Whether the channels are the red, green and blue of one color image.
    parts : tuple of (slice, slice)
        Of several reference images in one plane, the rows and columns of each; empty where it is one image.
    part_sha256 : tuple of str
        Their digests.
    window : Window, optional
        Where in a larger image these values lie.
    """

    values: NDArray[np.floating[Any]]
    mask: NDArray[np.bool_] | None
    offset: NDArray[np.float64]
    scale: NDArray[np.float64]
    sha256: str
    dtypes: tuple[str, ...]
    is_rgb: bool = False
    parts: tuple[tuple[slice, slice], ...] = ()
    part_sha256: tuple[str, ...] = ()
    window: Window | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.values.shape[1], self.values.shape[2]

    @property
    def whole_shape(self) -> tuple[int, int]:
        """Rows and columns of the image as it came in."""
        return self.shape if self.window is None else self.window.shape

    @property
    def places(self) -> tuple[tuple[slice, slice], ...]:
        """Rows and columns of each of its images, also where it is one."""
        return self.parts or ((slice(0, self.shape[0]), slice(0, self.shape[1])),)

    @property
    def largest_part(self) -> tuple[slice, slice]:
        """Rows and columns of the largest of its images."""
        return max(self.places, key=lambda part: math.prod(each.stop - each.start for each in part))


def prepare(
    image: ArrayLike | tuple[ArrayLike, ...],
    *,
    channel_axis: int | None = None,
    mask: ArrayLike | None = None,
    scaling: str = "percentile",
    constants: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None,
    dtype: Any = np.float32,
    cut: bool = False,
) -> Plane:
    """Check an image and turn it into scaled channels.

    Parameters
    ----------
    image : (H, W), (H, W, 3), (H, W, 4) or any 3-D array with `channel_axis`; or a tuple of such images
        Boolean, integer or real values of any width, as a NumPy array or anything that converts to one (dask, zarr,
        xarray with a dimension named c, channel or band). Three channels last are RGB, four are RGBA; alpha is no
        feature, fully transparent pixels are masked. The channels of a tuple's images are taken together.
    channel_axis : int, optional
        The axis of the channels, where it is not the last of an RGB(A) image. No channel is alpha then.
    mask : (H, W) array of bool, optional
        True where a pixel takes part. NaN and infinite pixels never do.
    scaling : {"percentile", "published"}
        "percentile" maps each channel's own 0.1 to 99.9 percentile, over the pixels that take part, to 0 to 1 without
        clipping; "published" divides by the data type's largest value (integers) or by 1 (real numbers).
    constants : (C,) and (C,) ndarray of float64, optional
        Offset and scale of each channel, in place of this image's own.
    dtype : data type
        float32 or float64 for the result.
    cut : bool
        Look at nothing beyond the rectangle around the mask, which ``window`` then says.

    Returns
    -------
    Plane

    Raises
    ------
    TypeError
        Complex, object, text or date values; a mask that is not Boolean.
    ValueError
        An empty image, axes that cannot be told apart, shapes that differ, no pixel left to segment, or another number
        of channels than of constants.

    Examples
    --------
    >>> import numpy as np
    >>> plane = prepare(np.array([[0, 255], [51, 102]], dtype=np.uint8), scaling="published")
    >>> plane.values.tolist()[0][0]
    [0.0, 1.0]
    """
    raw = _checked(image, channel_axis, mask, cut)
    if constants is None:
        constants = _constants([raw], scaling)
    elif len(constants[0]) != len(raw.channels):
        raise ValueError(channels_differ(len(raw.channels), len(constants[0])))
    return _scaled(raw, constants, dtype)


def prepare_part(
    image: ArrayLike | tuple[ArrayLike, ...], mask: NDArray[np.bool_], scaling: str = "percentile"
) -> Plane:
    """As `prepare` with ``cut=True``, for an image of which no more is there than the rectangle around the mask.

    Parameters
    ----------
    image
        As in `prepare`, the part alone.
    mask : (H, W) ndarray of bool
        Of the whole.
    scaling
        As in `prepare`.

    Returns
    -------
    Plane

    Raises
    ------
    TypeError, ValueError
        As `prepare`.

    Examples
    --------
    >>> image, mask = np.arange(12).reshape(3, 4), np.zeros((3, 4), dtype=bool)
    >>> mask[1:, 2] = True
    >>> part, whole = prepare_part(image[1:, 2:3], mask), prepare(image, mask=mask, cut=True)
    >>> part.sha256 == whole.sha256, part.window == whole.window
    (True, True)
    """
    window = Window.around(mask)
    plane = prepare(image, mask=mask if window is None else window.cut(mask), scaling=scaling)
    return replace(plane, window=window)


def prepare_alike(
    images: Sequence[ArrayLike | tuple[ArrayLike, ...]],
    *,
    masks: Sequence[ArrayLike | None] | None = None,
    channel_axis: int | None = None,
    scaling: str = "percentile",
) -> list[Plane]:
    """Turn several images into channels on one scale, that of the pixels of all of them together.

    Parameters
    ----------
    images : sequence of images
        Each as in `prepare`, with as many channels as the others.
    masks : sequence of (H, W) array of bool or None, optional
        For each image.
    channel_axis, scaling
        As in `prepare`.

    Returns
    -------
    list of Plane

    Raises
    ------
    TypeError, ValueError
        As `prepare`, with the number of the image; no image, another number of masks, other channels than the first
        has, or, where scaling is "published", another data type.
    """
    if not len(images):
        raise ValueError("there is no reference image; give one or more")
    masks = [None] * len(images) if masks is None else masks
    if len(masks) != len(images):
        raise ValueError(f"there are {len(masks)} masks for {len(images)} images; give one for each, or None")
    raws: list[_Raw] = []
    for number, (image, mask) in enumerate(zip(images, masks, strict=True), 1):
        try:
            raws.append(_checked(image, channel_axis, mask))
        except (TypeError, ValueError) as error:
            raise type(error)(f"image {number}: {error}") from error
        there, wanted = len(raws[-1].channels), len(raws[0].channels)
        if there != wanted:
            raise ValueError(f"image {number} has {there} channels and image 1 has {wanted}; accepted is one number")
    constants = _constants(raws, scaling)
    return [_scaled(raw, constants, np.float32) for raw in raws]


class _Raw(NamedTuple):
    """What came in: channels (H, W) of any type, which pixels take part, and whether these are colors."""

    channels: list[NDArray[Any]]
    usable: NDArray[np.bool_]
    is_rgb: bool
    window: Window | None = None


def _checked(
    image: ArrayLike | tuple[ArrayLike, ...], channel_axis: int | None, mask: ArrayLike | None, cut: bool = False
) -> _Raw:
    images = image if isinstance(image, tuple) else (image,)
    if not images:
        raise ValueError("image is an empty tuple; accepted is one image or more")
    channels: list[NDArray[Any]] = []
    opaque: NDArray[np.bool_] | None = None
    is_rgb = False
    for each in images:
        colors, alpha, is_rgb = _split_channels(each, channel_axis)
        channels.extend(colors)
        if alpha is not None:
            opaque = (alpha > 0) if opaque is None else opaque & (alpha > 0)
    shape = channels[0].shape
    for channel in channels:
        if channel.shape != shape:
            raise ValueError(f"images of {_by(shape)} and {_by(channel.shape)} pixels; accepted is one size for all")

    usable = np.ones(shape, dtype=bool) if mask is None else _checked_mask(mask, shape)
    window = Window.around(usable) if cut else None
    if window is not None:
        channels, usable = [window.cut(channel) for channel in channels], window.cut(usable)
        opaque = None if opaque is None else window.cut(opaque)
    if opaque is not None:
        usable = usable & opaque
    for channel in channels:
        if channel.dtype.kind == "f":
            usable = usable & np.isfinite(channel)
    if not usable.any():
        raise ValueError("no pixel of the image can be used: all are masked, transparent, NaN or infinite")
    return _Raw(channels, usable, is_rgb and len(images) == 1, window)


def _constants(raws: Sequence[_Raw], scaling: str) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Offset and scale of every channel, over the pixels of all images that take part."""
    pairs = []
    for channels in zip(*(raw.channels for raw in raws), strict=True):
        dtypes = {channel.dtype for channel in channels}
        if scaling == "published" and len(dtypes) > 1:
            words = " and ".join(sorted(map(str, dtypes)))
            raise ValueError(
                f"the images have data types {words}; accepted is one for all with input_scaling published"
            )
        inside = [channel[raw.usable] for channel, raw in zip(channels, raws, strict=True)]
        pairs.append(_scaling_constants(inside[0] if len(inside) == 1 else np.concatenate(inside), scaling))
    offset, scale = np.array(pairs).T
    return offset, scale


def _scaled(raw: _Raw, constants: tuple[NDArray[np.float64], NDArray[np.float64]], dtype: Any) -> Plane:
    channels, usable, is_rgb, window = raw
    offset, scale = constants
    values = np.empty((len(channels), *usable.shape), dtype=dtype)
    for index, channel in enumerate(channels):
        wide = np.where(usable, channel, 0).astype(np.float64)
        with np.errstate(over="ignore"):
            values[index] = np.where(usable, (wide - offset[index]) / scale[index], 0)
    if not np.isfinite(values).all():
        raise ValueError("image values are too far from most others to scale; mask them, or make them NaN")
    return Plane(
        values=values,
        mask=None if usable.all() else usable,
        offset=offset,
        scale=scale,
        sha256=_digest(channels, None if usable.all() else usable),
        dtypes=tuple(str(channel.dtype) for channel in channels),
        is_rgb=is_rgb,
        window=window,
    )


def channels_differ(there: int, wanted: int) -> str:
    """What to say of an image with another number of channels than the references have."""
    return f"the image has {there} channel{'s' * (there != 1)}; accepted are {wanted}, as in the reference images"


def _split_channels(image: Any, channel_axis: int | None) -> tuple[list[NDArray[Any]], NDArray[Any] | None, bool]:
    """The channels of one image, each (H, W), its alpha channel where it has one, and whether they are its colors."""
    names = getattr(image, "dims", None)
    if channel_axis is None and isinstance(names, tuple):
        named = [axis for axis, name in enumerate(names) if str(name).lower() in _CHANNEL_NAMES]
        channel_axis = named[0] if named else None
    array = _real_array(image)
    if array.size == 0:
        raise ValueError(f"image of shape {array.shape} has no pixels")
    if channel_axis is not None:
        if not -array.ndim <= channel_axis < array.ndim:
            raise ValueError(f"channel_axis is {channel_axis}; the image of shape {array.shape} has no such axis")
        planes = np.moveaxis(array, channel_axis, 0)  # (C, ...)
        planes = _without_single_axes(planes, keep=3, first=1)
        if planes.ndim != 3:
            raise ValueError(
                f"image of shape {array.shape} with channel_axis={channel_axis} has {planes.ndim - 1} axes beside the "
                "channels; accepted are 2: give one plane"
            )
        return list(planes), None, False
    if array.ndim >= 3 and array.shape[-1] in (3, 4):
        array = _without_single_axes(array, keep=3)
        if array.ndim == 3:
            colors = np.moveaxis(array, -1, 0)  # (C, H, W)
            return list(colors[:3]), (colors[3] if len(colors) == 4 else None), True
    array = _without_single_axes(array, keep=2)
    if array.ndim != 2:
        raise ValueError(
            f"image of shape {array.shape} has {array.ndim} axes; accepted are 2 (gray), 3 with RGB or RGBA last, or 3 "
            "with channel_axis given. Of a stack or a time series, give one plane"
        )
    return [array], None, False


def _real_array(image: Any) -> NDArray[Any]:
    """The image as an array of Booleans, integers or real numbers; its type is looked at before it is computed."""
    dtype = getattr(image, "dtype", None)
    if not isinstance(dtype, np.dtype):
        image = np.asarray(image)
        dtype = image.dtype
    if dtype.kind not in "buif":
        raise TypeError(f"image has values of type {dtype}; accepted are Boolean, integer and real numbers")
    return np.asarray(image)


def _without_single_axes(array: NDArray[Any], keep: int, first: int = 0) -> NDArray[Any]:
    """The array without axes of length 1 from `first` to before the last two, down to `keep` axes."""
    for axis in range(array.ndim - 3, first - 1, -1):
        if array.ndim > keep and array.shape[axis] == 1:
            array = np.squeeze(array, axis)
    return array


def _checked_mask(mask: ArrayLike, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    array = np.asarray(mask)
    if array.dtype != bool:
        raise TypeError(f"mask has values of type {array.dtype}; accepted is bool, True where a pixel takes part")
    if array.shape != shape:
        raise ValueError(f"mask has shape {array.shape}; the image has {_by(shape)} pixels")
    return array


def _scaling_constants(inside: NDArray[Any], scaling: str) -> tuple[float, float]:
    """Offset and scale of one channel, of its pixels that take part."""
    if scaling == "published":
        return 0.0, float(np.iinfo(inside.dtype).max) if inside.dtype.kind in "ui" else 1.0
    inside = inside.astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        low, high = np.percentile(inside, PERCENTILES)
        if not high > low:  # fewer than one pixel in a thousand differs: take the whole range
            low, high = inside.min(), inside.max()
        span = high - low
    if not np.isfinite(span):
        raise ValueError(f"image values from {low:g} to {high:g} are too far apart to scale")
    return float(low), float(span) if span > 0 else 1.0


def _digest(channels: list[NDArray[Any]], mask: NDArray[np.bool_] | None) -> str:
    digest = hashlib.sha256()
    for array in [*channels, *([] if mask is None else [mask])]:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
