"""The samples as napari's File > Open Sample wants them."""

from __future__ import annotations

from typing import Any

from napari_dfc.samples import SAMPLES, read_sample

__all__ = ["bright_field", "fluorescence_nuclei", "stained_tissue"]


def fluorescence_nuclei() -> list[tuple[Any, dict[str, Any], str]]:
    """Nuclei in a fluorescence microscope, 360 x 360 pixels."""
    return _layers("fluorescence_nuclei")


def bright_field() -> list[tuple[Any, dict[str, Any], str]]:
    """Stained cells in a bright-field microscope, 384 x 384 pixels."""
    return _layers("bright_field")


def stained_tissue() -> list[tuple[Any, dict[str, Any], str]]:
    """Stained tissue, 320 x 256 pixels in color, with strokes for nuclei, blurred nuclei and background."""
    return _layers("stained_tissue")


def _layers(name: str) -> list[tuple[Any, dict[str, Any], str]]:
    sample = read_sample(name)
    title = SAMPLES[name].split(" with ")[0]
    layers: list[tuple[Any, dict[str, Any], str]] = [(sample.image, {"name": title}, "image")]
    if sample.scribbles is not None:
        layers.append((sample.scribbles, {"name": f"{title} strokes"}, "labels"))
    return layers
