"""The controls of a run that goes on or has ended: hold it, look back, find where a stroke helps, copy it."""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, ComboBox, Container, PushButton, Slider
from napari.layers import Labels
from qtpy.QtWidgets import QApplication

from napari_dfc.gui.dock import narrow
from napari_dfc.gui.form import labeled, stacked
from napari_dfc.gui.layers import METADATA_KEY
from napari_dfc.gui.plot import CurvePlot
from napari_dfc.settings import USUAL_UPDATES

if TYPE_CHECKING:
    from napari_dfc.gui.studio import Studio

__all__ = ["RunControls"]

ALL_PLANES = "Segment all planes"
WHOLE_PLANE = "Segment the whole plane"

#: How a network goes over them.
UNCHANGED, FOLLOWING = "one network", "following changes"

#: Least time between two drawings of the curves, in seconds.
PLOT_INTERVAL = 0.5


class RunControls(Container[Any]):
    """Buttons that each call a method of the `Studio`, and show what it says.

    Parameters
    ----------
    studio : Studio
    """

    def __init__(self, studio: Studio) -> None:
        super().__init__(labels=False)
        self.margins = (0, 0, 0, 0)
        self._studio = studio
        self.live = CheckBox(
            text="Live",
            value=True,
            tooltip="Strokes take effect as soon as they are painted, while it runs and after it has ended.",
        )
        self.hold = PushButton(text="Hold", tooltip="Pause: make no more iterations for now. Pressed again: go on.")
        self.once = PushButton(
            text="Update once", tooltip="Take the strokes as they are and make a single step; for when Live is off."
        )
        self.slider = Slider(
            label="Labels",
            min=0,
            max=1,
            readout=False,
            tooltip="Fewer or more labels, without another run: each label keeps its color as others join it.",
        )
        self.undo = PushButton(text="Undo", tooltip="Return to the result before the last strokes.")
        self.redo = PushButton(text="Redo", tooltip="Take the last Undo back.")
        self.spot = PushButton(
            text="Next uncertain spot",
            tooltip="Go to where the labels are least certain, with a line around it and the brush ready: a stroke "
            "there helps most.",
        )
        self.certainty = PushButton(
            text="Show certainty",
            tooltip="A layer that is bright where labels are certain and dark where they are not.",
        )
        self.python = PushButton(
            text="Copy as Python",
            tooltip="The lines for napari's console that give exactly these labels again, as the run made them.",
        )
        self.command = PushButton(
            text="Copy as command",
            tooltip="The command line that writes exactly these labels to a file, as the run made them.",
        )
        self.again = PushButton(
            text="Run again from this layer",
            tooltip="Of the selected result: the same run, with its strokes as they came, into a new layer. What you "
            "edited in it is not repeated.",
        )
        self.all_planes = PushButton(
            text=ALL_PLANES,
            tooltip="Give every slice or time point the classes of this one: what was learned here is kept as a "
            "network and applied to all of them, into a new layer. Pressed again: stop, and keep those that are done.",
        )
        self.whole_plane = PushButton(
            text=WHOLE_PLANE,
            tooltip="Give the rest of the image the classes of this part, at the same resolution: what was learned "
            "here is kept as a network and applied to all of it, into a new layer; the part's own is hidden. Pressed "
            "again: stop.",
        )
        self.planes_by = ComboBox(
            label="Planes by",
            choices=(UNCHANGED, FOLLOWING),
            tooltip="one network: every plane is segmented by what was learned here. following changes: it "
            "goes from this plane outward in both directions, and where a plane shows something else than those before "
            f"it, a copy of the network learns it in {USUAL_UPDATES} steps. For staining, focus or content that "
            "changes slowly; takes longer.",
        )
        self.plot = CurvePlot()
        self._plotted = 0.0
        self._lay_out()
        self._connect()

    @property
    def with_shortcuts(self) -> dict[str, PushButton]:
        """The buttons that the preferences name a shortcut for."""
        return {"hold": self.hold, "once": self.once, "spot": self.spot, "undo": self.undo, "redo": self.redo}

    def refresh(self) -> None:
        """Show what can be done now."""
        studio, run = self._studio, self._studio.run
        running, done = studio.running, run is not None and run.result is not None and not studio.running
        with self.live.changed.blocked():
            self.live.value = studio.live
        self.hold.enabled = running
        self.hold.text = "Go on" if running and run is not None and run.held else "Hold"
        self.once.enabled = run is not None and run.strokes_layer is not None
        counts = studio.counts if done else ()
        self._history.visible = len(counts) > 1
        if len(counts) > 1:
            with self.slider.changed.blocked():
                self.slider.max = len(counts) - 1
                if studio.count in counts:
                    self.slider.value = counts.index(studio.count)
            self._history[0].value = f"{studio.count} labels"
        self.undo.enabled, self.redo.enabled = studio.can_undo, studio.can_redo
        self.python.enabled = self.command.enabled = done
        latest = done and not studio.can_redo
        self.spot.enabled = self.certainty.enabled = latest
        self._after.visible = run is not None
        applied = studio.stack_run if studio.stack_run is not None and studio.stack_run.running else None
        stack, whole = applied is not None and applied.is_of_stack, applied is not None and not applied.is_of_stack
        self._stack.visible = run is not None and bool(run.inputs.plane.position)
        self.all_planes.enabled, self.all_planes.text = latest or stack, "Stop all planes" if stack else ALL_PLANES
        self.planes_by.enabled = self.all_planes.enabled and not stack
        self.whole_plane.visible = whole or (run is not None and run.inputs.is_partial)
        self.whole_plane.enabled, self.whole_plane.text = (
            latest or whole,
            "Stop the whole plane" if whole else WHOLE_PLANE,
        )
        self.again.enabled = not running and self._selected_result() is not None
        self.draw(at_once=True)

    def draw(self, *_: Any, at_once: bool = False) -> None:
        """Draw the curves of the run, not too often."""
        run, now = self._studio.run, time.perf_counter()
        if run is None or not (at_once or now - self._plotted > PLOT_INTERVAL):
            return
        self._plotted = now
        self.plot.show_curves(*run.curves(), self._studio.count_iteration)

    def _selected_result(self) -> Labels | None:
        layer = self._studio.viewer.layers.selection.active
        record = layer.metadata.get(METADATA_KEY, {}) if isinstance(layer, Labels) else {}
        is_of_a_run = "source" in record and not {"training", "model"} & record.keys()  # rather than of a network
        return layer if is_of_a_run else None

    def _set_live(self, live: bool) -> None:
        self._studio.live = live

    def _hold(self) -> None:
        run = self._studio.run
        if run is not None and run.held:
            self._studio.release()
        else:
            self._studio.hold()

    def _apply_to(self, stack: bool) -> None:
        """Apply the result's network to all planes or to the whole plane, or stop that."""
        studio = self._studio
        applied = studio.stack_run
        if applied is not None and applied.running and applied.is_of_stack == stack:
            applied.stop()
        else:
            updates = USUAL_UPDATES if self.planes_by.value == FOLLOWING else 0
            over_all = partial(studio.segment_all_planes, adaptation=updates)
            self._try(over_all if stack else studio.segment_whole_plane)

    def _slide(self, place: int) -> None:
        counts = self._studio.counts
        if place < len(counts):
            self._try(lambda: self._studio.show_count(counts[place]))

    def _copy(self, text: Any, where: str) -> None:
        def copy() -> None:
            clipboard = QApplication.clipboard()
            assert clipboard is not None
            clipboard.setText(text())
            edits = " What was edited since (merged, painted, locked) is not repeated." * self._studio.is_edited
            self._studio.said.emit(f"Copied: paste it into {where}.{edits}")

        self._try(copy)

    def _run_again(self) -> None:
        layer = self._selected_result()
        if layer is not None:
            self._try(lambda: self._studio.run_again(layer))

    def _try(self, action: Any) -> None:
        """Do what may be refused, and say why it was."""
        try:
            action()
        except ValueError as error:
            self._studio.said.emit(str(error))

    def _lay_out(self) -> None:
        steer = stacked([self.hold, self.once, self.live], layout="horizontal")
        self._history = labeled(self.slider)
        back = stacked([self.undo, self.redo], layout="horizontal")
        look = stacked([self.spot, self.certainty], layout="horizontal")
        copy = stacked([self.python, self.command], layout="horizontal")
        self._curves = Container(labels=False)
        self._curves.margins = (0, 0, 0, 0)
        self._curves.native.layout().addWidget(self.plot)
        self._curves.min_height = self.plot.minimumHeight()  # magicgui knows nothing of it, and would cut it off
        narrow(self.planes_by)
        self._stack = stacked([labeled(self.planes_by), self.all_planes])
        self._after = stacked([self._history, back, look, self.whole_plane, self._stack, self._curves, copy])
        self.extend([steer, self._after, self.again])

    def _connect(self) -> None:
        studio = self._studio
        self.live.changed.connect(self._set_live)
        self.hold.changed.connect(self._hold)
        self.once.changed.connect(studio.update)
        self.slider.changed.connect(self._slide)
        self.undo.changed.connect(studio.undo)
        self.redo.changed.connect(studio.redo)
        self.spot.changed.connect(lambda: self._try(studio.next_spot))
        self.certainty.changed.connect(lambda: self._try(studio.show_confidence))
        self.python.changed.connect(lambda: self._copy(studio.as_python, "napari's console"))
        self.command.changed.connect(lambda: self._copy(studio.as_command, "a terminal"))
        self.again.changed.connect(self._run_again)
        self.all_planes.changed.connect(lambda: self._apply_to(stack=True))
        self.whole_plane.changed.connect(lambda: self._apply_to(stack=False))
