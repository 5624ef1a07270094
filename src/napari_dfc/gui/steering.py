"""Start a run in a viewer and steer it, without Qt."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from napari.layers import Image, Labels, Shapes
from psygnal import Signal

from napari_dfc import preset_file
from napari_dfc.gui.inputs import RunInputs, gather
from napari_dfc.gui.layers import ImagePlane, begin_painting, new_scribbles_layer
from napari_dfc.gui.screen import chosen_plane
from napari_dfc.settings import Settings

if TYPE_CHECKING:
    from pathlib import Path

    from napari.components import ViewerModel

    from napari_dfc.gui.live_run import LiveRun
    from napari_dfc.gui.stack_run import StackRun

__all__ = ["Steering"]

#: Pixels of the largest plane that is wholly covered by a strokes layer, where a part of it is segmented.
MOST_STROKE_PIXELS = 1 << 26


class Steering:
    """Run, hold, release, update: what a `Studio` does with a run while it goes on.

    Parameters
    ----------
    viewer : napari.Viewer

    Attributes
    ----------
    run : LiveRun or None
        The latest run.
    stack_run : StackRun or None
        The latest over all planes, or over the whole plane.
    changed : psygnal.Signal
        Emitted when what there is, or what can be done, has changed.
    said : psygnal.Signal
        Emits a sentence for the user.
    """

    changed = Signal()
    said = Signal(str)

    def __init__(self, viewer: ViewerModel) -> None:
        self.viewer = viewer
        self.run: LiveRun | None = None
        self.stack_run: StackRun | None = None
        self._live = True
        self._is_followed = False
        self._count: int | None = None  # of labels, where fewer or more than the run's are shown

    def segment(
        self,
        image: Image,
        scribbles: Labels | None = None,
        *,
        channels: Sequence[Image] = (),
        channel_axis: int | None = None,
        within: Labels | Shapes | None = None,
        level: int | None = 0,
        on_screen: bool = False,
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
        level : int or None
            Of a multiscale layer; 0 is the finest, None the one that is displayed now.
        on_screen : bool
            Only what of the plane is on screen now is segmented; then `segment_whole_plane` segments the rest.
        settings : Settings, optional

        Returns
        -------
        LiveRun

        Raises
        ------
        ValueError
            No plane is displayed, layers do not lie over each other, or there is nothing within or on screen.
        """
        plane = chosen_plane(self.viewer, image, channel_axis, level, on_screen=on_screen)
        inputs = gather(plane, scribbles, channels, self.viewer.dims.point, within=within, may_be_empty=True)
        return self._start(inputs, settings or Settings(), scribbles)

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

    def segment_all_planes(self, *, adaptation: int = 0) -> StackRun:
        """Give every plane of the stack the classes of the present result.

        Parameters
        ----------
        adaptation : int
            0: one network for all planes. Above, up to 50: the planes are visited from the result's own outward in both
            directions, along the first axis of the stack, and a copy of the network gets so many updates on each plane
            that shows something else than those before it; see `napari_dfc.series.predict_series`.

        Returns
        -------
        StackRun
            Which fills a new layer, plane by plane, and hides that of the one plane; ``stop()`` ends it and keeps those
            that are finished. The network is kept for “Apply a network”.

        Raises
        ------
        ValueError
            No result, no stack, regions, a label count that the network does not give, or an adaptation out of range.
        """
        from napari_dfc.gui.stack_run import stack_run

        return self._follow_stack_run(stack_run(self.run, self._count, adaptation))

    def segment_whole_plane(self) -> StackRun:
        """Give the whole plane the classes of the present result of a part of it, by one network that they share.

        Returns
        -------
        StackRun
            As of `segment_all_planes`, with a new layer over the whole plane, at the same level; that of the part is
            hidden.

        Raises
        ------
        ValueError
            No result, one of the whole plane, regions, or a label count that the network does not give.
        """
        from napari_dfc.gui.stack_run import whole_run

        return self._follow_stack_run(whole_run(self.run, self._count))

    def _follow_stack_run(self, run: StackRun) -> StackRun:
        self.stop_all_planes()
        self.stack_run = run
        run.progressed.connect(lambda progress: self.said.emit(progress.words))
        run.ended.connect(self._say)
        self.changed.emit()
        return run

    def stop_all_planes(self) -> None:
        """End `segment_all_planes` or `segment_whole_plane`, and keep the finished planes."""
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
        """Add an empty strokes layer over a plane, ready to paint; the run on this plane takes strokes from it.

        Of a plane with a window it covers the whole, for when the view moves, unless that is very large.
        """
        over = plane.whole if math.prod(plane.whole.shape) <= MOST_STROKE_PIXELS else plane
        layer = new_scribbles_layer(over, f"{plane.layer.name} strokes")
        self.viewer.add_layer(layer)
        begin_painting(self.viewer, layer)
        if self.run is not None and self.run.inputs.plane.whole == plane.whole:
            self.run.follow(layer)
        return layer

    def _start(self, inputs: RunInputs, settings: Settings, scribbles: Labels | None) -> LiveRun:
        from napari_dfc.gui.live_run import LiveRun

        self.let_go()
        run = LiveRun(self.viewer, inputs, settings, live=self.live)
        self.run, self._count, self._is_followed = run, None, True
        run.follow(scribbles)
        run.ended.connect(self._keep)
        run.changed.connect(self.changed.emit)
        run.said.connect(self._say)
        self.changed.emit()
        return run

    def _keep(self, outcome: str) -> None:
        """A run has ended."""
        self.changed.emit()

    def let_go(self) -> None:
        """Follow the present run no longer; what it shows stays."""
        self._is_followed = False
        if self.run is not None:
            self.run.stop()
            self.run.unfollow()
            self.run.ended.disconnect(self._keep, missing_ok=True)
            self.run.changed.disconnect(self.changed.emit, missing_ok=True)
            self.run.said.disconnect(self._say, missing_ok=True)

    def _say(self, words: str) -> None:
        self.said.emit(words)  # psygnal emits something of its own when a signal's own emit is connected

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
