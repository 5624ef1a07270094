"""Between napari's layers and arrays: the displayed plane of an image, and layers that lie exactly over it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_dfc.gui.colors import colormap_of
from napari_dfc.gui.notes import forget_measures, forget_names, kept_labels
from napari_dfc.gui.placement import axis_name, expand, full_resolution, level_data, level_grid, placement
from napari_dfc.images import Window
from napari_dfc.records import has_painted_classes

if TYPE_CHECKING:
    from napari.components import Dims, ViewerModel

    from napari_dfc.files import ImageFile

__all__ = [
    "METADATA_KEY",
    "ImagePlane",
    "add_image_file",
    "add_over",
    "begin_painting",
    "channel_axes",
    "color_labels",
    "displayed_plane",
    "image_plane",
    "levels",
    "new_image_layer",
    "new_labels_layer",
    "new_scribbles_layer",
    "new_stack_labels_layer",
    "show_labels",
    "show_plane",
]

#: Where a result layer keeps what it takes to run it again.
METADATA_KEY = "napari_dfc"


@dataclass(frozen=True)
class ImagePlane:
    """A plane of an image layer, in terms of the layer's data at one level: of most layers, which have one.

    Parameters
    ----------
    layer : napari.layers.Image
    axes : tuple of int
        The two data axes of rows and columns, rising.
    position : dict of int
        Index on every other axis but the channels'.
    channel_axis : int or None
        Axis of the channels of a layer that is not RGB.
    level : int
        Of a multiscale layer; 0 is the finest.
    lengths : tuple of int
        Of the data's axes when the plane was made: the layer may be given other data at any time.
    window : Window, optional
        Where no more than a part of the plane is meant: rows, columns and shape are those of the part.
    """

    layer: Image
    axes: tuple[int, int]
    position: Mapping[int, int]
    channel_axis: int | None = None
    level: int = 0
    lengths: tuple[int, ...] = ()
    window: Window | None = None

    def __post_init__(self) -> None:
        if not self.lengths:
            object.__setattr__(self, "lengths", tuple(self.data.shape[: self.layer.ndim]))

    @property
    def data(self) -> Any:
        """The layer's, at the level."""
        return level_data(self.layer, self.level)

    @property
    def indices(self) -> tuple[tuple[int | slice, ...], ...]:
        """What to index the layer's data with: once for each channel where it has a channel axis, else once."""
        if self.channel_axis is None:
            return (self._index(self.position),)
        length = self.lengths[self.channel_axis]
        return tuple(self._index({**self.position, self.channel_axis: channel}) for channel in range(length))

    def _index(self, position: Mapping[int, int]) -> tuple[int | slice, ...]:
        places: dict[int, int | slice] = dict(position)
        if self.window is not None:
            places |= zip(self.axes, (self.window.rows, self.window.columns), strict=True)
        return tuple(places.get(axis, slice(None)) for axis in range(len(self.lengths)))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        if self.window is not None:
            rows, columns = self.window.rows, self.window.columns
            return rows.stop - rows.start, columns.stop - columns.start
        return self.lengths[self.axes[0]], self.lengths[self.axes[1]]

    @property
    def corner(self) -> tuple[int, int]:
        """Row and column of the first pixel in the whole plane."""
        return (0, 0) if self.window is None else (self.window.rows.start, self.window.columns.start)

    @property
    def whole(self) -> ImagePlane:
        """The plane without a window."""
        return replace(self, window=None)

    def point(self, row: float, column: float) -> NDArray[np.float64]:
        """Where a pixel's center lies in the layer's data at full resolution, (N,)."""
        steps, first = level_grid(self.layer, self.level)
        place = np.array([self.position.get(axis, 0) for axis in range(self.layer.ndim)], dtype=float)
        place[list(self.axes)] = row + self.corner[0], column + self.corner[1]
        return first + steps * place

    def world(self, row: float, column: float) -> NDArray[np.float64]:
        """Where a pixel's center lies in the world, (N,)."""
        return np.asarray(self.layer.data_to_world(self.point(row, column)), dtype=float)


def displayed_plane(layer: Image, dims: Dims, channel_axis: int | None = None, level: int = 0) -> ImagePlane:
    """The plane of an image layer that a viewer displays.

    Parameters
    ----------
    layer : napari.layers.Image
    dims : napari.components.Dims
        The viewer's.
    channel_axis : int, optional
        Axis of the layer's data that holds channels; it is no plane to choose from.
    level : int
        Of a multiscale layer; 0 is the finest.

    Returns
    -------
    ImagePlane

    Raises
    ------
    ValueError
        No single plane of the layer is displayed; the message says what to do.
    """
    others = [axis for axis in range(layer.ndim) if axis != channel_axis]
    if len(others) == 2:
        return ImagePlane(layer, (others[0], others[1]), {}, channel_axis, level)
    offset = dims.ndim - layer.ndim
    shown = sorted(axis - offset for axis in dims.displayed)
    if len(shown) != 2:
        raise ValueError(f"“{layer.name}” is shown in 3-D; switch to 2-D display to choose the plane to segment")
    if channel_axis in shown or shown[0] < 0:
        raise ValueError(f"“{layer.name}” does not show its rows and columns; roll the axes back")
    # where a rotation mixes displayed and other axes, napari leaves the displayed ones out of account
    point = np.array(dims.point[offset:], dtype=float)
    point[shown] = 0
    found = np.asarray(layer.world_to_data(point))
    (steps, first), lengths, position = level_grid(layer, level), full_resolution(layer).shape, {}
    for axis in (axis for axis in others if axis not in shown):
        if not 0 <= np.rint(found[axis]) < lengths[axis]:
            raise ValueError(f"“{layer.name}” has no plane here; move the slider of {axis_name(layer, axis)}")
        last = level_data(layer, level).shape[axis] - 1
        position[axis] = int(np.clip(np.rint((found[axis] - first[axis]) / steps[axis]), 0, last))
    return ImagePlane(layer, (shown[0], shown[1]), position, channel_axis, level)


def image_plane(
    layer: Image, position: Sequence[int] = (), channel_axis: int | None = None, level: int = 0
) -> ImagePlane:
    """The plane of an image layer given by numbers, without a viewer.

    Parameters
    ----------
    layer : napari.layers.Image
    position : sequence of int
        Index on each axis before rows and columns, which are the last two; the channels' axis is left out.
    channel_axis : int, optional
        Axis of the layer's data that holds channels.
    level : int
        Of a multiscale layer; 0 is the finest. The position is one at this level.

    Returns
    -------
    ImagePlane

    Raises
    ------
    ValueError
        Too few or too many numbers, or one out of range.
    """
    others = [axis for axis in range(layer.ndim) if axis != channel_axis]
    if len(position) != len(others) - 2:
        raise ValueError(
            f"plane is {tuple(position)}; “{layer.name}” has {len(others) - 2} axes beside rows, columns and channels: "
            "accepted is one index for each"
        )
    lengths = level_data(layer, level).shape
    for axis, index in zip(others, position, strict=False):
        if not 0 <= index < lengths[axis]:
            known = f"{axis_name(layer, axis)} has indices 0 to {lengths[axis] - 1}"
            raise ValueError(f"plane is {tuple(position)}; {known}")
    return ImagePlane(layer, (others[-2], others[-1]), dict(zip(others, position, strict=False)), channel_axis, level)


def new_labels_layer(
    plane: ImagePlane, labels: NDArray[Any], name: str, *, colors: Mapping[int, Any], metadata: Mapping[str, Any]
) -> Labels:
    """A Labels layer that lies exactly over a plane, with the image layer's units and axis labels.

    Parameters
    ----------
    plane : ImagePlane
    labels : (H, W) ndarray of unsigned integers
    name : str
    colors : dict
        Color of each number.
    metadata : dict
        Kept under `METADATA_KEY`.

    Returns
    -------
    napari.layers.Labels
        Of length 1 on the axes where the image has a position, without the channels' axis where that is the first.
    """
    return Labels(
        expand(plane, labels),
        name=name,
        colormap=colormap_of(colors),
        metadata={METADATA_KEY: dict(metadata)},
        **placement(plane),
    )


def new_stack_labels_layer(plane: ImagePlane, dtype: Any, name: str, *, metadata: Mapping[str, Any]) -> Labels:
    """An empty Labels layer over all planes of an image layer that lie as this one does; `show_plane` fills it."""
    first = replace(plane, position=dict.fromkeys(plane.position, 0))
    shape = list(plane.lengths)
    shape[plane.axes[0]], shape[plane.axes[1]] = plane.shape
    if plane.channel_axis is not None and plane.channel_axis > plane.axes[1]:
        shape[plane.channel_axis] = 1
    shape = shape[plane.channel_axis == 0 :]
    kept = {METADATA_KEY: dict(metadata)}
    return Labels(np.zeros(shape, dtype=dtype), name=name, metadata=kept, **placement(first))


def show_plane(layer: Labels, plane: ImagePlane, labels: NDArray[Any]) -> None:
    """Write the label map of a plane into the data of a layer over this plane, or over all that lie as it does."""
    fresh = expand(plane, labels)
    axes = range(plane.channel_axis == 0, len(plane.lengths))
    over_all = layer.data.shape != fresh.shape
    places = [plane.position[axis] if over_all and axis in plane.position else None for axis in axes]
    layer.data[tuple(slice(None) if place is None else slice(place, place + 1) for place in places)] = fresh


def new_scribbles_layer(plane: ImagePlane, name: str) -> Labels:
    """An empty Labels layer to paint strokes in, over a plane."""
    return Labels(expand(plane, np.zeros(plane.shape, dtype=np.uint8)), name=name, **placement(plane))


def begin_painting(viewer: ViewerModel, layer: Labels) -> None:
    """Select a strokes layer of a viewer, with the brush in hand."""
    viewer.layers.selection.active = layer
    layer.brush_size = 4
    layer.mode = "paint"


def new_image_layer(plane: ImagePlane, values: NDArray[Any], name: str) -> Image:
    """An Image layer of values from 0 to 1, (H, W), over a plane."""
    kind = {"contrast_limits": (0, 1), "colormap": "gray", **placement(plane)}
    return Image(expand(plane, values), name=name, **kind)


def show_labels(layer: Labels, plane: ImagePlane, labels: NDArray[Any]) -> bool:
    """Write a label map into a layer made by `new_labels_layer`, as cheaply as napari allows.

    Returns
    -------
    bool
        False, with nothing done, where the layer's data are no longer the ones that were made.
    """
    fresh = expand(plane, labels)
    if layer.data.shape != fresh.shape or not isinstance(layer.data, np.ndarray):
        return False
    fresh = kept_labels(layer, fresh)
    if fresh.dtype.itemsize > layer.data.dtype.itemsize:  # a class with a larger number has come
        layer.data = fresh
        return True
    layer.data[...] = fresh
    layer.refresh(thumbnail=False, highlight=False, extent=False)
    return True


def color_labels(layer: Labels, colors: Mapping[int, Any]) -> None:
    """Give the numbers of a layer their colors."""
    layer.colormap = colormap_of(colors)


def finish_labels(
    layer: Labels,
    plane: ImagePlane,
    labels: NDArray[Any],
    *,
    colors: Mapping[int, Any] | None,
    metadata: Mapping[str, Any],
) -> None:
    """Turn a preview into the result; without colors, it keeps those it has.

    Where the layer showed another result, what was measured of it is forgotten, and unless both have the same painted
    classes the names as well.
    """
    before = layer.metadata.get(METADATA_KEY)
    if before:
        forget_measures(layer)
        if not (has_painted_classes(before) and has_painted_classes(metadata)):
            forget_names(layer)
    layer.metadata = {**layer.metadata, METADATA_KEY: dict(metadata)}  # first: who follows the labels looks there
    fresh = kept_labels(layer, expand(plane, labels))
    if layer.data.dtype == fresh.dtype and layer.data.shape == fresh.shape:
        layer.data[...] = fresh  # setting the colormap shows it: once is enough
    else:
        layer.data = fresh
    if colors is None:
        layer.refresh(extent=False)
    else:
        layer.colormap = colormap_of(colors)


def add_over(viewer: ViewerModel, layer: Image | Labels, image: Image | Labels | None) -> None:
    """Add a result right above its image, so that of images in one place each hides what lies below; or on top."""
    if image is None or image not in viewer.layers:
        viewer.add_layer(layer)
    else:
        viewer.layers.insert(viewer.layers.index(image) + 1, layer)


def levels(layer: Image | None) -> list[tuple[str, int]]:
    """The levels of a multiscale layer, each with words; of any other layer none."""
    if layer is None or not layer.multiscale:
        return []
    shapes = [level.shape[: layer.ndim][-2:] for level in layer.data]
    return [(f"{columns} x {rows} pixels", number) for number, (rows, columns) in enumerate(shapes)]


def channel_axes(layers: Sequence[Image]) -> list[tuple[str, int]]:
    """The axes that may hold channels in all of these layers, each with words; a color image has none."""
    found = []
    deep = [layer for layer in layers if layer.ndim > 2]
    for axis in range(min((layer.ndim - 2 for layer in deep), default=0)):
        lengths = sorted({full_resolution(layer).shape[axis] for layer in deep})
        if len(lengths) == 1:
            found.append((f"axis {axis}, {lengths[0]} channels", axis))
    return found


def add_image_file(viewer: ViewerModel, name: str, file: ImageFile) -> tuple[Image, int | None]:
    """Add what was read from a file as a layer, and say which of its axes holds channels where one does."""
    is_rgb = file.channel_axis is None and file.data.ndim > 2 and file.data.shape[-1] in (3, 4)
    layer = Image(file.data, name=name, rgb=is_rgb)  # by itself napari takes a small color image for a stack
    if file.pixel_size is not None:
        layer.scale = (*layer.scale[:-2], *file.pixel_size)
        layer.units = (*layer.units[:-2], "um", "um")
    viewer.add_layer(layer)
    return layer, file.channel_axis
