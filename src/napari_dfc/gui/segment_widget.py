"""The Segment widget: choose an image, press Run, watch, stop when it looks right."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Label, PushButton, Select
from napari.layers import Labels, Shapes
from qtpy.QtCore import QTimer

from napari_dfc.gui.background import CancellableWorker, Refusal
from napari_dfc.gui.dock import NO_IMAGE, Dock
from napari_dfc.gui.form import SettingsForm, labeled, stacked
from napari_dfc.gui.guides import is_guide
from napari_dfc.gui.inputs import gather
from napari_dfc.gui.layers import METADATA_KEY, ImagePlane, channel_axes, levels
from napari_dfc.gui.live_run import LiveRun
from napari_dfc.gui.preferences import preferences, remember, starting_settings
from napari_dfc.gui.region import FollowedRegion
from napari_dfc.gui.run_controls import RunControls
from napari_dfc.gui.screen import camera_of, chosen_plane
from napari_dfc.gui.settings_files import SettingsFiles
from napari_dfc.gui.shortcuts import shortcuts_of
from napari_dfc.gui.studio import Studio

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_dfc.model import Model

__all__ = ["SegmentWidget"]

#: Among the layers that hold a region: the part of the image that is on screen.
ON_SCREEN = "On screen now"

#: Among the levels: the one that napari displays.
AS_DISPLAYED = -1

#: Time without a further move after which the view counts as chosen, in milliseconds.
VIEW_PAUSE = 150

#: Pixels of the list of further images: three names.
LIST_HEIGHT = 70


class SegmentWidget(Dock):
    """Dock widget that segments the displayed plane of an image layer.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Or a `napari.components.ViewerModel`.

    Attributes
    ----------
    studio : Studio
        What the buttons do, for scripts.
    run : LiveRun or None
        The latest run started here.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(
            napari_viewer,
            start={"text": "Run", "tooltip": "Segment the displayed plane into a new Labels layer."},
            stop={"text": "Stop", "tooltip": "End now and keep the labels on screen."},
        )
        self._followed_region = FollowedRegion()
        self.image = ComboBox(
            label="Image",
            choices=self.image_layers,
            tooltip="The image layer to segment; of a stack or a time series, the plane that is displayed.",
        )
        self.others = Select(
            label="With channels of",
            choices=self._other_images,
            tooltip="Further image layers of the same size whose channels are used together with the image's, such as "
            "other stains. Ctrl+click chooses several or none.",
        )
        self.channel_axis = ComboBox(
            label="Channel axis",
            choices=self._channel_axes,
            nullable=True,
            tooltip="For a layer with a slider for its channels: the axis that holds them. They are used together.",
        )
        self.scribbles = ComboBox(
            label="Strokes",
            choices=self.label_layers,
            nullable=True,
            tooltip="A Labels layer with a few painted strokes for each class you want; optional.",
        )
        self.within = ComboBox(
            label="Only within",
            choices=self._regions,
            nullable=True,
            tooltip="A layer in which you drew rectangles, ellipses or polygons (Shapes), or painted (Labels), or "
            "“On screen now”, what you see of the image: only this is segmented, which is faster. “Segment the whole "
            "plane” then gives the rest of the image the same classes. Optional.",
        )
        self.level = ComboBox(
            label="Resolution",
            choices=self._levels,
            tooltip="Of an image that is kept at several resolutions, such as a whole slide: the one to segment. A "
            "coarser one is faster and shows larger structures; the result lies over the image all the same. "
            "“As displayed” is the one that you see now, which changes as you zoom.",
        )
        self.new_scribbles = PushButton(
            text="New strokes layer",
            tooltip="Add an empty Labels layer over the image, ready to paint: one label number for each class.",
        )
        self.form = SettingsForm(starting_settings())
        self._moves = 0
        self.studio = Studio(napari_viewer)
        self.studio.live = preferences().live
        self.files = SettingsFiles(self.form, self.studio)
        self.controls = RunControls(self.studio)
        self.keep_button = PushButton(
            text="Keep network",
            tooltip="Keep what this run has learned: “Apply a network” then gives other images the same classes. "
            "Groups are kept by “Train on references”.",
        )
        self.estimate = Label(tooltip="What a run with these settings takes; see Memory limit under Advanced.")
        self._lay_out()
        self._connect()

    def start(self) -> LiveRun | None:
        """Start a run with what the widget shows; None where it can't, with the reason in `hint`."""
        if not self.can_start() or self.image.value is None:
            return None
        run = self.studio.segment(
            self.image.value,
            self.scribbles.value,
            channels=self._chosen_others(),
            channel_axis=self.channel_axis.value,
            within=self._region(),
            level=self._level(),
            on_screen=self._is_on_screen,
            settings=self.form.settings(),
        )
        remember(run.settings)
        return run

    def let_go(self) -> None:
        """The dock is gone: end the run, keeping what there is, and follow strokes no longer."""
        shortcuts_of(self._viewer).close(self)
        self._followed_region.let_go()
        self.studio.stop_all_planes()
        self.studio.let_go()
        self.studio.changed.disconnect(self._follow_studio, missing_ok=True)
        self.studio.said.disconnect(self.say, missing_ok=True)

    def keep_network(self) -> CancellableWorker | None:
        """Keep the network of the last run for “Apply a network”, once it is measured; None where there is none."""
        run = self.run
        if run is None or run.result is None or not self._has_network():
            return None
        name = f"{run.inputs.names[0]} network"

        def keep(model: Model | Refusal) -> None:
            self.keep_button.enabled = True
            if isinstance(model, Refusal):
                self.say(f"Not kept: {model.reason}")
                return
            kept_as = self._networks.new_name(name)
            self._networks.keep(kept_as, run.as_shown(model))
            self.say(f"Kept as “{kept_as}”: see “Apply a network”.")

        self.keep_button.enabled = False
        self.say("Measuring the image, to keep the network ...")
        return self.in_background(partial(run.model_of, run.result), keep)

    def add_scribbles(self) -> Labels | None:
        """Add an empty strokes layer over the displayed plane, ready to paint; None where no plane is displayed."""
        try:
            plane = self._plane()
        except ValueError:  # the hint says why
            return None
        self.scribbles.value = layer = self.studio.new_scribbles(plane)
        return layer

    def _follow_studio(self) -> None:
        """A run was started, or what can be done with it has changed."""
        run = self.studio.run
        if run is not None and run is not self.run:
            self.follow_run(run, run.settings.n_updates(run.inputs.has_strokes))
            run.progressed.connect(self.controls.draw)
        followed = None if run is None or run.inputs.plane.layer is not self.image.value else run.strokes_layer
        if followed is not None and followed is not self.scribbles.value and followed in self.scribbles.choices:
            self.scribbles.value = followed  # made for an uncertain spot, say: the next run begins with it
        self.refresh()

    def _choose_strokes(self) -> None:
        """Strokes in another layer count from now on, where a run on this image has not been let go."""
        run = self.studio.run
        if run is not None and run.inputs.plane.layer is self.image.value:
            run.follow(self.scribbles.value)
        self.refresh()

    def refresh(self) -> None:
        """Say whether a run can start, and why not."""
        reason, estimate = ("", "") if self.running else self._look_ahead()
        self.show_state(reason)
        self.estimate.value, self.estimate.visible = estimate, bool(estimate)
        self.keep_button.visible = not self.running and self._has_network()
        self.controls.refresh()

    # ------------------------------------------------------------------ what there is to choose from

    def _other_images(self, _: Any = None) -> list[Image]:
        return [layer for layer in self.image_layers() if layer is not self.image.value]

    def _channel_axes(self, _: Any = None) -> list[tuple[str, int]]:
        return channel_axes([] if self.image.value is None else [self.image.value])

    def _regions(self, _: Any = None) -> list[tuple[str, Any]]:
        drawn = [layer for layer in self._viewer.layers if isinstance(layer, Labels | Shapes)]
        layers = [layer for layer in drawn if not is_guide(layer)]
        return [(ON_SCREEN, ON_SCREEN), *((layer.name, layer) for layer in layers)]

    def _levels(self, _: Any = None) -> list[tuple[str, int]]:
        found = levels(self.image.value)
        return [*found, ("As displayed", AS_DISPLAYED)] if found else []

    # ------------------------------------------------------------------ what is chosen

    def _plane(self) -> ImagePlane:
        if self.image.value is None:
            raise ValueError(NO_IMAGE)
        kind = (self.channel_axis.value, self._level())
        return chosen_plane(self._viewer, self.image.value, *kind, on_screen=self._is_on_screen)

    @property
    def _is_on_screen(self) -> bool:
        return bool(self.within.value == ON_SCREEN)

    def _region(self) -> Labels | Shapes | None:
        return None if self._is_on_screen else self.within.value

    def _level(self) -> int | None:
        return None if self.level.value == AS_DISPLAYED else self.level.value or 0

    def _chosen_others(self) -> list[Image]:
        return [layer for layer in self.others.value if layer is not self.image.value]

    def _look_ahead(self) -> tuple[str, str]:
        """Why no run can start, in words, and what it will take; the one or the other is empty."""
        point, region = self._viewer.dims.point, self._region()
        try:
            plane = self._plane()
            inputs = gather(plane, self.scribbles.value, self._chosen_others(), point, may_be_empty=True)
            window = None
            if region is None:
                self._followed_region.let_go()
            else:
                window = self._followed_region.window(region, plane, point)
            plan = inputs.plan(self.form.settings(), window)
        except (ValueError, TypeError) as error:
            return str(error), ""
        rows, columns = inputs.plane.shape
        seen = f"On screen are {columns} x {rows} pixels. " if self._is_on_screen else ""
        return "", f"{seen}Takes {plan}.{_warning_of(self.scribbles.value)}"

    def _has_network(self) -> bool:
        """Whether the last run's classes are those of a network, and not pieces by votes."""
        result = None if self.run is None or self.studio.can_redo else self.run.result
        return result is not None and result.record["result"]["split_into"] == "clusters"

    # ------------------------------------------------------------------ what is offered

    def offer_layers(self) -> None:
        """Fill the combo boxes anew, under the layers' present names."""
        self._rows.reset_choices()
        self._follow_image()

    def _follow_image(self) -> None:
        """Another image is chosen: offer what belongs to it."""
        self.others.reset_choices()
        self.channel_axis.reset_choices()
        self.level.reset_choices()
        self._others_row.visible = bool(self._other_images())
        self._channel_axis_row.visible = bool(self._channel_axes())
        self._level_row.visible = len(self._levels()) > 1
        self.new_scribbles.enabled = self.image.value is not None
        self.refresh()

    def _choose_region(self) -> None:
        """What is on screen is meant as it is seen; another resolution can be chosen all the same."""
        if self._is_on_screen and self._levels():
            self.level.value = AS_DISPLAYED
        self.refresh()

    def _follow_view(self) -> None:
        """The camera moves: once it rests, say what is on screen."""
        self._moves += 1
        moves = self._moves
        if self._is_on_screen or self.level.value == AS_DISPLAYED:
            QTimer.singleShot(VIEW_PAUSE, lambda: self.refresh() if moves == self._moves and self._followed else None)

    # ------------------------------------------------------------------ once

    def _lay_out(self) -> None:
        self._others_row, self._channel_axis_row = labeled(self.others), labeled(self.channel_axis)
        self._level_row = labeled(self.level)
        inputs = [labeled(self.image), self._level_row, self._channel_axis_row, self._others_row]
        inputs += [labeled(self.within), labeled(self.scribbles)]
        buttons = stacked([self.start_button, self.stop_button], layout="horizontal")
        told = [self.progress, self.hint, self.estimate, self.status]
        rows = [*inputs, self.new_scribbles, self.form, self.files, buttons, *told, self.controls, self.keep_button]
        boxes = (self.image, self.level, self.channel_axis, self.within, self.scribbles)
        self.lay_out(rows, wrapped=(self.hint, self.estimate, self.status), layer_boxes=boxes)
        self.start_button.native.setObjectName("run")
        self.stop_button.native.setObjectName("stop")
        self.others.native.setMaximumHeight(LIST_HEIGHT)
        self._others_row.native.setMaximumHeight(LIST_HEIGHT)

    def _connect(self) -> None:
        self.image.changed.connect(self._follow_image)
        for widget in (self.channel_axis, self.others, self.level, self.form):
            widget.changed.connect(self.refresh)
        self.within.changed.connect(self._choose_region)
        self.scribbles.changed.connect(self._choose_strokes)
        self.studio.changed.connect(self._follow_studio)
        self.studio.said.connect(self.say)
        self.keep_button.changed.connect(self.keep_network)
        self.new_scribbles.changed.connect(self.add_scribbles)
        self.follow_viewer(self._viewer.layers.selection.events.active)
        camera = camera_of(self._viewer).events
        for event in (camera.center, camera.zoom):
            event.connect(self._follow_view)
            self._followed.append((event, self._follow_view))
        buttons = {"run": self.start_button, "stop": self.stop_button, **self.controls.with_shortcuts}
        shortcuts_of(self._viewer).open(self, buttons)


def _warning_of(strokes: Labels | None) -> str:
    """What who chooses a result in place of strokes should know."""
    if strokes is None or not strokes.metadata.get(METADATA_KEY):
        return ""
    return f" “{strokes.name}” is a result: all of its labels count as painted."
