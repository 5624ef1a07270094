"""The published measure on BSD500, the published loop beside ours: ``python tests/benchmarks/bsd500.py``.

Protocol (Table I of the paper): the prediction is split into connected components (4 neighbors); of every ground-truth
segment the largest IoU with a component counts; the mean is taken over all segments of all images, of every annotator
(all), of the one with the most segments (fine) or of the one with the fewest (coarse). ``--check`` scores a blank
prediction instead: .0458 / .0249 / .1001 on the 200 test images. Needs the images and annotations in their published
folders, BSDS500/data/{images,groundTruth}/SPLIT.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import track
from torch.utils._python_dispatch import TorchDispatchMode

from bench import Results, interval, machine, parser, table

sys.path.insert(0, str(Path(__file__).parents[1]))

import napari_dfc as dfc
from photographs import DEFAULT_ROOT, MODES, Photograph, bsd500, score
from plain import plain_loop, plain_network


def by_ours(image: NDArray[np.uint8], settings: dfc.Settings) -> NDArray[np.integer]:
    """Labels of our engine."""
    return dfc.segment(image, **settings.as_dict()).labels


class RoundedProducts(TorchDispatchMode):
    """Matrix products as a processor with bfloat16 makes them: of rounded factors, added up in float32."""

    _PRODUCTS = ("mm", "addmm", "bmm", "baddbmm", "addmm_", "baddbmm_")

    def __torch_dispatch__(self, function: Any, types: Any, given: Any = (), named: Any = None) -> Any:
        name = function.overloadpacket.__name__
        if name in self._PRODUCTS:
            factors = [each.bfloat16().to(each.dtype) if each.dtype == torch.float32 else each for each in given[-2:]]
            given = (*given[:-2], *factors)
        return function(*given, **(named or {}))


def by_ours_rounded(image: NDArray[np.uint8], settings: dfc.Settings) -> NDArray[np.integer]:
    """Labels of our engine with the arithmetic of ``precision="bfloat16"``, whatever the processor."""
    with RoundedProducts():
        return by_ours(image, settings)


def by_plain(image: NDArray[np.uint8], settings: dfc.Settings) -> NDArray[np.integer]:
    """Labels of the published loop from the same weights, after as many updates as ours has made."""
    from napari_dfc.network import Network, initialize

    ours = Network(3, settings.n_channels, settings.n_conv)
    initialize(ours, settings.initialization, torch.Generator().manual_seed(settings.seed))
    network = plain_network(3, settings.n_channels, settings.n_conv)
    convolutions = [each for each in network if isinstance(each, torch.nn.Conv2d)]
    with torch.no_grad():
        for theirs, component in zip(convolutions, ours.components(), strict=True):
            theirs.weight.copy_(component.kernel)
            theirs.bias.copy_(component.bias)
    network.to(settings.device)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float().to(settings.device) / 255
    for _ in plain_loop(network, tensor, settings.continuity_weight, settings.max_iterations, settings.min_labels):
        pass
    with torch.no_grad():
        return network(tensor)[0].argmax(0).cpu().numpy()


def segment_and_score(
    segment: Callable[..., NDArray[np.integer]],
    photograph: Photograph,
    settings: dfc.Settings,
) -> dict[str, object]:
    """What is kept of an image."""
    began = time.perf_counter()
    prediction = segment(photograph.image, settings)
    seconds = time.perf_counter() - began
    return {**score(prediction, photograph.annotations), "seconds": seconds, "labels": len(np.unique(prediction))}


def main() -> None:
    """Print a table."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="the folder BSDS500")
    options.add_argument("--split", default="val")
    options.add_argument("--images", type=int, default=10, help="how many, spread evenly over the split")
    options.add_argument("--iterations", type=int, default=60)
    options.add_argument("--preset", default="published")
    options.add_argument("--check", action="store_true", help="score a blank prediction on every image of the split")
    options.add_argument("--skip-plain", action="store_true", help="leave the published loop out")
    options.add_argument("--fresh", action="store_true", help="measure anew what an earlier call has measured")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    photographs = list(bsd500(given.root, given.split))
    if not given.check:
        photographs = photographs[:: max(len(photographs) // given.images, 1)][: given.images]
    settings = dfc.Settings.from_preset(
        given.preset, max_iterations=given.iterations, device=given.device, threads=given.threads
    )
    engines: dict[str, Callable[..., NDArray[np.integer]]] = {
        "ours": by_ours,
        "ours, bfloat16": by_ours_rounded,
        "published loop": by_plain,
    }
    if given.device != "cpu":
        del engines["ours, bfloat16"]
    if given.check:
        engines = {"blank": lambda image, settings: np.ones(image.shape[:2], dtype=int)}
    elif given.skip_plain:
        del engines["published loop"]
    results = Results(
        f"bsd500-{given.split}-{given.preset}-{given.iterations}-{given.device}", given.fresh or given.check
    )

    found: dict[str, list[dict[str, list[float]]]] = {name: [] for name in engines}
    spent: dict[str, float] = dict.fromkeys(engines, 0.0)
    for photograph in track(photographs, description="images", transient=True):
        for name, segment in engines.items():
            measure = partial(segment_and_score, segment, photograph, settings)
            kept = results.get(f"{name} {photograph.name}", measure)
            found[name].append(kept)
            spent[name] += kept["seconds"]
    rows = []
    for name, images in found.items():
        means = [np.mean([overlap for each in images for overlap in each[mode]]) for mode in MODES]
        labels = np.mean([each["labels"] for each in images])
        rows.append(
            [name, *(f"{mean:.4f}" for mean in means), f"{labels:.1f}", f"{spent[name] / len(photographs):.1f}"]
        )
    plain = found.pop("published loop", [])
    for name, images in found.items() if plain else ():
        differences = []
        for mode in MODES:
            low, high = interval([each[mode] for each in images], [each[mode] for each in plain])
            differences.append(f"{low:+.4f} to {high:+.4f}")
        rows.append([f"{name}, less the published loop: 95 % interval", *differences, "", ""])
    print(machine(given.threads, given.device))
    print(f"{len(photographs)} images of {given.split}, preset {given.preset}, {given.iterations} iterations")
    print(table(["", *MODES, "labels", "seconds an image"], rows))


if __name__ == "__main__":
    main()
