"""What is noted in a layer of labels by whoever edits it: locked classes, and pixels painted by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dfc.edits import keep_locked
from napari_dfc.gui.colors import set_class_names

if TYPE_CHECKING:
    from napari.layers import Labels

__all__ = ["EDITS_KEY", "forget_measures", "forget_names", "kept_labels", "note", "noted"]

#: Where a layer keeps which classes are locked, what was painted by hand, and which features are measures.
EDITS_KEY = "napari_dfc_edits"


def noted(layer: Labels) -> dict[str, Any]:
    """What a layer keeps under `EDITS_KEY`."""
    found = layer.metadata.get(EDITS_KEY, {})
    return dict(found) if isinstance(found, dict) else {}


def note(layer: Labels, **what: Any) -> None:
    """Keep something under `EDITS_KEY`."""
    layer.metadata = {**layer.metadata, EDITS_KEY: {**noted(layer), **what}}


def forget_measures(layer: Labels) -> None:
    """Take measures out of a layer's features: its labels are no longer those that were measured."""
    titles = noted(layer).get("measured", ())
    if titles:
        layer.features = layer.features.drop(columns=titles, errors="ignore")
        note(layer, measured=[])


def forget_names(layer: Labels) -> None:
    """Take the classes' names out of a layer's features: its numbers are other classes now, but for locked ones."""
    if "class" in layer.features:
        numbers = layer.features.get("index", range(len(layer.features)))
        set_class_names(layer, dict.fromkeys(set(numbers) - set(noted(layer).get("locked", ())), ""))


def kept_labels(layer: Labels, fresh: NDArray[Any]) -> NDArray[Any]:
    """A new label map for a layer, with its present labels where these are locked or were painted by hand."""
    found, present = noted(layer), np.asarray(layer.data)
    edited = found.get("edited")
    edited = edited if isinstance(edited, np.ndarray) and edited.shape == present.shape else None
    locked = found.get("locked", ())
    if present.shape != fresh.shape or (edited is None and not locked):
        return fresh
    return keep_locked(fresh, present, locked, edited)
