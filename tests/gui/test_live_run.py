from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from pytestqt.qtbot import QtBot

import napari_dfc as dfc
from napari_dfc.gui.inputs import gather
from napari_dfc.gui.layers import METADATA_KEY, image_plane
from napari_dfc.gui.live_run import LiveRun
from napari_dfc.gui.outcome import Outcome

Wait = Callable[[LiveRun], LiveRun]

SETTINGS = dfc.Settings.from_preset("fast", n_channels=12, max_iterations=8)
LONG = SETTINGS.change(max_iterations=100_000)


def run_over(image: Image, viewer: ViewerModel, settings: dfc.Settings = SETTINGS, **options: Any) -> LiveRun:
    strokes = options.pop("scribbles", None)
    return LiveRun(viewer, gather(image_plane(image), strokes), settings, **options)


def strokes_over(viewer: ViewerModel, image: Image, *marks: tuple[int, int, int]) -> Labels:
    """A strokes layer with marks of (class, row, column), ready to paint."""
    layer = viewer.add_labels(np.zeros(image.data.shape[:2], np.uint8), name="strokes")
    for mark in marks:
        paint(layer, *mark)
    return layer


def paint(layer: Labels, value: int, row: int, column: int) -> None:
    """As a stroke of the brush."""
    rows, columns = np.mgrid[row : row + 2, column : column + 9]
    layer.data_setitem((rows.ravel(), columns.ravel()), value)


def check_run_again(run: LiveRun, image: Image) -> None:
    """What the layer keeps gives its labels once more."""
    again = dfc.run_again(run.layer.metadata[METADATA_KEY], image.data)
    np.testing.assert_array_equal(again.labels, run.layer.data)


FIRST, SECOND, THIRD = (1, 20, 10), (2, 4, 50), (7, 50, 40)


def test_strokes_painted_during_a_run_turn_groups_into_their_classes(
    viewer: ViewerModel, image: Image, filled: Wait, finish: Wait
) -> None:
    run = run_over(image, viewer)
    strokes = strokes_over(viewer, image)
    run.follow(strokes)
    filled(run)
    paint(strokes, *FIRST)
    paint(strokes, *SECOND)
    finish(run)
    assert set(np.unique(run.layer.data)) == {1, 2}
    assert run.layer.metadata[METADATA_KEY]["strokes"][-1]["pixels"].keys() == {"1", "2"}
    check_run_again(run, image)


def test_a_run_that_has_ended_goes_on_in_its_layer_after_a_stroke(
    viewer: ViewerModel, image: Image, qtbot: QtBot, finish: Wait
) -> None:
    strokes = strokes_over(viewer, image, FIRST, SECOND)
    run = finish(run_over(image, viewer, scribbles=strokes))
    layer, before = run.layer, run.layer.data.copy()
    paint(strokes, *THIRD)
    qtbot.waitUntil(lambda: run.running, timeout=5000)
    finish(run)
    assert run.layer is layer
    assert set(np.unique(layer.data)) == {1, 2, 7}
    assert (layer.data != before).any()
    arrivals = layer.metadata[METADATA_KEY]["strokes"]
    assert [each["iteration"] for each in arrivals] == [0, 9]
    check_run_again(run, image)


def test_a_class_with_a_large_number_widens_the_layer(
    viewer: ViewerModel, image: Image, qtbot: QtBot, finish: Wait
) -> None:
    strokes = viewer.add_labels(np.zeros(image.data.shape[:2], np.uint16), name="strokes")
    paint(strokes, *FIRST)
    paint(strokes, *SECOND)
    run = finish(run_over(image, viewer, scribbles=strokes))
    assert run.layer.data.dtype == np.uint8
    paint(strokes, 300, 50, 40)
    qtbot.waitUntil(lambda: run.running, timeout=5000)
    finish(run)
    assert set(np.unique(run.layer.data)) == {1, 2, 300}


def test_more_classes_than_channels_are_refused_in_words(
    viewer: ViewerModel, image: Image, qtbot: QtBot, finish: Wait
) -> None:
    strokes = strokes_over(viewer, image, FIRST, SECOND)
    run = finish(run_over(image, viewer, scribbles=strokes))
    before = run.layer.data.copy()
    for value in range(3, 16):
        strokes.data[60, 2 * value] = value
    paint(strokes, *THIRD)
    qtbot.waitUntil(lambda: "Not used" in run.outcome, timeout=20_000)
    assert "raise n_channels or paint fewer classes" in run.outcome
    np.testing.assert_array_equal(run.layer.data, before)


def test_without_live_strokes_wait_for_a_single_update(
    viewer: ViewerModel, image: Image, qtbot: QtBot, finish: Wait
) -> None:
    strokes = strokes_over(viewer, image, FIRST, SECOND)
    run = finish(run_over(image, viewer, scribbles=strokes, live=False))
    paint(strokes, *THIRD)
    qtbot.wait(200)
    assert not run.running
    run.update()
    assert run.running
    finish(run)
    assert set(np.unique(run.layer.data)) == {1, 2, 7}
    assert run.result.iterations == 10  # the pass that takes the strokes, and the one that shows their update
    check_run_again(run, image)


def test_a_held_run_makes_no_iteration_until_it_is_released(
    viewer: ViewerModel, image: Image, qtbot: QtBot, filled: Wait
) -> None:
    run = filled(run_over(image, viewer, LONG, scribbles=strokes_over(viewer, image, FIRST, SECOND)))
    words: list[str] = []
    run.progressed.connect(lambda progress: words.append(progress.words))
    run.hold()
    qtbot.waitUntil(lambda: bool(words) and words[-1].startswith("Held at iteration"), timeout=10_000)
    held = words[-1]
    qtbot.wait(300)
    assert words[-1] == held
    run.update()
    qtbot.waitUntil(lambda: words[-1].startswith("Held") and words[-1] != held, timeout=10_000)
    run.release()
    qtbot.waitUntil(lambda: words[-1].startswith("Iteration"), timeout=10_000)
    run.stop()


def test_a_stopped_run_goes_on_after_a_stroke(
    viewer: ViewerModel, image: Image, qtbot: QtBot, filled: Wait, finish: Wait
) -> None:
    strokes = strokes_over(viewer, image, FIRST, SECOND)
    run = filled(run_over(image, viewer, scribbles=strokes))
    run.stop()
    paint(strokes, *THIRD)
    qtbot.waitUntil(lambda: run.running, timeout=10_000)
    finish(run)
    assert set(np.unique(run.layer.data)) == {1, 2, 7}
    check_run_again(run, image)


def test_a_result_that_was_deleted_comes_back_with_the_next_stroke(
    viewer: ViewerModel, image: Image, qtbot: QtBot, finish: Wait
) -> None:
    strokes = strokes_over(viewer, image, FIRST, SECOND)
    run = finish(run_over(image, viewer, scribbles=strokes))
    viewer.layers.remove(run.layer)
    paint(strokes, *THIRD)
    qtbot.waitUntil(lambda: run.running, timeout=5000)
    finish(run)
    assert run.layer in viewer.layers
    assert set(np.unique(run.layer.data)) == {1, 2, 7}


def test_strokes_that_are_chosen_after_the_end_wait_until_somebody_asks(
    viewer: ViewerModel, image: Image, qtbot: QtBot, finish: Wait
) -> None:
    said: list[str] = []
    run = finish(run_over(image, viewer))
    run.said.connect(said.append)
    run.follow(strokes_over(viewer, image))
    assert said == []
    strokes = strokes_over(viewer, image, FIRST, SECOND)
    strokes.name = "mine"
    run.follow(strokes)
    assert said == ["Press Run to begin anew with the strokes in “mine”, or Update once to go on."]
    strokes.events.set_data()  # as when it is hidden and shown, which is how an undone stroke is told of, too
    qtbot.wait(300)
    assert not run.running
    paint(strokes, *THIRD)
    qtbot.waitUntil(lambda: run.running, timeout=5000)
    finish(run)
    assert set(np.unique(run.layer.data)) == {1, 2, 7}


@pytest.mark.parametrize("gone", ["strokes", "cells"])
def test_strokes_after_a_layer_was_deleted_do_nothing(
    viewer: ViewerModel, image: Image, qtbot: QtBot, finish: Wait, gone: str
) -> None:
    strokes = strokes_over(viewer, image, FIRST, SECOND)
    run = finish(run_over(image, viewer, scribbles=strokes))
    del viewer.layers[gone]
    paint(strokes, *THIRD)
    qtbot.wait(300)
    assert not run.running


def test_erasing_everything_changes_nothing(viewer: ViewerModel, image: Image, qtbot: QtBot, finish: Wait) -> None:
    strokes = strokes_over(viewer, image, FIRST, SECOND)
    run = finish(run_over(image, viewer, scribbles=strokes))
    strokes.data = np.zeros_like(strokes.data)
    qtbot.wait(300)
    assert not run.running


def test_an_undone_stroke_is_noticed(viewer: ViewerModel, image: Image, qtbot: QtBot, finish: Wait) -> None:
    strokes = strokes_over(viewer, image, FIRST, SECOND, THIRD)
    run = finish(run_over(image, viewer, scribbles=strokes))
    assert set(np.unique(run.layer.data)) == {1, 2, 7}
    strokes.undo()
    qtbot.waitUntil(lambda: run.running, timeout=5000)
    finish(run)
    assert set(np.unique(run.layer.data)) == {1, 2}


def test_the_maps_of_a_large_run_are_given_back_at_rest_and_it_goes_on_alike(
    viewer: ViewerModel, image: Image, qtbot: QtBot, finish: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_dfc.gui.live_run.MOST_AT_REST", 0)
    strokes = strokes_over(viewer, image, FIRST, SECOND)
    run = finish(run_over(image, viewer, scribbles=strokes))
    assert run._run._courses._course.optimization._view._made is None
    paint(strokes, *FIRST[:2], 40)
    qtbot.waitUntil(lambda: run.running, timeout=5000)
    finish(run)
    check_run_again(run, image)


def test_locked_classes_and_hand_edits_survive_a_refinement(
    viewer: ViewerModel, image: Image, qtbot: QtBot, finish: Wait
) -> None:
    strokes = strokes_over(viewer, image, FIRST, SECOND)
    run = finish(run_over(image, viewer, scribbles=strokes))
    outcome = Outcome(run.layer)
    outcome.lock(1)
    was_locked = run.layer.data == 1
    free = np.argwhere(~was_locked)
    corner = tuple(free[len(free) // 2])
    run.layer.data_setitem((np.array([corner[0]]), np.array([corner[1]])), 9)
    paint(strokes, *THIRD)
    qtbot.waitUntil(lambda: run.running, timeout=5000)
    finish(run)
    assert (run.layer.data[was_locked] == 1).all()
    assert run.layer.data[corner] == 9
    assert 7 in run.layer.data


def test_own_colors_survive_more_strokes_of_the_same_classes(
    viewer: ViewerModel, image: Image, qtbot: QtBot, finish: Wait
) -> None:
    strokes = strokes_over(viewer, image, FIRST, SECOND)
    run = finish(run_over(image, viewer, scribbles=strokes))
    Outcome(run.layer).recolor(2, "#123456")
    paint(strokes, 1, 40, 30)
    qtbot.waitUntil(lambda: run.running, timeout=5000)
    finish(run)
    np.testing.assert_allclose(run.layer.get_color(2)[:3], np.array([0x12, 0x34, 0x56]) / 255, atol=1e-3)


def test_a_result_lies_on_top_but_below_its_strokes(viewer: ViewerModel, image: Image, finish: Wait) -> None:
    strokes = strokes_over(viewer, image, FIRST, SECOND)
    note = viewer.add_labels(np.zeros(image.data.shape[:2], np.uint8), name="something else")
    painted = finish(run_over(image, viewer, scribbles=strokes)).layer
    assert [*viewer.layers] == [image, painted, strokes, note]
    plain = finish(run_over(image, viewer)).layer
    assert [*viewer.layers] == [image, painted, strokes, note, plain]
    taught = finish(run_over(image, viewer, scribbles=painted)).layer  # a result in place of strokes
    assert viewer.layers[-1] is taught
    viewer.layers.move(viewer.layers.index(strokes), 0)
    assert viewer.layers[0] is strokes
    assert finish(run_over(image, viewer, scribbles=strokes)).layer is viewer.layers[-1]
