"""A kept network over planes of layers, one after the other, in a thread beside the window."""

from __future__ import annotations

import io
import itertools
import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from napari.qt.threading import create_worker
from napari.utils import cancelable_progress
from psygnal import Signal

from napari_dfc.cancellation import Cancelled
from napari_dfc.devices import load_torch, torch_is_loaded
from napari_dfc.gui.background import CancellableWorker, Progress, Refusal, told
from napari_dfc.gui.inputs import gather, source_of
from napari_dfc.gui.layers import (
    METADATA_KEY,
    ImagePlane,
    full_resolution,
    name_classes,
    new_labels_layer,
    new_stack_labels_layer,
    show_plane,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_dfc.model import Model, WhichStatistics
    from napari_dfc.result import Segmentation

__all__ = ["Application", "ApplyRun", "all_planes", "in_series", "planes_of"]


def all_planes(plane: ImagePlane) -> list[ImagePlane]:
    """All planes of the layer that lie as this one does: every time point and slice, in the order of its axes."""
    lengths = full_resolution(plane.layer).shape
    axes = sorted(plane.position)
    places = itertools.product(*(range(lengths[axis]) for axis in axes))
    return [replace(plane, position=dict(zip(axes, place, strict=True))) for place in places]


@dataclass(frozen=True)
class Application:
    """What a kept network is to segment.

    Parameters
    ----------
    model : Model
    name : str
        Of the network.
    planes : tuple of tuple of ImagePlane
        Of each layer, the planes; those of one layer give one result.
    statistics : {"reference", "image"}
        See `Model.predict`.
    smoothing : float
        Along the first axis of each layer; see `napari_dfc.series.predict_series`.
    device : str
    threads : int
    """

    model: Model
    name: str
    planes: tuple[tuple[ImagePlane, ...], ...]
    statistics: WhichStatistics = "reference"
    smoothing: float = 0.0
    device: str = "auto"
    threads: int = 0


class _Task(NamedTuple):
    """A plane, and which of the results it belongs to."""

    target: int
    plane: ImagePlane


class _Done(NamedTuple):
    """A plane that was segmented."""

    task: _Task
    result: Segmentation


class ApplyRun:
    """A kept network at work in a viewer: `layers` are its results, which fill plane by plane.

    `stop` ends it and keeps the planes that are finished. Everything here is for the main thread.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Gets the result layers.
    application : Application

    Attributes
    ----------
    progressed : psygnal.Signal
        Emits a `Progress`.
    ended : psygnal.Signal
        Emits the outcome in words, once.
    layers : dict of int to napari.layers.Labels
        By the number of the layer in ``application.planes``, as far as a plane is finished.
    drifts : list of float
        Of the finished planes.
    outcome : str
        How it ended, in words; empty while it goes on.
    """

    progressed = Signal(object)
    ended = Signal(str)

    def __init__(self, viewer: ViewerModel, application: Application) -> None:
        self.viewer, self.application = viewer, application
        self.layers: dict[int, Labels] = {}
        self.drifts: list[float] = []
        self.outcome = ""
        self._failures: list[str] = []
        self._called_off = False
        self._series = [
            [_Task(target, plane) for plane in planes]
            for target, all_of_layer in enumerate(application.planes)
            for planes in in_series(all_of_layer)
        ]
        self._n_planes = sum(map(len, self._series))
        self._dropped: set[int] = set()  # results whose layer was deleted
        self._activity = cancelable_progress(
            total=self._n_planes,
            desc=f"Applying {application.name}",
            cancel_callback=self.stop,
            file=io.StringIO(),  # napari's activity dock shows it; the terminal is not ours
        )
        self._worker = create_worker(self._work, _worker_class=CancellableWorker, _start_thread=False)
        self._worker.call_off = self._call_off
        self._worker.yielded.connect(self._take)
        self._worker.returned.connect(self._finish)
        self._worker.errored.connect(lambda error: self._end(f"Failed: {error}"))
        viewer.layers.events.removed.connect(self._follow_removal)
        self._worker.start()

    def __repr__(self) -> str:
        return f"<ApplyRun of {self.application.name}: {self.outcome or 'running'}>"

    @property
    def running(self) -> bool:
        """Whether it still goes on."""
        return not self.outcome

    def stop(self) -> None:
        """End at once, and keep the planes that are finished."""
        if self.running:
            self._call_off()
            self._end(f"Stopped after {len(self.drifts)} of {_planes(self._n_planes)}.{self._warning()}")

    # ------------------------------------------------------------------ in the worker's thread

    def _work(self) -> Generator[Progress, None, Refusal | None]:
        return (yield from told(self._predictions()))

    def _predictions(self) -> Generator[Progress, None, None]:
        total = self._n_planes
        if not torch_is_loaded():
            yield Progress(0, total, "Loading PyTorch, once after each start of napari ...")
        load_torch()
        index = 0
        for tasks in self._series:
            results = self._predict(tasks)
            for place, task in enumerate(tasks):
                if self._called_off:
                    return
                words = f"{index + 1} of {total} · {_title(task.plane)}"
                index += 1
                if task.target in self._dropped:
                    continue
                yield Progress(index - 1, total, words)
                try:
                    done: Any = _Done(task, next(results))
                except Cancelled:
                    return
                except (ValueError, TypeError, OSError, MemoryError) as error:  # the others may do
                    done = f"{_title(task.plane)}: {error}"
                    results = self._predict(tasks[place + 1 :])
                yield Progress(index, total, words, done)

    def _predict(self, tasks: Sequence[_Task]) -> Iterator[Segmentation]:
        """The planes of a series, one after the other."""
        given = self.application
        return given.model.predict_series(
            (gather(task.plane).arrays() for task in tasks),
            smoothing=given.smoothing,
            statistics=given.statistics,
            device=given.device,
            threads=given.threads,
            name=tasks[0].plane.layer.name if tasks else "",
            cancelled=lambda: self._called_off,
        )

    # ------------------------------------------------------------------ in the main thread

    def _take(self, progress: Progress) -> None:
        if not self.running:
            return
        if isinstance(progress.shown, _Done):
            self._show(progress.shown)
        elif progress.shown is not None:
            self._failures.append(progress.shown)
        if self.running:
            self.progressed.emit(progress)
            # last, because it lets napari process events: the run may have ended when it returns
            self._activity.update(progress.done - self._activity.n)

    def _show(self, done: _Done) -> None:
        (target, plane), result = done
        if target in self._dropped:
            return
        if target not in self.layers:
            self._add_layer(target, plane)
        layer = self.layers[target]
        if not show_plane(layer, plane, result.labels):
            self._dropped.add(target)
            self._failures.append(f"“{layer.name}” was changed by something else")
            return
        where = {str(axis): index for axis, index in plane.position.items()}
        layer.metadata[METADATA_KEY]["planes"].append({"position": where, **_of_one_plane(result)})
        self.drifts.append(result.drift)

    def _add_layer(self, target: int, plane: ImagePlane) -> None:
        """The layer of a result, empty but over all its planes."""
        legend = self.application.model.legend
        dtype = np.min_scalar_type(max(legend.numbers))
        name = f"{plane.layer.name} by {self.application.name}"
        metadata = {**self._record(), "planes": [], "source": source_of([plane.layer.name], plane)}
        if len(self.application.planes[target]) > 1:
            layer = new_stack_labels_layer(plane, dtype, name, metadata=metadata)
        else:
            layer = new_labels_layer(plane, np.zeros(plane.shape, dtype), name, colors={}, metadata=metadata)
        name_classes(layer, legend)
        selected = list(self.viewer.layers.selection)
        self.viewer.add_layer(layer)
        if selected:  # adding a layer selects it, and takes the brush away from who is painting
            self.viewer.layers.selection = selected
        self.layers[target] = layer

    def _record(self) -> dict[str, Any]:
        given = self.application
        return {
            "format": 1,
            "model": {"name": given.name, "sha256": given.model.digest, "legend": given.model.legend.as_list()},
            "statistics": given.statistics,
            "smoothing": given.smoothing,
        }

    def _finish(self, outcome: Refusal | None) -> None:
        if isinstance(outcome, Refusal):
            self._end(f"Not segmented: {outcome.reason}")
            return
        words = f"{_planes(len(self.drifts))} segmented.{self._warning()}"
        if self._failures:
            words += f" {len(self._failures)} failed: {'; '.join(self._failures[:3])}"
        self._end(words)

    def _warning(self) -> str:
        from napari_dfc.model import MOST_DRIFT

        unlike = sum(drift > MOST_DRIFT for drift in self.drifts)
        if not unlike:
            return ""
        return (
            f" {unlike} of them {'is' if unlike == 1 else 'are'} unlike the references (drift up to "
            f"{max(drift for drift in self.drifts if not math.isnan(drift)):.2f}): look before you trust "
            f"{'it' if unlike == 1 else 'them'}."
        )

    def _follow_removal(self, event: Any) -> None:
        """A result was deleted: its planes are wanted no more. An image was deleted: what there is of it stays."""
        for target, layer in self.layers.items():
            if event.value is layer:
                self._dropped.add(target)
        for target, planes in enumerate(self.application.planes):
            if event.value is planes[0].layer:
                self._dropped.add(target)

    def _call_off(self) -> None:
        self._called_off = True

    def _end(self, outcome: str) -> None:
        if not self.running:
            return
        self.outcome = outcome
        self.viewer.layers.events.removed.disconnect(self._follow_removal)
        self._activity.close()
        self.ended.emit(outcome)


def _of_one_plane(result: Segmentation) -> dict[str, Any]:
    """What the record of a plane says beside that of the network."""
    return {
        "sha256": result.record["image"]["sha256"],
        "drift": result.record["drift"],
        "note": result.note,
        "device": result.record["device"],
        "versions": result.record["versions"],
    }


def _title(plane: ImagePlane) -> str:
    """The layer, and which of its planes."""
    if not plane.position:
        return plane.layer.name
    place = ", ".join(f"{plane.layer.axis_labels[axis]} {index}" for axis, index in sorted(plane.position.items()))
    return f"{plane.layer.name}, {place}"


def _planes(number: int) -> str:
    return f"{number} plane{'s' * (number != 1)}"


def in_series(planes: Sequence[ImagePlane]) -> list[list[ImagePlane]]:
    """Planes of a layer, in one series along the first axis for each place on the others."""
    found: dict[tuple[int, ...], list[ImagePlane]] = {}
    for plane in planes:
        _, *others = sorted(plane.position) or [0]
        found.setdefault(tuple(plane.position[axis] for axis in others), []).append(plane)
    return list(found.values())


def planes_of(planes: Sequence[ImagePlane], everything: bool) -> tuple[tuple[ImagePlane, ...], ...]:
    """For each displayed plane that one, or all planes of its layer."""
    return tuple(tuple(all_planes(plane)) if everything else (plane,) for plane in planes)
