"""Basins of an image between its edges, and what the clusters of many label maps say of them."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Votes", "basins_of", "contrast_of", "means_over", "with_even_noise"]

#: Width of the Gaussian whose derivative is the contrast, in pixels.
CONTRAST_SIGMA = 1.0

#: An image has a dark ground where the median of every channel lies below this share of its range.
DARK = 0.15

#: Side of the square in which a basin's seed is the pixel of least contrast, in pixels.
SEED_SQUARE = 5

#: Basins beyond which the squares become larger, so that merging them takes seconds.
MOST_BASINS = 20_000

#: Principal components of the votes that are kept.
N_COMPONENTS = 32


def with_even_noise(
    values: NDArray[np.floating[Any]], mask: NDArray[np.bool_] | None = None
) -> NDArray[np.floating[Any]]:
    r"""Take the square root of the brightness of an image on dark ground; leave any other as it is.

    Where light was counted, as in fluorescence, noise grows with the root of the brightness, and blur makes the edge
    of what is bright steepest too far within. By its root, noise is the same everywhere.

    Parameters
    ----------
    values : (C, H, W) ndarray of float
    mask : (H, W) ndarray of bool, optional
        The pixels that take part.

    Returns
    -------
    (C, H, W) ndarray of float
        ``values`` itself where the ground is not dark.

    Notes
    -----
    With :math:`b` and :math:`t` the 0.1 and 99.9 percentiles of a channel, its brightness is :math:`(I - b) / (t - b)`.
    The ground is dark if the median brightness of every channel that varies is below `DARK`.

    References
    ----------
    F. J. Anscombe, "The transformation of Poisson, binomial and negative-binomial data", Biometrika, 1948.

    Examples
    --------
    >>> spot = np.zeros((1, 8, 8))
    >>> spot[0, 3, 3:5] = 1, 4
    >>> with_even_noise(spot)[0, 3, 2:6].round(2).tolist()
    [0.0, 0.51, 1.02, 0.0]
    >>> with_even_noise(4 - spot)[0, 3, 2:6].tolist()
    [4.0, 3.0, 0.0, 4.0]
    """
    inside = values.reshape(len(values), -1) if mask is None else values[:, mask]
    low, median, high = np.percentile(inside, (0.1, 50, 99.9), axis=1)
    varies = high > low
    if not varies.any() or not (median - low < DARK * (high - low))[varies].all():
        return values
    span = np.where(varies, high - low, 1)[:, None, None]
    rooted: NDArray[np.floating[Any]] = np.sqrt(np.maximum((values - low[:, None, None]) / span, 0)).astype(
        values.dtype
    )
    return rooted


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
