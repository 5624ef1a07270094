"""The two buttons that open settings from a file and save them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container, PushButton

from napari_dfc.gui.dialogs import ask_for_settings, ask_where_to_save_settings

if TYPE_CHECKING:
    from napari_dfc.gui.form import SettingsForm
    from napari_dfc.gui.studio import Studio

__all__ = ["SettingsFiles"]


class SettingsFiles(Container[Any]):
    """Buttons that save what a form shows, or show in it what a file holds.

    Parameters
    ----------
    form : SettingsForm
    studio : Studio
        Whose methods do it, and which says what became of it.
    """

    def __init__(self, form: SettingsForm, studio: Studio) -> None:
        super().__init__(layout="horizontal", labels=False)
        self.margins = (0, 0, 0, 0)
        self._form, self._studio = form, studio
        self.open_button = PushButton(
            text="Open settings ...", tooltip="Take all settings from a file that you or a colleague has saved."
        )
        self.save_button = PushButton(
            text="Save settings ...",
            tooltip="Write all settings to a file, to use them again for the next experiment or to pass them on.",
        )
        self.extend([self.open_button, self.save_button])
        self.open_button.changed.connect(self._ask_and_open)
        self.save_button.changed.connect(self._ask_and_save)

    def open(self, path: Path) -> None:
        """Show the settings of a file; where that can't be, it is said why."""
        try:
            settings = self._studio.open_settings(path)
        except (OSError, ValueError) as error:
            self._studio.said.emit(f"Not opened: {error}.")
            return
        self._form.show_settings(settings)
        self._form.changed.emit(self._form)

    def save(self, path: Path, overwrite: bool = False) -> None:
        """Write the settings as the form shows them; where that can't be, it is said why."""
        try:
            self._studio.save_settings(path, self._form.settings(), overwrite=overwrite)
        except (OSError, ValueError) as error:
            self._studio.said.emit(f"Not saved: {error}.")

    def _ask_and_open(self) -> None:
        path = ask_for_settings(self.native)
        if path is not None:
            self.open(path)

    def _ask_and_save(self) -> None:
        path = ask_where_to_save_settings(self.native)
        if path is not None:
            self.save(path, overwrite=True)  # the dialog has asked
