"""The label map at each label count: those that a run passed on its way, or those that its hierarchy gives."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_dfc.hierarchy import Hierarchy
from napari_dfc.numbering import apply_numbers

if TYPE_CHECKING:
    from napari_dfc.optimization import Iteration

__all__ = ["MOST_BYTES", "History", "KeptMap", "Recorder", "history_of_maps", "history_of_pieces"]

#: What the compressed label maps of a run may take in memory; beyond it, some counts are left out.
MOST_BYTES = 64 * 2**20

#: How many counts there are of groups and of regions. Groups have one of each from 1; those of regions, of which there
#: can be thousands, rise by a constant factor.
N_COUNTS = 40

#: Rows whose channels are counted at a time.
ROWS_AT_ONCE = 64


class History:
    """The label map at each label count that there is one for.

    Parameters
    ----------
    counts : sequence of int
        The label counts.
    draw : callable
        From one of the counts to its map, (H, W) of unsigned integers.
    iterations : mapping of int to int
        By count, the iteration that gave the map; empty where a hierarchy gives them.
    numbers_during_run : mapping of int to int
        As the attribute.

    Attributes
    ----------
    counts : tuple of int
        Rising.
    numbers_during_run : dict
        For every number in the maps, the one that the cluster had in the previews; empty for groups and regions.

    Examples
    --------
    >>> history = History([2, 1], lambda count: np.arange(4, dtype=np.uint8).reshape(2, 2) % count + 1)
    >>> history.counts
    (1, 2)
    >>> history.at(2).tolist()
    [[1, 2], [1, 2]]
    """

    def __init__(
        self,
        counts: Sequence[int],
        draw: Callable[[int], NDArray[np.unsignedinteger[Any]]],
        iterations: Mapping[int, int] | None = None,
        numbers_during_run: Mapping[int, int] | None = None,
    ) -> None:
        self.counts = tuple(sorted(counts))
        self.numbers_during_run = dict(numbers_during_run or {})
        self._draw = draw
        self._iterations = dict(iterations or {})

    def __repr__(self) -> str:
        return f"History({self._accepted()})"

    def drawn_by(self, draw: Callable[[int], NDArray[np.unsignedinteger[Any]]]) -> History:
        """The same counts with other maps."""
        return History(self.counts, draw, self._iterations, self.numbers_during_run)

    def at(self, count: int) -> NDArray[np.unsignedinteger[Any]]:
        """The label map at a label count.

        Parameters
        ----------
        count : int
            One of `counts`.

        Returns
        -------
        (H, W) ndarray of unsigned integers
            Its own memory. The same cluster or group has the same number in all maps; 0 only where masked.

        Raises
        ------
        ValueError
            There is no map of this count.
        """
        return self._draw(self._checked(count))

    def iteration(self, count: int) -> int | None:
        """The iteration whose map it is: how many updates the network had; None for groups and regions.

        Parameters
        ----------
        count : int
            One of `counts`.

        Raises
        ------
        ValueError
            There is no map of this count.
        """
        return self._iterations.get(self._checked(count))

    def _checked(self, count: int) -> int:
        whole = isinstance(count, int | np.integer) and not isinstance(count, bool)
        if not whole or count not in self.counts:
            raise ValueError(
                f"count is {count}; accepted is a number of labels that there is a map of: {self._accepted()}"
            )
        return int(count)

    def _accepted(self) -> str:
        first, last = self.counts[0], self.counts[-1]
        if len(self.counts) > 2 and self.counts == tuple(range(first, last + 1)):
            return f"{first} to {last}"
        return ", ".join(map(str, self.counts))


class KeptMap(NamedTuple):
    """A label map of channels, compressed.

    Parameters
    ----------
    iteration : int
        Whose map it is.
    data : bytes
        Compressed; the channel that won at each pixel, row by row.
    dtype : numpy.dtype
        Of a channel.
    areas : (n,) ndarray of int
        Pixels of each channel that take part; of the last channels, which have none, it may say nothing.
    """

    iteration: int
    data: bytes
    dtype: np.dtype[Any]
    areas: NDArray[np.integer[Any]]

    def clusters(self, shape: tuple[int, int]) -> NDArray[np.integer[Any]]:
        """The channel that won at each pixel, (H, W); not to be written to."""
        clusters: NDArray[np.integer[Any]] = np.frombuffer(zlib.decompress(self.data), self.dtype)
        return clusters.reshape(shape)


class Recorder:
    """Keeps the last label map at each label count of a run.

    A map is compressed when the next one has another count, so that most iterations cost nothing: near the end of a run
    the count stays the same for long. Where all maps take more than `most_bytes`, counts between others that are close
    to them are left out; the smallest and the largest never are.

    Parameters
    ----------
    most_bytes : int
    mask : (H, W) ndarray of bool, or None
        The pixels that take part, by default all.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> import torch
    >>> recorder = Recorder()
    >>> for number, channels in enumerate([[0, 1, 2], [0, 1, 1], [1, 1, 0]]):
    ...     clusters = torch.tensor([channels], dtype=torch.uint8)
    ...     count = len(set(channels))
    ...     recorder.add(SimpleNamespace(number=number, clusters=clusters, n_labels=count, complete=True))
    >>> {count: kept.clusters((1, 3)).tolist() for count, kept in recorder.maps().items()}
    {3: [[0, 1, 2]], 2: [[1, 1, 0]]}
    """

    def __init__(self, most_bytes: int = MOST_BYTES, mask: NDArray[np.bool_] | None = None) -> None:
        self._most_bytes = most_bytes
        self._mask = mask
        self._maps: dict[int, KeptMap] = {}
        self._latest: Iteration | None = None  # not compressed yet

    def add(self, iteration: Iteration) -> None:
        """Take an iteration's map; of a run with crops, only what labels the whole image counts."""
        if not iteration.complete:
            return
        if self._latest is not None and self._latest.n_labels != iteration.n_labels:
            self._keep(self._latest)
        self._latest = iteration

    def maps(self) -> dict[int, KeptMap]:
        """The maps so far, by label count; later iterations do not change them."""
        if self._latest is not None:
            self._keep(self._latest)
        return dict(self._maps)

    def _keep(self, iteration: Iteration) -> None:
        clusters = iteration.clusters.cpu().numpy()
        # the fastest level: it packs maps to a tenth to a third, and the slowest hardly further
        data = zlib.compress(clusters.tobytes(), level=1)
        areas = _areas(clusters, self._mask)  # while it is here: unpacking it once more would take as long again
        self._maps[iteration.n_labels] = KeptMap(iteration.number, data, clusters.dtype, areas)
        while len(self._maps) > 2 and sum(len(kept.data) for kept in self._maps.values()) > self._most_bytes:
            counts = sorted(self._maps)
            gaps = [above / below for below, above in zip(counts, counts[2:], strict=False)]
            del self._maps[counts[1 + int(np.argmin(gaps))]]


def _areas(clusters: NDArray[np.integer[Any]], mask: NDArray[np.bool_] | None) -> NDArray[np.int64]:
    """Pixels of each channel, a few rows at a time because NumPy widens what it counts to 8 bytes."""
    areas = np.zeros(int(clusters.max(initial=0)) + 1, dtype=np.int64)
    for top in range(0, len(clusters), ROWS_AT_ONCE):
        part = clusters[top : top + ROWS_AT_ONCE]
        part = part.ravel() if mask is None else part[mask[top : top + ROWS_AT_ONCE]]
        areas += np.bincount(part, minlength=len(areas))
    return areas


def history_of_maps(
    labels: NDArray[np.unsignedinteger[Any]],
    iteration: int,
    maps: Mapping[int, KeptMap],
    numbers: NDArray[np.uint64],
    run_numbers: NDArray[np.uint64],
    n_classes: int,
) -> History:
    """The history of a result whose labels are channels of a network.

    Parameters
    ----------
    labels : (H, W) ndarray of unsigned integers
        Of the result, whose count gives this map, whatever others had as many labels.
    iteration : int
        Of the result.
    maps : mapping of int to KeptMap
        By label count; none where the result is all there is.
    numbers : (q,) ndarray of uint64
        The number of every channel's cluster in the result. Those that have no pixel there are given anew, by falling
        largest area in `maps`.
    run_numbers : (q,) ndarray of uint64
        The number of every channel's cluster in the previews.
    n_classes : int
        How many channels, the first ones, carry a painted class and keep its number.

    Returns
    -------
    History

    Examples
    --------
    >>> labels = np.array([[1, 1, 1, 2]], dtype=np.uint8)
    >>> earlier = KeptMap(4, zlib.compress(bytes([0, 3, 3, 1])), np.dtype(np.uint8), np.array([1, 1, 0, 2]))
    >>> numbers = np.array([1, 2, 3, 4], dtype=np.uint64)
    >>> history = history_of_maps(labels, 9, {3: earlier}, numbers, numbers, n_classes=0)
    >>> history.at(3).tolist(), history.at(2).tolist()
    ([[1, 3, 3, 2]], [[1, 1, 1, 2]])
    """
    mask = labels > 0
    present = np.unique(labels)
    present = present[present > 0]
    others = {count: kept for count, kept in maps.items() if count != len(present)}
    largest = np.zeros(len(numbers), dtype=np.int64)
    for kept in others.values():
        part = largest[: len(kept.areas)]
        np.maximum(part, kept.areas, out=part)
    numbers = numbers.copy()
    vanished = np.flatnonzero(~np.isin(numbers, present))
    vanished = vanished[vanished >= n_classes]
    numbers[vanished[np.argsort(-largest[vanished], kind="stable")]] = np.sort(numbers[vanished])
    known = None if mask.all() else mask

    def draw(count: int) -> NDArray[np.unsignedinteger[Any]]:
        if count not in others:
            return labels.copy()
        return apply_numbers(others[count].clusters(mask.shape), numbers, known)

    iterations = {count: kept.iteration for count, kept in others.items()} | {len(present): iteration}
    shown = (largest > 0) | np.isin(numbers, present)
    during = dict(zip(numbers[shown].tolist(), run_numbers[shown].tolist(), strict=True))
    return History(list(iterations), draw, iterations, during)


def history_of_pieces(hierarchy: Hierarchy, labels: NDArray[np.unsignedinteger[Any]], *, every_count: bool) -> History:
    """The history of a result whose labels are what a hierarchy leaves at one of its levels.

    Where two groups merge, they are shown by the number of the larger. Where one is cut, the larger part keeps its
    number, and the other has the smallest that is not in use.

    Parameters
    ----------
    hierarchy : Hierarchy
    labels : (H, W) ndarray of unsigned integers
        Of the result: 1 to the number of pieces that are left, 0 where masked.
    every_count : bool
        Whether each count has a map, up to `N_COUNTS` and that of the result; else so many, up to that of all pieces,
        which rise by a constant factor, and that of the result.

    Returns
    -------
    History

    Examples
    --------
    >>> pieces = np.array([[1, 1, 1, 2, 2, 3]], dtype=np.int32)
    >>> hierarchy = Hierarchy(pieces, np.array([[1, 2], [0, 1]]), np.array([0.5, 2.0]))
    >>> history = history_of_pieces(hierarchy, np.array([[1, 1, 1, 2, 2, 2]], dtype=np.uint8), every_count=True)
    >>> [history.at(count).tolist() for count in history.counts]
    [[[1, 1, 1, 1, 1, 1]], [[1, 1, 1, 2, 2, 2]], [[1, 1, 1, 2, 2, 3]]]
    """
    numbered = _NumberedHierarchy(hierarchy, labels)
    least, most, now = numbered.least, numbered.most, int(labels.max())
    if every_count:
        counts = set(range(least, max(min(N_COUNTS, most), now) + 1))
    else:
        counts = set(np.geomspace(least, most, N_COUNTS).round().astype(int).tolist()) | {now}
    return History(sorted(counts), numbered.cut_to)


class _NumberedHierarchy:
    """A hierarchy as a tree of pieces, each of which has one number in every map it is in.

    Its nodes are the pieces, S of them, and then what each merge makes, in the order of the merges.
    """

    def __init__(self, hierarchy: Hierarchy, labels: NDArray[np.unsignedinteger[Any]]) -> None:
        self._pieces = hierarchy.pieces
        self.most = n_pieces = int(hierarchy.pieces.max())
        n_merges = len(hierarchy.merges)
        self.least = n_pieces - n_merges
        first = np.zeros(n_pieces + 1, dtype=np.uint64)
        first[hierarchy.pieces] = labels  # all pixels of a piece have one label

        sizes = np.bincount(hierarchy.pieces.ravel(), minlength=n_pieces + 1)[1:].tolist()
        nodes = list(range(n_pieces))  # what goes by each index at the time
        parents = list(range(n_pieces + n_merges))
        larger, smaller = [], []
        for node, (one, other) in enumerate(hierarchy.merges.tolist(), n_pieces):
            halves = nodes[one], nodes[other]
            parents[halves[0]] = parents[halves[1]] = nodes[one] = node
            sizes.append(sizes[halves[0]] + sizes[halves[1]])
            is_first = sizes[halves[0]] >= sizes[halves[1]]
            larger.append(halves[0] if is_first else halves[1])
            smaller.append(halves[1] if is_first else halves[0])
        self._parents = np.array(parents)

        n_made = n_pieces - int(labels.max())
        numbers = np.zeros(n_pieces + n_merges, dtype=np.uint64)
        numbers[self._nodes(n_made)] = first[1:]
        for merge in range(n_merges)[n_made:]:
            numbers[n_pieces + merge] = numbers[larger[merge]]
        for merge in reversed(range(n_made)):
            numbers[larger[merge]] = numbers[n_pieces + merge]
            numbers[smaller[merge]] = n_pieces - merge  # as many as there are now: the numbers below are in use
        self._numbers = numbers

    def cut_to(self, n_left: int) -> NDArray[np.unsignedinteger[Any]]:
        """The map in which so many pieces are left, (H, W)."""
        numbers = np.concatenate([[np.uint64(0)], self._numbers[self._nodes(self.most - n_left)]])
        labels: NDArray[np.unsignedinteger[Any]] = numbers.astype(np.min_scalar_type(int(numbers.max())))[self._pieces]
        return labels

    def _nodes(self, n_made: int) -> NDArray[np.int64]:
        """The node that each piece is part of after so many merges, (S,)."""
        made = self._parents < self.most + n_made
        parents = np.where(made, self._parents, np.arange(len(self._parents)))
        while True:
            further = parents[parents]
            if np.array_equal(further, parents):
                return parents[: self.most]
            parents = further
