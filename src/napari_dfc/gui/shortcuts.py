"""Keyboard shortcuts of the docks in a viewer, as the preferences say them: each presses a button."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary, ref

import napari.layers
from app_model import Application
from napari.components import ViewerModel
from napari.settings import get_settings
from napari.utils.key_bindings import coerce_keybinding

from napari_dfc.gui.preferences import follow, preferences

if TYPE_CHECKING:
    from magicgui.widgets import PushButton

    from napari_dfc.gui.dock import LayerDock

__all__ = ["Shortcuts", "key_of", "shortcuts_of"]

ACCEPTED = "accepted is a key, such as F8 or Ctrl+Shift+R, or nothing"


@dataclass(frozen=True)
class _OpenDock:
    """A dock, for as long as it is there, its buttons by what they do, and their tooltips without a shortcut."""

    dock: ref[LayerDock]
    buttons: Mapping[str, PushButton]
    tooltips: Mapping[str, str] = field(default_factory=dict)


class Shortcuts:
    """Those of one viewer. Of several docks the one that was opened last has them, until it is closed.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = ref(viewer)
        self._docks: list[_OpenDock] = []
        self._bound: dict[Any, Any] = {}
        self._told = ""

    def open(self, dock: LayerDock, buttons: Mapping[str, PushButton]) -> None:
        """Let shortcuts press the buttons of a dock until `close`, and tell them in the buttons' tooltips.

        Parameters
        ----------
        dock : LayerDock
            It says which shortcuts cannot be used, and why.
        buttons : mapping
            By the names of the shortcuts in the preferences.
        """
        follow(self.bind)
        self._docks.append(_OpenDock(ref(dock), buttons, {action: each.tooltip for action, each in buttons.items()}))
        self._told = ""
        self.bind()

    def close(self, dock: LayerDock) -> None:
        """Press no buttons of a dock any more; nothing is done where it has been closed already."""
        self._docks = [each for each in self._docks if each.dock() not in (dock, None)]
        self.bind()

    def bind(self, *_: Any) -> None:
        """Bind the keys anew, as the preferences are now."""
        viewer = self._viewer()
        if viewer is None:
            return
        for key, press in self._bound.items():
            if viewer.keymap.get(key) is press:
                viewer.bind_key(key, None)
        self._bound = {}
        if not self._docks:
            return
        words, troubles, used = {}, [], set(_keys_of_napari()) | set(viewer.keymap)
        for action, text in preferences().shortcuts.items():
            if not text.strip() or action not in self._docks[-1].buttons:
                continue
            try:
                key = key_of(text)
                if key in used:
                    raise ValueError(f"“{text}” is in use for something else")
            except ValueError as error:
                troubles.append(f"{self._docks[-1].buttons[action].text}: {error}.")
                continue
            used.add(key)
            words[action] = str(key)
            self._bound[key] = self._pressing(action)
            viewer.bind_key(key, self._bound[key])
        self._tell(words, troubles)

    def _pressing(self, action: str) -> Callable[[ViewerModel], None]:
        """What a key does: a function and no partial, because napari asks for its name."""

        def press(_: ViewerModel) -> None:
            self._docks[-1].buttons[action].native.click()  # one that is disabled does nothing

        return press

    def _tell(self, words: Mapping[str, str], troubles: list[str]) -> None:
        """Put the keys into the tooltips, and let the dock say what is wrong with the others."""
        for each in self._docks:
            for action, tooltip in each.tooltips.items():
                shortcut = f" Shortcut: {words[action]}." if action in words else ""
                each.buttons[action].tooltip = tooltip + shortcut
        told, dock = self._told, self._docks[-1].dock()
        self._told = f"No shortcut for {troubles[0]} See napari's Preferences, DFC segmentation." if troubles else ""
        if dock is not None and self._told != told and (self._told or dock.status.value == told):
            dock.say(self._told)


_shortcuts: WeakKeyDictionary[ViewerModel, Shortcuts] = WeakKeyDictionary()


def shortcuts_of(viewer: ViewerModel) -> Shortcuts:
    """Those of a viewer, whether it is the viewer itself or napari's wrapper for plugins."""
    viewer = getattr(viewer, "__wrapped__", viewer)
    return _shortcuts.setdefault(viewer, Shortcuts(viewer))


def key_of(text: str) -> Any:
    """The key that a text names, as napari binds it.

    Raises
    ------
    ValueError
        It names none, or several one after the other.

    Examples
    --------
    >>> str(key_of("ctrl + shift + r"))
    'Ctrl+Shift+R'
    >>> key_of("Ctrl+Shift")
    Traceback (most recent call last):
        ...
    ValueError: “Ctrl+Shift” is no shortcut; accepted is a key, such as F8 or Ctrl+Shift+R, or nothing
    """
    try:
        key = coerce_keybinding("".join(text.split()))
    except (TypeError, ValueError, KeyError):
        raise ValueError(f"“{text}” is no shortcut; {ACCEPTED}") from None
    if len(key.parts) != 1 or key.parts[0].key is None or key.parts[0].is_modifier_key():  # as an unknown key is, too
        raise ValueError(f"“{text}” is no shortcut; {ACCEPTED}")
    return key


def _keys_of_napari() -> Iterator[Any]:
    """The keys that napari uses itself: for the viewer, for any kind of layer, and in its menus."""
    for keys in get_settings().shortcuts.shortcuts.values():
        yield from keys
    kinds = [ViewerModel, *(getattr(napari.layers, name) for name in napari.layers.__all__)]
    for kind in kinds:
        yield from getattr(kind, "class_keymap", {})
    app = Application.get_app("napari")
    if app is not None:
        for rule in app.keybindings:
            yield rule.keybinding
