"""From the end of a stroke to its labels on screen, in a real window: ``python tests/benchmarks/painting.py``.

Strokes are painted while a run goes on and after it has ended; a time ends when the window has drawn the labels that
the stroke has changed. Needs a display or Xvfb. The image is the stained-tissue sample in gray, tiled to a size.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp

os.environ["NAPARI_CONFIG"] = str(Path(mkdtemp(), "settings.yaml"))  # of a person who has changed and run nothing

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

from napari_dfc.gui.segment_widget import SegmentWidget
from napari_dfc.samples import read_sample


def spin(seconds: float, done: Callable[[], bool] = lambda: False) -> None:
    """Let the event loop run, without taking a core from what is measured."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and not done():
        QApplication.processEvents()
        time.sleep(0.01)


def measure(size: int, preset: str, strokes: int) -> dict[str, list[float]]:
    """Seconds, one a stroke."""
    sample = read_sample("stained_tissue")
    repeats = -(-size // min(sample.scribbles.shape))
    image = np.tile(sample.image.mean(-1).astype(np.uint8), (repeats, repeats))[:size, :size]
    painted = np.tile(sample.scribbles, (repeats, repeats))[:size, :size]
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1380, 860)
    viewer.add_image(image)
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment")
    widget.form.control("preset").value = preset
    layer = widget.add_scribbles()
    layer.data = painted.astype(np.uint8)
    widget.start()
    spin(120, lambda: widget.run.layer is not None and bool(widget.run.layer.data.any()))
    spin(2)
    generator = np.random.default_rng(0)
    found: dict[str, list[float]] = {"while it runs": [], "after it has ended": []}

    def paint() -> float:
        row, column = generator.integers(10, size - 40, 2)
        rows, columns = np.mgrid[row : row + 3, column : column + 25]
        labels = widget.run.layer
        before = labels.data.copy()
        other = 1 + int(before[row + 1, column + 12]) % 3  # than what is there, so that labels have to change
        began = time.perf_counter()
        layer.data_setitem((rows.ravel(), columns.ravel()), other)
        spin(60, lambda: bool((labels.data != before).any()))  # the pass in progress is given up: the stroke did it
        QApplication.processEvents()
        return time.perf_counter() - began

    for _ in range(strokes):
        if not widget.running:
            raise SystemExit("the run ended before all strokes were painted: take fewer, or a slower preset")
        found["while it runs"].append(paint())
        spin(1)
    for _ in range(strokes):
        spin(600, lambda: not widget.running)
        spin(1)
        found["after it has ended"].append(paint())
    widget.stop()
    spin(1)
    viewer.close()
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="pixels along each side")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--strokes", type=int, default=8)
    options = parser.parse_args()
    print(
        f"{options.size}x{options.size}, {options.preset}, {os.cpu_count()} cores, Python {platform.python_version()}"
    )
    print("| from the end of a stroke to its labels, s | median | largest |\n|---|---|---|")
    for name, figures in measure(options.size, options.preset, options.strokes).items():
        print(f"| {name} | {statistics.median(figures):.2f} | {max(figures):.2f} |")


if __name__ == "__main__":
    main()
