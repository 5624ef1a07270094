"""A picture people can look at: the image with its regions colored and outlined."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from skimage.segmentation import find_boundaries

from napari_dfc.images import Plane

__all__ = ["draw_overlay"]


def draw_overlay(plane: Plane, labels: NDArray[np.unsignedinteger[Any]], opacity: float = 0.4) -> NDArray[np.uint8]:
    """Draw labels over the image they came from.

    Parameters
    ----------
    plane : Plane
        The image. Three channels are shown as red, green and blue, otherwise their mean is shown gray.
    labels : (H, W) ndarray of unsigned integers
        Of each label the color is fixed; 0 is left as it is.
    opacity : float
        Share of the label's color in a region's inside, 0 to 1. Outlines have it pure.

    Returns
    -------
    (H, W, 3) ndarray of uint8

    Examples
    --------
    >>> import numpy as np
    >>> from napari_dfc.images import prepare
    >>> labels = np.array([[1, 1, 2, 2]] * 4, dtype=np.uint8)
    >>> draw_overlay(prepare(np.arange(16).reshape(4, 4)), labels).shape
    (4, 4, 3)
    """
    values = np.moveaxis(plane.values, 0, -1) * plane.scale + plane.offset  # (H, W, C)
    low, high = np.percentile(values if plane.mask is None else values[plane.mask], (0.1, 99.9))
    values = ((values - low) / (high - low or 1)).clip(0, 1)
    if values.shape[-1] != 3:
        values = np.repeat(values.mean(-1, keepdims=True), 3, axis=-1)  # (H, W, 3)
    numbers, index = np.unique(labels, return_inverse=True)
    colors = np.array([_color(int(number)) for number in numbers])[index.reshape(labels.shape)]  # (H, W, 3)
    share = np.full(labels.shape, opacity)
    share[find_boundaries(labels, mode="inner")] = 1
    share[labels == 0] = 0
    mixed: NDArray[np.float64] = values * (1 - share[..., None]) + colors * share[..., None]
    return np.rint(mixed * 255).astype(np.uint8)


def _color(number: int) -> tuple[float, float, float]:
    """A vivid color; the golden angle between successive hues keeps neighbors in number apart."""
    return colorsys.hsv_to_rgb((number * 0.381966) % 1, 0.85, 1.0 if number % 2 else 0.8)
