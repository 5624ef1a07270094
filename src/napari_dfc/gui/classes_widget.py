"""The widget "Classes": look a segmentation over, name, merge, hide and lock its classes, split and measure them."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from magicgui.widgets import CheckBox, ComboBox, Label, SpinBox
from napari.layers import Labels

from napari_dfc.edits import History
from napari_dfc.gui.background import CancellableWorker, Refusal
from napari_dfc.gui.class_buttons import ClassButtons
from napari_dfc.gui.class_table import ClassTable
from napari_dfc.gui.dialogs import ask_where_to_save_table
from napari_dfc.gui.dock import LayerDock
from napari_dfc.gui.form import labeled, stacked
from napari_dfc.gui.layers import METADATA_KEY, add_over
from napari_dfc.gui.outcome import Outcome
from napari_dfc.gui.pixel_grid import image_under

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dfc.legend import Legend

__all__ = ["ClassesWidget"]

NO_LABELS = "There is no segmentation yet: make one with Layers > Segment > Segment, or open a Labels layer."

#: Pixels of a layer that are counted at once, in some milliseconds; those of larger ones beside the window.
FEW_PIXELS = 2**19

#: Rows of the table, at most: it would take a second to fill for thousands of objects.
MOST_CLASSES = 200


class ClassesWidget(LayerDock):
    """Dock widget in which the classes of any Labels layer are edited.

    Parameters
    ----------
    napari_viewer : napari.Viewer
        Or a `napari.components.ViewerModel`.

    Attributes
    ----------
    outcome : Outcome or None
        Of the chosen layer; all that the buttons do are its methods.
    """

    def __init__(self, napari_viewer: ViewerModel) -> None:
        super().__init__(napari_viewer)
        self.outcome: Outcome | None = None
        self._outcomes: dict[Labels, Outcome] = {}  # of all layers that were chosen, with what can be undone there
        self._chosen_layer: Labels | None = None
        self._counting = self._busy = False
        self._trouble = ""
        self.labels = ComboBox(
            label="Segmentation", choices=self.label_layers, tooltip="The Labels layer whose classes are shown below."
        )
        self.image = ComboBox(
            label="Image",
            choices=self.image_layers,
            nullable=True,
            tooltip="The image that lies under the segmentation. Its brightness is measured in every class or object.",
        )
        self.intro = Label(value="Choose classes in the table, then what to do with them.")
        self.table = ClassTable()
        self.note = Label()
        self.only_chosen = CheckBox(
            text="Show only the chosen class", tooltip="Hide all others, to check one class. The brush paints with it."
        )
        self.min_size = SpinBox(
            label="Least size",
            value=20,
            min=1,
            max=10**9,
            tooltip="Objects of fewer pixels are left out: dirt and noise.",
        )
        self.fill_holes = CheckBox(
            text="Fill holes", value=True, tooltip="An object takes what it encloses, such as a nucleolus in a nucleus."
        )
        self.each_plane = CheckBox(
            text="Each plane by itself",
            tooltip="Of time series: what lies in one plane is another object than what lies in the next. Leave it off "
            "for volumes.",
        )
        self.buttons = ClassButtons()
        self._lay_out()
        self._connect()

    # ------------------------------------------------------------------ what the buttons do

    def split_chosen(self) -> CancellableWorker | None:
        """Split the chosen class into objects, beside the window; None where it can't, with the reason in `status`."""
        outcome, chosen = self.outcome, self.table.chosen
        if outcome is None or self._busy or len(chosen) != 1:
            return None
        each_plane = self.each_plane.value and outcome.layer.ndim > 2
        options = {"min_size": self.min_size.value, "fill_holes": self.fill_holes.value, "each_plane": each_plane}
        try:
            splitting = outcome.splitting(chosen[0], **options)
        except ValueError as error:
            self.say(str(error))
            return None

        def add(found: Any) -> None:
            layer = outcome.objects_layer(splitting, found)
            add_over(self._viewer, layer, outcome.layer)
            outcome.layer.visible = False  # it would shine through
            self.labels.value = layer
            number = len(found[1]["index"])
            self.say(f"{number} object{'s' * (number != 1)} found and measured, in the layer “{layer.name}”.")

        return self._beside_the_window("Looking for objects ...", splitting.objects, add)

    def measure_all(self) -> CancellableWorker | None:
        """Measure every class, beside the window; None where it can't, with the reason in `status`."""
        outcome = self.outcome
        if outcome is None or self._busy:
            return None
        try:
            work = outcome.measuring()
        except ValueError as error:
            self.say(str(error))
            return None

        def take(found: Any) -> None:
            number = outcome.take_measures(found)
            self.say(
                f"{number} measured. Point at one in the image to read its measures in the status bar, "
                "or save the table."
            )

        return self._beside_the_window("Measuring ...", work, take)

    def save_table(self, path: Path, overwrite: bool = False) -> None:
        """Write the table; where it can't be, `status` says why."""
        if self.outcome is not None:
            outcome = self.outcome
            self._attempt(lambda: outcome.save_table(path, overwrite), f"Saved as {path.name}.")

    # ------------------------------------------------------------------ what is shown

    def refresh(self) -> None:
        """Say what can be done with what is chosen."""
        outcome, rows = self.outcome, [self.table.rows[number] for number in self.table.chosen]
        there = outcome is not None and not self._busy and self._is_ready()
        refusal = outcome.refusal if outcome is not None else ""
        hint = self._trouble or refusal or ("" if self.labels.value is not None else NO_LABELS)
        if there and not self.table.rows:
            hint = hint or "Nothing is labeled in this layer yet: paint, or choose another one."
        self.hint.value, self.hint.visible, self.intro.visible = hint, bool(hint), not hint
        self.status.visible = bool(self.status.value)
        self.only_chosen.enabled = there and (len(rows) == 1 or self.only_chosen.value)
        history = outcome.history if outcome is not None and there else History()
        self.buttons.offer(rows if there else [], there and bool(self.table.rows), not refusal, history)
        self.each_plane.visible = outcome is not None and outcome.layer.ndim > 2

    def offer_layers(self) -> None:
        """List the layers anew; where none was chosen, the active result is, or the topmost; else any."""
        layers, active = self.label_layers(), self._viewer.layers.selection.active
        for layer in self._outcomes.keys() - {*layers}:
            self._outcomes.pop(layer).let_go()
        self.image.reset_choices()
        with self.labels.changed.blocked():
            self.labels.reset_choices()
            if self._chosen_layer not in layers and layers:
                made = [layer for layer in layers if METADATA_KEY in layer.metadata] or layers
                self.labels.value = active if active in made else made[-1]
        self.take_layer()

    def take_layer(self) -> None:
        """Show the chosen layer."""
        layer = self.labels.value
        if layer is not None and layer is self._chosen_layer:
            return
        self._drop()
        self._chosen_layer = layer
        self.table.clear_rows()
        self.status.value = self._trouble = ""
        if layer is not None:
            try:
                self.outcome = self._outcome_of(layer)
            except ValueError as error:
                self._trouble = str(error)
        if self.outcome is not None:
            self.outcome.changed.connect(self._count)
            with self.image.changed.blocked():
                self.image.value = self.outcome.image
        self._count()

    def let_go(self) -> None:
        """The dock is gone: no layer is followed any longer, and all classes are shown."""
        self._drop()
        for outcome in self._outcomes.values():
            outcome.let_go()
        self._outcomes.clear()

    # ------------------------------------------------------------------ within

    def _outcome_of(self, layer: Labels) -> Outcome:
        """What there is of a layer since it was chosen for the first time; ValueError where it can't be edited."""
        if layer not in self._outcomes:
            self._outcomes[layer] = Outcome(layer)
        outcome, there = self._outcomes[layer], self.image_layers()[::-1]
        before = [image for image in (outcome.image, self.image.value) if image in there]
        outcome.image = image_under(layer, [*before, *there])
        return outcome

    def _count(self) -> None:
        """Count the classes where it has to be done, beside the window where that takes long, and show them."""
        outcome = self.outcome
        if outcome is None or outcome.counted or self._counting:
            self._show_classes()
            return

        def take(found: Any) -> None:
            self._counting = False
            if outcome is self.outcome:
                self._trouble = found.reason if isinstance(found, Refusal) else ""
                if not self._trouble:
                    outcome.take_counts(found)
            if self._trouble:
                self._show_classes()
            else:
                self._count()  # for the labels may have changed again

        self._counting = True
        if self._is_small(outcome):
            try:
                take(outcome.counting()())
            except (ValueError, TypeError) as error:
                take(Refusal(str(error)))
        else:
            self._show_classes()
            self.in_background(outcome.counting(), take)

    def _show_classes(self) -> None:
        outcome = self.outcome
        rows = [] if outcome is None or self._trouble else outcome.rows(fresh=False, most=MOST_CLASSES)
        if outcome is not None:
            self.table.show_rows(rows, outcome.grid)
        else:
            self.table.clear_rows()
        self.table.setVisible(bool(rows))
        n_classes = outcome.n_classes if outcome is not None else 0
        words = f"The {len(rows)} largest of {n_classes} are shown." if n_classes > len(rows) > 0 else ""
        self.note.value = "Counting ..." if self._counting and not self._is_ready() else words
        self.note.visible = bool(self.note.value)
        self.refresh()

    def _is_ready(self) -> bool:
        """Whether the classes have been counted, or can be at once."""
        return self.outcome is not None and (self.outcome.counted or self._is_small(self.outcome))

    @staticmethod
    def _is_small(outcome: Outcome) -> bool:
        return math.prod(outcome.layer.data.shape) <= FEW_PIXELS

    def _attempt(self, action: Callable[[], Any], words: str = "") -> None:
        """Do something, and say these words; or why it could not be done."""
        try:
            action()
        except (ValueError, TypeError, OSError) as error:
            words = str(error)
        self.status.value = words
        self._show_classes()

    def _beside_the_window(self, words: str, work: Callable[[], Any], done: Callable[[Any], None]) -> CancellableWorker:
        def take(found: Any) -> None:
            self._busy = False
            self.status.value = found.reason if isinstance(found, Refusal) else ""
            if not isinstance(found, Refusal):
                try:
                    done(found)
                except ValueError as error:
                    self.status.value = str(error)
            self.refresh()

        self._busy = True
        self.say(words)
        return self.in_background(work, take)

    def _do(self, name: str, *numbers: int) -> None:
        """What a button does, by the name of the outcome's method."""
        if self.outcome is not None:
            self._attempt(partial(getattr(self.outcome, name.lower()), *numbers))

    def _do_to_chosen(self, name: str) -> None:
        self._do(name, *self.table.chosen)

    def _take_legend(self, legend: Legend) -> None:
        """A class was named or colored in the table."""
        if self.outcome is None:
            return
        for entry, row in zip(legend, list(self.table.rows.values()), strict=True):
            if entry.name != row.name:
                self._attempt(partial(self.outcome.rename, entry.number, entry.name))
            if entry.color != row.color:
                self._attempt(partial(self.outcome.recolor, entry.number, entry.color))

    def _take_choice(self) -> None:
        """Classes were chosen: the brush paints with a single one, which alone is shown where that is wanted."""
        outcome, chosen = self.outcome, self.table.chosen
        if outcome is not None and len(chosen) == 1 and self._is_ready():
            if self.only_chosen.value:
                outcome.highlight(chosen[0])
            else:
                outcome.layer.selected_label = chosen[0]
        self.refresh()

    def _show_only_chosen(self, only: bool) -> None:
        chosen = self.table.chosen
        if self.outcome is not None and (not only or len(chosen) == 1):
            self.outcome.highlight(chosen[0] if only else None)
        self.refresh()

    def _take_image(self) -> None:
        if self.outcome is not None:
            self.outcome.image = self.image.value

    def _drop(self) -> None:
        """Show the layer no longer."""
        if self.outcome is not None:
            self.outcome.changed.disconnect(self._count)
            if self.only_chosen.value:
                self.only_chosen.value = False
        self.outcome = self._chosen_layer = None

    # ------------------------------------------------------------------ once

    def _lay_out(self) -> None:
        pairs = [
            (self.buttons.merge, self.buttons.background),
            (self.buttons.hide, self.buttons.lock),
            (self.buttons.measure, self.buttons.save),
        ]
        edit, look, measure = (stacked(pair, layout="horizontal") for pair in pairs)
        steps = stacked([self.buttons.undo, self.buttons.redo], layout="horizontal")
        rows = [
            self.intro,
            labeled(self.labels),
            labeled(self.image),
            self.hint,
            self.note,
            edit,
            look,
            self.only_chosen,
            steps,
        ]
        rows += [labeled(self.min_size), self.fill_holes, self.each_plane, self.buttons.split, measure, self.status]
        wrapped = (self.intro, self.note, self.hint, self.status)
        self.lay_out(rows, wrapped=wrapped, layer_boxes=(self.labels, self.image))
        layout = self._rows.native.layout()
        layout.insertWidget(layout.indexOf(self.note.native), self.table)

    def _connect(self) -> None:
        self.labels.changed.connect(self.take_layer)
        self.image.changed.connect(self._take_image)
        self.table.legend_changed.connect(self._take_legend)
        self.table.refused.connect(self.say)
        self.table.chosen_changed.connect(self._take_choice)
        self.buttons.merge.changed.connect(lambda: self._do_to_chosen("merge"))
        self.buttons.background.changed.connect(lambda: self._do_to_chosen("mark_background"))
        self.buttons.hide.changed.connect(lambda: self._do_to_chosen(self.buttons.hide.text))  # hide or show
        self.buttons.lock.changed.connect(lambda: self._do_to_chosen(self.buttons.lock.text))
        self.only_chosen.changed.connect(self._show_only_chosen)
        self.buttons.split.changed.connect(self.split_chosen)
        self.buttons.measure.changed.connect(self.measure_all)
        self.buttons.save.changed.connect(self._ask_and_save)
        self.buttons.undo.changed.connect(lambda: self._do("undo"))
        self.buttons.redo.changed.connect(lambda: self._do("redo"))
        self.follow_viewer()

    def _ask_and_save(self) -> None:
        if self.outcome is not None:
            path = ask_where_to_save_table(self.native, f"{self.outcome.layer.name} classes")
            if path is not None:
                self.save_table(path, overwrite=True)  # the dialog has asked
