"""What a person prefers, as napari's preferences say it, and the settings of the last run; no Qt."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from napari.settings import get_settings

from napari_dfc.preset_file import ENDING, read_settings, save_settings
from napari_dfc.settings import DEFAULT_PRESET, Settings

__all__ = [
    "DEFAULT_SHORTCUTS",
    "Preferences",
    "follow",
    "last_used",
    "last_used_file",
    "preferences",
    "remember",
    "starting_settings",
]

#: What a new Segment dock may start with.
LAST_USED, PRESET = "last used", "preset"

#: Keys of the Segment dock, by what they do. With Alt in place of Ctrl they would write letters on a Mac.
DEFAULT_SHORTCUTS: Mapping[str, str] = MappingProxyType(
    {
        "run": "Ctrl+Shift+R",
        "stop": "Ctrl+Shift+X",
        "hold": "Ctrl+Shift+H",
        "once": "Ctrl+Shift+I",
        "spot": "Ctrl+Shift+N",
        "undo": "Ctrl+Shift+B",
        "redo": "Ctrl+Shift+F",
    }
)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Preferences:
    """The page of the plugin in napari's preferences; the defaults are those of napari.yaml.

    Attributes
    ----------
    preset, device : str
        What the settings start from.
    start_with : str
        "last used" or "preset": whether the settings of the last run come before the preset.
    live : bool
        Whether strokes take effect as soon as they are painted.
    shortcuts : mapping
        Keys such as "Ctrl+Shift+R" by what they do; empty for none.
    """

    preset: str = DEFAULT_PRESET
    device: str = "auto"
    start_with: str = LAST_USED
    live: bool = True
    shortcuts: Mapping[str, str] = field(default_factory=lambda: DEFAULT_SHORTCUTS)

    def settings(self) -> Settings:
        """The settings of preset and device; of the defaults where an older version has left something else."""
        try:
            return Settings.from_preset(self.preset, device=self.device)
        except (TypeError, ValueError) as error:
            _log.warning("A preference of napari-dfc is left out: %s", error)
            return Settings()


def preferences() -> Preferences:
    """What the page says now; the defaults in a napari that has no such pages."""
    page = _page()
    if page is None:
        return Preferences()
    segment, keys = page.defaults, page.keys
    return Preferences(
        preset=str(segment.preset),
        device=str(segment.device),
        start_with=str(segment.start_with),
        live=bool(segment.live),
        shortcuts={action: str(getattr(keys, action)) for action in DEFAULT_SHORTCUTS},
    )


def follow(changed: Callable[..., None]) -> None:
    """Call a method whenever a preference has changed, until its object is gone; asked twice, once."""
    page = _page()
    if page is not None:
        page.events.changed.connect(changed)


def starting_settings() -> Settings:
    """What a new Segment dock shows: the settings of the last run, unless the preferences say otherwise."""
    preferred = preferences()
    last = last_used() if preferred.start_with == LAST_USED else None
    if last is None:
        return preferred.settings()
    return last if preferred.device == "auto" else last.change(device=preferred.settings().device)


def remember(settings: Settings) -> None:
    """Keep the settings of a run for the next time; where that can't be, the log says so."""
    path = last_used_file()
    if path is None:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_settings(path, settings, LAST_USED, overwrite=True)
    except OSError as error:
        _log.warning("The settings of this run are not kept for the next time: %s", error)


def last_used() -> Settings | None:
    """The settings of the last run; None where there was none, or where the file can't be used."""
    path = last_used_file()
    if path is None or not path.exists():
        return None
    try:
        return read_settings(path).settings
    except (OSError, ValueError) as error:
        _log.warning("The settings of the last run are left out: %s", error)
        return None


def last_used_file() -> Path | None:
    """Where the settings of the last run are kept: beside napari's own; None where napari keeps nothing."""
    beside = get_settings().config_path
    return Path(beside).parent / f"napari-dfc-last{ENDING}" if beside else None


def _page() -> Any:
    """The plugin's page; None in napari before 0.9, or while the plugin is disabled."""
    try:
        from napari.settings import get_plugin_settings
    except ImportError:
        return None
    try:
        return get_plugin_settings("napari-dfc")
    except KeyError:
        return None
