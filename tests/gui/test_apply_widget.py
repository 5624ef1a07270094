from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils._proxies import PublicOnlyProxy
from pytestqt.qtbot import QtBot

import napari_dfc as dfc
from napari_dfc.gui.apply_run import ApplyRun
from napari_dfc.gui.apply_widget import ApplyWidget
from napari_dfc.gui.layers import METADATA_KEY
from napari_dfc.gui.networks import Networks, networks_of

Finish = Callable[[Any], Any]


@pytest.fixture(scope="module")
def model(tissue_once: np.ndarray) -> dfc.Model:
    """A network of two classes, 2 and 5, for color images."""
    painted = np.zeros(tissue_once.shape[:2], dtype=np.uint8)
    painted[60, 4:30], painted[4, 20:36] = 2, 5
    result = dfc.segment(tissue_once, scribbles=painted, preset="fast", max_iterations=6, n_channels=12)
    return result.model(names={2: "nucleus"}).colored({2: "#112233"})


@pytest.fixture(scope="module")
def gray_model(tissue_once: np.ndarray) -> dfc.Model:
    """The same for images of two channels."""
    pair = (tissue_once[..., 0], tissue_once[..., 2])
    result = dfc.segment(pair, split_into="clusters", max_iterations=6, n_channels=4, min_labels=1)
    return result.model()


@pytest.fixture
def widget(viewer: ViewerModel, qtbot: QtBot, model: dfc.Model) -> ApplyWidget:
    networks_of(viewer).keep("cells", model)
    widget = ApplyWidget(viewer)
    qtbot.addWidget(widget.native)
    widget.native.show()
    return widget


def staining(tissue: np.ndarray, frames: int) -> np.ndarray:
    """Ever more blue and less red, (T, H, W, 3)."""
    amounts = 0.03 * np.arange(frames)
    return (
        np.stack([tissue * (1 + amount * np.array([-0.4, 0.1, 0.3])) for amount in amounts])
        .clip(0, 255)
        .astype(np.uint8)
    )


def test_without_a_network_it_says_what_to_do(viewer: ViewerModel, image: Image, qtbot: QtBot) -> None:
    widget = ApplyWidget(viewer)
    qtbot.addWidget(widget.native)
    assert widget.hint.value.startswith("Train a network first")
    assert widget.start() is None


def test_a_network_trained_meanwhile_is_offered(viewer: ViewerModel, qtbot: QtBot, model: dfc.Model) -> None:
    widget = ApplyWidget(viewer)
    qtbot.addWidget(widget.native)
    networks_of(viewer).keep("cells", model)
    assert widget.network.value == "cells"
    assert "nucleus" in widget.about.value


def test_the_network_that_came_last_is_chosen(viewer: ViewerModel, qtbot: QtBot, model: dfc.Model) -> None:
    networks = networks_of(viewer)
    for name in ("first", "second"):
        networks.keep(name, model)
    widget = ApplyWidget(viewer)
    qtbot.addWidget(widget.native)
    assert widget.network.value == "second"
    networks.keep("third", model)
    assert widget.network.value == "third"
    widget.network.value = "first"
    networks.keep("second", model)  # in place of the one of this name
    networks.rename("third", "3")
    assert widget.network.value == "first"


def test_a_layer_gets_the_classes_of_the_network(
    widget: ApplyWidget, viewer: ViewerModel, image: Image, model: dfc.Model, finish: Finish
) -> None:
    assert widget.images.value == [image]
    run = finish(widget.start())
    layer = run.layers[0]
    np.testing.assert_array_equal(layer.data, model.predict(image.data).labels)
    assert layer.name == "cells by cells"
    assert layer.features["class"].tolist() == ["", "nucleus", "class 5"]
    np.testing.assert_allclose(layer.get_color(2)[:3], np.array([0x11, 0x22, 0x33]) / 255, atol=1e-6)
    kept = layer.metadata[METADATA_KEY]
    assert kept["model"]["sha256"] == model.digest
    assert kept["planes"][0]["drift"] < 0.01
    assert run.outcome == "1 plane segmented."
    assert viewer.layers.selection.active is image


def test_every_plane_of_a_stack_is_segmented_and_lies_over_it(
    widget: ApplyWidget, viewer: ViewerModel, tissue: np.ndarray, model: dfc.Model, finish: Finish
) -> None:
    stack = np.stack([tissue, tissue[::-1], tissue[:, ::-1]])[None]  # (1, 3, H, W, 3)
    layer = viewer.add_image(stack, name="stack", scale=(3, 2, 0.5, 0.5), translate=(1, 2, 3, 4), rotate=None)
    widget.images.value = [layer]
    run = finish(widget.start())
    result = run.layers[0]
    assert result.data.shape == stack.shape[:-1]
    for place in range(3):
        np.testing.assert_array_equal(result.data[0, place], model.predict(stack[0, place]).labels)
    np.testing.assert_array_equal(result.extent.world, layer.extent.world)
    assert [plane["position"] for plane in result.metadata[METADATA_KEY]["planes"]] == [
        {"0": 0, "1": place} for place in range(3)
    ]


def test_smoothing_goes_along_time(
    widget: ApplyWidget, viewer: ViewerModel, tissue: np.ndarray, model: dfc.Model, finish: Finish
) -> None:
    noise = np.random.default_rng(0).normal(0, 25, (4, 2, *tissue.shape))
    series = np.clip(np.stack([tissue, tissue[::-1]]) + noise, 0, 255).astype(np.uint8)  # (T, Z, H, W, 3)
    layer = viewer.add_image(series, name="series")
    widget.images.value, widget.smoothing.value = [layer], 0.5
    result = finish(widget.start()).layers[0]
    for depth in range(2):
        expected = [each.labels for each in model.predict_series(series[:, depth], smoothing=0.5)]
        np.testing.assert_array_equal(result.data[:, depth], expected)
    assert (result.data[1:, 0] != [model.predict(each).labels for each in series[1:, 0]]).any()
    assert result.metadata[METADATA_KEY]["smoothing"] == 0.5


def test_changes_are_followed_along_time(
    widget: ApplyWidget,
    viewer: ViewerModel,
    tissue: np.ndarray,
    model: dfc.Model,
    finish: Finish,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("napari_dfc.adaptation.LEAST_AGREEMENT", 0.0)  # updates are kept however little they learned
    series = staining(tissue, 3)
    layer = viewer.add_image(np.stack([series, series[:, ::-1]], axis=1), name="series")  # (T, Z, H, W, 3)
    widget.images.value, widget.adaptation.value = [layer], 2
    run = finish(widget.start())
    kept = run.layers[0].metadata[METADATA_KEY]
    updates = {(each["position"]["0"], each["position"]["1"]): each["updates"] for each in kept["planes"]}
    assert kept["adaptation"] == 2
    for depth, planes in enumerate((series, series[:, ::-1])):
        expected = list(model.predict_series(planes, adaptation=2))
        np.testing.assert_array_equal(run.layers[0].data[:, depth], [each.labels for each in expected])
        made = [each.record["series"]["updates"] for each in expected]
        assert [updates[moment, depth] for moment in range(3)] == made
        assert 2 in made
    n_updated = sum(each > 0 for each in updates.values())
    assert run.outcome.startswith(f"6 planes segmented. The network was updated on {n_updated} of them.")
    assert (run.layers[0].data[-1, 0] != model.predict(series[-1]).labels).any()


def test_a_plane_that_fails_does_not_end_what_is_followed(
    widget: ApplyWidget,
    viewer: ViewerModel,
    tissue: np.ndarray,
    model: dfc.Model,
    finish: Finish,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("napari_dfc.adaptation.LEAST_AGREEMENT", 0.0)
    series = staining(tissue, 4).astype(float)
    series[2] = np.nan
    widget.images.value = [viewer.add_image(series, name="series", rgb=True)]
    widget.adaptation.value = 2
    run = finish(widget.start())
    expected = [each.labels for each in model.predict_series(series[[0, 1, 3]], adaptation=2)]
    np.testing.assert_array_equal(run.layers[0].data[[0, 1, 3]], expected)
    assert "1 failed: series, axis 0: 2: " in run.outcome


def test_following_is_off_by_default_and_offered_for_series_alone(
    widget: ApplyWidget, viewer: ViewerModel, tissue: np.ndarray, model: dfc.Model
) -> None:
    assert widget.adaptation.native.currentText() == widget.smoothing.native.text() == "off"
    widget.images.value = [viewer.add_image(tissue, name="one")]
    assert not widget.adaptation.visible
    widget.images.value = [viewer.add_image(np.stack([tissue] * 2), name="series")]
    assert widget.adaptation.visible
    assert not widget.estimate.visible
    widget.adaptation.value = 5
    assert widget.estimate.value == f"Takes {model.plan(tissue.shape[:2], adaptation=5)}."
    widget.planes.value = "displayed plane"
    assert not widget.adaptation.visible
    assert widget._application().adaptation == 0


def test_the_displayed_plane_alone(
    widget: ApplyWidget, viewer: ViewerModel, tissue: np.ndarray, model: dfc.Model, finish: Finish
) -> None:
    layer = viewer.add_image(np.stack([tissue, tissue[::-1]]), name="stack")
    widget.images.value, widget.planes.value = [layer], "displayed plane"
    viewer.dims.set_current_step(0, 1)
    result = finish(widget.start()).layers[0]
    np.testing.assert_array_equal(result.data, model.predict(tissue[::-1]).labels[None])
    assert result.translate.tolist() == [1, 0, 0]


@pytest.mark.parametrize("channel_axis", [0, 1, 3])
def test_channels_on_an_axis(
    viewer: ViewerModel, tissue: np.ndarray, gray_model: dfc.Model, qtbot: QtBot, finish: Finish, channel_axis: int
) -> None:
    pair = np.stack([tissue[..., 0], tissue[..., 2]])
    series = np.moveaxis(np.stack([pair, pair[:, ::-1], pair[:, :, ::-1]]), 1, channel_axis)
    viewer.add_image(series, name="series", rgb=False)
    networks_of(viewer).keep("pair", gray_model)
    widget = ApplyWidget(viewer)
    qtbot.addWidget(widget.native)
    assert "has 1 channel and the network was trained on 2" in widget.hint.value
    if channel_axis == 3:  # no slider of its own in this order
        viewer.dims.order = (0, 3, 1, 2)
        viewer.dims.order = (3, 0, 1, 2)
        assert channel_axis not in [axis for _, axis in widget._channel_axes()]
        return
    widget.channel_axis.value = channel_axis
    result = finish(widget.start()).layers[0]
    labels = np.squeeze(result.data) if channel_axis == 0 else result.data[:, 0]
    for place, plane in enumerate(np.moveaxis(series, channel_axis, 1)):
        np.testing.assert_array_equal(labels[place], gray_model.predict(plane, channel_axis=0).labels)
    if channel_axis:
        np.testing.assert_array_equal(result.data[:, 0], result.data[:, 1])  # the slider of the channels hides nothing


def test_stop_keeps_the_finished_planes(
    widget: ApplyWidget, viewer: ViewerModel, tissue: np.ndarray, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    going_on, predict = threading.Event(), ApplyRun._predict

    def slow(run: ApplyRun, *given: Any) -> Iterator[Any]:
        for number, done in enumerate(predict(run, *given)):
            if number == 2:
                going_on.wait(30)
            yield done

    monkeypatch.setattr(ApplyRun, "_predict", slow)
    layer = viewer.add_image(np.stack([tissue] * 4), name="stack")
    widget.images.value = [layer]
    run = widget.start()
    qtbot.waitUntil(lambda: len(run.drifts) == 2, timeout=30_000)
    widget.stop()
    going_on.set()
    assert run.outcome == "Stopped after 2 of 4 planes."
    assert run.layers[0].data[:2].all()
    assert not run.layers[0].data[2:].any()
    assert widget.start_button.enabled


def test_a_plane_that_fails_does_not_stop_the_others(
    widget: ApplyWidget, viewer: ViewerModel, tissue: np.ndarray, finish: Finish
) -> None:
    stack = np.stack([tissue, np.full_like(tissue, np.nan, dtype=float), tissue])
    layer = viewer.add_image(stack, name="stack", rgb=True)
    widget.images.value = [layer]
    run = finish(widget.start())
    assert run.outcome.startswith("2 planes segmented. 1 failed: stack, ")
    assert "no pixel of the image can be used" in run.outcome
    assert run.layers[0].data[[0, 2]].all()
    assert not run.layers[0].data[1].any()


def test_an_image_unlike_the_references_is_told(
    widget: ApplyWidget, viewer: ViewerModel, tissue: np.ndarray, finish: Finish
) -> None:
    layer = viewer.add_image(np.stack([tissue, 255 - tissue]), name="stack")
    widget.images.value = [layer]
    run = finish(widget.start())
    assert "1 of them is unlike the references" in run.outcome
    widget.statistics.value = "own"
    run = finish(widget.start())
    assert run.outcome == "2 planes segmented."
    assert run.layers[0].metadata[METADATA_KEY]["statistics"] == "image"


def test_several_layers_one_of_them_deleted_meanwhile(
    widget: ApplyWidget, viewer: ViewerModel, tissue: np.ndarray, finish: Finish
) -> None:
    first = viewer.add_image(np.stack([tissue] * 30), name="first")
    second = viewer.add_image(tissue[:, ::-1], name="second")
    widget.images.value = [first, second]
    run = widget.start()
    viewer.layers.remove(first)
    finish(run)
    assert len(run.drifts) < 31
    assert run.layers[1].data.all()
    assert run.layers[1] in viewer.layers


def test_a_file_is_opened_and_a_damaged_one_refused(
    widget: ApplyWidget, model: dfc.Model, qtbot: QtBot, tmp_path: Path
) -> None:
    model.save(tmp_path / "mine.dfc.safetensors")
    widget.open_network(tmp_path / "mine.dfc.safetensors")
    qtbot.waitUntil(lambda: widget.network.value == "mine", timeout=30_000)
    assert widget.model.digest == model.digest
    (tmp_path / "bad.dfc.safetensors").write_bytes((tmp_path / "mine.dfc.safetensors").read_bytes()[:-1])
    worker = widget.open_network(tmp_path / "bad.dfc.safetensors")
    qtbot.waitUntil(lambda: "cannot be used" in widget.status.value, timeout=30_000)
    qtbot.waitUntil(lambda: not worker.is_running, timeout=30_000)
    assert widget.network.value == "mine"


def test_a_closed_dock_ends_it(widget: ApplyWidget, viewer: ViewerModel, tissue: np.ndarray) -> None:
    layer = viewer.add_image(np.stack([tissue] * 50), name="stack")
    widget.images.value = [layer]
    run = widget.start()
    widget._let_go()
    assert run.outcome.startswith("Stopped after ")


def test_a_result_that_is_changed_meanwhile_is_left_alone(
    widget: ApplyWidget, viewer: ViewerModel, tissue: np.ndarray, qtbot: QtBot, finish: Finish
) -> None:
    layer = viewer.add_image(np.stack([tissue] * 6), name="stack")
    widget.images.value = [layer]
    run = widget.start()
    qtbot.waitUntil(lambda: bool(run.drifts), timeout=30_000)
    own = np.zeros((6, 64, 72), dtype=np.uint8)  # of the same shape
    run.layers[0].data = own
    finish(run)
    assert "was changed by something else" in run.outcome
    assert not own.any()


def test_an_image_that_is_changed_meanwhile_is_left_as_far_as_it_was(
    widget: ApplyWidget, viewer: ViewerModel, tissue: np.ndarray, model: dfc.Model, qtbot: QtBot, finish: Finish
) -> None:
    layer = viewer.add_image(np.stack([tissue] * 30), name="stack")
    other = viewer.add_image(tissue[:, ::-1], name="other")
    widget.images.value = [layer, other]
    run = widget.start()
    qtbot.waitUntil(lambda: bool(run.drifts), timeout=30_000)
    layer.data = np.zeros((3, 20, 30, 3), dtype=np.uint8)
    finish(run)
    assert "“stack” was changed meanwhile" in run.outcome
    n_done = len(run.layers[0].metadata[METADATA_KEY]["planes"])
    assert n_done < 30
    np.testing.assert_array_equal(run.layers[0].data[0], model.predict(tissue).labels)
    assert not run.layers[0].data[n_done:].any()
    np.testing.assert_array_equal(run.layers[1].data, model.predict(other.data).labels)


def test_many_planes_wait_for_a_busy_window(
    widget: ApplyWidget, viewer: ViewerModel, tissue: np.ndarray, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer = viewer.add_image(np.stack([tissue[:12, :12]] * 120), name="stack", rgb=True)
    widget.images.value = [layer]
    run = widget.start()
    depth, deepest, take = 0, 0, ApplyRun._take

    def counted(self: ApplyRun, progress: Any) -> None:
        nonlocal depth, deepest
        depth += 1
        deepest = max(deepest, depth)
        take(self, progress)
        depth -= 1

    run._worker.yielded.disconnect(run._take)
    run._worker.yielded.connect(lambda progress: counted(run, progress))
    time.sleep(1)  # nothing is drawn meanwhile
    finish(run)
    assert len(run.drifts) == 120
    assert deepest <= 2


def test_memory_that_runs_out_is_a_failure_of_one_plane(
    widget: ApplyWidget, viewer: ViewerModel, tissue: np.ndarray, finish: Finish, monkeypatch: pytest.MonkeyPatch
) -> None:
    respond = dfc.Model.respond

    def short(self: dfc.Model, image: Any, **options: Any) -> Any:
        if np.asarray(image[0])[0, 0, 0] == 7:
            raise RuntimeError("can't allocate memory")
        return respond(self, image, **options)

    monkeypatch.setattr(dfc.Model, "respond", short)
    stack = np.stack([tissue] * 3)
    stack[1, 0, 0] = 7
    layer = viewer.add_image(stack, name="stack")
    widget.images.value = [layer]
    run = finish(widget.start())
    assert run.outcome == "2 planes segmented. 1 failed: stack, axis 0: 1: can't allocate memory"


def test_a_result_too_large_for_memory_is_refused_beforehand(widget: ApplyWidget, viewer: ViewerModel) -> None:
    endless = np.broadcast_to(np.zeros((1, 64, 64, 3), dtype=np.uint8), (10**9, 64, 64, 3))  # takes no memory
    viewer.add_image(endless, name="endless", rgb=True)
    widget.images.value = [viewer.layers["endless"]]
    assert widget.hint.value.startswith("The labels of all planes of “endless” would take 4096.0 GB of memory")
    assert not widget.start_button.enabled
    widget.planes.value = "displayed plane"
    assert widget.start_button.enabled


def test_networks_outlive_the_wrapper_that_asked_for_them(viewer: ViewerModel, model: dfc.Model) -> None:
    wrapper = PublicOnlyProxy(viewer)
    networks_of(wrapper).keep("cells", model)
    del wrapper
    gc.collect()
    assert list(networks_of(viewer)) == ["cells"]


def test_names_that_are_taken_are_counted_on() -> None:
    networks = Networks()
    for expected in ("network", "network 2", "network 3"):
        name = networks.new_name("network 2" if expected == "network 3" else "network")
        assert name == expected
        networks.keep(name, None)
