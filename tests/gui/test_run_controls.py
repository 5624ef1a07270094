from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from pytestqt.qtbot import QtBot
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QApplication

import napari_dfc as dfc
from napari_dfc.gui.live_run import LiveRun
from napari_dfc.gui.plot import CurvePlot
from napari_dfc.gui.segment_widget import SegmentWidget

Wait = Callable[[LiveRun], LiveRun]


@pytest.fixture
def widget(viewer: ViewerModel, qtbot: QtBot) -> Iterator[SegmentWidget]:
    made = SegmentWidget(viewer)
    qtbot.addWidget(made.native)
    made.native.show()
    for name, value in {"preset": "fast", "n_channels": 12, "max_iterations": 8, "n_groups": 4}.items():
        made.form.control(name).value = value
    yield made
    made.studio.let_go()


def painted(widget: SegmentWidget, *marks: tuple[int, int, int]) -> Any:
    layer = widget.add_scribbles()
    for value, row, column in marks:
        rows, columns = np.mgrid[row : row + 2, column : column + 9]
        layer.data_setitem((rows.ravel(), columns.ravel()), value)
    return layer


FIRST, SECOND, THIRD = (1, 20, 10), (2, 4, 50), (7, 50, 40)


def test_before_a_run_only_what_can_be_done_is_shown(widget: SegmentWidget, image: Image) -> None:
    controls = widget.controls
    assert not controls.undo.native.isVisible()
    assert not controls.plot.isVisible()
    assert not controls.hold.enabled
    assert not controls.once.enabled
    assert not controls.again.enabled


def test_the_slider_says_how_many_labels_it_shows(widget: SegmentWidget, image: Image, finish: Wait) -> None:
    run = finish(widget.start())
    controls, counts = widget.controls, widget.studio.counts
    assert counts[controls.slider.value] == 4
    controls.slider.value = counts.index(9)
    assert len(np.unique(run.layer.data)) == 9
    assert controls._history[0].value == "9 labels"


def test_hold_becomes_go_on_and_back(widget: SegmentWidget, image: Image, filled: Wait) -> None:
    widget.form.control("split_into").value = "clusters"
    widget.form.control("min_labels").value = 1
    widget.form.control("max_iterations").value = 100_000
    run = filled(widget.start())
    button = widget.controls.hold
    button.native.click()
    assert run.held
    assert button.text == "Go on"
    button.native.click()
    assert not run.held
    assert button.text == "Hold"
    run.stop()
    assert not button.enabled


def test_undo_redo_and_update_once_by_their_buttons(
    widget: SegmentWidget, image: Image, qtbot: QtBot, finish: Wait
) -> None:
    strokes = painted(widget, FIRST, SECOND)
    controls = widget.controls
    controls.live.native.click()
    assert not widget.studio.live
    run = finish(widget.start())
    assert not run.live
    rows, columns = np.mgrid[50:52, 40:49]
    strokes.data_setitem((rows.ravel(), columns.ravel()), 7)
    controls.once.native.click()
    assert run.running
    finish(run)
    assert set(np.unique(run.layer.data)) == {1, 2, 7}
    controls.undo.native.click()
    assert set(np.unique(run.layer.data)) == {1, 2}
    assert not controls.undo.enabled
    controls.redo.native.click()
    assert set(np.unique(run.layer.data)) == {1, 2, 7}


def test_copying_fills_the_clipboard_and_says_where_to_paste(widget: SegmentWidget, image: Image, finish: Wait) -> None:
    finish(widget.start())
    widget.controls.python.native.click()
    text = QApplication.clipboard().text()
    assert 'viewer.layers["cells"].data' in text
    assert widget.status.value == "Copied: paste it into napari's console."
    widget.controls.command.native.click()
    assert QApplication.clipboard().text().startswith("napari-dfc segment cells.tif -o cells_labels.tif --preset fast")
    assert "terminal" in widget.status.value
    assert widget.studio.run is not None
    widget.studio.run.layer.data_setitem((np.array([3]), np.array([4])), 77)
    widget.controls.python.native.click()
    assert widget.status.value.endswith("What was edited since (merged, painted, locked) is not repeated.")


def test_what_cannot_be_copied_as_a_command_is_said(widget: SegmentWidget, viewer: ViewerModel, finish: Wait) -> None:
    first, second = (viewer.add_image(np.random.default_rng(seed).random((40, 50))) for seed in range(2))
    widget.image.value = first
    widget.others.value = [second]
    finish(widget.start())
    widget.controls.command.native.click()
    assert "takes one image file; copy as Python, or save the layers as one file" in widget.status.value


def test_run_again_takes_the_selected_result(
    widget: SegmentWidget, viewer: ViewerModel, image: Image, finish: Wait
) -> None:
    first = finish(widget.start()).layer
    viewer.layers.selection.active = image
    assert not widget.controls.again.enabled
    viewer.layers.selection.active = first
    assert widget.controls.again.enabled
    widget.controls.again.native.click()
    run = finish(widget.run)
    assert run.layer is not first
    np.testing.assert_array_equal(run.layer.data, first.data)
    assert widget.status.value == run.outcome


def test_certainty_and_spots_by_their_buttons(
    widget: SegmentWidget, viewer: ViewerModel, image: Image, qtbot: QtBot, finish: Wait
) -> None:
    for action in (widget.studio.next_spot, widget.studio.show_confidence, widget.studio.segment_all_planes):
        with pytest.raises(ValueError, match="there is no result yet; segment an image before you"):
            action()
    painted(widget, FIRST, SECOND)
    finish(widget.start())
    widget.controls.certainty.native.click()
    qtbot.waitUntil(lambda: "cells certainty" in viewer.layers, timeout=10_000)
    widget.controls.spot.native.click()
    qtbot.waitUntil(lambda: "Within the yellow line labels are least certain: paint what it is." in widget.status.value)


def test_strokes_made_for_an_uncertain_spot_are_those_of_the_next_run(
    widget: SegmentWidget, viewer: ViewerModel, image: Image, qtbot: QtBot, finish: Wait
) -> None:
    finish(widget.start())
    assert widget.scribbles.value is None
    widget.controls.spot.native.click()
    qtbot.waitUntil(lambda: "cells strokes" in viewer.layers, timeout=10_000)
    assert widget.scribbles.value is viewer.layers["cells strokes"]
    words = f"painted classes take the place of the {widget.run.settings.split_into}, so paint each that you want."
    assert words in widget.status.value
    widget.scribbles.value = None  # of who wants the next run without
    widget.studio.changed.emit()
    assert widget.scribbles.value is None


def pixels(plot: CurvePlot) -> np.ndarray:
    """What the plot shows, (H, W, 3)."""
    shown = plot.grab().toImage().convertToFormat(plot.grab().toImage().Format.Format_RGB32)
    colors = [QColor(shown.pixel(x, y)) for y in range(shown.height()) for x in range(shown.width())]
    return np.array([(c.red(), c.green(), c.blue()) for c in colors]).reshape(shown.height(), shown.width(), 3)


def test_the_plot_draws_falling_labels_and_the_mark(qtbot: QtBot) -> None:
    plot = CurvePlot()
    qtbot.addWidget(plot)
    plot.resize(200, 120)
    plot.show()
    losses = np.zeros((11, 4))
    plot.show_curves(losses, np.linspace(10, 1, 11).astype(np.int64))
    green = (np.abs(pixels(plot) - (0x00, 0x9E, 0x73)).sum(-1) < 60)[30:100]  # below the legend
    columns = np.flatnonzero(green.any(0))
    heights = [np.flatnonzero(green[:, column]).mean() for column in (columns[5], columns[-5])]
    assert heights[0] < heights[1] - 30  # it falls from upper left to lower right
    before = pixels(plot)
    places = []
    for marked in (1, 5, 9):
        plot.show_curves(losses, plot.counts, marked=marked)
        places.append(np.flatnonzero((pixels(plot) != before).any((0, 2))).mean())
    assert places[0] + 40 < places[1]
    assert places[1] == pytest.approx((places[0] + places[2]) / 2, abs=1.5)


def test_the_plot_of_a_long_run_draws_few_points(qtbot: QtBot) -> None:
    plot = CurvePlot()
    qtbot.addWidget(plot)
    plot.show()
    plot.show_curves(np.random.default_rng(0).random((50_000, 4)), np.full(50_000, 3))
    assert plot.grab().width() == plot.width()


def test_settings_reach_the_run(widget: SegmentWidget, image: Image, finish: Wait) -> None:
    run = finish(widget.start())
    assert run.settings == dfc.Settings.from_preset("fast", n_channels=12, max_iterations=8, n_groups=4)
