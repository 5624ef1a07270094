"""All that the Segment dock can do, for napari's console and for scripts: the dock only binds to it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels, Shapes
from numpy.typing import NDArray
from psygnal import Signal

from napari_dfc import preset_file, records
from napari_dfc.gui.copies import command_of, python_of, record_of
from napari_dfc.gui.inputs import RunInputs, gather, inputs_of_record
from napari_dfc.gui.layers import (
    METADATA_KEY,
    ImagePlane,
    displayed_plane,
    finish_labels,
    look_at,
    new_image_layer,
    new_scribbles_layer,
    show_labels,
)
from napari_dfc.gui.results import EarlierResult, Results
from napari_dfc.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel

    from napari_dfc.gui.live_run import LiveRun
    from napari_dfc.gui.stack_run import StackRun
    from napari_dfc.uncertainty import Spot

__all__ = ["Studio"]

#: How much of the canvas an uncertain spot takes.
SPOT_SHARE = 0.25

#: What a smaller spot counts as, in pixels.
LEAST_SPOT = 24


class Studio:
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
        The latest over all planes.
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

    changed = Signal()
    said = Signal(str)

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.run: LiveRun | None = None
        self.stack_run: StackRun | None = None
        self._live = True
        self._results = Results()
        self._count: int | None = None
        self._wanted_count: int | None = None
        self._spots: list[Spot] = []

    # ------------------------------------------------------------------ run

    def segment(
        self,
        image: Image,
        scribbles: Labels | None = None,
        *,
        channels: Sequence[Image] = (),
        channel_axis: int | None = None,
        within: Labels | Shapes | None = None,
        level: int = 0,
        settings: Settings | None = None,
    ) -> LiveRun:
        """Start to segment the displayed plane of an image layer; strokes that follow take effect.

        Parameters
        ----------
        image : napari.layers.Image
        scribbles : napari.layers.Labels, optional
        channels : sequence of napari.layers.Image
            Further layers whose channels are used together with the image's.
        channel_axis : int, optional
        within : napari.layers.Labels or Shapes, optional
            Only what is painted or drawn in it is segmented.
        level : int
            Of a multiscale layer; 0 is the finest.
        settings : Settings, optional

        Returns
        -------
        LiveRun

        Raises
        ------
        ValueError
            No plane is displayed, layers do not lie over each other, or there is nothing within.
        """
        plane = displayed_plane(image, self.viewer.dims, channel_axis, level)
        inputs = gather(plane, scribbles, channels, self.viewer.dims.point, within=within, may_be_empty=True)
        return self._start(inputs, settings or Settings(), scribbles)

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

    def stop(self) -> None:
        """End the run at once and keep what there is."""
        if self.run is not None:
            self.run.stop()

    def hold(self) -> None:
        """Make no more iterations until `release`."""
        if self.run is not None:
            self.run.hold()

    def release(self) -> None:
        """Go on after `hold`."""
        if self.run is not None:
            self.run.release()

    def update(self) -> None:
        """Take the strokes as they are and make a single update."""
        if self.run is not None:
            self.run.update()

    def segment_all_planes(self) -> StackRun:
        """Give every plane of the stack the classes of the present result, by one network that they share.

        Returns
        -------
        StackRun
            Which fills a new layer, plane by plane; ``stop()`` ends it and keeps those that are finished. The network
            is kept for “Apply a network”.

        Raises
        ------
        ValueError
            No result, no stack, regions, or a label count that the network does not give.
        """
        from napari_dfc.gui.stack_run import stack_run

        self.stop_all_planes()
        self.stack_run = run = stack_run(self.run, self._count)
        run.progressed.connect(lambda progress: self.said.emit(progress.words))
        run.ended.connect(self.said.emit)
        self.changed.emit()
        return run

    def stop_all_planes(self) -> None:
        """End `segment_all_planes` and keep the finished planes."""
        if self.stack_run is not None:
            self.stack_run.stop()

    @property
    def live(self) -> bool:
        """Whether strokes take effect as soon as they are painted."""
        return self._live

    @live.setter
    def live(self, live: bool) -> None:
        self._live = live
        if self.run is not None:
            self.run.live = live
        self.changed.emit()

    @property
    def running(self) -> bool:
        """Whether a run goes on."""
        return self.run is not None and self.run.running

    def new_scribbles(self, plane: ImagePlane) -> Labels:
        """Add an empty strokes layer over a plane, ready to paint; the run on this plane takes strokes from it."""
        layer = new_scribbles_layer(plane, f"{plane.layer.name} strokes")
        self.viewer.add_layer(layer)
        self._begin_painting(layer)
        if self.run is not None and self.run.inputs.plane == plane:
            self.run.follow(layer)
        return layer

    def _begin_painting(self, layer: Labels) -> None:
        self.viewer.layers.selection.active = layer
        layer.brush_size = 4
        layer.mode = "paint"

    def _start(self, inputs: RunInputs, settings: Settings, scribbles: Labels | None) -> LiveRun:
        from napari_dfc.gui.live_run import LiveRun

        self.let_go()
        run = LiveRun(self.viewer, inputs, settings, live=self.live)
        self.run = run
        self._results, self._count, self._spots = Results(), None, []
        self._wanted_count = None
        run.follow(scribbles)
        run.ended.connect(self._keep)
        run.changed.connect(self.changed.emit)
        self.changed.emit()
        return run

    def let_go(self) -> None:
        """Follow the present run no longer; what it shows stays."""
        if self.run is not None:
            self.run.stop()
            self.run.unfollow()
            self.run.ended.disconnect(self._keep, missing_ok=True)
            self.run.changed.disconnect(self.changed.emit, missing_ok=True)

    # ------------------------------------------------------------------ settings as files

    def save_settings(self, path: Path, settings: Settings, name: str = "", *, overwrite: bool = False) -> None:
        """Write settings to a file; parameters and errors as in `napari_dfc.preset_file.save_settings`."""
        preset_file.save_settings(path, settings, name, overwrite=overwrite)
        self.said.emit(f"Saved as {path.name}.")

    def open_settings(self, path: Path) -> Settings:
        """The settings of a file; errors as in `napari_dfc.preset_file.read_settings`."""
        found = preset_file.read_settings(path)
        self.said.emit(f"These are the settings “{found.name}”.")
        return found.settings

    # ------------------------------------------------------------------ look back

    @property
    def counts(self) -> tuple[int, ...]:
        """The label counts for which there is a map, rising; empty while there is no result."""
        result = None if self.run is None or self.running else self.run.result
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
        run = self.run
        if run is None or run.result is None or self.running:
            raise ValueError("there is no result to choose label counts of; segment an image first")
        labels = run.result.history.at(count)
        layer = run.layer
        if layer is None or layer not in self.viewer.layers:
            raise ValueError("the result's layer was deleted; segment the image once more")
        self._count = count
        show_labels(layer, run.inputs.plane, labels)
        kept = dict(layer.metadata.get(METADATA_KEY, {}))
        kept["result"] = {**kept.get("result", {}), "shown": None if count == run.result.n_labels else count}
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
            self._show(self._results.back())

    def redo(self) -> None:
        """Take `undo` back."""
        if self.can_redo:
            self._show(self._results.on())

    def _keep(self, outcome: str) -> None:
        """A run has ended."""
        run = self.run
        if run is not None and run.result is not None and run.layer is not None:
            result = run.result
            (metadata,) = run.inputs.metadata(result)
            self._results.add(result.labels, run.inputs.colors(result.numbers_during_run), metadata)
            self._count, self._spots = result.n_labels, []
            if self._wanted_count is not None:
                wanted, self._wanted_count = self._wanted_count, None
                self.show_count(wanted)
        self.changed.emit()

    def _show(self, earlier: EarlierResult) -> None:
        run = self.run
        if run is None or run.layer is None or run.layer not in self.viewer.layers:
            self.said.emit("The result's layer was deleted; segment the image once more.")
            return
        colors, metadata = earlier.colors, earlier.metadata
        finish_labels(run.layer, run.inputs.plane, earlier.labels, colors=colors, metadata=metadata)
        self.changed.emit()

    # ------------------------------------------------------------------ where a stroke helps

    def next_spot(self) -> None:
        """Move the camera to the region whose labels are least certain, then to the next one, with the brush ready."""
        run = self.run
        if run is None or run.result is None or self.running:
            self.said.emit("Segment an image first; then this shows where a stroke helps most.")
            return
        if self._spots:
            self._go_to_spot()
            return
        from napari_dfc.gui.background import Refusal, in_background

        result, painted = run.result, run.inputs.strokes

        def found(spots: list[Spot] | Refusal) -> None:
            if run is not self.run or self.running:
                return
            if isinstance(spots, Refusal):
                self.said.emit(f"Not found: {spots.reason}")
            elif not spots:
                self.said.emit("Everything is about equally certain: no spot stands out.")
            else:
                self._spots = spots
                self._go_to_spot()

        in_background(lambda: result.uncertain_spots(painted=painted), found)

    def _go_to_spot(self) -> None:
        assert self.run is not None
        spot, plane = self._spots.pop(0), self.run.inputs.plane
        if plane.layer not in self.viewer.layers:
            self.said.emit("The image was deleted.")
            return
        look_at(self.viewer, plane, (spot.row, spot.column), max(spot.height, spot.width, LEAST_SPOT) / SPOT_SHARE)
        layer = self.run.strokes_layer
        if layer is None or layer not in self.viewer.layers:
            layer = self.new_scribbles(plane)
        self._begin_painting(layer)
        more = f"{len(self._spots)} more such spots." if self._spots else "That was the last one."
        self.said.emit(f"About {spot.score:.0f} pixels here may have a wrong label: paint what it is. {more}")

    def show_confidence(self) -> None:
        """Add an image layer of how far each pixel's label lies above the second: 0 a coin toss, 1 certain."""
        run = self.run
        if run is None or run.result is None:
            self.said.emit("Segment an image first; then this shows how certain its labels are.")
            return
        from napari_dfc.gui.background import Refusal, in_background

        result, plane = run.result, run.inputs.plane

        def show(margin: NDArray[Any] | Refusal) -> None:
            if isinstance(margin, Refusal):
                self.said.emit(f"Not found: {margin.reason}")
            elif plane.layer in self.viewer.layers:
                self.viewer.add_layer(new_image_layer(plane, margin, f"{plane.layer.name} certainty"))

        in_background(lambda: result.margin, show)

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
    def _result_layer(self) -> Labels | None:
        return None if self.run is None or self.running else self.run.layer
