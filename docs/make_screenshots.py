"""Make the pictures of the docs from real runs: ``python docs/make_screenshots.py``, on a display or under Xvfb."""

from __future__ import annotations

import os
import time
from pathlib import Path
from tempfile import mkdtemp

os.environ["NAPARI_CONFIG"] = str(Path(mkdtemp(), "settings.yaml"))  # of a person who has changed and run nothing

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

from napari_dfc.gui.apply_widget import ApplyWidget
from napari_dfc.gui.demo import demo_viewer
from napari_dfc.gui.segment_widget import SegmentWidget
from napari_dfc.gui.train_widget import TrainWidget
from napari_dfc.samples import read_sample

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
    keep_a_network()


def keep_a_network() -> None:
    """Train on two references, and apply the network to a series."""
    viewer = napari.Viewer(title="napari")
    viewer.window._qt_window.resize(1380, 860)
    sample = read_sample("stained_tissue")
    halves = slice(None, 160), slice(160, None)
    for number, half in enumerate(halves, 1):
        viewer.add_image(sample.image[:, half], name=f"slide {number}", translate=(0, 170 * (number - 1)))
    viewer.add_labels(sample.scribbles[:, halves[0]], name="slide 1 strokes")
    dock, train = viewer.window.add_plugin_dock_widget("napari-dfc", "Train on references")
    for layer in viewer.layers[:2]:
        train.references.tick(layer)
    run_to_end(train)
    for number, name in ((1, "nucleus"), (2, "out of focus"), (3, "background")):
        train.legend.set_name(number, name)
    train.network_name.value = "tissue"
    train.rename()
    viewer.layers["slide 1 strokes"].visible = False
    viewer.reset_view()
    shoot(viewer, "training.png")

    viewer.window.remove_dock_widget(dock)
    viewer.layers.clear()
    series = viewer.add_image(np.stack([np.roll(sample.image, 40 * step, axis=1) for step in range(5)]), name="series")
    _, applied = viewer.window.add_plugin_dock_widget("napari-dfc", "Apply a network")
    applied.images.value = [series]
    run_to_end(applied)
    applied.run.layers[0].opacity = 0.5
    viewer.dims.set_current_step(0, 2)
    shoot(viewer, "applied.png")
    viewer.close()


def run_to_end(widget: SegmentWidget | TrainWidget | ApplyWidget) -> None:
    """Press the button and wait."""
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
