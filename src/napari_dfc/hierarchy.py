"""The order in which pieces of an image merge: neighbors into regions, or pieces that look alike into groups."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dfc.cancellation import Cancelled

__all__ = ["Hierarchy", "merge_alike", "merge_neighbors"]

#: Merges, a few milliseconds of them, after which it is asked whether anybody still waits.
MERGES_BETWEEN_QUESTIONS = 100

#: Exponents of size and of contrast in the cost of a merge; the choice is measured in docs/benchmarks.md.
SIZE_EXPONENT, CONTRAST_EXPONENT = 0.8, 2.0

#: Growth of a region at which the costs with all its neighbors are computed anew. A background with thousands of
#: neighbors takes in one speck after the other, and changes little by each.
GROWTH = 1.02


class Hierarchy:
    """Pieces of an image, and the order in which they merge.

    Parameters
    ----------
    pieces : (H, W) ndarray of int32
        1 to their number, S; 0 where masked. Kept as an attribute.
    merges : (M, 2) ndarray of int64
        Each row merges two pieces, counted from 0, that may have been merged with others before; the merged piece goes
        by the first index. Kept as an attribute.
    costs : (M,) ndarray of float64
        Of every merge.

    Attributes
    ----------
    levels : (M,) ndarray of float64
        What each merge cost, or an earlier one that cost more.

    Examples
    --------
    >>> pieces = np.array([[1, 1, 2, 3]], dtype=np.int32)
    >>> hierarchy = Hierarchy(pieces, np.array([[2, 1], [0, 2]]), np.array([0.5, 2.0]))
    >>> hierarchy.cut(1.0).tolist(), hierarchy.cut_to(1).tolist()
    ([[1, 1, 2, 2]], [[1, 1, 1, 1]])
    """

    def __init__(self, pieces: NDArray[np.int32], merges: NDArray[np.int64], costs: NDArray[np.float64]) -> None:
        self.pieces = pieces
        self.merges = merges
        self.levels = np.maximum.accumulate(costs)
        self._n_pieces = int(pieces.max())

    def cut(self, level: float) -> NDArray[np.int32]:
        """What is left once every merge of at most a level is made.

        Parameters
        ----------
        level : float
            From 0; see `levels`.

        Returns
        -------
        (H, W) ndarray of int32
            1 to the number of merged pieces; 0 where masked.
        """
        return self._numbered(self._after(self._n_made(level)))

    def cut_to(self, n_left: int) -> NDArray[np.int32]:
        """Merge until at most a number of pieces is left, or no merge.

        Parameters
        ----------
        n_left : int
            From 1.

        Returns
        -------
        (H, W) ndarray of int32
            1 to the number of merged pieces; 0 where masked.
        """
        return self._numbered(self._after(self._n_made_to(n_left)))

    def distinctness(self, level: float) -> NDArray[np.float32]:
        """How far each merged piece stands out from those it could merge with.

        Parameters
        ----------
        level : float
            From 0; see `levels`.

        Returns
        -------
        (H, W) ndarray of float32
            1 less the ratio of the level to that at which the pixel's piece merges next, in 0 to 1; 1 where it never
            does, NaN where masked.
        """
        return self._distinctness(self._n_made(level), level)

    def distinctness_at(self, n_left: int) -> NDArray[np.float32]:
        """The same for what `cut_to` leaves."""
        n_made = self._n_made_to(n_left)
        return self._distinctness(n_made, float(self.levels[n_made - 1]) if n_made else 0.0)

    def _distinctness(self, n_made: int, level: float) -> NDArray[np.float32]:
        merged = self._after(n_made)
        following = np.full(merged.max() + 1, np.inf)
        for (one, other), cost in zip(self.merges[n_made:][::-1], self.levels[n_made:][::-1], strict=True):
            following[merged[one]] = following[merged[other]] = cost
        # what merges next at no cost does not stand out, whatever the level
        found = np.where(following > 0, 1 - level / np.where(following > 0, following, 1), 0)
        return np.concatenate([[np.nan], found[merged]]).astype(np.float32)[self.pieces]

    def average(self, features: NDArray[np.float32], n_left: int) -> NDArray[np.float32]:
        """Features of what `cut_to` leaves, from those of the pieces.

        Parameters
        ----------
        features : (S, D) ndarray of float32
        n_left : int
            From 1.

        Returns
        -------
        (L, D) ndarray of float32
            Means over pixels.
        """
        merged = self._after(self._n_made_to(n_left))
        sizes = np.bincount(self.pieces.ravel(), minlength=self._n_pieces + 1)[1:]
        sums = np.stack([np.bincount(merged, sizes * column) for column in features.T], axis=1)
        return (sums / np.bincount(merged, sizes)[:, None]).astype(np.float32)

    def _n_made(self, level: float) -> int:
        return int(np.searchsorted(self.levels, level, side="right"))

    def _n_made_to(self, n_left: int) -> int:
        return min(max(self._n_pieces - n_left, 0), len(self.merges))

    def _after(self, n_made: int) -> NDArray[np.int64]:
        """What every piece is part of after so many merges, (S,), counted from 0."""
        made = self.merges[:n_made]
        parents = np.arange(self._n_pieces)
        parents[made[:, 1]] = made[:, 0]
        while True:
            further = parents[parents]
            if np.array_equal(further, parents):
                break
            parents = further
        found: NDArray[np.int64] = np.unique(parents, return_inverse=True)[1]
        return found

    def _numbered(self, merged: NDArray[np.int64]) -> NDArray[np.int32]:
        return np.concatenate([[0], merged + 1]).astype(np.int32)[self.pieces]


def merge_neighbors(
    basins: NDArray[np.int32],
    features: NDArray[np.float32],
    contrast: NDArray[np.float32],
    cancelled: Callable[[], bool] = lambda: False,
) -> Hierarchy:
    r"""Merge neighbors that differ little and have little contrast between them, until there are none.

    Parameters
    ----------
    basins : (H, W) ndarray of int32
        1 to their number, S; 0 where masked.
    features : (S, D) ndarray of float32
        Of every basin; the mean over a region stands for it.
    contrast : (H, W) ndarray of float32
        Of every pixel.
    cancelled : callable, optional
        Asked now and then; once it is true, `Cancelled` is raised.

    Returns
    -------
    Hierarchy

    Notes
    -----
    The next merge is always that of the two neighbors for which

    .. math:: \left(\frac{n_a n_b}{n_a + n_b}\right)^{0.8} \lVert f_a - f_b \rVert^2 \frac{\bar g_{ab}^2}{l_{ab}}

    is least: sizes :math:`n`, mean features :math:`f`, the boundary's length :math:`l` and its mean contrast
    :math:`\bar g`. With exponents 1 and 0 this is the full :math:`\lambda`-schedule that merges regions by the
    piecewise constant model of Mumford and Shah.

    References
    ----------
    G. Koepfler, C. Lopez, J.-M. Morel, "A multiscale algorithm for image segmentation by variational method", SIAM
    Journal on Numerical Analysis, 1994.

    Examples
    --------
    >>> basins = np.array([[1, 1, 2, 2, 3, 3]], dtype=np.int32)
    >>> hierarchy = merge_neighbors(basins, np.float32([[0], [0.1], [1]]), np.ones((1, 6), dtype=np.float32))
    >>> hierarchy.cut(0.1).tolist()
    [[1, 1, 1, 1, 2, 2]]
    """
    merges = []
    for merge in _Merging(basins, features, contrast).run():
        merges.append(merge)
        if len(merges) % MERGES_BETWEEN_QUESTIONS == 0 and cancelled():
            raise Cancelled
    return _hierarchy(basins, merges)


def merge_alike(
    regions: NDArray[np.int32], features: NDArray[np.float32], cancelled: Callable[[], bool] = lambda: False
) -> Hierarchy:
    r"""Merge the regions that look most alike, wherever they lie, until one group is left.

    Parameters
    ----------
    regions : (H, W) ndarray of int32
        1 to their number, S; 0 where masked. It takes time with the square of S.
    features : (S, D) ndarray of float32
        Of every region; the mean over a group stands for it.
    cancelled : callable, optional
        Asked now and then; once it is true, `Cancelled` is raised.

    Returns
    -------
    Hierarchy

    Notes
    -----
    The next merge is always that of the two groups for which

    .. math:: \frac{n_a n_b}{n_a + n_b} \lVert f_a - f_b \rVert^2

    is least (Ward's criterion), over sizes :math:`n` in pixels and mean features :math:`f`. They are found by chains of
    nearest neighbors, each group's nearest being the next link, until two are each other's nearest.

    References
    ----------
    F. Murtagh, "A survey of recent advances in hierarchical clustering algorithms", The Computer Journal, 1983.

    Examples
    --------
    >>> regions = np.array([[1, 2, 3, 4]], dtype=np.int32)
    >>> hierarchy = merge_alike(regions, np.float32([[0], [5], [0.1], [5.2]]))
    >>> hierarchy.cut_to(2).tolist()
    [[1, 2, 1, 2]]
    """
    sizes = np.bincount(regions.ravel(), minlength=len(features) + 1)[1:].astype(np.float64)
    means = features.astype(np.float64)
    left = np.ones(len(features), dtype=bool)
    merges: list[tuple[float, int, int]] = []
    chain: list[int] = []
    while len(merges) < len(features) - 1:
        if not chain:
            chain.append(int(left.argmax()))
        here = chain[-1]
        differences = means - means[here]
        costs = sizes * sizes[here] / (sizes + sizes[here]) * np.einsum("ij,ij->i", differences, differences)
        costs[~left] = costs[here] = np.inf
        nearest = int(costs.argmin())
        if len(chain) > 1 and costs[chain[-2]] <= costs[nearest]:  # among equals the one before, not in circles
            nearest = chain[-2]
            del chain[-2:]
            share = sizes[nearest] / (sizes[here] + sizes[nearest])
            means[here] += share * (means[nearest] - means[here])
            sizes[here] += sizes[nearest]
            left[nearest] = False
            merges.append((float(costs[nearest]), here, nearest))
            if len(merges) % MERGES_BETWEEN_QUESTIONS == 0 and cancelled():
                raise Cancelled
        else:
            chain.append(nearest)
    return _hierarchy(regions, sorted(merges, key=lambda merge: merge[0]))  # chains come upon them out of order


def _hierarchy(pieces: NDArray[np.int32], merges: Sequence[tuple[float, int, int]]) -> Hierarchy:
    pairs = np.array([pair for _, *pair in merges], dtype=np.int64).reshape(-1, 2)
    return Hierarchy(pieces, pairs, np.array([cost for cost, _, _ in merges], dtype=np.float64))


class _Merging:
    """The merging itself: a heap with one entry for each boundary, its cost or a lower one that it had before.

    Costs rise with almost every merge. A boundary whose cost has risen goes back into the heap only when it comes up.
    """

    def __init__(self, basins: NDArray[np.int32], features: NDArray[np.float32], contrast: NDArray[np.float32]) -> None:
        n_regions = len(features)
        self.sizes = np.bincount(basins.ravel(), minlength=n_regions + 1)[1:].astype(np.float64)
        self.means = features.copy()
        self.ones, self.others, self.lengths, self.sums = _boundaries(basins, contrast)
        self.sizes_then = self.sizes.copy()  # when all boundaries of a region had their costs last
        self.costs = [math.inf] * len(self.ones)  # of each boundary, as of now
        self.entries = [math.inf] * len(self.ones)  # the same as the heap knows it; -1 once the boundary is gone
        self.neighbors: list[dict[int, int]] = [{} for _ in range(n_regions)]  # of each, and the boundary with it
        for boundary, (one, other) in enumerate(zip(self.ones.tolist(), self.others.tolist(), strict=True)):
            self.neighbors[one][other] = self.neighbors[other][one] = boundary
        self.heap: list[tuple[float, int]] = []
        for start in range(0, len(self.ones), 4096):  # features of both sides of all boundaries would be too many
            self._push(range(start, min(start + 4096, len(self.ones))))

    def run(self) -> Iterator[tuple[float, int, int]]:
        """The cost of every merge, and its two regions; the second is part of the first from then on."""
        while self.heap:
            cost, boundary = heapq.heappop(self.heap)
            if self.entries[boundary] != cost:
                continue
            if self.costs[boundary] > cost:
                self._enter(boundary)
                continue
            one, other = int(self.ones[boundary]), int(self.others[boundary])
            if len(self.neighbors[one]) < len(self.neighbors[other]):
                one, other = other, one
            self._merge(one, other)
            yield cost, one, other

    def _merge(self, one: int, other: int) -> None:
        share = self.sizes[other] / (self.sizes[one] + self.sizes[other])
        self.means[one] += np.float32(share) * (self.means[other] - self.means[one])
        self.sizes[one] += self.sizes[other]
        self.entries[self.neighbors[one].pop(other)] = -1
        moved = []
        for further, boundary in self.neighbors[other].items():
            if further == one:
                continue
            del self.neighbors[further][other]
            known = self.neighbors[one].get(further)
            if known is None:
                self.neighbors[one][further] = self.neighbors[further][one] = known = boundary
                self.ones[boundary], self.others[boundary] = one, further
            else:
                self.lengths[known] += self.lengths[boundary]
                self.sums[known] += self.sums[boundary]
                self.entries[boundary] = -1
            moved.append(known)
        self.neighbors[other] = {}
        if self.sizes[one] > GROWTH * self.sizes_then[one]:
            self.sizes_then[one] = self.sizes[one]
            moved = list(self.neighbors[one].values())
        if moved:
            self._push(moved)

    def _push(self, boundaries: Sequence[int]) -> None:
        """Give boundaries their present cost."""
        which = np.asarray(boundaries)
        one, other, lengths = self.ones[which], self.others[which], self.lengths[which]
        harmonic = self.sizes[one] * self.sizes[other] / (self.sizes[one] + self.sizes[other])
        distances = ((self.means[one] - self.means[other]) ** 2).sum(1)
        steepness = self.sums[which] / lengths
        costs = harmonic**SIZE_EXPONENT * distances * steepness**CONTRAST_EXPONENT / lengths
        for boundary, cost in zip(boundaries, costs.tolist(), strict=True):
            self.costs[boundary] = cost
            if cost < self.entries[boundary]:
                self._enter(boundary)

    def _enter(self, boundary: int) -> None:
        self.entries[boundary] = cost = self.costs[boundary]
        heapq.heappush(self.heap, (cost, boundary))


def _boundaries(basins: NDArray[np.int32], contrast: NDArray[np.float32]) -> tuple[NDArray[Any], ...]:
    """Of every pair of neighbors: both, counted from 0, the length of their boundary and its sum of contrasts."""
    n_basins = int(basins.max()) + 1
    pairs, weights = [], []
    for here, there in (
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
        ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
    ):
        one, other = basins[here], basins[there]
        apart = (one != other) & (one > 0) & (other > 0)
        low, high = np.minimum(one, other)[apart].astype(np.int64), np.maximum(one, other)[apart].astype(np.int64)
        pairs.append(low * n_basins + high)
        weights.append(np.maximum(contrast[here], contrast[there])[apart])
    keys, index = np.unique(np.concatenate(pairs), return_inverse=True)
    lengths = np.bincount(index, minlength=len(keys)).astype(np.float64)
    sums = np.bincount(index, np.concatenate(weights), minlength=len(keys)).astype(np.float64)
    return keys // n_basins - 1, keys % n_basins - 1, lengths, sums
