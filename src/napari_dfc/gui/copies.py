"""How the labels of a result layer are asked for again: in napari's console, or on the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from napari_dfc import records
from napari_dfc.gui.inputs import expression_of, inputs_of_record
from napari_dfc.gui.layers import METADATA_KEY

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

__all__ = ["command_of", "python_of", "record_of"]


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


def command_of(viewer: ViewerModel, layer: Labels | None) -> str:
    """A command line that writes the labels to a file.

    Raises
    ------
    ValueError
        No result of a run, or of one that no single file can be given for.
    """
    record = record_of(layer)
    source = record["source"]
    if source["position"] or len(source["layers"]) > 1:
        raise ValueError("the command line takes one image file with one plane; copy as Python, or save the plane")
    if source.get("level"):
        raise ValueError("the command line takes an image at its full resolution; copy as Python")
    name = source["layers"][0]
    found = next((each.source.path for each in viewer.layers if each.name == name), None)
    return records.as_command(record, found or f"{name}.tif", f"{name}_labels.tif", source["channel_axis"])
