from __future__ import annotations

import gc
import shlex
import threading
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import ref

import numpy as np
import pytest
import tifffile
from napari.components import ViewerModel
from napari.layers import Image, Labels
from napari.utils.colormaps import label_colormap
from pytestqt.qtbot import QtBot
from typer.testing import CliRunner

import napari_dfc as dfc
from napari_dfc.cli import app
from napari_dfc.files import read_labels
from napari_dfc.gui.colors import class_names
from napari_dfc.gui.layers import METADATA_KEY, image_plane
from napari_dfc.gui.live_run import LiveRun
from napari_dfc.gui.outcome import Outcome
from napari_dfc.gui.own_layer import OwnLayer
from napari_dfc.gui.studio import Studio
from napari_dfc.segmentation import Run

Wait = Callable[[LiveRun], LiveRun]

GROUPS = dfc.Settings.from_preset("fast", n_channels=12, max_iterations=8, n_groups=4)
CLUSTERS = GROUPS.change(split_into="clusters", min_labels=2)
FIRST, SECOND, THIRD = (1, 20, 10), (2, 4, 50), (7, 50, 40)


@pytest.fixture
def sayings(studio: Studio) -> list[str]:
    said: list[str] = []
    studio.said.connect(said.append)
    return said


def strokes_over(studio: Studio, image: Image, *marks: tuple[int, int, int]) -> Labels:
    layer = studio.viewer.add_labels(np.zeros(image.data.shape[:2], np.uint8), name="strokes")
    for mark in marks:
        paint(layer, *mark)
    return layer


def paint(layer: Labels, value: int, row: int, column: int) -> None:
    rows, columns = np.mgrid[row : row + 2, column : column + 9]
    layer.data_setitem((rows.ravel(), columns.ravel()), value)


@pytest.mark.parametrize("settings", [GROUPS, CLUSTERS])
def test_the_slider_of_label_counts_shows_the_history_and_the_layer_says_which(
    studio: Studio, image: Image, finish: Wait, settings: dfc.Settings
) -> None:
    run = finish(studio.segment(image, settings=settings))
    assert studio.count == run.result.n_labels
    for count in studio.counts:
        studio.show_count(count)
        np.testing.assert_array_equal(run.layer.data, run.result.history.at(count))
        assert len(np.unique(run.layer.data)) == count
    for count in studio.counts[:: len(studio.counts) // 2]:
        studio.show_count(count)
        again = dfc.run_again(run.layer.metadata[METADATA_KEY], image.data)
        np.testing.assert_array_equal(again.labels, run.layer.data)
    with pytest.raises(ValueError, match="1000"):
        studio.show_count(1000)


@pytest.mark.parametrize("n_channels", [12, 60])  # napari has 49 colors
def test_a_label_keeps_the_color_of_the_previews_as_others_vanish(
    studio: Studio, image: Image, finish: Wait, n_channels: int
) -> None:
    run = finish(studio.segment(image, settings=CLUSTERS.change(n_channels=n_channels)))
    assert max(studio.counts) > n_channels * 0.8
    usual = label_colormap()
    during = run.result.history.numbers_during_run
    for count in studio.counts:
        studio.show_count(count)
        numbers = np.unique(run.layer.data)
        expected = usual.map(np.array([during[number] for number in numbers.tolist()]))
        colors = np.array([run.layer.get_color(number) for number in numbers])
        np.testing.assert_allclose(colors, expected, atol=1e-6)
        assert n_channels > 49 or len(np.unique(colors, axis=0)) == count


@pytest.mark.parametrize("is_stopped", [False, True])
def test_what_takes_long_at_the_end_of_a_run_is_done_beside_the_window(
    studio: Studio, image: Image, finish: Wait, filled: Wait, monkeypatch: pytest.MonkeyPatch, is_stopped: bool
) -> None:
    done: dict[str, set[bool]] = {}

    def note(owner: Any, name: str) -> None:
        found = getattr(owner, name)

        def noted(*args: Any, **options: Any) -> Any:
            if getattr(args[0], "ndim", 2) == 2:  # napari looks for unique numbers of other arrays
                done.setdefault(name, set()).add(threading.current_thread() is threading.main_thread())
            return found(*args, **options)

        monkeypatch.setattr(owner, name, noted)

    monkeypatch.setattr("napari_dfc.gui.worker.MOST_AT_ONCE", 0)
    for owner, name in ((Run, "result"), (dfc.result, "history_of_maps"), (np, "unique"), (zlib, "compress")):
        note(owner, name)
    run = studio.segment(image, settings=CLUSTERS.change(max_iterations=100_000 if is_stopped else 8))
    if is_stopped:
        filled(run)
        run.stop()
        run.stop()  # once more does nothing
        assert run.layer.data.any()  # the preview stays
    finish(run)
    assert done == {name: {False} for name in ("result", "history_of_maps", "unique", "compress")}
    monkeypatch.undo()
    assert ("stopped by the user" in run.outcome) == is_stopped
    np.testing.assert_array_equal(run.layer.data, run.result.labels)
    assert studio.counts


def test_strokes_painted_while_a_large_run_stops_go_on_after_it(
    studio: Studio, image: Image, qtbot: QtBot, finish: Wait, filled: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_dfc.gui.worker.MOST_AT_ONCE", 0)
    going_on, result = threading.Event(), Run.result

    def slow_result(run: Run) -> dfc.Segmentation:
        going_on.wait(30)
        return result(run)

    strokes = strokes_over(studio, image)
    run = filled(studio.segment(image, strokes, settings=CLUSTERS.change(max_iterations=100_000)))
    monkeypatch.setattr(Run, "result", slow_result)
    run.stop()
    paint(strokes, *FIRST)
    paint(strokes, *SECOND)
    qtbot.wait(200)
    going_on.set()
    qtbot.waitUntil(lambda: run._run._kept.stage.classes == (1, 2), timeout=20_000)
    run.stop()
    assert set(np.unique(finish(run).layer.data)) == {1, 2}


def test_undo_and_redo_between_strokes(studio: Studio, image: Image, qtbot: QtBot, finish: Wait) -> None:
    strokes = strokes_over(studio, image, FIRST, SECOND)
    run = finish(studio.segment(image, strokes, settings=GROUPS))
    first = run.layer.data.copy()
    assert not studio.can_undo
    paint(strokes, *THIRD)
    qtbot.waitUntil(lambda: run.running, timeout=5000)
    finish(run)
    second = run.layer.data.copy()
    assert (first != second).any()
    studio.undo()
    np.testing.assert_array_equal(run.layer.data, first)
    assert [each["iteration"] for each in run.layer.metadata[METADATA_KEY]["strokes"]] == [0]
    assert not studio.can_undo
    assert studio.counts == ()
    with pytest.raises(ValueError, match="press Redo before you choose a label count"):
        studio.show_count(3)
    studio.redo()
    np.testing.assert_array_equal(run.layer.data, second)
    assert not studio.can_redo


def test_the_memory_for_earlier_results_is_bounded(
    studio: Studio, image: Image, qtbot: QtBot, finish: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_dfc.gui.results.MOST_BYTES", 1)
    strokes = strokes_over(studio, image, FIRST, SECOND)
    run = finish(studio.segment(image, strokes, settings=GROUPS))
    paint(strokes, *THIRD)
    qtbot.waitUntil(lambda: run.running, timeout=5000)
    finish(run)
    assert not studio.can_undo


def test_uncertain_spots_move_the_camera_one_after_the_other_with_the_brush_ready(
    studio: Studio, image: Image, qtbot: QtBot, finish: Wait, sayings: list[str]
) -> None:
    image.scale, image.translate = (0.5, 0.5), (100, 200)
    strokes = strokes_over(studio, image)
    strokes.scale, strokes.translate = (0.5, 0.5), (100, 200)
    paint(strokes, *FIRST)
    paint(strokes, *SECOND)
    run = finish(studio.segment(image, strokes, settings=GROUPS))
    spots = run.result.uncertain_spots(painted=run.inputs.strokes)
    assert spots
    for spot in spots:
        studio.next_spot()
        place = (100 + spot.row / 2, 200 + spot.column / 2)
        qtbot.waitUntil(lambda place=place: np.allclose(studio.viewer.scene.camera.center[-2:], place), timeout=10_000)
        assert studio.viewer.layers.selection.active is strokes
        assert strokes.mode == "paint"
    assert "That was the last one." in sayings[-1]


def test_certainty_is_a_layer_over_the_image(studio: Studio, image: Image, qtbot: QtBot, finish: Wait) -> None:
    image.scale = (0.5, 0.25)
    run = finish(studio.segment(image, settings=GROUPS))
    studio.show_confidence()
    qtbot.waitUntil(lambda: "cells certainty" in studio.viewer.layers, timeout=10_000)
    layer = studio.viewer.layers["cells certainty"]
    np.testing.assert_array_equal(layer.data, run.result.margin)
    np.testing.assert_array_equal(layer.scale, (0.5, 0.25))


def test_certainty_of_one_image_is_in_one_layer(
    studio: Studio, image: Image, tissue: np.ndarray, qtbot: QtBot, finish: Wait
) -> None:
    finish(studio.segment(image, settings=GROUPS))
    studio.show_confidence()
    qtbot.waitUntil(lambda: "cells certainty" in studio.viewer.layers, timeout=10_000)
    layer = studio.viewer.layers["cells certainty"]
    layer.visible = False
    run = finish(studio.segment(image, settings=GROUPS.change(seed=3)))
    studio.show_confidence()
    qtbot.waitUntil(lambda: layer.visible, timeout=10_000)
    np.testing.assert_array_equal(layer.data, run.result.margin)
    finish(studio.segment(studio.viewer.add_image(tissue, name="other"), settings=GROUPS))
    studio.show_confidence()
    qtbot.waitUntil(lambda: "other certainty" in studio.viewer.layers, timeout=10_000)
    assert [each.name for each in studio.viewer.layers if "certainty" in each.name] == [
        "cells certainty",
        "other certainty",
    ]


def test_run_again_from_a_layer_gives_its_labels_in_a_new_one(
    studio: Studio, image: Image, qtbot: QtBot, finish: Wait, filled: Wait
) -> None:
    strokes = strokes_over(studio, image)
    run = filled(studio.segment(image, strokes, settings=GROUPS.change(max_iterations=30)))
    paint(strokes, *FIRST)
    paint(strokes, *SECOND)
    qtbot.waitUntil(lambda: run._run.stage.classes == (1, 2), timeout=10_000)
    paint(strokes, *THIRD)
    qtbot.waitUntil(lambda: len(run._run._kept.stage.classes) == 3, timeout=10_000)
    run.stop()
    first = run.layer
    again = finish(studio.run_again(first))
    assert again.layer is not first
    assert set(np.unique(again.layer.data)) == {1, 2, 7}
    np.testing.assert_array_equal(again.layer.data, first.data)
    for number in (1, 2, 7):
        np.testing.assert_array_equal(again.layer.get_color(number), first.get_color(number))


def test_a_run_that_was_stopped_is_run_again_to_the_same_iteration_however_fast_it_is(
    studio: Studio, image: Image, qtbot: QtBot, finish: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = studio.segment(image, settings=CLUSTERS.change(max_iterations=300))
    qtbot.waitUntil(lambda: run._run is not None and len(run._run.label_counts) > 3, timeout=20_000)
    run.stop()
    monkeypatch.setattr("napari_dfc.gui.worker.PROGRESS_INTERVAL", 1e9)
    again = finish(studio.run_again(run.layer))
    assert again.result.iterations == run.result.iterations
    np.testing.assert_array_equal(again.layer.data, run.layer.data)


def test_copied_python_gives_the_shown_labels_in_the_console(studio: Studio, image: Image, finish: Wait) -> None:
    run = finish(studio.segment(image, settings=GROUPS))
    studio.show_count(9)
    found: dict[str, Any] = {"viewer": studio.viewer}
    exec(studio.as_python(), found)
    np.testing.assert_array_equal(found["labels"], run.layer.data)


def test_labels_are_edited_once_they_are_not_those_that_were_given(studio: Studio, image: Image, finish: Wait) -> None:
    assert not studio.is_edited
    run = finish(studio.segment(image, settings=GROUPS))
    assert not studio.is_edited
    studio.show_count(9)
    assert not studio.is_edited
    outcome = Outcome(run.layer)
    outcome.merge(1, 2)
    assert studio.is_edited
    studio.show_count(9)
    assert not studio.is_edited
    run.layer.data_setitem((np.array([3]), np.array([4])), 77)
    assert studio.is_edited


def test_earlier_results_of_the_image_are_hidden_by_a_new_one(
    studio: Studio, image: Image, tissue: np.ndarray, finish: Wait
) -> None:
    other = studio.viewer.add_image(tissue, name="other")
    of_other = finish(studio.segment(other, settings=GROUPS)).layer
    first = finish(studio.segment(image, settings=GROUPS)).layer
    assert (first.visible, of_other.visible) == (True, True)
    second = finish(studio.segment(image, settings=GROUPS)).layer
    assert (first.visible, second.visible, of_other.visible) == (False, True, True)
    second.data = second.data.copy()  # somebody else's labels by now
    finish(studio.segment(image, settings=GROUPS))
    assert second.visible


def test_results_of_other_planes_stay_to_be_seen(studio: Studio, tissue: np.ndarray, finish: Wait) -> None:
    stack = studio.viewer.add_image(tissue.transpose(2, 0, 1), name="stack", rgb=False)
    layers = []
    for plane in (0, 2, 0):
        studio.viewer.dims.set_point(0, plane)
        layers.append(finish(studio.segment(stack, settings=GROUPS)).layer)
    assert [layer.visible for layer in layers] == [False, True, True]


def test_copied_python_of_a_plane_of_a_stack_with_channels(studio: Studio, finish: Wait) -> None:
    data = np.random.default_rng(0).random((2, 4, 40, 50))
    image = studio.viewer.add_image(data, name='a "stack"')
    studio.viewer.dims.set_point(1, 3)
    run = finish(studio.segment(image, channel_axis=0, settings=GROUPS))
    found: dict[str, Any] = {"viewer": studio.viewer}
    exec(studio.as_python(), found)
    np.testing.assert_array_equal(found["labels"], run.layer.data[0])


def test_copied_command_of_a_plane_of_a_stack_with_channels(
    studio: Studio, finish: Wait, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = np.random.default_rng(0).random((3, 2, 4, 40, 50)).astype(np.float32)
    monkeypatch.chdir(tmp_path)
    tifffile.imwrite("movie.tif", data, ome=True, metadata={"axes": "TCZYX"})
    image = studio.viewer.add_image(data, name="movie")
    studio.viewer.dims.set_point((0, 2), (1, 3))
    run = finish(studio.segment(image, channel_axis=1, settings=GROUPS))
    assert "--plane 1,3" in studio.as_command()
    outcome = CliRunner().invoke(app, shlex.split(studio.as_command())[1:])
    assert outcome.exit_code == 0, outcome.output
    np.testing.assert_array_equal(read_labels("movie_labels.tif").labels, run.layer.data[0, 0, 0])


def test_the_command_of_a_plane_across_the_file_s_is_refused(studio: Studio, finish: Wait) -> None:
    image = studio.viewer.add_image(np.random.default_rng(0).random((40, 50, 60)), name="volume")
    studio.viewer.dims.order = (1, 0, 2)
    studio.viewer.dims.set_point(1, 7)
    finish(studio.segment(image, settings=GROUPS))
    with pytest.raises(ValueError, match="planes of rows and columns, the last axes of a file; copy as Python"):
        studio.as_command()


def test_undo_and_redo_say_which_result_is_shown(
    studio: Studio, image: Image, sayings: list[str], qtbot: QtBot, finish: Wait
) -> None:
    strokes = strokes_over(studio, image, FIRST, SECOND)
    run = finish(studio.segment(image, strokes, settings=GROUPS))
    for stroke in (THIRD, (FIRST[0], 50, 40)):
        paint(strokes, *stroke)
        qtbot.waitUntil(lambda: run.running, timeout=5000)
        finish(run)
    for action, words in (
        (studio.undo, "This is the result before the last strokes, which stay painted."),
        (studio.undo, "This is the result before the last strokes, which stay painted."),
        (studio.redo, "There is a later result yet"),
        (studio.redo, "This is the latest result."),
    ):
        action()
        assert sayings[-1].startswith(words)
    run.layer.data = run.layer.data.copy()  # by somebody else
    studio.undo()
    assert sayings[-1].startswith("Not shown: the result's layer was changed by something else")


def test_a_copied_command_names_the_axis_of_the_channels(studio: Studio, finish: Wait) -> None:
    image = studio.viewer.add_image(np.random.default_rng(0).random((2, 40, 50)), name="pair")
    finish(studio.segment(image, channel_axis=0, settings=GROUPS))
    assert "--channel-axis 0" in studio.as_command()


def test_labels_of_several_references_are_not_copied_or_run_again(studio: Studio, image: Image, finish: Wait) -> None:
    run = finish(studio.segment(image, settings=GROUPS))
    run.layer.metadata[METADATA_KEY]["training"] = {"references": ["left", "right"]}
    for action in (studio.as_python, studio.as_command, lambda: studio.run_again(run.layer)):
        with pytest.raises(ValueError, match=r"trained on “left”, “right”"):
            action()


def test_copying_and_running_again_need_a_result(studio: Studio, image: Image) -> None:
    painted = studio.viewer.add_labels(np.ones(image.data.shape[:2], np.uint8))
    for action in (studio.as_python, studio.as_command, lambda: studio.run_again(painted)):
        with pytest.raises(ValueError, match="no record of a run"):
            action()


def test_running_again_says_which_layer_is_missing(studio: Studio, image: Image, finish: Wait) -> None:
    run = finish(studio.segment(image, settings=GROUPS))
    image.name = "renamed"
    with pytest.raises(ValueError, match="called “cells”, which is not there"):
        studio.run_again(run.layer)


def test_a_run_started_meanwhile_has_no_earlier_result(
    studio: Studio, image: Image, viewer: ViewerModel, filled: Wait, finish: Wait
) -> None:
    filled(studio.segment(image, settings=CLUSTERS.change(max_iterations=100_000, min_labels=1)))
    other = viewer.add_image(image.data[:40, :50], name="other")
    run = finish(studio.segment(other, settings=CLUSTERS))
    assert not studio.can_undo
    assert run.layer.data.shape == (40, 50)


def test_while_an_earlier_result_is_shown_nothing_is_done_with_the_latest(
    studio: Studio, image: Image, qtbot: QtBot, finish: Wait
) -> None:
    strokes = strokes_over(studio, image, FIRST)
    run = finish(studio.segment(image, strokes, settings=GROUPS))
    paint(strokes, FIRST[0], 50, 40)
    qtbot.waitUntil(lambda: run.running, timeout=5000)
    finish(run)
    studio.show_count(next(count for count in studio.counts if count != run.result.n_labels))
    studio.undo()
    assert studio.count is None
    for action in (studio.next_spot, studio.show_confidence, studio.segment_all_planes):
        with pytest.raises(ValueError, match="an earlier result is shown; press Redo before you"):
            action()
    studio.redo()
    assert studio.count == run.result.n_labels == len(np.unique(run.layer.data))


def test_spots_are_searched_once_and_those_of_an_earlier_result_are_dropped(
    studio: Studio, image: Image, sayings: list[str], qtbot: QtBot, finish: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    strokes = strokes_over(studio, image, FIRST, SECOND)
    run = finish(studio.segment(image, strokes, settings=GROUPS))
    search, going_on, searched = dfc.Segmentation.uncertain_spots, threading.Event(), []

    def slow_search(result: dfc.Segmentation, **options: Any) -> Any:
        going_on.wait(30)
        found = search(result, **options)
        searched.append(result)
        return found

    monkeypatch.setattr(dfc.Segmentation, "uncertain_spots", slow_search)
    studio.next_spot()
    studio.next_spot()
    paint(strokes, *THIRD)
    qtbot.waitUntil(lambda: run.running, timeout=5000)
    finish(run)
    before = len(sayings)
    going_on.set()
    qtbot.waitUntil(lambda: bool(searched) and studio._searched is None, timeout=10_000)
    assert len(searched) == 1
    assert not any("Within the yellow line" in words for words in sayings[before:])
    studio.next_spot()
    qtbot.waitUntil(lambda: any("Within the yellow line" in words for words in sayings[before:]), timeout=10_000)


def test_names_of_groups_are_forgotten_where_numbers_become_painted_classes(
    studio: Studio, image: Image, qtbot: QtBot, finish: Wait
) -> None:
    strokes = strokes_over(studio, image)
    run = finish(studio.segment(image, strokes, settings=GROUPS))
    outcome = Outcome(run.layer)
    one, two, three = outcome.numbers[:3]
    outcome.rename(one, "cytoplasm")
    outcome.rename(three, "kept")
    outcome.lock(three)
    outcome.measure()
    outcome.merge(one, two)
    paint(strokes, *FIRST)
    paint(strokes, *SECOND)
    qtbot.waitUntil(lambda: run.running, timeout=5000)
    finish(run)
    painted = run.layer.data.copy()
    names = class_names(run.layer, [one, three])
    assert names == {one: f"class {one}", three: "kept"}
    assert list(run.layer.features.columns) == ["index", "class"]  # no measures
    assert outcome.undo() == ""  # what it would put back was of the labels before
    np.testing.assert_array_equal(run.layer.data, painted)
    outcome.rename(one, "nuclei")
    paint(strokes, *THIRD)
    qtbot.waitUntil(lambda: run.running, timeout=5000)
    finish(run)
    assert class_names(run.layer, [one]) == {one: "nuclei"}  # the same class, with one more
    outcome.let_go()


def test_a_result_follows_its_image_also_after_another_run(
    studio: Studio, image: Image, viewer: ViewerModel, finish: Wait
) -> None:
    first = finish(studio.segment(image, settings=CLUSTERS)).layer
    finish(studio.segment(image, settings=CLUSTERS))
    gc.collect()
    image.scale = (3, 2)
    np.testing.assert_allclose(first.scale, (3, 2))


def test_a_layer_s_follower_goes_with_it(image: Image, viewer: ViewerModel) -> None:
    layer = Labels(np.zeros(image.data.shape[:2], np.uint8))
    follower = ref(OwnLayer(layer, image_plane(image)))
    gc.collect()
    assert follower() is not None
    del layer
    gc.collect()
    assert follower() is None
