"""Whether uncertain spots are where labels are wrong: ``python tests/benchmarks/spots.py``.

Strokes are drawn from the ground truth by a seeded procedure, as in ``strokes.py``. The pixels around the spots that
score highest are compared with the rest of the image. How spots are found was chosen on every third image, which are
left out. Needs the images in shared/data.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import napari_dfc as dfc
from bench import interval, machine, parser, table, torch
from micrographs import DEFAULT_ROOT, Micrograph, micrographs, strokes

#: Pixels on either side of a spot's center that are looked at: what a short stroke there would cover.
REACH = 2


def wrong_at_spots(each: Micrograph, n_strokes: int, n_spots: int, **settings: object) -> tuple[float, float, float]:
    """The share of pixels that are wrong around the first spot, around all of them and in the rest of the image."""
    painted = strokes(each.classes, n_strokes, 0)
    result = dfc.segment(each.image, scribbles=painted, **settings)
    wrong = result.labels != each.classes
    near = np.zeros_like(wrong)
    first = float("nan")
    for spot in result.uncertain_spots(most=n_spots, painted=painted):
        rows, columns = (slice(max(at - REACH, 0), at + REACH + 1) for at in (spot.row, spot.column))
        near[rows, columns] = True
        first = float(wrong[rows, columns].mean()) if np.isnan(first) else first
    return first, float(wrong[near].mean()) if near.any() else float("nan"), float(wrong[~near].mean())


def main() -> None:
    """Print a row for each number of strokes."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--collection", default="WBC")
    options.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="the folder that holds the collections")
    options.add_argument("--preset", default="fast")
    options.add_argument("--strokes", type=int, nargs="*", default=[1], help="of each class")
    options.add_argument("--spots", type=int, default=5, help="how many of each image")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    images = [each for index, each in enumerate(micrographs(given.collection, given.root)) if index % 3]

    print(machine(given.threads, given.device))
    settings = {"preset": given.preset, "device": given.device, "threads": given.threads}
    rows = []
    for n_strokes in given.strokes:
        shares = np.array([wrong_at_spots(each, n_strokes, given.spots, **settings) for each in images])
        found = shares[~np.isnan(shares[:, 0])]
        low, high = interval(found[:, 1:2].tolist(), found[:, 2:].tolist())
        rows.append([n_strokes, len(found), *(f"{mean:.3f}" for mean in found.mean(0)), f"{low:+.3f} to {high:+.3f}"])
    print(f"\n{given.collection}: {len(images)} images, wrong pixels around {given.spots} spots\n")
    print(table(["strokes", "images with spots", "first spot", "all", "elsewhere", "all less elsewhere"], rows))


if __name__ == "__main__":
    main()
