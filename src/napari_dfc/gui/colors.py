"""The colors and names of classes, as napari's Labels layers have them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import CyclicLabelColormap, label_colormap
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_dfc.legend import Legend

__all__ = ["colormap_of", "default_colors", "hex_colors", "name_classes", "to_rgba"]


def default_colors(numbers: Sequence[int], scribbles: Labels | None = None) -> NDArray[Any]:
    """A color (N, 4) for each number: that of the strokes layer, else napari's."""
    usual = _usual_colormap() if scribbles is None else scribbles.colormap
    return np.asarray(usual.map(np.asarray(numbers)))


def hex_colors(colors: Mapping[int, Any]) -> dict[int, str]:
    """Colors (4,) of 0 to 1 as ``#rrggbb``, which knows no transparency."""
    parts = {number: np.rint(np.asarray(color)[:3] * 255).astype(int) for number, color in colors.items()}
    return {number: f"#{red:02x}{green:02x}{blue:02x}" for number, (red, green, blue) in parts.items()}


def name_classes(layer: Labels, legend: Legend) -> None:
    """Give a layer the names of its classes, which napari shows for the pixel under the mouse, and their colors."""
    names = {"index": [0, *legend.numbers], "class": ["", *(entry.name for entry in legend)]}
    layer.features = names
    layer.colormap = colormap_of({entry.number: to_rgba(entry.color) for entry in legend})


def to_rgba(color: str) -> tuple[float, float, float, float]:
    """``#rrggbb`` as numbers of 0 to 1."""
    red, green, blue = (int(color[start : start + 2], 16) / 255 for start in (1, 3, 5))
    return red, green, blue, 1.0


def colormap_of(colors: Mapping[int, Any]) -> CyclicLabelColormap:
    """napari's usual colors but for the numbers given.

    A direct colormap would say the same more plainly, but napari compiles code for a second when it meets its first.
    Numbers further apart than there are colors share one, as everywhere in napari.
    """
    table = _usual_colormap().colors.copy()  # (1 + cycle, 4), background first
    for number, color in colors.items():
        table[(number - 1) % (len(table) - 1) + 1] = color
    return CyclicLabelColormap(colors=table, background_value=0)


@cache
def _usual_colormap() -> CyclicLabelColormap:
    return label_colormap()
