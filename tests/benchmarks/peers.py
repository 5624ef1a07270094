"""Regions of photographs beside other methods without pretrained weights: ``python tests/benchmarks/peers.py``.

The published measure (see bsd500.py) on BSD500 or PASCAL VOC 2012. Every method that has a scale is run at several;
one is chosen on every other image (the first, third, ...), by the sum of the three modes, and reported on all images
and on the ones between. Ours has no such choice left: its scale 1 was chosen on those images once and is what ships.
"Lab color" is our own merging with the color of the pixels in place of the networks' label maps; "Lab, consensus" that
of as many hierarchies as `accurate` makes, each of the same color with other noise, as there is no other to be had.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.color import rgb2lab
from skimage.graph import cut_threshold, rag_mean_color
from skimage.segmentation import felzenszwalb, slic
from sklearn.cluster import KMeans

import napari_dfc as dfc
import napari_dfc.settings
from bench import Results, add_jobs, interval, machine, parser, table, torch
from napari_dfc.basins import Votes, basins_of, means_over
from napari_dfc.contrast import contrast_of
from napari_dfc.hierarchy import Hierarchy
from napari_dfc.images import prepare
from napari_dfc.merging import Neighbors, merge_neighbors
from napari_dfc.pieces import REGION_LEVEL, regions_of
from photographs import DEFAULT_ROOT, MODES, Photograph, bsd500, score, voc2012

Labels = NDArray[np.integer]
Way = Callable[[NDArray[np.uint8]], Iterator[tuple[str, Labels]]]

#: Multiples of `REGION_LEVEL`.
SCALES = (0.25, 0.5, 0.7, 0.85, 1.0, 1.2, 1.4, 2.0, 4.0)

#: What ships, and has no choice to be made.
SHIPPED = "scale 1"

#: Standard deviation of the noise that tells the hierarchies of raw color apart, in each channel of a basin, where that
#: of the three channels together over the image is 1.
COLOR_NOISE = 0.1


def by_preset(
    preset: str, pieces: str, scales: Iterable[float], options: dict[str, object], image: NDArray[np.uint8]
) -> Iterator[tuple[str, Labels]]:
    """Ours: at its default, and regions at further scales from the same run."""
    result = dfc.segment(image, preset=preset, split_into=pieces, **options)
    yield SHIPPED, result.labels
    for scale in scales:
        yield f"scale {scale:g}", result.regions_at(scale)


def by_lab(
    regions: Callable[[Colors, NDArray[np.float32]], Hierarchy], image: NDArray[np.uint8]
) -> Iterator[tuple[str, Labels]]:
    """Our merging of raw color."""
    contrast = contrast_of(prepare(image))
    hierarchy = regions(Colors(image, basins_of(contrast)), contrast)
    for scale in SCALES:
        yield f"scale {scale:g}", hierarchy.cut(scale * REGION_LEVEL)


def of_one_hierarchy(colors: Colors, contrast: NDArray[np.float32]) -> Hierarchy:
    """Merged by color."""
    return merge_neighbors(Neighbors.of(colors.basins, contrast), colors.shares())


def of_consensus(colors: Colors, contrast: NDArray[np.float32]) -> Hierarchy:
    """Merged as label maps are."""
    return regions_of(colors, colors.shares(), contrast)


class Colors(Votes):
    """Mean color in place of votes: of each part with noise of its own."""

    def __init__(self, image: NDArray[np.uint8], basins: NDArray[np.int32]) -> None:
        super().__init__(basins)
        values = np.moveaxis(rgb2lab(image), 2, 0).astype(np.float32)  # (3, H, W)
        self._colors = means_over(basins, values) / np.float32(np.sqrt(values.reshape(3, -1).var(1).sum()))

    def __len__(self) -> int:
        """As many as `accurate` has label maps."""
        accurate = dfc.Settings.from_preset("accurate")
        return accurate.n_networks * accurate.region_iterations

    def shares(self, start: int = 0, step: int = 1) -> NDArray[np.float32]:
        """The colors over their standard deviation, (S, 3)."""
        if step == 1:
            return self._colors
        noise = np.random.default_rng(start).normal(0, COLOR_NOISE, self._colors.shape)
        return self._colors + noise.astype(np.float32)


def by_felzenszwalb(image: NDArray[np.uint8]) -> Iterator[tuple[str, Labels]]:
    """The graph-based one-liner."""
    for scale in (50, 100, 200, 300, 500):
        yield f"scale {scale}", felzenszwalb(image, scale=scale, sigma=0.8, min_size=20)


def by_slic(image: NDArray[np.uint8]) -> Iterator[tuple[str, Labels]]:
    """Superpixels, merged where their mean colors are nearer than a threshold."""
    pieces = slic(image, n_segments=400, compactness=10, start_label=0)
    lab = rgb2lab(image)
    for threshold in (3, 5, 7, 10, 14, 20):
        yield f"threshold {threshold}", cut_threshold(pieces, rag_mean_color(lab, pieces), threshold)


def by_kmeans(image: NDArray[np.uint8]) -> Iterator[tuple[str, Labels]]:
    """Clusters of the colors of 5 x 5 windows."""
    padded = np.pad(image, ((2, 2), (2, 2), (0, 0)), mode="edge")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (5, 5), axis=(0, 1))  # (H, W, 3, 5, 5)
    pixels = windows.reshape(-1, 75).astype(np.float32)
    some = np.random.default_rng(0).choice(len(pixels), size=min(20_000, len(pixels)), replace=False)
    for n_clusters in (8, 17, 30):
        means = KMeans(n_clusters, n_init=1, random_state=0).fit(pixels[some])
        yield f"{n_clusters} clusters", means.predict(pixels).reshape(image.shape[:2])


def blank(image: NDArray[np.uint8]) -> Iterator[tuple[str, Labels]]:
    """One label."""
    yield "", np.ones(image.shape[:2], dtype=int)


def measured(way: Way, photograph: Photograph) -> dict[str, dict]:
    """What is kept of an image: for every choice its overlaps, its regions, and the seconds that it took."""
    found: dict[str, dict] = {}
    shared = 0.0  # of a hierarchy the first choice has all the work, which the others would have alone
    began = time.perf_counter()
    for choice, labels in way(photograph.image):
        seconds = time.perf_counter() - began
        shared = shared or seconds
        found[choice] = {
            **score(labels, photograph.annotations),
            "labels": len(np.unique(labels)),
            "seconds": max(seconds, shared),
        }
        began = time.perf_counter()
    return {"choices": found}


def mean(kept: list[dict], choice: str, mode: str) -> float:
    """The published mean IoU."""
    return float(np.mean(np.concatenate([each["choices"][choice][mode] for each in kept])))


def chosen(kept: list[dict]) -> str:
    """The choice that serves every other image best."""
    return max(kept[0]["choices"], key=lambda choice: sum(mean(kept[::2], choice, mode) for mode in MODES))


def main() -> None:
    """Print two tables."""
    options = parser(__doc__.splitlines()[0])
    add_jobs(options)
    options.add_argument("--data", choices=("bsd500", "voc2012"), default="bsd500")
    options.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="the folder BSDS500 or VOC2012")
    options.add_argument("--split", default="val")
    options.add_argument("--images", type=int, default=0, help="how many, spread evenly; 0 for all")
    options.add_argument("--ways", nargs="*", help="only these")
    options.add_argument("--clusters", nargs="*", default=[], help="presets whose clusters are measured, too")
    options.add_argument("--default-scale", action="store_true", help="of ours only what the tables show")
    options.add_argument("--set", nargs="*", default=[], help="settings of ours, such as superpixels=10000")
    options.add_argument("--fresh", action="store_true", help="measure anew what an earlier call has measured")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    types = {parameter.name: parameter.type for parameter in dfc.settings.parameters()}
    changes = dict(each.split("=", 1) for each in given.set)
    numbers = {name: types[name](value) if types[name] in (int, float) else value for name, value in changes.items()}
    engine: dict[str, object] = {"device": given.device, "threads": given.threads, **numbers}
    scales = () if given.default_scale else [scale for scale in SCALES if scale != 1]
    ours: dict[str, Way] = {
        each: partial(by_preset, each, "regions", scales, engine) for each in ("fast", "balanced", "accurate")
    }
    clusters: dict[str, Way] = {
        f"{each}, clusters": partial(by_preset, each, "clusters", (), engine) for each in given.clusters
    }
    peers: dict[str, Way] = {
        "Lab color": partial(by_lab, of_one_hierarchy),
        "Lab, consensus": partial(by_lab, of_consensus),
        "felzenszwalb": by_felzenszwalb,
        "SLIC, merged": by_slic,
        "k-means": by_kmeans,
        "blank": blank,
    }
    ways = {**ours, **clusters, **peers}
    if given.ways:
        ways = {name: way for name, way in ways.items() if name in given.ways or name in clusters}

    photographs = list({"bsd500": bsd500, "voc2012": voc2012}[given.data](given.root, given.split))
    if given.images:
        photographs = photographs[:: max(len(photographs) // given.images, 1)][: given.images]
    found: dict[str, list[dict]] = {}
    for name, way in ways.items():
        fewer = ["default-scale"] * (given.default_scale and name in ours)
        chosen_by = "-".join([name.replace(", ", "-"), *fewer, *sorted(given.set)]) if name not in peers else name
        results = Results(
            f"peers-{given.data}-{given.split}-{chosen_by.replace(', ', '-')}-{given.device}", given.fresh
        )
        tasks = {each.name: partial(measured, way, each) for each in photographs}
        results.fill(tasks, given.jobs, given.threads, name)
        found[name] = [results.found[each] for each in tasks]
    report(found, [name for name in ours if name in found])
    print(machine(given.threads, given.device), f"{len(photographs)} images of {given.data} {given.split}", sep="\n")


def report(found: dict[str, list[dict]], ours: list[str]) -> None:
    """The means, and the intervals of the differences."""
    rows = []
    for name, kept in found.items():
        choice = SHIPPED if name in ours else chosen(kept)
        means = [f"{mean(kept, choice, mode):.3f}" for mode in MODES]
        between = [f"{mean(kept[1::2], choice, mode):.3f}" for mode in MODES] if len(kept) > 1 else [""] * 3
        n_labels = np.median([each["choices"][choice]["labels"] for each in kept])
        seconds = np.median([each["choices"][choice]["seconds"] for each in kept])
        rows.append([name, choice, *means, " / ".join(between), f"{n_labels:.0f}", f"{seconds:.1f}"])
    print(table(["", "choice", *MODES, "every other image", "regions", "seconds"], rows))
    rows = []
    for name in ours:
        for other, kept in found.items():
            if other in ours or other == "blank":
                continue
            for label, choices in ((chosen(kept), None), ("best for each mode", list(kept[0]["choices"]))):
                cells = []
                for mode in MODES:
                    best = label if choices is None else max(choices, key=lambda each: mean(kept, each, mode))
                    pair = (
                        [each["choices"][which][mode] for each in whose]
                        for whose, which in ((found[name], SHIPPED), (kept, best))
                    )
                    low, high = interval(*pair)
                    cells.append(f"{low:+.3f} to {high:+.3f}")
                rows.append([f"{name} less {other}", label, *cells])
    if rows:
        print(table(["95 % interval", "of its choices", *MODES], rows))


if __name__ == "__main__":
    main()
