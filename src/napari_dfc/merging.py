"""Merging pieces of an image: neighbors into regions, on which hierarchies can agree, or pieces that look alike."""

from __future__ import annotations

import heapq
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from napari_dfc.cancellation import Cancelled
from napari_dfc.hierarchy import Hierarchy

__all__ = ["Neighbors", "consensus", "merge_alike", "merge_neighbors"]

#: Merges, a few milliseconds of them, after which it is asked whether anybody still waits.
MERGES_BETWEEN_QUESTIONS = 100

#: Exponents of size and of contrast in the cost of a merge; the choice is measured in docs/benchmarks.md.
SIZE_EXPONENT, CONTRAST_EXPONENT = 0.8, 2.0

#: Growth of a region at which the costs with all its neighbors are computed anew. A background with thousands of
#: neighbors takes in one speck after the other, and changes little by each.
GROWTH = 1.02

#: Least level that counts where hierarchies agree on one: one that merges two pieces for nothing is not heard alone.
LEAST_LEVEL = 1e-4


@dataclass(frozen=True, eq=False)
class Neighbors:
    """Pieces of an image, and the boundary between each two that touch.

    Parameters
    ----------
    pieces : (H, W) ndarray of int32
        1 to their number; 0 where masked.
    ones, others : (B,) ndarray of int64
        The two pieces of each boundary, counted from 0, the lower one first.
    lengths : (B,) ndarray of float64
        Pairs of pixels on both sides.
    contrasts : (B,) ndarray of float64
        The sum over these pairs of the larger contrast of the two.
    """

    pieces: NDArray[np.int32]
    ones: NDArray[np.int64]
    others: NDArray[np.int64]
    lengths: NDArray[np.float64]
    contrasts: NDArray[np.float64]

    @classmethod
    def of(cls, pieces: NDArray[np.int32], contrast: NDArray[np.float32]) -> Neighbors:
        """Find the boundaries in the pixels, with the contrast of each, (H, W)."""
        n_pieces = int(pieces.max()) + 1
        pairs, weights = [], []
        for here, there in (
            ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
            ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
        ):
            one, other = pieces[here], pieces[there]
            apart = (one != other) & (one > 0) & (other > 0)
            low, high = np.minimum(one, other)[apart].astype(np.int64), np.maximum(one, other)[apart].astype(np.int64)
            pairs.append(low * n_pieces + high)
            weights.append(np.maximum(contrast[here], contrast[there])[apart])
        keys, index = np.unique(np.concatenate(pairs), return_inverse=True)
        lengths = np.bincount(index, minlength=len(keys)).astype(np.float64)
        contrasts = np.bincount(index, np.concatenate(weights), minlength=len(keys)).astype(np.float64)
        return cls(pieces, keys // n_pieces - 1, keys % n_pieces - 1, lengths, contrasts)


def merge_neighbors(
    neighbors: Neighbors,
    features: NDArray[np.float32],
    cancelled: Callable[[], bool] = lambda: False,
    *,
    n_left: int = 1,
) -> Hierarchy:
    r"""Merge neighbors that differ little and have little contrast between them, until there are none.

    Parameters
    ----------
    neighbors : Neighbors
        S pieces.
    features : (S, D) ndarray of float32
        Of every piece; the mean over a region stands for it.
    cancelled : callable, optional
        Asked now and then; once it is true, `Cancelled` is raised.
    n_left : int
        Regions at which merging ends, from 1.

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
    >>> pieces = np.array([[1, 1, 2, 2, 3, 3]], dtype=np.int32)
    >>> neighbors = Neighbors.of(pieces, contrast=np.ones((1, 6), dtype=np.float32))
    >>> merge_neighbors(neighbors, np.float32([[0], [0.1], [1]])).cut(0.1).tolist()
    [[1, 1, 1, 1, 2, 2]]
    """
    return _merged(neighbors, _ByFeatures(neighbors, features), cancelled, n_left)


def consensus(
    neighbors: Neighbors, hierarchies: Sequence[Hierarchy], cancelled: Callable[[], bool] = lambda: False
) -> Hierarchy:
    r"""The order in which neighbors merge by what several hierarchies of the same pieces say together.

    A single hierarchy is at the mercy of each of its early merges. Where another one goes another way, its mistakes are
    others, too, and what most of them keep apart stays apart.

    Parameters
    ----------
    neighbors : Neighbors
    hierarchies : sequence of Hierarchy
        One or more, each made by merging these until there were none.
    cancelled : callable, optional
        Asked now and then; once it is true, `Cancelled` is raised.

    Returns
    -------
    Hierarchy

    Notes
    -----
    Between two neighbors stands the geometric mean of the levels at which each hierarchy merges them, none of them less
    than `LEAST_LEVEL`, or 0 if all merge them at 0. The next merge is always that of the two regions between which the
    mean of it along their boundary is least.

    References
    ----------
    P. Arbelaez, M. Maire, C. Fowlkes, J. Malik, "Contour detection and hierarchical image segmentation", IEEE
    Transactions on Pattern Analysis and Machine Intelligence, 2011, for merging by the mean strength of a boundary.

    Examples
    --------
    >>> pieces = np.array([[1, 2, 3]], dtype=np.int32)
    >>> neighbors = Neighbors.of(pieces, contrast=np.ones((1, 3), dtype=np.float32))
    >>> one = Hierarchy(pieces, np.array([[0, 1], [0, 2]]), np.array([1.0, 4.0]))
    >>> other = Hierarchy(pieces, np.array([[1, 2], [0, 1]]), np.array([2.0, 9.0]))
    >>> agreed = consensus(neighbors, [one, other])
    >>> agreed.levels.round(3).tolist()  # between 2 and 3 that of 4 and 2, between 1 and 2 of 1 and 9
    [2.828, 3.0]
    """
    levels = np.stack([hierarchy.level_between(neighbors.ones, neighbors.others) for hierarchy in hierarchies])
    means = np.exp(np.log(np.maximum(levels, LEAST_LEVEL)).mean(0))
    strengths = np.where((levels > 0).any(0), means, 0.0)
    return _merged(neighbors, _ByStrength(neighbors, strengths * neighbors.lengths), cancelled)


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


def _merged(neighbors: Neighbors, merging: _Merging, cancelled: Callable[[], bool], n_left: int = 1) -> Hierarchy:
    """What a merging makes until so many are left or it ends by itself, as long as somebody waits."""
    merges = []
    for merge in islice(merging.run(), max(int(neighbors.pieces.max()) - n_left, 0)):
        merges.append(merge)
        if len(merges) % MERGES_BETWEEN_QUESTIONS == 0 and cancelled():
            raise Cancelled
    return _hierarchy(neighbors.pieces, merges)


class _Merging(ABC):
    """Merging of neighbors: a heap with one entry for each boundary, its cost or a lower one that it had before.

    Costs rise with almost every merge. A boundary whose cost has risen goes back into the heap only when it comes up.
    """

    def __init__(self, neighbors: Neighbors, sums: NDArray[np.float64]) -> None:
        self.ones, self.others = ones, others = neighbors.ones.copy(), neighbors.others.copy()
        self.lengths, self.sums = neighbors.lengths.copy(), sums.copy()  # of each boundary, what counts along it
        self.costs = [math.inf] * len(ones)  # of each boundary, as of now
        self.entries = [math.inf] * len(ones)  # the same as the heap knows it; -1 once the boundary is gone
        n_regions = int(max(ones.max(), others.max())) + 1 if len(ones) else 0
        self.neighbors: list[dict[int, int]] = [{} for _ in range(n_regions)]  # of each, and the boundary with it
        for boundary, (one, other) in enumerate(zip(ones.tolist(), others.tolist(), strict=True)):
            self.neighbors[one][other] = self.neighbors[other][one] = boundary
        self.heap: list[tuple[float, int]] = []
        for start in range(0, len(ones), 4096):  # features of both sides of all boundaries would be too many
            self._push(range(start, min(start + 4096, len(ones))))

    @abstractmethod
    def _costs_of(self, boundaries: NDArray[np.int64]) -> NDArray[np.float64]:
        """Their present costs."""

    @abstractmethod
    def _join(self, one: int, other: int) -> bool:
        """Make one region of two; whether the costs of all its boundaries are outdated."""

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
        outdated = self._join(one, other)
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
        if outdated:
            moved = list(self.neighbors[one].values())
        if moved:
            self._push(moved)

    def _push(self, boundaries: Sequence[int]) -> None:
        """Give boundaries their present cost."""
        for boundary, cost in zip(boundaries, self._costs_of(np.asarray(boundaries)).tolist(), strict=True):
            self.costs[boundary] = cost
            if cost < self.entries[boundary]:
                self._enter(boundary)

    def _enter(self, boundary: int) -> None:
        self.entries[boundary] = cost = self.costs[boundary]
        heapq.heappush(self.heap, (cost, boundary))


class _ByFeatures(_Merging):
    """Merging by features, sizes and contrast; see `merge_neighbors`."""

    def __init__(self, neighbors: Neighbors, features: NDArray[np.float32]) -> None:
        self.sizes = np.bincount(neighbors.pieces.ravel(), minlength=len(features) + 1)[1:].astype(np.float64)
        self.sizes_then = self.sizes.copy()  # when all boundaries of a region had their costs last
        self.means = features.copy()
        super().__init__(neighbors, neighbors.contrasts)  # last: it asks for the costs

    def _costs_of(self, boundaries: NDArray[np.int64]) -> NDArray[np.float64]:
        one, other, lengths = self.ones[boundaries], self.others[boundaries], self.lengths[boundaries]
        harmonic = self.sizes[one] * self.sizes[other] / (self.sizes[one] + self.sizes[other])
        distances = ((self.means[one] - self.means[other]) ** 2).sum(1)
        steepness = self.sums[boundaries] / lengths
        costs: NDArray[np.float64] = harmonic**SIZE_EXPONENT * distances * steepness**CONTRAST_EXPONENT / lengths
        return costs

    def _join(self, one: int, other: int) -> bool:
        share = self.sizes[other] / (self.sizes[one] + self.sizes[other])
        self.means[one] += np.float32(share) * (self.means[other] - self.means[one])
        self.sizes[one] += self.sizes[other]
        if self.sizes[one] <= GROWTH * self.sizes_then[one]:
            return False
        self.sizes_then[one] = self.sizes[one]
        return True


class _ByStrength(_Merging):
    """Merging by the mean strength of boundaries; see `consensus`."""

    def _costs_of(self, boundaries: NDArray[np.int64]) -> NDArray[np.float64]:
        strengths: NDArray[np.float64] = self.sums[boundaries] / self.lengths[boundaries]
        return strengths

    def _join(self, one: int, other: int) -> bool:
        return False
