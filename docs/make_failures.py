"""Draw where the method fails, for docs/benchmarks.md: ``python docs/make_failures.py``, with the images of DSB2018."""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")
from matplotlib import pyplot as plt
from numpy.typing import NDArray
from skimage.segmentation import mark_boundaries

import napari_dfc as dfc

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "benchmarks"))
from foreground import best_assignment
from micrographs import DEFAULT_ROOT, micrographs

#: Images that show one kind of failure each, with the corner that is shown.
CASES = {
    "dark_5afb7932": "dim nuclei beside bright ones\nare lost as regions",
    "bright_54793624": "groups follow the dark cytoplasm",
    "colour_3934a094": "groups cut the background\nand the nuclei",
}
SIDE = 256


def main() -> None:
    """Write docs/images/failures.png."""
    figure, axes = plt.subplots(len(CASES), 4, figsize=(10, 7.6), layout="constrained")
    for row, (name, words) in zip(axes, CASES.items(), strict=True):
        (micrograph,) = micrographs("DSB2018", DEFAULT_ROOT, name)
        image, truth = micrograph.image[:SIDE, :SIDE], micrograph.classes[:SIDE, :SIDE] == 2
        result = dfc.segment(image, preset="fast", threads=1)  # with other numbers of threads it is another result
        groups, regions = result.labels, result.regions_at(1.0)
        shown = picture(image)
        row[0].imshow(shown)
        row[0].set_ylabel(words, fontsize=9)
        row[1].imshow(mark_boundaries(shown, truth.astype(int), color=(1, 1, 0)))
        row[2].imshow(groups, cmap="tab10", vmin=1, vmax=10, interpolation="nearest")
        row[2].set_xlabel(f"{groups.max()} groups, best IoU {best_assignment(groups, truth):.2f}", fontsize=9)
        row[3].imshow(mark_boundaries(shown, regions, color=(0, 1, 1)))
        row[3].set_xlabel(f"{regions.max()} regions, best IoU {best_assignment(regions, truth):.2f}", fontsize=9)
    for axis, title in zip(axes[0], ("image", "nuclei as annotated", "groups", "regions"), strict=True):
        axis.set_title(title, fontsize=10)
    for axis in axes.flat:
        axis.set_xticks([])
        axis.set_yticks([])
    target = Path(__file__).with_name("images") / "failures.png"
    figure.savefig(target, dpi=110)
    print(f"wrote {target}")


def picture(image: NDArray[np.generic]) -> NDArray[np.float64]:
    """The image in colors of 0 to 1, its darkest and brightest thousandth cut off."""
    low, high = np.percentile(image, (0.1, 99.9))
    scaled = np.clip((image.astype(float) - low) / (high - low), 0, 1)
    return scaled if scaled.ndim == 3 else np.repeat(scaled[..., None], 3, axis=2)


if __name__ == "__main__":
    main()
