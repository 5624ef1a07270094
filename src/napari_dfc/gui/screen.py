"""What of a plane a viewer shows on its canvas, and how it is brought to show a pixel."""

from __future__ import annotations

from dataclasses import replace
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image

from napari_dfc.gui.layers import ImagePlane, displayed_plane
from napari_dfc.gui.placement import level_grid
from napari_dfc.images import Window

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["camera_of", "chosen_plane", "displayed_level", "look_at", "part_on_screen"]

#: Share of its area below which a plane is seen from its edge.
EDGE_ON = 1e-6


def chosen_plane(
    viewer: ViewerModel,
    layer: Image,
    channel_axis: int | None = None,
    level: int | None = 0,
    *,
    on_screen: bool = False,
) -> ImagePlane:
    """The plane of an image layer that is displayed, or what of it is on screen.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
    layer : napari.layers.Image
    channel_axis : int, optional
        As in `displayed_plane`.
    level : int or None
        Of a multiscale layer; None is the one that napari displays now.
    on_screen : bool
        No more than what is on screen; see `part_on_screen`.

    Returns
    -------
    ImagePlane

    Raises
    ------
    ValueError
        As in `displayed_plane` and `part_on_screen`.
    """
    plane = displayed_plane(layer, viewer.dims, channel_axis, displayed_level(layer) if level is None else level)
    return part_on_screen(plane, viewer) if on_screen else plane


def displayed_level(layer: Image) -> int:
    """The level of a multiscale layer that napari displays; of any other layer 0."""
    return int(layer.data_level) if layer.multiscale else 0


def part_on_screen(plane: ImagePlane, viewer: ViewerModel) -> ImagePlane:
    """The part of a plane that is on screen: the pixels that a viewer's canvas shows, were it by their edge.

    Parameters
    ----------
    plane : ImagePlane
    viewer : napari.components.ViewerModel

    Returns
    -------
    ImagePlane
        Of a layer that is rotated or sheared, the rectangle of pixels around what is seen. Without a window where all
        of the plane is.

    Raises
    ------
    ValueError
        Nothing of the plane is on screen, or not in 2-D display; the message says what to do.

    Examples
    --------
    >>> from napari.components import ViewerModel
    >>> viewer = ViewerModel()
    >>> layer = viewer.add_image(np.zeros((400, 400)))
    >>> camera_of(viewer).zoom = 8  # 800 x 600 points of the canvas are 100 x 75 pixels
    >>> camera_of(viewer).center = (0, 60, 200)
    >>> part_on_screen(displayed_plane(layer, viewer.dims), viewer).window
    Window(rows=slice(10, 111, None), columns=slice(163, 238, None), shape=(400, 400))
    """
    layer, dims, doing = plane.layer, viewer.dims, "to segment what is on screen"
    if dims.ndisplay != 2:
        raise ValueError(f"“{layer.name}” is shown in 3-D; switch to 2-D display {doing}")
    if (viewer.canvas if hasattr(viewer, "scene") else viewer).grid.enabled:
        raise ValueError(f"layers are shown side by side; turn the grid off {doing}")
    offset = dims.ndim - layer.ndim
    if sorted(axis - offset for axis in dims.displayed) != list(plane.axes):
        raise ValueError(f"“{layer.name}” does not show its rows and columns; roll the axes back {doing}")
    if not layer.visible:
        raise ValueError(f"“{layer.name}” is hidden; show it {doing}")
    camera = camera_of(viewer)
    rising = np.argsort(dims.displayed)
    half = np.array(_canvas_size(viewer)) / camera.zoom / 2
    corners = (np.array(camera.center)[-2:] + half * list(product((-1, 1), repeat=2)))[:, rising]  # (4, 2), world
    # napari draws a layer by the displayed axes of its transform alone, also where that mixes them with others
    axes = list(plane.axes)
    units = np.eye(layer.ndim)[axes]
    origin = np.asarray(layer.data_to_world(np.zeros(layer.ndim)))[axes]
    steps = np.stack([np.asarray(layer.data_to_world(unit))[axes] - origin for unit in units], axis=1)  # (2, 2)
    if abs(np.linalg.det(steps)) < EDGE_ON * np.prod(np.linalg.norm(steps, axis=0)):
        raise ValueError(f"“{layer.name}” is seen from its edge; roll the axes {doing}")
    fine = np.linalg.solve(steps, (corners - origin).T).T
    factors, first = level_grid(layer, plane.level)
    found = (fine - first[axes]) / factors[axes]  # pixel i reaches from i - 0.5 to i + 0.5
    starts = np.maximum(np.floor(found.min(axis=0) - 0.5) + 1, 0).astype(int)
    stops = np.minimum(np.ceil(found.max(axis=0) + 0.5), plane.whole.shape).astype(int)
    if (stops <= starts).any():
        raise ValueError(f"nothing of “{layer.name}” is on screen; move the view there, or press Home")
    if not starts.any() and tuple(stops) == plane.whole.shape:
        return plane.whole
    rows, columns = (slice(int(start), int(stop)) for start, stop in zip(starts, stops, strict=True))
    return replace(plane, window=Window(rows, columns, plane.whole.shape))


def look_at(viewer: ViewerModel, plane: ImagePlane, pixel: tuple[int, int], extent: float) -> None:
    """Move a viewer's sliders and camera to a pixel of a plane.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
    plane : ImagePlane
    pixel : tuple of int
        Row and column.
    extent : float
        How many pixels are to be seen across; where fewer are, these stay.
    """
    camera, canvas = camera_of(viewer), _canvas_size(viewer)
    world, dims = plane.world(*pixel), viewer.dims
    offset = dims.ndim - len(world)
    for axis in plane.position:
        dims.set_point(axis + offset, world[axis])
    shown = [axis - offset for axis in dims.displayed]
    center = np.array(camera.center, dtype=float)
    center[-len(shown) :] = world[shown]
    camera.center = tuple(center)
    size = float(np.linalg.norm(plane.world(1, 1) - plane.world(0, 0))) / np.sqrt(2)  # of a pixel
    camera.zoom = max(camera.zoom, min(canvas) / (extent * size))


def camera_of(viewer: ViewerModel) -> Any:
    """The viewer's camera, wherever this version of napari keeps it."""
    return viewer.scene.camera if hasattr(viewer, "scene") else viewer.camera  # napari from 0.9 on has a scene


def _canvas_size(viewer: ViewerModel) -> tuple[int, int]:
    """Height and width, in the points that the camera's zoom counts."""
    return viewer.canvas.size if hasattr(viewer, "scene") else viewer._canvas_size
