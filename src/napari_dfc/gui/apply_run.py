"""A kept network over planes of layers, one after the other, in a thread beside the window."""

from __future__ import annotations

import threading
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_dfc.cancellation import Cancelled
from napari_dfc.devices import choose_device, is_out_of_memory, release_memory
from napari_dfc.gui.background import Progress, Refusal, ViewerRun
from napari_dfc.gui.colors import name_classes
from napari_dfc.gui.inputs import source_of
from napari_dfc.gui.layer_planes import LayerPlanes
from napari_dfc.gui.layers import (
    METADATA_KEY,
    ImagePlane,
    add_over,
    displayed_plane,
    new_labels_layer,
    new_stack_labels_layer,
    show_plane,
)

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from napari_dfc.model import Model, WhichStatistics
    from napari_dfc.result import Segmentation
    from napari_dfc.series import Series

__all__ = ["Application", "ApplyRun", "Done"]


@dataclass(frozen=True)
class Application:
    """What a kept network is to segment.

    Parameters
    ----------
    model : Model or None
        None where it is still to be made.
    name : str
        Of the network.
    planes : tuple of LayerPlanes
        Those of one layer give one result.
    statistics : {"reference", "image"}
        See `Model.predict`.
    smoothing : float
    adaptation : int
        Along the first axis of each layer; see `napari_dfc.series.predict_series`.
    device : str
    threads : int
    """

    model: Model | None
    name: str
    planes: tuple[LayerPlanes, ...]
    statistics: WhichStatistics = "reference"
    smoothing: float = 0.0
    adaptation: int = 0
    device: str = "auto"
    threads: int = 0


class Done(NamedTuple):
    """A plane that was segmented, or in words why it could not be."""

    target: int
    plane: ImagePlane
    labels: NDArray[Any] | None
    drift: float = float("nan")
    record: dict[str, Any] | None = None
    failure: str = ""


class ApplyRun(ViewerRun):
    """A kept network at work in a viewer: `layers` are its results, which fill plane by plane.

    `stop` ends it and keeps the planes that are finished. Everything here is for the main thread.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Gets the result layers.
    application : Application

    Attributes
    ----------
    layers : dict of int to napari.layers.Labels
        By the number of the layer in ``application.planes``, as far as a plane is finished.
    drifts : list of float
        Of the finished planes.
    n_updated : int
        Finished planes on which the network was updated.
    progressed, ended, outcome
        As `ViewerRun` has them.
    """

    def __init__(self, viewer: ViewerModel, application: Application) -> None:
        self._n_planes = sum(map(len, application.planes))
        super().__init__(viewer, self._n_planes, f"Applying {application.name}")
        self.application = application
        self.layers: dict[int, Labels] = {}
        self.drifts: list[float] = []
        self.n_updated = 0
        self._arrays: dict[int, NDArray[Any]] = {}  # the layers' data, as they were made
        self._failures: list[str] = []
        self._dropped: set[int] = set()  # results that nobody wants, or whose image is another now
        self._device = application.device
        self._taken = threading.Event()
        for planes in application.planes:
            planes.plane.layer.events.data.connect(self._follow_change)
        self._launch()

    def __repr__(self) -> str:
        return f"<ApplyRun of {self.application.name}: {self.outcome or 'running'}>"

    @property
    def model(self) -> Model:
        """The network, once it is there."""
        assert self.application.model is not None
        return self.application.model

    def stop(self) -> None:
        """End at once, and keep the planes that are finished."""
        if self.running:
            self._call_off()
            n_done = f"{len(self.drifts)} of {_planes(self._n_planes)}"
            self._end(f"Stopped after {n_done}.{self._followed()}{self._warning()}")

    # ------------------------------------------------------------------ in the worker's thread

    def _steps(self) -> Generator[Progress, None, None]:
        """What is done in the thread."""
        yield Progress(0, self._n_planes, "Starting ...")
        yield from self._apply()

    def _apply(self) -> Generator[Progress, None, None]:
        """One plane at a time: the next is begun when the window has drawn the one before."""
        number = 0
        for target, planes in enumerate(self.application.planes):
            finished = set()
            for series in planes.series():
                for done in self._predict(target, series):
                    place = tuple(sorted(done.plane.position.items()))
                    if place in finished:  # a second series begins where the first one did
                        continue
                    finished.add(place)
                    number += 1
                    words = f"{number} of {self._n_planes} · {planes.title(done.plane)}"
                    self._taken.clear()
                    yield Progress(number, self._n_planes, words, done)
                    while not (self._taken.wait(0.1) or self._called_off):
                        pass
                if self._called_off:
                    return

    def _predict(self, target: int, places: Iterator[ImagePlane]) -> Iterator[Done]:
        """The planes of a series; one that fails does not stop the others."""
        from napari_dfc.series import Series

        given, planes = self.application, self.application.planes[target]
        series = Series(
            self.model,
            smoothing=given.smoothing,
            adaptation=given.adaptation,
            mask=planes.mask,
            statistics=given.statistics,
            threads=given.threads,
            name=planes.name,
            cancelled=lambda: self._called_off,
        )
        for plane in places:
            if self._called_off or target in self._dropped:
                return
            try:
                result = self._result(series, planes, plane)
            except Cancelled:
                return
            except (ValueError, TypeError, OSError, MemoryError, RuntimeError) as error:
                if isinstance(error, RuntimeError) and not is_out_of_memory(error):
                    raise
                words = str(error) or "too little memory"
                yield Done(target, plane, None, failure=f"{planes.title(plane)}: {words}")
                continue
            yield Done(target, plane, result.labels, result.drift, dict(result.record))

    def _result(self, series: Series, planes: LayerPlanes, plane: ImagePlane) -> Segmentation:
        """Of the next plane of a series; on the CPU where another device is short of memory."""
        series.device = self._device
        try:
            return series.segment(planes.arrays(plane))
        except (MemoryError, RuntimeError) as error:
            device = choose_device(self._device)
            if not is_out_of_memory(error) or device.name == "cpu":
                raise
            release_memory(device)
        series.device = self._device = "cpu"
        return series.segment(planes.arrays(plane))

    # ------------------------------------------------------------------ in the main thread

    def _take(self, progress: Progress) -> None:
        if not self.running:
            return
        done = progress.shown
        if isinstance(done, Done):
            if done.failure:
                self._failures.append(done.failure)
            elif done.target not in self._dropped:
                self._show(done)
            QTimer.singleShot(0, self._taken.set)  # runs once the window has drawn what changed
        self._report(progress)

    def _show(self, done: Done) -> None:
        assert done.labels is not None
        assert done.record is not None
        if done.target not in self.layers:
            try:
                self._add_layer(done)
            except MemoryError:
                self._call_off()
                self._end("Not segmented: there is too little memory for the labels; choose fewer planes.")
                return
        layer = self.layers[done.target]
        if layer.data is not self._arrays[done.target]:
            self._dropped.add(done.target)
            self._failures.append(f"“{layer.name}” was changed by something else")
            return
        show_plane(layer, done.plane, done.labels)
        if self._is_displayed(done.plane):
            layer.refresh(thumbnail=False, highlight=False, extent=False)
        where = {str(axis): index for axis, index in done.plane.position.items()}
        kept = {"position": where, "sha256": done.record["image"]["sha256"], "drift": done.record["drift"]}
        updates = done.record["series"].get("updates")  # None where there can be none
        layer.metadata[METADATA_KEY]["planes"].append(kept if updates is None else {**kept, "updates": updates})
        self.drifts.append(done.drift)
        self.n_updated += bool(updates)

    def _add_layer(self, done: Done) -> None:
        """The layer of a result, empty but over all its planes."""
        planes, legend = self.application.planes[done.target], self.model.legend
        dtype = np.min_scalar_type(max(legend.numbers))
        name = f"{planes.name} by {self.application.name}"
        metadata = {**self._record(done), "planes": [], "source": source_of(planes.names, done.plane)}
        if len(planes) > 1:
            layer = new_stack_labels_layer(done.plane, dtype, name, metadata=metadata)
        else:
            layer = new_labels_layer(done.plane, np.zeros(done.plane.shape, dtype), name, colors={}, metadata=metadata)
        name_classes(layer, legend)
        selected = list(self.viewer.layers.selection)
        add_over(self.viewer, layer, self._below(planes))
        if selected:  # adding a layer selects it, and takes the brush away from who is painting
            self.viewer.layers.selection = selected
        self.layers[done.target], self._arrays[done.target] = layer, layer.data

    def _below(self, planes: LayerPlanes) -> Image | Labels | None:
        """What a result comes right above; on top without."""
        return planes.plane.layer if len(self.application.planes) > 1 else None

    def _is_displayed(self, plane: ImagePlane) -> bool:
        try:
            displayed = displayed_plane(plane.layer, self.viewer.dims, plane.channel_axis, plane.level)
        except ValueError:  # in 3-D display all of them are
            return True
        return displayed.position == plane.position

    def _record(self, done: Done) -> dict[str, Any]:
        """What is the same for all planes of a result."""
        given, record = self.application, done.record or {}
        return {
            "format": 1,
            "model": {"name": given.name, "sha256": self.model.digest, "legend": self.model.legend.as_list()},
            "statistics": given.statistics,
            "smoothing": given.smoothing,
            "adaptation": given.adaptation,
            "device": record["device"],
            "versions": record["versions"],
        }

    def _finish(self, outcome: Refusal | None) -> None:
        if isinstance(outcome, Refusal):
            self._end(f"Not segmented: {outcome.reason}")
            return
        words = f"{_planes(len(self.drifts))} segmented.{self._followed()}{self._warning()}"
        if self._device != self.application.device:
            words += " The graphics processor ran out of memory: computed on the CPU."
        if self._failures:
            words += f" {len(self._failures)} failed: {'; '.join(self._failures[:3])}"
        self._end(words)

    def _followed(self) -> str:
        """How far changes were followed, where that was asked for."""
        if not self.application.adaptation:
            return ""
        return f" The network was updated on {self.n_updated or 'none'} of them."

    def _warning(self) -> str:
        from napari_dfc.model import MOST_DRIFT

        unlike = [drift for drift in self.drifts if drift > MOST_DRIFT]
        if not unlike:
            return ""
        are, them = ("is", "it") if len(unlike) == 1 else ("are", "them")
        advice = " Where only the exposure is another, each image's own brightness can help."
        return (
            f" {len(unlike)} of them {are} unlike the references (drift up to {max(unlike):.2f}; up to {MOST_DRIFT:g} "
            f"is usual): look before you trust {them}.{advice}"
        )

    def _follow_removal(self, event: Any) -> None:
        """A result was deleted: its planes are wanted no more. An image was deleted: what there is of it stays."""
        self._dropped |= {target for target, layer in self.layers.items() if event.value is layer}
        self._drop_those_of(event.value)

    def _follow_change(self, event: Any) -> None:
        """An image has other data now: what there is of it stays."""
        if self._drop_those_of(event.source):
            self._failures.append(f"“{event.source.name}” was changed meanwhile")

    def _drop_those_of(self, image: Any) -> set[int]:
        found = {target for target, planes in enumerate(self.application.planes) if planes.plane.layer is image}
        self._dropped |= found
        return found

    def _tidy(self) -> None:
        for planes in self.application.planes:
            planes.plane.layer.events.data.disconnect(self._follow_change)


def _planes(number: int) -> str:
    return f"{number} plane{'s' * (number != 1)}"
