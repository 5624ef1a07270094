"""Connected regions: basins, what the clusters of many label maps say of them, and the order of their merging."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dfc.cancellation import Cancelled

__all__ = ["Hierarchy", "Votes", "basins_of", "contrast_of"]

#: Width of the Gaussian whose derivative is the contrast, in pixels.
CONTRAST_SIGMA = 1.0

#: Side of the square in which a basin's seed is the pixel of least contrast, in pixels.
SEED_SQUARE = 5

#: Basins beyond which the squares become larger, so that merging them takes seconds.
MOST_BASINS = 20_000

#: Merges, a few milliseconds of them, after which it is asked whether anybody still waits.
MERGES_BETWEEN_QUESTIONS = 100

#: Principal components of the votes that are kept.
N_COMPONENTS = 32

#: Exponents of size and of contrast in the cost of a merge; the choice is measured in docs/benchmarks.md.
SIZE_EXPONENT, CONTRAST_EXPONENT = 0.8, 2.0

#: Growth of a region at which the costs with all its neighbors are computed anew. A background with thousands of
#: neighbors takes in one speck after the other, and changes little by each.
GROWTH = 1.02


def contrast_of(values: NDArray[np.floating[Any]], mask: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    r"""How steeply an image changes at each pixel, over all its channels.

    Parameters
    ----------
    values : (C, H, W) ndarray of float
        Channels; together they are brought to unit variance.
    mask : (H, W) ndarray of bool, optional
        The pixels that take part. The others are taken to be like the nearest that does.

    Returns
    -------
    (H, W) ndarray of float32

    Notes
    -----
    .. math:: g = \sqrt{\sum_c (\partial_x I_c)^2 + (\partial_y I_c)^2}

    with derivatives of a Gaussian of `CONTRAST_SIGMA` pixels.

    Examples
    --------
    >>> steps = np.repeat([0.0, 1.0], 8)[None, None].repeat(5, axis=1)  # (1, 5, 16)
    >>> int(contrast_of(steps)[2].argmax()) in (7, 8)
    True
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    inside = values.reshape(len(values), -1) if mask is None else values[:, mask]
    if mask is not None:
        nearest = distance_transform_edt(~mask, return_distances=False, return_indices=True)  # (2, H, W)
        values = values[:, nearest[0], nearest[1]]
    variance = float(inside.var(1, dtype=np.float64).sum())
    squares = np.zeros(values.shape[1:], dtype=np.float32)
    for channel in values:
        for order in ((0, 1), (1, 0)):
            squares += gaussian_filter(channel.astype(np.float32), CONTRAST_SIGMA, order=order) ** 2
    found: NDArray[np.float32] = np.sqrt(squares / np.float32(variance or 1.0))
    return found


def basins_of(contrast: NDArray[np.float32], mask: NDArray[np.bool_] | None = None) -> NDArray[np.int32]:
    """Small connected pieces of an image that end where it changes: the basins of its contrast.

    Parameters
    ----------
    contrast : (H, W) ndarray of float32
    mask : (H, W) ndarray of bool, optional
        The pixels that take part.

    Returns
    -------
    (H, W) ndarray of int32
        1 to the number of basins; 0 where masked.

    Examples
    --------
    >>> ridge = np.zeros((3, 9), dtype=np.float32)
    >>> ridge[:, 4] = 1
    >>> np.unique(basins_of(ridge)).tolist()
    [1, 2]
    """
    from scipy.ndimage import minimum_filter
    from skimage.measure import label
    from skimage.segmentation import watershed  # half a second, which only a run that makes regions should take

    valleys = contrast if mask is None else np.where(mask, contrast, np.float32(np.inf))
    for side in range(SEED_SQUARE, max(SEED_SQUARE, *contrast.shape) + 1, 2):
        low = (valleys == minimum_filter(valleys, side)) & (valleys < np.inf)
        seeds, n_seeds = label(low, connectivity=1, return_num=True)
        if n_seeds <= MOST_BASINS:
            break
    pieces = np.asarray(watershed(contrast, seeds, mask=mask), dtype=np.int32)
    left = (pieces == 0) if mask is None else (pieces == 0) & mask
    if left.any():  # islands between masked pixels that no seed fell on
        pieces = np.where(left, label(left, connectivity=1) + pieces.max(), pieces).astype(np.int32)
    return pieces


class Votes:
    """What many label maps of one image say of its basins: how the clusters share each of them.

    Two pixels are alike in so far as label maps put them into one cluster, from whichever network and iteration a map
    is; clusters of different maps need no correspondence (co-association).

    Parameters
    ----------
    basins : (H, W) ndarray of int32
        1 to their number; 0 where masked. Kept as an attribute.

    References
    ----------
    A. L. N. Fred, A. K. Jain, "Combining multiple clusterings using evidence accumulation", IEEE Transactions on
    Pattern Analysis and Machine Intelligence, 2005.

    Examples
    --------
    >>> votes = Votes(np.array([[1, 1, 2, 2]]))
    >>> votes.add(np.array([[0, 3, 3, 3]]), n_clusters=4)
    >>> (9 * votes.shares() ** 2).round().tolist()  # 9/4 and 9 over the variance 1 - (1/4) ** 2 - (3/4) ** 2
    [[6.0, 6.0], [0.0, 24.0]]
    """

    def __init__(self, basins: NDArray[np.int32]) -> None:
        self.basins = basins
        self._index = basins.ravel().astype(np.int64)
        self._n_basins = int(basins.max())
        self._maps: list[NDArray[np.float32]] = []  # each (S, q')
        self._variance = 0.0

    def __len__(self) -> int:
        """Label maps so far."""
        return len(self._maps)

    def add(self, clusters: NDArray[np.integer[Any]], n_clusters: int, known: NDArray[np.bool_] | None = None) -> None:
        """Take one label map.

        Parameters
        ----------
        clusters : (H, W) ndarray of int
            0 to ``n_clusters - 1``.
        n_clusters : int
        known : (H, W) ndarray of bool, optional
            The pixels that have a label.
        """
        index = self._index * n_clusters + clusters.ravel()
        if known is not None:
            index = index[known.ravel()]
        size = (self._n_basins + 1) * n_clusters
        counts = np.bincount(index, minlength=size).reshape(-1, n_clusters)[1:]  # (S, q)
        areas = counts.sum(0)
        total = max(int(areas.sum()), 1)
        self._variance += 1 - float(((areas / total) ** 2).sum())
        counts = counts[:, areas > 0]
        self._maps.append((counts / np.maximum(counts.sum(1, keepdims=True), 1)).astype(np.float32))

    def shares(self) -> NDArray[np.float32]:
        """The share of every cluster in each basin, map beside map, (S, D); over the pixels of unit variance.

        Where there are more than `N_COMPONENTS` columns, their first principal components over the pixels: distances
        are what counts, and merging looks at millions of them.
        """
        shares = np.concatenate(self._maps, axis=1) / np.float32(np.sqrt(self._variance) or 1.0)
        if shares.shape[1] <= N_COMPONENTS:
            return shares
        sizes = np.bincount(self._index, minlength=self._n_basins + 1)[1:].astype(np.float32)
        centered = shares - np.average(shares, axis=0, weights=sizes).astype(np.float32)
        _, axes = np.linalg.eigh((centered * sizes[:, None]).T @ centered)
        components: NDArray[np.float32] = centered @ axes[:, -N_COMPONENTS:]
        return components


class Hierarchy:
    r"""Basins, and the order in which neighbors merge until one region is left.

    Parameters
    ----------
    basins : (H, W) ndarray of int32
        1 to their number; 0 where masked.
    features : (S, D) ndarray of float32
        Of every basin; the mean over a region stands for it.
    contrast : (H, W) ndarray of float32
        Of every pixel.
    cancelled : callable, optional
        Asked now and then; once it is true, `Cancelled` is raised.

    Attributes
    ----------
    merges : (M, 2) ndarray of int64
        Indices of two basins, counted from 0: the region of the second becomes part of that of the first.
    levels : (M,) ndarray of float64
        What each merge cost, or an earlier one that cost more.

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
    >>> hierarchy = Hierarchy(pieces, np.float32([[0], [0.1], [1]]), np.ones((1, 6), dtype=np.float32))
    >>> hierarchy.cut(0.1).tolist()
    [[1, 1, 1, 1, 2, 2]]
    """

    def __init__(
        self,
        basins: NDArray[np.int32],
        features: NDArray[np.float32],
        contrast: NDArray[np.float32],
        cancelled: Callable[[], bool] = lambda: False,
    ) -> None:
        self._basins = basins
        self._n_basins = len(features)
        merges = []
        for merge in _Merging(basins, features, contrast).run():
            merges.append(merge)
            if len(merges) % MERGES_BETWEEN_QUESTIONS == 0 and cancelled():
                raise Cancelled
        self.merges = np.array([pair for _, *pair in merges], dtype=np.int64).reshape(-1, 2)
        self.levels = np.maximum.accumulate(np.array([cost for cost, _, _ in merges], dtype=np.float64))

    def cut(self, level: float) -> NDArray[np.int32]:
        """The regions that are left once every merge of at most a level is made.

        Parameters
        ----------
        level : float
            From 0; see `levels`.

        Returns
        -------
        (H, W) ndarray of int32
            1 to the number of regions; 0 where masked.
        """
        regions = self._regions(level)
        return np.concatenate([[0], regions + 1]).astype(np.int32)[self._basins]

    def distinctness(self, level: float) -> NDArray[np.float32]:
        """How far each pixel's region stands out from its neighbors.

        Parameters
        ----------
        level : float
            From 0; see `levels`.

        Returns
        -------
        (H, W) ndarray of float32
            1 less the ratio of the level to that at which the region merges next, in 0 to 1; 1 for a region without a
            neighbor, NaN where masked.
        """
        regions, n_made = self._regions(level), self._n_made(level)
        following = np.full(regions.max() + 1, np.inf)
        for (one, other), cost in zip(self.merges[n_made:][::-1], self.levels[n_made:][::-1], strict=True):
            following[regions[one]] = following[regions[other]] = cost
        found = 1 - level / following
        return np.concatenate([[np.nan], found[regions]]).astype(np.float32)[self._basins]

    def _n_made(self, level: float) -> int:
        return int(np.searchsorted(self.levels, level, side="right"))

    def _regions(self, level: float) -> NDArray[np.int64]:
        """Region of every basin, (S,), counted from 0."""
        n_made = self._n_made(level)
        parents = np.arange(self._n_basins)
        parents[self.merges[:n_made, 1]] = self.merges[:n_made, 0]
        while True:
            further = parents[parents]
            if np.array_equal(further, parents):
                break
            parents = further
        found: NDArray[np.int64] = np.unique(parents, return_inverse=True)[1]
        return found


class _Merging:
    """The merging itself: a heap of boundaries by cost, in which outdated entries are passed over."""

    def __init__(self, basins: NDArray[np.int32], features: NDArray[np.float32], contrast: NDArray[np.float32]) -> None:
        n_regions = len(features)
        self.sizes = np.bincount(basins.ravel(), minlength=n_regions + 1)[1:].astype(np.float64)
        self.means = features.copy()
        self.ones, self.others, self.lengths, self.sums = _boundaries(basins, contrast)
        self.sizes_then = self.sizes.copy()  # when all boundaries of a region had their costs last
        self.stamps = [0] * len(self.ones)  # of each boundary: how often it had its cost; -1 once it is gone
        self.neighbors: list[dict[int, int]] = [{} for _ in range(n_regions)]  # of each, and the boundary with it
        for boundary, (one, other) in enumerate(zip(self.ones.tolist(), self.others.tolist(), strict=True)):
            self.neighbors[one][other] = self.neighbors[other][one] = boundary
        self.heap: list[tuple[float, int, int]] = []
        for start in range(0, len(self.ones), 4096):  # features of both sides of all boundaries would be too many
            self._push(range(start, min(start + 4096, len(self.ones))))

    def run(self) -> Iterator[tuple[float, int, int]]:
        """The cost of every merge, and its two regions; the second is part of the first from then on."""
        while self.heap:
            cost, boundary, stamp = heapq.heappop(self.heap)
            if self.stamps[boundary] != stamp:
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
        self.stamps[self.neighbors[one].pop(other)] = -1
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
                self.stamps[boundary] = -1
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
            self.stamps[boundary] += 1
            heapq.heappush(self.heap, (cost, boundary, self.stamps[boundary]))


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
