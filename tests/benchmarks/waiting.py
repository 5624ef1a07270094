"""How long a user waits in a real window: ``python tests/benchmarks/waiting.py``, on a display or under Xvfb.

From the press of Run to the first label map that is drawn and to the finished result, at 512 x 512 gray pixels; the
first run, which loads PyTorch, does not count. The image is the bright-field sample, tiled to the size asked for.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from pathlib import Path
from tempfile import mkdtemp

os.environ["NAPARI_CONFIG"] = str(Path(mkdtemp(), "settings.yaml"))  # of a person who has changed and run nothing

import napari
import numpy as np

from napari_dfc.gui.segment_widget import SegmentWidget
from window import image_of, spin


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=512, help="pixels along each side")
    parser.add_argument("--presets", nargs="*", default=["fast", "balanced"])
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    print(f"{options.size}x{options.size}, {os.cpu_count()} cores, Python {platform.python_version()}")
    viewer = napari.Viewer()
    viewer.window._qt_window.resize(1380, 860)
    viewer.add_image(image_of(options.size))
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment")
    spin(1)

    def wait() -> tuple[float, float]:
        began = time.perf_counter()
        run = widget.start()
        spin(120, lambda: run.layer is not None and bool(np.any(run.layer.data)))
        viewer.screenshot(canvas_only=True, flash=False)  # drawn, not only set
        first = time.perf_counter() - began
        spin(600, lambda: not run.running)
        found = (first, time.perf_counter() - began)
        for layer in viewer.layers[1:]:
            layer.visible = False
        return found

    print("| preset | first label map, s | slowest | finished, s | slowest |\n|---|---|---|---|---|")
    for preset in options.presets:
        widget.form.control("preset").value = preset
        wait()
        firsts, ends = zip(*(wait() for _ in range(options.runs)), strict=True)
        figures = (statistics.median(firsts), max(firsts), statistics.median(ends), max(ends))
        print(f"| {preset} | {' | '.join(f'{figure:.1f}' for figure in figures)} |", flush=True)
    viewer.close()


if __name__ == "__main__":
    main()
