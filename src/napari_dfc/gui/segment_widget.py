"""The Segment widget: choose an image, press Run, watch, stop when it looks right."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Container, Label, ProgressBar, PushButton, Select
from napari.layers import Image, Labels
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QComboBox, QScrollArea, QWidget

from napari_dfc.gui.background import Progress
from napari_dfc.gui.form import SettingsForm, labeled, preferred_settings, stacked
from napari_dfc.gui.inputs import RunInputs, gather
from napari_dfc.gui.layers import ImagePlane, displayed_plane, full_resolution, new_scribbles_layer
from napari_dfc.gui.worker import LayerRun

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["SegmentWidget"]

NO_IMAGE = "Open an image first: File > Open, or File > Open Sample > DFC segmentation."


#: Least width of the dock, in pixels: room for the longest row and a vertical scroll bar.
DOCK_WIDTH = 310


class _DockWatcher(QObject):
    """Tells when napari closes the dock of a widget: it takes the widget out, and destroys it at some later time."""

    def __init__(self, widget: QWidget, closed: Callable[[], None]) -> None:
        super().__init__(widget)
        self._closed = closed
        widget.installEventFilter(self)

    def eventFilter(self, widget: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        if event.type() == QEvent.Type.ParentChange and widget.parent() is None:
            self._closed()
        return False


class SegmentWidget(Container[Any]):
    """Dock widget that segments the displayed plane of an image layer.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Or a `napari.components.ViewerModel`.

    Attributes
    ----------
    run : LayerRun or None
        The latest run started here.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(labels=False)
        self._viewer = napari_viewer
        self.run: LayerRun | None = None
        self.image = ComboBox(
            label="Image",
            choices=self._image_layers,
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
            choices=self._label_layers,
            nullable=True,
            tooltip="A Labels layer with a few painted strokes for each class you want; optional.",
        )
        self.new_scribbles = PushButton(
            text="New strokes layer",
            tooltip="Add an empty Labels layer over the image, ready to paint: one label number for each class.",
        )
        self.form = SettingsForm(preferred_settings())
        self.start_button = PushButton(text="Run", tooltip="Segment the displayed plane into a new Labels layer.")
        self.stop_button = PushButton(text="Stop", tooltip="End now and keep the labels on screen.", enabled=False)
        self.progress = ProgressBar(value=0, max=1, visible=False)
        self.hint = Label()
        self.estimate = Label(tooltip="What a run with these settings takes; see Memory limit under Advanced.")
        self.status = Label()
        self._lay_out()
        self._connect()

    @property
    def running(self) -> bool:
        """Whether a run started here goes on."""
        return self.run is not None and self.run.running

    def start(self) -> LayerRun | None:
        """Start a run with what the widget shows; None where it can't, with the reason in `hint`."""
        if self.running:
            return None
        self.refresh()
        if not self.start_button.enabled:
            return None
        settings = self.form.settings()
        inputs = self._inputs()
        self.run = LayerRun(self._viewer, inputs, settings)
        self.run.progressed.connect(self._show_progress)
        self.run.ended.connect(self._show_outcome)
        self._show_progress(Progress(0, settings.n_updates(inputs.has_strokes), "Starting ..."))
        self.refresh()
        return self.run

    def stop(self) -> None:
        """End the run and keep what there is."""
        if self.run is not None:
            self.run.stop()

    def add_scribbles(self) -> Labels | None:
        """Add an empty strokes layer over the displayed plane, ready to paint; None where no plane is displayed."""
        try:
            plane = self._plane()
        except ValueError:  # the hint says why
            return None
        layer = new_scribbles_layer(plane, f"{self.image.value.name} strokes")
        self._viewer.add_layer(layer)
        self.scribbles.value = layer
        layer.brush_size = 4
        layer.mode = "paint"
        return layer

    def refresh(self) -> None:
        """Say whether a run can start, and why not."""
        reason, estimate = ("", "") if self.running else self._look_ahead()
        self.start_button.enabled = not (self.running or reason)
        self.stop_button.enabled = self.running
        self.hint.value, self.estimate.value = reason, estimate
        self.hint.visible, self.estimate.visible = bool(reason), bool(estimate)
        self.status.visible = bool(self.status.value)
        self.progress.visible = self.running

    # ------------------------------------------------------------------ what there is to choose from

    def _image_layers(self, _: Any = None) -> list[Image]:
        return [layer for layer in self._viewer.layers if isinstance(layer, Image)]

    def _label_layers(self, _: Any = None) -> list[Labels]:
        return [layer for layer in self._viewer.layers if isinstance(layer, Labels)]

    def _other_images(self, _: Any = None) -> list[Image]:
        return [layer for layer in self._image_layers() if layer is not self.image.value]

    def _channel_axes(self, _: Any = None) -> list[tuple[str, int]]:
        layer = self.image.value
        if layer is None or layer.ndim < 3:
            return []
        lengths = full_resolution(layer).shape
        return [(f"axis {axis}, {lengths[axis]} channels", axis) for axis in range(layer.ndim - 2)]

    # ------------------------------------------------------------------ what is chosen

    def _plane(self) -> ImagePlane:
        if self.image.value is None:
            raise ValueError(NO_IMAGE)
        return displayed_plane(self.image.value, self._viewer.dims, self.channel_axis.value)

    def _inputs(self) -> RunInputs:
        return gather(self._plane(), self.scribbles.value, self._chosen_others(), self._viewer.dims.point)

    def _chosen_others(self) -> list[Image]:
        return [layer for layer in self.others.value if layer is not self.image.value]

    def _look_ahead(self) -> tuple[str, str]:
        """Why no run can start, in words, and what it will take; the one or the other is empty."""
        try:
            plan = self._inputs().plan(self.form.settings())
        except (ValueError, TypeError) as error:
            return str(error), ""
        return "", f"Takes {plan}."

    # ------------------------------------------------------------------ what happens meanwhile

    def _show_progress(self, progress: Progress) -> None:
        self.progress.max = progress.total
        self.progress.value = progress.done
        self.status.value = progress.words

    def _show_outcome(self, outcome: str) -> None:
        self.status.value = outcome
        self.refresh()

    def _follow_layers(self) -> None:
        """Layers came, went or changed their order."""
        for layer in self._viewer.layers:
            self._unfollow_layer(layer)
            layer.events.name.connect(self._offer_layers)
            layer.events.data.connect(self.refresh)
            if isinstance(layer, Labels):
                layer.events.labels_update.connect(self.refresh)
        self._offer_layers()
        self._follow_image()

    def _offer_layers(self) -> None:
        """Fill the combo boxes anew, under the layers' present names."""
        self._rows.reset_choices()

    def _unfollow_layer(self, layer: Any) -> None:
        layer.events.name.disconnect(self._offer_layers)
        layer.events.data.disconnect(self.refresh)
        if isinstance(layer, Labels):
            layer.events.labels_update.disconnect(self.refresh)

    def _follow_image(self) -> None:
        """Another image is chosen: offer what belongs to it."""
        self.others.reset_choices()
        self.channel_axis.reset_choices()
        self._others_row.visible = bool(self._other_images())
        self._channel_axis_row.visible = bool(self._channel_axes())
        self.new_scribbles.enabled = self.image.value is not None
        self.refresh()

    # ------------------------------------------------------------------ once

    def _lay_out(self) -> None:
        self._others_row, self._channel_axis_row = labeled(self.others), labeled(self.channel_axis)
        inputs = [labeled(self.image), self._channel_axis_row, self._others_row, labeled(self.scribbles)]
        buttons = stacked([self.start_button, self.stop_button], layout="horizontal")
        rows = [*inputs, self.new_scribbles, self.form, buttons, self.progress, self.hint, self.estimate, self.status]
        self._rows = Container(widgets=rows, labels=False)
        self._rows.native.layout().addStretch()
        # magicgui's own scrollable container is no use: napari docks its inner widget, which then doesn't scroll
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setWidget(self._rows.native)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setMinimumWidth(DOCK_WIDTH)
        self.native.layout().addWidget(scroll)
        self.margins = (0, 0, 0, 0)
        self.start_button.native.setObjectName("run")
        self.stop_button.native.setObjectName("stop")
        for words in (self.hint, self.estimate, self.status):
            words.native.setWordWrap(True)
        self.others.native.setMaximumHeight(70)
        for box in (self.image, self.channel_axis, self.scribbles):  # a layer's long name must not widen the dock
            box.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
            box.native.setMinimumContentsLength(8)

    def _connect(self) -> None:
        layers, dims = self._viewer.layers.events, self._viewer.dims.events
        of_layers = (layers.inserted, layers.removed, layers.reordered)
        of_dims = (dims.ndisplay, dims.order, dims.current_step, dims.ndim)
        self._followed = [(event, self._follow_layers) for event in of_layers]
        self._followed += [(event, self.refresh) for event in of_dims]
        for event, follow in self._followed:
            event.connect(follow)
        self.image.changed.connect(self._follow_image)
        for widget in (self.channel_axis, self.others, self.scribbles, self.form):
            widget.changed.connect(self.refresh)
        self.start_button.changed.connect(self.start)
        self.stop_button.changed.connect(self.stop)
        self.new_scribbles.changed.connect(self.add_scribbles)
        self._dock_watcher = _DockWatcher(self.native, self._let_go)
        self.native.destroyed.connect(self._let_go)
        self._follow_layers()

    def _let_go(self) -> None:
        """The dock is gone: follow the viewer no longer, and end the run, keeping what there is."""
        for event, follow in self._followed:
            event.disconnect(follow)
        self._followed = []
        for layer in self._viewer.layers:
            self._unfollow_layer(layer)
        if self.run is not None:
            self.run.progressed.disconnect(self._show_progress, missing_ok=True)
            self.run.ended.disconnect(self._show_outcome, missing_ok=True)
            self.run.stop()
