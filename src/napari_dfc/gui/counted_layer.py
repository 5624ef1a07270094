"""A Labels layer that is followed: its classes are counted anew when its labels change."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from napari.layers import Labels
from psygnal import Signal

from napari_dfc.gui.class_measures import measures_of
from napari_dfc.gui.colors import class_colors, class_names, hex_colors
from napari_dfc.gui.layers import METADATA_KEY
from napari_dfc.gui.notes import forget_measures, noted
from napari_dfc.gui.pixel_grid import PixelGrid
from napari_dfc.regions import class_table, count_pixels

__all__ = ["ClassRow", "CountedLayer"]


@dataclass(frozen=True)
class ClassRow:
    """A class of a layer.

    Parameters
    ----------
    number : int
        Its pixels' value.
    name, color : str
        The color as ``#rrggbb``.
    pixels : int
    area : float
        Or volume, in the unit of `Outcome.grid`.
    share : float
        Of all pixels of the layer, 0 to 1.
    is_hidden, is_locked : bool
    """

    number: int
    name: str
    color: str
    pixels: int
    area: float
    share: float
    is_hidden: bool
    is_locked: bool


class CountedLayer:
    """The classes of a Labels layer, as they are now.

    Parameters
    ----------
    layer : napari.layers.Labels

    Attributes
    ----------
    changed : psygnal.Signal
        Emitted when classes look different, or have to be counted anew.
    """

    changed = Signal()

    def __init__(self, layer: Labels) -> None:
        if not isinstance(layer, Labels):
            raise TypeError(f"layer is {layer!r}; accepted is a Labels layer, such as viewer.layers['nuclei']")
        if layer.multiscale:
            raise ValueError(
                f"“{layer.name}” is multiscale: it holds its labels at several resolutions, and an edit would change "
                "only one of them. Add its finest level as a layer of its own: "
                "viewer.add_labels(np.asarray(layer.data[0]))"
            )
        self.layer = layer
        self._data, self._record = layer.data, layer.metadata.get(METADATA_KEY)
        self._counts: dict[int, int] = {}
        self._version, self._counted = 0, -1
        self._quiet = False
        events = layer.events
        self._followed: list[tuple[Any, Callable[..., None]]] = [
            (events.data, self._look_again),
            (events.set_data, self._look_again),
            (events.labels_update, self._look_again),
            (events.paint, self._take_paint),  # comes before the array is changed where it is no stroke of the mouse
            *((event, self._tell) for event in (events.colormap, events.features, events.scale, events.units)),
        ]
        for event, follow in self._followed:
            event.connect(follow)

    def let_go(self) -> None:
        """Follow the layer no longer."""
        for event, follow in self._followed:
            event.disconnect(follow)
        self._followed = []

    @property
    def counted(self) -> bool:
        """Whether the classes have been counted since the layer's labels changed."""
        return self._counted == self._version

    @property
    def numbers(self) -> list[int]:
        """The classes' numbers, rising."""
        self._count()
        return list(self._counts)

    @property
    def grid(self) -> PixelGrid:
        """What the layer's pixels are in the world."""
        return PixelGrid.of(self.layer)

    @property
    def locked(self) -> frozenset[int]:
        """Classes whose pixels keep their label when the segmentation is refined, and in edits here."""
        return frozenset(noted(self.layer).get("locked", ()))

    @property
    def n_classes(self) -> int:
        """By the latest count."""
        return len(self._counts)

    def rows(self, fresh: bool = True, most: int | None = None) -> list[ClassRow]:
        """The classes, by rising number.

        Parameters
        ----------
        fresh : bool
            Count where it has to be done, which takes half a second for 100 million pixels; otherwise the latest
            counts.
        most : int, optional
            Only the largest ones, of thousands.
        """
        if fresh:
            self._count()
        counts = self._counts
        if most is not None and len(counts) > most:
            largest = sorted(counts, key=lambda number: -counts[number])[:most]
            counts = {number: counts[number] for number in sorted(largest)}
        numbers = list(counts)
        names, colors = class_names(self.layer, numbers), class_colors(self.layer, numbers)
        shown, locked = hex_colors(colors), self.locked
        table = class_table(counts, math.prod(self.layer.data.shape), self.grid.area)
        return [
            ClassRow(
                number=number,
                name=names[number],
                color=shown[number],
                pixels=pixels,
                area=area,
                share=share,
                is_hidden=colors[number][3] == 0,
                is_locked=number in locked,
            )
            for number, pixels, area, share in zip(*table.values(), strict=True)
        ]

    def counting(self) -> Callable[[], tuple[int, dict[int, int]]]:
        """What counts the classes, to be called in any thread; `take_counts` takes what it returns."""
        version, data = self._version, self.layer.data
        return lambda: (version, count_pixels(data))

    def take_counts(self, found: tuple[int, dict[int, int]]) -> None:
        """Take what `counting` has found, even where the labels have changed meanwhile."""
        self._counted, self._counts = found
        measured = measures_of(self.layer).get("pixels")
        if measured is not None and any(measured.get(each) != pixels for each, pixels in self._counts.items()):
            with self._telling_once():
                forget_measures(self.layer)

    def checked(self, numbers: Iterable[int]) -> list[int]:
        """Numbers of classes that are there, as whole numbers; ValueError where one is not, or none is given."""
        chosen = [int(number) for number in numbers]
        if not chosen:
            raise ValueError("no class is chosen; give the number of one or more")
        there = self.numbers
        unknown = [number for number in chosen if number not in self._counts]
        if unknown:
            known = ", ".join(map(str, there[:20])) + " ..." * (len(there) > 20)
            raise ValueError(f"“{self.layer.name}” has no class {unknown[0]}; its classes are {known or 'none'}")
        return chosen

    def _count(self) -> None:
        if not self.counted:
            self.take_counts(self.counting()())

    def _count_changes(self, gained: Mapping[int, int]) -> None:
        """The labels were changed by an edit, by which every number has gained so many pixels, or lost them."""
        was_counted = self.counted
        self._version += 1
        if was_counted:
            there = sorted({*self._counts, *gained} - {0})
            counts = {number: self._counts.get(number, 0) + gained.get(number, 0) for number in there}
            if min(counts.values(), default=0) >= 0:  # else somebody has written labels and told nobody
                self.take_counts((self._version, {number: pixels for number, pixels in counts.items() if pixels}))

    def _data_replaced(self) -> None:
        """The layer was given another array, or a run has written other labels into it."""

    def _take_paint(self, event: Any) -> None:
        """Something was painted by hand."""
        with self._telling_once():
            forget_measures(self.layer)
            self._version += 1

    def _look_again(self) -> None:
        """The labels may have changed."""
        data, record = self.layer.data, self.layer.metadata.get(METADATA_KEY)
        if data is not self._data or record is not self._record:
            self._data, self._record = data, record
            self._data_replaced()
        elif self._quiet:  # drawn anew because of an edit here, which says by itself whether labels changed
            return
        self._version += 1
        self._tell()

    def _tell(self) -> None:
        if not self._quiet:
            self.changed.emit()

    @contextmanager
    def _telling_once(self) -> Iterator[None]:
        """Emit `changed` at the end, and not for each of the layer's events on the way."""
        was_quiet, self._quiet = self._quiet, True
        try:
            yield
        finally:
            self._quiet = was_quiet
        self._tell()
