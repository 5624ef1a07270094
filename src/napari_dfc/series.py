"""A kept network over the frames of a time series, a stack or a video: the same classes in each, with less flicker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_dfc.adaptation import Adaptation
from napari_dfc.images import Plane
from napari_dfc.noise import unchanged
from napari_dfc.result import KeptProbabilities, KeptResponse, Segmentation, best_of
from napari_dfc.settings import MOST_UPDATES

if TYPE_CHECKING:
    from napari_dfc.model import Model

__all__ = ["Series", "check_adaptation", "check_smoothing", "predict_series"]


def predict_series(
    model: Model,
    frames: Iterable[ArrayLike | tuple[ArrayLike, ...]],
    *,
    smoothing: float = 0.0,
    adaptation: int = 0,
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
        frame before, which makes it flicker less in noise. With neither this nor `adaptation`, every frame is as
        `Model.predict` gives it.
    adaptation : int
        Updates of a copy of the network, from 0 to 50, on each frame that shows another scene than the one on which it
        was updated before; five are a good start. So it follows what changes slowly, such as staining, focus or what
        there is to see. Frames that are alike but for noise get none, and the same labels as without; what jumps at
        once is not followed. See `napari_dfc.adaptation.Adaptation`.
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
        As `Model.predict`, with the number of the frame; no frame, frames of several sizes, a smoothing or an
        adaptation out of range. What the frames' source raises is passed on.

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
    if not isinstance(frames, Iterable):
        raise TypeError(f"frames is of type {type(frames).__name__}; accepted are an array or any iterable of images")
    series = Series(
        model,
        smoothing=smoothing,
        adaptation=adaptation,
        name=name,
        device=device,
        mask=mask,
        channel_axis=channel_axis,
        statistics=statistics,
        threads=threads,
        cancelled=cancelled,
    )
    return _results(series, frames)


class Series:
    """A kept network over frames that are handed to it one at a time: `predict_series` for who asks frame by frame.

    Parameters
    ----------
    model : Model
    smoothing, adaptation, name
        As in `predict_series`.
    **options
        The others of `predict_series`.

    Attributes
    ----------
    device : str
        Where the frames that follow are computed.

    Raises
    ------
    ValueError
        A smoothing or an adaptation out of range.
    """

    def __init__(
        self,
        model: Model,
        *,
        smoothing: float = 0.0,
        adaptation: int = 0,
        name: str = "",
        device: str = "auto",
        **options: Any,
    ) -> None:
        check_smoothing(smoothing)
        check_adaptation(adaptation)
        self.device = device
        self._model, self._smoothing, self._adaptation = model, smoothing, adaptation
        self._options = {"mask": None, "channel_axis": None, "statistics": "reference", "threads": 0, **options}
        self._continuity = _Continuity(model, smoothing, adaptation, name)
        self._number = 0
        self._shape: tuple[int, int] | None = None

    def segment(self, frame: ArrayLike | tuple[ArrayLike, ...]) -> Segmentation:
        """The result of the next frame.

        Raises
        ------
        TypeError, ValueError
            As `Model.predict`; another size than that of the first frame. What follows is as if this frame had not
            come, but for its number.
        """
        self._number += 1
        response = self._model.respond(frame, **self._options, device=self.device)
        if self._shape is not None and response.plane.shape != self._shape:
            there, wanted = (f"{columns} x {rows} pixels" for rows, columns in (response.plane.shape, self._shape))
            raise ValueError(f"the image has {there} and frame 1 has {wanted}; accepted is one size for all")
        found = self._continuity.result(response)
        self._shape = response.plane.shape
        plan = self._model.plan(
            self._shape,
            smoothing=self._smoothing,
            adaptation=self._adaptation,
            device=self.device,
            threads=self._options["threads"],
        )
        series = {"frame": self._number, **self._continuity.record()}
        return replace(found, plan=plan, record={**found.record, "series": series})


def _results(series: Series, frames: Iterable[Any]) -> Iterator[Segmentation]:
    number = 0
    for number, frame in enumerate(frames, 1):
        try:
            found = series.segment(frame)
        except (TypeError, ValueError) as error:
            raise type(error)(f"frame {number}: {error}") from error
        yield found
    if not number:
        raise ValueError("there is no frame; accepted is one or more")


def check_smoothing(smoothing: float) -> None:
    """Raise a ValueError where it is out of range."""
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing is {smoothing}; accepted is a number from 0 to below 1")


def check_adaptation(adaptation: int) -> None:
    """Raise a ValueError where it is no number of updates."""
    whole = isinstance(adaptation, int | np.integer) and not isinstance(adaptation, bool)
    if not whole or not 0 <= adaptation <= MOST_UPDATES:
        raise ValueError(
            f"adaptation is {adaptation!r}; accepted is a whole number of updates from 0, which leaves the network as "
            f"it is, to {MOST_UPDATES}"
        )


class _Continuity:
    """What a frame's result takes from the frames before it."""

    def __init__(self, model: Model, smoothing: float, adaptation: int, name: str) -> None:
        self._model, self._smoothing, self._n_updates, self._name = model, smoothing, int(adaptation), name
        self._adaptation = Adaptation(self._n_updates) if adaptation else None
        self._before: tuple[Plane, NDArray[np.float32]] | None = None  # a frame, and its probabilities

    def result(self, response: KeptResponse) -> Segmentation:
        """Of a frame."""
        if not self._smoothing and self._adaptation is None:
            return self._model.result_of(response, response.winners(), self._name)
        still = np.zeros(response.plane.shape, dtype=bool)
        if self._before is not None:
            still = unchanged(self._before[0], response.plane)
        if self._adaptation is None:
            shares = response.shares()
        else:
            held = np.full(still.shape, -1, dtype=np.int64)
            if self._before is not None:
                held[still] = self._before[1][still].argmax(-1)
            shares = self._adaptation.shares(response, held)
        if self._before is not None and self._smoothing:
            shares[still] += self._smoothing * (self._before[1][still] - shares[still])
        self._before = response.plane, shares
        found = self._model.result_of(response, shares.argmax(-1), self._name)
        return replace(found, _response=KeptProbabilities(*best_of(shares, response.known)))

    def record(self) -> dict[str, Any]:
        """What was asked for, and what was done on the latest frame."""
        if self._adaptation is None:
            return {"smoothing": self._smoothing}
        return {
            "smoothing": self._smoothing,
            "adaptation": self._n_updates,
            "updates": self._adaptation.updates,
        }
