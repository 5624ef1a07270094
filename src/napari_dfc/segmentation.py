"""From an image to its `Segmentation`: one run of the optimization, to be consumed iteration by iteration."""

from __future__ import annotations

import logging
import math
import threading
import time
import traceback
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from napari_dfc import images
from napari_dfc import scribbles as strokes
from napari_dfc.basins import Votes, basins_of
from napari_dfc.cancellation import Cancelled, NoResultYet
from napari_dfc.contrast import contrast_of
from napari_dfc.courses import Courses
from napari_dfc.devices import (
    choose_device,
    computing,
    has_bfloat16,
    is_out_of_memory,
    release_memory,
)
from napari_dfc.history import Recorder
from napari_dfc.legend import Legend
from napari_dfc.memory import Plan
from napari_dfc.model import Model, model_of
from napari_dfc.numbering import apply_numbers, label_numbers
from napari_dfc.optimization import Iteration
from napari_dfc.pieces import KeptPieces, groups_of, regions_of
from napari_dfc.provenance import note_of, record_of
from napari_dfc.records import ALL_MADE, pack_mask
from napari_dfc.result import LOSS_NAMES, KeptResponse, Segmentation
from napari_dfc.scribbles import UPDATES_AFTER_STROKES, Arrival, check_arrivals
from napari_dfc.settings import DEFAULT_PRESET, Precision, Settings
from napari_dfc.stage import Stage

__all__ = ["Run", "check_groups", "segment"]

logger = logging.getLogger(__name__)


class _Kept(NamedTuple):
    """The iteration that would be the result, and what it was computed with."""

    iteration: Iteration
    stage: Stage
    plan: Plan


class Run:
    """One optimization, to be consumed iteration by iteration; stop when you like and take the result.

    `segment`, the command line and the widget all work this way.

    Parameters
    ----------
    image, scribbles, mask, channel_axis
        As in `segment`; a `Plane` is an image that is prepared already, with its mask, and `mask` is for the record.
    settings : Settings, optional
        The default preset by default.
    name : str
        What the record calls the image.
    spare_a_core : bool
        Leave one of the processor's cores alone where there are four or more, so that a window stays responsive.

    Raises
    ------
    TypeError, ValueError
        As `segment`; everything is checked here, before the first iteration.

    Attributes
    ----------
    settings : Settings
    device : Device
    plane : Plane
        The prepared image; with a mask no more of it than the rectangle around the pixels that take part.

    Examples
    --------
    >>> import numpy as np
    >>> run = Run(np.random.default_rng(0).random((32, 32)), settings=Settings.from_preset("fast", max_iterations=5))
    >>> for iteration in run:
    ...     if iteration.number == 3:
    ...         break
    >>> run.result().iterations
    3
    """

    def __init__(
        self,
        image: ArrayLike | tuple[ArrayLike, ...] | images.Plane,
        *,
        scribbles: ArrayLike | Mapping[int, Any] | None = None,
        mask: ArrayLike | None = None,
        channel_axis: int | None = None,
        settings: Settings | None = None,
        name: str = "",
        spare_a_core: bool = False,
    ) -> None:
        self.settings = settings or Settings()
        if isinstance(image, images.Plane):
            self.plane = image
        else:
            scaling = self.settings.input_scaling
            self.plane = images.prepare(image, channel_axis=channel_axis, mask=mask, scaling=scaling, cut=True)
        self._mask = None if mask is None else pack_mask(np.asarray(mask))  # for the record
        given = scribbles if isinstance(scribbles, Mapping) or scribbles is None else {0: scribbles}
        schedule = {} if given is None else check_arrivals(given)
        before: strokes.Scribbles | None = None
        for number, arrival in schedule.items():
            kind = (self.plane.whole_shape, self.settings.n_channels, self.plane.mask)
            before = strokes.prepare(arrival.painted, *kind, before, self.plane.window)
            if number and arrival.updates < 1:
                raise ValueError(f"updates is {arrival.updates}; accepted is a whole number from 1")
        self.device = choose_device(self.settings.device)
        self.name = name
        self.spare_a_core = spare_a_core
        self._changes: list[str] = []
        self._contrast = np.zeros((0, 0), dtype=np.float32)
        self._cancelled = threading.Event()
        self._inbox: deque[Arrival] = deque(maxlen=1)  # filled by other threads
        self._lock = threading.Lock()  # what is kept belongs together, whichever thread asks for the result
        self._threads = 0
        self._seconds = 0.0
        self._courses = self._begin(schedule)

    def _begin(self, schedule: Mapping[int, Arrival], most: float = math.inf) -> Courses:
        """Before the first iteration, or once more."""
        settings = self.settings.change(precision=self._precision)
        self._votes: Votes | None = None
        self._merged: tuple[int, KeptPieces] | None = None  # by how many label maps, and how
        self._latest: Iteration | None = None
        self._kept: _Kept | None = None
        self._recorder = Recorder(mask=self.plane.mask)
        self._losses: list[Tensor] = []  # each (4,), on the device
        self._counts: list[int] = []
        self._ended = ""
        return Courses(self.plane, settings, self.device, schedule, self._inbox, self._cancelled.is_set, most)

    @property
    def stage(self) -> Stage:
        """The present classes and strokes."""
        return self._courses.stage

    @property
    def plan(self) -> Plan:
        """How much memory the run takes, and the crops that keep it below the limit."""
        return self._courses.plan

    @property
    def refused(self) -> str:
        """Why strokes that were sent last could not be used; usually empty."""
        return self._courses.refused

    @property
    def scribbles(self) -> strokes.Scribbles | None:
        """The present strokes."""
        return self.stage.scribbles

    @property
    def run_numbers(self) -> NDArray[np.uint64]:
        """The number of every channel's cluster in the previews, (q,)."""
        return self.stage.run_numbers

    @property
    def n_updates(self) -> int:
        """Updates of networks after which it ends, if it does not stop before."""
        return self.stage.last

    @property
    def takes_votes(self) -> bool:
        """Whether it gives groups or regions, by the votes of several networks."""
        return self.stage.takes_votes

    @property
    def class_numbers(self) -> tuple[int, ...]:
        """The numbers that labels may have: those painted, of groups 1 and so on, else one for each channel."""
        return self.stage.class_numbers

    @property
    def edge_share(self) -> float:
        """``settings.edge_share`` where the run gives the painted classes alone, else 0."""
        return self.stage.edge_share

    @property
    def losses(self) -> NDArray[np.float64]:
        """Those of all iterations so far, (iterations, 4); columns as in `LOSS_NAMES`."""
        rows = list(self._losses)
        return torch.stack(rows).cpu().double().numpy() if rows else np.zeros((0, len(LOSS_NAMES)))

    @property
    def label_counts(self) -> NDArray[np.int64]:
        """Those of all iterations so far, (iterations,)."""
        return np.array(self._counts, dtype=np.int64)

    @property
    def _precision(self) -> Precision:
        """The precision asked for, where the device has it."""
        wanted = self.settings.precision
        return "float32" if wanted == "bfloat16" and not has_bfloat16(self.device) else wanted

    def cancel(self) -> None:
        """End the run from another thread, in the middle of an iteration; `result` keeps what there is."""
        self._cancelled.set()

    def send(self, scribbles: ArrayLike, updates: int = UPDATES_AFTER_STROKES) -> None:
        """Let strokes take effect from the next iteration on, in place of those before; from any thread.

        Networks go on with what they have learned. A run that has ended, or was cancelled, goes on when it is iterated
        over once more. Strokes that can't be used are left out, and `refused` says why.

        Parameters
        ----------
        scribbles : (H, W) array of integers
            All strokes that there are to be, as in `segment`. They are copied.
        updates : int
            How many updates are to follow, at least.
        """
        self._inbox.append(Arrival(np.array(scribbles), updates))
        self._cancelled.clear()

    def rest(self) -> None:
        """Give back the memory of the maps until it goes on; the networks are kept."""
        self._courses.rest()

    @property
    def has_mail(self) -> bool:
        """Whether strokes were sent that have not taken effect yet."""
        return bool(self._inbox)

    def __iter__(self) -> Iterator[Iteration]:
        while True:
            try:
                yield from self._attempt()
                return
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                # the traceback holds what was computed; it has to be gone before memory is given back
                traceback.clear_frames(error.__traceback__)
                words = str(error)
            finally:
                release_memory(self.device)
            self._step_down(words)

    def _attempt(self) -> Iterator[Iteration]:
        """The optimization from where it is, with the present device."""
        iterations = iter(self._courses)
        logger.info("segmenting %s on %s with %s", self.name or "an image", self.device, self.plan)
        started = time.perf_counter() - self._seconds
        while True:
            # entered anew for each iteration: what the consumer does in between must not see our settings of PyTorch
            settings = self.settings
            with computing(
                self.device, settings.threads, settings.repeatable, self.spare_a_core, self._precision
            ) as self._threads:
                try:
                    iteration = next(iterations)
                except StopIteration:
                    break
                except Cancelled:
                    self._ended = "stopped by the user"
                    return
            if not iteration.provisional:
                with self._lock:
                    self._take(iteration)
            self._seconds = time.perf_counter() - started
            yield iteration
        assert self._latest is not None
        if self._latest.number < self.n_updates:
            self._ended = f"no more than {self.stage.least} labels were left"
        else:
            self._ended = ALL_MADE

    def _take(self, iteration: Iteration) -> None:
        """Keep what there is to be kept of an iteration."""
        self._ended, self._latest = "", iteration
        self._losses.append(torch.stack(iteration.losses))
        self._counts.append(iteration.n_labels)
        kept = self._kept if self._kept is not None and self._kept.stage is self.stage else None
        if kept is None:  # channels mean something else than before
            self._recorder = Recorder(mask=self.plane.mask)
        if not (self.stage.takes_votes or self.stage.restricted):
            self._recorder.add(iteration)
        # of a run with crops the last map counts, which is the only one of a single network
        enough = iteration.n_labels >= self.stage.least or not self.settings.keep_min_labels or self.plan.n_crops > 1
        # the next network's first crops do not replace the whole map of the one before
        whole = iteration.complete or kept is None or not kept.iteration.complete
        if kept is None or (enough and whole):
            self._kept = _Kept(iteration, self.stage, self.plan)
        self._vote(iteration)

    # ------------------------------------------------------------------ votes, memory

    def _vote(self, iteration: Iteration) -> None:
        """Let a label map have a say on the pieces; of a run with crops, only each network's last one is whole."""
        if not self.takes_votes or iteration.number == 0:  # an untrained network has nothing to say
            return
        if self.plan.n_crops > 1 and iteration.number % self.settings.region_iterations:
            return
        if self._votes is None:  # only now, so that the first map is on screen the sooner
            self._contrast = contrast_of(self.plane)
            self._votes = Votes(basins_of(self._contrast, self.plane.mask))
        known = None if iteration.known is None else iteration.known.cpu().numpy()
        self._votes.add(iteration.clusters.cpu().numpy(), self.stage.n_clusters, known)

    def _step_down(self, words: str) -> None:
        """Out of memory: begin anew with smaller crops, and where those are small already, on the CPU."""
        before, schedule = self.plan, self._courses.all_arrivals()
        self._courses = smaller = self._begin(schedule, most=before.bytes / 2)
        if smaller.plan.n_crops > before.n_crops:
            self.settings = self.settings.change(memory_limit=smaller.plan.limit / 1e9)  # so that the record repeats it
            self._changes.append(f"{self.device.title} ran out of memory: taken in smaller crops")
        elif self.device.name != "cpu":
            self._changes.append(f"{self.device.title} ran out of memory: computed on the CPU")
            self.device = choose_device("cpu")
        else:
            said = f" ({words.splitlines()[0]})" if words else ""
            raise MemoryError(
                "there is not enough memory, even with the smallest crops: close other programs, or lower the channels"
                + said
            )
        self._courses = self._begin(schedule)
        logger.warning("%s", self._changes[-1])

    def preview(self, iteration: Iteration) -> NDArray[np.unsignedinteger[Any]]:
        """The label map of an iteration, (H, W), numbered as throughout this run."""
        known = self.plane.mask if iteration.known is None else iteration.known.cpu().numpy()
        return self._in_place(apply_numbers(iteration.clusters.cpu().numpy(), self.run_numbers, known))

    def blank(self) -> NDArray[np.unsignedinteger[Any]]:
        """A map without labels, (H, W), to prepare a display with."""
        return np.zeros(self.plane.whole_shape, dtype=np.uint8)

    @property
    def places(self) -> tuple[tuple[slice, slice], ...]:
        """Rows and columns of each image in the label maps."""
        return self.plane.parts or ((slice(None), slice(None)),)

    def _in_place(self, labels: NDArray[Any]) -> NDArray[Any]:
        """A label map of what is looked at, as one of the whole image."""
        return labels if self.plane.window is None else self.plane.window.put(labels)

    def seconds_left(self) -> float:
        """Time until the last iteration at the pace so far, in seconds; infinite before the first update."""
        done = 0 if self._latest is None else self._latest.number
        if done < 1:
            return float("inf")
        return self._seconds / len(self._counts) * (self.n_updates - done)

    def result(self) -> Segmentation:
        """What there is so far: the last label map with enough labels, or the pieces by all label maps.

        Groups and regions take a while, from a second to a minute, and so does drawing painted classes to the edges.
        Once `cancel` was called, there is the last label map instead.

        Returns
        -------
        Segmentation

        Raises
        ------
        NoResultYet
            No iteration has ended; a RuntimeError.
        """
        with self._lock:
            kept, latest, maps, arrived = self._kept, self._latest, self._recorder.maps(), self._courses.arrived
        if kept is None or latest is None:
            raise NoResultYet("there is no result yet: not one iteration has ended")
        iteration, stage, _ = kept
        pieces = self._pieces(stage)
        n_updates = iteration.number
        response: KeptResponse | KeptPieces
        if pieces is not None:
            n_updates = len(self._counts) - 1
            labels, numbers, response = pieces.labels(), np.zeros(0, dtype=np.uint64), pieces
            n_labels = int(labels.max())
        else:
            known = self.plane.mask if iteration.known is None else iteration.known.cpu().numpy()
            response, clusters = self._classes_at_edges(kept, known)
            inside = clusters if known is None else clusters[known]
            areas = np.bincount(inside.ravel(), minlength=stage.n_clusters)
            numbers, n_labels = label_numbers(areas, stage.classes), int(np.count_nonzero(areas))
            labels = apply_numbers(clusters, numbers, known)
        # a run that was called off while its pieces were merged had made all its iterations
        ended = self._ended if pieces is not None or not stage.takes_votes else ""
        ended = ended or "stopped by the user"
        outcome = {
            "iterations": n_updates,
            "n_labels": n_labels,
            "split_into": "clusters" if pieces is None else self.settings.split_into,
            "ended": ended,
            "stopped": self._cancelled.is_set() or not self._ended,
        }
        if outcome["stopped"]:
            outcome["stopped_after"] = latest.number  # the kept map may be older
        record = self._record(kept, arrived, outcome)
        return Segmentation(
            labels=self._in_place(labels),
            iterations=n_updates,
            n_labels=n_labels,
            losses=self.losses[: n_updates + 1],
            label_counts=self.label_counts[: n_updates + 1],
            settings=self.settings,
            device=self.device,
            plan=kept.plan,
            ended=ended,
            note=self._note(n_labels, kept, response),
            record=record,
            _response=response,
            _run_numbers=stage.run_numbers[: len(numbers)],
            _numbers=numbers,
            _maps=maps,
            _n_classes=len(stage.classes),
            _window=self.plane.window,
            _to_model=partial(_model_of_run, response, numbers, record, self.settings, self.plane, self.name),
        )

    def to_the_end(self, stop_after: int | None = None) -> Segmentation:
        """Make all iterations, or those up to the one of a number, and take the result.

        Parameters
        ----------
        stop_after : int, optional

        Returns
        -------
        Segmentation
            As `result` gives it.
        """
        for iteration in self:
            if iteration.number == stop_after:
                self.cancel()
        return self.result()

    def to_teach(self, labels: NDArray[np.unsignedinteger[Any]]) -> Run:
        """A run that teaches a network to tell these groups apart, which no network of this run does.

        Parameters
        ----------
        labels : (H, W) ndarray of unsigned integers
            Of the result.

        Returns
        -------
        Run
            As with these as strokes everywhere; its result's `Segmentation.model` gives other images the groups.
        """
        return _teaching_run(self.plane, labels, self.settings, self.name, self.spare_a_core)

    def _pieces(self, stage: Stage) -> KeptPieces | None:
        """What the label maps so far make; None where there is nothing to be, or nobody waits for it."""
        if not stage.takes_votes or self._votes is None or not len(self._votes) or self._cancelled.is_set():
            return None
        if self._merged is None or self._merged[0] != len(self._votes):
            shares, cancelled = self._votes.shares(), self._cancelled.is_set
            try:
                regions = regions_of(self._votes, shares, self._contrast, cancelled)
                by_groups = self.settings.split_into == "groups"
                groups = groups_of(regions, shares, self.plane, cancelled) if by_groups else None
            except Cancelled:
                return None
            self._merged = len(self._votes), KeptPieces(regions, shares, self.plane, self.settings, groups)
        return self._merged[1]

    def _classes_at_edges(
        self, kept: _Kept, known: NDArray[np.bool_] | None
    ) -> tuple[KeptResponse, NDArray[np.integer[Any]]]:
        """The kept map; of painted classes drawn to the image's edges, as long as somebody waits and memory is left."""
        iteration, stage, _ = kept
        weights = {name: weight.cpu() for name, weight in iteration.weights.items()}
        plain = KeptResponse(
            self.plane, self.settings, weights, stage.n_clusters, stage.factors, self.device, known, 0.0
        )
        if stage.edge_share and not self._cancelled.is_set():
            response = replace(plain, edge_share=stage.edge_share, cancelled=self._courses.called_off)
            try:
                clusters = response.winners()
                return response.not_to_be_cancelled(), clusters
            except Cancelled:
                pass
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                release_memory(self.device)
                logger.warning("no memory is left to draw the classes to the edges")
        return plain, iteration.clusters.cpu().numpy()

    def _note(self, n_labels: int, kept: _Kept, response: KeptResponse | KeptPieces) -> str:
        notes = list(dict.fromkeys(self._changes))
        if self._precision != self.settings.precision:
            notes.append(f"computed in float32: {self.device.title} has no bfloat16 arithmetic")
        whole = kept.iteration.complete
        return note_of(kept.stage, kept.plan, n_labels, response, notes, whole, self._courses.called_off())

    def _record(
        self, kept: _Kept, arrived: Mapping[int, tuple[Arrival, strokes.Scribbles]], outcome: Mapping[str, Any]
    ) -> dict[str, Any]:
        painted = [
            {**strokes.pack(found, number, self.plane.window), "updates": arrival.updates}
            for number, (arrival, found) in arrived.items()
            if number <= outcome["iterations"]
        ]
        record = record_of(
            self.plane, self.settings, self.name, self._threads, self.device, kept.plan, painted, outcome
        )
        return record if self._mask is None else {**record, "mask": self._mask}


def check_groups(settings: Settings) -> None:
    """Say that a network cannot be taught so many groups, before any are found."""
    if settings.n_groups > settings.n_channels:
        raise ValueError(
            f"n_groups is {settings.n_groups} and the network has {settings.n_channels} channels; accepted are as many "
            "groups as channels: raise n_channels or ask for fewer groups"
        )


def _teaching_run(
    plane: images.Plane,
    labels: NDArray[np.unsignedinteger[Any]],
    settings: Settings,
    name: str,
    spare_a_core: bool = False,
) -> Run:
    """A run with labels as strokes everywhere."""
    settings = settings.change(restrict_to_scribbles=True)
    return Run(plane, scribbles=labels, settings=settings, name=name, spare_a_core=spare_a_core)


def _model_of_run(
    response: KeptResponse | KeptPieces,
    numbers: NDArray[np.uint64],
    record: Mapping[str, Any],
    settings: Settings,
    plane: images.Plane,
    name: str,
    names: Mapping[int, str],
) -> Model:
    """The network of a result, or one that is trained to tell its groups apart; it keeps nothing else of the run."""
    iterations = int(record["result"]["iterations"])
    if isinstance(response, KeptResponse):
        legend = Legend.of(int(number) for number in numbers).named(names)
        return model_of(response, numbers, record, iterations, legend)
    if settings.split_into == "regions":
        raise ValueError(
            "regions are pieces of one image and no classes that another could have; run again with "
            'split_into="groups" or with strokes'
        )
    check_groups(settings)
    labels = response.labels()
    legend = Legend.of(np.unique(labels[labels > 0]).tolist()).named(names)
    run = _teaching_run(replace(plane, window=None), labels, settings, name)
    for _ in run:
        pass
    return run.result().model({entry.number: entry.name for entry in legend})


def segment(
    image: ArrayLike | tuple[ArrayLike, ...],
    *,
    scribbles: ArrayLike | Mapping[int, ArrayLike] | None = None,
    mask: ArrayLike | None = None,
    channel_axis: int | None = None,
    stop_after: int | None = None,
    preset: str = DEFAULT_PRESET,
    **settings: Any,
) -> Segmentation:
    r"""Split an image into groups, regions or clusters by differentiable feature clustering.

    A small convolutional network is optimized on this image alone: pixels that look alike and lie side by side are
    drawn to the same label, again and again. The label maps of several networks decide which pieces of the image belong
    together: those that look alike (groups), or neighbors too (regions); with ``split_into="clusters"`` the last label
    map of one network is the result. See `napari_dfc.basins` and `napari_dfc.merging`.

    Parameters
    ----------
    image : (H, W), (H, W, 3), (H, W, 4) or any 3-D array with `channel_axis`; or a tuple of such images
        Boolean, integer or real values. Three channels last are RGB, four are RGBA; fully transparent pixels are
        masked, as are NaN and infinite ones. The channels of a tuple's images are taken together. Never modified.
    scribbles : (H, W) array of integers, or mapping of int to such arrays, optional
        Painted strokes: 0 where nothing is painted, any positive integers elsewhere. A class keeps its number. A
        mapping says which strokes are there from which iteration on, as when they were painted during a run; see
        `napari_dfc.unpack_strokes`.
    mask : (H, W) array of bool, optional
        True where a pixel takes part; nothing beyond the rectangle around these is looked at.
    channel_axis : int, optional
        The axis of the channels, where it is not the last of an RGB(A) image.
    stop_after : int, optional
        Stop after this iteration, as somebody does who is content with what there is.
    preset : {"paper", "published", "fast", "balanced", "accurate"}
        The settings to start from.
    **settings
        Any field of `napari_dfc.Settings`, such as ``n_groups=3`` or ``seed=1``.

    Returns
    -------
    Segmentation
        Its `labels` are the result.

    Raises
    ------
    TypeError
        Complex, object or text values; an unknown setting.
    ValueError
        An empty or wholly masked image, axes that cannot be told apart, scribbles of another shape, negative or
        unpainted ones, more classes than channels, or a setting out of range.

    Notes
    -----
    The network's response :math:`r'_n` at pixel :math:`n` gives the label :math:`c_n = \arg\max_i r'_{n,i}`, and the
    network is optimized for :math:`L_{sim} + \mu L_{con} + \nu L_{scr}`; see `napari_dfc.losses`. On a CPU, the same
    settings, seed and number of threads give the same labels bit for bit.

    References
    ----------
    W. Kim, A. Kanezaki, M. Tanaka, "Unsupervised Learning of Image Segmentation Based on Differentiable Feature
    Clustering", IEEE Transactions on Image Processing, 2020.

    Examples
    --------
    >>> import numpy as np
    >>> import napari_dfc as dfc
    >>> image = np.random.default_rng(0).normal(0, 0.1, size=(48, 48))
    >>> image[12:36, 12:36] += 1
    >>> strokes = np.zeros((48, 48), dtype=np.uint8)
    >>> strokes[24, 16:32] = 1
    >>> strokes[4, 4:44] = 2
    >>> result = dfc.segment(image, scribbles=strokes, preset="fast", seed=0)
    >>> result.labels[[24, 4], [24, 24]].tolist()
    [1, 2]
    """
    run = Run(
        image,
        scribbles=scribbles,
        mask=mask,
        channel_axis=channel_axis,
        settings=Settings.from_preset(preset, **settings),
    )
    return run.to_the_end(stop_after)
