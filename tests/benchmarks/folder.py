"""A folder of images through ``napari-dfc apply``: ``python tests/benchmarks/folder.py``.

Images made from the samples are read, predicted and written one by one, each part measured apart; then the command does
the same, in one process and in two, and its whole time, start and loading of PyTorch included, is set against the sum.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import imageio.v3 as iio
import numpy as np
from rich.progress import track

import napari_dfc as dfc
from bench import machine, parser, table, torch
from napari_dfc.files import read_image, write_labels
from napari_dfc.samples import read_sample


def make(folder: Path, n_images: int, side: int) -> None:
    """Pictures of stained tissue, each moved on and mirrored otherwise."""
    image = read_sample("stained_tissue").image
    tiles = np.tile(image, (side // image.shape[0] + 2, side // image.shape[1] + 2, 1))
    random = np.random.default_rng(0)
    for index in range(n_images):
        top, left = random.integers(0, image.shape[:2])
        iio.imwrite(folder / f"{index:03}.png", tiles[top : top + side, left : left + side])


def apart(model: dfc.Model, images: Path, out: Path, threads: int) -> dict[str, float]:
    """Seconds of reading, predicting and writing."""
    seconds = dict.fromkeys(("read", "predicted", "written"), 0.0)
    for path in track(sorted(images.iterdir()), description="apart", transient=True):
        moments = [time.perf_counter()]
        file = read_image(path)
        moments.append(time.perf_counter())
        result = model.predict(file.data, threads=threads, name=path.name)
        moments.append(time.perf_counter())
        write_labels(out / f"{path.stem}_labels.tif", result.labels, record=result.record)
        moments.append(time.perf_counter())
        for name, began, ended in zip(seconds, moments, moments[1:], strict=False):
            seconds[name] += ended - began
    return seconds


def by_command(network: Path, images: Path, out: Path, jobs: int) -> float:
    """Seconds of the whole command."""
    program = Path(sys.executable).with_name("napari-dfc")
    words = ["apply", network, images, "-o", out, "--jobs", jobs]
    began = time.perf_counter()
    subprocess.run([program, *map(str, words)], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Print a table."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--images", type=int, default=100)
    options.add_argument("--side", type=int, default=512, help="rows and columns of an image")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    sample = read_sample("stained_tissue")
    model = dfc.segment(sample.image, scribbles=sample.scribbles, preset="fast").model()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        images, network = folder / "images", folder / "tissue.dfc.safetensors"
        for each in (images, folder / "apart"):
            each.mkdir()
        make(images, given.images, given.side)
        model.save(network)
        model.predict(sample.image)  # what is done once
        seconds = apart(model, images, folder / "apart", given.threads)
        total = sum(seconds.values())
        rows = [[f"{name}, apart", f"{each:.1f}", ""] for name, each in seconds.items()]
        rows.append(["together", f"{total:.1f}", "1.00"])
        for jobs in (1, 2):
            taken = by_command(network, images, folder / f"jobs{jobs}", jobs)
            rows.append([f"napari-dfc apply --jobs {jobs}", f"{taken:.1f}", f"{taken / total:.2f}"])
    print(machine(given.threads, given.device), f"{given.images} images of {given.side} x {given.side}", sep="\n")
    print(table(["", "seconds", "of together"], rows))


if __name__ == "__main__":
    main()
