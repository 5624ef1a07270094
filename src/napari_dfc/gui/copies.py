"""How the labels of a result layer are asked for again: in napari's console, or on the command line."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from napari_dfc import records
from napari_dfc.gui.inputs import RunInputs, inputs_of_record
from napari_dfc.gui.layers import METADATA_KEY
from napari_dfc.images import Window

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

__all__ = ["command_of", "expression_of", "python_of", "record_of"]


def record_of(layer: Labels | None) -> dict[str, Any]:
    """The record that a result layer keeps.

    Raises
    ------
    ValueError
        No layer, or no result of a run.
    """
    record = {} if layer is None else layer.metadata.get(METADATA_KEY, {})
    records.settings_of(record)
    if "training" in record:
        names = ", ".join(f"“{name}”" for name in record["training"]["references"])
        raise ValueError(f"this was made by a network trained on {names}; give it images with “Apply a network”")
    if "source" not in record:
        raise ValueError("this result doesn't say from which layer it came")
    return dict(record)


def python_of(viewer: ViewerModel, layer: Labels | None) -> str:
    """Lines of Python for napari's console.

    Raises
    ------
    ValueError
        No result of a run, or its image is in no layer any more.
    """
    record = record_of(layer)
    assert layer is not None
    return records.as_python(record, expression_of(inputs_of_record(viewer, record, layer)))


def expression_of(inputs: RunInputs) -> str:
    """How napari's console calls the image, or the tuple of images, that a run took."""
    n_of_plane = len(inputs.plane.indices)
    names = [inputs.names[max(number - n_of_plane + 1, 0)] for number in range(len(inputs.images))]
    parts = []
    for name, (_, index) in zip(names, inputs.images, strict=True):
        words = [_words(place) for place in index]
        while words and words[-1] == ":":
            words.pop()
        call = f"viewer.layers[{json.dumps(name, ensure_ascii=False)}].data"
        level = f"[{inputs.levels[name]}]" if name in inputs.levels else ""
        parts.append(call + level + (f"[{', '.join(words)}]" if words else ""))
    return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"


def _words(place: int | slice) -> str:
    if isinstance(place, slice):
        return ":" if place.start is None else f"{place.start}:{place.stop}"
    return str(place)


def command_of(viewer: ViewerModel, layer: Labels | None) -> str:
    """A command line that writes the labels to a file; those of a part of the image, to one as large as the image.

    Raises
    ------
    ValueError
        No result of a run, or of one that no single file can be given for.
    """
    record = record_of(layer)
    source = record["source"]
    if len(source["layers"]) > 1:
        raise ValueError("the command line takes one image file; copy as Python, or save the layers as one file")
    if source.get("level"):
        raise ValueError("the command line takes an image at its full resolution; copy as Python")
    name = source["layers"][0]
    found = next((each.source.path for each in viewer.layers if each.name == name), None)
    if "window" in source:
        record = records.in_whole(record, Window.of_list(source["window"]))
    place = [source["position"][axis] for axis in sorted(source["position"], key=int)]
    if any(int(axis) > min(source["axes"]) for axis in source["position"]):
        raise ValueError("the command line takes planes of rows and columns, the last axes of a file; copy as Python")
    return records.as_command(record, found or f"{name}.tif", f"{name}_labels.tif", source["channel_axis"], place)
