"""Which pixels of a plane lie within what is drawn in a Shapes layer or painted in a Labels layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from napari.layers import Labels, Shapes
from numpy.typing import NDArray

from napari_dfc.gui.alignment import pixels_in
from napari_dfc.gui.layers import ImagePlane
from napari_dfc.gui.placement import full_resolution, level_grid
from napari_dfc.images import Window
from napari_dfc.outlines import fill_ellipse, fill_polygon

__all__ = ["FollowedRegion", "region_mask"]

#: Rows that are looked up at a time in a layer that lies askew.
ROWS_AT_ONCE = 256

#: Pixels by which a step along a row or column may miss an axis.
ASKEW = 1e-9


def region_mask(within: Labels | Shapes, plane: ImagePlane, point: Sequence[float] = ()) -> NDArray[np.bool_]:
    """The pixels of a plane whose centers lie in a region.

    Parameters
    ----------
    within : napari.layers.Labels or Shapes
        Everything painted, in whatever number; or rectangles, ellipses and polygons together. The layer may lie in the
        world as it likes. With fewer axes than the image it is meant for every plane.
    plane : ImagePlane
    point : sequence of float
        World coordinates of the viewer's sliders, for axes that only `within` has.

    Returns
    -------
    (H, W) ndarray of bool

    Raises
    ------
    ValueError
        No pixel of the plane lies in it.

    Examples
    --------
    >>> from napari.layers import Image
    >>> from napari_dfc.gui.layers import image_plane
    >>> shapes = Shapes([[2, 2], [2, 6], [8, 6], [8, 2]], shape_type="rectangle")
    >>> region_mask(shapes, image_plane(Image(np.zeros((5, 4)), scale=(2, 2)))).astype(int).tolist()
    [[0, 0, 0, 0], [0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1], [0, 1, 1, 1]]
    """
    if isinstance(within, Labels):
        inside, how = _painted(within, plane, point), "paint what is to be segmented"
    else:
        inside, how = _drawn(within, plane, point), "draw a rectangle, an ellipse or a polygon around it"
    if not inside.any():
        raise ValueError(f"“{within.name}” holds nothing of the displayed plane of “{plane.layer.name}”; {how}")
    return inside


class FollowedRegion:
    """The rectangle around a region, which is looked for again only where something has changed.

    Of a large image that takes a while, and a dock asks after each setting that is changed.
    """

    def __init__(self) -> None:
        self._layer: Labels | Shapes | None = None
        self._place: Any = None  # what was looked for
        self._found: Window | None = None
        self._refusal = ""

    def window(self, within: Labels | Shapes, plane: ImagePlane, point: Sequence[float] = ()) -> Window | None:
        """The rectangle around the pixels of `region_mask`; None where that is the whole plane. Errors as there."""
        if within is not self._layer:
            self.let_go()
            self._layer = within
            for event in self._events(within):
                event.connect(self._forget, position="first")  # before a dock asks again for the same event
        corners = [plane.world(*corner).tolist() for corner in ((0, 0), (1, 0), (0, 1))]  # where the image lies
        place = (plane, plane.layer.name, corners, [*point])
        if self._place != place:
            self._found, self._refusal = None, ""
            try:
                self._found = Window.around(region_mask(within, plane, point))
            except ValueError as error:
                self._refusal = str(error)
            self._place = place
        if self._refusal:
            raise ValueError(self._refusal)
        return self._found

    def let_go(self) -> None:
        """Follow the layer no longer."""
        if self._layer is not None:
            for event in self._events(self._layer):
                event.disconnect(self._forget)
        self._layer = self._place = None

    @staticmethod
    def _events(layer: Labels | Shapes) -> list[Any]:
        events = layer.events
        names = ["data", "set_data", "name", "scale", "translate", "rotate", "shear", "affine"]
        names += ["paint", "labels_update"] if isinstance(layer, Labels) else []
        return [getattr(events, name) for name in names]

    def _forget(self) -> None:
        self._place = None


def _painted(within: Labels, plane: ImagePlane, point: Sequence[float]) -> NDArray[np.bool_]:
    """Each pixel looked up where its center lies in the painted layer."""
    data = full_resolution(within)
    steps = np.where(np.abs(found := pixels_in(within, plane, point)) < ASKEW, 0, found)
    inside = np.zeros(plane.shape, dtype=bool)
    columns = np.arange(plane.shape[1])[None]
    for top in range(0, plane.shape[0], ROWS_AT_ONCE):
        part = inside[top : top + ROWS_AT_ONCE]
        rows = np.arange(top, top + len(part))[:, None]
        there: list[NDArray[np.bool_]] = []
        index: list[NDArray[np.intp]] = []
        for first, row, column, length in zip(*steps, data.shape, strict=True):
            # of a layer that lies straight an axis is one of rows or of columns alone, and the look-up cheap
            place = np.full((1, 1), first) + (row * rows if row else 0) + (column * columns if column else 0)
            place = np.rint(place).astype(np.intp)
            there.append((place >= 0) & (place < length))
            index.append(place.clip(0, length - 1))
        fixed = tuple(int(place[0, 0]) if place.size == 1 else slice(None) for place in index)
        places = [place for place in index if place.size > 1]
        part[:] = _picked(np.asarray(data[fixed]), places) != 0
        for each in there:
            if not each.all():
                part &= each
    return inside


def _picked(values: NDArray[Any], places: list[NDArray[np.intp]]) -> NDArray[Any]:
    """Values at places that are broadcast to (rows, columns); as a view where they are pixel on pixel."""
    if [place.shape[0] == 1 for place in places] == [False, True]:
        rows, columns = (place.ravel() for place in places)
        if (np.diff(rows) == 1).all() and (np.diff(columns) == 1).all():
            return values[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    return values[tuple(places)]


def _drawn(within: Shapes, plane: ImagePlane, point: Sequence[float]) -> NDArray[np.bool_]:
    inside = np.zeros(plane.shape, dtype=bool)
    for corners, kind in _outlines(within, plane, point):
        if kind == "ellipse":
            fill_ellipse(inside, corners)
        else:
            fill_polygon(inside, corners)
    return inside


def _outlines(within: Shapes, plane: ImagePlane, point: Sequence[float]) -> Iterator[tuple[NDArray[np.float64], str]]:
    """Corners (K, 2), in rows and columns, and the kind of every shape that lies on the plane and has an inside."""
    layer = plane.layer
    steps, first = level_grid(layer, plane.level)
    missing = within.ndim - layer.ndim
    lead = plane.world(0, 0)[: max(-missing, 0)]  # of axes that the shapes do not have
    shown = np.rint(within.world_to_data([*[0.0] * within.ndim, *point][-within.ndim :]))
    for corners, kind in zip(within.data, within.shape_type, strict=True):
        if kind in ("line", "path"):
            continue
        if missing > 0 and point and (np.rint(corners[:, :missing]) != shown[:missing]).any():
            continue
        world = [[*lead, *within.data_to_world(corner)][max(missing, 0) :] for corner in corners]
        places = np.array([layer.world_to_data(each) for each in world])
        places = (places - first) / steps  # (K, N)
        if all((np.rint(places[:, axis]) == index).all() for axis, index in plane.position.items()):
            yield places[:, list(plane.axes)] - plane.corner, kind
