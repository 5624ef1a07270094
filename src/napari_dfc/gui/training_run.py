"""Training on references inside a viewer: a run on all of them at once, whose outcome is a network that is kept."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_dfc.gui.background import Progress, Refusal
from napari_dfc.gui.colors import hex_colors, name_classes
from napari_dfc.gui.layers import METADATA_KEY
from napari_dfc.gui.worker import LayerRun

if TYPE_CHECKING:
    from napari_dfc.model import Model
    from napari_dfc.result import Segmentation
    from napari_dfc.segmentation import Run

__all__ = ["TrainingRun"]


class TrainingRun(LayerRun):
    """A run in a viewer that trains a network; `layers` show what it says of each reference.

    Made by the widget "Train on references". `stop` ends the optimization and keeps the network as it is; called once
    more, it gives the network up.

    Attributes
    ----------
    model : Model or None
        The network, once the run has ended well.
    """

    model: Model | None = None
    _stopped = False
    # in the worker, before it is known whether anybody waits for it: a network, and its numbers in the previews
    _trained: tuple[Model, dict[int, int]] | None = None

    def stop(self) -> None:
        """End the optimization, and keep what the network has learned; does nothing once the run has ended."""
        if not self.running:
            return
        run = self._run
        if run is None or run.takes_votes or self._stopped:  # groups are no network's yet
            self.give_up()
            return
        self._stopped = True
        run.cancel()
        self.progressed.emit(Progress(0, 0, "Stopping: measuring the references ..."))

    def give_up(self) -> None:
        """End at once, and keep nothing."""
        if self.running:
            self._call_off()
            self._filled = False  # so that the previews go
            self._end("Stopped before there was a network; nothing was kept.")

    def _to_the_end(self, run: Run) -> Generator[Progress, None, Segmentation | None]:
        result = yield from super()._to_the_end(run)
        if result is not None and run.takes_votes:
            self._run = run = run.to_teach(result.labels)
            yield Progress(0, run.n_updates, "Teaching a network these groups ...")
            if self._called_off:
                return None
            result = yield from super()._to_the_end(run)
        if result is None:
            return None
        yield Progress(run.n_updates, run.n_updates, "Measuring the references ...")
        if self._called_off:
            return None
        model, during = self.model_of(result), result.numbers_during_run
        self._trained = model, {number: during.get(number, number) for number in model.legend.numbers}
        return self._as_predicted(result, model, run)

    def _as_predicted(self, result: Segmentation, model: Model, run: Run) -> Segmentation | None:
        """The result with what the network says of each reference by itself, as it will of every other image."""
        labels = result.labels.copy()
        engine: dict[str, Any] = {"device": self.settings.device, "threads": self.settings.threads}
        for each, place in zip(self.inputs.each(), run.plane.places, strict=True):
            if self._called_off:
                return None
            labels[place] = model.predict(each.arrays(), **engine).labels
        return replace(result, labels=labels, n_labels=len(np.unique(labels[labels > 0])))

    def _finish(self, result: Segmentation | Refusal | None) -> None:
        if self.running and result is not None and not isinstance(result, Refusal):
            assert self._trained is not None
            model, during = self._trained
            self.model = model.colored(hex_colors(self.inputs.colors(during)))
        super()._finish(result)
        if self.model is not None:
            for layer in self.layers:
                name_classes(layer, self.model.legend)
                layer.metadata[METADATA_KEY]["model"] = {"sha256": self.model.digest}

    def _words(self, result: Segmentation) -> str:
        assert self.model is not None
        note = f" {result.note[0].upper()}{result.note[1:]}." if result.note else ""
        n_images = len(self.inputs.planes)
        images = "1 reference" if n_images == 1 else f"{n_images} references"
        return f"Trained on {images}: {len(self.model.legend)} classes after {result.iterations} iterations.{note}"
