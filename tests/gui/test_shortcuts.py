from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import napari
import numpy as np
import pytest
from app_model import Application
from napari._app_model import get_app_model
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils.key_bindings import KeymapHandler
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from superqt.utils._qthreading import WorkerBase

from napari_dfc.gui.preferences import DEFAULT_SHORTCUTS
from napari_dfc.gui.segment_widget import SegmentWidget
from napari_dfc.gui.shortcuts import key_of
from napari_dfc.gui.worker import LayerRun
from napari_dfc.settings import Settings

Open = Callable[[], SegmentWidget]

KEYS = set(map(key_of, DEFAULT_SHORTCUTS.values()))


@pytest.fixture
def open_dock(viewer: ViewerModel, qtbot: QtBot) -> Iterator[Open]:
    opened = []

    def open_dock() -> SegmentWidget:
        opened.append(widget := SegmentWidget(viewer))
        qtbot.addWidget(widget.native)
        widget.form.show_settings(Settings(split_into="clusters", max_iterations=100_000, n_channels=8, min_labels=1))
        return widget

    yield open_dock
    for widget in opened:  # lest a run goes on where a test has failed
        widget._let_go()


def press(viewer: ViewerModel, key: str) -> bool:
    """Press a key as if the canvas had the focus; whether anything is bound to it."""
    handler = KeymapHandler()
    handler.keymap_providers = [each for each in (viewer.layers.selection.active, viewer) if each is not None]
    return handler.press_key(key)


# ---------------------------------------------------------------------- what they do


def test_keys_run_hold_go_on_and_stop(
    open_dock: Open, viewer: ViewerModel, image: Image, filled: Callable[[LayerRun], LayerRun]
) -> None:
    widget = open_dock()
    press(viewer, "Ctrl+Shift+R")
    assert widget.running
    press(viewer, "Ctrl+Shift+H")
    assert widget.run.held
    press(viewer, "Ctrl+Shift+H")
    assert not widget.run.held
    filled(widget.run)
    press(viewer, "Ctrl+Shift+X")
    assert not widget.running


def test_keys_press_the_buttons_of_a_result(open_dock: Open, viewer: ViewerModel, image: Image) -> None:
    widget = open_dock()
    for action, button in widget.controls.with_shortcuts.items():
        pressed: list[bool] = []
        button.changed.disconnect()
        button.changed.connect(pressed.append)
        button.enabled = False
        press(viewer, DEFAULT_SHORTCUTS[action])
        assert pressed == [], action
        button.enabled = True
        press(viewer, DEFAULT_SHORTCUTS[action])
        assert len(pressed) == 1, action


def test_a_key_whose_button_is_disabled_does_nothing(open_dock: Open, viewer: ViewerModel) -> None:
    widget = open_dock()
    for key in DEFAULT_SHORTCUTS.values():
        assert press(viewer, key)
    assert widget.run is None


# ---------------------------------------------------------------------- opened and closed


def test_keys_are_released_when_the_dock_closes(open_dock: Open, viewer: ViewerModel) -> None:
    before = dict(viewer.keymap)
    widget = open_dock()
    assert set(viewer.keymap) == set(before) | KEYS
    widget._let_go()
    widget._let_go()
    assert viewer.keymap == before


def test_of_two_docks_the_one_opened_last_has_the_keys_until_it_closes(
    open_dock: Open, viewer: ViewerModel, image: Image
) -> None:
    first, second = open_dock(), open_dock()
    press(viewer, "Ctrl+Shift+R")
    assert (first.running, second.running) == (False, True)
    press(viewer, "Ctrl+Shift+X")
    second._let_go()
    press(viewer, "Ctrl+Shift+R")
    assert (first.running, second.running) == (True, False)
    first._let_go()
    assert not KEYS & set(viewer.keymap)


def test_what_a_script_has_bound_stays_its_own(open_dock: Open, viewer: ViewerModel) -> None:
    pressed: list[ViewerModel] = []
    viewer.bind_key("Ctrl+Shift+R", pressed.append)
    widget = open_dock()
    press(viewer, "Ctrl+Shift+R")
    assert pressed == [viewer]
    assert widget.status.value.startswith("No shortcut for Run: “Ctrl+Shift+R” is in use")
    widget._let_go()
    press(viewer, "Ctrl+Shift+R")
    assert len(pressed) == 2


# ---------------------------------------------------------------------- changed in the preferences


def test_tooltips_tell_the_keys(page: Any, open_dock: Open) -> None:
    widget = open_dock()
    assert widget.start_button.tooltip == "Segment the displayed plane into a new Labels layer. Shortcut: Ctrl+Shift+R."
    page.keys.run = "f8"
    assert widget.start_button.tooltip == "Segment the displayed plane into a new Labels layer. Shortcut: F8."
    page.keys.run = " "
    assert widget.start_button.tooltip == "Segment the displayed plane into a new Labels layer."


def test_a_key_that_is_changed_counts_at_once(page: Any, open_dock: Open, viewer: ViewerModel, image: Image) -> None:
    widget = open_dock()
    page.keys.run = "F8"
    assert not press(viewer, "Ctrl+Shift+R")
    press(viewer, "F8")
    assert widget.running
    page.reset()
    assert not press(viewer, "F8")
    press(viewer, "Ctrl+Shift+X")
    assert not widget.running


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Strg+R", "No shortcut for Run: “Strg+R” is no shortcut; accepted is a key, such as F8"),
        ("Ctrl+Shift", "is no shortcut"),
        ("Ctrl+K Ctrl+R", "is no shortcut"),
        ("Ctrl+R", "“Ctrl+R” is in use for something else"),  # Reset view, of the viewer
        ("Ctrl+Shift+Z", "is in use"),  # Redo, of a Labels layer
        ("P", "is in use"),  # Paint
        ("Ctrl+Shift+R", "No shortcut for Stop: “Ctrl+Shift+R” is in use"),
    ],
)
def test_a_key_that_cannot_be_used_is_said_until_it_is_put_right(
    page: Any, open_dock: Open, viewer: ViewerModel, text: str, words: str
) -> None:
    widget = open_dock()
    before = set(viewer.keymap)
    action = "stop" if text == "Ctrl+Shift+R" else "run"
    setattr(page.keys, action, text)
    assert words in widget.status.value
    assert "DFC segmentation" in widget.status.value
    assert set(viewer.keymap) == before - {key_of(DEFAULT_SHORTCUTS[action])}
    setattr(page.keys, action, "")
    assert widget.status.value == ""


def test_a_closed_dock_is_told_nothing(page: Any, open_dock: Open, viewer: ViewerModel) -> None:
    widget = open_dock()
    widget._let_go()
    page.keys.run = "nonsense"
    assert widget.status.value == ""
    assert not KEYS & set(viewer.keymap)


# ---------------------------------------------------------------------- in the window


@pytest.fixture
def window(make_napari_viewer: Callable[..., napari.Viewer], qtbot: QtBot) -> Any:
    yield make_napari_viewer(show=True)
    qtbot.waitUntil(lambda: not WorkerBase._worker_set, timeout=20_000)


def docked(window: napari.Viewer) -> SegmentWidget:
    widget = SegmentWidget(window)
    window.window.add_dock_widget(widget, name="Segment")
    return widget


@pytest.mark.gui
def test_the_defaults_are_none_of_napari_s_keys(window: napari.Viewer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Application, "get_app", lambda _: get_app_model())  # a test's has another name
    widget = docked(window)
    for action, button in (("run", widget.start_button), ("stop", widget.stop_button)):
        assert DEFAULT_SHORTCUTS[action] in button.tooltip
    for action, button in widget.controls.with_shortcuts.items():
        assert DEFAULT_SHORTCUTS[action] in button.tooltip
    assert widget.status.value == ""
    of_menus = {rule.keybinding for rule in get_app_model().keybindings}
    assert key_of("Ctrl+Shift+O") in of_menus
    assert not KEYS & of_menus


@pytest.mark.gui
def test_a_key_of_the_menus_is_left_to_them(page: Any, window: napari.Viewer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Application, "get_app", lambda _: get_app_model())
    page.keys.run = "Ctrl+Shift+O"
    assert "“Ctrl+Shift+O” is in use" in docked(window).status.value


@pytest.mark.gui
@pytest.mark.parametrize("where", ["canvas", "dock"])
def test_a_key_is_heard_wherever_the_focus_is(
    window: napari.Viewer, tissue: np.ndarray, qtbot: QtBot, where: str
) -> None:
    window.add_image(tissue)
    widget = docked(window)
    focused = window.window._qt_viewer.canvas.native if where == "canvas" else widget.form.control("n_groups").native
    qtbot.keyClick(focused, Qt.Key.Key_R, Qt.KeyboardModifier.ControlModifier | Qt.KeyboardModifier.ShiftModifier)
    assert widget.run is not None
    widget.stop()
