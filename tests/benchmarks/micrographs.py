"""The micrographs with ground truth in shared/data, as the benchmarks use them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import imageio.v3 as iio
import numpy as np
from numpy.typing import NDArray

__all__ = ["COLLECTIONS", "DEFAULT_ROOT", "Micrograph", "micrographs"]

DEFAULT_ROOT = Path(__file__).parents[3] / "shared" / "data"

#: WBC: background, cytoplasm, nucleus. DSB2018: background, nucleus. VNC: the rest, membrane, mitochondria, synapse.
COLLECTIONS = ("WBC", "DSB2018", "VNC")


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
