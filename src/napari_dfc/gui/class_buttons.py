"""The buttons of the dock "Classes": what each does, in words, and which of them can be pressed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from magicgui.widgets import PushButton

from napari_dfc.edits import History

if TYPE_CHECKING:
    from napari_dfc.gui.counted_layer import ClassRow

__all__ = ["ClassButtons"]

#: Text and tooltip of every button.
BUTTONS = {
    "merge": (
        "Merge",
        "Make one class of the chosen ones. Number, name and color of the one that you clicked first stay.",
    ),
    "background": (
        "Background",
        "The chosen classes are nothing you look for: their pixels become empty (label 0). Do this last: strokes that "
        "you paint afterwards give every pixel a class again.",
    ),
    "hide": ("Hide", "Make the chosen classes invisible, to see the image below. Nothing is lost."),
    "lock": (
        "Lock",
        "The chosen classes keep their pixels: merging and refining take none away. Others may still join them.",
    ),
    "split": (
        "Split into objects",
        "Give every piece of the chosen class, such as every nucleus, a number of its own in a new layer, and measure "
        "it. Pieces that touch stay one object.",
    ),
    "measure": (
        "Measure",
        "Measure size, position and, with an image, brightness of every class or object. The status bar shows it for "
        "what is under the mouse, and the saved table holds it.",
    ),
    "save": ("Save table ...", "Write classes, areas and measures to a file for Excel, R and others (CSV)."),
    "undo": ("Undo", ""),
    "redo": ("Redo", ""),
}


class ClassButtons:
    """One attribute for each button, under its name in `BUTTONS`."""

    def __init__(self) -> None:
        made = {name: PushButton(text=text, tooltip=tooltip) for name, (text, tooltip) in BUTTONS.items()}
        self.merge, self.background, self.hide, self.lock = (made[name] for name in list(BUTTONS)[:4])
        self.split, self.measure, self.save, self.undo, self.redo = (made[name] for name in list(BUTTONS)[4:])

    def offer(self, chosen: Sequence[ClassRow], there: bool, writable: bool, history: History) -> None:
        """Enable those that can be pressed.

        Parameters
        ----------
        chosen : sequence of ClassRow
        there : bool
            Whether there are classes.
        writable : bool
            Whether their pixels can be changed.
        history : History
            What undo takes back and redo does again.
        """
        self.merge.enabled = writable and len(chosen) > 1
        self.background.enabled = writable and bool(chosen)
        self.hide.enabled = self.lock.enabled = bool(chosen)
        self.hide.text = "Show" if chosen and all(row.is_hidden for row in chosen) else "Hide"
        self.lock.text = "Unlock" if chosen and all(row.is_locked for row in chosen) else "Lock"
        self.split.enabled = len(chosen) == 1
        self.measure.enabled = self.save.enabled = there
        for button, verb, words in ((self.undo, "Undo", history.to_undo), (self.redo, "Redo", history.to_redo)):
            button.enabled = bool(words)
            button.tooltip = f"{verb} {words}." if words else f"There is nothing to {verb.lower()}."
