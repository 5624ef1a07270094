"""Time of an iteration, the published loop and ours in turn: ``python tests/benchmarks/step.py``.

The published loop is tests/plain.py. Each is warmed up once (its first, cold iteration is shown apart), then both take
turns and the ratio is taken pair by pair. Beside them stands the floor: the arithmetic of the iteration's convolutions
over the rate that a large matrix product reaches on the same machine in the same minute.
"""

from __future__ import annotations

import statistics
import sys
import time
from functools import partial
from pathlib import Path

import torch

from bench import Results, machine, median_ratio, paired, parser, synchronize, table

sys.path.insert(0, str(Path(__file__).parents[1]))

from napari_dfc.devices import choose_device, computing, has_bfloat16
from napari_dfc.network import Network, initialize
from napari_dfc.passes import AutogradPass, Task
from napari_dfc.settings import Settings
from napari_dfc.stripwise import StripPass
from plain import plain_network, plain_optimizer, plain_step


def measure(
    height: int, width: int, n_channels: int, n_conv: int, runs: int, device: str, precision: str
) -> list[object]:
    """A row of the table."""
    torch.manual_seed(0)
    image = torch.rand(3, height, width)
    plain = plain_network(3, n_channels, n_conv).to(device)
    optimizer = plain_optimizer(plain)
    network = Network(3, n_channels, n_conv)
    initialize(network, "framework", torch.Generator().manual_seed(0))
    settings = Settings(n_channels=n_channels, n_conv=n_conv, precision=precision)
    chosen = choose_device(device)
    task = Task(network.to(device), image.to(device), settings, None, None, lambda: False)

    def ours() -> None:
        with computing(chosen, torch.get_num_threads(), precision=settings.precision):
            one_pass(gradients=True).gradients.found()

    began = time.perf_counter()
    one_pass = StripPass(task) if device == "cpu" else AutogradPass(task)
    ours()
    synchronize(device)
    cold = time.perf_counter() - began
    batch = image[None].to(device)
    plain_step(plain, optimizer, batch, 1.0)
    pairs = paired(
        lambda: plain_step(plain, optimizer, batch, 1.0),
        ours,
        runs,
        device,
        f"{width} x {height}, M = {n_conv}, {n_channels} channels",
    )
    their_time, our_time = (statistics.median(pair[index] for pair in pairs) for index in (0, 1))
    work = operations(height * width, 3, n_channels, n_conv)
    return [
        f"{width} x {height}",
        n_conv,
        n_channels,
        f"{their_time:.3f}",
        f"{our_time:.3f}",
        f"**{median_ratio(pairs):.2f}**",
        f"{min(one / two for one, two in pairs):.2f} to {max(one / two for one, two in pairs):.2f}",
        f"{cold:.2f}",
        f"{work / 1e9:.0f}",
        f"{work / rate(device):.2f}",
    ]


def operations(n_pixels: int, n_inputs: int, n_channels: int, n_conv: int) -> float:
    """Additions and multiplications of the plain convolutions, forward and backward."""
    first = 2 * 9 * n_inputs * n_channels * 2  # no gradient in the image
    others = (n_conv - 1) * 2 * 9 * n_channels**2 * 3
    classifier = 2 * n_channels**2 * 3
    return float(n_pixels * (first + others + classifier))


def rate(device: str, size: int = 2048) -> float:
    """Operations a second of a large matrix product in float32."""
    one = torch.rand(size, size, device=device)
    torch.mm(one, one)
    seconds = []
    for _ in range(5):
        synchronize(device)
        began = time.perf_counter()
        torch.mm(one, one)
        synchronize(device)
        seconds.append(time.perf_counter() - began)
    return 2 * size**3 / statistics.median(seconds)


def main() -> None:
    """Print a table."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--runs", type=int, default=7, help="pairs of runs")
    options.add_argument("--quick", action="store_true", help="only the size that the paper uses")
    options.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"], help="of ours")
    options.add_argument("--fresh", action="store_true", help="measure anew what an earlier call has measured")
    given = options.parse_args()
    if given.precision == "bfloat16" and not has_bfloat16(choose_device(given.device)):
        raise SystemExit("this device has no bfloat16 arithmetic: there is nothing to measure")
    torch.set_num_threads(given.threads)
    cases = [(321, 481, 100, 2)]
    if not given.quick:
        cases += [(321, 481, 100, 3), (512, 512, 32, 2), (1024, 1024, 32, 2)]
    results = Results(f"step-{given.device}-{given.precision}-{given.runs}-{given.threads}", given.fresh)
    rows = []
    for case in cases:
        measure_case = partial(measure, *case, given.runs, given.device, given.precision)
        rows.append(results.get(" ".join(map(str, case)), measure_case))
    print(machine(given.threads, given.device))
    head = ["pixels", "M", "channels", "published loop, s", "ours, s", "ratio", "of all pairs", "first, s"]
    print(table([*head, "GFLOP as published", "floor of those, s"], rows))


if __name__ == "__main__":
    main()
