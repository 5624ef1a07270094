"""A kept network over the frames of a time series, a stack or a video: the same classes in each, with less flicker."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import gaussian_filter

from napari_dfc.images import Plane
from napari_dfc.result import KeptProbabilities, KeptResponse, Segmentation, best_of

if TYPE_CHECKING:
    from napari_dfc.model import Model

__all__ = ["check_smoothing", "predict_series", "unchanged"]

#: Width of the Gaussian over which two frames are compared, in pixels.
SIGMA = 1.0

#: Deviations of the noise by which the same thing may differ between two frames.
MOST_DEVIATIONS = 3.0


def predict_series(
    model: Model,
    frames: Iterable[ArrayLike | tuple[ArrayLike, ...]],
    *,
    smoothing: float = 0.0,
    mask: ArrayLike | None = None,
    channel_axis: int | None = None,
    statistics: Literal["reference", "image"] = "reference",
    device: str = "auto",
    threads: int = 0,
    name: str = "",
    cancelled: Callable[[], bool] = lambda: False,
) -> Iterator[Segmentation]:
    """Segment the frames of a series into a network's classes, one after the other.

    Parameters
    ----------
    model : Model
    frames : iterable of images
        Each as in `Model.predict`, all of one size: an array whose first axis counts the frames, or anything that
        gives one after the other, such as a video's reader. A frame is taken when the result before it was.
    smoothing : float
        From 0 to below 1. Where the image has not changed, a pixel takes this share of its probabilities from the
        frame before, which makes it flicker less in noise. 0: every frame is as `Model.predict` gives it.
    mask : (H, W) array of bool, optional
        True where a pixel takes part, the same for all frames.
    channel_axis : int, optional
        Of a frame.
    statistics, device, threads, name, cancelled
        As in `Model.predict`.

    Yields
    ------
    Segmentation
        Of each frame. It holds on to the frame: of a long series keep the `labels`.

    Raises
    ------
    TypeError, ValueError
        As `Model.predict`, with the number of the frame; no frame, frames of several sizes, or a smoothing out of
        range. What the frames' source raises is passed on.

    Notes
    -----
    With the probabilities :math:`p_t` of a frame alone and the smoothing :math:`a`, those of its result are

    .. math:: q_t = (1 - a) p_t + a q_{t-1}

    at the pixels of `unchanged`, and :math:`q_t = p_t` at all others.

    Examples
    --------
    >>> import napari_dfc as dfc
    >>> from napari_dfc.metrics import flicker
    >>> from napari_dfc.samples import read_sample
    >>> sample = read_sample("stained_tissue")
    >>> run = dfc.segment(sample.image, scribbles=sample.scribbles, preset="fast", max_iterations=5)
    >>> noise = np.random.default_rng(0).normal(0, 10, (3, *sample.image.shape))
    >>> plain, smooth = (
    ...     [each.labels for each in run.model().predict_series(sample.image + noise, smoothing=share)]
    ...     for share in (0.0, 0.5)
    ... )
    >>> flicker(smooth) < flicker(plain)
    True
    """
    check_smoothing(smoothing)
    if not isinstance(frames, Iterable):
        raise TypeError(f"frames is of type {type(frames).__name__}; accepted are an array or any iterable of images")
    options = {"mask": mask, "channel_axis": channel_axis, "statistics": statistics}
    engine = {"device": device, "threads": threads, "cancelled": cancelled}
    return _results(model, frames, smoothing, name, {**options, **engine})


def check_smoothing(smoothing: float) -> None:
    """Raise a ValueError where it is out of range."""
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing is {smoothing}; accepted is a number from 0 to below 1")


def _results(
    model: Model, frames: Iterable[Any], smoothing: float, name: str, options: dict[str, Any]
) -> Iterator[Segmentation]:
    before: tuple[Plane, NDArray[np.float32]] | None = None
    shape: tuple[int, int] | None = None
    for number, frame in enumerate(frames, 1):
        try:
            response = model.respond(frame, **options)
            shape = shape or response.plane.shape
            if response.plane.shape != shape:
                there, wanted = (f"{columns} x {rows} pixels" for rows, columns in (response.plane.shape, shape))
                raise ValueError(f"the image has {there} and frame 1 has {wanted}; accepted is one size for all")
        except (TypeError, ValueError) as error:
            raise type(error)(f"frame {number}: {error}") from error
        if smoothing:
            before, found = _smoothed(model, response, before, smoothing, name)
        else:
            found = model.result_of(response, response.winners(), name)
        yield replace(found, record={**found.record, "series": {"frame": number, "smoothing": smoothing}})
    if shape is None:
        raise ValueError("there is no frame; accepted is one or more")


def _smoothed(
    model: Model,
    response: KeptResponse,
    before: tuple[Plane, NDArray[np.float32]] | None,
    smoothing: float,
    name: str,
) -> tuple[tuple[Plane, NDArray[np.float32]], Segmentation]:
    """A frame's result, and what the next frame needs of it."""
    shares = response.shares()
    if before is not None:
        still = unchanged(before[0], response.plane)
        shares[still] += smoothing * (before[1][still] - shares[still])
    found = model.result_of(response, shares.argmax(-1), name)
    kept = KeptProbabilities(*best_of(shares, response.known))
    return (response.plane, shares), replace(found, _response=kept)


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
