from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import napari
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QApplication, QColorDialog, QLineEdit, QPushButton
from superqt.utils._qthreading import WorkerBase

from napari_dfc.gui import classes_widget
from napari_dfc.gui.class_table import AREA, NAME, PIXELS, SHARE, short
from napari_dfc.gui.classes_widget import NO_LABELS, ClassesWidget
from napari_dfc.gui.layers import METADATA_KEY
from napari_dfc.gui.legend_table import COLOR
from napari_dfc.gui.notes import noted

CELLS = np.array(
    [
        [3, 3, 3, 1, 1, 1],
        [3, 1, 3, 1, 3, 3],
        [3, 3, 3, 1, 3, 3],
        [2, 2, 1, 1, 1, 1],
    ],
    dtype=np.uint8,
)


@pytest.fixture
def widget(viewer: ViewerModel, qtbot: QtBot) -> ClassesWidget:
    widget = ClassesWidget(viewer)
    qtbot.addWidget(widget.native)
    widget.native.show()
    widget.min_size.value = 1
    return widget


@pytest.fixture
def layer(viewer: ViewerModel) -> Labels:
    return viewer.add_labels(CELLS.copy(), name="cells", scale=(0.5, 0.5), units=("um", "um"))


def shown(widget: ClassesWidget, column: int) -> list[str]:
    return [widget.table.item(row, column).text() for row in range(widget.table.rowCount())]


def click(widget: ClassesWidget, row: int, qtbot: QtBot, modifier: Qt.KeyboardModifier | None = None) -> None:
    """Click a class in the table."""
    table = widget.table
    place = table.visualItemRect(table.item(row, NAME)).center()
    modifier = Qt.KeyboardModifier.NoModifier if modifier is None else modifier
    qtbot.mouseClick(table.viewport(), Qt.MouseButton.LeftButton, modifier, place)


def test_without_labels_it_says_what_to_do(widget: ClassesWidget, viewer: ViewerModel) -> None:
    assert widget.hint.value == NO_LABELS
    assert widget.outcome is None
    assert not widget.table.isVisible()
    assert not widget.buttons.merge.enabled
    for press in (widget.split_chosen, widget.measure_all, widget._ask_and_save):
        assert press() is None
    viewer.add_image(np.zeros((4, 6)))
    assert widget.hint.value == NO_LABELS


def test_classes_are_listed_with_their_areas(widget: ClassesWidget, layer: Labels) -> None:
    assert not widget.hint.visible
    assert shown(widget, NAME) == ["class 1", "class 2", "class 3"]
    assert shown(widget, PIXELS) == ["10", "2", "12"]
    assert shown(widget, AREA) == ["2.5", "0.5", "3"]
    assert shown(widget, SHARE) == ["41.7%", "8.3%", "50.0%"]
    assert widget.table.horizontalHeaderItem(AREA).text() == "µm²"
    layer.units, layer.scale = ("pixel", "pixel"), (1, 1)
    assert widget.table.isColumnHidden(AREA)


def test_empty_labels_say_so(widget: ClassesWidget, viewer: ViewerModel) -> None:
    layer = viewer.add_labels(np.zeros((4, 6), np.uint8))
    assert "Nothing is labeled" in widget.hint.value
    layer.brush_size = 1
    layer.paint((1, 1), 4)
    assert shown(widget, NAME) == ["class 4"]
    assert not widget.hint.visible


def test_the_first_one_clicked_takes_the_others(widget: ClassesWidget, layer: Labels, qtbot: QtBot) -> None:
    click(widget, 2, qtbot)
    assert not widget.buttons.merge.enabled
    assert layer.selected_label == 3
    click(widget, 1, qtbot, Qt.KeyboardModifier.ControlModifier)
    assert widget.table.chosen == [3, 2]
    widget.buttons.merge.native.click()
    assert (layer.data == np.where(CELLS == 2, 3, CELLS)).all()
    assert shown(widget, PIXELS) == ["10", "14"]
    assert widget.table.chosen == [3]
    assert widget.buttons.undo.tooltip == "Undo merging class 2 into class 3."
    widget.buttons.undo.native.click()
    assert (layer.data == CELLS).all()
    assert not widget.buttons.undo.enabled
    widget.buttons.redo.native.click()
    assert shown(widget, PIXELS) == ["10", "14"]


def test_background_hide_and_lock(widget: ClassesWidget, layer: Labels) -> None:
    widget.table.choose(1)
    widget.buttons.hide.native.click()
    assert layer.colormap.map(1)[3] == 0
    assert widget.buttons.hide.text == "Show"
    assert widget.table.item(0, NAME).font().italic()
    widget.buttons.hide.native.click()
    assert layer.colormap.map(1)[3] == 1
    assert not widget.table.item(0, NAME).font().italic()
    widget.buttons.lock.native.click()
    assert widget.buttons.lock.text == "Unlock"
    assert not widget.table.item(0, NAME).icon().isNull()
    widget.buttons.background.native.click()
    assert "class 1 is locked" in widget.status.value
    widget.buttons.lock.native.click()
    widget.buttons.background.native.click()
    assert shown(widget, NAME) == ["class 2", "class 3"]
    assert widget.status.value == ""
    assert widget.table.chosen == []
    assert not widget.buttons.background.enabled


def test_each_layer_keeps_what_can_be_undone_in_it(
    widget: ClassesWidget, layer: Labels, viewer: ViewerModel, qtbot: QtBot
) -> None:
    other = viewer.add_labels(np.array([[4, 5], [5, 5]], dtype=np.uint8), name="others")
    widget.labels.value = layer
    click(widget, 2, qtbot)
    click(widget, 1, qtbot, Qt.KeyboardModifier.ControlModifier)
    widget.buttons.merge.native.click()
    widget.labels.value = other
    assert not widget.buttons.undo.enabled
    click(widget, 0, qtbot)
    widget.buttons.background.native.click()
    widget.labels.value = layer
    assert widget.buttons.undo.tooltip == "Undo merging class 2 into class 3."
    layer.data_setitem((np.array([3]), np.array([0])), 1)
    widget.labels.value = other
    layer.data_setitem((np.array([3]), np.array([1])), 1)  # while the other one is shown
    widget.buttons.undo.native.click()
    assert other.data.tolist() == [[4, 5], [5, 5]]
    widget.labels.value = layer
    assert shown(widget, PIXELS) == ["12", "12"]
    widget.outcome.forget_edited()
    widget.buttons.undo.native.click()
    assert not (layer.data == 2).any()  # all of its pixels were painted since
    assert shown(widget, PIXELS) == ["12", "12"]


def test_an_image_that_was_deleted_meanwhile_is_not_chosen_again(
    widget: ClassesWidget, layer: Labels, viewer: ViewerModel
) -> None:
    images = [viewer.add_image(CELLS.astype(float), name=name, scale=(0.5, 0.5)) for name in ("one", "two")]
    widget.image.value = images[0]
    other = viewer.add_labels(CELLS.copy(), name="others", scale=(0.5, 0.5))
    widget.labels.value = other
    viewer.layers.remove(images[0])
    widget.labels.value = layer
    assert widget.image.value is images[1]
    assert shown(widget, PIXELS) == ["10", "2", "12"]


def test_a_deleted_layer_is_followed_no_longer(widget: ClassesWidget, layer: Labels, viewer: ViewerModel) -> None:
    def is_followed(layer: Labels) -> bool:
        layer.data_setitem((np.array([0]), np.array([0])), 9 - layer.data[0, 0])
        return noted(layer).pop("edited", None) is not None

    other = viewer.add_labels(CELLS.copy(), name="others")
    widget.labels.value = other
    assert is_followed(layer)
    layer.metadata = {}
    viewer.layers.remove(layer)
    assert not is_followed(layer)
    assert is_followed(other)
    other.metadata = {}
    widget._let_go()
    assert not is_followed(other)


def test_only_the_chosen_class_is_shown(widget: ClassesWidget, layer: Labels) -> None:
    assert not widget.only_chosen.enabled
    widget.table.choose(3)
    widget.only_chosen.value = True
    assert (layer.selected_label, layer.show_selected_label) == (3, True)
    widget.table.choose(1)
    assert layer.selected_label == 1
    widget._let_go()
    assert not layer.show_selected_label


def test_names_and_colors_by_hand(
    widget: ClassesWidget, layer: Labels, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot
) -> None:
    widget.table.item(2, NAME).setText("nucleus")
    assert layer.features["class"].tolist() == ["", "nucleus"]
    widget.table.item(0, NAME).setText("nucleus")
    assert "belongs to two classes" in widget.status.value
    assert shown(widget, NAME) == ["class 1", "class 2", "nucleus"]
    monkeypatch.setattr(QColorDialog, "getColor", lambda color, *_: type(color)("#102030"))
    widget.table.cellDoubleClicked.emit(2, COLOR)
    np.testing.assert_allclose(layer.get_color(3)[:3], [16 / 255, 32 / 255, 48 / 255], atol=1e-6)
    widget.buttons.undo.native.click()
    widget.buttons.undo.native.click()
    assert shown(widget, NAME) == ["class 1", "class 2", "class 3"]
    layer.features = {"index": [2], "class": ["debris"]}  # from elsewhere
    assert shown(widget, NAME)[1] == "debris"


def test_a_name_that_is_being_typed_stays_when_pixels_are_painted(
    widget: ClassesWidget, layer: Labels, qtbot: QtBot
) -> None:
    widget.table.editItem(widget.table.item(0, NAME))
    editor = widget.table.viewport().findChild(QLineEdit)
    editor.setText("cyto")
    layer.brush_size = 1
    layer.paint((0, 0), 1)
    assert editor.text() == "cyto"
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    qtbot.waitUntil(lambda: shown(widget, NAME)[0] == "cyto", timeout=5_000)
    assert layer.features["class"].tolist() == ["", "cyto"]


def test_objects_come_as_a_layer_and_are_listed(
    widget: ClassesWidget, viewer: ViewerModel, layer: Labels, qtbot: QtBot
) -> None:
    viewer.add_image(np.ones((4, 6)), name="DAPI", scale=(0.5, 0.5))
    widget.image.value = viewer.layers["DAPI"]
    widget.table.set_name(3, "nucleus")
    widget.table.choose(3)
    assert widget.fill_holes.value
    widget.buttons.split.native.click()
    assert not widget.buttons.split.enabled
    qtbot.waitUntil(lambda: "objects found" in widget.status.value, timeout=20_000)
    objects = viewer.layers["cells nucleus objects"]
    assert widget.status.value == "2 objects found and measured, in the layer “cells nucleus objects”."
    assert widget.labels.value is widget.outcome.layer is objects
    assert not layer.visible
    assert shown(widget, PIXELS) == ["9", "4"]
    assert objects.features["DAPI mean"].tolist()[1:] == [1, 1]
    assert viewer.layers.index(objects) == viewer.layers.index(layer) + 1
    assert widget.table.chosen == []


def test_no_object_of_that_size_is_said(widget: ClassesWidget, layer: Labels, qtbot: QtBot) -> None:
    widget.table.choose(2)
    widget.min_size.value = 5
    widget.split_chosen()
    qtbot.waitUntil(lambda: "no object of class 2 has 5 pixels" in widget.status.value, timeout=20_000)
    assert widget.buttons.split.enabled


def test_measures_and_their_table(
    widget: ClassesWidget, viewer: ViewerModel, layer: Labels, qtbot: QtBot, tmp_path: Path
) -> None:
    image = viewer.add_image(np.ones((4, 6)), name="DAPI", scale=(0.5, 0.5))
    widget.image.value = image
    widget.buttons.measure.native.click()
    qtbot.waitUntil(lambda: "3 measured" in widget.status.value, timeout=20_000)
    assert layer.features["DAPI mean"].tolist()[1:] == [1, 1, 1]
    widget.save_table(tmp_path / "cells.csv")
    assert widget.status.value == "Saved as cells.csv."
    assert "DAPI mean" in (tmp_path / "cells.csv").read_text(encoding="utf-8-sig")
    widget.save_table(tmp_path / "cells.csv")
    assert "exists already" in widget.status.value
    viewer.layers.remove(image)
    assert widget.outcome.image is None


def test_an_image_elsewhere_is_not_measured(widget: ClassesWidget, viewer: ViewerModel, layer: Labels) -> None:
    viewer.add_image(np.ones((9, 9)), name="other")
    widget.image.value = viewer.layers["other"]
    assert widget.measure_all() is None
    assert "does not lie over “other”" in widget.status.value
    widget.table.choose(3)
    assert widget.split_chosen() is None


def test_the_image_below_is_chosen_by_itself(viewer: ViewerModel, qtbot: QtBot) -> None:
    viewer.add_image(np.ones((9, 9)), name="other")
    image = viewer.add_image(np.ones((4, 6)))
    viewer.add_image(np.ones((9, 9)), name="another")
    viewer.add_labels(CELLS)
    widget = ClassesWidget(viewer)
    qtbot.addWidget(widget.native)
    assert widget.image.value is widget.outcome.image is image


def test_layers_come_and_go(widget: ClassesWidget, viewer: ViewerModel, layer: Labels) -> None:
    other = viewer.add_labels(np.full((4, 6), 7, np.uint8), name="other")
    assert widget.labels.value is layer
    widget.labels.value = other
    assert shown(widget, NAME) == ["class 7"]
    layer.name = "renamed"
    assert {choice.name for choice in widget.labels.choices} == {"renamed", "other"}
    assert widget.labels.value is other
    viewer.layers.remove(other)
    assert widget.labels.value is widget.outcome.layer is layer
    assert shown(widget, NAME) == ["class 1", "class 2", "class 3"]
    viewer.layers.remove(layer)
    assert widget.hint.value == NO_LABELS
    assert widget.outcome is None
    other.data[0] = 3
    other.refresh()  # nobody listens
    viewer.add_labels(CELLS)
    assert shown(widget, PIXELS) == ["10", "2", "12"]


def test_labels_that_change_are_counted_anew(widget: ClassesWidget, layer: Labels) -> None:
    widget.table.choose(3)
    layer.data = np.full((3, 3), 3, dtype=np.int64)
    assert shown(widget, PIXELS) == ["9"]
    assert widget.table.chosen == [3]
    layer.scale = (2, 2)
    assert shown(widget, AREA) == ["36"]
    layer.brush_size = 1
    layer.paint((0, 0), 1)
    assert shown(widget, PIXELS) == ["1", "8"]
    layer.undo()
    assert shown(widget, PIXELS) == ["9"]
    layer.data = np.array([[-1, 1]])
    assert "labels hold the number -1" in widget.hint.value
    assert not widget.table.isVisible()
    layer.data = CELLS
    assert not widget.hint.visible
    assert shown(widget, PIXELS) == ["10", "2", "12"]


def test_multiscale_labels_are_refused_in_words(widget: ClassesWidget, viewer: ViewerModel) -> None:
    viewer.add_labels([CELLS, CELLS[::2, ::2]], multiscale=True)
    assert "multiscale" in widget.hint.value
    assert not widget.buttons.measure.enabled


def test_labels_that_cannot_be_written_are_looked_at(widget: ClassesWidget, viewer: ViewerModel) -> None:
    data = CELLS.copy()
    data.flags.writeable = False
    viewer.add_labels(data)
    widget.table.choose(1, 3)
    assert "take them into memory" in widget.hint.value
    assert (widget.buttons.merge.enabled, widget.buttons.hide.enabled) == (False, True)


def test_large_layers_are_counted_beside_the_window(
    widget: ClassesWidget, viewer: ViewerModel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classes_widget, "FEW_PIXELS", 10)
    layer = viewer.add_labels(CELLS.copy())
    assert widget.note.value == "Counting ..."
    assert not widget.buttons.measure.enabled
    layer.data[3] = 5
    layer.refresh()  # while it is being counted
    qtbot.waitUntil(lambda: not widget.note.visible, timeout=20_000)
    assert shown(widget, PIXELS) == ["6", "12", "6"]
    assert widget.buttons.measure.enabled
    widget.table.choose(1, 5)
    widget.buttons.merge.native.click()
    qtbot.waitUntil(lambda: shown(widget, PIXELS) == ["12", "12"] and not widget.note.visible, timeout=20_000)
    layer.data = -CELLS.astype(np.int8)
    qtbot.waitUntil(lambda: "labels hold the number" in widget.hint.value, timeout=20_000)
    viewer.layers.clear()
    assert widget.hint.value == NO_LABELS


def test_another_layer_chosen_while_one_is_counted(
    widget: ClassesWidget, viewer: ViewerModel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classes_widget, "FEW_PIXELS", 10)
    first = viewer.add_labels(-CELLS.astype(np.int8))
    second = viewer.add_labels(np.full((4, 6), 7, np.uint8))
    widget.labels.value = second
    qtbot.waitUntil(lambda: shown(widget, NAME) == ["class 7"], timeout=20_000)
    assert not widget.hint.visible
    viewer.layers.remove(second)
    viewer.layers.remove(first)
    assert widget.outcome is None


def test_of_thousands_the_largest_are_shown(widget: ClassesWidget, viewer: ViewerModel) -> None:
    numbers = np.repeat(np.arange(1, 1001), 2)
    numbers[-3:] = 1  # one number less, and a larger one
    viewer.add_labels(numbers.reshape(1, -1))
    assert widget.table.rowCount() == classes_widget.MOST_CLASSES
    assert shown(widget, PIXELS)[0] == "5"
    assert widget.note.value == "The 200 largest of 999 are shown."
    assert widget.outcome.numbers[-1] == 999


def test_planes_by_themselves_are_offered_for_stacks(widget: ClassesWidget, viewer: ViewerModel, qtbot: QtBot) -> None:
    stack = viewer.add_labels(np.stack([CELLS, CELLS]))
    assert widget.each_plane.visible
    widget.table.choose(3)
    widget.each_plane.value = True
    widget.split_chosen()
    qtbot.waitUntil(lambda: "4 objects found" in widget.status.value, timeout=20_000)
    viewer.layers.remove(stack)
    viewer.add_labels(CELLS, name="flat")
    widget.labels.value = viewer.layers["flat"]
    assert not widget.each_plane.visible


def test_who_closes_the_dock_meanwhile_gets_no_layer(
    widget: ClassesWidget, viewer: ViewerModel, layer: Labels, qtbot: QtBot
) -> None:
    widget.table.choose(3)
    worker = widget.split_chosen()
    widget._let_go()
    qtbot.waitUntil(lambda: not worker.is_running, timeout=20_000)
    QApplication.processEvents()
    assert list(viewer.layers) == [layer]
    viewer.add_labels(CELLS)  # nobody listens any more
    assert widget.outcome is None


def test_what_was_chosen_in_another_layer_is_not_chosen(
    widget: ClassesWidget, viewer: ViewerModel, layer: Labels
) -> None:
    widget.table.choose(3)
    widget.labels.value = viewer.add_labels(CELLS, name="other")
    assert widget.table.chosen == []
    before = shown(widget, PIXELS)
    layer.data = CELLS[:2]
    assert shown(widget, PIXELS) == before


@pytest.mark.parametrize(
    ("number", "words"),
    [(0.0123, "0.0123"), (12, "12"), (12.34, "12.3"), (12_345.6, "12,346"), (12_345_678, "12.3M"), (3e9, "3.00e+09")],
)
def test_numbers_are_written_in_few_letters(number: float, words: str) -> None:
    assert short(number) == words


@pytest.mark.gui
class TestWindow:
    @pytest.fixture(autouse=True)
    def no_thread_is_left(self, qtbot: QtBot) -> Iterator[None]:
        yield
        qtbot.waitUntil(lambda: not WorkerBase._worker_set, timeout=20_000)

    @pytest.fixture
    def window(self, make_napari_viewer: Callable[..., napari.Viewer]) -> napari.Viewer:
        return make_napari_viewer(show=True)

    def test_edited_by_buttons_and_seen(self, window: napari.Viewer, qtbot: QtBot) -> None:
        layer = window.add_labels(np.kron(CELLS, np.ones((20, 20), np.uint8)), name="cells")
        widget = ClassesWidget(window)
        window.window.add_dock_widget(widget, name="Classes")
        qtbot.waitUntil(widget.table.isVisible, timeout=10_000)
        background = window.screenshot(flash=False)[0, 0].tolist()
        click(widget, 2, qtbot)
        before = window.screenshot(flash=False)
        widget.buttons.hide.native.click()
        qtbot.waitUntil(lambda: (window.screenshot(flash=False) != before).any(), timeout=10_000)
        after = window.screenshot(flash=False)
        changed = (before != after).any(axis=-1)
        assert changed.mean() > 0.1
        assert (after[changed] == background).all(axis=-1).mean() > 0.9
        widget.buttons.split.native.click()
        qtbot.waitUntil(lambda: "objects found" in widget.status.value, timeout=20_000)
        assert len(window.layers) == 2
        assert layer in window.layers

    def test_nothing_is_wider_than_the_dock(self, window: napari.Viewer, qtbot: QtBot) -> None:
        window.add_labels(
            np.stack([np.kron(CELLS, np.ones((400, 400), np.uint8))] * 2), name="a layer with a rather long name"
        )
        widget = ClassesWidget(window)
        dock = window.window.add_dock_widget(widget, name="Classes")
        qtbot.waitUntil(widget.table.isVisible, timeout=20_000)
        window.window._qt_window.resizeDocks([dock], [310], Qt.Orientation.Horizontal)
        qtbot.waitUntil(lambda: widget.native.width() <= 320, timeout=10_000)
        rows = widget._rows.native
        room = rows.parentWidget().width()
        assert rows.minimumSizeHint().width() <= room
        for button in rows.findChildren(QPushButton):
            if button.isVisible():
                assert button.width() >= button.minimumSizeHint().width()

    def test_a_closed_dock_listens_no_more(self, window: napari.Viewer, qtbot: QtBot) -> None:
        layer = window.add_labels(CELLS.copy())
        widget = ClassesWidget(window)
        dock = window.window.add_dock_widget(widget, name="Classes")
        widget.table.choose(3)
        widget.only_chosen.value = True
        dock.destroyOnClose()
        qtbot.waitUntil(lambda: widget.outcome is None, timeout=10_000)
        assert not layer.show_selected_label
        layer.data = CELLS[:2]
        window.add_labels(CELLS)
        assert widget.outcome is None

    def test_closing_the_viewer_while_counting(
        self, make_napari_viewer: Callable[..., napari.Viewer], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(classes_widget, "FEW_PIXELS", 10)
        viewer = make_napari_viewer(show=True)
        viewer.add_labels(CELLS)
        viewer.window.add_dock_widget(ClassesWidget(viewer), name="Classes")
        viewer.close()


def test_a_dock_that_opens_shows_the_result_and_not_the_strokes_in_hand(viewer: ViewerModel, qtbot: QtBot) -> None:
    result = viewer.add_labels(CELLS.copy(), name="result", metadata={METADATA_KEY: {"format": 1}})
    strokes = viewer.add_labels(np.zeros_like(CELLS), name="strokes")
    assert viewer.layers.selection.active is strokes
    dock = ClassesWidget(viewer)
    qtbot.addWidget(dock.native)
    assert dock.labels.value is result
    other = viewer.add_labels(CELLS.copy(), name="other", metadata={METADATA_KEY: {"format": 1}})
    assert dock.labels.value is result  # as chosen
    viewer.layers.selection.active = result
    second = ClassesWidget(viewer)
    qtbot.addWidget(second.native)
    assert second.labels.value is result
    viewer.layers.selection.active = strokes
    third = ClassesWidget(viewer)
    qtbot.addWidget(third.native)
    assert third.labels.value is other
