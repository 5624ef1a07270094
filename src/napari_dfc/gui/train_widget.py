"""The widget "Train on references": tick images, train, name the classes, keep or save the network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, Label, LineEdit, PushButton

from napari_dfc.files import read_image
from napari_dfc.gui.background import CancellableWorker, Refusal
from napari_dfc.gui.colors import name_classes
from napari_dfc.gui.dialogs import ask_for_images, ask_where_to_save
from napari_dfc.gui.dock import NO_IMAGE, Dock
from napari_dfc.gui.form import SettingsForm, labeled, stacked
from napari_dfc.gui.inputs import TrainingInputs, gather
from napari_dfc.gui.layers import (
    add_image_file,
    add_over,
    begin_painting,
    channel_axes,
    displayed_plane,
    new_scribbles_layer,
)
from napari_dfc.gui.legend_table import LegendTable
from napari_dfc.gui.preferences import preferences
from napari_dfc.gui.reference_list import ReferenceList
from napari_dfc.gui.training_run import TrainingRun

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from napari_dfc.legend import Legend

__all__ = ["TrainWidget"]


class TrainWidget(Dock):
    """Dock widget that trains one network on several image layers at once.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Or a `napari.components.ViewerModel`.

    Attributes
    ----------
    run : TrainingRun or None
        The latest run started here.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(
            napari_viewer,
            start={
                "text": "Train",
                "tooltip": "Train one network on all ticked images at once; it shows on each what it says.",
            },
            stop={"text": "Stop", "tooltip": "End now and keep what was learned; once more gives it up."},
        )
        self._kept_as = ""
        self.intro = Label(value="Tick the images to learn from; strokes on some of them say what the classes are.")
        self.references = ReferenceList()
        self.new_scribbles = PushButton(
            text="New strokes layer",
            tooltip="Add an empty Labels layer over the selected image, or the first ticked one, ready to paint: one "
            "label number for each class.",
        )
        self.add_files_button = PushButton(
            text="Add files ...", tooltip="Open image files as layers and tick them as references."
        )
        self.channel_axis = ComboBox(
            label="Channel axis",
            choices=self._channel_axes,
            nullable=True,
            tooltip="For layers with a slider for their channels: the axis that holds them, in all references alike.",
        )
        self.form = SettingsForm(preferences().settings())
        self.estimate = Label(tooltip="What the training takes; see Memory limit under Advanced.")
        self.legend = LegendTable()
        self.legend_hint = Label(value="Double-click a name or a color to change it.")
        self.network_name = LineEdit(
            label="Network name", value="network", tooltip="By which “Apply a network” offers it while napari runs."
        )
        self.save_button = PushButton(
            text="Save network ...", tooltip="Write it to a file, to use it on another day or on another computer."
        )
        self._lay_out()
        self._connect()

    def start(self) -> TrainingRun | None:
        """Train on what is ticked; None where it can't, with the reason in `hint`."""
        if not self.can_start():
            return None
        settings = self.form.settings()
        inputs = self._inputs()
        self._kept_as = ""
        run = TrainingRun(self._viewer, inputs, settings)
        self.follow_run(run, settings.n_updates(inputs.has_strokes))
        return run

    def add_files(self, paths: Sequence[Path]) -> list[Image]:
        """Open image files as layers and tick them; what cannot be read is said in `status`."""
        added, failures = [], []
        for path in paths:
            try:
                layer, axis = add_image_file(self._viewer, path.stem, read_image(path))
            except (OSError, ValueError) as error:
                failures.append(str(error))
                continue
            added.append(layer)
            self.references.tick(layer)
            offered = [choice for _, choice in self._channel_axes()]
            if axis in offered:
                self.channel_axis.value = axis
            elif axis is not None:
                failures.append(f"{path.name} has its channels on axis {axis}, unlike the other ticked images.")
        self.status.value = " ".join(failures)
        self.refresh()
        return added

    def add_scribbles(self) -> Labels | None:
        """Add an empty strokes layer over the selected image, which is ticked, else the first ticked one; or None."""
        ticked = [image for image, _ in self.references.chosen]
        active = self._viewer.layers.selection.active
        if active in self.image_layers():
            image = active
        elif ticked:
            image = ticked[0]
        else:
            return None
        try:
            plane = displayed_plane(image, self._viewer.dims, self.channel_axis.value if image.ndim > 2 else None)
        except ValueError:  # the hint says why
            return None
        self.references.tick(image)
        layer = new_scribbles_layer(plane, f"{image.name} strokes")
        add_over(self._viewer, layer, image)
        begin_painting(self._viewer, layer)
        self.references.choose_strokes(image, layer)
        return layer

    def save(self, path: Path, *, overwrite: bool = False) -> CancellableWorker | None:
        """Write the network to a file in a thread; where it can't be, `status` says why. None where there is none."""
        if self.run is None or self.run.model is None:
            return None

        def saved(outcome: Refusal | None) -> None:
            self.say(f"Not saved: {outcome.reason}" if isinstance(outcome, Refusal) else f"Saved as {path.name}.")

        self.say(f"Saving {path.name} ...")
        return self.in_background(partial(self.run.model.save, path, overwrite=overwrite), saved)

    def refresh(self) -> None:
        """Say whether a run can start, and why not."""
        reason, estimate = ("", "") if self.running else self._look_ahead()
        self.show_state(reason)
        self.estimate.value, self.estimate.visible = estimate, bool(estimate)
        has_model = not self.running and self.run is not None and self.run.model is not None
        self.legend.setVisible(has_model)
        self._network_row.visible = self.save_button.visible = self.legend_hint.visible = has_model

    def offer_layers(self) -> None:
        """List the image layers anew; those that are selected when they first appear are ticked."""
        selected = [layer for layer in self._viewer.layers.selection if layer in self.image_layers()]
        self.references.offer(self.image_layers(), self.label_layers(), selected)
        self.channel_axis.reset_choices()
        self._channel_axis_row.visible = bool(self._channel_axes())
        self.refresh()

    def let_go(self) -> None:
        """The dock is gone: end the training."""
        if self.run is not None:
            self.run.give_up()

    # ------------------------------------------------------------------ what is chosen

    def _channel_axes(self, _: Any = None) -> list[tuple[str, int]]:
        return channel_axes([image for image, _ in self.references.chosen])

    def _inputs(self) -> TrainingInputs:
        if not self.image_layers():
            raise ValueError(NO_IMAGE)
        chosen = self.references.chosen
        if not chosen:
            raise ValueError("Tick one image or more to learn from.")
        dims, axis = self._viewer.dims, self.channel_axis.value
        planes = [displayed_plane(image, dims, axis if image.ndim > 2 else None) for image, _ in chosen]
        pairs = zip(planes, (strokes for _, strokes in chosen), strict=True)
        return TrainingInputs(tuple(gather(plane, strokes, point=dims.point) for plane, strokes in pairs))

    def _look_ahead(self) -> tuple[str, str]:
        """Why no run can start, in words, and what it will take; the one or the other is empty."""
        try:
            inputs, settings = self._inputs(), self.form.settings()
            if not inputs.has_strokes and settings.split_into == "regions":
                return "Regions are pieces of one image and no classes of others: split into groups, or paint.", ""
            plan = inputs.plan(settings)
        except (ValueError, TypeError) as error:
            return str(error), ""
        kind = settings.split_into
        number = f"{settings.n_groups} groups" if kind == "groups" else kind
        without = "" if inputs.has_strokes else f" No strokes are chosen: the classes will be {number}."
        return "", f"Takes {plan}.{without}"

    # ------------------------------------------------------------------ what happens meanwhile

    def show_outcome(self, outcome: str) -> None:
        """The training has ended: name its classes, and keep its network where there is one."""
        if self.run.model is not None:
            self.legend.show_legend(self.run.model.legend)
            self._kept_as = self._networks.new_name(self.network_name.value or "network")
            self.network_name.value = self._kept_as
            self._networks.keep(self._kept_as, self.run.model)
        super().show_outcome(outcome)

    def _take_legend(self, legend: Legend) -> None:
        """Classes were named or colored."""
        if self.run is None or self.run.model is None:
            return
        names = {entry.number: entry.name for entry in legend}
        colors = {entry.number: entry.color for entry in legend}
        self.run.model = self.run.model.named(names).colored(colors)
        self._networks.keep(self._kept_as, self.run.model)
        for layer in self.run.layers:
            name_classes(layer, legend)

    def rename(self) -> None:
        """Keep the network under the name in the field, or with a number behind it where it is taken."""
        wanted = self.network_name.value.strip()
        if self._kept_as and wanted and wanted != self._kept_as:
            new = self._networks.new_name(wanted)
            self._networks.rename(self._kept_as, new)
            self._kept_as = new
        self.network_name.value = self._kept_as or wanted

    # ------------------------------------------------------------------ once

    def _lay_out(self) -> None:
        self._channel_axis_row, self._network_row = labeled(self.channel_axis), labeled(self.network_name)
        buttons = stacked([self.start_button, self.stop_button], layout="horizontal")
        above = [
            self.intro,
            self.references,
            self.new_scribbles,
            self.add_files_button,
            self._channel_axis_row,
            self.form,
            buttons,
        ]
        rows = [*above, self.progress, self.hint, self.estimate, self.status]
        rows += [self.legend_hint, self._network_row, self.save_button]
        words = (self.intro, self.hint, self.estimate, self.status, self.legend_hint)
        self.lay_out(rows, wrapped=words, layer_boxes=[self.channel_axis])
        layout = self._rows.native.layout()
        layout.insertWidget(layout.indexOf(self._network_row.native), self.legend)
        self.start_button.native.setObjectName("train")

    def _connect(self) -> None:
        self.references.changed.connect(self.offer_channels)
        for widget in (self.channel_axis, self.form):
            widget.changed.connect(self.refresh)
        self.new_scribbles.changed.connect(self.add_scribbles)
        self.add_files_button.changed.connect(lambda: self.add_files(ask_for_images(self.native)))
        self.save_button.changed.connect(self._ask_and_save)
        self.network_name.native.editingFinished.connect(self.rename)
        self.legend.legend_changed.connect(self._take_legend)
        self.legend.refused.connect(self.say)
        self.follow_viewer()

    def offer_channels(self) -> None:
        """Other references are ticked: offer their axes."""
        self.channel_axis.reset_choices()
        self._channel_axis_row.visible = bool(self._channel_axes())
        self.refresh()

    def _ask_and_save(self) -> None:
        path = ask_where_to_save(self.native, self._kept_as or "network")
        if path is not None:
            self.save(path, overwrite=True)  # the dialog has asked
