"""Several reference images as one plane, on which a network is trained for all of them at once."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_dfc.images import Plane, prepare_alike
from napari_dfc.memory import wanted_factors
from napari_dfc.scales import FILTER_RADIUS
from napari_dfc.settings import Settings

__all__ = ["mosaic", "mosaic_places", "strokes_on"]


def mosaic(
    images: Sequence[ArrayLike | tuple[ArrayLike, ...]],
    *,
    settings: Settings,
    masks: Sequence[ArrayLike | None] | None = None,
    channel_axis: int | None = None,
) -> Plane:
    """Lay images side by side, on one scale, with masked pixels between.

    What is masked takes part in nothing, so an optimization on this plane sees all images in each of its steps, and
    none beside another.

    Parameters
    ----------
    images : sequence of images
        Each as in `napari_dfc.images.prepare`, of any size, with as many channels as the others.
    settings : Settings
        Say how the images are scaled, and how far the networks see: so far apart the images lie.
    masks : sequence of (H, W) array of bool or None, optional
        For each image, True where a pixel takes part.
    channel_axis : int, optional
        As in `napari_dfc.images.prepare`.

    Returns
    -------
    Plane
        Its `parts` say where the images lie, in the order in which they were given. A single image is as `prepare`
        gives it.

    Raises
    ------
    TypeError, ValueError
        As `napari_dfc.images.prepare`, with the number of the image; no image; other channels than the first has.

    Examples
    --------
    >>> plane = mosaic([np.ones((30, 20)), np.zeros((50, 30))], settings=Settings())
    >>> [(rows.stop - rows.start, columns.stop - columns.start) for rows, columns in plane.parts]
    [(30, 20), (50, 30)]
    """
    planes = prepare_alike(images, masks=masks, channel_axis=channel_axis, scaling=settings.input_scaling)
    if len(planes) == 1:
        return planes[0]
    shape, parts = mosaic_places([plane.shape for plane in planes], settings)
    first = planes[0]
    values = np.zeros((len(first.values), *shape), dtype=first.values.dtype)
    mask = np.zeros(shape, dtype=bool)
    digest = hashlib.sha256()
    for plane, (rows, columns) in zip(planes, parts, strict=True):
        values[:, rows, columns] = plane.values
        mask[rows, columns] = True if plane.mask is None else plane.mask
        digest.update(plane.sha256.encode())
    return replace(
        first,
        values=values,
        mask=mask,
        sha256=digest.hexdigest(),
        is_rgb=all(plane.is_rgb for plane in planes),
        parts=tuple(parts),
        part_sha256=tuple(plane.sha256 for plane in planes),
    )


def mosaic_places(
    shapes: Sequence[tuple[int, int]], settings: Settings
) -> tuple[tuple[int, int], list[tuple[slice, slice]]]:
    """How large the mosaic of images of these shapes is, and where they lie in it.

    Parameters
    ----------
    shapes : sequence of (int, int)
        Rows and columns of each image.
    settings : Settings
        As in `mosaic`.

    Returns
    -------
    shape : (int, int)
    parts : list of (slice, slice)
        Rows and columns of each image, in the order in which they were given.

    Examples
    --------
    >>> mosaic_places([(30, 20)], Settings())
    ((30, 20), [(slice(0, 30, None), slice(0, 20, None))])
    """
    if len(shapes) == 1:
        (shape,) = shapes
        return shape, [(slice(0, shape[0]), slice(0, shape[1]))]
    return _places(shapes, *_reach(max(shapes, key=math.prod), settings))


def strokes_on(plane: Plane, scribbles: Sequence[ArrayLike | None]) -> NDArray[np.integer[Any]] | None:
    """Strokes on the references, laid out as these are.

    Parameters
    ----------
    plane : Plane
        Of as many references.
    scribbles : sequence of (H, W) array of integers or None
        For each; None where nothing is painted.

    Returns
    -------
    (H, W) ndarray of integers, or None
        None where nothing is painted on any.

    Raises
    ------
    TypeError, ValueError
        Values that are no integers, another number of strokes than of references, or another shape.
    """
    parts = plane.places
    if len(scribbles) != len(parts):
        raise ValueError(f"there are {len(scribbles)} scribbles for {len(parts)} images; give one for each, or None")
    arrays = [None if each is None else np.asarray(each) for each in scribbles]
    there = [array for array in arrays if array is not None]
    if not there:
        return None
    for number, array in enumerate(arrays, 1):
        if array is None:
            continue
        if array.dtype.kind not in "bui":
            raise TypeError(f"scribbles {number} have values of type {array.dtype}; accepted are integers")
        if array.dtype.kind == "i" and (array < 0).any():
            raise ValueError(f"scribbles {number} hold the value {array.min()}; accepted are 0 and positive integers")
        rows, columns = parts[number - 1]
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        if array.shape != shape:
            raise ValueError(f"scribbles {number} have shape {array.shape}; accepted is that of the image, {shape}")
    most = max(int(array.max(initial=0)) for array in there)
    painted = np.zeros(plane.shape, dtype=np.min_scalar_type(most))
    for array, (rows, columns) in zip(arrays, parts, strict=True):
        if array is not None:
            painted[rows, columns] = array
    return painted


def _reach(shape: tuple[int, int], settings: Settings) -> tuple[int, int]:
    """How far any network sees at its resolution, and the largest square of pixels that becomes one, in pixels."""
    factors = wanted_factors(shape, settings)
    depths = [settings.n_conv] * len(factors)
    if settings.extractor != "convolutions":
        depths[-1] = FILTER_RADIUS
    return max(depth * factor for depth, factor in zip(depths, factors, strict=True)), max(factors)


def _places(
    shapes: Sequence[tuple[int, int]], gap: int, grid: int
) -> tuple[tuple[int, int], list[tuple[slice, slice]]]:
    """The size of a mosaic, about a square, and where its parts lie: in rows, the highest parts first.

    Parts begin at multiples of the grid, so that no square of pixels that become one holds two of them.
    """
    cells = [tuple(math.ceil((length + gap) / grid) * grid for length in shape) for shape in shapes]
    width = max(max(cell[1] for cell in cells), math.isqrt(sum(cell[0] * cell[1] for cell in cells)))
    places: dict[int, tuple[int, int]] = {}
    top = left = height = 0
    for index in sorted(range(len(cells)), key=lambda index: -cells[index][0]):
        if left and left + cells[index][1] > width:
            top, left, height = top + height, 0, 0
        places[index] = (top, left)
        left, height = left + cells[index][1], max(height, cells[index][0])
    parts = [
        (slice(places[index][0], places[index][0] + rows), slice(places[index][1], places[index][1] + columns))
        for index, (rows, columns) in enumerate(shapes)
    ]
    return (max(rows.stop for rows, _ in parts), max(columns.stop for _, columns in parts)), parts
