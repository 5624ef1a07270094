"""Peak memory of a run against the size of its image: ``python tests/benchmarks/peak.py``.

Every figure comes from a process of its own: the largest resident memory (CPU) or the largest allocation (CUDA) of a
run of three iterations, less what the process held before it. Beside ours stand the published loop (tests/plain.py) and
what `napari-dfc info` foretells. Another table is of `predict_series` with smoothing and adaptation: three frames of an
ever stronger stain, by a network of painted classes.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from bench import Results, machine, parser, table

ROOT = Path(__file__).parents[1]

OURS = """
import sys, json, resource, numpy as np, torch
import napari_dfc as dfc
size, channels, device, threads = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
image = np.random.default_rng(0).random((size, size, 3), dtype=np.float32)
settings = dfc.Settings(split_into="clusters", n_channels=channels, max_iterations=3, min_labels=1, device=device,
                        threads=threads, padding="zeros", memory_limit=float(sys.argv[5]))
dfc.segment(image[:64, :64].copy(), **settings.as_dict())  # loads what is loaded once
before = held()  # the scaled channels are part of the run, and of what is foretold
run = dfc.Run(image, settings=settings)
for _ in run:
    pass
run.result()
print(json.dumps({"bytes": peak() - before, "foretold": run.plan.bytes, "crops": run.plan.n_crops}))
"""

SERIES = """
import sys, json, resource, numpy as np, torch
import napari_dfc as dfc
from napari_dfc import adaptation
from napari_dfc.samples import read_sample
size, channels, device, threads = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
image = read_sample("stained_tissue").image[30:94, 140:212]
strokes = np.zeros(image.shape[:2], np.uint8)
strokes[60, 4:30], strokes[4, 20:36] = 1, 2
settings = dfc.Settings.from_preset("fast", n_channels=channels, max_iterations=12, device=device, threads=threads,
                                    memory_limit=float(sys.argv[5]))
model = dfc.segment(image, scribbles=strokes, **settings.as_dict()).model()
options = {"adaptation": 2, "smoothing": 0.5, "device": device, "threads": threads}
def stained(image, amount):
    return (image * (1 + amount * np.array([-0.4, 0.1, 0.3], np.float32))).clip(0, 255).round().astype(np.uint8)
for _ in model.predict_series([stained(image, each) for each in (0, 0.03)], **options):  # loads what is needed
    pass
large = np.tile(image, (size // 64 + 1, size // 72 + 1, 1))[:size, :size]
frames = [stained(large, each) for each in (0, 0.03, 0.06)]
made, updated = [], adaptation.updated
adaptation.updated = lambda *given: made.append(1) or updated(*given)
before = held()
for result in model.predict_series(frames, **options):
    pass
print(json.dumps({"bytes": peak() - before, "foretold": result.plan.bytes, "crops": result.plan.n_crops,
                  "updated": len(made)}))
"""

PLAIN = """
import sys, json, resource, numpy as np, torch
sys.path.insert(0, sys.argv[5])
from plain import plain_network, plain_optimizer, plain_step
size, channels, device, threads = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], int(sys.argv[4])
torch.set_num_threads(threads)
network = plain_network(3, channels, 2).to(device)
optimizer = plain_optimizer(network)
plain_step(network, optimizer, torch.rand(1, 3, 64, 64, device=device), 1.0)
image = torch.rand(1, 3, size, size, device=device)
before = held()
for _ in range(3):
    plain_step(network, optimizer, image, 1.0)
print(json.dumps({"bytes": peak() - before}))
"""

MEASURE = """
def held():
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        return torch.cuda.memory_allocated()
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

def peak():
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
"""


def measure(code: str, *words: object) -> dict[str, float]:
    """What a fresh process prints."""
    command = [sys.executable, "-c", MEASURE + code, *map(str, words)]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    """Print a table."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--channels", type=int, default=100)
    options.add_argument("--sizes", type=int, nargs="+", default=[256, 512, 1024])
    options.add_argument("--limit", type=float, default=1000.0, help="memory limit of our runs in GB; by default none")
    options.add_argument("--skip-plain", action="store_true", help="leave the published loop out")
    options.add_argument("--fresh", action="store_true", help="measure anew what an earlier call has measured")
    given = options.parse_args()
    results = Results(f"peak-{given.device}-{given.channels}-{given.limit:g}-{given.threads}", given.fresh)
    rows = []
    for size in given.sizes:
        words = (size, given.channels, given.device, given.threads)
        ours = results.get(f"ours {size}", lambda words=words: measure(OURS, *words, given.limit))
        row = [f"{size} x {size}", f"{ours['bytes'] / 1e9:.2f}", f"{ours['foretold'] / 1e9:.2f}"]
        row += [f"{ours['foretold'] / ours['bytes']:.2f}", ours["crops"]]
        if not given.skip_plain:
            plain = results.get(f"plain {size}", lambda words=words: measure(PLAIN, *words, ROOT))
            row += [f"{plain['bytes'] / 1e9:.2f}", f"**{plain['bytes'] / ours['bytes']:.1f}**"]
        rows.append(row)
    print(machine(given.threads, given.device))
    head = ["pixels", "ours, GB", "foretold, GB", "foretold / ours", "crops"]
    print(table(head + ([] if given.skip_plain else ["published loop, GB", "ratio"]), rows))

    rows = []
    for size in given.sizes:
        words = (size, given.channels, given.device, given.threads, given.limit)
        found = results.get(f"series {size}", lambda words=words: measure(SERIES, *words))
        row = [f"{size} x {size}", f"{found['bytes'] / 1e9:.2f}", f"{found['foretold'] / 1e9:.2f}"]
        rows.append([*row, f"{found['foretold'] / found['bytes']:.2f}", found["crops"], found["updated"]])
    print("\nSeries with adaptation\n")
    print(table([*head, "updated frames"], rows))


if __name__ == "__main__":
    main()
