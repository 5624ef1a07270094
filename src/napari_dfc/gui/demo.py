"""napari on a sample image with the widget ready."""

from __future__ import annotations

import napari

from napari_dfc.gui.segment_widget import SegmentWidget

__all__ = ["demo_viewer", "open_demo"]


def demo_viewer() -> tuple[napari.Viewer, SegmentWidget]:
    """A viewer with the stained tissue sample, its strokes chosen in the Segment widget."""
    viewer = napari.Viewer(title="napari-dfc demo")
    image, strokes = viewer.open_sample("napari-dfc", "stained_tissue")
    _, widget = viewer.window.add_plugin_dock_widget("napari-dfc", "Segment")
    widget.image.value, widget.scribbles.value = image, strokes
    return viewer, widget


def open_demo() -> None:
    """Show the demo until its window is closed."""
    demo_viewer()
    napari.run()
