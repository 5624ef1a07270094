from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QPushButton

import napari_dfc as dfc
from napari_dfc.devices import choose_device, load_torch
from napari_dfc.gui.dock import NO_IMAGE
from napari_dfc.gui.layers import METADATA_KEY
from napari_dfc.gui.networks import networks_of
from napari_dfc.gui.segment_widget import SegmentWidget
from napari_dfc.gui.worker import LayerRun

Wait = Callable[[LayerRun], LayerRun]


@pytest.fixture
def widget(viewer: ViewerModel, qtbot: QtBot) -> SegmentWidget:
    widget = SegmentWidget(viewer)
    qtbot.addWidget(widget.native)
    widget.native.show()
    shorten(widget, 8)
    return widget


def shorten(widget: SegmentWidget, iterations: int) -> None:
    """Little to compute, and no early end."""
    chosen = {"split_into": "clusters", "max_iterations": iterations, "n_channels": 12, "min_labels": 1}
    for name, value in chosen.items():
        widget.form.control(name).value = value


def hint(widget: SegmentWidget) -> str:
    return widget.hint.value if widget.hint.visible else ""


# ---------------------------------------------------------------------- can it run, and why not


def test_without_an_image_it_says_what_to_do(widget: SegmentWidget) -> None:
    assert not widget.start_button.enabled
    assert hint(widget) == NO_IMAGE
    assert widget.start() is None
    assert widget.add_scribbles() is None


def test_an_opened_image_is_chosen_and_can_run(widget: SegmentWidget, image: Image) -> None:
    assert widget.image.value is image
    assert widget.start_button.enabled
    assert hint(widget) == ""


def test_a_deleted_image_is_no_longer_offered(widget: SegmentWidget, viewer: ViewerModel, image: Image) -> None:
    viewer.layers.remove(image)
    assert widget.image.value is None
    assert not widget.start_button.enabled


def test_a_renamed_image_is_offered_by_its_new_name(widget: SegmentWidget, image: Image) -> None:
    image.name = "renamed"
    assert [str(choice) for choice in widget.image.choices] == ["renamed"]
    assert widget.image.value is image


def test_a_stack_in_3d_display_cannot_run(widget: SegmentWidget, viewer: ViewerModel) -> None:
    viewer.add_image(np.zeros((4, 16, 16)), name="stack")
    assert widget.start_button.enabled
    viewer.dims.ndisplay = 3
    assert not widget.start_button.enabled
    assert "switch to 2-D display" in hint(widget)
    viewer.dims.ndisplay = 2
    assert widget.start_button.enabled


def test_a_run_may_start_with_unpainted_strokes_and_takes_them_once_they_are_painted(
    widget: SegmentWidget, image: Image, finish: Wait
) -> None:
    strokes = widget.add_scribbles()
    assert widget.start_button.enabled
    run = widget.start()
    assert run.strokes_layer is strokes
    strokes.paint((10, 10), 1)
    strokes.paint((50, 60), 2)
    finish(run)
    assert set(np.unique(run.layer.data)) == {1, 2}


def test_strokes_of_another_size_cannot_run(widget: SegmentWidget, viewer: ViewerModel, image: Image) -> None:
    strokes = viewer.add_labels(np.ones((5, 5), np.uint8), name="strokes")
    widget.scribbles.value = strokes
    assert "“strokes” has 5 x 5 pixels and “cells” 72 x 64" in hint(widget)


def test_new_strokes_lie_over_the_image_and_are_ready_to_paint(
    widget: SegmentWidget, viewer: ViewerModel, tissue: np.ndarray
) -> None:
    image = viewer.add_image(tissue, name="cells", scale=(2, 3), translate=(4, 5), axis_labels=("y", "x"))
    strokes = widget.add_scribbles()
    assert strokes.data.shape == (64, 72)
    assert strokes.scale.tolist() == image.scale.tolist()
    assert strokes.translate.tolist() == image.translate.tolist()
    assert strokes.axis_labels == image.axis_labels
    assert strokes.mode == "paint"
    assert widget.scribbles.value is strokes
    assert viewer.layers.selection == {strokes}


# ---------------------------------------------------------------------- running


def test_buttons_are_named_and_run_and_stop(
    widget: SegmentWidget, viewer: ViewerModel, image: Image, filled: Wait
) -> None:
    shorten(widget, 100_000)
    run, stop = (widget.native.findChild(QPushButton, name) for name in ("run", "stop"))
    assert run.isEnabled()
    assert not stop.isEnabled()
    run.click()
    assert widget.running
    assert not run.isEnabled()
    assert stop.isEnabled()
    filled(widget.run)
    assert widget.progress.visible
    assert widget.status.value.startswith("Iteration ")
    stop.click()
    assert not widget.running
    assert run.isEnabled()
    assert not stop.isEnabled()
    assert not widget.progress.visible
    assert "stopped by the user" in widget.status.value
    assert widget.run.layer.data.min() == 1


def test_running_twice_quickly_starts_one_run(widget: SegmentWidget, image: Image, finish: Wait) -> None:
    first = widget.start()
    assert widget.start() is None
    assert finish(first) is widget.run


def test_outcome_is_shown_and_a_second_run_makes_a_second_layer(
    widget: SegmentWidget, viewer: ViewerModel, image: Image, finish: Wait
) -> None:
    finish(widget.start())
    assert widget.status.value == widget.run.outcome
    finish(widget.start())
    assert len(viewer.layers) == 3


def test_displayed_plane_of_a_time_series_is_segmented_and_lies_there(
    widget: SegmentWidget, viewer: ViewerModel, tissue: np.ndarray, finish: Wait
) -> None:
    series = np.stack([np.zeros_like(tissue[..., 0]), tissue[..., 0], tissue[..., 1]])
    viewer.add_image(series, name="series", scale=(5, 1, 1))
    viewer.dims.set_current_step(0, 2)
    run = widget.start()
    viewer.dims.set_current_step(0, 0)  # moving on does not move the result
    finish(run)
    assert run.layer.data.shape == (1, 64, 72)
    assert run.layer.translate.tolist() == [10, 0, 0]
    assert run.layer.metadata[METADATA_KEY]["source"]["position"] == {"0": 2}


def test_further_layers_are_channels(
    widget: SegmentWidget, viewer: ViewerModel, tissue: np.ndarray, finish: Wait
) -> None:
    red, green, blue = (viewer.add_image(tissue[..., channel], name=f"stain {channel}") for channel in range(3))
    widget.image.value = red
    widget.others.value = [green, blue]
    separate = finish(widget.start())
    together = viewer.add_image(tissue)
    widget.others.value = []
    widget.image.value = together
    np.testing.assert_array_equal(finish(widget.start()).layer.data, separate.layer.data)
    assert separate.layer.metadata["napari_dfc"]["source"]["layers"] == ["stain 0", "stain 1", "stain 2"]


def test_a_channel_axis_is_segmented_as_one_image(
    widget: SegmentWidget, viewer: ViewerModel, tissue: np.ndarray, finish: Wait
) -> None:
    viewer.add_image(np.moveaxis(tissue, -1, 0), name="channels first")
    widget.channel_axis.value = 0
    separate = finish(widget.start())
    assert separate.layer.data.shape == (64, 72)
    widget.image.value = viewer.add_image(tissue)
    np.testing.assert_array_equal(finish(widget.start()).layer.data, separate.layer.data)


def test_channel_axis_is_offered_for_stacks_only(widget: SegmentWidget, viewer: ViewerModel, image: Image) -> None:
    assert not widget._channel_axis_row.visible
    widget.image.value = viewer.add_image(np.zeros((3, 16, 16)))
    assert widget._channel_axis_row.visible


def test_a_hidden_choice_of_the_last_image_is_forgotten(
    widget: SegmentWidget, viewer: ViewerModel, image: Image
) -> None:
    widget.image.value = viewer.add_image(np.zeros((3, 16, 16)))
    widget.channel_axis.value = 0
    widget.image.value = image
    assert widget.channel_axis.value is None


# ---------------------------------------------------------------------- the form


def test_a_preset_fills_in_its_values_and_keeps_device_and_seed(widget: SegmentWidget) -> None:
    widget.form.control("seed").value = 7
    widget.form.control("preset").value = "paper"
    settings = widget.form.settings()
    assert (settings.preset, settings.max_iterations, settings.continuity_weight) == ("paper", 500, 5.0)
    assert settings.seed == 7


def test_advanced_settings_unfold(widget: SegmentWidget) -> None:
    assert not widget.form.control("momentum").visible
    widget.form.unfold()
    assert widget.form.control("momentum").visible
    widget.form.unfold()
    assert not widget.form.control("momentum").visible


def test_every_control_has_a_tooltip(widget: SegmentWidget) -> None:
    for name in widget.form.settings().as_dict():
        assert widget.form.control(name).tooltip
    for control in (widget.image, widget.others, widget.channel_axis, widget.scribbles, widget.new_scribbles):
        assert control.tooltip


# ---------------------------------------------------------------------- the widget goes away


def test_destroying_the_widget_ends_its_run_and_follows_the_viewer_no_longer(
    viewer: ViewerModel, image: Image, qtbot: QtBot, filled: Wait
) -> None:
    widget = SegmentWidget(viewer)
    shorten(widget, 100_000)
    run = filled(widget.start())
    gone: list[bool] = []
    widget.native.destroyed.connect(lambda: gone.append(True))  # PySide6 fails to disconnect qtbot.waitSignal's slot
    widget.native.deleteLater()
    qtbot.waitUntil(lambda: bool(gone))
    assert not run.running
    assert run.layer.data.min() == 1
    viewer.add_image(image.data)
    viewer.dims.ndisplay = 3
    run.layer.data = np.ones((3, 3), np.uint8)


def test_what_a_run_will_take_is_said_and_follows_the_settings(widget: SegmentWidget, image: Image) -> None:
    expected = dfc.Run(image.data, settings=widget.form.settings()).plan
    assert widget.estimate.value == f"Takes {expected}."
    widget.form.control("n_channels").value = 128
    larger = dfc.Run(image.data, settings=widget.form.settings()).plan
    assert larger.bytes > expected.bytes
    assert widget.estimate.value == f"Takes {larger}."
    widget.form.control("preset").value = "paper"
    assert widget.estimate.value == f"Takes {dfc.Run(image.data, settings=widget.form.settings()).plan}."


def test_nothing_is_foretold_where_no_run_can_start(widget: SegmentWidget) -> None:
    assert widget.estimate.value == ""
    assert not widget.estimate.visible


def test_a_device_that_is_not_there_is_a_reason_in_words(widget: SegmentWidget, image: Image) -> None:
    load_torch()
    widget.form.control("device").value = "cuda" if choose_device().name != "cuda" else "mps"
    assert not widget.start_button.enabled
    assert "accepted here" in widget.hint.value
    widget.form.control("device").value = "cpu"
    assert widget.start_button.enabled


def test_the_network_of_painted_classes_is_kept_in_their_colors(
    widget: SegmentWidget, viewer: ViewerModel, image: Image, finish: Wait, qtbot: QtBot
) -> None:
    strokes = widget.add_scribbles()
    strokes.data[4, 4:20], strokes.data[50, 4:20] = 3, 7
    strokes.refresh()
    assert not widget.keep_button.visible
    finish(widget.start())
    assert widget.keep_button.visible
    worker = widget.keep_network()
    qtbot.waitUntil(lambda: bool(len(networks_of(viewer))) and not worker.is_running, timeout=30_000)
    model = networks_of(viewer)["cells network"]
    assert model.legend.numbers == (3, 7)
    assert model.legend[3].color == "#" + "".join(f"{round(255 * part):02x}" for part in strokes.get_color(3)[:3])
    np.testing.assert_array_equal(model.predict(image.data).labels, widget.run.layer.data)
    assert "Kept as “cells network”" in widget.status.value


def test_groups_have_no_network_to_keep(widget: SegmentWidget, image: Image, finish: Wait) -> None:
    for name, value in {"split_into": "groups", "region_iterations": 2}.items():
        widget.form.control(name).value = value
    finish(widget.start())
    assert not widget.keep_button.visible
    assert widget.keep_network() is None


def test_strokes_that_are_no_longer_chosen_do_not_count(
    widget: SegmentWidget, image: Image, qtbot: QtBot, finish: Wait
) -> None:
    strokes = widget.add_scribbles()
    run = finish(widget.start())
    widget.scribbles.value = None
    strokes.data_setitem((np.full(9, 20), np.arange(10, 19)), 1)
    qtbot.wait(150)
    assert not run.running
    widget.scribbles.value = strokes
    assert widget.status.value.startswith(f"Press Run to begin anew with the strokes in “{strokes.name}”")
    qtbot.wait(150)
    assert not run.running
    widget.studio.update()
    qtbot.waitUntil(lambda: run.running, timeout=5000)
    finish(run)
    assert run.layer.metadata[METADATA_KEY]["strokes"][-1]["pixels"].keys() == {"1"}


def test_a_dock_that_is_gone_is_called_by_nothing(
    widget: SegmentWidget, viewer: ViewerModel, image: Image, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = viewer.add_image(image.data)
    viewer.layers.remove(other)
    calls = []
    monkeypatch.setattr(type(widget.controls), "refresh", lambda controls: calls.append(controls))
    other.name = "gone"
    assert not calls
    viewer.layers.selection.active = None
    viewer.layers.selection.active = image
    assert calls
    widget._let_go()
    calls.clear()
    viewer.layers.selection.active = None
    image.name = "still there"
    assert not calls


def test_of_long_names_both_ends_are_seen(widget: SegmentWidget, viewer: ViewerModel, image: Image) -> None:
    box = widget.image.native
    box.resize(150, box.sizeHint().height())
    pictures = []
    for name in ("12, experiment of May, well B3, GFP", "12, experiment of May, well B3, RFP", "GFP", "GFX"):
        image.name = name
        pictures.append(box.grab().toImage())
    assert pictures[0] != pictures[1]
    assert pictures[2] != pictures[3]
    image.name = "12, experiment of May, well B3, GFP"
    assert box.grab().toImage() == pictures[0]
    image.name = "15, experiment of May, well B3, GFP"
    assert box.grab().toImage() != pictures[0]


def test_a_region_that_is_painted_counts_at_once(widget: SegmentWidget, viewer: ViewerModel, image: Image) -> None:
    region = viewer.add_labels(np.zeros(image.data.shape[:2], np.uint8), name="here")
    widget.within.value = region
    assert "holds nothing of the displayed plane" in widget.hint.value
    assert not widget.start_button.enabled
    with region.block_history():  # as in a stroke of the mouse
        region.paint((20, 20), 1)
        assert widget.start_button.enabled


def test_what_has_no_effect_cannot_be_set(widget: SegmentWidget) -> None:
    def settable() -> tuple[bool, bool]:
        return widget.form.control("n_groups").enabled, widget.form.control("region_scale").enabled

    expected = {"groups": (True, False), "regions": (False, True), "clusters": (False, False)}
    for pieces, both in expected.items():
        widget.form.control("split_into").value = pieces
        assert settable() == both
    widget.form.control("preset").value = "paper"
    assert widget.form.control("split_into").value == "clusters"
    assert settable() == (False, False)
    widget.form.control("preset").value = "fast"
    assert settable() == (True, False)
    widget.form.show_settings(dfc.Settings(split_into="regions"))
    assert settable() == (False, True)


def test_a_result_that_is_chosen_as_strokes_is_said_to_be_one(
    widget: SegmentWidget, viewer: ViewerModel, image: Image, finish: Wait
) -> None:
    run = finish(widget.start())
    assert "is a result" not in widget.estimate.value
    widget.scribbles.value = viewer.add_labels(run.layer.data.copy(), name="by hand")
    assert "is a result" not in widget.estimate.value
    widget.scribbles.value = run.layer
    assert widget.estimate.value.endswith(f"“{run.layer.name}” is a result: all of its labels count as painted.")
