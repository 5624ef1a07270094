"""From an image to its `Segmentation`: one run of the optimization, to be consumed iteration by iteration."""

from __future__ import annotations

import logging
import math
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from napari_dfc import images
from napari_dfc import scribbles as strokes
from napari_dfc.basins import Votes, basins_of
from napari_dfc.cancellation import Cancelled
from napari_dfc.contrast import contrast_of
from napari_dfc.devices import (
    choose_device,
    computing,
    has_bfloat16,
    is_out_of_memory,
    release_memory,
)
from napari_dfc.hierarchy import merge_neighbors
from napari_dfc.history import Recorder
from napari_dfc.legend import Legend
from napari_dfc.memory import Plan, amount, crops, make_plan, wanted_factors
from napari_dfc.model import Model, model_of, versions
from napari_dfc.network import initialize
from napari_dfc.numbering import apply_numbers, label_numbers
from napari_dfc.optimization import Iteration, optimize
from napari_dfc.pieces import KeptPieces, groups_of
from napari_dfc.resolutions import possible_factors
from napari_dfc.result import KeptResponse, Segmentation, network_for, tensors_of
from napari_dfc.settings import DEFAULT_PRESET, Precision, Settings

__all__ = ["Run", "check_groups", "segment"]

logger = logging.getLogger(__name__)

#: Version of the layout of `Segmentation.record`.
RECORD_FORMAT = 1


class Run:
    """One optimization, to be consumed iteration by iteration; stop when you like and take the result.

    `segment`, the command line and the widget all work this way.

    Parameters
    ----------
    image, scribbles, mask, channel_axis
        As in `segment`; a `Plane` is an image that is prepared already, with its mask.
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
    run_numbers : (q,) ndarray of uint64
        The number of every channel's cluster in the previews.
    plan : Plan
        How much memory the run takes, and the crops that keep it below the limit.
    n_updates : int
        Updates of networks after which it ends, if it does not stop before.
    takes_votes : bool
        Whether it gives groups or regions, by the votes of several networks.

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
        scribbles: ArrayLike | None = None,
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
            self.plane = images.prepare(image, channel_axis=channel_axis, mask=mask, scaling=scaling)
        self.scribbles = (
            None
            if scribbles is None
            else strokes.prepare(scribbles, self.plane.shape, self.settings.n_channels, self.plane.mask)
        )
        self.device = choose_device(self.settings.device)
        self._classes = () if self.scribbles is None else self.scribbles.classes
        self._factors = self._choose_factors()
        self.plan = self._plan()
        self.name = name
        self.spare_a_core = spare_a_core
        self._changes: list[str] = []
        self.run_numbers = label_numbers(np.zeros(self.n_clusters), self._classes)
        self.n_updates = self.settings.n_updates(has_strokes=bool(self._classes))
        self.takes_votes = self.settings.takes_votes(has_strokes=bool(self._classes))
        self._votes: Votes | None = None
        self._merged: tuple[int, KeptPieces] | None = None  # by how many label maps, and how
        self._contrast = np.zeros((0, 0), dtype=np.float32)
        self._cancelled = threading.Event()
        self._kept: Iteration | None = None
        self._losses: list[Tensor] = []  # each (4,), on the device
        self._counts: list[int] = []
        self._threads = 0
        self._ended = ""
        self._seconds = 0.0

    @property
    def least(self) -> int:
        """The fewest labels a result should have: the number of painted classes, else ``settings.min_labels``."""
        return len(self._classes) or self.settings.min_labels

    @property
    def n_clusters(self) -> int:
        """Channels of the response: one for each painted class where the output is restricted to those."""
        return len(self._classes) if self._restricted else self.settings.n_channels

    @property
    def class_numbers(self) -> tuple[int, ...]:
        """The numbers that labels may have: those painted, of groups 1 and so on, else one for each channel."""
        if self._restricted:
            return self._classes
        if self.takes_votes and self.settings.split_into == "groups":
            return tuple(range(1, self.settings.n_groups + 1))
        return tuple(int(number) for number in self.run_numbers)

    @property
    def edge_share(self) -> float:
        """``settings.edge_share`` where the run gives the painted classes alone, else 0."""
        return self.settings.edge_share if self._restricted else 0.0

    @property
    def _restricted(self) -> bool:
        return self.settings.restrict_to_scribbles and len(self._classes) >= 2

    @property
    def _precision(self) -> Precision:
        """The precision asked for, where the device has it."""
        wanted = self.settings.precision
        return "float32" if wanted == "bfloat16" and not has_bfloat16(self.device) else wanted

    def _choose_factors(self) -> tuple[int, ...] | None:
        """Several networks only where their channels mean the same: where each carries a painted class."""
        if self.scribbles is None or not self._restricted:
            return None
        rows, columns = self.plane.largest_part
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        targets = torch.from_numpy(self.scribbles.targets)
        factors = possible_factors(wanted_factors(shape, self.settings), shape, targets, self.n_clusters)
        return None if factors == (1,) and self.settings.extractor == "convolutions" else factors

    def cancel(self) -> None:
        """End the run from another thread, in the middle of an iteration; `result` keeps what there is."""
        self._cancelled.set()

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
        """The optimization from its start, with the present device and plan."""
        losses: list[Tensor] = []
        counts: list[int] = []
        image, mask = tensors_of(self.plane, self.device)
        targets = None
        if self.scribbles is not None:
            targets = torch.from_numpy(self.scribbles.targets).to(image.device)
        self._votes = self._merged = None
        self._recorder = Recorder()
        iterations = self._iterations(image, mask, targets)
        logger.info("segmenting %s on %s with %s", self.name or "an image", self.device, self.plan)
        started = time.perf_counter()
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
            losses.append(torch.stack(iteration.losses))
            counts.append(iteration.n_labels)
            # of a run with crops the last map counts, which is the only one of a single network
            enough = iteration.n_labels >= self.least or not settings.keep_min_labels or self.plan.n_crops > 1
            # the next network's first crops do not replace the whole map of the one before
            whole = iteration.complete or self._kept is None or not self._kept.complete
            if iteration.number == 0 or (enough and whole):
                self._kept = iteration
            self._vote(iteration)
            if not (self.takes_votes or self._restricted):
                self._recorder.add(iteration)
            self._losses, self._counts = losses, counts
            self._seconds = time.perf_counter() - started
            yield iteration
        if iteration.number < self.n_updates:
            self._ended = f"no more than {self.least} labels were left"
        else:
            self._ended = "all iterations were made"

    def _iterations(self, image: Tensor, mask: Tensor | None, targets: Tensor | None) -> Iterator[Iteration]:
        """What `optimize` yields; for groups and regions of one network after the other, the updates counted on."""
        settings = self.settings.change(precision=self._precision)
        generator = torch.Generator().manual_seed(settings.seed)
        rounds = 1
        if self.takes_votes:
            rounds, settings = settings.n_networks, settings.change(max_iterations=settings.region_iterations)
        for index in range(rounds):
            network = network_for(len(self.plane.values), settings, self.n_clusters, self._factors).to(image.dtype)
            initialize(network, settings.initialization, generator)
            for iteration in optimize(
                network.to(image.device),
                image,
                settings,
                mask=mask,
                targets=targets,
                least=0 if self._restricted or self.takes_votes else self.least,
                cancelled=self._cancelled.is_set,
                crops=crops(self.plane.shape, self.plan.crop),
            ):
                if index == 0 or iteration.number > 0:
                    yield replace(iteration, number=iteration.number + index * settings.max_iterations)

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
        self._votes.add(iteration.clusters.cpu().numpy(), self.n_clusters, known)

    def _step_down(self, words: str) -> None:
        """Out of memory: plan the run anew with smaller crops, and where those are small already, on the CPU."""
        smaller = self._plan(most=self.plan.bytes / 2)
        if smaller.n_crops > self.plan.n_crops:
            self.plan = smaller
            self.settings = self.settings.change(memory_limit=smaller.limit / 1e9)  # so that the record repeats it
            self._changes.append(f"{self.device.title} ran out of memory: taken in smaller crops")
        elif self.device.name != "cpu":
            self._changes.append(f"{self.device.title} ran out of memory: computed on the CPU")
            self.device = choose_device("cpu")
            self.plan = self._plan()
        else:
            said = f" ({words.splitlines()[0]})" if words else ""
            raise MemoryError(
                "there is not enough memory, even with the smallest crops: close other programs, or lower the channels"
                + said
            )
        logger.warning("%s", self._changes[-1])

    def _plan(self, most: float = math.inf) -> Plan:
        n_clusters = self.n_clusters if self._restricted else None
        settings = self.settings.change(split_into="clusters") if self._classes else self.settings
        return make_plan(
            self.plane.shape, len(self.plane.values), settings, self.device, most, self._factors, n_clusters
        )

    def preview(self, iteration: Iteration) -> NDArray[np.unsignedinteger[Any]]:
        """The label map of an iteration, (H, W), numbered as throughout this run."""
        known = self.plane.mask if iteration.known is None else iteration.known.cpu().numpy()
        return apply_numbers(iteration.clusters.cpu().numpy(), self.run_numbers, known)

    def blank(self) -> NDArray[np.unsignedinteger[Any]]:
        """A map without labels, (H, W), to prepare a display with."""
        return np.zeros(self.plane.shape, dtype=np.uint8)

    def seconds_left(self) -> float:
        """Time until the last iteration at the pace so far, in seconds; infinite before the first update."""
        done = len(self._counts) - 1
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
        RuntimeError
            No iteration has ended yet.
        """
        kept = self._kept
        if kept is None:
            raise RuntimeError("there is no result yet: not one iteration has ended")
        pieces = self._pieces()
        n_updates = kept.number
        response: KeptResponse | KeptPieces
        if pieces is not None:
            n_updates = len(self._counts) - 1
            labels, numbers, response = pieces.labels(), np.zeros(0, dtype=np.uint64), pieces
            n_labels = int(labels.max())
        else:
            known = self.plane.mask if kept.known is None else kept.known.cpu().numpy()
            response, clusters = self._classes_at_edges(kept, known)
            inside = clusters if known is None else clusters[known]
            areas = np.bincount(inside.ravel(), minlength=self.n_clusters)
            numbers, n_labels = label_numbers(areas, self._classes), int(np.count_nonzero(areas))
            labels = apply_numbers(clusters, numbers, known)
        # a run that was called off while its pieces were merged had made all its iterations
        ended = self._ended if pieces is not None or not self.takes_votes else ""
        ended = ended or "stopped by the user"
        return Segmentation(
            labels=labels,
            iterations=n_updates,
            n_labels=n_labels,
            losses=torch.stack(self._losses[: n_updates + 1]).cpu().double().numpy(),
            label_counts=np.array(self._counts[: n_updates + 1]),
            settings=self.settings,
            device=self.device,
            plan=self.plan,
            ended=ended,
            note=self._note(n_labels, kept, response),
            record=self._record(n_updates, n_labels, ended, "clusters" if pieces is None else self.settings.split_into),
            _response=response,
            _run_numbers=self.run_numbers[: len(numbers)],
            _numbers=numbers,
            _maps=self._recorder.maps(),
            _n_classes=len(self._classes),
            _to_model=partial(
                _model_of_run,
                response,
                numbers,
                self._record(n_updates, n_labels, ended, ""),
                self.settings,
                self.plane,
                self.name,
            ),
        )

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

    def _pieces(self) -> KeptPieces | None:
        """What the label maps so far make; None where there is nothing to be, or nobody waits for it."""
        if self._votes is None or not len(self._votes) or self._cancelled.is_set():
            return None
        if self._merged is None or self._merged[0] != len(self._votes):
            shares, cancelled = self._votes.shares(), self._cancelled.is_set
            try:
                regions = merge_neighbors(self._votes.basins, shares, self._contrast, cancelled)
                by_groups = self.settings.split_into == "groups"
                groups = groups_of(regions, shares, self.plane, cancelled) if by_groups else None
            except Cancelled:
                return None
            self._merged = len(self._votes), KeptPieces(regions, shares, self.plane, self.settings, groups)
        return self._merged[1]

    def _classes_at_edges(
        self, kept: Iteration, known: NDArray[np.bool_] | None
    ) -> tuple[KeptResponse, NDArray[np.integer[Any]]]:
        """The kept map; of painted classes drawn to the image's edges, as long as somebody waits and memory is left."""
        weights = {name: weight.cpu() for name, weight in kept.weights.items()}
        plain = KeptResponse(
            self.plane, self.settings, weights, self.n_clusters, self._factors, self.device, known, 0.0
        )
        if self.edge_share and not self._cancelled.is_set():
            response = replace(plain, edge_share=self.edge_share, cancelled=self._cancelled.is_set)
            try:
                return response, response.winners()
            except Cancelled:
                pass
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                release_memory(self.device)
                logger.warning("no memory is left to draw the classes to the edges")
        return plain, kept.clusters.cpu().numpy()

    def _note(self, n_labels: int, kept: Iteration, response: KeptResponse | KeptPieces) -> str:
        """What the user should know, in sentences without the last full stop."""
        has_pieces = isinstance(response, KeptPieces)
        notes = list(dict.fromkeys(self._changes))
        if self._precision != self.settings.precision:
            notes.append(f"computed in float32: {self.device.title} has no bfloat16 arithmetic")
        if self.takes_votes and not has_pieces:
            notes.append(f"stopped before there were {self.settings.split_into}: these are clusters")
        if self.settings.split_into == "regions" and self._classes:
            notes.append("with strokes the result is the painted classes, and no regions")
        if isinstance(response, KeptResponse) and response.edge_share < self.edge_share:
            if self._cancelled.is_set():
                notes.append("stopped before the classes were drawn to the image's edges")
            else:
                notes.append("too little memory was left to draw the classes to the image's edges")
        if has_pieces:
            if self.plan.n_crops > 1:
                notes.append("with crops only the last label map of each network has a say")
            wished = self.settings.n_groups
            if self.settings.split_into == "groups" and n_labels < wished:
                notes.append(f"{n_labels} groups, fewer than the {wished} asked for: there are no more pieces")
        elif self._classes:
            absent = len(self._classes) - n_labels if self.settings.restrict_to_scribbles else 0
            if absent > 0:
                notes.append(f"{absent} of the {len(self._classes)} painted classes won nowhere")
        elif n_labels < self.least and not self.takes_votes:
            notes.append(f"{n_labels} labels, fewer than the {self.least} asked for: no iteration had more")
        if self.plan.n_crops > 1:
            rows, columns = self.plan.crop
            notes.append(
                f"learned from {self.plan.n_crops} crops of {columns} x {rows} pixels, because the whole image would "
                f"take {amount(self.plan.whole)} of memory; see the memory limit"
            )
        if not kept.complete and not has_pieces:
            notes.append("stopped before every part of the image had been seen: the rest has no label")
        return ". ".join(note[0].upper() + note[1:] if index else note for index, note in enumerate(notes))

    def _record(self, n_updates: int, n_labels: int, ended: str, pieces: str) -> dict[str, Any]:
        plane = self.plane
        return {
            "format": RECORD_FORMAT,
            "settings": self.settings.as_dict(),
            "threads": self._threads,
            "device": self.device.title,
            "versions": versions(),
            "image": {
                "name": self.name,
                "sha256": plane.sha256,
                "shape": list(plane.shape),
                "dtypes": list(plane.dtypes),
                "offset": plane.offset.tolist(),
                "scale": plane.scale.tolist(),
            },
            "crop": list(self.plan.crop),
            "strokes": [] if self.scribbles is None else [strokes.pack(self.scribbles)],
            "result": {"iterations": n_updates, "n_labels": n_labels, "split_into": pieces, "ended": ended},
        }


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
    run = _teaching_run(plane, labels, settings, name)
    for _ in run:
        pass
    return run.result().model({entry.number: entry.name for entry in legend})


def segment(
    image: ArrayLike | tuple[ArrayLike, ...],
    *,
    scribbles: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    channel_axis: int | None = None,
    preset: str = DEFAULT_PRESET,
    **settings: Any,
) -> Segmentation:
    r"""Split an image into groups, regions or clusters by differentiable feature clustering.

    A small convolutional network is optimized on this image alone: pixels that look alike and lie side by side are
    drawn to the same label, again and again. The label maps of several networks decide which pieces of the image belong
    together: those that look alike (groups), or neighbors too (regions); with ``split_into="clusters"`` the last label
    map of one network is the result. See `napari_dfc.basins` and `napari_dfc.hierarchy`.

    Parameters
    ----------
    image : (H, W), (H, W, 3), (H, W, 4) or any 3-D array with `channel_axis`; or a tuple of such images
        Boolean, integer or real values. Three channels last are RGB, four are RGBA; fully transparent pixels are
        masked, as are NaN and infinite ones. The channels of a tuple's images are taken together. Never modified.
    scribbles : (H, W) array of integers, optional
        Painted strokes: 0 where nothing is painted, any positive integers elsewhere. A class keeps its number.
    mask : (H, W) array of bool, optional
        True where a pixel takes part.
    channel_axis : int, optional
        The axis of the channels, where it is not the last of an RGB(A) image.
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
    for _ in run:
        pass
    return run.result()
