"""A run in a viewer that takes strokes while it goes on and after it has ended, and can be held and released."""

from __future__ import annotations

import threading
from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_dfc.gui.alignment import strokes_over
from napari_dfc.gui.background import Progress, Refusal
from napari_dfc.gui.layers import color_labels
from napari_dfc.gui.results import PackedLabels
from napari_dfc.gui.worker import LayerRun

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from numpy.typing import NDArray

    from napari_dfc.gui.inputs import RunInputs
    from napari_dfc.optimization import Iteration
    from napari_dfc.result import Segmentation
    from napari_dfc.segmentation import Run
    from napari_dfc.settings import Settings

__all__ = ["LiveRun"]

#: Time without a further change after which strokes count as painted, in milliseconds.
STROKE_PAUSE = 50

#: Memory for a run's maps above which they are given back at its end, and made anew when it goes on, in bytes.
MOST_AT_REST = 5e8

#: How often a run that is held looks whether it may go on, in seconds.
HOLD_INTERVAL = 0.1


class LiveRun(LayerRun):
    """A run on one image that goes on with what is painted, from the next iteration on and without a restart.

    Made by `napari_dfc.start` and by the Segment widget. Everything here is for the main thread.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
    inputs : RunInputs
    settings : Settings
    live : bool
        Whether strokes take effect by themselves; otherwise when `update` says so.

    Attributes
    ----------
    live : bool
    strokes_layer : napari.layers.Labels or None
        What is followed.
    changed : psygnal.Signal
        Emitted when it is held, released, goes on after its end, or follows another layer.
    said : psygnal.Signal
        Emits a sentence for the user, when strokes cannot be used.
    """

    changed = Signal()
    said = Signal(str)

    def __init__(self, viewer: ViewerModel, inputs: RunInputs, settings: Settings, *, live: bool = True) -> None:
        self.live = live
        self.strokes_layer: Labels | None = None
        self._sent = inputs.strokes
        self._announced: NDArray[Any] | None = None  # strokes that wait until somebody asks for them
        self._unused = ""  # why the strokes as they are do not count
        self._point: tuple[float, ...] = ()
        self._released = threading.Event()  # not set while it is held
        self._released.set()
        self._single = threading.Event()
        self._waiting: tuple[Any, ...] | None = None  # for the run, which is not ready for it
        self._colored: tuple[int, ...] | None = None
        self._finished: dict[int, int] = {}  # the numbers of the last result, and those in its previews
        self._packed: tuple[Segmentation, PackedLabels] | None = None
        self._turn = 0  # grows with every change of the strokes
        self._hear = lambda: self._wait_for_more()  # keeps this run as long as the strokes layer: a method would not
        super().__init__(viewer, inputs, settings)
        self.inputs: RunInputs = inputs
        if inputs.stroke_layer is not None:
            self.follow(inputs.stroke_layer)

    # ------------------------------------------------------------------ strokes

    def follow(self, layer: Labels | None) -> None:
        """Take strokes from this layer from now on; from none, the last ones stay.

        After the end, what is painted there already waits for the next stroke, or for `update`.
        """
        if layer is self.strokes_layer or layer in self.layers:  # its own labels are no strokes
            return
        self.unfollow()
        self.strokes_layer = layer
        self._point = self.viewer.dims.point  # which plane of the strokes counts, wherever the sliders go
        if layer is not None:
            for event in self._events_of(layer):
                event.connect(self._hear)
            if self.running:
                self._wait_for_more()
            elif (strokes := self._fresh_strokes()) is not None:
                self._announced = strokes
                self.said.emit(f"Press Run to begin anew with the strokes in “{layer.name}”, or Update once to go on.")
        self.changed.emit()

    def unfollow(self) -> None:
        """Take no more strokes."""
        self._turn += 1
        self._waiting = None
        if self.strokes_layer is not None:
            for event in self._events_of(self.strokes_layer):
                event.disconnect(self._hear)
            self.strokes_layer = None

    def update(self, updates: int = 1) -> None:
        """Take the strokes as they are, and make one update, or more; a run that is held is held again after it."""
        self._single.set()
        strokes = self._strokes()
        if strokes is None:
            strokes = self._sent
        if strokes is not None:
            self._send(strokes, updates)

    def hold(self) -> None:
        """Make no more iterations until `release`; the network is kept as it is."""
        self._released.clear()
        self.changed.emit()

    def release(self) -> None:
        """Go on after `hold`."""
        self._released.set()
        if self.live:
            self._wait_for_more()
        self.changed.emit()

    def curves(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Losses (iterations, 4) and label counts (iterations,) so far."""
        if self._run is None:
            return np.zeros((0, 4)), np.zeros(0, dtype=np.int64)
        return self._run.losses, self._run.label_counts

    @property
    def held(self) -> bool:
        """Whether it makes no iterations for now."""
        return not self._released.is_set()

    @staticmethod
    def _events_of(layer: Labels) -> tuple[Any, ...]:
        """What napari emits when a stroke is finished, data are replaced, and a stroke is undone."""
        return layer.events.paint, layer.events.data, layer.events.set_data

    def _wait_for_more(self) -> None:
        if self.live:
            self._turn += 1
            turn = self._turn
            QTimer.singleShot(STROKE_PAUSE, lambda: self._strokes_changed() if turn == self._turn else None)

    def _strokes_changed(self) -> None:
        strokes = self._fresh_strokes()
        if strokes is not None:
            self._send(strokes)

    def _fresh_strokes(self) -> NDArray[Any] | None:
        """As `_strokes`; None also where they are those that count already, or that wait."""
        strokes = self._strokes()
        for known in (self._sent, self._announced):
            if strokes is not None and known is not None and np.array_equal(strokes, known):
                return None
        return strokes

    def _strokes(self) -> NDArray[Any] | None:
        """A copy of what is painted over the plane; None where it cannot be used, which is said."""
        before, self._unused = self._unused, ""
        strokes = None
        if self.strokes_layer is not None and self.strokes_layer in self.viewer.layers:
            try:
                strokes = self._painted(self.strokes_layer)
            except ValueError as error:
                self._unused = str(error)
        if self._unused not in ("", before) and not self.running:  # while it runs, its progress says so
            self.said.emit(f"Strokes not used: {self._unused}.")
        return strokes

    def _painted(self, layer: Labels) -> NDArray[Any] | None:
        plane = self.inputs.plane
        if plane.layer not in self.viewer.layers:
            raise ValueError(f"the image “{plane.layer.name}” was deleted")
        if not self.inputs.is_there:
            raise ValueError(f"“{plane.layer.name}” holds another image now; press Run to segment that one")
        painted = strokes_over(layer, plane, self._point)
        if painted.any():
            return painted
        if self._sent is not None:
            raise ValueError("all strokes were erased, and the last ones still count; press Run to start without them")
        return None

    def _send(self, strokes: NDArray[Any], updates: int | None = None) -> None:
        self._sent, self._announced = strokes, None
        self.inputs = replace(self.inputs, strokes=strokes, stroke_layer=self.strokes_layer or self.inputs.stroke_layer)
        self._waiting = (strokes,) if updates is None else (strokes, updates)
        self._deliver()

    def _deliver(self) -> None:
        """Give the run what waits for it, and start the thread where it has ended."""
        if self._waiting is None or (self._run is None and not self.running):
            return
        if self._stopping or (not self.running and self._worker.is_running):  # neither it nor its iteration is over yet
            QTimer.singleShot(STROKE_PAUSE, self._deliver)
            return
        if self._run is not None:
            self._run.send(*self._waiting)
            self._waiting = None
            if not self.running:
                self._go_on()

    def _go_on(self) -> None:
        """Start the thread again, after the end."""
        assert self._run is not None
        if not self._run.stage.restricted:  # of classes alone, the numbers and colors are those that are shown
            self._colored = None
        if any(layer not in self.viewer.layers for layer in self.layers) or not self._is_intact:
            self._forget_layers()
        self.outcome = ""
        self._called_off = False
        self._begin_activity(self._run.n_updates, f"{self.inputs.doing} {self.inputs.names[0]}")
        self._launch()
        self.changed.emit()

    # ------------------------------------------------------------------ in the worker's thread

    def _steps(self) -> Generator[Progress, None, Segmentation | None]:
        if self._run is None:
            return (yield from super()._steps())
        return self._ready((yield from self._to_the_end(self._run)))

    def _ready(self, result: Segmentation | None) -> Segmentation | None:
        if result is not None:
            _ = result.history  # which is kept
            self.packed(result)
        return super()._ready(result)

    def packed(self, result: Segmentation) -> PackedLabels:
        """The labels of a result of this run, compressed; the latest are kept."""
        if self._packed is None or self._packed[0] is not result:
            self._packed = result, PackedLabels.of(result.labels)
        return self._packed[1]

    def _to_the_end(self, run: Run) -> Generator[Progress, None, Segmentation | None]:
        while True:
            result = yield from super()._to_the_end(run)
            if not run.has_mail or self._called_off:
                return result

    def _between(self, iteration: Iteration, run: Run) -> Generator[Progress, None, None]:
        if iteration.provisional:
            return
        if iteration.number == self.inputs.stop_after:
            run.cancel()
        self._single.clear()
        while not (self._released.is_set() or self._single.is_set() or self._called_off):
            yield Progress(iteration.number, run.n_updates, f"Held at iteration {iteration.number}.")
            self._released.wait(HOLD_INTERVAL)

    # ------------------------------------------------------------------ in the main thread

    def _take(self, progress: Progress) -> None:
        super()._take(progress)
        if self.running:
            self._deliver()  # what was painted while the image was read

    def _report(self, progress: Progress) -> None:
        if self._unused:
            progress = replace(progress, words=f"{progress.words} · strokes not used: {self._unused}")
        super()._report(progress)

    def _follow_classes(self) -> None:
        assert self._run is not None
        stage = self._run.stage
        if stage.classes == self._colored:
            return
        self._colored = stage.classes
        numbers = stage.run_numbers.tolist()
        colors = self.inputs.colors({number: number for number in numbers})
        for layer in self.layers:
            color_labels(layer, colors)

    def _finish(self, result: Segmentation | Refusal | None) -> None:
        super()._finish(result)
        if self.running or self._run is None:
            return
        if self._run.has_mail and not self._called_off:
            self._go_on()  # strokes that came while the thread ended
        elif self._run.plan.bytes > MOST_AT_REST:
            self._rest()

    def _rest(self) -> None:
        """Give back the memory of the maps, once the thread is done with them."""
        if self._worker.is_running and self._called_off:
            QTimer.singleShot(STROKE_PAUSE, self._rest)
        elif not self.running and self._run is not None:
            self._run.rest()

    def _break_off(self, what: str, reason: str) -> None:
        """What is on screen stays, with the record of how it was made; before that is a result, the one before it."""
        if not self.running:
            return
        self._call_off()
        result = self._so_far() if self._filled else None
        result = self.result if result is None else result
        if result is None or not self.layers or not self._is_intact:
            super()._break_off(what, reason)
            return
        self._show_result(result)
        what = "Stopped" if what == "Not segmented" else what
        super()._break_off(what, f"{reason}. The labels are those after {result.iterations} iterations.")

    def colors_of(self, result: Segmentation) -> dict[int, Any]:
        """As there; with those that the slider of label counts brings back."""
        return self.inputs.colors(result.history.numbers_during_run or result.numbers_during_run)

    def _colors_to_show(self, result: Segmentation) -> dict[int, Any] | None:
        before, self._finished = self._finished, result.numbers_during_run
        is_classes_alone = self._run is not None and self._run.stage.restricted
        return None if is_classes_alone and before == self._finished else super()._colors_to_show(result)

    def _words(self, result: Segmentation) -> str:
        refused = (self._run.refused if self._run is not None else "") or self._unused
        return super()._words(result) + (f" Not used: {refused}." if refused else "")

    def _follow_removal(self, event: Any) -> None:
        if event.value is self.strokes_layer:
            self.unfollow()
            self.changed.emit()
        super()._follow_removal(event)

    def _call_off(self) -> None:
        super()._call_off()
        self._released.set()
