"""All that the Segment dock can do, for napari's console and for scripts: the dock only binds to it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_dfc import records
from napari_dfc.gui.copies import command_of, python_of, record_of
from napari_dfc.gui.guides import LEAST_SPOT, Guides
from napari_dfc.gui.inputs import RunInputs, inputs_of_record
from napari_dfc.gui.layers import METADATA_KEY, begin_painting, finish_labels, show_labels
from napari_dfc.gui.placement import expand
from napari_dfc.gui.results import EarlierResult, Results
from napari_dfc.gui.screen import look_at
from napari_dfc.gui.steering import Steering
from napari_dfc.settings import Settings

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dfc.gui.live_run import LiveRun
    from napari_dfc.gui.stack_run import StackRun
    from napari_dfc.result import Segmentation
    from napari_dfc.uncertainty import Spot

__all__ = ["Studio"]

#: How much of the canvas an uncertain spot takes.
SPOT_SHARE = 0.25


class Studio(Steering):
    """Segment, steer, look back and copy, in one viewer.

    Every button of the Segment dock is a method here. The dock's own is its attribute ``studio``; a script makes one
    for itself. No Qt is needed to read this class; the run that it starts has a thread of napari's.

    Parameters
    ----------
    viewer : napari.Viewer

    Attributes
    ----------
    run : LiveRun or None
        The latest run.
    stack_run : StackRun or None
        The latest over all planes, or over the whole plane.
    live : bool
        Whether strokes take effect as soon as they are painted.
    changed : psygnal.Signal
        Emitted when what there is, or what can be done, has changed.
    said : psygnal.Signal
        Emits a sentence for the user.

    Examples
    --------
    In napari's console, where ``viewer`` is defined::

        from napari_dfc.gui.studio import Studio

        studio = Studio(viewer)
        studio.segment(viewer.layers["cells"])
        studio.show_count(12)
        studio.next_spot()
        print(studio.as_python())
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer)
        self._results = Results()
        self._wanted_count: int | None = None
        self._spots: list[Spot] = []
        self._searched: Segmentation | None = None  # for spots, just now
        self._kept: Segmentation | None = None
        self._guides = Guides(viewer)
        self._was_running = False
        self.changed.connect(self._make_way)

    def _start(self, inputs: RunInputs, settings: Settings, scribbles: Labels | None) -> LiveRun:
        self.let_go()  # which keeps what the run before has made, among that run's results
        self._results, self._wanted_count, self._kept, self._spots = Results(), None, None, []
        self._was_running = False
        return super()._start(inputs, settings, scribbles)

    # ------------------------------------------------------------------ run

    def run_again(self, layer: Labels) -> LiveRun:
        """Make the run of a result layer once more, with the strokes that arrived on its way, into a new layer.

        Parameters
        ----------
        layer : napari.layers.Labels
            A result of this plugin.

        Returns
        -------
        LiveRun

        Raises
        ------
        ValueError
            No result of a run, or its image is in no layer any more.
        """
        record = record_of(layer)
        run = self._start(inputs_of_record(self.viewer, record, layer), records.settings_of(record), None)
        self._wanted_count = record["result"].get("shown")
        return run

    # ------------------------------------------------------------------ look back

    @property
    def counts(self) -> tuple[int, ...]:
        """The label counts for which there is a map, rising; none where there is no result, or an earlier one."""
        result = None if self.run is None or self.running or self.can_redo else self.run.result
        return () if result is None else result.history.counts

    @property
    def count(self) -> int | None:
        """The label count that is shown."""
        return self._count

    @property
    def count_iteration(self) -> int | None:
        """After which iteration the map that is shown was made, where a single one made it."""
        if self.run is None or self.run.result is None or self._count is None:
            return None
        return self.run.result.history.iteration(self._count)

    def show_count(self, count: int) -> None:
        """Show the map with so many labels; each label keeps its color.

        Parameters
        ----------
        count : int
            One of `counts`.

        Raises
        ------
        ValueError
            Another count, or no result.
        """
        run, result = self._latest("choose a label count")
        labels = result.history.at(count)
        with run.writing() as (layer, *_):
            show_labels(layer, run.inputs.plane, labels)
        self._guides.hide(run.inputs.plane.layer)
        self._count = count
        kept = dict(layer.metadata.get(METADATA_KEY, {}))
        kept["result"] = {**kept.get("result", {}), "shown": None if count == result.n_labels else count}
        layer.metadata = {**layer.metadata, METADATA_KEY: kept}
        self.changed.emit()

    @property
    def can_undo(self) -> bool:
        """Whether there is an earlier result in this layer."""
        return not self.running and self._results.can_go_back

    @property
    def can_redo(self) -> bool:
        """Whether `undo` has left a later result."""
        return not self.running and self._results.can_go_on

    def undo(self) -> None:
        """Return to the result before the last strokes."""
        if self.can_undo:
            words = "This is the result before the last strokes, which stay painted. Redo returns to the later one."
            self._show(self._results.back(), words)

    def redo(self) -> None:
        """Take `undo` back."""
        if self.can_redo:
            later = self._results.on()
            self._show(later, "There is a later result yet: Redo." if self.can_redo else "This is the latest result.")

    def _keep(self, outcome: str) -> None:
        """A run has ended."""
        run = self.run
        result = None if run is None else run.result
        wanted, self._wanted_count = self._wanted_count, None
        if run is not None and result is not None and result is not self._kept:
            self._kept = result
            (metadata,) = run.inputs.metadata(result)
            self._results.add(run.packed(result), run.colors_of(result), metadata)
            self._count, self._spots = result.n_labels, []
            if wanted in self.counts:  # not where it was stopped before there were the same groups
                self.show_count(wanted)
        self.changed.emit()

    def _show(self, earlier: EarlierResult, words: str) -> None:
        run = self.run
        assert run is not None
        colors, metadata = earlier.colors, earlier.metadata
        try:
            with run.writing() as (layer, *_):
                finish_labels(layer, run.inputs.plane, earlier.labels, colors=colors, metadata=metadata)
        except ValueError as error:
            self.said.emit(f"Not shown: {error}.")
        else:
            self._count = None if self.can_redo or run.result is None else run.result.n_labels
            self._spots = []
            self._guides.hide(run.inputs.plane.layer)
            self.said.emit(words)
        self.changed.emit()

    def _latest(self, purpose: str) -> tuple[LiveRun, Segmentation]:
        """The run and its result; ValueError, which says what to do, where another one is shown, or none."""
        run = self.run
        if run is None or run.result is None or self.running:
            raise ValueError(f"there is no result yet; segment an image before you {purpose}")
        if self.can_redo:
            raise ValueError(f"an earlier result is shown; press Redo before you {purpose}")
        return run, run.result

    def _is_latest(self, result: Segmentation) -> bool:
        """Whether what was found out about a result is still of use."""
        is_there = self._is_followed and self.run is not None and self.run.result is result
        return is_there and not (self.running or self.can_redo)

    def segment_all_planes(self, *, adaptation: int = 0) -> StackRun:  # noqa: D102 - as in Steering
        self._latest("segment all planes")
        return super().segment_all_planes(adaptation=adaptation)

    def segment_whole_plane(self) -> StackRun:  # noqa: D102 - as in Steering
        self._latest("segment the whole plane")
        return super().segment_whole_plane()

    # ------------------------------------------------------------------ where a stroke helps

    def next_spot(self) -> None:
        """Move the camera to the region whose labels are least certain, then to the next one, with the brush ready.

        Raises
        ------
        ValueError
            No result, or an earlier one is shown.
        """
        run, result = self._latest("look for uncertain spots")
        if self._spots:
            self._go_to_spot()
            return
        if self._searched is result:
            return
        from napari_dfc.gui.background import Refusal, in_background

        self._searched, painted = result, run.inputs.strokes

        def found(spots: list[Spot] | Refusal) -> None:
            self._searched = None
            if not self._is_latest(result):
                return
            if isinstance(spots, Refusal):
                self.said.emit(f"Not found: {spots.reason}")
            elif not spots:
                self._guides.hide_outline()
                self.said.emit("Everything is about equally certain: no spot stands out.")
            else:
                self._spots = spots
                self._go_to_spot()

        def search() -> list[Spot]:
            spots = result.uncertain_spots(painted=painted)
            for spot in spots:
                _ = spot.outlines  # which are kept
            return spots

        in_background(search, found)

    def _go_to_spot(self) -> None:
        assert self.run is not None
        spot, plane = self._spots.pop(0), self.run.inputs.plane
        if plane.layer not in self.viewer.layers:
            self.said.emit("The image was deleted.")
            return
        look_at(self.viewer, plane, (spot.row, spot.column), max(spot.height, spot.width, LEAST_SPOT) / SPOT_SHARE)
        self._guides.show_outline(plane, spot)
        layer = self.run.strokes_layer
        if layer is None or layer not in self.viewer.layers:
            layer = self.new_scribbles(plane)
        begin_painting(self.viewer, layer)
        many = f"{len(self._spots)} more spot{'s' * (len(self._spots) != 1)}."
        more = many if self._spots else "That was the last one."
        what = "paint what it is."
        if self.run.result is None or not records.has_painted_classes(self.run.result.record):
            what = f"painted classes take the place of the {self.run.settings.split_into}, so paint each that you want."
        self.said.emit(f"Within the yellow line labels are least certain: {what} {more}")

    def show_confidence(self) -> None:
        """Show in an image layer how far each pixel's label lies above the second: 0 a coin toss, 1 certain.

        A later result on the same plane is shown in the same layer; until then it is hidden, once a run goes on or
        other labels are chosen.

        Raises
        ------
        ValueError
            No result, or an earlier one is shown.
        """
        run, result = self._latest("look at how certain labels are")
        from napari_dfc.gui.background import Refusal, in_background

        plane = run.inputs.plane

        def show(margin: NDArray[Any] | Refusal) -> None:
            if isinstance(margin, Refusal):
                self.said.emit(f"Not found: {margin.reason}")
            elif plane.layer in self.viewer.layers and self._is_latest(result):
                self._guides.show_certainty(plane, margin, run.layer)
                self.said.emit("Certainty: bright where labels are certain, dark where they are not. Its eye hides it.")

        in_background(lambda: result.margin, show)

    def _make_way(self) -> None:
        """What shows where labels are uncertain is out of date as soon as they change; so is what lies over them."""
        begins, self._was_running = self.running and not self._was_running, self.running
        if begins and self.run is not None:
            self._guides.hide(self.run.inputs.plane.layer)
            if self.stack_run is not None:
                self.stack_run.give_way(self.run)

    # ------------------------------------------------------------------ copy

    def as_python(self, layer: Labels | None = None) -> str:
        """Lines of Python that give a result's labels again, from napari's console.

        Parameters
        ----------
        layer : napari.layers.Labels, optional
            A result; by default that of the present run.

        Raises
        ------
        ValueError
            No result of a run.
        """
        return python_of(self.viewer, layer or self._result_layer)

    def as_command(self, layer: Labels | None = None) -> str:
        """A command line that writes a result's labels to a file; parameters and errors as in `as_python`."""
        return command_of(self.viewer, layer or self._result_layer)

    @property
    def is_edited(self) -> bool:
        """Whether the result's layer shows other labels than it was given: merged, painted or locked ones, say."""
        layer, present = self._result_layer, self._results.present
        if self.run is None or layer is None or present is None:
            return False
        shown = layer.metadata.get(METADATA_KEY, {}).get("result", {}).get("shown")
        given = present.labels if shown is None or self.run.result is None else self.run.result.history.at(shown)
        return not np.array_equal(layer.data, expand(self.run.inputs.plane, given))

    @property
    def _result_layer(self) -> Labels | None:
        return None if self.run is None or self.running else self.run.layer
