"""Segment microscopy and other images by differentiable feature clustering, on the image alone.

Importing the package loads neither PyTorch nor Qt nor napari; they are loaded by the first name that needs them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_dfc.gui.console import segment_layer, start
    from napari_dfc.legend import Legend
    from napari_dfc.model import Model, load
    from napari_dfc.records import unpack_mask, unpack_strokes
    from napari_dfc.replay import run_again
    from napari_dfc.result import Segmentation
    from napari_dfc.segmentation import Run, segment
    from napari_dfc.settings import Settings
    from napari_dfc.training import fit

__all__ = [
    "Legend",
    "Model",
    "Run",
    "Segmentation",
    "Settings",
    "__version__",
    "fit",
    "load",
    "run_again",
    "segment",
    "segment_layer",
    "start",
    "unpack_mask",
    "unpack_strokes",
]

_HOMES = {
    "Legend": "napari_dfc.legend",
    "Model": "napari_dfc.model",
    "Run": "napari_dfc.segmentation",
    "Segmentation": "napari_dfc.result",
    "Settings": "napari_dfc.settings",
    "fit": "napari_dfc.training",
    "load": "napari_dfc.model",
    "run_again": "napari_dfc.replay",
    "segment": "napari_dfc.segmentation",
    "segment_layer": "napari_dfc.gui.console",
    "start": "napari_dfc.gui.console",
    "unpack_mask": "napari_dfc.records",
    "unpack_strokes": "napari_dfc.records",
}

_NEED_TORCH = (
    "napari_dfc.model",
    "napari_dfc.replay",
    "napari_dfc.result",
    "napari_dfc.segmentation",
    "napari_dfc.training",
)


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("napari-dfc")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if _HOMES[name] in _NEED_TORCH:
        from napari_dfc.devices import load_torch

        load_torch()
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
