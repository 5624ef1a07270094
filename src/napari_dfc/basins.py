"""Basins of an image between its edges, and what the clusters of many label maps say of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Votes", "basins_of", "means_over"]

#: Side of the square in which a basin's seed is the pixel of least contrast, in pixels.
SEED_SQUARE = 5

#: Basins beyond which the squares become larger, so that merging them takes seconds.
MOST_BASINS = 20_000

#: Principal components of the votes that are kept.
N_COMPONENTS = 32


def basins_of(
    contrast: NDArray[np.float32], mask: NDArray[np.bool_] | None = None, most: float = MOST_BASINS
) -> NDArray[np.int32]:
    """Small connected pieces of an image that end where it changes: the basins of its contrast.

    Parameters
    ----------
    contrast : (H, W) ndarray of float32
    mask : (H, W) ndarray of bool, optional
        The pixels that take part.
    most : float
        Where there would be more basins, they begin at pixels that are lowest in larger squares.

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
        if n_seeds <= most:
            break
    pieces = np.asarray(watershed(contrast, seeds, mask=mask), dtype=np.int32)
    left = (pieces == 0) if mask is None else (pieces == 0) & mask
    if left.any():  # islands between masked pixels that no seed fell on
        pieces = np.where(left, label(left, connectivity=1) + pieces.max(), pieces).astype(np.int32)
    return pieces


def means_over(pieces: NDArray[np.int32], values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """The mean of every channel over each piece.

    Parameters
    ----------
    pieces : (H, W) ndarray of int32
        1 to their number, S; 0 where masked.
    values : (C, H, W) ndarray of float

    Returns
    -------
    (S, C) ndarray of float32

    Examples
    --------
    >>> means_over(np.array([[1, 1, 0, 2]]), np.array([[[1.0, 2.0, 9.0, 5.0]]])).tolist()
    [[1.5], [5.0]]
    """
    index = pieces.ravel()
    sizes = np.bincount(index)[1:]
    sums = [np.bincount(index, channel.ravel())[1:] for channel in values]
    return (np.stack(sums, axis=1) / np.maximum(sizes, 1)[:, None]).astype(np.float32)


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
        self._variances: list[float] = []

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
        self._variances.append(1 - float(((areas / total) ** 2).sum()))
        counts = counts[:, areas > 0]
        self._maps.append((counts / np.maximum(counts.sum(1, keepdims=True), 1)).astype(np.float32))

    def shares(self, start: int = 0, step: int = 1) -> NDArray[np.float32]:
        """The share of every cluster in each basin, map beside map; over the pixels of unit variance.

        Parameters
        ----------
        start, step : int
            The first label map that counts, and how many further on the next one is.

        Returns
        -------
        (S, D) ndarray of float32
            Where there are more than `N_COMPONENTS` columns, their first principal components over the pixels:
            distances are what counts, and merging looks at millions of them.
        """
        variance = sum(self._variances[start::step])
        shares = np.concatenate(self._maps[start::step], axis=1) / np.float32(np.sqrt(variance) or 1.0)
        if shares.shape[1] <= N_COMPONENTS:
            return shares
        sizes = np.bincount(self._index, minlength=self._n_basins + 1)[1:].astype(np.float32)
        centered = shares - np.average(shares, axis=0, weights=sizes).astype(np.float32)
        _, axes = np.linalg.eigh((centered * sizes[:, None]).T @ centered)
        components: NDArray[np.float32] = centered @ axes[:, -N_COMPONENTS:]
        return components
