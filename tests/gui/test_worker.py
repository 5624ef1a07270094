from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QRunnable, QThreadPool

import napari_dfc as dfc
from napari_dfc.basins import Votes
from napari_dfc.gui.background import Progress
from napari_dfc.gui.colors import color_classes, set_class_names
from napari_dfc.gui.inputs import RunInputs, TrainingInputs, gather
from napari_dfc.gui.layers import METADATA_KEY, image_plane
from napari_dfc.gui.networks import networks_of
from napari_dfc.gui.segment_widget import SegmentWidget
from napari_dfc.gui.training_run import TrainingRun
from napari_dfc.gui.worker import LayerRun
from napari_dfc.segmentation import Run

Wait = Callable[[LayerRun], LayerRun]

SHORT = dfc.Settings(split_into="clusters", max_iterations=8, n_channels=12, min_labels=1)
ENDLESS = SHORT.change(max_iterations=100_000)


def run_over(viewer: ViewerModel, image: Image, settings: dfc.Settings = SHORT, **options: object) -> LayerRun:
    return LayerRun(viewer, gather(image_plane(image), **options), settings)


def test_result_is_that_of_segment(viewer: ViewerModel, image: Image, finish: Wait) -> None:
    run = finish(run_over(viewer, image))
    expected = dfc.segment(image.data, split_into="clusters", max_iterations=8, n_channels=12, min_labels=1)
    np.testing.assert_array_equal(run.layer.data, expected.labels)
    assert run.layer in viewer.layers
    assert run.outcome == f"{expected.n_labels} labels after 8 iterations."
    assert not run.running


def test_regions_replace_the_preview_even_where_their_numbers_need_more_bytes(
    viewer: ViewerModel, finish: Wait
) -> None:
    image = viewer.add_image(np.random.default_rng(0).random((100, 120), dtype=np.float32))
    settings = SHORT.change(split_into="regions", region_iterations=3, region_scale=0.0)
    run = finish(run_over(viewer, image, settings))
    expected = dfc.segment(image.data, **settings.as_dict())
    np.testing.assert_array_equal(run.layer.data, expected.labels)
    assert run.layer.data.dtype == np.uint16
    assert run.outcome == f"{expected.n_labels} labels after 6 iterations."
    assert run.layer.metadata[METADATA_KEY]["result"]["split_into"] == "regions"


def test_groups_are_as_many_as_were_asked_for(viewer: ViewerModel, image: Image, finish: Wait) -> None:
    settings = dfc.Settings(n_channels=12, region_iterations=3, n_groups=4)
    run = finish(run_over(viewer, image, settings))
    np.testing.assert_array_equal(run.layer.data, dfc.segment(image.data, **settings.as_dict()).labels)
    assert np.unique(run.layer.data).tolist() == [1, 2, 3, 4]
    assert run.outcome == "4 labels after 6 iterations."
    assert run.layer.metadata[METADATA_KEY]["result"]["split_into"] == "groups"


def test_stop_while_regions_merge_keeps_clusters_at_once(
    viewer: ViewerModel, image: Image, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    merging, going_on = threading.Event(), threading.Event()
    shares = Votes.shares

    def slow_shares(votes: Votes) -> np.ndarray:
        merging.set()
        going_on.wait(30)
        return shares(votes)

    monkeypatch.setattr(Votes, "shares", slow_shares)
    run = run_over(viewer, image, SHORT.change(split_into="regions", region_iterations=2))
    words = []
    run.progressed.connect(lambda progress: words.append(progress.words))
    qtbot.waitUntil(lambda: merging.is_set() and "Merging into regions ..." in words, timeout=30_000)
    began = time.perf_counter()
    run.stop()
    assert time.perf_counter() - began < 1
    going_on.set()
    assert run.layer.data.max() == run.result.n_labels <= 12
    assert "stopped before there were regions" in run.result.note


def test_second_run_makes_a_second_layer(viewer: ViewerModel, image: Image, finish: Wait) -> None:
    first, second = finish(run_over(viewer, image)), finish(run_over(viewer, image))
    assert first.layer is not second.layer
    assert [layer.name for layer in viewer.layers] == ["cells", "cells segmentation", "cells segmentation [1]"]


def test_two_runs_at_once_do_not_mix(viewer: ViewerModel, image: Image, finish: Wait) -> None:
    other = viewer.add_image(image.data[:40, :50], name="other")
    runs = [run_over(viewer, layer) for layer in (image, other)]
    for run, layer in zip(runs, (image, other), strict=True):
        finish(run)
        assert run.layer.data.shape == layer.data.shape[:2]


def test_metadata_run_it_again(viewer: ViewerModel, image: Image, finish: Wait) -> None:
    run = finish(run_over(viewer, image, SHORT.change(seed=9)))
    record = run.layer.metadata[METADATA_KEY]
    settings = dfc.Settings(**{**record["settings"], "threads": record["threads"]})
    again = Run(image.data, settings=settings)
    for _ in again:
        pass
    np.testing.assert_array_equal(again.result().labels, run.layer.data)
    assert record["image"]["name"] == "cells"
    place = {"axes": [0, 1], "position": {}, "channel_axis": None, "level": 0}
    assert record["source"] == {"layers": ["cells"], **place}


def test_strokes_are_taken_as_they_were_at_the_start(
    viewer: ViewerModel, image: Image, filled: Wait, finish: Wait
) -> None:
    painted = np.zeros(image.data.shape[:2], np.uint8)
    painted[50, 10:30], painted[4, 4:20] = 5, 9
    strokes = viewer.add_labels(painted)
    run = run_over(viewer, image, SHORT, scribbles=strokes)
    strokes.data[...] = 0
    finish(run)
    assert set(np.unique(run.layer.data)) == {5, 9}
    assert list(run.layer.metadata[METADATA_KEY]["strokes"][0]["pixels"]) == ["5", "9"]
    for value in (5, 9):
        assert run.layer.get_color(value).tolist() == strokes.get_color(value).tolist()


def test_clusters_keep_their_colors_from_preview_to_result(viewer: ViewerModel, image: Image, filled: Wait) -> None:
    run = filled(run_over(viewer, image, ENDLESS))
    run.stop()
    colors = run.inputs.colors({number: number for number in run._run.run_numbers.tolist()})
    for final, during in run.result.numbers_during_run.items():
        assert run.layer.get_color(final).tolist() == pytest.approx(colors[during].tolist())


def test_stop_keeps_the_current_result_at_once(viewer: ViewerModel, image: Image, filled: Wait) -> None:
    run = filled(run_over(viewer, image, ENDLESS))
    run.stop()
    assert not run.running
    assert "stopped by the user" in run.outcome
    assert run.layer.data.min() == 1
    np.testing.assert_array_equal(run.layer.data, run.result.labels)
    outcome = run.outcome
    run.stop()  # once more does nothing
    assert run.outcome == outcome


def test_stop_before_the_first_map_leaves_no_layer(viewer: ViewerModel, image: Image) -> None:
    run = run_over(viewer, image, ENDLESS)
    run.stop()
    assert run.outcome == "Stopped before there was a label map; nothing was kept."
    assert list(viewer.layers) == [image]


def test_progress_tells_iteration_labels_and_time_left(
    viewer: ViewerModel, image: Image, qtbot: QtBot, filled: Wait
) -> None:
    seen: list[Progress] = []
    run = run_over(viewer, image, ENDLESS)
    run.progressed.connect(seen.append)
    qtbot.waitUntil(lambda: any("left" in progress.words for progress in seen), timeout=60_000)
    run.stop()
    last = seen[-1]
    assert last.total == 100_000
    assert last.words.startswith(f"Iteration {last.done} of 100000 · ")
    assert "labels" in last.words
    assert last.words.endswith("left")


def test_loading_torch_is_announced(
    viewer: ViewerModel, image: Image, finish: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_dfc.gui.worker.torch_is_loaded", lambda: False)
    seen: list[str] = []
    run = run_over(viewer, image)
    run.progressed.connect(lambda progress: seen.append(progress.words))
    finish(run)
    assert seen[0].startswith("Loading PyTorch, once")


@pytest.fixture
def threads(viewer: ViewerModel, monkeypatch: pytest.MonkeyPatch) -> set[threading.Thread]:
    """Those in which a layer is added, drawn, or asked for its labels or colors."""
    found: set[threading.Thread] = set()

    def noting(function: Callable[..., Any]) -> Callable[..., Any]:
        def noted(*args: Any, **options: Any) -> Any:
            found.add(threading.current_thread())
            return function(*args, **options)

        return noted

    monkeypatch.setattr(Labels, "refresh", noting(Labels.refresh))
    for name in ("data", "colormap"):
        own = getattr(Labels, name)
        monkeypatch.setattr(Labels, name, property(noting(own.fget), noting(own.fset)))
    viewer.layers.events.inserted.connect(lambda: found.add(threading.current_thread()))
    return found


def test_layers_are_touched_on_the_main_thread_only(
    viewer: ViewerModel, image: Image, filled: Wait, threads: set[threading.Thread]
) -> None:
    filled(run_over(viewer, image, ENDLESS)).stop()
    assert threads == {threading.main_thread()}


def test_a_network_is_kept_or_trained_without_a_layer_in_its_thread(
    viewer: ViewerModel, image: Image, qtbot: QtBot, finish: Wait, threads: set[threading.Thread]
) -> None:
    widget = SegmentWidget(viewer)
    qtbot.addWidget(widget.native)
    widget.form.show_settings(SHORT)
    strokes = widget.add_scribbles()
    strokes.data_setitem((np.array([4, 4]), np.array([5, 6])), 3)
    strokes.data_setitem((np.array([50, 50]), np.array([5, 6])), 7)
    run = finish(widget.start())
    color_classes(run.layer, {7: (1, 0, 0, 1)}, [3, 7])
    set_class_names(run.layer, {3: "stroma"})
    worker = widget.keep_network()
    qtbot.waitUntil(lambda: bool(len(networks_of(viewer))) and not worker.is_running, timeout=30_000)
    legend = networks_of(viewer)["cells network"].legend
    assert [(entry.number, entry.name) for entry in legend] == [(3, "stroma"), (7, "class 7")]
    assert legend[7].color == "#ff0000"
    training = TrainingRun(viewer, TrainingInputs((gather(image_plane(image), strokes),)), SHORT)
    finish(training)
    assert training.model.legend.numbers == (3, 7)
    assert threads == {threading.main_thread()}


def test_previews_come_at_most_ten_times_a_second(viewer: ViewerModel, image: Image, qtbot: QtBot) -> None:
    run = run_over(viewer, image, ENDLESS)
    shown: list[float] = []
    run._worker.yielded.connect(lambda progress: progress.shown is not None and shown.append(time.perf_counter()))
    qtbot.waitUntil(lambda: len(shown) >= 6, timeout=60_000)
    run.stop()
    assert min(np.diff(shown[1:])) > 0.05  # they are sent 0.1 s apart; the way to this thread varies


def test_selection_and_mode_of_who_is_painting_stay(viewer: ViewerModel, image: Image, filled: Wait) -> None:
    strokes = viewer.add_labels(np.zeros(image.data.shape[:2], np.uint8))
    viewer.layers.selection = {strokes}
    strokes.mode = "paint"
    filled(run_over(viewer, image, ENDLESS)).stop()
    assert viewer.layers.selection == {strokes}
    assert strokes.mode == "paint"


# ---------------------------------------------------------------------- what may happen meanwhile


def test_deleting_the_image_keeps_what_there_is(viewer: ViewerModel, image: Image, filled: Wait) -> None:
    run = filled(run_over(viewer, image, ENDLESS))
    viewer.layers.remove(image)
    assert not run.running
    assert list(viewer.layers) == [run.layer]
    assert run.layer.data.min() == 1


def test_deleting_the_preview_ends_the_run(viewer: ViewerModel, image: Image, filled: Wait) -> None:
    run = filled(run_over(viewer, image, ENDLESS))
    viewer.layers.remove(run.layer)
    assert run.outcome == "Stopped, because the preview layer was deleted."
    assert list(viewer.layers) == [image]


def test_renaming_image_and_preview_changes_nothing(
    viewer: ViewerModel, image: Image, filled: Wait, qtbot: QtBot
) -> None:
    run = filled(run_over(viewer, image, ENDLESS))
    image.name, run.layer.name = "renamed", "cells"
    before = run.layer.data.copy()
    qtbot.waitUntil(lambda: not np.array_equal(run.layer.data, before), timeout=60_000)
    run.stop()
    assert [layer.name for layer in viewer.layers] == ["renamed", "cells"]
    assert run.layer.metadata[METADATA_KEY]["image"]["name"] == "cells"  # as it was called


def test_replacing_the_preview_s_data_ends_the_run(
    viewer: ViewerModel, image: Image, filled: Wait, finish: Wait
) -> None:
    run = filled(run_over(viewer, image, ENDLESS))
    run.layer.data = np.ones((4, 4), np.uint8)
    finish(run)
    assert "changed by something else" in run.outcome
    assert run.layer.data.shape == (4, 4)


def test_changing_the_image_meanwhile_changes_nothing(
    viewer: ViewerModel, image: Image, filled: Wait, finish: Wait
) -> None:
    expected = dfc.segment(image.data, split_into="clusters", max_iterations=60, n_channels=12, min_labels=1).labels
    run = filled(run_over(viewer, image, SHORT.change(max_iterations=60)))
    image.data = np.zeros((9, 9, 3), np.uint8)
    finish(run)
    np.testing.assert_array_equal(run.layer.data, expected)


def test_hidden_preview_is_left_alone_and_the_result_still_comes(
    viewer: ViewerModel, image: Image, filled: Wait, qtbot: QtBot
) -> None:
    run = filled(run_over(viewer, image, ENDLESS))
    run.layer.visible = False
    before = run.layer.data.copy()
    qtbot.wait(500)
    np.testing.assert_array_equal(run.layer.data, before)
    run.stop()
    np.testing.assert_array_equal(run.layer.data, run.result.labels)


def test_bad_image_is_refused_in_words(viewer: ViewerModel, finish: Wait) -> None:
    image = viewer.add_image(np.full((6, 7), np.nan), name="nothing", contrast_limits=(0, 1))
    run = finish(run_over(viewer, image))
    assert run.outcome.startswith("Not segmented: no pixel of the image can be used")
    assert list(viewer.layers) == [image]


def test_more_classes_than_channels_are_refused_in_words(viewer: ViewerModel, image: Image, finish: Wait) -> None:
    painted = np.arange(64 * 72).reshape(64, 72).astype(np.uint16) % 30
    run = finish(run_over(viewer, image, SHORT, scribbles=viewer.add_labels(painted)))
    assert run.outcome.startswith("Not segmented: scribbles hold 29 classes and the network has 12 channels")


def test_runs_leave_qt_its_threads_to_draw_with(viewer: ViewerModel, image: Image, filled: Wait) -> None:
    class Task(QRunnable):
        def run(self) -> None:
            done.set()

    pool = QThreadPool.globalInstance()
    runs = [filled(run_over(viewer, image, ENDLESS)) for _ in range(pool.maxThreadCount())]
    done = threading.Event()
    task = Task()
    task.setAutoDelete(False)
    pool.start(task)
    assert done.wait(10)
    assert all(run.running for run in runs)
    for run in runs:
        run.stop()


def test_quit_as_napari_calls_it_on_closing_ends_the_thread(
    viewer: ViewerModel, image: Image, filled: Wait, qtbot: QtBot
) -> None:
    run = filled(run_over(viewer, image, ENDLESS))
    run._worker.quit()
    qtbot.waitUntil(lambda: not run._worker.is_running, timeout=10_000)


def test_fault_in_the_worker_is_said_and_raised(
    viewer: ViewerModel, image: Image, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Run, iteration: object) -> None:
        raise RuntimeError("broken on purpose")

    monkeypatch.setattr(Run, "preview", fail)
    monkeypatch.setattr("napari.utils.notifications.notification_manager.receive_error", lambda *_: None)
    run = run_over(viewer, image, ENDLESS)
    with qtbot.captureExceptions():
        qtbot.waitUntil(lambda: not run.running, timeout=60_000)
    assert run.outcome == "Failed: broken on purpose"
    assert list(viewer.layers) == [image]


def test_a_fault_while_the_image_is_read_ends_the_run_too(
    viewer: ViewerModel, image: Image, finish: Wait, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: RunInputs, settings: dfc.Settings) -> Run:
        raise RuntimeError("the file is gone")

    monkeypatch.setattr(RunInputs, "prepare", broken)
    with qtbot.captureExceptions() as raised:
        run = finish(run_over(viewer, image))
    assert run.outcome == "Failed: the file is gone"
    assert [str(error) for _, error, _ in raised] == ["the file is gone"]


def test_nothing_is_reported_after_the_end(
    viewer: ViewerModel, image: Image, finish: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_over(viewer, image, ENDLESS)
    told: list[str] = []
    run.progressed.connect(lambda progress: told.append("progress"))
    run.ended.connect(lambda outcome: told.append("end"))
    # napari's progress bar lets events be processed, and the run's end may be among them
    monkeypatch.setattr(run._activity, "update", lambda n: run.stop())
    finish(run)
    assert told[-1] == "end"
    assert told.count("end") == 1
