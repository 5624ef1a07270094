"""Objects and measures of a Labels layer: what is computed, beside the window too, and the features that show it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_dfc.gui.layers import METADATA_KEY
from napari_dfc.gui.notes import forget_measures, note, noted
from napari_dfc.gui.pixel_grid import PixelGrid, channels_under
from napari_dfc.regions import class_objects, measure_regions

__all__ = [
    "Measuring",
    "Splitting",
    "measures_of",
    "new_objects_layer",
    "show_measures",
]


@dataclass(frozen=True)
class Measuring:
    """All that measuring regions takes, held as it is when it starts; to be made with `of`.

    Parameters
    ----------
    grid : PixelGrid
    channels : mapping of str to (array, index)
    """

    grid: PixelGrid
    channels: Mapping[str, tuple[Any, tuple[int | slice, ...]]]

    @classmethod
    def of(cls, layer: Labels, image: Image | None) -> Measuring:
        """Of the regions of a layer, with the image's intensities; errors as in `channels_under`."""
        return cls(PixelGrid.of(layer), {} if image is None else channels_under(layer, image))

    def measure(self, labels: Any) -> dict[str, NDArray[Any]]:
        """Columns by their titles, first the regions' numbers as ``index``; touches no layer."""
        channels = {name: np.asarray(data[index]) for name, (data, index) in self.channels.items()}
        still = np.array(labels)  # which nobody paints in meanwhile
        found = measure_regions(still, channels, pixel_area=self.grid.area, to_world=self.grid.to_world)
        titles = {"label": "index", "area": self.grid.area_title}
        titles |= {f"centroid-{axis}": f"centroid {name}" for axis, name in enumerate(self.grid.axes)}
        return {titles.get(name, name): column for name, column in found.items()}


@dataclass(frozen=True)
class Splitting:
    """All that splitting a class into objects takes, held as it is when it starts.

    Parameters
    ----------
    labels : (M[, ...]) array of int
    number : int
        The class.
    min_size : int
    fill_holes : bool
    each_plane : bool
        Nothing is connected from plane to plane.
    measuring : Measuring
        What is measured of the objects.
    """

    labels: Any
    number: int
    min_size: int
    fill_holes: bool
    each_plane: bool
    measuring: Measuring

    def objects(self) -> tuple[NDArray[Any], dict[str, NDArray[Any]]]:
        """The objects and their measures; touches no layer."""
        labels = np.array(self.labels)
        found = class_objects(
            labels,
            self.number,
            min_size=self.min_size,
            fill_holes=self.fill_holes,
            separate_axes=range(labels.ndim - 2) if self.each_plane else (),
        )
        return found, self.measuring.measure(found)


def new_objects_layer(
    layer: Labels, name: str, splitting: Splitting, objects: NDArray[Any], measures: Mapping[str, NDArray[Any]]
) -> Labels:
    """A layer of objects exactly over the one that they were found in.

    Parameters
    ----------
    layer : napari.layers.Labels
    name : str
        Of the class.
    splitting : Splitting
        How they were found, which the new layer's metadata say.
    objects : ndarray of int
    measures : mapping of str to ndarray
        Of the objects.
    """
    how = {"layer": layer.name, "class": splitting.number, "name": name, "min_size": splitting.min_size}
    how |= {"fill_holes": splitting.fill_holes, "each_plane": splitting.each_plane}
    found = Labels(
        objects,
        name=f"{layer.name} {name} objects",
        metadata={METADATA_KEY: {"objects_of": how}},
        scale=layer.scale,
        translate=layer.translate,
        rotate=layer.rotate,
        shear=layer.shear,
        affine=layer.affine.affine_matrix,
        units=layer.units,
        axis_labels=layer.axis_labels,
    )
    numbers = measures["index"]
    found.features = {"index": [0, *numbers.tolist()], "class": ["", *[name] * len(numbers)]}
    show_measures(found, measures)
    return found


def show_measures(layer: Labels, measures: Mapping[str, NDArray[Any]]) -> None:
    """Put measures into a layer's features, where napari shows them for the pixel under the mouse."""
    forget_measures(layer)
    titles = [title for title in measures if title != "index"]
    table = layer.features.copy()
    if "index" not in table:
        table["index"] = range(len(table))
    table = table.drop_duplicates("index").set_index("index").drop(columns=titles, errors="ignore")
    numbers = measures["index"].tolist()
    table = table.reindex(sorted({0, *table.index, *numbers}))
    if "class" in table:
        table["class"] = table["class"].fillna("")
    rows = table.index.get_indexer(numbers)
    for title in titles:
        is_count = measures[title].dtype.kind in "iu"
        column = np.zeros(len(table), int) if is_count else np.full(len(table), np.nan)
        column[rows] = measures[title]
        if title == "pixels":
            column[table.index.get_loc(0)] = math.prod(layer.data.shape) - column.sum()  # the background's
        table[title] = column
    layer.features = table.reset_index()
    note(layer, measured=titles)


def measures_of(layer: Labels) -> dict[str, dict[int, float]]:
    """What was measured of a layer: for each title a value for each number."""
    titles = [title for title in noted(layer).get("measured", ()) if title in layer.features]
    if not titles or "index" not in layer.features:
        return {}
    numbers = layer.features["index"].tolist()
    return {title: dict(zip(numbers, layer.features[title].tolist(), strict=True)) for title in titles}
