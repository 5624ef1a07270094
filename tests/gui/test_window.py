"""The real napari, in a window."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import napari
import napari.settings
import numpy as np
import pytest
import qtpy
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QPushButton
from superqt.utils._qthreading import WorkerBase

import napari_dfc as dfc
from napari_dfc.gui.demo import demo_viewer
from napari_dfc.gui.segment_widget import SegmentWidget
from napari_dfc.gui.worker import LayerRun

pytestmark = pytest.mark.gui

Wait = Callable[[LayerRun], LayerRun]


@pytest.fixture(autouse=True)
def no_thread_is_left(qtbot: QtBot) -> Iterator[None]:
    yield
    qtbot.waitUntil(lambda: not WorkerBase._worker_set, timeout=20_000)


@pytest.fixture
def window(make_napari_viewer: Callable[..., napari.Viewer]) -> napari.Viewer:
    return make_napari_viewer(show=True)


def docked(window: napari.Viewer, iterations: int = 100_000) -> SegmentWidget:
    """The widget as the menu opens it, with little to compute."""
    _, widget = window.window.add_plugin_dock_widget("napari-dfc", "Segment")
    assert isinstance(widget, SegmentWidget)
    chosen = {"split_into": "clusters", "max_iterations": iterations, "n_channels": 12, "min_labels": 1}
    for name, value in chosen.items():
        widget.form.control(name).value = value
    return widget


def test_qt_is_the_binding_that_was_asked_for(window: napari.Viewer) -> None:
    assert qtpy.API_NAME.lower() == os.environ["QT_API"]  # which qtpy sets where nobody has
    assert not ({"PyQt6", "PySide6"} - {qtpy.API_NAME}) & set(sys.modules)


def test_samples_open_from_the_menu(window: napari.Viewer) -> None:
    for key, shape in (("fluorescence_nuclei", (360, 360)), ("bright_field", (384, 384))):
        (layer,) = window.open_sample("napari-dfc", key)
        assert layer.data.shape == shape
    image, strokes = window.open_sample("napari-dfc", "stained_tissue")
    assert image.rgb
    assert strokes.data.shape == image.data.shape[:2]
    assert sorted(np.unique(strokes.data)) == [0, 1, 2, 3]


def test_the_docks_modules_do_not_load_pytorch() -> None:
    modules = "segment_widget, train_widget, apply_widget, classes_widget, console, demo, sample_data"
    code = f"import sys; from napari_dfc.gui import {modules}; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_segment_is_in_the_layers_menu(window: napari.Viewer) -> None:
    from app_model.types import MenuItem
    from napari._app_model import get_app_model

    entries = get_app_model().menus.get_menu("napari/layers/segment")
    # napari before 0.7 names a widget's command after the widget
    ids = {entry.command.id for entry in entries if isinstance(entry, MenuItem)}
    assert ids & {"napari-dfc.segment", "napari-dfc:Segment"}


def test_training_applying_and_classes_are_in_both_menus(window: napari.Viewer) -> None:
    from app_model.types import MenuItem
    from napari._app_model import get_app_model

    for menu in ("napari/layers/segment", "napari/layers/classify"):
        titles = [item.command.title for item in get_app_model().menus.get_menu(menu) if isinstance(item, MenuItem)]
        for title in ("Train on references", "Apply a network", "Classes"):
            assert any(title in each for each in titles), (menu, titles)


def test_train_and_apply_by_their_buttons_and_see_the_labels(
    window: napari.Viewer, tissue: np.ndarray, qtbot: QtBot, finish: Wait
) -> None:
    left = window.add_image(tissue[:, :40], name="left")
    painted = np.zeros((64, 40), dtype=np.uint8)
    painted[60, 4:30], painted[4, 20:36] = 1, 2
    window.add_labels(painted, name="left strokes")
    series = window.add_image(np.stack([tissue, tissue[::-1]]), name="series", translate=(0, 0, 50))
    _, train = window.window.add_plugin_dock_widget("napari-dfc", "Train on references")
    for name, value in {"max_iterations": 6, "n_channels": 12}.items():
        train.form.control(name).value = value
    for layer in (left, series):
        train.references.tick(layer, layer is left)
    main = window.window._qt_window
    qtbot.waitUntil(main.findChild(QPushButton, name="train").isEnabled)
    main.findChild(QPushButton, name="train").click()
    finish(train.run)
    _, applied = window.window.add_plugin_dock_widget("napari-dfc", "Apply a network")
    applied.images.value = [series]
    before = window.screenshot(flash=False)
    main.findChild(QPushButton, name="apply").click()
    finish(applied.run)
    qtbot.wait(100)
    assert (window.screenshot(flash=False) != before).any(axis=-1).mean() > 0.2
    assert applied.run.layers[0].data.min() == 1


def test_run_and_stop_by_their_buttons_and_see_the_labels(
    window: napari.Viewer, tissue: np.ndarray, qtbot: QtBot, filled: Wait
) -> None:
    image = window.add_image(tissue, name="cells")
    widget = docked(window)
    run, stop = (window.window._qt_window.findChild(QPushButton, name) for name in ("run", "stop"))
    qtbot.waitUntil(run.isEnabled)
    run.click()
    filled(widget.run)
    stop.click()
    assert not widget.running
    assert image in window.layers
    assert len(np.unique(widget.run.layer.data)) == widget.run.result.n_labels > 1
    qtbot.wait(100)
    shown = window.screenshot(flash=False)
    widget.run.layer.visible = False
    changed = (window.screenshot(flash=False) != shown).any(axis=-1).mean()
    assert changed > 0.2  # the regions cover the image


def test_preview_is_drawn_while_it_runs(window: napari.Viewer, tissue: np.ndarray, qtbot: QtBot, filled: Wait) -> None:
    window.add_image(tissue)
    widget = docked(window)
    run = filled(widget.start())
    first = window.screenshot(flash=False)
    qtbot.waitUntil(lambda: (window.screenshot(flash=False) != first).any(), timeout=30_000)
    run.stop()


def test_closing_the_dock_meanwhile_keeps_what_there_is(
    window: napari.Viewer, tissue: np.ndarray, qtbot: QtBot, filled: Wait
) -> None:
    window.add_image(tissue)
    dock, widget = window.window.add_plugin_dock_widget("napari-dfc", "Segment")
    widget.form.control("split_into").value = "clusters"
    widget.form.control("max_iterations").value = 100_000
    widget.form.control("min_labels").value = 1
    run = filled(widget.start())
    dock.destroyOnClose()
    qtbot.waitUntil(lambda: not run.running, timeout=10_000)
    assert run.layer in window.layers
    assert run.layer.data.min() == 1
    window.add_image(tissue)  # nobody listens any more


def test_closing_the_viewer_meanwhile_ends_the_run(
    make_napari_viewer: Callable[..., napari.Viewer], tissue: np.ndarray, qtbot: QtBot, filled: Wait
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.add_image(tissue)
    widget = docked(viewer)
    run = filled(widget.start())
    began = time.perf_counter()
    viewer.close()
    qtbot.waitUntil(lambda: not run.running, timeout=10_000)
    assert time.perf_counter() - began < 30  # it did not wait for 100 000 iterations


def test_closing_the_viewer_before_the_first_map(
    make_napari_viewer: Callable[..., napari.Viewer], tissue: np.ndarray
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.add_image(tissue)
    run = docked(viewer).start()
    viewer.close()
    assert not run.running


def test_two_docks_run_side_by_side(window: napari.Viewer, tissue: np.ndarray, filled: Wait) -> None:
    window.add_image(tissue)
    second = SegmentWidget(window)
    window.window.add_dock_widget(second, name="Segment too")
    second.form.show_settings(
        second.form.settings().change(split_into="clusters", max_iterations=100_000, min_labels=1)
    )
    runs = [filled(widget.start()) for widget in (docked(window), second)]
    for run in runs:
        run.stop()
    assert runs[0].layer is not runs[1].layer


def test_blocking_console_call_takes_the_displayed_plane(window: napari.Viewer, tissue: np.ndarray) -> None:
    stack = window.add_image(np.stack([np.zeros_like(tissue[..., 0]), tissue[..., 0]]))
    window.dims.set_current_step(0, 1)
    settings = {"split_into": "clusters", "max_iterations": 4, "n_channels": 12}
    labels = window.add_layer(dfc.segment_layer(stack, **settings))
    np.testing.assert_array_equal(labels.data[0], dfc.segment(tissue[..., 0], **settings).labels)
    assert labels.translate[0] == 1


def test_preferences_set_what_the_widget_starts_from(window: napari.Viewer) -> None:
    get_plugin_settings = getattr(napari.settings, "get_plugin_settings", None)
    if get_plugin_settings is None:
        pytest.skip("napari before 0.9 has no preferences for plugins")
    preferences = get_plugin_settings("napari-dfc").defaults
    assert docked(window).form.control("preset").value == "balanced"
    preferences.preset, preferences.device = "fast", "cpu"
    try:
        settings = SegmentWidget(window).form.settings()
    finally:
        preferences.preset, preferences.device = "balanced", "auto"
    assert settings == dfc.Settings.from_preset("fast", device="cpu")


def test_demo_opens_the_sample_with_the_widget_ready(
    make_napari_viewer: Callable[..., napari.Viewer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(napari, "Viewer", lambda **_: make_napari_viewer())
    viewer, widget = demo_viewer()
    assert [layer.name for layer in viewer.layers] == ["Stained tissue", "Stained tissue strokes"]
    assert widget.image.value is viewer.layers[0]
    assert widget.scribbles.value is viewer.layers[1]
    assert widget.start_button.enabled
