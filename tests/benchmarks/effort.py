"""What more networks and more iterations bring: ``python tests/benchmarks/effort.py``.

One run a photograph, of several networks and many iterations, whose label maps are all kept; regions are then made from
the maps of the first networks and iterations only, and clusters are those of the first network's maps. Quality is the
published measure on BSD500 (see bsd500.py), the mean of its three modes; time is that of the iterations that were used,
and of the merging. ``python docs/make_plots.py`` draws it.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

import numpy as np
from rich.progress import track

import napari_dfc as dfc
from bench import Results, machine, parser, table, torch
from napari_dfc.basins import Votes, basins_of
from napari_dfc.contrast import contrast_of
from napari_dfc.pieces import REGION_LEVEL, regions_of
from napari_dfc.segmentation import Run
from photographs import DEFAULT_ROOT, MODES, Photograph, bsd500, score

NETWORKS = (1, 2, 4)
ITERATIONS = (1, 2, 4, 6, 8, 16, 30)


def measured(photograph: Photograph, engine: dict[str, object]) -> dict[str, dict[str, object]]:
    """Overlaps and seconds for every number of networks and iterations."""
    settings = dfc.Settings.from_preset(
        split_into="regions", n_networks=max(NETWORKS), region_iterations=max(ITERATIONS), **engine
    )
    run = Run(photograph.image, settings=settings)
    began = time.perf_counter()
    maps = [iteration.clusters.cpu().numpy() for iteration in run]
    each = (time.perf_counter() - began) / len(maps)
    found = {}
    for n_iterations in ITERATIONS:
        for n_networks in NETWORKS:
            began = time.perf_counter()
            contrast = contrast_of(run.plane)
            votes = Votes(basins_of(contrast))
            for network in range(n_networks):
                first = 1 + network * max(ITERATIONS)
                for clusters in maps[first : first + n_iterations]:
                    votes.add(clusters, run.stage.n_clusters)
            labels = regions_of(votes, votes.shares(), contrast).cut(REGION_LEVEL)
            seconds = time.perf_counter() - began + each * n_networks * (n_iterations + 1)
            found[f"{n_networks} networks, {n_iterations}"] = {
                **score(labels, photograph.annotations),
                "seconds": seconds,
            }
        overlaps = score(maps[n_iterations], photograph.annotations)
        found[f"clusters, {n_iterations}"] = {**overlaps, "seconds": each * (n_iterations + 1)}
    return found


def main() -> None:
    """Print a table."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="the folder BSDS500")
    options.add_argument("--images", type=int, default=10, help="how many, spread evenly over val")
    options.add_argument("--fresh", action="store_true", help="measure anew what an earlier call has measured")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    photographs = list(bsd500(given.root))
    photographs = photographs[:: max(len(photographs) // given.images, 1)][: given.images]
    results = Results(f"effort-{given.device}", given.fresh)
    engine: dict[str, object] = {"device": given.device, "threads": given.threads}
    kept = [
        results.get(each.name, partial(measured, each, engine))
        for each in track(photographs, description="photographs", transient=True)
    ]
    rows = []
    for name in kept[0]:
        means = [np.mean(np.concatenate([each[name][mode] for each in kept])) for mode in MODES]
        seconds = np.median([each[name]["seconds"] for each in kept])
        rows.append([name, *(f"{mean:.3f}" for mean in means), f"{np.mean(means):.3f}", f"{seconds:.1f}"])
    print(machine(given.threads, given.device), f"{len(photographs)} photographs", sep="\n")
    print(table(["maps", *MODES, "mean", "seconds"], rows))


if __name__ == "__main__":
    main()
