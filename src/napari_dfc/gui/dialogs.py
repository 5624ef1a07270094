"""The dialogs that ask for files, in one place so that nothing else has to know them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtWidgets import QFileDialog

from napari_dfc import preset_file
from napari_dfc.files import IMAGE_SUFFIXES
from napari_dfc.model_document import ENDING

if TYPE_CHECKING:
    from qtpy.QtWidgets import QWidget

__all__ = [
    "ask_for_images",
    "ask_for_network",
    "ask_for_settings",
    "ask_where_to_save",
    "ask_where_to_save_settings",
    "ask_where_to_save_table",
]

NETWORKS = f"Trained networks (*{ENDING})"
SETTINGS = f"Settings (*{preset_file.ENDING})"


def ask_for_images(parent: QWidget) -> list[Path]:
    """Image files to open; none where the user has thought better of it."""
    suffixes = " ".join(f"*{suffix}" for suffix in sorted(IMAGE_SUFFIXES))
    names, _ = QFileDialog.getOpenFileNames(parent, "Reference images", "", f"Images ({suffixes})")
    return [Path(name) for name in names]


def ask_for_network(parent: QWidget) -> Path | None:
    """A network's file to read."""
    name, _ = QFileDialog.getOpenFileName(parent, "Open a trained network", "", NETWORKS)
    return Path(name) if name else None


def ask_for_settings(parent: QWidget) -> Path | None:
    """A file of settings to read."""
    name, _ = QFileDialog.getOpenFileName(parent, "Open settings", "", SETTINGS)
    return Path(name) if name else None


def ask_where_to_save_settings(parent: QWidget) -> Path | None:
    """Where to write settings; the dialog asks by itself before a file is replaced."""
    chosen, _ = QFileDialog.getSaveFileName(parent, "Save settings", f"settings{preset_file.ENDING}", SETTINGS)
    if not chosen:
        return None
    return Path(chosen if chosen.endswith(preset_file.ENDING) else f"{chosen}{preset_file.ENDING}")


def ask_where_to_save(parent: QWidget, name: str) -> Path | None:
    """Where to write a network; the dialog asks by itself before a file is replaced."""
    chosen, _ = QFileDialog.getSaveFileName(parent, "Save the trained network", f"{name}{ENDING}", NETWORKS)
    if not chosen:
        return None
    return Path(chosen if chosen.endswith(ENDING) else f"{chosen}{ENDING}")


def ask_where_to_save_table(parent: QWidget, name: str) -> Path | None:
    """Where to write a table; the dialog asks by itself before a file is replaced."""
    chosen, _ = QFileDialog.getSaveFileName(parent, "Save the table", f"{name}.csv", "Tables (*.csv)")
    if not chosen:
        return None
    return Path(chosen if chosen.endswith(".csv") else f"{chosen}.csv")
