"""Micrographs segmented from a few strokes: ``python tests/benchmarks/strokes.py WBC DSB2018 VNC``.

Strokes are drawn from the ground truth by a seeded procedure, 1 and 3 for each class. The same strokes go to our
presets, to a random forest on scikit-image's multiscale features and to scikit-image's random walker; the class mean
IoU of each image is compared. Needs the images in shared/data.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.feature import multiscale_basic_features
from skimage.segmentation import random_walker
from sklearn.ensemble import RandomForestClassifier

import napari_dfc as dfc
from bench import Results, add_jobs, interval, machine, parser, table, torch
from micrographs import COLLECTIONS, DEFAULT_ROOT, Micrograph, micrographs, strokes
from napari_dfc.metrics import class_mean_iou

#: The better of 130 (the default) and 1000 on every fourth image of WBC and every third of DSB2018.
WALKER_BETA = 1000


def by_ours(preset: str, options: dict[str, object], image: NDArray, painted: NDArray) -> NDArray:
    """Labels of a preset."""
    return dfc.segment(image, scribbles=painted, preset=preset, **options).labels


def by_forest(image: NDArray, painted: NDArray) -> NDArray:
    """A random forest on intensities, edges and textures at six scales."""
    features = multiscale_basic_features(
        image, sigma_min=0.5, sigma_max=16, channel_axis=-1 if image.ndim == 3 else None
    )
    forest = RandomForestClassifier(n_estimators=100, random_state=0, n_jobs=-1)
    forest.fit(features[painted > 0], painted[painted > 0])
    return forest.predict(features.reshape(-1, features.shape[-1])).reshape(painted.shape)


def by_walker(image: NDArray, painted: NDArray) -> NDArray:
    """The random walker."""
    channel_axis = -1 if image.ndim == 3 else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of its solver
        return random_walker(image, painted.astype(int), beta=WALKER_BETA, mode="cg_mg", channel_axis=channel_axis)


def key_of(way: str, image: str, n_strokes: int, seed: int) -> str:
    """What a figure is kept by."""
    return f"{way}, {image}, {n_strokes} strokes, seed {seed}"


def measured(
    way: Callable[[NDArray, NDArray], NDArray], each: Micrograph, n_strokes: int, seed: int
) -> dict[str, float]:
    """Class mean IoU and seconds of a way on one image."""
    painted = strokes(each.classes, n_strokes, seed)
    began = time.perf_counter()
    labels = way(each.image, painted)
    seconds = time.perf_counter() - began
    return {"iou": class_mean_iou(labels, each.classes), "seconds": seconds}


def main() -> None:
    """Print a table for each collection."""
    options = parser(__doc__.splitlines()[0])
    add_jobs(options)
    options.add_argument("collections", nargs="*", default=COLLECTIONS)
    options.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="the folder that holds the collections")
    options.add_argument("--kind", default="", help="only images whose name begins so: d1, d2, dark, bright, colour")
    options.add_argument("--presets", nargs="*", default=["fast", "balanced"])
    options.add_argument("--strokes", type=int, nargs="*", default=[1, 3], help="of each class")
    options.add_argument("--seeds", type=int, default=1, help="how many times the strokes are drawn")
    options.add_argument("--images", type=int, default=0, help="how many, spread evenly; 0 for all")
    options.add_argument("--fresh", action="store_true", help="measure anew what an earlier call has measured")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    engine: dict[str, object] = {"device": given.device, "threads": given.threads}
    ours = {preset: partial(by_ours, preset, engine) for preset in given.presets}
    ways = {**ours, "random forest": by_forest, "random walker": by_walker}

    print(machine(given.threads, given.device))
    for collection in given.collections:
        results = Results(f"strokes-{collection}-{given.device}", given.fresh)
        images = list(micrographs(collection, given.root, given.kind))
        if given.images:
            images = images[:: max(len(images) // given.images, 1)][: given.images]
        rows = []
        for n_strokes in given.strokes:
            tasks = {
                key_of(name, each.name, n_strokes, seed): partial(measured, ways[name], each, n_strokes, seed)
                for name, each, seed in product(ways, images, range(given.seeds))
            }
            results.fill(tasks, given.jobs, given.threads, f"{collection}, {n_strokes} strokes")
            found: dict[str, list[list[float]]] = {}
            seconds: dict[str, float] = {}
            for name in ways:
                kept = [
                    [results.found[key_of(name, each.name, n_strokes, seed)] for seed in range(given.seeds)]
                    for each in images
                ]
                found[name] = [[one["iou"] for one in drawn] for drawn in kept]
                seconds[name] = float(np.median([one["seconds"] for drawn in kept for one in drawn]))
            for name in ways:
                intervals = ["", ""]
                if name in ours:
                    lows = [interval(found[name], found[other]) for other in ("random forest", "random walker")]
                    intervals = [f"{low:+.3f} to {high:+.3f}" for low, high in lows]
                mean = np.mean(found[name])
                rows.append([n_strokes, name, f"{mean:.3f}", *intervals, f"{seconds[name]:.1f}"])
        print(f"\n{collection} {given.kind}: {len(images)} images, strokes drawn {given.seeds} times\n")
        print(table(["strokes", "", "class mean IoU", "less the forest", "less the walker", "seconds"], rows))


if __name__ == "__main__":
    main()
