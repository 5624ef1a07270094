"""The list in which references are ticked, each with the layer of its strokes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, Container
from napari.layers import Image, Labels

from napari_dfc.gui.dock import narrow
from napari_dfc.gui.form import labeled, stacked
from napari_dfc.gui.layers import METADATA_KEY
from napari_dfc.gui.placement import full_resolution

__all__ = ["ReferenceList"]


class ReferenceList(Container[Any]):
    """A box to tick for each image layer and, where it is ticked, a choice of strokes; choices stay with their layers.

    `changed` emits after a choice.
    """

    def __init__(self) -> None:
        super().__init__(labels=False)
        self.margins = (0, 0, 0, 0)
        self._ticks: dict[Image, CheckBox] = {}
        self._strokes: dict[Image, ComboBox] = {}
        self._rows: dict[Image, Any] = {}
        self._label_layers: list[Labels] = []

    @property
    def chosen(self) -> list[tuple[Image, Labels | None]]:
        """The ticked layers, in the order of the list, and their strokes."""
        return [(image, self._strokes[image].value) for image, tick in self._ticks.items() if tick.value]

    def tick(self, image: Image, ticked: bool = True) -> None:
        """Choose an image as a reference, or no longer."""
        self._ticks[image].value = ticked

    def choose_strokes(self, image: Image, strokes: Labels | None) -> None:
        """Say which strokes lie on an image."""
        self._strokes[image].value = strokes

    def offer(self, images: Sequence[Image], label_layers: Sequence[Labels], wanted: Sequence[Image] = ()) -> None:
        """Show these layers under their present names.

        Parameters
        ----------
        images : sequence of napari.layers.Image
        label_layers : sequence of napari.layers.Labels
            To choose strokes from.
        wanted : sequence of napari.layers.Image
            What is new and among these is ticked.
        """
        before = set(self._label_layers)
        self._label_layers = list(label_layers)
        with self.changed.blocked():
            for image in set(self._ticks) - set(images):
                self.remove(self._rows.pop(image))
                del self._ticks[image], self._strokes[image]
            for image in images:
                if image in self._ticks:
                    self._strokes[image].reset_choices()
                else:
                    self._add(image)
                    self._ticks[image].value = image in wanted
                self._ticks[image].text = image.name
                self._ticks[image].tooltip = f"Learn from “{image.name}”."
                matching = [layer for layer in label_layers if layer not in before and belongs_to(layer, image)]
                if matching and self._strokes[image].value is None:
                    self._strokes[image].value = matching[0]
        self._show_rows()

    def _add(self, image: Image) -> None:
        tick = CheckBox(text=image.name)
        strokes = ComboBox(
            label="    its strokes",
            choices=lambda _: self._label_layers,
            nullable=True,
            tooltip="A Labels layer with painted strokes on this image; a class need not be painted on every image.",
        )
        narrow(strokes)
        tick.changed.connect(self._show_rows)
        self._ticks[image], self._strokes[image] = tick, strokes
        self._rows[image] = stacked([tick, labeled(strokes)])
        self.append(self._rows[image])

    def _show_rows(self) -> None:
        for image, tick in self._ticks.items():
            self._rows[image][1].visible = bool(tick.value and self._label_layers)


def belongs_to(strokes: Labels, image: Image) -> bool:
    """Whether a Labels layer looks like the strokes on an image: by its name and size, and as it is no result."""
    same_size = full_resolution(strokes).shape[-2:] == full_resolution(image).shape[: image.ndim][-2:]
    return same_size and strokes.name.startswith(image.name) and METADATA_KEY not in strokes.metadata
