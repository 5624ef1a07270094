"""How steeply an image changes at each pixel: its edges as eyes see them in color, and as noise allows in the dark."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dfc.images import Plane

__all__ = ["contrast_of", "gradient_magnitude", "lab_of", "with_even_noise"]

#: Width of the Gaussian whose derivative is the contrast, in pixels.
CONTRAST_SIGMA = 1.0

#: An image has a dark ground where the median of every channel lies below this share of its range.
DARK = 0.15

#: Largest variance that contrast is divided by: float32 knows none beyond.
LARGEST = 3e38

#: Pixels that are converted to Lab at once, so that no more than a few of their copies are in memory.
PIXELS_AT_ONCE = 1 << 18


def contrast_of(plane: Plane) -> NDArray[np.float32]:
    """How steeply an image changes at each pixel: a color image in Lab, any other with even noise.

    Parameters
    ----------
    plane : Plane

    Returns
    -------
    (H, W) ndarray of float32
        See `gradient_magnitude`.

    Examples
    --------
    >>> from napari_dfc.images import prepare
    >>> steps = np.repeat([20, 90], 8)[None].repeat(5, axis=0).astype(np.uint8)  # (5, 16)
    >>> int(contrast_of(prepare(steps))[2].argmax()) in (7, 8)
    True
    """
    values = lab_of(plane.values) if plane.is_rgb else with_even_noise(plane.values, plane.mask)
    return gradient_magnitude(values, plane.mask)


def lab_of(values: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """CIE Lab of red, green and blue: differences are as large as eyes find them.

    Parameters
    ----------
    values : (3, H, W) ndarray of float
        sRGB of 0 to 1; what lies beyond is taken for 0 or 1.

    Returns
    -------
    (3, H, W) ndarray of float32
        L of 0 to 100, a and b.

    Examples
    --------
    >>> lab_of(np.array([1.0, 1.0, 1.0])[:, None, None])[:, 0, 0].round(1).tolist()[0]
    100.0
    """
    from skimage.color import rgb2lab

    found = np.empty(values.shape, dtype=np.float32)
    rows = max(PIXELS_AT_ONCE // values.shape[2], 1)
    for start in range(0, values.shape[1], rows):
        part = np.clip(values[:, start : start + rows], 0, 1, dtype=np.float32)
        found[:, start : start + rows] = rgb2lab(part, channel_axis=0)
    return found


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


def gradient_magnitude(values: NDArray[np.floating[Any]], mask: NDArray[np.bool_] | None = None) -> NDArray[np.float32]:
    r"""How steeply all channels together change at each pixel.

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
    >>> int(gradient_magnitude(steps)[2].argmax()) in (7, 8)
    True
    """
    from scipy.ndimage import distance_transform_edt, gaussian_filter

    inside = values.reshape(len(values), -1) if mask is None else values[:, mask]
    if mask is not None:
        nearest = distance_transform_edt(~mask, return_distances=False, return_indices=True)  # (2, H, W)
        values = values[:, nearest[0], nearest[1]]
    variance = float(inside.var(1, dtype=np.float64).sum())
    squares = np.zeros(values.shape[1:], dtype=np.float32)
    with np.errstate(over="ignore"):  # a pixel beyond all bounds has an edge of infinite steepness
        for channel in values:
            for order in ((0, 1), (1, 0)):
                squares += gaussian_filter(channel.astype(np.float32), CONTRAST_SIGMA, order=order) ** 2
    found: NDArray[np.float32] = np.sqrt(squares / np.float32(min(variance or 1.0, LARGEST)))
    return found
