"""Nuclei without a stroke: ``python tests/benchmarks/foreground.py``.

Every image of DSB2018 is split into labels by our presets, by k-means of its colors with as many clusters as ours has
labels, and by Otsu's threshold. Groups and regions come from one run, as many or as large as the settings say and
finer. Whoever uses the result picks the labels that are nuclei; so does the benchmark, with the labels that give the
largest IoU with the nuclei (best assignment). Needs the images in shared/data.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2gray
from skimage.filters import threshold_otsu
from sklearn.cluster import KMeans

import napari_dfc as dfc
from bench import Results, add_jobs, interval, machine, parser, table, torch
from micrographs import DEFAULT_ROOT, Micrograph, micrographs

#: The default, and half of it.
REGION_SCALES = (1.0, 0.5)

#: Beginnings of the names, and what they are.
KINDS = {"colour": "stained", "bright": "bright field", "dark": "fluorescence"}


def best_assignment(labels: NDArray[np.integer], truth: NDArray[np.bool_]) -> float:
    """The largest IoU with the truth that any set of labels has.

    That set is made of the labels with the largest shares of true pixels: a label belongs to it if its ratio of true to
    false pixels exceeds the IoU of the others.
    """
    _, index = np.unique(labels, return_inverse=True)
    areas = np.bincount(index.ravel())
    inside = np.bincount(index.ravel()[truth.ravel()], minlength=len(areas))
    order = np.argsort(-inside / areas, kind="stable")
    found, wrong = np.cumsum(inside[order]), np.cumsum((areas - inside)[order])
    return float((found / (truth.sum() + wrong)).max())


def by_color(image: NDArray, n_clusters: int) -> NDArray[np.integer]:
    """k-means of the pixels' colors, (H, W): of each color once, with the number of its pixels as its weight."""
    colors, index, counts = np.unique(
        image.reshape(image.shape[0] * image.shape[1], -1), axis=0, return_inverse=True, return_counts=True
    )
    means = KMeans(min(n_clusters, len(colors)), n_init=3, random_state=0)
    return means.fit_predict(colors.astype(np.float32), sample_weight=counts)[index].reshape(image.shape[:2])


def pieces(image: NDArray, preset: str, engine: dict[str, object]) -> Iterator[tuple[str, NDArray, float]]:
    """What a preset makes of an image, in words, its labels and seconds."""
    began = time.perf_counter()
    result = dfc.segment(image, preset=preset, split_into="groups", **engine)
    seconds = time.perf_counter() - began
    yield f"{result.settings.n_groups} groups", result.labels, seconds
    for scale in REGION_SCALES:
        yield f"regions, scale {scale:g}", result.regions_at(scale), seconds
    began = time.perf_counter()
    labels = dfc.segment(image, preset=preset, split_into="clusters", **engine).labels
    yield "clusters", labels, time.perf_counter() - began


def compare(each: Micrograph, preset: str, engine: dict[str, object]) -> dict[str, dict[str, float]]:
    """Best IoU of every way on one image, for each way to split it."""
    truth = each.classes == 2
    gray = rgb2gray(each.image) if each.image.ndim == 3 else each.image
    found = {}
    for words, labels, seconds in pieces(each.image, preset, engine):
        n_labels = len(np.unique(labels))
        found[words] = {
            "ours": best_assignment(labels, truth),
            "k-means": best_assignment(by_color(each.image, n_labels), truth),
            "Otsu": best_assignment(gray > threshold_otsu(gray), truth),
            "labels": n_labels,
            "seconds": seconds,
        }
    return found


def main() -> None:
    """Print a table."""
    options = parser(__doc__.splitlines()[0])
    add_jobs(options)
    options.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="the folder that holds DSB2018")
    options.add_argument("--presets", nargs="*", default=["fast"])
    options.add_argument("--fresh", action="store_true", help="measure anew what an earlier call has measured")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    engine: dict[str, object] = {"device": given.device, "threads": given.threads}
    print(machine(given.threads, given.device))
    rows = []
    for preset in given.presets:
        results = Results(f"foreground-{preset}-{given.device}", given.fresh)
        for kind, words in KINDS.items():
            images = micrographs("DSB2018", given.root, kind)
            tasks = {each.name: partial(compare, each, preset, engine) for each in images}
            results.fill(tasks, given.jobs, given.threads, words)
            kept = [results.found[each] for each in tasks]
            for split in kept[0]:
                ways = [each[split] for each in kept]
                means = [f"{np.mean([each[way] for each in ways]):.3f}" for way in ("ours", "k-means", "Otsu")]
                ours = [[each["ours"]] for each in ways]
                intervals = [interval(ours, [[each[way]] for each in ways]) for way in ("k-means", "Otsu")]
                cells = [f"{low:+.3f} to {high:+.3f}" for low, high in intervals]
                n_labels, seconds = (np.median([each[figure] for each in ways]) for figure in ("labels", "seconds"))
                row = [words, len(kept), f"{preset}, {split}", *means, *cells, f"{n_labels:.0f}", f"{seconds:.0f}"]
                rows.append(row)
    head = ["", "images", "split into", "ours", "k-means", "Otsu", "less k-means", "less Otsu", "labels", "seconds"]
    print(table(head, rows))


if __name__ == "__main__":
    main()
