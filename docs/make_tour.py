"""Make the pictures of docs/tour.md from a real run: ``python docs/make_tour.py``, on a display or under Xvfb."""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import mkdtemp

os.environ["NAPARI_CONFIG"] = str(Path(mkdtemp(), "settings.yaml"))  # of a person who has changed and run nothing

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

from napari_dfc.samples import read_sample

IMAGES = Path(__file__).with_name("images")


def main() -> None:
    """Write docs/images/tour_*.png."""
    viewer = napari.Viewer(title="napari")
    viewer.window._qt_window.resize(1380, 860)
    viewer.open_sample("napari-dfc", "stained_tissue")
    viewer.layers.remove("Stained tissue strokes")
    dock, segment = viewer.window.add_plugin_dock_widget("napari-dfc", "Segment")
    segment.form.control("preset").value = "fast"
    settle()
    shoot(viewer, "tour_1_open.png")

    segment.start()
    until(lambda: not segment.running)
    shoot(viewer, "tour_2_segmented.png")

    counts = segment.studio.counts
    segment.controls.slider.value = counts.index(12)
    shoot(viewer, "tour_3_more_labels.png")

    segment.controls.slider.value = counts.index(5)
    strokes = segment.add_scribbles()
    drawn = read_sample("stained_tissue").scribbles
    for number in (1, 3):
        paint(strokes, drawn, number)
    until(lambda: segment.running and segment.run._run.stage.classes == (1, 3))
    until(lambda: segment.status.value.startswith("Iteration"))
    paint(strokes, drawn, 2)
    until(lambda: bool((segment.run.layer.data == 2).any()))
    shoot(viewer, "tour_4_painting.png")
    until(lambda: not segment.running)

    segment.studio.next_spot()
    until(lambda: "least certain" in segment.status.value)
    shoot(viewer, "tour_5_uncertain_spot.png")

    result = segment.run.layer
    strokes.visible = viewer.layers["uncertain spot"].visible = False
    viewer.reset_view()
    _, classes = viewer.window.add_plugin_dock_widget("napari-dfc", "Classes", tabify=True)
    classes.labels.value = result
    until(lambda: len(classes.table.rows) == 3)
    for number, name in ((1, "nucleus"), (2, "out of focus"), (3, "background")):
        classes.outcome.rename(number, name)
    settle()
    shoot(viewer, "tour_6_classes.png")
    classes.table.choose(1)
    classes.split_chosen()
    until(lambda: "objects found" in classes.status.value)
    shoot(viewer, "tour_7_objects.png")

    viewer.layers.selection.active = result
    dock.raise_()
    segment.controls.python.native.click()
    settle()
    shoot(viewer, "tour_8_copied.png")
    viewer.close()


def paint(layer: object, drawn: np.ndarray, number: int) -> None:
    """Strokes of a class, as a brush leaves them."""
    layer.data_setitem(np.nonzero(drawn == number), number)


def until(done: object, seconds: float = 600) -> None:
    """Let the window go on until something is so."""
    end = time.monotonic() + seconds
    while not done():
        QApplication.processEvents()
        time.sleep(0.02)
        if time.monotonic() > end:
            raise SystemExit("waited in vain")


def settle(seconds: float = 0.5) -> None:
    """Let the window draw."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        QApplication.processEvents()
        time.sleep(0.02)


def shoot(viewer: napari.Viewer, name: str) -> None:
    """Write a picture of the whole window."""
    settle()
    viewer.screenshot(IMAGES / name, canvas_only=False, flash=False)


if __name__ == "__main__":
    main()
