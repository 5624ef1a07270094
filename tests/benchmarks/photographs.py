"""Photographs with segmentations drawn by people, as the benchmarks read them: BSD500 and PASCAL VOC 2012."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray
from scipy.io import loadmat
from scipy.ndimage import distance_transform_edt

from napari_dfc.metrics import published_overlaps

MODES = ("all", "fine", "coarse")

#: Where BSD500 lies beside a checkout.
DEFAULT_ROOT = Path(__file__).parents[3] / "shared" / "data" / "BSDS500"

#: Value of VOC's pixels that belong to no segment.
VOID = 255


@dataclass(frozen=True)
class Photograph:
    """An image, and what the annotators made of it.

    Parameters
    ----------
    name : str
    image : (H, W, 3) ndarray of uint8
    annotations : list of (H, W) ndarray of int
        Every value is one segment.
    """

    name: str
    image: NDArray[np.uint8]
    annotations: list[NDArray[np.integer]]


def bsd500(root: Path, split: str = "val") -> Iterator[Photograph]:
    """The images of a split, from the published folders: images/SPLIT/*.jpg, groundTruth/SPLIT/*.mat below data."""
    for path in _there((root / "data" / "images" / split).glob("*.jpg"), root):
        truth = loadmat(root / "data" / "groundTruth" / split / f"{path.stem}.mat")["groundTruth"]
        annotations = [truth[0, index]["Segmentation"][0, 0] for index in range(truth.shape[1])]
        yield Photograph(path.stem, iio.imread(path), annotations)


def voc2012(root: Path, split: str = "val") -> Iterator[Photograph]:
    """The images of a split, from the published folders: JPEGImages, SegmentationObject, ImageSets/Segmentation.

    There is one annotation, of objects. The void seams around objects go to the segment that is nearest.
    """
    listed = root / "ImageSets" / "Segmentation" / f"{split}.txt"
    names = listed.read_text(encoding="utf-8").split() if listed.exists() else []
    for path in _there((root / "JPEGImages" / f"{name}.jpg" for name in names), root):
        objects = iio.imread(root / "SegmentationObject" / f"{path.stem}.png", mode="P")
        nearest = distance_transform_edt(objects == VOID, return_distances=False, return_indices=True)
        yield Photograph(path.stem, iio.imread(path), [objects[tuple(nearest)]])


def score(prediction: NDArray[np.integer], annotations: Sequence[NDArray[np.integer]]) -> dict[str, list[float]]:
    """The overlaps of an image in each mode."""
    return {mode: published_overlaps(prediction, annotations, mode).tolist() for mode in MODES}


def _there(paths: Iterator[Path], root: Path) -> list[Path]:
    found = sorted(paths)
    if not found:
        raise SystemExit(f"no images below {root}; name the folder with --root")
    return found
