"""Files that hold a time series or a stack: their planes are read one after the other."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_dfc.files import TIFF_SUFFIXES, ImageFile, can_be_read, pixel_size_of, read_image

__all__ = ["StackFile", "open_image", "plane_of", "read_plane"]


@dataclass(frozen=True, eq=False)
class StackFile:
    """A file of several planes.

    Parameters
    ----------
    path : Path
    axes : str
        A letter for each axis that counts planes, such as T for time and Z for depth. Pages of which the file does not
        say what they are count as time.
    shape : tuple of int
        The length of each.
    positions : tuple of int
        Where they are among all axes of the file.
    channel_axis : int, optional
        Axis of the channels in a plane.
    pixel_size : tuple of float, optional
        As in `ImageFile`.
    data : ndarray, optional
        All planes, where the file's format lets them be read together only.
    """

    path: Path
    axes: str
    shape: tuple[int, ...]
    positions: tuple[int, ...]
    channel_axis: int | None = None
    pixel_size: tuple[float, float] | None = None
    data: NDArray[Any] | None = None

    def __str__(self) -> str:
        return f"{self.path} holds {self.n_planes} planes, along {' and '.join(self.axes)} ({_words(self.shape)})"

    @property
    def n_planes(self) -> int:
        """Of all axes together."""
        return math.prod(self.shape)

    def series(self) -> Iterator[list[tuple[int, ...]]]:
        """Of each time series, the places of its planes along `axes`; without a time axis every plane is one."""
        time = self.axes.find("T")
        lengths = [1 if index == time else length for index, length in enumerate(self.shape)]
        for place in product(*map(range, lengths)):
            if time < 0:
                yield [place]
            else:
                yield [(*place[:time], moment, *place[time + 1 :]) for moment in range(self.shape[time])]

    @contextmanager
    def reading(self) -> Iterator[Callable[[tuple[int, ...]], NDArray[Any]]]:
        """Open the file, for a while, for planes that are each read when they are asked for.

        Yields
        ------
        callable
            Gives the plane at a place along `axes`; a ValueError where the file is damaged.
        """
        if self.data is not None:
            held = self.data
            yield lambda place: held[self._index(place)]
            return
        import zarr  # half a second, which only a stack should take

        with can_be_read(self.path):
            tiff = tifffile.TiffFile(self.path)
        with tiff:
            pages = zarr.open_array(tiff.series[0].aszarr(), mode="r")

            def read(place: tuple[int, ...]) -> NDArray[Any]:
                with can_be_read(self.path):
                    return np.asarray(pages[self._index(place)])

            yield read

    def _index(self, place: tuple[int, ...]) -> tuple[Any, ...]:
        """Of a plane among all axes of the file."""
        index: list[Any] = [slice(None)] * (max(self.positions) + 1)
        for position, number in zip(self.positions, place, strict=True):
            index[position] = number
        return tuple(index)


def open_image(path: str | Path, channel_axis: int | None = None) -> ImageFile | StackFile:
    """Read an image, or look into a time series or a stack without reading its planes.

    Parameters
    ----------
    path : str or Path
    channel_axis : int, optional
        Among all axes of the file, where it does not say.

    Returns
    -------
    ImageFile or StackFile

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_image`.
    """
    path = Path(path)
    if path.suffix.lower() not in TIFF_SUFFIXES or not path.is_file():
        file = read_image(path)
        axes = _animation_axes(file.data, channel_axis)
        return _stack(path, axes, file.data.shape, channel_axis, None, file.data) or file
    with can_be_read(path), tifffile.TiffFile(path) as tiff:
        axes, shape, size = tiff.series[0].axes, tiff.series[0].shape, pixel_size_of(tiff)
    return _stack(path, axes, shape, channel_axis, size) or read_image(path)


def read_plane(path: str | Path, place: tuple[int, ...] = (), channel_axis: int | None = None) -> ImageFile:
    """Read an image, or one plane of a time series or a stack.

    Parameters
    ----------
    path : str or Path
    place : tuple of int
        The plane's index along each axis that counts planes; left out of a file that holds one plane alone. Where a
        file calls three or four planes colors, as napari writes them, a place means one of these.
    channel_axis : int, optional
        Among all axes of the file, where it does not say.

    Returns
    -------
    ImageFile
        Its ``channel_axis`` is among the axes of the plane.

    Raises
    ------
    FileNotFoundError, ValueError
        As `read_image`; or no such plane, or none named where there are several.
    """
    return plane_of(path, open_image(path, channel_axis), place, channel_axis)


def plane_of(
    path: str | Path, file: ImageFile | StackFile, place: tuple[int, ...] = (), channel_axis: int | None = None
) -> ImageFile:
    """As `read_plane`, of a file that `open_image` has opened already."""
    if isinstance(file, ImageFile):
        if place and file.channel_axis == 0 and channel_axis is None and len(place) == 1 and place[0] < len(file.data):
            return ImageFile(
                file.data[place[0]], None, file.pixel_size
            )  # three or four planes, which are called colors
        if place:
            raise ValueError(f"{path} holds one plane alone, and no plane {_words(place)}")
        return file if channel_axis is None else replace(file, channel_axis=channel_axis)
    fits = len(place) == len(file.shape)
    if not fits or not all(0 <= index < length for index, length in zip(place, file.shape, strict=True)):
        last = _words(tuple(length - 1 for length in file.shape))
        raise ValueError(f"plane is {_words(place) or 'not given'}; {file}: accepted is up to {last}, counted from 0")
    with file.reading() as read:
        return ImageFile(read(place), file.channel_axis, file.pixel_size)


def _words(numbers: tuple[int, ...]) -> str:
    return ",".join(map(str, numbers))


def _animation_axes(data: NDArray[Any], channel_axis: int | None) -> str:
    """Of an image that is no TIFF: its frames, if it has several, come first."""
    if data.ndim == 4 and len(data) > 1:
        return "TYXS"
    is_animation = data.ndim == 3 and channel_axis is None and data.shape[-1] not in (3, 4) and len(data) > 1
    return "TYX" if is_animation else "..."


def _stack(
    path: Path,
    axes: str,
    shape: tuple[int, ...],
    channel_axis: int | None,
    pixel_size: tuple[float, float] | None,
    data: NDArray[Any] | None = None,
) -> StackFile | None:
    """The planes of a file with these axes (tifffile's letters), if there are several."""
    if "Y" not in axes or "X" not in axes:
        return None
    channel: int | None = axes.find("C")
    if channel_axis is not None:
        channel = channel_axis % len(axes) if -len(axes) <= channel_axis < len(axes) else None
        if channel is None or axes[channel] in "YX":
            raise ValueError(f"channel_axis is {channel_axis}; {path} has the axes {axes}, and Y and X are no channels")
    elif channel == -1:
        channel = axes.find("S")
    positions = tuple(index for index, letter in enumerate(axes) if letter not in "YXS" and index != channel)
    if not positions:
        return None
    in_plane = None
    if channel is not None and channel >= 0 and axes[channel:] != "S":  # colors last are found without
        in_plane = channel - sum(position < channel for position in positions)
    letters = "".join(axes[position] for position in positions)
    if "T" not in letters:
        letters = letters.replace("Q", "T", 1) if "Q" in letters else letters.replace("I", "T", 1)
    return StackFile(path, letters, tuple(shape[p] for p in positions), positions, in_plane, pixel_size, data)
