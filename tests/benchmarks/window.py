"""Longest gap in the event loop and time to answer Stop, in a real window: ``python tests/benchmarks/window.py``.

A timer in the GUI thread fires every 5 ms; a gap is the time between two of its calls. Beside the gaps of our runs
stand those that napari itself makes by adding a Labels layer of the same size, and by drawing one anew. Needs a display
or Xvfb. The image is the bright-field sample, tiled to the size asked for. With ``--around``, what comes before and
after a run is measured in its place: a region, the end, Stop, merging classes.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from tempfile import mkdtemp

os.environ["NAPARI_CONFIG"] = str(Path(mkdtemp(), "settings.yaml"))  # of a person who has changed and run nothing

import napari
import numpy as np
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication

from napari_dfc.gui.live_run import LiveRun
from napari_dfc.gui.outcome import Outcome
from napari_dfc.gui.segment_widget import SegmentWidget
from napari_dfc.samples import read_sample
from napari_dfc.settings import Settings


class Gaps:
    """Notes when the event loop was away."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self._last = time.perf_counter()
        self._timer = QTimer()
        self._timer.setInterval(5)
        self._timer.timeout.connect(self._tick)
        self._timer.start()

    def _tick(self) -> None:
        now = time.perf_counter()
        self.seen.append(now - self._last)
        self._last = now

    def longest(self, action: Callable[[], None]) -> float:
        """The longest gap, in ms, while an action goes on and the window settles after it."""
        spin(0.3)
        self.seen.clear()
        action()
        spin(0.5)
        return max(self.seen) * 1000


def spin(seconds: float, done: Callable[[], bool] = lambda: False) -> None:
    """Let the event loop run."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end and not done():
        QApplication.processEvents()
        time.sleep(0.001)


def image_of(size: int) -> np.ndarray:
    tile = read_sample("bright_field").image
    repeats = -(-size // len(tile))
    return np.tile(tile, (repeats, repeats))[:size, :size]


def measure(size: int, runs: int, seconds: float) -> dict[str, list[float]]:
    """Figures in ms, one a run."""
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1380, 860)
    viewer.add_image(image_of(size))
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment")
    widget.form.control("split_into").value = "clusters"  # which can go on for as long as it is measured
    widget.form.control("min_labels").value = 1
    widget.form.control("max_iterations").value = 100_000
    gaps = Gaps()
    spin(1)
    found: dict[str, list[float]] = {
        name: []
        for name in ("start, with its new layer", "while it runs", "stop", "answer to Stop", "napari's new layer")
    }

    def begin() -> None:
        run = widget.start()
        spin(60, lambda: widget.status.value.startswith(("Iteration", "Starting")) and run.layer is not None)

    def stop() -> None:
        began = time.perf_counter()
        widget.run.stop()
        found["answer to Stop"].append((time.perf_counter() - began) * 1000)

    first = gaps.longest(begin)  # loads PyTorch
    print(f"first start of the session, with the announced loading of PyTorch: {first:.0f} ms", flush=True)
    for _ in range(runs):
        widget.run.stop()
        spin(60, lambda: not widget.run._worker.is_running)
        found["start, with its new layer"].append(gaps.longest(begin))
        found["while it runs"].append(gaps.longest(lambda: spin(seconds)))
        found["stop"].append(gaps.longest(stop))
        spin(60, lambda: not widget.run._worker.is_running)
        labels = np.ones((size, size), np.uint8)
        found["napari's new layer"].append(gaps.longest(lambda labels=labels: viewer.add_labels(labels)))
        for layer in viewer.layers[1:]:  # not removed: drawing after that crashes napari 0.9.2 on software OpenGL
            layer.visible = False
    viewer.close()
    return found


def measure_around(size: int, runs: int) -> dict[str, list[float]]:
    """Figures in ms, one a run, of what comes before and after the iterations."""
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1380, 860)
    image = viewer.add_image(image_of(size))
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment")
    few = Settings.from_preset("fast", split_into="clusters", n_channels=8, n_conv=1, min_labels=1)
    widget.form.show_settings(few.change(max_iterations=1))
    gaps = Gaps()
    spin(1)
    found: dict[str, list[float]] = {}

    def note(name: str, action: Callable[[], object]) -> None:
        found.setdefault(name, []).append(gaps.longest(action))
        print(f"{name}: {found[name][-1]:.0f} ms", flush=True)

    def has_iterated(run: LiveRun) -> bool:
        return run._run is not None and len(run._run.label_counts) > 0

    def has_labels(run: LiveRun) -> bool:
        return run.layer is not None and run.layer.data.any()

    def until_over(run: LiveRun) -> None:
        spin(600, lambda: not (run.running or run._worker.is_running))

    def stop(run: LiveRun) -> None:
        run.stop()
        until_over(run)

    corners = np.array([[0.02, 0.02], [0.02, 0.98], [0.98, 0.98], [0.98, 0.02]]) * size
    slanted = corners + np.array([[0, 0.1], [0.1, 0], [0, -0.1], [-0.1, 0]]) * size * 0.1
    regions = {
        "one rectangle": viewer.add_shapes([corners], shape_type="rectangle"),
        "one polygon": viewer.add_shapes([slanted], shape_type="polygon"),
        "labels": viewer.add_labels(np.ones((size, size), np.uint8)),
    }
    for layer in regions.values():
        layer.visible = False
    for _ in range(runs):
        for name, layer in regions.items():
            note(f"choosing a region, {name}", partial(setattr, widget.within, "value", layer))
            note(f"a setting changed, region of {name}", widget.refresh)
        widget.within.value = None
        run = widget.start()
        spin(600, partial(has_iterated, run))
        note("the run ends", partial(until_over, run))
        note("napari draws a layer anew", partial(run.layer.refresh, extent=False))
        outcome = Outcome(run.layer)
        note("merging two classes", partial(outcome.merge, *outcome.numbers[:2]))
        note("Undo of it", outcome.undo)
        outcome.let_go()
        run = widget.studio.segment(image, settings=few.change(max_iterations=1000))
        spin(600, partial(has_labels, run))
        note("Stop", partial(stop, run))
        for layer in viewer.layers[1:]:
            layer.visible = False
    viewer.close()
    return found


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="pixels along each side")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=10, help="how long each run goes on")
    parser.add_argument("--around", action="store_true", help="what comes before and after the iterations")
    options = parser.parse_args()
    print(f"{options.size}x{options.size}, {os.cpu_count()} cores, Python {platform.python_version()}")
    if options.around:
        found = measure_around(options.size, options.runs)
    else:
        found = measure(options.size, options.runs, options.seconds)
    print("| longest gap in the event loop, ms | median | largest |\n|---|---|---|")
    for name, figures in found.items():
        print(f"| {name} | {statistics.median(figures):.0f} | {max(figures):.0f} |")


if __name__ == "__main__":
    main()
