from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from napari.components import ViewerModel
from napari.layers import Image
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QGroupBox, QLineEdit

from napari_dfc.gui import preferences
from napari_dfc.gui.preferences import DEFAULT_SHORTCUTS, Preferences, last_used, remember, starting_settings
from napari_dfc.gui.segment_widget import SegmentWidget
from napari_dfc.gui.worker import LayerRun
from napari_dfc.preset_file import read_settings
from napari_dfc.settings import Settings

QUICK = Settings(split_into="clusters", max_iterations=2, n_channels=8, min_labels=1)


def new_dock(viewer: ViewerModel, qtbot: QtBot) -> SegmentWidget:
    widget = SegmentWidget(viewer)
    qtbot.addWidget(widget.native)
    return widget


# ---------------------------------------------------------------------- the page


def test_the_defaults_are_those_of_the_manifest(page: Any) -> None:
    assert preferences.preferences() == Preferences()


def test_what_was_never_run_starts_with_preset_and_device_of_the_page(page: Any) -> None:
    page.defaults.preset, page.defaults.device = "fast", "cpu"
    assert starting_settings() == Settings.from_preset("fast", device="cpu")


def test_live_strokes_can_be_off_from_the_start(page: Any, viewer: ViewerModel, qtbot: QtBot) -> None:
    assert new_dock(viewer, qtbot).studio.live
    page.defaults.live = False
    widget = new_dock(viewer, qtbot)
    assert not widget.studio.live
    assert not widget.controls.live.value


def test_a_preference_that_an_older_version_left_is_no_hindrance(caplog: pytest.LogCaptureFixture) -> None:
    assert Preferences(preset="medium").settings() == Settings()
    assert "preset is 'medium'" in caplog.text


def test_without_a_page_the_defaults_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preferences, "_page", lambda: None)
    assert preferences.preferences() == Preferences()


# ---------------------------------------------------------------------- the settings of the last run


def test_a_new_dock_starts_with_the_settings_of_the_last_run(
    page: Any, viewer: ViewerModel, image: Image, qtbot: QtBot, finish: Callable[[LayerRun], LayerRun]
) -> None:
    first = new_dock(viewer, qtbot)
    first.form.show_settings(QUICK)
    assert new_dock(viewer, qtbot).form.settings() == Settings()  # for nothing was run yet
    finish(first.start())
    assert new_dock(ViewerModel(), qtbot).form.settings() == QUICK
    page.defaults.start_with = "preset"
    assert new_dock(viewer, qtbot).form.settings() == Settings()


def test_the_preferred_device_comes_before_that_of_the_last_run(page: Any) -> None:
    remember(QUICK.change(device="cuda"))
    assert starting_settings().device == "cuda"
    page.defaults.device = "cpu"
    assert starting_settings() == QUICK.change(device="cpu")


@pytest.mark.parametrize(
    "text", ["", "{", '{"format": 99}', '{"format": 1, "name": "a", "preset": "old", "changes": {}}']
)
def test_a_broken_file_is_left_out_with_a_word_in_the_log(text: str, caplog: pytest.LogCaptureFixture) -> None:
    path = preferences.last_used_file()
    path.parent.mkdir()
    path.write_text(text)
    assert last_used() is None
    assert starting_settings() == Settings()
    assert "The settings of the last run are left out: last.dfc-preset.json: " in caplog.text
    remember(QUICK)
    assert last_used() == QUICK


def test_where_nothing_can_be_written_the_run_goes_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "napari").write_text("a file where the folder should be")
    with caplog.at_level(logging.WARNING):
        remember(QUICK)
    assert "not kept for the next time" in caplog.text
    assert last_used() is None


def test_what_is_kept_lies_beside_napari_s_own_settings_and_can_be_shared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Kept:
        config_path: Path | None = tmp_path / "0.9" / "settings.yaml"

    monkeypatch.undo()  # the tests' own place
    monkeypatch.setattr(preferences, "get_settings", Kept)
    remember(QUICK)
    assert read_settings(tmp_path / "0.9" / "napari-dfc-last.dfc-preset.json").settings == QUICK
    Kept.config_path = None  # napari keeps nothing
    remember(Settings())
    assert last_used() is None


# ---------------------------------------------------------------------- in the window


@pytest.mark.gui
def test_napari_s_dialog_shows_the_page(page: Any, make_napari_viewer: Callable[..., Any], qtbot: QtBot) -> None:
    """Of some names that a section may have, such as shortcuts, napari has ideas of its own."""
    from napari._qt.dialogs.preferences_dialog import PreferencesDialog

    viewer = make_napari_viewer()
    dialog = PreferencesDialog(parent=viewer.window._qt_window)
    qtbot.addWidget(dialog)
    shown = {box.title(): box for box in dialog.findChildren(QGroupBox)}
    assert {"Segment", "Keyboard shortcuts"} <= set(shown)
    (run,) = [
        line for line in shown["Keyboard shortcuts"].findChildren(QLineEdit) if line.text() == DEFAULT_SHORTCUTS["run"]
    ]
    run.setText("F8")
    assert preferences.preferences().shortcuts["run"] == "F8"
