"""The sample images in the package: real microscopy, small, one with painted strokes."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import Any

from numpy.typing import NDArray

from napari_dfc.files import read_image

__all__ = ["SAMPLES", "Sample", "read_sample"]

#: Names of the samples and what they show. Source: BBBC038, Data Science Bowl 2018 stage 1, CC0.
SAMPLES = {
    "fluorescence_nuclei": "Fluorescence nuclei",
    "bright_field": "Bright field, stained nuclei",
    "stained_tissue": "Stained tissue with strokes",
}


@dataclass(frozen=True, eq=False)
class Sample:
    """A sample image.

    Parameters
    ----------
    image : (H, W) or (H, W, 3) ndarray of uint8
    scribbles : (H, W) ndarray of uint8, or None
        Painted strokes, 0 where nothing is painted.
    """

    image: NDArray[Any]
    scribbles: NDArray[Any] | None


def read_sample(name: str) -> Sample:
    """Read one of `SAMPLES`.

    Parameters
    ----------
    name : str

    Returns
    -------
    Sample

    Raises
    ------
    ValueError
        There is no such sample.

    Examples
    --------
    >>> read_sample("fluorescence_nuclei").image.dtype
    dtype('uint8')
    """
    if name not in SAMPLES:
        raise ValueError(f"sample is {name!r}; accepted are {', '.join(SAMPLES)}")
    folder = files("napari_dfc") / "data"
    with as_file(folder / f"{name}.png") as path:
        image = read_image(path).data
    strokes = folder / f"{name}_scribbles.png"
    if not strokes.is_file():
        return Sample(image, None)
    with as_file(strokes) as path:
        return Sample(image, read_image(path).data)
