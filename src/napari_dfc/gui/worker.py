"""One run inside a viewer: the thread it works in, its live preview, and the layer that keeps the result."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QTimer

from napari_dfc.cancellation import NoResultYet
from napari_dfc.devices import torch_is_loaded
from napari_dfc.gui.background import Progress, Refusal, ViewerRun, in_background
from napari_dfc.gui.colors import class_colors, class_names, hex_colors
from napari_dfc.gui.layers import METADATA_KEY, ImagePlane, finish_labels, new_labels_layer, show_labels
from napari_dfc.gui.own_layer import OwnLayer, hide_earlier
from napari_dfc.records import ALL_MADE
from napari_dfc.settings import Settings

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels

    from napari_dfc.gui.inputs import RunInputs, TrainingInputs
    from napari_dfc.model import Model
    from napari_dfc.optimization import Iteration
    from napari_dfc.result import Segmentation
    from napari_dfc.segmentation import Run

__all__ = ["LayerRun"]

#: Least time between two previews, in seconds: at most 10 a second, and fewer where showing one takes long.
PREVIEW_INTERVAL = 0.1

#: Least time between two reports of progress, in seconds.
PROGRESS_INTERVAL = 0.05

#: Longest time that the computation waits until a preview is shown, in seconds.
PREVIEW_PATIENCE = 2.0

#: Pixels above which a result is made beside the window when the run is stopped: it takes longer than a blink.
MOST_AT_ONCE = 2**18

#: Largest share of the time that showing previews may take.
PREVIEW_SHARE = 0.1

CHANGED = "the result's layer was changed by something else"


class LayerRun(ViewerRun):
    """A run in a viewer: call `stop` to end it and keep what there is; `layer` is its preview and then its result.

    Made by `napari_dfc.start` and by the Segment widget. Everything here is for the main thread.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
        Gets the result layer.
    inputs : RunInputs
        Or `TrainingInputs`.
    settings : Settings

    Attributes
    ----------
    layers : list of napari.layers.Labels
        One over each image; empty until the first preview.
    result : Segmentation or None
    progressed, ended, outcome
        As `ViewerRun` has them.
    """

    def __init__(self, viewer: ViewerModel, inputs: RunInputs | TrainingInputs, settings: Settings) -> None:
        self._n_updates = settings.n_updates(has_strokes=inputs.has_strokes)
        super().__init__(viewer, self._n_updates, f"{inputs.doing} {inputs.names[0]}")
        self.inputs = inputs
        self.settings = settings
        self.layers: list[Labels] = []
        self._own: list[OwnLayer] = []
        self.result: Segmentation | None = None
        self._run: Run | None = None
        self._filled = False
        self._stopping = False  # its result is being made
        self._shown = threading.Event()
        self._preview_interval = PREVIEW_INTERVAL
        self._launch()

    def __repr__(self) -> str:
        return f"<LayerRun of “{self.inputs.names[0]}”: {self.outcome or 'running'}>"

    @property
    def layer(self) -> Labels | None:
        """The first of the `layers`, which is the only one of a run on one image."""
        return self.layers[0] if self.layers else None

    def stop(self) -> None:
        """End the run at once and keep the last label map; does nothing once the run has ended.

        Of a large image the preview stays until the result is there, soon after this has returned.
        """
        if not self.running or self._stopping:
            return
        self._call_off()
        if not self._is_large or self._run is None or not len(self._run.label_counts):
            self._keep_result(self._so_far())
            return
        self._stopping = True
        self.progressed.emit(Progress(0, 0, "Stopping: numbering the labels ..."))
        in_background(lambda: self._ready(self._so_far()), self._keep_result)

    @property
    def _is_large(self) -> bool:
        return sum(math.prod(plane.shape) for plane in self.inputs.planes) > MOST_AT_ONCE

    def _keep_result(self, result: Segmentation | Refusal | None) -> None:
        """The run was stopped, and this is what it leaves."""
        self._stopping = False
        if result is None:
            self._end("Stopped before there was a label map; nothing was kept.")
        else:
            self._finish(result)

    def _so_far(self) -> Segmentation | None:
        """What the iterations that were made give, where these were called off."""
        try:
            return None if self._run is None else self._run.result()
        except NoResultYet:
            return None

    def to_teach(self, labels: NDArray[Any]) -> Run:
        """A run that teaches a network the groups of a label map; as `Run.to_teach`."""
        assert self._run is not None
        return self._run.to_teach(labels)

    def model_of(self, result: Segmentation) -> Model:
        """The network of a result of this run; errors as there.

        Takes as long as a prediction: call it in a thread, and give it its names and colors in the main one.
        """
        return result.model()

    def as_shown(self, model: Model) -> Model:
        """A network of this run with the names and colors that its classes have in the layer now."""
        if self.layer is None:
            return model
        numbers = model.legend.numbers
        return model.named(class_names(self.layer, numbers)).colored(hex_colors(class_colors(self.layer, numbers)))

    # ------------------------------------------------------------------ in the worker's thread

    def _steps(self) -> Generator[Progress, None, Segmentation | None]:
        total = self._n_updates
        if not torch_is_loaded():
            yield Progress(0, total, "Loading PyTorch, once after each start of napari ...")
        self._run = run = self.inputs.prepare(self.settings)
        # the layer is made while nothing else is computed: that alone takes napari a tenth of a second
        yield Progress(0, total, f"Starting on {run.device.title} ...", run.blank())
        self._shown.wait(PREVIEW_PATIENCE)
        return self._ready((yield from self._to_the_end(run)))

    def _ready(self, result: Segmentation | None) -> Segmentation | None:
        """The same, once all that the window will ask of it is found; takes a while, of a large image."""
        if result is not None:
            _ = result.numbers_during_run  # which is kept
        return result

    def _to_the_end(self, run: Run) -> Generator[Progress, None, Segmentation | None]:
        """The iterations and what comes after them."""
        yield from self._optimize(run)
        if run.takes_votes:
            yield Progress(run.n_updates, run.n_updates, f"Merging into {self.settings.split_into} ...")
        elif run.edge_share:
            yield Progress(run.n_updates, run.n_updates, "Drawing the classes to the edges ...")
        return None if self._called_off else run.result()

    def _optimize(self, run: Run) -> Generator[Progress, None, None]:
        """The iterations, as far as there is something to report."""
        due = shown = 0.0
        for iteration in () if self._called_off else run:
            now, labels = time.perf_counter(), None
            if now >= due or iteration.provisional:
                due = now + PROGRESS_INTERVAL
                if self._shown.is_set() and (iteration.provisional or now - shown >= self._preview_interval):
                    labels, shown = run.preview(iteration), now
                    self._shown.clear()
                yield Progress(iteration.number, run.n_updates, _progress_words(iteration, run), labels)
            if labels is not None and not self._called_off:  # with every core busy, drawing it would take longer
                self._shown.wait(PREVIEW_PATIENCE)
            yield from self._between(iteration, run)

    def _between(self, iteration: Iteration, run: Run) -> Generator[Progress, None, None]:
        """What is done before the next iteration."""
        yield from ()

    # ------------------------------------------------------------------ in the main thread

    def _take(self, progress: Progress) -> None:
        if not self.running or self._called_off:
            return
        if progress.shown is not None:
            began, first = time.perf_counter(), not self.layers
            self._show_preview(progress.shown)

            def drawn() -> None:
                if not first:  # making the layer takes longer, and is done once
                    self._preview_interval = max(PREVIEW_INTERVAL, (time.perf_counter() - began) / PREVIEW_SHARE)
                self._shown.set()

            QTimer.singleShot(0, drawn)  # runs once the window has drawn what changed
        self._report(progress)

    def _show_preview(self, labels: NDArray[Any]) -> None:
        if not self.layers:
            assert self._run is not None
            changed = [plane.layer.name for plane in self.inputs.planes if plane.layer.ndim != len(plane.lengths)]
            if changed:  # there is nowhere to put them
                self._call_off()
                self._end(f"Stopped, because “{changed[0]}” holds another image now; nothing was kept.")
                return
            numbers = self._run.run_numbers.tolist()
            self._add_layers(labels.astype(np.min_scalar_type(max(numbers))), numbers)
            return
        if not self._is_intact:
            self._call_off()
            self._end(f"Stopped, because {CHANGED}.")
            return
        with self.writing():
            self._follow_classes()
            for layer, plane, part in self._places():
                if layer.visible:
                    show_labels(layer, plane, labels[part])
        self._filled = True

    @property
    def _is_intact(self) -> bool:
        """Whether the layers still have the arrays that they were given here."""
        return all(own.is_intact for own in self._own)

    @contextmanager
    def writing(self) -> Iterator[list[Labels]]:
        """Write labels into the layers within this; ValueError where these are no longer the run's."""
        if not self.layers or any(layer not in self.viewer.layers for layer in self.layers):
            raise ValueError("the result's layer was deleted; segment the image once more")
        if not self._is_intact:
            raise ValueError(f"{CHANGED}; segment the image once more")
        for own in self._own:
            own.separate(self.viewer.layers)
        yield self.layers
        for own in self._own:
            own.written()

    def _forget_layers(self) -> None:
        """Leave the layers as they are; what comes is shown in others."""
        self.layers, self._own = [], []

    def _follow_classes(self) -> None:
        """Other classes have come: bring the colors up to date."""

    def _places(self) -> list[tuple[Labels, ImagePlane, tuple[slice, slice]]]:
        """Each preview layer, the plane that it lies over, and what part of the run's label map it shows."""
        assert self._run is not None
        return list(zip(self.layers, self.inputs.planes, self._run.places, strict=True))

    def _add_layers(self, labels: NDArray[Any], numbers: Sequence[int]) -> None:
        assert self._run is not None
        colors = self.inputs.colors({number: number for number in numbers})
        selected = list(self.viewer.layers.selection)
        hide_earlier(self.viewer.layers, self.inputs.planes)
        for plane, part in zip(self.inputs.planes, self._run.places, strict=True):
            name = f"{plane.layer.name} {self.inputs.suffix}"
            layer = new_labels_layer(plane, labels[part], name, colors=colors, metadata={})
            self.layers.append(layer)
            self._own.append(OwnLayer(layer, plane))
            self.viewer.layers.insert(self._place_of(plane), layer)
        if selected:  # adding a layer selects it, and takes the brush away from who is painting
            self.viewer.layers.selection = selected

    def _place_of(self, plane: ImagePlane) -> int:
        """Where in the layer list a result belongs: on top, below its strokes; of several, right above its image."""
        layers = self.viewer.layers
        image = layers.index(plane.layer) if plane.layer in layers else len(layers) - 1
        if len(self.inputs.planes) > 1:
            return image + 1
        strokes = self.inputs.each()[0].stroke_layer
        if strokes is None or strokes not in layers or METADATA_KEY in strokes.metadata:  # which may be a result, too
            return len(layers)
        place = layers.index(strokes)
        return place if place > image else len(layers)

    def _finish(self, result: Segmentation | Refusal | None) -> None:
        if not self.running or self._stopping or result is None:
            return
        if isinstance(result, Refusal):
            self._break_off("Not segmented", result.reason)
        elif not self._is_intact:
            self._end(f"Stopped, because {CHANGED}.")
        else:
            self._show_result(result)
            self._end(self._words(result))

    def _show_result(self, result: Segmentation) -> None:
        self.result = result
        if not self.layers:  # they were deleted, and no preview has come since
            self._show_preview(result.labels)
        if not self.running:
            return
        colors = self._colors_to_show(result)
        with self.writing():
            for (layer, plane, part), kept in zip(self._places(), self.inputs.metadata(result), strict=True):
                finish_labels(layer, plane, result.labels[part], colors=colors, metadata=kept)

    def _fail(self, error: Exception) -> None:
        if not self._stopping:
            self._break_off("Failed", str(error))

    def _break_off(self, what: str, reason: str) -> None:
        """The work ended with an error."""
        self._end(f"{what}: {reason}")

    def colors_of(self, result: Segmentation) -> dict[int, Any]:
        """Colors by which each cluster of a result keeps the look it had in the previews."""
        return self.inputs.colors(result.numbers_during_run)

    def _colors_to_show(self, result: Segmentation) -> dict[int, Any] | None:
        """Those; None where the layers keep theirs."""
        return self.colors_of(result)

    def _words(self, result: Segmentation) -> str:
        """How the run ended, for people."""
        note = f" {result.note[0].upper()}{result.note[1:]}." if result.note else ""
        labels = f"{result.n_labels} label{'s' * (result.n_labels != 1)}"
        iterations = f"{result.iterations} iteration{'s' * (result.iterations != 1)}"
        why = "" if result.ended == ALL_MADE else f": {result.ended}"
        return f"{labels} after {iterations}{why}.{note}"

    def _follow_removal(self, event: Any) -> None:
        """An image was deleted: keep what there is. A preview was deleted: that is what the user wants gone."""
        if event.value in self.layers:
            self._call_off()
            self._end("Stopped, because the preview layer was deleted.")
        elif event.value in [plane.layer for plane in self.inputs.planes]:
            self.stop()

    def _call_off(self) -> None:
        super()._call_off()
        self._shown.set()
        if self._run is not None:
            self._run.cancel()

    def _tidy(self) -> None:
        if self.result is None and not self._filled:
            for layer in self.layers:
                if layer in self.viewer.layers:
                    self.viewer.layers.remove(layer)


def _progress_words(iteration: Iteration, run: Run) -> str:
    seconds = run.seconds_left()
    left = "" if math.isinf(seconds) else f" · {_duration(seconds)} left"
    refused = f" · strokes not used: {run.refused}" if run.refused else ""
    return f"Iteration {iteration.number} of {run.n_updates} · {iteration.n_labels} labels{left}{refused}"


def _duration(seconds: float) -> str:
    minutes, seconds = divmod(math.ceil(seconds), 60)
    return f"{minutes} min {seconds} s" if minutes else f"{seconds} s"
