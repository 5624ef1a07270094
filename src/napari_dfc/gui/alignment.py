"""Where a plane of one layer lies in the data of another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_dfc.gui.layers import ImagePlane
from napari_dfc.gui.placement import full_resolution, level_data, level_grid

__all__ = ["GRID_TOLERANCE", "aligned_index", "pixels_in", "scribble_plane"]

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
    layer = plane.layer
    missing = other.ndim - layer.ndim
    axes = [axis + missing for axis in plane.axes]
    lengths = level_data(other, level).shape
    if min(axes) < 0:
        raise ValueError(f"“{other.name}” has too few axes to lie on the displayed plane of “{layer.name}”")
    size = (lengths[axes[0]], lengths[axes[1]])
    if size != plane.shape:
        raise ValueError(
            f"“{other.name}” has {size[1]} x {size[0]} pixels and “{layer.name}” {plane.shape[1]} x {plane.shape[0]}; "
            "they have to be the same"
        )
    origin, rows, columns = pixels_in(other, plane, point, level)
    corners = [(0, 0), (size[0] - 1, 0), (0, size[1] - 1)]
    found = np.array([origin + row * rows + column * columns for row, column in corners])  # (3, other.ndim)
    expected = np.tile(np.rint(found[0]), (3, 1))
    expected[:, axes] = corners
    inside = all(0 <= expected[0, axis] < lengths[axis] for axis in range(other.ndim))
    if not inside or not np.allclose(found[:, axes], expected[:, axes], atol=GRID_TOLERANCE):
        raise ValueError(f"“{other.name}” does not lie over the displayed plane of “{layer.name}”, pixel on pixel")
    return tuple(slice(None) if axis in axes else int(expected[0, axis]) for axis in range(other.ndim))


def scribble_plane(scribbles: Labels, plane: ImagePlane, point: Sequence[float] = ()) -> NDArray[Any]:
    """The strokes on a plane, (H, W); errors as in `aligned_index`, and where nothing is painted there."""
    painted = np.asarray(full_resolution(scribbles)[aligned_index(scribbles, plane, point)])
    if not painted.any():
        raise ValueError(f"nothing is painted in “{scribbles.name}” here; paint a stroke or choose no strokes")
    return painted
