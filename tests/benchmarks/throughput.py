"""Pixels a second of prediction with fixed statistics: ``python tests/benchmarks/throughput.py``."""

from __future__ import annotations

import statistics
import time
from functools import partial

import torch

from bench import Results, machine, parser, synchronize, table
from napari_dfc.network import Network, initialize
from napari_dfc.prediction import Picture, Predictor


def measure(size: int, n_channels: int, n_conv: int, runs: int, device: str) -> list[object]:
    """A row of the table."""
    network = Network(3, n_channels, n_conv, "replicate")
    initialize(network, "xavier", torch.Generator().manual_seed(0))
    predictor = Predictor(network.to(device))
    picture = Picture(torch.rand(3, size, size, generator=torch.Generator().manual_seed(0)).to(device))
    seconds = []
    with torch.no_grad():
        predictor.measure(picture)
        for _ in range(runs + 1):
            synchronize(device)
            began = time.perf_counter()
            for block in predictor.blocks(picture):
                block.values.argmax(-1)
            synchronize(device)
            seconds.append(time.perf_counter() - began)
    rates = [size**2 / each / 1e6 for each in seconds[1:]]
    return [f"{size} x {size}", n_conv, n_channels, f"**{statistics.median(rates):.2f}**", f"{min(rates):.2f}"]


def main() -> None:
    """Print a table."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--runs", type=int, default=5)
    options.add_argument("--size", type=int, default=1024)
    options.add_argument("--fresh", action="store_true", help="measure anew what an earlier call has measured")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    results = Results(f"throughput-{given.device}-{given.size}-{given.runs}-{given.threads}", given.fresh)
    rows = [
        results.get(str(case), partial(measure, given.size, *case, given.runs, given.device))
        for case in ((100, 2), (32, 2))
    ]
    print(machine(given.threads, given.device))
    print(table(["pixels", "M", "channels", "megapixels a second, median", "slowest"], rows))


if __name__ == "__main__":
    main()
