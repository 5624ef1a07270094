"""Where a plane of one layer lies in the data of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_dfc.gui.layers import ImagePlane
from napari_dfc.gui.placement import full_resolution, level_data, level_grid

__all__ = ["GRID_TOLERANCE", "aligned_index", "pixels_in", "scribble_plane", "strokes_over"]

#: How far, in pixels, strokes may lie off the image's pixel grid.
GRID_TOLERANCE = 0.01


def pixels_in(
    other: Image | Labels, plane: ImagePlane, point: Sequence[float] = (), level: int = 0
) -> NDArray[np.float64]:
    """Where in another layer's data the plane's pixels lie.

    Parameters
    ----------
    other, plane, point, level
        As in `aligned_index`.

    Returns
    -------
    (3, N) ndarray of float
        Of the plane's first pixel, and how far it is from there to the next row and to the next column.
    """
    missing = other.ndim - plane.layer.ndim
    # the last axes are the same in all layers, and there may be layers of more or of fewer than this one
    leading = [*[0.0] * other.ndim, *point][-other.ndim :][: max(missing, 0)]
    steps, first = level_grid(other, level)
    found = []
    for place in ((0, 0), (1, 0), (0, 1)):
        world = [*leading, *plane.world(*place)][max(-missing, 0) :]
        found.append((np.asarray(other.world_to_data(world)) - first) / steps)
    return np.array([found[0], found[1] - found[0], found[2] - found[0]])


def aligned_index(
    other: Image | Labels, plane: ImagePlane, point: Sequence[float] = (), level: int = 0
) -> tuple[int | slice, ...]:
    """Where in another layer's data the plane lies, if the other layer has the same pixels there.

    It has to have no others, but where the plane has a window.

    Parameters
    ----------
    other : napari.layers.Image or Labels
    plane : ImagePlane
    point : sequence of float
        World coordinates of the viewer's sliders, for axes that only the other layer has.
    level : int
        Of the other layer.

    Returns
    -------
    tuple
        What to index the other layer's data with.

    Raises
    ------
    ValueError
        The other layer's pixels lie elsewhere, or it has another number of them.
    """
    first, axes = _first_pixel(other, plane, point, level)
    index: list[int | slice] = [int(place) for place in first]
    for axis, length, there in zip(axes, plane.shape, _size(other, axes, level), strict=True):
        place = int(first[axis])
        if plane.window is not None and not 0 <= place <= there - length:
            raise ValueError(f"“{other.name}” does not cover the part of “{plane.layer.name}” that is segmented")
        index[axis] = slice(None) if plane.window is None else slice(place, place + length)
    return tuple(index)


def _first_pixel(
    other: Image | Labels, plane: ImagePlane, point: Sequence[float], level: int = 0
) -> tuple[NDArray[np.intp], list[int]]:
    """Where the plane's first pixel lies in the other layer's pixels, and its axes there; errors as in `aligned_index`.

    Of a plane with a window the pixel may lie beyond the other layer's border.
    """
    layer = plane.layer
    missing = other.ndim - layer.ndim
    axes = [axis + missing for axis in plane.axes]
    if min(axes) < 0:
        raise ValueError(f"“{other.name}” has too few axes to lie on the displayed plane of “{layer.name}”")
    size, lengths = _size(other, axes, level), level_data(other, level).shape
    if plane.window is None and size != plane.shape:
        raise ValueError(
            f"“{other.name}” has {size[1]} x {size[0]} pixels and “{layer.name}” {plane.shape[1]} x {plane.shape[0]}; "
            f"they have to be the same{_advice(other, plane, size)}"
        )
    origin, rows, columns = pixels_in(other, plane, point, level)
    corners = [(0, 0), (plane.shape[0] - 1, 0), (0, plane.shape[1] - 1)]
    found = np.array([origin + row * rows + column * columns for row, column in corners])  # (3, other.ndim)
    first = np.rint(found[0]).astype(np.intp)
    if plane.window is None:
        first[axes] = 0
    inside = all(0 <= first[axis] < lengths[axis] for axis in range(other.ndim) if axis not in axes)
    fits = np.allclose(found[:, axes], first[axes] + corners, atol=GRID_TOLERANCE)
    if fits and not inside and isinstance(other, Labels):
        where = f"“{other.name}” lies over another plane of “{layer.name}”"
        raise ValueError(f"{where}; move the slider there, or add a new strokes layer")
    if not (fits and inside):
        raise ValueError(
            f"“{other.name}” does not lie over the displayed plane of “{layer.name}”, pixel on pixel"
            f"{_advice(other, plane)}"
        )
    return first, axes


def _size(other: Image | Labels, axes: Sequence[int], level: int) -> tuple[int, int]:
    lengths = level_data(other, level).shape
    return lengths[axes[0]], lengths[axes[1]]


def _advice(other: Image | Labels, plane: ImagePlane, size: tuple[int, int] | None = None) -> str:
    """What to do about strokes that lie otherwise: they may be those of another level."""
    if not isinstance(other, Labels):
        return ""
    rows, columns = plane.axes
    shapes = [level.shape for level in plane.layer.data] if plane.layer.multiscale else []
    if size in [(shape[rows], shape[columns]) for shape in shapes]:
        return f"; choose the resolution of {size[1]} x {size[0]} pixels, or add a new strokes layer"
    return "; add a new strokes layer"


def strokes_over(scribbles: Labels, plane: ImagePlane, point: Sequence[float] = ()) -> NDArray[Any]:
    """A copy of what is painted over a plane, (H, W); errors as in `aligned_index`.

    Over a plane with a window the strokes need not reach everywhere, but somewhere.
    """
    if plane.window is None:
        return np.array(full_resolution(scribbles)[aligned_index(scribbles, plane, point)])
    first, axes = _first_pixel(scribbles, plane, point)
    index: list[int | slice] = [int(place) for place in first]
    parts = []
    for axis, length, there in zip(axes, plane.shape, _size(scribbles, axes, 0), strict=True):
        place = int(first[axis])
        start, stop = max(place, 0), min(place + length, there)
        if stop <= start:
            raise ValueError(
                f"“{scribbles.name}” lies nowhere on the part of “{plane.layer.name}” that is segmented; move the view "
                "to your strokes, or add a new strokes layer"
            )
        index[axis] = slice(start, stop)
        parts.append(slice(start - place, stop - place))
    data = full_resolution(scribbles)
    painted = np.zeros(plane.shape, data.dtype)
    painted[tuple(parts)] = data[tuple(index)]
    return painted


def scribble_plane(scribbles: Labels, plane: ImagePlane, point: Sequence[float] = ()) -> NDArray[Any]:
    """As `strokes_over`; an error also where nothing is painted there."""
    painted = strokes_over(scribbles, plane, point)
    if not painted.any():
        raise ValueError(f"nothing is painted in “{scribbles.name}” here; paint a stroke or choose no strokes")
    return painted
