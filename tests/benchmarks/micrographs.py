"""The micrographs with ground truth in shared/data, and strokes drawn from it, as the benchmarks use them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

__all__ = ["COLLECTIONS", "DEFAULT_ROOT", "Micrograph", "micrographs", "stroke", "strokes"]

DEFAULT_ROOT = Path(__file__).parents[3] / "shared" / "data"

#: WBC: background, cytoplasm, nucleus. DSB2018: background, nucleus. VNC: the rest, membrane, mitochondria, synapse.
COLLECTIONS = ("WBC", "DSB2018", "VNC")

#: Length of a stroke: this share of the image's longer side, but no fewer pixels than that.
LENGTH, LEAST_LENGTH = 0.06, 12

_DIRECTIONS = ((0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1))


class Micrograph(NamedTuple):
    """An image and what is known of it.

    Parameters
    ----------
    name : str
        Of the file.
    image : (H, W) or (H, W, 3) ndarray of uint8
    classes : (H, W) ndarray of uint8
        From 1.
    """

    name: str
    image: NDArray[np.uint8]
    classes: NDArray[np.uint8]


def micrographs(collection: str, root: Path = DEFAULT_ROOT, kind: str = "") -> Iterator[Micrograph]:
    """The images of a collection in the order of their names, of one kind (``dark``, ``d1``, ...) where it is named."""
    paths = sorted(path for path in (root / collection).glob(f"{kind}*.png") if path.stem.count("_") < 2)
    paths = [path for path in paths if not path.stem.endswith("classes")]
    if not paths:
        raise SystemExit(f"no images in {root / collection}; name the folder that holds {collection} with --root")
    for path in paths:
        image = iio.imread(path)
        if image.ndim == 3 and (image[..., :1] == image[..., :3]).all():
            image = image[..., 0]  # gray, stored as RGB
        yield Micrograph(path.stem, image, _classes(collection, path))


def _classes(collection: str, path: Path) -> NDArray[np.uint8]:
    if collection == "DSB2018":
        return 1 + (iio.imread(path.with_name(f"{path.stem}_masks.png")) > 0).astype(np.uint8)
    gray: NDArray[Any] = iio.imread(path.with_name(f"{path.stem}_classes.png"))
    classes = np.ones(gray.shape, dtype=np.uint8)
    if collection == "WBC":
        classes[gray == 128] = 2
        classes[gray == 255] = 3
    else:
        classes[gray <= 128] = 2
        classes[gray == 191] = 3
        classes[gray == 223] = 4
    return classes


def stroke(region: NDArray[np.bool_], length: int, random: np.random.Generator) -> NDArray[np.bool_]:
    """The pixels of a stroke in a region, one pixel wide.

    It begins anywhere, goes straight on three times of five and else a little to one side, and turns where it would
    leave the region. Where it gets stuck early it is begun anew, twenty times at most; the longest one counts.
    """
    starts = np.argwhere(region)
    longest: set[tuple[int, int]] = set()
    for _ in range(20):
        row, column = starts[random.integers(len(starts))].tolist()
        heading = int(random.integers(8))
        walked = {(row, column)}
        for _ in range(length - 1):
            turn = int(random.choice((0, 0, 0, -1, 1)))
            for change in sorted(range(-3, 5), key=lambda other, turn=turn: abs(other - turn)):  # type: ignore[misc]
                down, across = _DIRECTIONS[(heading + change) % 8]
                there = (row + down, column + across)
                if min(there) >= 0 and there[0] < region.shape[0] and there[1] < region.shape[1] and region[there]:
                    heading += change
                    row, column = there
                    walked.add(there)
                    break
        longest = max(longest, walked, key=len)
        if len(longest) >= 0.8 * length:
            break
    painted = np.zeros_like(region)
    painted[tuple(np.transpose(list(longest)))] = True
    return painted


def strokes(classes: NDArray[np.uint8], n_strokes: int, seed: int) -> NDArray[np.uint8]:
    """So many strokes for every class, (H, W), 0 where nothing is painted."""
    random = np.random.default_rng(seed)
    length = max(round(LENGTH * max(classes.shape)), LEAST_LENGTH)
    painted = np.zeros_like(classes)
    for value in np.unique(classes):
        for _ in range(n_strokes):
            painted[stroke(classes == value, length, random)] = value
    return painted
