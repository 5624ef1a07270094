"""What a layer's pixels are in the world: how large, in which unit, where, and what of an image lies under them."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_dfc.gui.alignment import GRID_TOLERANCE
from napari_dfc.gui.placement import full_resolution

__all__ = ["PixelGrid", "channels_under", "image_under"]

COLORS = ("red", "green", "blue")

POWERS = {1: "", 2: "²", 3: "³"}


@dataclass(frozen=True)
class PixelGrid:
    """The pixels of a layer in the world; to be made with `of`.

    Parameters
    ----------
    area : float
        Area of a pixel or volume of a voxel: along the axes whose unit is a length, where there are any, else along all
        but time.
    unit : str
        Of the area, such as µm²; empty where the layer's axes have no length.
    axes : tuple of str
        The axes with their units, such as "y (µm)".
    to_world : (N + 1, N + 1) ndarray of float
        From indices to world coordinates.
    """

    area: float
    unit: str
    axes: tuple[str, ...]
    to_world: NDArray[np.float64]

    @classmethod
    def of(cls, layer: Labels) -> PixelGrid:
        """Of a layer as it lies now."""
        origin = np.asarray(layer.data_to_world(np.zeros(layer.ndim)))
        steps = [np.asarray(layer.data_to_world(step)) - origin for step in np.eye(layer.ndim)]
        matrix = np.eye(layer.ndim + 1)
        matrix[:-1, :-1], matrix[:-1, -1] = np.stack(steps, axis=-1), origin
        units = [f"{unit:~}" for unit in layer.units]
        kinds = [dict(unit.dimensionality) for unit in layer.units]
        lengths = [axis for axis, kind in enumerate(kinds) if kind == {"[length]": 1}]
        spatial = lengths or [axis for axis, kind in enumerate(kinds) if kind != {"[time]": 1}]
        area = abs(float(np.linalg.det(matrix[np.ix_(spatial, spatial)])))
        for axis in lengths:  # in the unit of the last one
            area *= (1 * layer.units[axis]).to(layer.units[lengths[-1]]).magnitude
        unit = units[lengths[-1]] + POWERS.get(len(lengths), f"^{len(lengths)}") if lengths else ""
        names = [_axis_name(layer, axis) for axis in range(layer.ndim)]
        measured = [kind in ({"[length]": 1}, {"[time]": 1}) for kind in kinds]
        axes = tuple(
            f"{name} ({unit})" if has_unit else name
            for name, unit, has_unit in zip(names, units, measured, strict=True)
        )
        return cls(area, unit, axes, matrix)

    @property
    def is_plain(self) -> bool:
        """Whether areas say no more than counts of pixels."""
        return not self.unit and bool(np.isclose(self.area, 1))

    @property
    def area_title(self) -> str:
        """What to call a column of areas."""
        kind = "volume" if self.unit.endswith("³") else "area"
        return f"{kind} ({self.unit})" if self.unit else kind


def channels_under(layer: Labels, image: Image) -> dict[str, tuple[Any, tuple[int | slice, ...]]]:
    """Where the image's channels lie under a Labels layer.

    Parameters
    ----------
    layer : napari.layers.Labels
    image : napari.layers.Image
        With the same axes, or one more before them, which is taken to hold channels.

    Returns
    -------
    dict
        By a name for each channel an array, and what to index it with to get an array of the shape of the labels.

    Raises
    ------
    ValueError
        The image's pixels lie elsewhere.
    """
    missing = image.ndim - layer.ndim
    data = full_resolution(image)
    if missing not in (0, 1):
        raise ValueError(
            f"“{image.name}” has {image.ndim} axes and “{layer.name}” {layer.ndim}; choose an image with the same axes"
        )
    shape = np.array(layer.data.shape)
    corners = np.concatenate([np.zeros((1, layer.ndim)), np.diag(shape - 1)])
    world = [np.asarray(layer.data_to_world(corner)) for corner in corners]
    lead = np.asarray(image.data_to_world(np.zeros(image.ndim)))[:missing]
    found = np.array([image.world_to_data([*lead, *point])[missing:] for point in world])  # (1 + N, N)
    start = np.rint(found[0])
    inside = (start >= 0).all() and (start + shape <= np.array(data.shape[missing : missing + layer.ndim])).all()
    if not inside or not np.allclose(found, start + corners, atol=GRID_TOLERANCE):
        raise ValueError(
            f"“{layer.name}” does not lie over “{image.name}”, pixel on pixel; choose the image that it was made from"
        )
    index = tuple(slice(int(first), int(first) + int(length)) for first, length in zip(start, shape, strict=True))
    if image.rgb and not missing:
        return {f"{image.name} {color}": (data, (*index, channel)) for channel, color in enumerate(COLORS)}
    if missing and not image.rgb:
        return {f"{image.name} {channel}": (data, (channel, *index)) for channel in range(data.shape[0])}
    if missing:
        raise ValueError(f"“{image.name}” is a color image with more axes than “{layer.name}”; choose another one")
    return {image.name: (data, index)}


def image_under(layer: Labels, images: Iterable[Image | None]) -> Image | None:
    """Of these images the first that lies under all of the layer, rather one of its size; None where none does."""
    known = [image for image in images if image is not None]
    size = tuple(layer.data.shape[-2:])
    for image in sorted(known, key=lambda image: tuple(full_resolution(image).shape[: image.ndim][-2:]) != size):
        with suppress(ValueError):
            if channels_under(layer, image):
                return image
    return None


def _axis_name(layer: Labels, axis: int) -> str:
    label = str(layer.axis_labels[axis])
    if not label.lstrip("-").isdigit() and not label.startswith("axis"):
        return label
    return {layer.ndim - 1: "x", layer.ndim - 2: "y"}.get(axis, f"axis {axis}")
