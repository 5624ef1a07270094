"""The colors and names of classes, as napari's Labels layers have them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import CyclicLabelColormap, label_colormap
from numpy.typing import NDArray

from napari_dfc.legend import LONGEST_NAME

if TYPE_CHECKING:
    from napari_dfc.legend import Legend

__all__ = [
    "class_colors",
    "class_names",
    "color_classes",
    "colormap_of",
    "default_colors",
    "hex_colors",
    "name_classes",
    "set_class_names",
    "to_rgba",
]

#: Numbers that can have a color each, at most; napari takes no longer table.
MOST_COLORS = 2**16 - 1


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


def class_names(layer: Labels, numbers: Iterable[int]) -> dict[int, str]:
    """What a layer calls its classes, each in its own way.

    Parameters
    ----------
    layer : napari.layers.Labels
    numbers : iterable of int
        The classes that are there.

    Returns
    -------
    dict of int to str
        "class 1" and so on where the layer has no name, or one that can't be shown; with the number behind it where
        several classes have the same.
    """
    given = {}
    if "class" in layer.features:
        index = layer.features.get("index", range(len(layer.features)))
        pairs = zip(index, layer.features["class"], strict=True)
        given = {number: name.strip() for number, name in pairs if isinstance(name, str)}  # others may be missing
    names = {number: given.get(number, "")[:LONGEST_NAME].strip() for number in numbers}
    names = {number: name if name.isprintable() and name else f"class {number}" for number, name in names.items()}
    times = Counter(names.values())
    while times and max(times.values()) > 1:
        names = {
            number: f"{name[: LONGEST_NAME - 20]} {number}" if times[name] > 1 else name
            for number, name in names.items()
        }
        times = Counter(names.values())
    return names


def set_class_names(layer: Labels, names: Mapping[int, str]) -> None:
    """Name some of a layer's classes; what else its features say of them, and of others, stays."""
    table = layer.features.copy()
    if "index" not in table:
        table["index"] = range(len(table))
    table = table.drop_duplicates("index").set_index("index")
    table = table.reindex(sorted({0, *table.index, *names}))
    column = table["class"] if "class" in table else [""] * len(table)
    known = {number: name for number, name in zip(table.index, column, strict=True) if isinstance(name, str)}
    named = [names.get(number, known.get(number, "")) for number in table.index]
    rest = table.drop(columns="class", errors="ignore")
    rest.insert(0, "class", named)
    layer.features = rest.reset_index()


def class_colors(layer: Labels, numbers: Iterable[int]) -> dict[int, tuple[float, ...]]:
    """The colors of a layer's classes, red, green, blue and opacity of 0 to 1, whether or not they are all shown."""
    colormap = layer.colormap
    if isinstance(colormap, CyclicLabelColormap):
        cycle = len(colormap.colors) - 1
        return {number: tuple(colormap.colors[(number - 1) % cycle + 1].tolist()) for number in numbers}
    others = colormap.color_dict.get(None, np.zeros(4))
    return {number: tuple(np.asarray(colormap.color_dict.get(number, others)).tolist()) for number in numbers}


def color_classes(layer: Labels, colors: Mapping[int, Any], numbers: Iterable[int]) -> None:
    """Give some of a layer's classes other colors, and leave the others as they are.

    Parameters
    ----------
    layer : napari.layers.Labels
    colors : mapping of int to (4,) array
        Red, green, blue and opacity.
    numbers : iterable of int
        All classes that are there.

    Raises
    ------
    ValueError
        Numbers so large that they would share their color.
    """
    numbers = {*numbers, *colors}
    largest = max(numbers, default=0)
    if largest > MOST_COLORS:
        raise ValueError(
            f"“{layer.name}” has the number {largest}, and napari colors numbers up to {MOST_COLORS} one by one; "
            "number the labels anew, for instance with skimage.segmentation.relabel_sequential"
        )
    colormap = layer.colormap
    is_table = isinstance(colormap, CyclicLabelColormap)
    table = _repeated(colormap.colors if is_table else _usual_colormap().colors, largest)
    if len(table) <= largest:
        table = np.concatenate([table, table[1 : largest + 2 - len(table)]])
    kept = {} if is_table else class_colors(layer, numbers)
    for number, color in {**kept, **colors}.items():
        table[number] = color
    layer.colormap = CyclicLabelColormap(
        colors=table,
        background_value=0,
        use_selection=layer.show_selected_label,
        selection=layer.selected_label,
    )


def to_rgba(color: str) -> tuple[float, float, float, float]:
    """``#rrggbb`` as numbers of 0 to 1."""
    red, green, blue = (int(color[start : start + 2], 16) / 255 for start in (1, 3, 5))
    return red, green, blue, 1.0


def colormap_of(colors: Mapping[int, Any]) -> CyclicLabelColormap:
    """napari's usual colors but for the numbers given.

    A direct colormap would say the same more plainly, but napari compiles code for a second when it meets its first.
    Numbers above the largest one given, or above `MOST_COLORS`, share their colors, as everywhere in napari.
    """
    table = _repeated(_usual_colormap().colors, max(colors, default=0))
    for number, color in colors.items():
        table[(number - 1) % (len(table) - 1) + 1] = color
    return CyclicLabelColormap(colors=table, background_value=0)


def _repeated(table: NDArray[Any], largest: int) -> NDArray[Any]:
    """A copy of a table of colors, (1 + cycle, 4) with the background first, with a place for each of more numbers."""
    cycle = len(table) - 1
    repeats = min(-(-largest // cycle), MOST_COLORS // cycle)
    return np.concatenate([table[:1], np.tile(table[1:], (max(repeats, 1), 1))])  # (1 + longer cycle, 4)


@cache
def _usual_colormap() -> CyclicLabelColormap:
    return label_colormap()
