"""One run inside a viewer: the thread it works in, its live preview, and the layer that keeps the result."""

from __future__ import annotations

import io
import math
import threading
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.qt.threading import GeneratorWorker, create_worker
from napari.utils import cancelable_progress
from numpy.typing import NDArray
from psygnal import Signal
from qtpy.QtCore import QThreadPool, QTimer

from napari_dfc.devices import Device, choose_device, load_torch, torch_is_loaded
from napari_dfc.gui.layers import (
    ImagePlane,
    aligned_index,
    default_colors,
    finish_labels,
    full_resolution,
    new_labels_layer,
    scribble_plane,
    show_labels,
)
from napari_dfc.memory import Plan, make_plan, wanted_factors
from napari_dfc.settings import Settings

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from napari_dfc.optimization import Iteration
    from napari_dfc.result import Segmentation
    from napari_dfc.segmentation import Run

__all__ = ["LayerRun", "Progress", "RunInputs", "gather"]

#: Least time between two previews, in seconds: at most 10 a second, and fewer where showing one takes long.
PREVIEW_INTERVAL = 0.1

#: Least time between two reports of progress, in seconds.
PROGRESS_INTERVAL = 0.05

#: Longest time that the computation waits until a preview is shown, in seconds.
PREVIEW_PATIENCE = 2.0

#: Largest share of the time that showing previews may take.
PREVIEW_SHARE = 0.1


@dataclass(frozen=True)
class RunInputs:
    """What a run takes from a viewer, gathered on the main thread; image data are neither read nor copied yet.

    Parameters
    ----------
    plane : ImagePlane
    images : tuple of (array, index)
        Data of the plane's layer and of further images whose channels join it, each with what to index it with.
    names : tuple of str
        The names of the layers they come from.
    strokes : (H, W) ndarray, or None
    stroke_layer : napari.layers.Labels, or None
        Where the strokes come from, for their colors.
    """

    plane: ImagePlane
    images: tuple[tuple[Any, tuple[int | slice, ...]], ...]
    names: tuple[str, ...]
    strokes: NDArray[Any] | None = None
    stroke_layer: Labels | None = None

    @property
    def n_channels(self) -> int:
        """Channels of all the images together; alpha is none."""
        return sum(3 if np.ndim(data) > len(index) else 1 for data, index in self.images)

    def plan(self, settings: Settings) -> Plan:
        """What a run will need, without PyTorch; before that is loaded, as if on the CPU."""
        device = choose_device(settings.device) if torch_is_loaded() else Device("cpu", "CPU", "")
        shape, n_channels = self.plane.shape, self.n_channels
        if self.strokes is None:
            return make_plan(shape, n_channels, settings, device)
        settings = settings.change(split_into="clusters")  # what strokes give
        if not settings.restrict_to_scribbles:
            return make_plan(shape, n_channels, settings, device)
        factors = wanted_factors(shape, settings)  # as for two classes; further ones take little more
        return make_plan(shape, n_channels, settings, device, factors=factors, n_clusters=2)

    def prepare(self, settings: Settings) -> Run:
        """Load PyTorch, read the image data and check everything; errors as in `napari_dfc.segment`."""
        load_torch()
        from napari_dfc.segmentation import Run

        images = tuple(np.asarray(data[index]) for data, index in self.images)
        return Run(images, scribbles=self.strokes, settings=settings, name=self.names[0], spare_a_core=True)

    def colors(self, during: Mapping[int, int]) -> dict[int, Any]:
        """Colors by which each cluster keeps the look it had: its number is mapped to the one during the run."""
        if not during:
            return {}
        return dict(zip(during, default_colors(list(during.values()), self.stroke_layer), strict=True))

    def metadata(self, result: Segmentation) -> dict[str, Any]:
        """The result's record, with where in the layers the image came from."""
        plane = self.plane
        where = {
            "layers": list(self.names),
            "axes": list(plane.axes),
            "position": {str(axis): index for axis, index in plane.position.items()},
            "channel_axis": plane.channel_axis,
        }
        return {**result.record, "source": where}


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Parameters
    ----------
    done, total : int
        Updates of the network made, and the largest number there can be.
    words : str
        For people.
    labels : (H, W) ndarray, or None
        A label map to show, now and then.
    """

    done: int
    total: int
    words: str
    labels: NDArray[Any] | None = None


def gather(
    plane: ImagePlane,
    scribbles: Labels | None = None,
    others: Sequence[Image] = (),
    point: Sequence[float] = (),
) -> RunInputs:
    """Take from layers what a run needs.

    Parameters
    ----------
    plane : ImagePlane
    scribbles : napari.layers.Labels, optional
    others : sequence of napari.layers.Image
        Further images whose channels join the plane's.
    point : sequence of float
        World coordinates of the viewer's sliders.

    Returns
    -------
    RunInputs

    Raises
    ------
    ValueError
        Strokes or further images that do not lie on the plane, or strokes without paint.
    """
    images = [(full_resolution(plane.layer), index) for index in plane.indices]
    images += [(full_resolution(other), aligned_index(other, plane, point)) for other in others]
    return RunInputs(
        plane=plane,
        images=tuple(images),
        names=tuple(layer.name for layer in (plane.layer, *others)),
        strokes=None if scribbles is None else scribble_plane(scribbles, plane, point).copy(),
        stroke_layer=scribbles,
    )


class LayerRun:
    """A run in a viewer: call `stop` to end it and keep what there is; `layer` is its preview and then its result.

    Made by `napari_dfc.start` and by the Segment widget. Everything here is for the main thread.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Gets the result layer.
    inputs : RunInputs
    settings : Settings

    Attributes
    ----------
    progressed : psygnal.Signal
        Emits a `Progress`.
    ended : psygnal.Signal
        Emits the run's outcome in words, once.
    layer : napari.layers.Labels or None
    result : Segmentation or None
    outcome : str
        How the run ended, in words; empty while it goes on.
    """

    progressed = Signal(object)
    ended = Signal(str)

    def __init__(self, viewer: ViewerModel, inputs: RunInputs, settings: Settings) -> None:
        self.viewer = viewer
        self.inputs = inputs
        self.settings = settings
        self.layer: Labels | None = None
        self.result: Segmentation | None = None
        self.outcome = ""
        self._run: Run | None = None
        self._called_off = False
        self._filled = False
        self._shown = threading.Event()
        self._preview_interval = PREVIEW_INTERVAL
        self._n_updates = settings.n_updates(has_strokes=inputs.strokes is not None)
        self._activity = cancelable_progress(
            total=self._n_updates,
            desc=f"Segmenting {inputs.names[0]}",
            cancel_callback=self.stop,
            file=io.StringIO(),  # napari's activity dock shows it; the terminal is not ours
        )
        self._worker = create_worker(self._work, _worker_class=_Worker, _start_thread=False)
        self._worker.call_off = self._call_off
        self._worker.yielded.connect(self._show_progress)
        self._worker.returned.connect(self._finish)
        self._worker.errored.connect(self._fail)
        viewer.layers.events.removed.connect(self._follow_removal)
        self._worker.start()

    def __repr__(self) -> str:
        return f"<LayerRun of “{self.inputs.names[0]}”: {self.outcome or 'running'}>"

    @property
    def running(self) -> bool:
        """Whether the run still goes on."""
        return not self.outcome

    def stop(self) -> None:
        """End the run at once and keep the last label map; does nothing once the run has ended."""
        if not self.running:
            return
        self._call_off()
        try:
            result = None if self._run is None else self._run.result()
        except RuntimeError:  # not one iteration has ended
            result = None
        if result is None:
            self._end("Stopped before there was a label map; nothing was kept.")
        else:
            self._finish(result)

    # ------------------------------------------------------------------ in the worker's thread

    def _work(self) -> Generator[Progress, None, Segmentation | _Refusal | None]:
        """The generator that the worker runs."""
        try:
            return (yield from self._prepare_and_optimize())
        except (ValueError, TypeError, ImportError, MemoryError) as error:
            return _Refusal(str(error))
        except RuntimeError as error:  # of which napari's workers would make a warning, and never end
            raise EngineError(str(error)) from error

    def _prepare_and_optimize(self) -> Generator[Progress, None, Segmentation | None]:
        total = self._n_updates
        if not torch_is_loaded():
            yield Progress(0, total, "Loading PyTorch, once after each start of napari ...")
        self._run = run = self.inputs.prepare(self.settings)
        # the layer is made while nothing else is computed: that alone takes napari a tenth of a second
        yield Progress(0, total, f"Starting on {run.device.title} ...", run.blank())
        self._shown.wait(PREVIEW_PATIENCE)
        yield from self._optimize(run)
        if self.settings.takes_votes(has_strokes=self.inputs.strokes is not None):
            yield Progress(run.n_updates, run.n_updates, f"Merging into {self.settings.split_into} ...")
        elif run.edge_share:
            yield Progress(run.n_updates, run.n_updates, "Drawing the classes to the edges ...")
        return None if self._called_off else run.result()

    def _optimize(self, run: Run) -> Generator[Progress, None, None]:
        """The iterations, as far as there is something to report."""
        due = shown = 0.0
        for iteration in () if self._called_off else run:
            now = time.perf_counter()
            if now < due:
                continue
            due = now + PROGRESS_INTERVAL
            labels = None
            if self._shown.is_set() and now - shown >= self._preview_interval:
                labels, shown = run.preview(iteration), now
                self._shown.clear()
            yield Progress(iteration.number, run.n_updates, _progress_words(iteration, run), labels)
            if labels is not None:  # with every core busy, drawing it would hold up the window for longer
                self._shown.wait(PREVIEW_PATIENCE)

    # ------------------------------------------------------------------ in the main thread

    def _show_progress(self, progress: Progress) -> None:
        if not self.running:
            return
        if progress.labels is not None:
            began, first = time.perf_counter(), self.layer is None
            self._show_preview(progress.labels)

            def drawn() -> None:
                if not first:  # making the layer takes longer, and is done once
                    self._preview_interval = max(PREVIEW_INTERVAL, (time.perf_counter() - began) / PREVIEW_SHARE)
                self._shown.set()

            QTimer.singleShot(0, drawn)  # runs once the window has drawn what changed
        if self.running:
            self.progressed.emit(progress)
            # last, because it lets napari process events: the run may have ended when it returns
            self._activity.update(progress.done - self._activity.n)

    def _show_preview(self, labels: NDArray[Any]) -> None:
        if self.layer is None:
            assert self._run is not None
            numbers = self._run.run_numbers.tolist()
            self._add_layer(labels.astype(np.min_scalar_type(max(numbers))), numbers)
        elif self.layer.visible and not show_labels(self.layer, self.inputs.plane, labels):
            self._call_off()
            self._end("Stopped, because the preview layer was changed by something else.")
        else:
            self._filled = True

    def _add_layer(self, labels: NDArray[Any], numbers: Sequence[int]) -> None:
        name = f"{self.inputs.names[0]} segmentation"
        colors = self.inputs.colors({number: number for number in numbers})
        self.layer = new_labels_layer(self.inputs.plane, labels, name, colors=colors, metadata={})
        selected = list(self.viewer.layers.selection)
        self.viewer.add_layer(self.layer)
        if selected:  # adding a layer selects it, and takes the brush away from who is painting
            self.viewer.layers.selection = selected

    def _finish(self, result: Segmentation | _Refusal | None) -> None:
        if not self.running or result is None:
            return
        if isinstance(result, _Refusal):
            self._end(f"Not segmented: {result.reason}")
            return
        self.result = result
        colors = self.inputs.colors(result.numbers_during_run)
        metadata = self.inputs.metadata(result)
        if self.layer is not None:  # made before the first iteration; where it could not be, there is nowhere to go
            finish_labels(self.layer, self.inputs.plane, result.labels, colors=colors, metadata=metadata)
        note = f" {result.note[0].upper()}{result.note[1:]}." if result.note else ""
        self._end(f"{result.n_labels} labels after {result.iterations} iterations: {result.ended}.{note}")

    def _fail(self, error: Exception) -> None:
        self._end(f"Failed: {error}")

    def _follow_removal(self, event: Any) -> None:
        """The image was deleted: keep what there is. The preview was deleted: that is what the user wants gone."""
        if event.value is self.layer:
            self._call_off()
            self._end("Stopped, because the preview layer was deleted.")
        elif event.value is self.inputs.plane.layer:
            self.stop()

    def _call_off(self) -> None:
        self._called_off = True
        self._shown.set()
        if self._run is not None:
            self._run.cancel()

    def _end(self, outcome: str) -> None:
        if not self.running:
            return
        self.outcome = outcome
        self.viewer.layers.events.removed.disconnect(self._follow_removal)
        if self.layer is not None and self.result is None and not self._filled and self.layer in self.viewer.layers:
            self.viewer.layers.remove(self.layer)
        self._activity.close()
        self.ended.emit(outcome)


class EngineError(Exception):
    """PyTorch failed in the middle of a run."""


class _Worker(GeneratorWorker):
    """A worker whose `quit`, which napari calls when it closes, also ends the iteration in progress.

    It leaves Qt's pool of threads as large as it was: Qt 5 draws the window with that pool's help, holding Python's
    lock, and would wait forever for a thread where as many runs go on as there are cores.
    """

    call_off: Callable[[], None]

    def run(self) -> None:
        """Work, in a thread of the pool that the pool does not count."""
        pool = QThreadPool.globalInstance()
        pool.releaseThread()
        try:
            super().run()
        finally:
            pool.reserveThread()

    def quit(self) -> None:
        super().quit()
        self.call_off()


@dataclass(frozen=True)
class _Refusal:
    """Why a run gave no result."""

    reason: str


def _progress_words(iteration: Iteration, run: Run) -> str:
    seconds = run.seconds_left()
    left = "" if math.isinf(seconds) else f" · {_duration(seconds)} left"
    return f"Iteration {iteration.number} of {run.n_updates} · {iteration.n_labels} labels{left}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(math.ceil(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
