"""Where two frames of a series show the same, but for the noise that both have."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter

from napari_dfc.images import Plane

__all__ = ["unchanged"]

#: Width of the Gaussian over which two frames are compared, in pixels.
SIGMA = 1.0

#: Deviations of the noise by which the same thing may differ between two frames.
MOST_DEVIATIONS = 3.0


def unchanged(before: Plane, after: Plane) -> NDArray[np.bool_]:
    r"""Where two frames show the same, but for noise.

    Parameters
    ----------
    before, after : Plane
        Of one size, with the same channels.

    Returns
    -------
    (H, W) ndarray of bool
        False where one of them is masked.

    Notes
    -----
    The difference :math:`d` of the frames has the noise's deviation :math:`s`, which the differences of neighbors
    along both axes tell although things have moved (where no frame is masked, nor both are at the darkest or brightest
    value of all, as where light was clipped):

    .. math:: s = \operatorname{median} |d_{y,x} - d_{y,x+1} - d_{y+1,x} + d_{y+1,x+1}| / (2 \cdot 0.6745)

    Behind a Gaussian of deviation :math:`g`, white noise has the deviation :math:`s / (2 \sqrt{\pi} g)`. Where the
    difference behind it is no larger than three times that, in every channel, nothing has changed.

    References
    ----------
    D. L. Donoho, I. M. Johnstone, "Ideal spatial adaptation by wavelet shrinkage", Biometrika, 1994.

    Examples
    --------
    >>> from napari_dfc.images import prepare
    >>> first = np.zeros((6, 40))
    >>> second = first.copy()
    >>> second[:, 30:] = 1
    >>> one, other = (prepare(each, scaling="published") for each in (first, second))
    >>> unchanged(one, other)[3, [5, 20, 35]].tolist()
    [True, True, False]
    """
    still = np.ones(after.shape, dtype=bool)
    for mask in (before.mask, after.mask):
        if mask is not None:
            still &= mask
    usable = still.copy()
    for one, other in zip(before.values, after.values, strict=True):
        clipped = ((one == one.min()) & (other == other.min())) | ((one == one.max()) & (other == other.max()))
        difference = other - one
        deviation = _deviation(difference, usable & ~clipped)
        smooth = gaussian_filter(difference, SIGMA)
        still &= np.abs(smooth) <= MOST_DEVIATIONS * deviation / (2 * math.sqrt(math.pi) * SIGMA)
    return still


def _deviation(difference: NDArray[np.floating[Any]], usable: NDArray[np.bool_]) -> float:
    """Of the white noise in a map (H, W), by the pixels that are usable; 0 where these are too few to tell."""
    twofold = np.diff(np.diff(difference, axis=0), axis=1)
    squares = usable[:-1, :-1] & usable[1:, :-1] & usable[:-1, 1:] & usable[1:, 1:]
    noise = np.abs(twofold[squares])
    return float(np.median(noise)) / (2 * 0.6745) if noise.size else 0.0
