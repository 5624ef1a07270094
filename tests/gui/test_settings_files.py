from __future__ import annotations

from pathlib import Path

import pytest
from napari.components import ViewerModel
from napari.layers import Image
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QFileDialog

from napari_dfc.gui import settings_files
from napari_dfc.gui.dialogs import ask_for_settings, ask_where_to_save_settings
from napari_dfc.gui.segment_widget import SegmentWidget
from napari_dfc.gui.studio import Studio
from napari_dfc.preset_file import read_settings, save_settings
from napari_dfc.settings import Settings

MINE = Settings.from_preset("fast", n_groups=3, seed=5)


@pytest.fixture
def widget(viewer: ViewerModel, qtbot: QtBot) -> SegmentWidget:
    widget = SegmentWidget(viewer)
    qtbot.addWidget(widget.native)
    widget.native.show()
    return widget


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "Nuclei.dfc-preset.json"


def test_what_the_form_shows_is_saved_and_shown_again(
    widget: SegmentWidget, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_files, "ask_where_to_save_settings", lambda _: path)
    monkeypatch.setattr(settings_files, "ask_for_settings", lambda _: path)
    widget.form.show_settings(MINE)
    widget.files.save_button.native.click()
    assert read_settings(path).settings == MINE
    assert widget.status.value == "Saved as Nuclei.dfc-preset.json."
    widget.form.show_settings(Settings())
    widget.files.open_button.native.click()
    assert widget.form.settings() == MINE
    assert widget.status.value == "These are the settings “Nuclei”."


def test_opened_settings_are_looked_ahead_with(widget: SegmentWidget, image: Image, path: Path) -> None:
    assert widget.start_button.enabled
    before = widget.estimate.value
    save_settings(path, Settings.from_preset("accurate", split_into="clusters", n_channels=200, memory_limit=0.001))
    widget.files.open(path)
    assert (widget.estimate.value, widget.hint.value) != (before, "")


def test_nothing_is_done_where_one_thinks_better_of_it(
    widget: SegmentWidget, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings_files, "ask_where_to_save_settings", lambda _: None)
    monkeypatch.setattr(settings_files, "ask_for_settings", lambda _: None)
    widget.files.save_button.native.click()
    widget.files.open_button.native.click()
    assert widget.status.value == ""
    assert not path.exists()


def test_a_broken_file_changes_nothing_and_the_dock_says_why(widget: SegmentWidget, path: Path) -> None:
    path.write_text('{"format": 1, "name": "a", "preset": "fast", "changes": {"n_groups": 0}}')
    widget.form.show_settings(MINE)
    widget.files.open(path)
    assert widget.form.settings() == MINE
    assert widget.status.value.startswith("Not opened: Nuclei.dfc-preset.json: n_groups is 0; accepted is")
    widget.files.save(path)
    assert "exists already" in widget.status.value
    widget.files.save(path.with_name("missing") / path.name)
    assert "does not exist" in widget.status.value


def test_a_script_does_the_same_without_a_dock(viewer: ViewerModel, path: Path) -> None:
    studio = Studio(viewer)
    studio.save_settings(path, MINE, "Mine")
    assert studio.open_settings(path) == MINE
    with pytest.raises(FileExistsError):
        studio.save_settings(path, MINE)


@pytest.mark.parametrize(("chosen", "name"), [("a", "a.dfc-preset.json"), ("b.dfc-preset.json", "b.dfc-preset.json")])
def test_the_dialogs_ask_for_settings_files(
    widget: SegmentWidget, monkeypatch: pytest.MonkeyPatch, chosen: str, name: str
) -> None:
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: (chosen, ""))
    monkeypatch.setattr(QFileDialog, "getOpenFileName", lambda *_: (chosen, ""))
    assert ask_where_to_save_settings(widget.native) == Path(name)
    assert ask_for_settings(widget.native) == Path(chosen)
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *_: ("", ""))
    assert ask_where_to_save_settings(widget.native) is None
