"""What a label map holds: the area of every class, the objects that a class consists of, and measures of each."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import ndimage

from napari_dfc.blocks import blocks
from napari_dfc.numbering import label_numbers
from napari_dfc.whole_files import write_whole

__all__ = ["class_objects", "class_table", "count_pixels", "measure_regions", "write_columns"]


def count_pixels(labels: Any) -> dict[int, int]:
    """The pixels of every number but 0.

    Parameters
    ----------
    labels : (M[, ...]) array of int
        Any array that is indexed as NumPy's are; it is read block by block.

    Returns
    -------
    dict of int to int
        By rising number.

    Raises
    ------
    TypeError
        Values that are not integers.
    ValueError
        A negative number.

    Examples
    --------
    >>> count_pixels(np.array([[0, 2, 2], [7, 2, 0]]))
    {2: 3, 7: 1}
    """
    _check_numbers(labels.dtype)
    counts: dict[int, int] = {}
    for index in blocks(labels.shape):
        block = np.asarray(labels[index]).ravel()
        if block.dtype.kind == "i" and block.min() < 0:
            raise ValueError(f"labels hold the number {block.min()}; accepted are numbers from 0, which is no class")
        if block.max() < max(block.size, 2**16):
            pixels = np.bincount(block.astype(np.intp, copy=False))
            numbers = np.flatnonzero(pixels)
            pixels = pixels[numbers]
        else:
            numbers, pixels = np.unique(block, return_counts=True)
        for number, more in zip(numbers.tolist(), pixels.tolist(), strict=True):
            counts[number] = counts.get(number, 0) + more
    return {number: counts[number] for number in sorted(counts) if number}


def class_table(counts: Mapping[int, int], n_pixels: int, pixel_area: float = 1.0) -> dict[str, list[Any]]:
    """Areas and shares from counts of pixels.

    Parameters
    ----------
    counts : mapping of int to int
        Pixels of every class, such as `count_pixels` gives.
    n_pixels : int
        Of the whole label map, those without a class too.
    pixel_area : float
        Area of a pixel, or volume of a voxel, in physical units.

    Returns
    -------
    dict of list
        Columns ``number``, ``pixels``, ``area`` and ``share``, which is 0 to 1 of the whole label map.

    Examples
    --------
    >>> class_table({1: 30, 4: 10}, n_pixels=80, pixel_area=0.25)
    {'number': [1, 4], 'pixels': [30, 10], 'area': [7.5, 2.5], 'share': [0.375, 0.125]}
    """
    return {
        "number": list(counts),
        "pixels": list(counts.values()),
        "area": [pixels * pixel_area for pixels in counts.values()],
        "share": [pixels / n_pixels for pixels in counts.values()],
    }


def class_objects(
    labels: ArrayLike, number: int, *, min_size: int = 1, fill_holes: bool = False, separate_axes: Sequence[int] = ()
) -> NDArray[np.unsignedinteger[Any]]:
    """The connected pieces of one class, each with a number of its own.

    Parameters
    ----------
    labels : (M[, ...]) array of int
    number : int
        The class.
    min_size : int
        Pixels of the smallest object that is kept; filled holes count.
    fill_holes : bool
        Give an object what it encloses, whichever class that has; two pieces, one within the other, become one object.
    separate_axes : sequence of int
        Axes along which nothing is connected, such as the time axis of a series.

    Returns
    -------
    (M[, ...]) ndarray
        0 where there is no object; the largest has number 1, and of objects of one size that which comes first row by
        row has the lower one. In the smallest unsigned data type.

    Raises
    ------
    TypeError
        Values that are not integers.
    ValueError
        A size below 1, or an axis that is not there.

    Notes
    -----
    Pixels are connected to those that they share a side with. What lies around objects is connected over corners too,
    so that a hole is enclosed by one object alone.

    Examples
    --------
    >>> labels = np.array([[2, 1, 2, 2], [1, 1, 2, 0]])
    >>> class_objects(labels, 2)
    array([[2, 0, 1, 1],
           [0, 0, 1, 0]], dtype=uint8)
    """
    labels = np.asarray(labels)
    _check_numbers(labels.dtype)
    if min_size < 1:
        raise ValueError(f"min_size is {min_size}; accepted is a number of pixels from 1")
    wrong = [axis for axis in separate_axes if not -labels.ndim <= axis < labels.ndim]
    if wrong:
        raise ValueError(f"separate_axes holds {wrong[0]}; the labels have the axes 0 to {labels.ndim - 1}")
    separate = {axis % labels.ndim for axis in separate_axes}
    members = labels == number
    if fill_holes:
        members |= _holes(members, separate)
    pieces, _ = ndimage.label(members, structure=_neighbors(labels.ndim, 1, separate))
    sizes = np.array(list(count_pixels(pieces).values()), dtype=np.int64)
    numbers = label_numbers(sizes)
    numbers[sizes < min_size] = 0
    dtype = np.min_scalar_type(max(int((sizes >= min_size).sum()), 1))
    return _looked_up(np.concatenate([np.zeros(1, np.uint64), numbers]).astype(dtype), pieces)


def measure_regions(
    labels: ArrayLike,
    intensities: Mapping[str, ArrayLike] | None = None,
    *,
    pixel_area: float = 1.0,
    to_world: ArrayLike | None = None,
) -> dict[str, NDArray[Any]]:
    """Size, place and intensity of every region.

    Parameters
    ----------
    labels : (M[, ...]) array of int
        All pixels of one number are a region; 0 is none.
    intensities : mapping of str to (M[, ...]) array, optional
        Channels of the image, by name.
    pixel_area : float
        Area of a pixel, or volume of a voxel, in physical units.
    to_world : (N + 1, N + 1) array of float, optional
        Affine matrix from indices to the coordinates that centroids are to have; indices without it.

    Returns
    -------
    dict of ndarray
        A column (R,) each, by rising number: ``label``, ``pixels``, ``area``, ``centroid-0`` and so on for each axis,
        and for each channel ``mean``, ``min``, ``max`` and ``std``, the standard deviation, such as ``DAPI mean``.

    Raises
    ------
    TypeError
        Labels that are not integers.
    ValueError
        A negative number, or a channel of another shape.

    Examples
    --------
    >>> labels = np.array([[5, 5, 0], [0, 0, 9]])
    >>> table = measure_regions(labels, {"DAPI": labels * 10.0}, pixel_area=0.25, to_world=np.diag([0.5, 0.5, 1.0]))
    >>> {name: column.tolist() for name, column in table.items() if "-" in name or name in ("label", "area")}
    {'label': [5, 9], 'area': [0.5, 0.25], 'centroid-0': [0.0, 0.5], 'centroid-1': [0.25, 1.0]}
    >>> table["DAPI mean"].tolist()
    [50.0, 90.0]
    """
    labels = np.asarray(labels)
    counts = count_pixels(labels)
    numbers = np.array(list(counts), dtype=np.uint64)
    pixels = np.array(list(counts.values()), dtype=np.int64)
    channels = {name: np.asarray(channel) for name, channel in (intensities or {}).items()}
    for name, channel in channels.items():
        if channel.shape != labels.shape:
            raise ValueError(f"channel {name} has the shape {channel.shape}; the labels have {labels.shape}")
    places = _centroids(labels, numbers, pixels)
    if to_world is not None:
        matrix = np.asarray(to_world, dtype=float)
        places = places @ matrix[:-1, :-1].T + matrix[:-1, -1]
    table: dict[str, NDArray[Any]] = {"label": numbers, "pixels": pixels, "area": pixels * float(pixel_area)}
    table |= {f"centroid-{axis}": places[:, axis] for axis in range(labels.ndim)}
    for name, channel in channels.items():
        found = _intensities(labels, numbers, pixels, channel)
        table |= {f"{name} {measure}": column for measure, column in found.items()}
    return table


def _centroids(labels: NDArray[Any], numbers: NDArray[Any], pixels: NDArray[Any]) -> NDArray[np.float64]:
    """Mean index of every region, (R, N)."""
    sums = np.zeros((len(numbers) + 1, labels.ndim))
    for index, order in _orders(labels, numbers):
        starts = [place if isinstance(place, int) else place.start for place in index]
        starts += [0] * (labels.ndim - len(starts))
        kept = [axis for axis in range(labels.ndim) if axis >= len(index) or not isinstance(index[axis], int)]
        counts = np.bincount(order.ravel(), minlength=len(sums))
        for axis in range(labels.ndim):
            sums[:, axis] += counts * starts[axis]
        for along, axis in enumerate(kept):
            steps = np.arange(order.shape[along], dtype=float)
            steps = steps.reshape([-1 if each == along else 1 for each in range(order.ndim)])
            weights = np.broadcast_to(steps, order.shape).ravel()
            sums[:, axis] += np.bincount(order.ravel(), weights=weights, minlength=len(sums))
    places: NDArray[np.float64] = sums[1:] / pixels[:, None]
    return places


def _intensities(
    labels: NDArray[Any], numbers: NDArray[Any], pixels: NDArray[Any], channel: NDArray[Any]
) -> dict[str, NDArray[np.float64]]:
    """Mean, least, largest and standard deviation of a channel in every region, (R,) each."""
    sums, squares = np.zeros(len(numbers) + 1), np.zeros(len(numbers) + 1)
    least, largest = np.full(len(sums), np.inf), np.full(len(sums), -np.inf)
    for index, order in _orders(labels, numbers):
        values = np.asarray(channel[index], dtype=float).ravel()
        sums += np.bincount(order.ravel(), weights=values, minlength=len(sums))
        np.minimum.at(least, order.ravel(), values)
        np.maximum.at(largest, order.ravel(), values)
    means = sums / [1, *pixels]
    for index, order in _orders(labels, numbers):
        away = (np.asarray(channel[index], dtype=float) - means[order]).ravel()
        squares += np.bincount(order.ravel(), weights=away**2, minlength=len(sums))
    deviations = np.sqrt(squares[1:] / pixels)
    return {"mean": means[1:], "min": least[1:], "max": largest[1:], "std": deviations}


def _orders(labels: NDArray[Any], numbers: NDArray[Any]) -> Iterator[tuple[tuple[int | slice, ...], NDArray[np.intp]]]:
    """Block by block, which of the numbers each pixel has, from 1, and 0 where it has none."""
    known = np.concatenate([np.zeros(1, dtype=np.uint64), numbers])
    table = None
    if len(numbers) and known[-1] <= 2**24:
        table = np.zeros(int(known[-1]) + 1, dtype=np.intp)
        table[known.astype(np.intp)] = np.arange(len(known))
    for index in blocks(labels.shape):
        block = labels[index]
        yield index, np.searchsorted(known, block.astype(np.uint64)) if table is None else table[block]


def write_columns(path: str | Path, columns: Mapping[str, Sequence[Any]], overwrite: bool = False) -> None:
    """Write a table as comma-separated values: a line of names, and one for each row.

    Parameters
    ----------
    path : str or Path
        The file is complete or absent.
    columns : mapping of str to sequence
        Of one length. Fractions are written with six digits; of what is not known nothing is written.
    overwrite : bool
        Replace the file if it is there.

    Raises
    ------
    FileExistsError
        The file is there, and `overwrite` is False.
    FileNotFoundError
        Its folder is missing.
    """
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(columns)
    for row in zip(*columns.values(), strict=True):
        rows.writerow([_written(value) for value in row])
    written = text.getvalue()
    write_whole(
        Path(path), lambda temporary: temporary.write_text(written, encoding="utf-8-sig", newline=""), overwrite
    )  # with the mark that tells spreadsheets that µ is written in UTF-8


def _written(value: Any) -> Any:
    if not isinstance(value, (float, np.floating)):
        return value
    return "" if math.isnan(value) else f"{value:.6g}"


def _check_numbers(dtype: np.dtype[Any]) -> None:
    if dtype.kind not in "iu":
        raise TypeError(f"labels are of type {dtype}; accepted are integers")


def _neighbors(n_axes: int, connectivity: int, separate: set[int]) -> NDArray[np.bool_]:
    """The neighbors of the middle pixel, (3, 3[, ...]), none of them along the axes that separate."""
    structure: NDArray[np.bool_] = ndimage.generate_binary_structure(n_axes, connectivity)
    for axis in separate:
        np.moveaxis(structure, axis, 0)[[0, 2]] = False
    return structure


def _holes(members: NDArray[np.bool_], separate: set[int]) -> NDArray[np.bool_]:
    """What the pieces enclose: other pixels that no way leads from to the border."""
    around, n_around = ndimage.label(~members, structure=_neighbors(members.ndim, members.ndim, separate))
    enclosed = np.ones(n_around + 1, dtype=np.bool_)
    enclosed[0] = False
    for axis in set(range(members.ndim)) - separate:
        enclosed[np.moveaxis(around, axis, 0)[[0, -1]]] = False
    return _looked_up(enclosed, around)


def _looked_up(table: NDArray[Any], indices: NDArray[Any]) -> NDArray[Any]:
    """``table[indices]``, block by block, so that it lets a window beside it go on."""
    found = np.empty(indices.shape, dtype=table.dtype)
    for index in blocks(indices.shape):
        found[index] = table[indices[index]]
    return found
