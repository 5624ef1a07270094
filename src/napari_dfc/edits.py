"""Edits of a label map that can be taken back, and what of it stays when it is made anew."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_dfc.blocks import blocks

__all__ = ["Edit", "History", "Replacement", "keep_locked"]


def keep_locked(
    fresh: ArrayLike, present: ArrayLike, locked: Iterable[int] = (), edited: ArrayLike | None = None
) -> NDArray[np.unsignedinteger[Any]]:
    """A new label map that leaves alone what was locked in the one before.

    Parameters
    ----------
    fresh, present : (M[, ...]) array of int
        The new label map, and the one before.
    locked : iterable of int
        Classes whose pixels keep their label. A pixel of another class may join them.
    edited : (M[, ...]) array of bool, optional
        Pixels that keep their label, whichever it is.

    Returns
    -------
    (M[, ...]) ndarray
        In the smallest unsigned data type that holds its numbers.

    Raises
    ------
    TypeError
        Label maps that do not hold integers.
    ValueError
        Arrays of different shapes, or negative numbers.

    Examples
    --------
    >>> keep_locked([1, 1, 2, 2], [3, 1, 1, 3], locked=[3], edited=[False, False, True, False])
    array([3, 1, 1, 3], dtype=uint8)
    """
    fresh, present = np.asarray(fresh), np.asarray(present)
    kept = np.zeros(present.shape, dtype=np.bool_) if edited is None else np.asarray(edited, dtype=np.bool_)
    for name, values in (("fresh", fresh), ("present", present)):
        if values.dtype.kind not in "iu":
            raise TypeError(f"{name} is of type {values.dtype}; accepted are integers")
        if values.size and values.min() < 0:
            raise ValueError(f"{name} holds the number {values.min()}; accepted are numbers from 0")
    if not fresh.shape == present.shape == kept.shape:
        raise ValueError(
            f"fresh has the shape {fresh.shape}, present {present.shape} and edited {kept.shape}; they have to be the "
            "same"
        )
    kept = kept | np.isin(present, [number for number in locked if number <= np.iinfo(present.dtype).max])
    largest = max(int(fresh.max(initial=0, where=~kept)), int(present.max(initial=0, where=kept)), 1)
    labels = fresh.astype(np.min_scalar_type(largest))
    np.copyto(labels, present, where=kept, casting="unsafe")  # what is copied fits
    return labels


#: A number, the block and the box within it where it was, and its bits there.
_Place = tuple[int, tuple[int | slice, ...], tuple[slice, ...], NDArray[np.uint8]]


class Replacement:
    """Pixels of some numbers that are given another one, in place.

    Parameters
    ----------
    labels : (M[, ...]) ndarray of int
        Not changed yet.
    numbers : sequence of int
        Whose pixels are replaced.
    by : int

    Attributes
    ----------
    nbytes : int
        Memory that it takes to take it back: a bit for each pixel around what was replaced, in each block.

    Examples
    --------
    >>> labels = np.array([[1, 2], [3, 2]])
    >>> merging = Replacement(labels, [2, 3], by=1)
    >>> merging.apply(labels)
    {2: 2, 3: 1}
    >>> labels.tolist()
    [[1, 1], [1, 1]]
    >>> labels[0, 1] = 9
    >>> merging.revert(labels)  # what was painted since stays
    {2: 1, 3: 1}
    >>> labels.tolist()
    [[1, 9], [3, 2]]
    """

    def __init__(self, labels: NDArray[Any], numbers: Sequence[int], by: int) -> None:
        self._numbers, self._by = tuple(numbers), by
        self._places: list[_Place] = []
        for index in blocks(labels.shape):
            block = labels[index]
            for number in numbers:
                box, bits = _packed(block == number)
                if bits.size:
                    self._places.append((number, index, box, bits))
        self.nbytes = sum(bits.nbytes for *_, bits in self._places)

    def apply(self, labels: NDArray[Any]) -> dict[int, int]:
        """Replace, and say how many pixels of each number."""
        return self._exchange(labels, back=False)

    def revert(self, labels: NDArray[Any]) -> dict[int, int]:
        """Take it back, but where the pixels have been given another number since; how many each number got."""
        return self._exchange(labels, back=True)

    def _exchange(self, labels: NDArray[Any], back: bool) -> dict[int, int]:
        exchanged = dict.fromkeys(self._numbers, 0)
        for number, index, box, bits in self._places:
            part = labels[index][box]  # a view
            old, new = (self._by, number) if back else (number, self._by)
            members = np.unpackbits(bits, count=part.size).view(np.bool_).reshape(part.shape)
            members &= part == old
            part ^= members * part.dtype.type(old ^ new)  # a third of the time of a copy where they are
            exchanged[number] += int(np.count_nonzero(members))
        return exchanged


@dataclass(frozen=True)
class Edit:
    """Something that was done and can be taken back.

    Parameters
    ----------
    words : str
        What it was.
    redo, undo : callable
    nbytes : int
        Memory that it takes.
    """

    words: str
    redo: Callable[[], None]
    undo: Callable[[], None]
    nbytes: int = 0


class History:
    """The latest edits, to be undone and redone one by one.

    Parameters
    ----------
    most : int
        Edits that are kept, at most.
    most_bytes : int
        Memory that they take, at most; the latest is kept whatever it takes.
    """

    def __init__(self, most: int = 30, most_bytes: int = 2**28) -> None:
        self._most, self._most_bytes = most, most_bytes
        self._done: list[Edit] = []
        self._undone: list[Edit] = []

    @property
    def to_undo(self) -> str:
        """What `undo` takes back, in words; empty where there is nothing."""
        return self._done[-1].words if self._done else ""

    @property
    def to_redo(self) -> str:
        """What `redo` does again, in words; empty where there is nothing."""
        return self._undone[-1].words if self._undone else ""

    def do(self, edit: Edit) -> None:
        """Do something and remember it; what was undone before can't be redone any more."""
        edit.redo()
        self._done.append(edit)
        self._undone.clear()
        while len(self._done) > self._most or (
            len(self._done) > 1 and sum(each.nbytes for each in self._done) > self._most_bytes
        ):
            del self._done[0]

    def undo(self) -> str:
        """Take the latest edit back, and say what it was; empty where there is none."""
        if not self._done:
            return ""
        edit = self._done.pop()
        edit.undo()
        self._undone.append(edit)
        return edit.words

    def redo(self) -> str:
        """Do again what was undone last, and say what it was; empty where there is nothing."""
        if not self._undone:
            return ""
        edit = self._undone.pop()
        edit.redo()
        self._done.append(edit)
        return edit.words

    def clear(self) -> None:
        """Forget everything."""
        self._done.clear()
        self._undone.clear()


def _packed(members: NDArray[np.bool_]) -> tuple[tuple[slice, ...], NDArray[np.uint8]]:
    """The box around what is true, and its bits."""
    box = []
    for axis in range(members.ndim):
        others = tuple(other for other in range(members.ndim) if other != axis)
        there = np.flatnonzero(members.any(axis=others))
        box.append(slice(int(there[0]), int(there[-1]) + 1) if len(there) else slice(0, 0))
    return tuple(box), np.packbits(members[tuple(box)])
