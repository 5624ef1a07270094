"""Make the pictures of the docs from real runs: ``python docs/make_screenshots.py``, on a display or under Xvfb."""

from __future__ import annotations

import time
from pathlib import Path

import napari
from qtpy.QtWidgets import QApplication

from napari_dfc.gui.demo import demo_viewer
from napari_dfc.gui.segment_widget import SegmentWidget

IMAGES = Path(__file__).with_name("images")


def main() -> None:
    """Write docs/images/*.png."""
    IMAGES.mkdir(exist_ok=True)
    viewer, widget = demo_viewer()
    viewer.window._qt_window.resize(1380, 860)
    settle()
    shoot(viewer, "strokes.png")
    run_to_end(widget)
    viewer.layers["Stained tissue strokes"].visible = False
    shoot(viewer, "result.png")

    viewer.layers.clear()
    viewer.open_sample("napari-dfc", "bright_field")
    widget.start()
    while widget.run.running and not widget.status.value.startswith("Iteration 2"):
        settle(0.02)
    shoot(viewer, "running.png")
    while widget.run.running:
        settle(0.05)
    widget.form.unfold()
    shoot(viewer, "finished.png")

    viewer.layers.clear()
    viewer.open_sample("napari-dfc", "fluorescence_nuclei")
    widget.form.unfold()
    widget.form.control("split_into").value = "regions"
    run_to_end(widget)
    widget.run.layer.contour = 2
    viewer.layers[0].gamma = 0.5  # so that the faint nuclei can be seen
    shoot(viewer, "regions.png")
    viewer.close()


def run_to_end(widget: SegmentWidget) -> None:
    """Press Run and wait."""
    run = widget.start()
    while run.running:
        settle(0.05)


def shoot(viewer: napari.Viewer, name: str) -> None:
    """Take the whole window."""
    settle()
    viewer.screenshot(str(IMAGES / name), canvas_only=False, flash=False)
    print(f"wrote docs/images/{name}")


def settle(seconds: float = 0.6) -> None:
    """Let the window draw."""
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        QApplication.processEvents()
        time.sleep(0.01)


if __name__ == "__main__":
    main()
