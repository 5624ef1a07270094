"""What may happen to the layers, the docks, the viewer and the process of a run, in any of its states.

Every fault here is followed by a stroke. What is not here is in

- test_worker: names, and a hidden preview, while it runs; more classes than channels; an error before the first map;
  selection and brush of who is painting; threads that are left to Qt;
- test_live_run: the 300th class; a result that was deleted; what happens after strokes or image were deleted;
- test_window: dock and viewer closed in the middle of a run and before its first map; two docks side by side;
- test_segment_widget: a stack in 3-D display before the start; strokes of another size; a widget that is destroyed.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import napari
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Labels
from pytestqt.qtbot import QtBot
from superqt.utils._qthreading import WorkerBase

import napari_dfc as dfc
from napari_dfc import optimization
from napari_dfc.gui.inputs import RunInputs
from napari_dfc.gui.layers import METADATA_KEY
from napari_dfc.gui.live_run import LiveRun
from napari_dfc.gui.segment_widget import SegmentWidget
from napari_dfc.gui.studio import Studio
from napari_dfc.gui.worker import LayerRun

Wait = Callable[[LayerRun], LayerRun]

SETTINGS = dfc.Settings.from_preset("fast", n_channels=6, max_iterations=3)
ENDLESS = SETTINGS.change(max_iterations=100_000)
GROUPS = dfc.Settings.from_preset("fast", n_channels=6, max_iterations=3, n_groups=3)

BEFORE, RUNNING, HELD, ENDED, STOPPED = "before", "running", "held", "ended", "stopped"
STATES = (BEFORE, RUNNING, HELD, ENDED, STOPPED)
GO_ON = (BEFORE, RUNNING, HELD)

HEIGHT, WIDTH = 24, 30


@pytest.fixture
def picture() -> np.ndarray:
    """Two halves with noise, (24, 30)."""
    noise = np.random.default_rng(0).normal(0, 8, (HEIGHT, WIDTH))
    noise[:, WIDTH // 2 :] += 100
    return (noise + 80).clip(0, 255).astype(np.uint8)


def paint(layer: Labels, value: int, row: int, column: int) -> None:
    """As a stroke of the brush, on the first plane where there are several."""
    rows, columns = np.mgrid[row : row + 2, column : column + 5]
    ahead = (np.zeros(rows.size, dtype=int),) * (layer.ndim - 2)
    layer.data_setitem((*ahead, rows.ravel(), columns.ravel()), value)


class Scene:
    """A viewer with an image, a further channel and strokes, and a run over them."""

    def __init__(self, viewer: ViewerModel, picture: np.ndarray, qtbot: QtBot) -> None:
        self.viewer, self.qtbot = viewer, qtbot
        self.studio = Studio(viewer)
        self.said: list[str] = []
        self.studio.said.connect(self.said.append)
        self.image = viewer.add_image(picture, name="cells")
        self.channel = viewer.add_image(255 - picture.T.copy().T, name="stain")
        self.strokes = viewer.add_labels(np.zeros(picture.shape, np.uint8), name="strokes")
        paint(self.strokes, 1, 4, 3)
        paint(self.strokes, 2, 10, 20)

    def start(self, settings: dfc.Settings = ENDLESS) -> LiveRun:
        return self.studio.segment(self.image, self.strokes, channels=[self.channel], settings=settings)

    def bring_to(self, state: str) -> LiveRun:
        run = self.start(SETTINGS if state == ENDED else ENDLESS)
        if state == ENDED:
            self.wait_for(lambda: not run.running)
        elif state != BEFORE:
            self.wait_for(lambda: run.layer is not None and run.layer.data.any())
        if state == HELD:
            run.hold()
        if state == STOPPED:
            run.stop()
        return run

    def wait_for(self, what: Callable[[], Any]) -> None:
        self.qtbot.waitUntil(lambda: bool(what()), timeout=30_000)

    def layer(self, which: str) -> Any:
        return {"image": self.image, "channel": self.channel, "strokes": self.strokes, "result": self.studio.run.layer}[
            which
        ]

    def goes_on(self) -> None:
        """The run shows further iterations."""
        run, seen = self.studio.run, []
        run.release()
        run.progressed.connect(seen.append)
        self.wait_for(lambda: len({progress.done for progress in seen}) > 1 or not run.running)
        assert run.running, run.outcome


@pytest.fixture
def scene(viewer: ViewerModel, picture: np.ndarray, qtbot: QtBot) -> Iterator[Scene]:
    made = Scene(viewer, picture, qtbot)
    yield made
    made.studio.let_go()


@pytest.fixture(autouse=True)
def nothing_on_stderr(capfd: pytest.CaptureFixture[str]) -> Iterator[None]:
    yield
    assert capfd.readouterr().err == ""


def other_pixels(layer: Any) -> np.ndarray:
    """Of the same shape and another dtype."""
    return layer.data[::-1].astype(np.uint16 if isinstance(layer, Labels) else np.float32)


def other_shape(layer: Any) -> np.ndarray:
    return np.ones((9, 7), layer.data.dtype)


def more_axes(layer: Any) -> np.ndarray:
    return np.ones((2, 9, 7), layer.data.dtype)


def involved(state: str) -> tuple[str, ...]:
    return ("image", "channel", "strokes", *(("result",) if state != BEFORE else ()))


CASES = [(state, which) for state in STATES for which in involved(state)]

#: How a run that goes on ends when a layer is deleted; where none is given, it goes on.
ENDS = {"image": "stopped by the user", "result": "Stopped, because the preview layer was deleted."}


def check(scene: Scene, untouched: dict[Any, np.ndarray], *earlier: Labels | None) -> None:
    """Labels are in the run's own layers and nowhere else, over the image they came from."""
    run = scene.studio.run
    known = [scene.image, scene.channel, scene.strokes, *earlier, *run.layers]
    assert all(any(layer is each for each in known) for layer in scene.viewer.layers)
    for layer, data in untouched.items():
        np.testing.assert_array_equal(layer.data, data)
        assert layer.data.dtype == data.dtype
    if run.layer is not None and run.layer not in untouched:
        assert run.layer.data.shape == (HEIGHT, WIDTH)
        np.testing.assert_array_equal(run.layer.data, run.result.labels)
        np.testing.assert_array_equal(run.layer.translate, scene.image.translate[-2:])
        np.testing.assert_array_equal(run.layer.scale, scene.image.scale[-2:])


@pytest.mark.parametrize(("state", "which"), CASES)
def test_a_layer_is_deleted(scene: Scene, state: str, which: str) -> None:
    run = scene.bring_to(state)
    result = run.layer
    scene.viewer.layers.remove(scene.layer(which))
    if state in GO_ON and which in ENDS:
        expected = ENDS[which] if state != BEFORE else "Stopped before there was a label map; nothing was kept."
        assert expected in run.outcome
    elif state in GO_ON:
        scene.goes_on()
        run.stop()
    assert not run.running
    untouched = {scene.image: scene.image.data.copy(), scene.channel: scene.channel.data.copy()}
    paint(scene.strokes, 2, 18, 20)
    untouched[scene.strokes] = scene.strokes.data.copy()
    if which in ("image", "strokes"):
        scene.qtbot.wait(80)  # longer than the pause after a stroke
        assert not run.running
        assert which == "strokes" or state == BEFORE or "the image “cells” was deleted" in scene.said[-1]
    else:
        scene.wait_for(lambda: run.running)
        scene.wait_for(lambda: run.curves()[1].size > 2)
        run.stop()
        assert run.layer in scene.viewer.layers
        assert set(np.unique(run.layer.data)) == {1, 2}
    check(scene, untouched, result)


@pytest.mark.parametrize("state", STATES)
def test_the_image_is_replaced(scene: Scene, state: str) -> None:
    run = scene.bring_to(state)
    for replacement in (other_pixels, other_shape, more_axes)[: 2 if state == BEFORE else 3]:
        scene.image.data = replacement(scene.image)
        untouched = {scene.image: scene.image.data.copy()}
        if state in GO_ON:
            scene.goes_on()
        paint(scene.strokes, 2, 18, 20)
        words = "“cells” holds another image now; press Run to segment that one"
        scene.wait_for(lambda words=words: words in run._unused)
    if state in GO_ON:
        run.stop()
        assert words in run.outcome
    else:
        assert words in scene.said[-1]
    assert len(run.layer.metadata[METADATA_KEY]["strokes"]) == 1
    check(scene, untouched)


def test_the_image_gets_more_axes_before_the_first_preview(scene: Scene) -> None:
    run = scene.bring_to(BEFORE)
    scene.image.data = more_axes(scene.image)
    scene.wait_for(lambda: not run.running)
    assert run.outcome == "Stopped, because “cells” holds another image now; nothing was kept."
    assert list(scene.viewer.layers) == [scene.image, scene.channel, scene.strokes]


@pytest.mark.parametrize("state", STATES)
def test_a_further_channel_is_replaced(scene: Scene, state: str) -> None:
    run = scene.bring_to(state)
    for replacement in (other_pixels, other_shape, more_axes):
        scene.channel.data = replacement(scene.channel)
        untouched = {scene.channel: scene.channel.data.copy()}
        if state in GO_ON:
            scene.goes_on()
    run.stop()
    paint(scene.strokes, 2, 18, 20)
    scene.wait_for(lambda: run.running)
    scene.wait_for(lambda: not run.running or run.curves()[1].size > 2)
    run.stop()
    check(scene, untouched)


@pytest.mark.parametrize("state", STATES)
def test_strokes_are_replaced(scene: Scene, state: str) -> None:
    run = scene.bring_to(state)
    scene.strokes.data = other_pixels(scene.strokes)
    scene.wait_for(lambda: (run.inputs.strokes == scene.strokes.data).all())
    scene.wait_for(lambda: run._run is not None and (run.held or not run._run.has_mail))
    for replacement, words in (
        (other_shape, "“strokes” has 7 x 9 pixels and “cells” 30 x 24; they have to be the same"),
        (more_axes, "“strokes” has 7 x 9 pixels and “cells” 30 x 24; they have to be the same"),
        (lambda _: np.zeros((HEIGHT, WIDTH), np.uint8), "all strokes were erased, and the last ones still count"),
    ):
        scene.strokes.data = replacement(scene.strokes)
        untouched = {scene.strokes: scene.strokes.data.copy()}
        scene.wait_for(lambda words=words: words in run._unused)
    scene.wait_for(lambda: not run.running or (run.layer is not None and run.layer.data.any()))
    run.stop()
    assert words in run.outcome or words in scene.said[-1]
    check(scene, untouched)


@pytest.mark.parametrize("replacement", [other_pixels, other_shape])
@pytest.mark.parametrize("state", STATES[1:])
def test_the_result_is_given_other_labels(scene: Scene, state: str, replacement: Callable[[Any], np.ndarray]) -> None:
    run = scene.bring_to(state)
    given, theirs = run.layer, replacement(run.layer)
    before = theirs.copy()
    given.data = theirs
    if state in GO_ON:
        run.release()
        scene.wait_for(lambda: not run.running)
        assert run.outcome == "Stopped, because the result's layer was changed by something else."
    else:
        with pytest.raises(ValueError, match="changed by something else; segment the image once more"):
            scene.studio.show_count(scene.studio.counts[0])
    paint(scene.strokes, 2, 18, 20)
    scene.wait_for(lambda: run.running)
    scene.wait_for(lambda: not run.running or run.curves()[1].size > 2)
    run.stop()
    assert given.data is theirs
    assert run.layer is not given
    check(scene, {given: before}, given)


@pytest.mark.parametrize("state", STATES)
def test_layers_are_renamed_moved_hidden_and_rescaled(scene: Scene, state: str) -> None:
    run, viewer = scene.bring_to(state), scene.viewer
    untouched = {layer: layer.data.copy() for layer in (scene.image, scene.channel, scene.strokes)}
    for which in involved(state):
        layer = scene.layer(which)
        layer.name = f"my {which}"
        layer.visible = False
        layer.opacity = 0.2
        viewer.layers.move(viewer.layers.index(layer), 0)
        layer.visible = True
    viewer.dims.ndisplay = 3
    viewer.dims.order = (1, 0)
    for layer in (scene.image, scene.strokes):
        layer.scale, layer.translate, layer.rotate = (0.5, 0.25), (10, 20), 30
        layer.units = ("um", "um")
    if state in GO_ON:
        scene.goes_on()
    viewer.dims.ndisplay = 2
    paint(scene.strokes, 2, 18, 20)
    untouched[scene.strokes] = scene.strokes.data.copy()
    scene.wait_for(lambda: (run.inputs.strokes == scene.strokes.data).all())
    scene.wait_for(lambda: run.layer is not None and run.layer.data.any())
    run.stop()
    check(scene, untouched)
    assert (run.layer.scale == (0.5, 0.25)).all()
    np.testing.assert_array_equal(run.layer.rotate, scene.image.rotate)
    assert run.layer.units == scene.image.units


def test_a_result_that_was_given_a_place_of_its_own_stays_there(scene: Scene) -> None:
    run = scene.bring_to(ENDED)
    run.layer.translate = (0, 40)  # side by side with its image
    scene.image.translate, scene.image.scale = (5, 5), (2, 2)
    assert run.layer.translate.tolist() == [0, 40]
    assert run.layer.scale.tolist() == [2, 2]


def test_strokes_that_were_moved_off_the_image_are_not_used_and_it_is_said(scene: Scene) -> None:
    run = scene.bring_to(ENDED)
    before = run.layer.data.copy()
    scene.strokes.translate = (3.5, 0)
    paint(scene.strokes, 2, 18, 20)
    scene.wait_for(lambda: scene.said)
    words = "“strokes” does not lie over the displayed plane of “cells”, pixel on pixel; add a new strokes layer"
    assert scene.said == [f"Strokes not used: {words}."]
    scene.strokes.translate = (0, 0)
    np.testing.assert_array_equal(run.layer.data, before)
    paint(scene.strokes, 2, 18, 22)
    scene.wait_for(lambda: run.running)
    assert len(scene.said) == 1


def test_a_layer_made_of_the_results_array_keeps_its_labels(scene: Scene) -> None:
    run = scene.bring_to(ENDED)
    kept = scene.viewer.add_labels(run.layer.data, name="before")
    before = kept.data.copy()
    paint(scene.strokes, 5, 18, 20)
    scene.wait_for(lambda: run.running)
    scene.wait_for(lambda: not run.running)
    assert (run.layer.data != before).any()
    check(scene, {kept: before}, kept)


# ---------------------------------------------------------------------- when strokes come


def test_strokes_that_are_painted_while_the_image_is_read_count(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare = RunInputs.prepare

    def slow_prepare(inputs: RunInputs, settings: dfc.Settings) -> Any:
        run = prepare(inputs, settings)
        scene_is_painted.wait(30)
        return run

    scene_is_painted = threading.Event()
    monkeypatch.setattr(RunInputs, "prepare", slow_prepare)
    run = scene.start(SETTINGS)
    paint(scene.strokes, 5, 18, 20)
    scene.wait_for(lambda: 5 in run.inputs.strokes)
    scene_is_painted.set()
    scene.wait_for(lambda: not run.running)
    assert set(np.unique(run.layer.data)) == {1, 2, 5}


def test_stop_right_after_a_stroke_stops(scene: Scene) -> None:
    run = scene.bring_to(RUNNING)
    paint(scene.strokes, 5, 18, 20)
    run._strokes_changed()  # as after the pause; the thread has had no time to take them
    run.stop()
    assert not run.running
    scene.qtbot.wait(150)
    assert not run.running


def test_a_dock_closed_while_a_stroke_waits_for_the_thread_stays_closed(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, step = scene.bring_to(RUNNING), optimization._Whole.step
    at_work, going_on = threading.Event(), threading.Event()

    def slow_step(view: Any) -> Any:
        at_work.set()
        going_on.wait(30)
        return step(view)

    monkeypatch.setattr(optimization._Whole, "step", slow_step)
    scene.wait_for(at_work.is_set)
    run.stop()
    paint(scene.strokes, 5, 18, 20)
    run._strokes_changed()
    assert not run.running
    scene.studio.let_go()
    going_on.set()
    scene.wait_for(lambda: not run._worker.is_running)
    scene.qtbot.wait(150)
    assert not run.running


def test_a_single_update_of_a_held_run_is_a_single_one(scene: Scene) -> None:
    run = scene.bring_to(HELD)
    seen: list[str] = []
    run.progressed.connect(lambda progress: seen.append(progress.words))
    scene.wait_for(lambda: seen and seen[-1].startswith("Held"))
    before = run.curves()[1].size
    paint(scene.strokes, 5, 18, 20)
    run.update()
    scene.wait_for(lambda: run.curves()[1].size > before)
    scene.wait_for(lambda: seen[-1].startswith("Held"))
    assert run.curves()[1].size == before + 1


def test_a_run_stopped_early_is_stopped_there_when_it_is_made_once_more(scene: Scene) -> None:
    run = scene.bring_to(RUNNING)
    scene.wait_for(lambda: run.curves()[1].size > 5)
    run.stop()
    first, layer = run.result, run.layer
    again = scene.studio.run_again(layer)
    scene.wait_for(lambda: not again.running)
    assert again.result.iterations == first.iterations
    np.testing.assert_array_equal(again.layer.data, layer.data)


def test_a_run_made_once_more_may_be_stopped_before_there_are_its_groups(scene: Scene) -> None:
    run = scene.studio.segment(scene.image, settings=GROUPS)
    scene.wait_for(lambda: not run.running)
    scene.studio.show_count(scene.studio.counts[-1])
    again = scene.studio.run_again(run.layer)
    scene.wait_for(lambda: again.curves()[1].size > 1)
    again.stop()
    assert not again.running
    assert again.result is None or again.layer.data.any()


# ---------------------------------------------------------------------- planes


def test_strokes_on_another_plane_do_not_count_and_the_result_stays_at_its_own(
    viewer: ViewerModel, picture: np.ndarray, qtbot: QtBot, filled: Wait
) -> None:
    image = viewer.add_image(np.stack([picture, picture[::-1], picture.T[:24].repeat(2, 1)[:, :30]]), scale=(4, 1, 1))
    strokes = viewer.add_labels(np.zeros(image.data.shape, np.uint8), scale=(4, 1, 1))
    for value, row, column in ((1, 4, 3), (2, 10, 20)):
        paint(strokes, value, row, column)
    viewer.dims.set_point(0, 0)
    studio = Studio(viewer)
    run = filled(studio.segment(image, strokes, settings=ENDLESS))
    viewer.dims.set_point(0, 8)
    strokes.data_setitem((np.array([2]), np.array([5]), np.array([5])), 6)
    qtbot.wait(120)
    assert 6 not in run.inputs.strokes
    assert run.inputs.strokes.any()
    run.stop()
    assert run.layer.data.shape == (1, HEIGHT, WIDTH)
    assert run.layer.translate.tolist() == [0, 0, 0]
    studio.let_go()


def test_the_plane_of_strokes_with_more_axes_than_the_image_is_that_of_the_start(
    viewer: ViewerModel, picture: np.ndarray, qtbot: QtBot, filled: Wait
) -> None:
    image = viewer.add_image(picture)
    viewer.add_image(np.zeros((2, 3, HEIGHT, WIDTH)))  # one more axis than the strokes
    painted = np.zeros((3, HEIGHT, WIDTH), np.uint8)
    painted[1, 4, 3:8], painted[1, 10, 20:25], painted[2, 3, 3] = 1, 2, 6
    strokes = viewer.add_labels(painted)
    viewer.dims.set_point((0, 1), (0, 1))
    studio = Studio(viewer)
    run = filled(studio.segment(image, strokes, settings=ENDLESS))
    np.testing.assert_array_equal(run.inputs.strokes, painted[1])
    viewer.dims.set_point(1, 2)
    strokes.data_setitem((np.array([2]), np.array([5]), np.array([5])), 7)
    qtbot.wait(120)
    np.testing.assert_array_equal(run.inputs.strokes, painted[1])
    studio.let_go()


# ---------------------------------------------------------------------- errors in the thread


@pytest.mark.parametrize("error", [RuntimeError, MemoryError, ValueError, KeyError])
@pytest.mark.parametrize("state", [RUNNING, ENDED])
def test_an_error_in_the_thread_keeps_labels_that_have_their_record(
    scene: Scene,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    state: str,
    error: type[Exception],
) -> None:
    run = scene.bring_to(state)
    happens: list[bool] = []

    def broken(self: Any, *args: Any) -> None:
        happens.append(True)
        raise error("broken on purpose")

    monkeypatch.setattr("napari.utils.notifications.notification_manager.receive_error", lambda *_: None)
    for step in ("step", "finish"):
        monkeypatch.setattr(optimization._Whole, step, broken)
    with scene.qtbot.captureExceptions():
        paint(scene.strokes, 5, 18, 20)
        scene.wait_for(lambda: happens and not run.running)
    capfd.readouterr()  # what pytest-qt says of the error that is raised
    assert "broken on purpose" in run.outcome
    if error is MemoryError:  # it began anew, in smaller and smaller crops
        assert "there is not enough memory, even with the smallest crops" in run.outcome
        if state == RUNNING:
            return
    assert f"The labels are those after {run.result.iterations} iterations." in run.outcome
    monkeypatch.undo()
    scene.wait_for(lambda: not run._worker.is_running)
    again = scene.studio.run_again(run.layer)
    scene.wait_for(lambda: not again.running)
    np.testing.assert_array_equal(again.layer.data, run.layer.data)


# ---------------------------------------------------------------------- sizes


def test_an_image_of_one_pixel(viewer: ViewerModel, qtbot: QtBot, finish: Wait) -> None:
    image = viewer.add_image(np.ones((1, 1), np.uint8), name="dot")
    widget = SegmentWidget(viewer)
    qtbot.addWidget(widget.native)
    run = finish(widget.start())
    assert run.outcome
    assert all(layer is image or layer.data.shape == (1, 1) for layer in viewer.layers)


def test_an_image_that_loses_its_axis_of_channels_can_be_segmented(
    viewer: ViewerModel, picture: np.ndarray, qtbot: QtBot
) -> None:
    image = viewer.add_image(np.stack([picture, picture]))
    widget = SegmentWidget(viewer)
    qtbot.addWidget(widget.native)
    widget.channel_axis.value = 0
    image.data = picture
    assert widget.channel_axis.value is None
    assert widget.start_button.enabled


def test_a_large_image_is_stopped_at_once(viewer: ViewerModel, qtbot: QtBot) -> None:
    image = viewer.add_image(np.zeros((8192, 8192), np.uint8), contrast_limits=(0, 255))
    image.data[::2] = 7
    studio = Studio(viewer)
    run = studio.segment(image, settings=ENDLESS.change(split_into="clusters"))
    qtbot.waitUntil(lambda: run.layer is not None, timeout=60_000)
    began = time.perf_counter()
    run.stop()
    assert time.perf_counter() - began < 1
    assert not run.running
    studio.let_go()


# ---------------------------------------------------------------------- docks, windows, the process


def test_two_docks_with_one_image_and_one_strokes_layer(viewer: ViewerModel, picture: np.ndarray, qtbot: QtBot) -> None:
    viewer.add_image(picture, name="cells")
    widgets = [SegmentWidget(viewer) for _ in range(2)]
    for widget in widgets:
        qtbot.addWidget(widget.native)
        widget.form.show_settings(ENDLESS)
    strokes = widgets[0].add_scribbles()
    widgets[1].scribbles.value = strokes
    runs = [widget.start() for widget in widgets]
    paint(strokes, 1, 4, 3)
    paint(strokes, 2, 10, 20)
    for run in runs:
        qtbot.waitUntil(lambda run=run: run._run is not None and run._run.stage.classes == (1, 2), timeout=30_000)
    for run in runs:
        qtbot.waitUntil(lambda run=run: run.layer.data.any(), timeout=30_000)
    widgets[0].stop()
    assert runs[1].running
    widgets[0].let_go()
    paint(strokes, 5, 18, 20)
    qtbot.waitUntil(lambda: runs[1]._run.stage.classes == (1, 2, 5), timeout=30_000)
    widgets[1].stop()
    assert not runs[0].running
    results = ["cells segmentation", "cells segmentation [1]"]
    assert [layer.name for layer in viewer.layers] == ["cells", *results, strokes.name]
    assert 5 not in runs[0].layer.data
    widgets[1].let_go()


@pytest.mark.gui
class TestWindow:
    @pytest.fixture(autouse=True)
    def no_thread_is_left(self, qtbot: QtBot) -> Iterator[None]:
        yield
        qtbot.waitUntil(lambda: not WorkerBase._worker_set, timeout=20_000)

    @pytest.fixture
    def window(self, make_napari_viewer: Callable[..., napari.Viewer], picture: np.ndarray) -> napari.Viewer:
        window = make_napari_viewer(show=True)
        window.add_image(np.stack([picture] * 3), name="stack")
        return window

    def docked(self, window: napari.Viewer) -> tuple[Any, SegmentWidget, LiveRun]:
        dock, widget = window.window.add_plugin_dock_widget("napari-dfc", "Segment")
        widget.form.show_settings(ENDLESS.change(split_into="clusters", min_labels=1))
        widget.add_scribbles()
        return dock, widget, widget.start()

    def held(self, qtbot: QtBot, run: LiveRun) -> None:
        qtbot.waitUntil(lambda: run.layer is not None and run.layer.data.any(), timeout=30_000)
        words: list[str] = []
        run.progressed.connect(lambda progress: words.append(progress.words))
        run.hold()
        qtbot.waitUntil(lambda: bool(words) and words[-1].startswith("Held"), timeout=30_000)

    def test_the_dock_is_closed_while_it_is_held(self, window: napari.Viewer, qtbot: QtBot) -> None:
        dock, widget, run = self.docked(window)
        self.held(qtbot, run)
        strokes = widget.scribbles.value
        dock.destroyOnClose()
        qtbot.waitUntil(lambda: not run.running, timeout=10_000)
        assert run.layer.data.min() == 1
        paint(strokes, 1, 4, 3)
        qtbot.wait(120)
        assert not run.running

    def test_the_viewer_is_closed_while_it_is_held_and_a_stroke_waits(
        self, window: napari.Viewer, qtbot: QtBot
    ) -> None:
        _, widget, run = self.docked(window)
        self.held(qtbot, run)
        paint(widget.scribbles.value, 1, 4, 3)
        window.close()
        qtbot.wait(120)
        assert not run.running

    def test_display_and_slices_change_while_it_runs(self, window: napari.Viewer, qtbot: QtBot) -> None:
        _, _, run = self.docked(window)
        qtbot.waitUntil(lambda: run.layer is not None and run.layer.data.any(), timeout=30_000)
        for change in ({"ndisplay": 3}, {"ndisplay": 2}, {"order": (1, 0, 2)}, {"order": (0, 1, 2)}):
            for name, value in change.items():
                setattr(window.dims, name, value)
            before = run.curves()[1].size
            qtbot.waitUntil(lambda before=before: run.curves()[1].size > before + 2, timeout=30_000)
        window.dims.set_current_step(0, 2)
        qtbot.wait(120)
        run.stop()
        assert "stopped by the user" in run.outcome
        assert run.layer.data.shape == (1, HEIGHT, WIDTH)


BEGIN = """
import napari, numpy as np
from qtpy.QtCore import QTimer
import napari_dfc as dfc
import napari_dfc.gui.background

napari_dfc.gui.background.LAST_WAIT = 600  # a thread that nobody ends takes too long for the test
viewer = napari.Viewer()
viewer.add_image(np.kron(np.eye(8), np.ones((8, 8))), name="cells")
_, widget = viewer.window.add_plugin_dock_widget("napari-dfc", "Segment")
widget.form.show_settings(dfc.Settings.from_preset("fast", n_channels=12, max_iterations=100_000, split_into="clusters",
    min_labels=1))
widget.add_scribbles()
run = widget.start()
def when_filled(act):
    def look():
        act() if run.layer is not None and run.layer.data.any() else QTimer.singleShot(50, look)
    look()
def close_held():
    run.hold()
    QTimer.singleShot(300, viewer.close)
"""

#: How the process ends, its exit status, and the last line on stderr.
ENDINGS = {
    "closed while held": (
        "when_filled(lambda: (run.hold(), QTimer.singleShot(300, viewer.close))); napari.run()",
        0,
        "",
    ),
    "closed without an event loop": ("viewer.close()", 0, ""),
    "an error in the script": ("run.hold(); raise RuntimeError('on purpose')", 1, "RuntimeError: on purpose"),
}


@pytest.mark.gui
def test_the_process_ends() -> None:
    pipe: dict[str, Any] = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE, "text": True}
    at_once = {
        name: subprocess.Popen([sys.executable, "-c", BEGIN + act], **pipe) for name, (act, _, _) in ENDINGS.items()
    }
    try:
        for name, process in at_once.items():
            _, stderr = process.communicate(timeout=180)
            _, status, words = ENDINGS[name]
            said = stderr.strip().splitlines()
            assert (process.returncode, said[-1] if said else "") == (status, words), (name, stderr)
            of_the_error = [line for line in said if not line.startswith(" ")]
            assert len(of_the_error) == 2 * bool(words), (name, stderr)
    finally:
        for process in at_once.values():
            process.kill()
            process.communicate()
