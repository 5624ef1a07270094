"""Where the pixels of a layer lie, level by level, and what puts a map of one plane exactly over it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels
from napari.utils.transforms import Affine
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_dfc.gui.layers import ImagePlane

__all__ = ["axis_name", "expand", "full_resolution", "level_data", "level_grid", "placement"]


def level_data(layer: Image | Labels, level: int) -> Any:
    """The layer's data; of a multiscale layer those of a level, 0 the finest."""
    return layer.data[level] if layer.multiscale else layer.data


def full_resolution(layer: Image | Labels) -> Any:
    """The layer's data, of a multiscale layer the finest level's."""
    return level_data(layer, 0)


def level_grid(layer: Image | Labels, level: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Distance and place of a level's pixels on every axis, in pixels of the finest level.

    Returns
    -------
    steps, first : (N,) ndarray of float
        Pixel ``i`` has its center at ``first + steps * i``. The borders of all levels are the same, so the center of a
        coarse pixel is that of the fine ones which it stands for; this is how napari draws them.
    """
    steps = np.asarray(layer.downsample_factors[level], dtype=float) if layer.multiscale else np.ones(layer.ndim)
    return steps, (steps - 1) / 2


def expand(plane: ImagePlane, labels: NDArray[Any]) -> NDArray[Any]:
    """The map with an axis for each of the image's: of length 1, but for a channel axis behind another one."""
    shape = [1] * len(plane.lengths)
    shape[plane.axes[0]], shape[plane.axes[1]] = labels.shape
    expanded = labels.reshape(shape)
    channels = plane.channel_axis
    if channels == 0:
        return expanded[0]
    if channels is not None and channels < plane.axes[1]:
        expanded = np.repeat(expanded, plane.lengths[channels], axis=channels)
    return expanded


def placement(plane: ImagePlane) -> dict[str, Any]:
    """The transform, units and axis labels that put `expand`'s array over the plane."""
    layer = plane.layer
    own = Affine(ndim=layer.ndim, scale=layer.scale, rotate=layer.rotate, shear=layer.shear, translate=layer.translate)
    steps, _ = level_grid(layer, plane.level)
    scale, translate = layer.scale * steps, own(plane.point(0, 0))
    if plane.channel_axis != 0:
        return {
            "scale": scale,
            "rotate": layer.rotate,
            "shear": layer.shear,
            "translate": translate,
            "affine": layer.affine.affine_matrix,
            "units": layer.units,
            "axis_labels": layer.axis_labels,
        }
    kept = list(range(1, layer.ndim))
    rotate = np.asarray(layer.rotate)
    shear = np.linalg.inv(rotate) @ own.linear_matrix @ np.diag(1 / layer.scale)  # linear = rotate, shear, then scale
    return {
        "scale": scale[kept],
        "rotate": rotate[np.ix_(kept, kept)],
        "shear": np.triu(shear)[np.ix_(kept, kept)],
        "translate": translate[kept],
        "affine": layer.affine.set_slice(kept).affine_matrix,
        "units": [layer.units[axis] for axis in kept],
        "axis_labels": [layer.axis_labels[axis] for axis in kept],
    }


def axis_name(layer: Image, axis: int) -> str:
    """What to call an axis of a layer: its label where it has one, else its number."""
    label = layer.axis_labels[axis]
    return f"axis {axis}" if label.startswith("axis") or label.lstrip("-").isdigit() else f"axis {label}"
