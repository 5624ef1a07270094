"""A segmentation to be put right: its classes named, colored, merged, hidden, locked, split into objects, measured."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Image, Labels
from numpy.typing import NDArray

from napari_dfc.edits import Edit, History, Replacement, keep_locked
from napari_dfc.gui.class_measures import (
    Measuring,
    Splitting,
    measures_of,
    new_objects_layer,
    show_measures,
)
from napari_dfc.gui.colors import class_colors, class_names, color_classes, set_class_names, to_rgba
from napari_dfc.gui.counted_layer import CountedLayer
from napari_dfc.gui.notes import forget_measures, note, noted
from napari_dfc.legend import Legend, LegendEntry
from napari_dfc.regions import write_columns

__all__ = ["Outcome"]


class Outcome(CountedLayer):
    """The classes of a Labels layer, to be edited from napari's console or by the dock "Classes".

    Parameters
    ----------
    layer : napari.layers.Labels
        Any, of any number of axes. It holds all there is to know: names in its features, colors in its colormap, locks
        in its metadata.
    image : napari.layers.Image, optional
        Whose intensities are measured.

    Attributes
    ----------
    image : napari.layers.Image or None
    history : History

    Raises
    ------
    TypeError, ValueError
        What is no Labels layer, or a multiscale one.

    Notes
    -----
    Edits of pixels are done in the layer's array, in all planes of a stack. `undo` takes back the latest, but leaves
    alone what was painted over it since. From when an outcome is made, pixels painted by hand are remembered in
    ``layer.metadata["napari_dfc_edits"]``.

    Examples
    --------
    >>> from napari.layers import Labels
    >>> outcome = Outcome(Labels(np.array([[1, 1, 2], [3, 3, 3]], dtype=np.uint8)))
    >>> outcome.rename(1, "nucleus")
    >>> outcome.merge(1, 3)
    >>> [(row.number, row.name, row.pixels) for row in outcome.rows()]
    [(1, 'nucleus', 5), (2, 'class 2', 1)]
    >>> outcome.undo()
    'merging class 3 into nucleus'
    """

    def __init__(self, layer: Labels, image: Image | None = None) -> None:
        if image is not None and not isinstance(image, Image):
            raise TypeError(f"image is {image!r}; accepted is an Image layer, or None")
        super().__init__(layer)
        self.image = image
        self.history = History()

    # ------------------------------------------------------------------ what there is

    @property
    def refusal(self) -> str:
        """Why the layer's labels can't be changed, in words; empty where they can."""
        data = self.layer.data
        if isinstance(data, np.ndarray) and data.flags.writeable:
            return ""
        return (
            f"The labels of “{self.layer.name}” lie in a file or can't be written. To edit them, take them into "
            "memory: layer.data = np.array(layer.data)"
        )

    # ------------------------------------------------------------------ names, colors, what is shown

    def rename(self, number: int, name: str) -> None:
        """Call a class something else; no two classes have the same name."""
        (number,) = self.checked([number])
        before = class_names(self.layer, self.numbers)
        Legend.of(before, names=before).named({number: name})
        self._do(
            f"naming class {number}",
            lambda: set_class_names(self.layer, {number: name}),
            lambda: set_class_names(self.layer, {number: before[number]}),
        )

    def recolor(self, number: int, color: str) -> None:
        """Give a class another color, ``#rrggbb``."""
        (number,) = self.checked([number])
        LegendEntry(number, "class", color)
        opacity = class_colors(self.layer, [number])[number][3]
        self._color(f"coloring class {number}", {number: (*to_rgba(color)[:3], opacity)})

    def hide(self, *numbers: int) -> None:
        """Make classes transparent; their labels stay."""
        self._set_opacity("hiding", numbers, 0.0)

    def show(self, *numbers: int) -> None:
        """Show classes again; without numbers all."""
        self._set_opacity("showing", numbers or self.numbers, 1.0)

    def highlight(self, number: int | None) -> None:
        """Show one class alone, which is then the one to paint with; None shows all again."""
        if number is not None:
            self.layer.selected_label = self.checked([number])[0]
        self.layer.show_selected_label = number is not None

    # ------------------------------------------------------------------ labels

    def merge(self, *numbers: int) -> None:
        """Give the pixels of several classes to the first of them."""
        first, *others = dict.fromkeys(numbers) or [0]
        if not others:
            raise ValueError("merging takes two classes or more; the first one's number, name and color stay")
        first, *others = self.checked([first, *others])
        names = class_names(self.layer, self.numbers)
        self._replace(f"merging {_listed(names[each] for each in others)} into {names[first]}", others, first)

    def mark_background(self, *numbers: int) -> None:
        """Give the pixels of classes the number 0, which is transparent and no class."""
        chosen, names = self.checked(numbers), class_names(self.layer, self.numbers)
        self._replace(f"marking {_listed(names[each] for each in chosen)} as background", chosen, 0)

    def undo(self) -> str:
        """Take the latest edit back, and say what it was; empty where there is none."""
        with self._telling_once():
            return self.history.undo()

    def redo(self) -> str:
        """Do again what was undone last, and say what it was; empty where there is nothing."""
        with self._telling_once():
            return self.history.redo()

    # ------------------------------------------------------------------ what stays

    @property
    def edited(self) -> NDArray[np.bool_] | None:
        """Where the labels were painted by hand, in the shape of the layer's data; None where nowhere."""
        edited = noted(self.layer).get("edited")
        return edited if isinstance(edited, np.ndarray) and edited.shape == self.layer.data.shape else None

    def lock(self, *numbers: int) -> None:
        """Let classes keep their pixels: they can't be merged into others, and `keep` leaves them alone."""
        chosen = self.checked(numbers)
        self._lock("locking", self.locked | {*chosen}, chosen)

    def unlock(self, *numbers: int) -> None:
        """Lock classes no longer; without numbers all."""
        numbers = numbers or tuple(sorted(self.locked))
        if numbers:
            self._lock("unlocking", self.locked - {*numbers}, numbers)

    def forget_edited(self) -> None:
        """Let what was painted by hand be changed again."""
        note(self.layer, edited=None)

    def keep(self, fresh: NDArray[Any]) -> NDArray[np.unsignedinteger[Any]]:
        """A new label map, but with the present labels where they are locked or were painted by hand."""
        return keep_locked(fresh, np.asarray(self.layer.data), self.locked, self.edited)

    # ------------------------------------------------------------------ objects, measures

    def splitting(
        self, number: int, *, min_size: int = 1, fill_holes: bool = False, each_plane: bool = False
    ) -> Splitting:
        """What `split` does, as something whose `objects` can be found in any thread; parameters as there."""
        (number,) = self.checked([number])
        measuring = Measuring.of(self.layer, self.image)
        return Splitting(self.layer.data, number, min_size, fill_holes, each_plane, measuring)

    def objects_layer(self, splitting: Splitting, found: tuple[NDArray[Any], Any]) -> Labels:
        """A new layer of what `Splitting.objects` has found."""
        objects, measures = found
        if not len(measures["index"]):
            raise ValueError(f"no object of class {splitting.number} has {splitting.min_size} pixels; choose fewer")
        name = class_names(self.layer, [splitting.number])[splitting.number]
        return new_objects_layer(self.layer, name, splitting, objects, measures)

    def split(self, number: int, *, min_size: int = 1, fill_holes: bool = False, each_plane: bool = False) -> Labels:
        """The objects of a class as a layer over this one, to be added to a viewer.

        Parameters
        ----------
        number : int
            The class.
        min_size : int
            Pixels of the smallest object that is kept.
        fill_holes : bool
            Give an object what it encloses.
        each_plane : bool
            Of a stack or a series: objects don't go on from plane to plane.

        Returns
        -------
        napari.layers.Labels
            The largest object has number 1. Its features are the measures of every object.
        """
        splitting = self.splitting(number, min_size=min_size, fill_holes=fill_holes, each_plane=each_plane)
        return self.objects_layer(splitting, splitting.objects())

    def measuring(self) -> Callable[[], tuple[int, dict[str, NDArray[Any]]]]:
        """What measures every region, to be called in any thread; `take_measures` takes what it returns."""
        measuring, data, version = Measuring.of(self.layer, self.image), self.layer.data, self._version
        return lambda: (version, measuring.measure(data))

    def take_measures(self, found: tuple[int, dict[str, NDArray[Any]]]) -> int:
        """Show what `measuring` has found in the layer's features, and say of how many regions.

        Raises
        ------
        ValueError
            The labels have changed meanwhile.
        """
        version, measures = found
        if version != self._version:
            raise ValueError("the labels were changed while they were measured; measure again")
        with self._telling_once():
            show_measures(self.layer, measures)
        return len(measures["index"])

    def measure(self) -> dict[str, NDArray[Any]]:
        """Measure every region into the layer's features: size, centroid and, with an image, intensities."""
        found = self.measuring()()
        self.take_measures(found)
        return found[1]

    def table(self) -> dict[str, list[Any]]:
        """All that is known of the classes, as columns: number, name, pixels, area, share and what was measured."""
        rows, grid = self.rows(), self.grid
        columns: dict[str, list[Any]] = {
            name: [getattr(row, name) for row in rows] for name in ("number", "name", "pixels")
        }
        if not grid.is_plain:
            columns[grid.area_title] = [row.area for row in rows]
        columns["share"] = [row.share for row in rows]
        for title, values in measures_of(self.layer).items():
            if title not in columns and title != "area":
                columns[title] = [values.get(row.number, np.nan) for row in rows]
        return columns

    def save_table(self, path: str | Path, overwrite: bool = False) -> None:
        """Write `table` as comma-separated values; FileExistsError where the file is there and may not be replaced."""
        write_columns(path, self.table(), overwrite)

    # ------------------------------------------------------------------ within

    def _do(self, words: str, redo: Callable[[], None], undo: Callable[[], None], nbytes: int = 0) -> None:
        with self._telling_once():
            self.history.do(Edit(words, redo, undo, nbytes))

    def _color(self, words: str, colors: dict[int, tuple[float, ...]]) -> None:
        before = class_colors(self.layer, colors)
        numbers = self.numbers
        self._do(
            words,
            lambda: color_classes(self.layer, colors, numbers),
            lambda: color_classes(self.layer, before, numbers),
        )

    def _set_opacity(self, words: str, numbers: Sequence[int], opacity: float) -> None:
        chosen, names = self.checked(numbers), class_names(self.layer, self.numbers)
        colors = class_colors(self.layer, chosen)
        self._color(
            f"{words} {_listed(names[each] for each in chosen)}",
            {number: (*color[:3], opacity) for number, color in colors.items()},
        )

    def _lock(self, words: str, locked: frozenset[int], numbers: Sequence[int]) -> None:
        before = self.locked
        self._do(
            f"{words} class {_listed(map(str, numbers))}",
            lambda: note(self.layer, locked=sorted(locked)),
            lambda: note(self.layer, locked=sorted(before)),
        )

    def _replace(self, words: str, numbers: list[int], by: int) -> None:
        if self.refusal:
            raise ValueError(self.refusal)
        locked = [number for number in numbers if number in self.locked]
        if locked:
            raise ValueError(f"class {locked[0]} is locked and keeps its pixels; unlock it first")
        before = class_names(self.layer, numbers)
        replacement = Replacement(self.layer.data, numbers, by)

        def redo() -> None:
            moved = replacement.apply(self.layer.data)
            set_class_names(self.layer, dict.fromkeys(numbers, ""))
            self._labels_changed({by: sum(moved.values())} | {number: -pixels for number, pixels in moved.items()})

        def undo() -> None:
            moved = replacement.revert(self.layer.data)
            set_class_names(self.layer, before)
            self._labels_changed({by: -sum(moved.values())} | moved)

        self._do(words, redo, undo, replacement.nbytes)

    def _labels_changed(self, gained: Mapping[int, int]) -> None:
        self._count_changes(gained)
        forget_measures(self.layer)
        self.layer.refresh(extent=False)

    def _data_replaced(self) -> None:
        self.history.clear()

    def _take_paint(self, event: Any) -> None:
        edited = self.edited
        edited = np.zeros(self.layer.data.shape, dtype=np.bool_) if edited is None else edited
        for atom in event.value:
            if hasattr(atom, "slice_key"):
                region = edited[atom.slice_key]
                region[... if atom.mask is None else atom.mask] = True
            else:  # napari before 0.9, and what sets single pixels
                edited[atom[0]] = True
        note(self.layer, edited=edited)
        super()._take_paint(event)


def _listed(words: Iterable[str]) -> str:
    """Up to three, and how many more."""
    words = list(words)
    more = f" and {len(words) - 3} more" if len(words) > 3 else ""
    return ", ".join(words[:3]) + more
