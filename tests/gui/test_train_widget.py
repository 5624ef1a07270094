from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from pytestqt.qtbot import QtBot

import napari_dfc as dfc
from napari_dfc.gui.dock import NO_IMAGE
from napari_dfc.gui.layers import METADATA_KEY
from napari_dfc.gui.networks import networks_of
from napari_dfc.gui.train_widget import TrainWidget
from napari_dfc.gui.training_run import TrainingRun
from napari_dfc.gui.worker import LayerRun
from napari_dfc.scribbles import unpack
from napari_dfc.segmentation import Run

Wait = Callable[[LayerRun], LayerRun]

SHORT = {"max_iterations": 6, "n_channels": 12, "region_iterations": 2, "n_networks": 2, "n_groups": 3}


@pytest.fixture
def widget(viewer: ViewerModel, qtbot: QtBot) -> TrainWidget:
    widget = TrainWidget(viewer)
    qtbot.addWidget(widget.native)
    widget.native.show()
    shorten(widget)
    return widget


def shorten(widget: TrainWidget, **changes: object) -> None:
    """Little to compute."""
    for name, value in {**SHORT, **changes}.items():
        widget.form.control(name).value = value


@pytest.fixture
def slides(viewer: ViewerModel, tissue: np.ndarray) -> tuple[Image, Image]:
    """Two references of different sizes."""
    left = viewer.add_image(tissue[:, :40], name="left")
    right = viewer.add_image(tissue[8:, 40:], name="right", scale=(2, 2), translate=(0, 90))
    return left, right


@pytest.fixture
def strokes(viewer: ViewerModel, slides: tuple[Image, Image]) -> Labels:
    """Two classes painted on the first reference."""
    painted = np.zeros((64, 40), dtype=np.uint8)
    painted[60, 4:30], painted[4, 20:36] = 2, 5
    return viewer.add_labels(painted, name="left strokes")


def test_without_an_image_it_says_what_to_do(widget: TrainWidget) -> None:
    assert widget.hint.value == NO_IMAGE
    assert widget.start() is None


def test_what_is_selected_when_it_comes_is_ticked(
    viewer: ViewerModel, slides: tuple[Image, Image], strokes: Labels, qtbot: QtBot
) -> None:
    viewer.layers.selection = [slides[1], strokes]
    widget = TrainWidget(viewer)
    qtbot.addWidget(widget.native)
    assert widget.references.chosen == [(slides[1], None)]
    widget.references.tick(slides[0])
    assert widget.references.chosen == [(slides[0], strokes), (slides[1], None)]  # by name and size


def test_nothing_ticked_cannot_train(widget: TrainWidget, slides: tuple[Image, Image]) -> None:
    for slide in slides:
        widget.references.tick(slide, False)
    assert widget.hint.value == "Tick one image or more to learn from."
    assert not widget.start_button.enabled


def test_references_of_other_channels_are_refused_beforehand(widget: TrainWidget, viewer: ViewerModel) -> None:
    viewer.add_image(np.zeros((20, 30, 3), np.uint8), name="color", rgb=True)
    viewer.add_image(np.zeros((20, 30), np.uint8), name="gray")
    for layer in viewer.layers:
        widget.references.tick(layer)
    assert "“color” has 3 channels and “gray” has 1 channel" in widget.hint.value


def test_without_strokes_it_says_what_the_classes_will_be(
    widget: TrainWidget, viewer: ViewerModel, slides: tuple[Image, Image]
) -> None:
    widget.references.tick(slides[0])
    assert "No strokes are chosen: the classes will be 3 groups." in widget.estimate.value
    viewer.layers.selection.active = slides[0]
    layer = widget.add_scribbles()
    assert widget.references.chosen == [(slides[0], layer)]
    assert "nothing is painted" in widget.hint.value
    assert [each.name for each in viewer.layers] == ["left", "left strokes", "right"]
    layer.data[3, 4] = layer.data[20, 4] = 1
    layer.refresh()
    assert "No strokes" not in widget.estimate.value


def test_regions_are_refused_but_not_with_strokes(
    widget: TrainWidget, slides: tuple[Image, Image], strokes: Labels
) -> None:
    widget.form.control("split_into").value = "regions"
    widget.references.tick(slides[0])
    assert widget.hint.value == ""
    widget.references.choose_strokes(slides[0], None)
    assert widget.hint.value.startswith("Regions are pieces of one image")


def test_strokes_on_one_reference_name_the_classes_of_both(
    widget: TrainWidget, viewer: ViewerModel, slides: tuple[Image, Image], strokes: Labels, finish: Wait
) -> None:
    for slide in slides:
        widget.references.tick(slide)
    run = finish(widget.start())
    assert isinstance(run, TrainingRun)
    threads = run.layers[0].metadata[METADATA_KEY]["threads"]  # other libraries may give this thread another number
    expected = dfc.fit(
        [slide.data for slide in slides],
        [strokes.data, None],
        **widget.form.settings().change(threads=threads).as_dict(),
    )
    assert run.model.legend.numbers == (2, 5)
    for name, weight in expected.weights.items():
        np.testing.assert_array_equal(run.model.weights[name], weight)
    for layer, slide in zip(run.layers, slides, strict=True):
        np.testing.assert_array_equal(layer.data, expected.predict(slide.data).labels)
        np.testing.assert_array_equal(layer.extent.world, slide.extent.world)
        kept = layer.metadata[METADATA_KEY]
        assert kept["source"]["layers"] == [slide.name]
        assert kept["model"]["sha256"] == run.model.digest
        painted = [unpack(each) for each in kept["strokes"]]
        assert [each.tolist() for each in painted] == ([strokes.data.tolist()] if slide is slides[0] else [])
    assert [layer.name for layer in viewer.layers] == ["left", "left classes", "right", "right classes", "left strokes"]
    assert run.outcome.startswith("Trained on 2 references: 2 classes after 6 iterations.")
    assert list(networks_of(viewer)) == ["network"]
    assert widget.legend.isVisible()
    assert widget.save_button.visible


def test_groups_are_taught_and_shown_as_the_network_sees_them(
    widget: TrainWidget, slides: tuple[Image, Image], finish: Wait
) -> None:
    for slide in slides:
        widget.references.tick(slide)
    words = []
    run = widget.start()
    run.progressed.connect(lambda progress: words.append(progress.words))
    finish(run)
    expected = dfc.fit([slide.data for slide in slides], **widget.form.settings().as_dict())
    assert run.model.legend.numbers == (1, 2, 3)
    for layer, slide in zip(run.layers, slides, strict=True):
        np.testing.assert_array_equal(layer.data, expected.predict(slide.data).labels)
    assert "Teaching a network these groups ..." in words


def test_names_and_colors_go_to_layers_and_to_the_kept_network(
    widget: TrainWidget, viewer: ViewerModel, slides: tuple[Image, Image], strokes: Labels, finish: Wait
) -> None:
    widget.references.tick(slides[0])
    run = finish(widget.start())
    assert widget.legend.legend[2].color == hex_of(strokes.get_color(2))
    widget.legend.item(0, 2).setText("nucleus")  # as by hand
    widget.legend.set_color(5, "#102030")
    widget.network_name.value = "cells"
    widget.rename()
    model = networks_of(viewer)["cells"]
    assert list(networks_of(viewer)) == ["cells"]
    assert [(entry.number, entry.name) for entry in model.legend] == [(2, "nucleus"), (5, "class 5")]
    assert model.legend[5].color == "#102030"
    assert run.layers[0].features["class"].tolist() == ["", "nucleus", "class 5"]
    assert hex_of(run.layers[0].get_color(5)) == "#102030"
    widget.legend.set_name(5, "nucleus")
    assert "belongs to two classes" in widget.status.value
    assert widget.legend.item(1, 2).text() == "class 5"


def test_a_saved_network_is_the_kept_one(
    widget: TrainWidget,
    viewer: ViewerModel,
    slides: tuple[Image, Image],
    strokes: Labels,
    finish: Wait,
    qtbot: QtBot,
    tmp_path: Path,
) -> None:
    widget.references.tick(slides[0])
    finish(widget.start())
    path = tmp_path / "cells.dfc.safetensors"
    worker = widget.save(path)
    qtbot.waitUntil(lambda: widget.status.value == "Saved as cells.dfc.safetensors.", timeout=30_000)
    assert dfc.load(path).legend == networks_of(viewer)["network"].legend
    worker = widget.save(path)
    qtbot.waitUntil(lambda: not worker.is_running and "exists already" in widget.status.value, timeout=30_000)


def test_stop_keeps_what_was_learned(
    widget: TrainWidget, slides: tuple[Image, Image], strokes: Labels, filled: Wait, finish: Wait
) -> None:
    shorten(widget, max_iterations=100_000)
    widget.references.tick(slides[0])
    run = filled(widget.start())
    widget.stop()
    finish(run)
    assert run.model.legend.numbers == (2, 5)
    assert run.model.iterations < 100_000
    assert set(np.unique(run.layers[0].data)) <= {2, 5}


def test_given_up_while_the_references_are_measured_nothing_is_kept(
    widget: TrainWidget,
    viewer: ViewerModel,
    slides: tuple[Image, Image],
    strokes: Labels,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measuring, going_on, model_of = threading.Event(), threading.Event(), TrainingRun.model_of

    def slow(run: TrainingRun, result: object) -> dfc.Model:
        measuring.set()
        going_on.wait(30)
        return model_of(run, result)

    monkeypatch.setattr(TrainingRun, "model_of", slow)
    widget.references.tick(slides[0])
    run = widget.start()
    qtbot.waitUntil(measuring.is_set, timeout=60_000)
    widget.stop()
    widget.stop()
    assert run.outcome == "Stopped before there was a network; nothing was kept."
    going_on.set()
    qtbot.waitUntil(lambda: not run._worker.is_running, timeout=30_000)
    qtbot.wait(50)
    assert run.model is None
    assert not len(networks_of(viewer))
    assert not widget.save_button.visible


def test_stop_before_there_are_groups_keeps_nothing(
    widget: TrainWidget, viewer: ViewerModel, slides: tuple[Image, Image], filled: Wait
) -> None:
    shorten(widget, region_iterations=100_000)
    widget.references.tick(slides[0])
    n_layers = len(viewer.layers)
    run = filled(widget.start())
    widget.stop()
    assert run.outcome == "Stopped before there was a network; nothing was kept."
    assert len(viewer.layers) == n_layers
    assert not len(networks_of(viewer))


def test_what_is_wrong_with_an_image_is_said(
    widget: TrainWidget, viewer: ViewerModel, slides: tuple[Image, Image], finish: Wait
) -> None:
    viewer.add_image(np.full((20, 30, 3), np.nan), name="nothing", rgb=True)
    for slide in (slides[0], viewer.layers["nothing"]):
        widget.references.tick(slide)
    run = finish(widget.start())
    assert run.outcome.startswith("Not segmented: image ")
    assert run.model is None
    assert not widget.save_button.visible


def test_files_become_ticked_layers(
    widget: TrainWidget, viewer: ViewerModel, tissue: np.ndarray, tmp_path: Path
) -> None:
    iio.imwrite(tmp_path / "tissue.png", tissue)
    (tmp_path / "broken.png").write_bytes(b"no image")
    (layer,) = widget.add_files([tmp_path / "tissue.png", tmp_path / "broken.png"])
    assert layer.name == "tissue"
    assert layer.rgb
    assert widget.references.chosen == [(layer, None)]
    assert "cannot be read as an image" in widget.status.value


def test_a_deleted_reference_ends_the_training_and_is_offered_no_more(
    widget: TrainWidget, viewer: ViewerModel, slides: tuple[Image, Image], strokes: Labels, filled: Wait, finish: Wait
) -> None:
    shorten(widget, max_iterations=100_000)
    for slide in slides:
        widget.references.tick(slide)
    run = filled(widget.start())
    viewer.layers.remove(slides[1])
    finish(run)
    assert run.model is not None
    assert [image for image, _ in widget.references.chosen] == [slides[0]]


def test_a_closed_dock_ends_the_training(
    widget: TrainWidget, slides: tuple[Image, Image], strokes: Labels, filled: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    shorten(widget, max_iterations=100_000)
    widget.references.tick(slides[0])
    run = filled(widget.start())
    widget._let_go()
    assert not run.running
    assert run.model is None


def test_an_error_of_the_engine_is_said(
    widget: TrainWidget, slides: tuple[Image, Image], strokes: Labels, finish: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(run: Run) -> None:
        raise ValueError("no room for this")

    monkeypatch.setattr(Run, "result", broken)
    widget.references.tick(slides[0])
    assert finish(widget.start()).outcome == "Not segmented: no room for this"


def hex_of(color: np.ndarray) -> str:
    return "#" + "".join(f"{round(255 * part):02x}" for part in color[:3])


def test_new_strokes_are_for_the_selected_image_which_is_ticked(
    widget: TrainWidget, viewer: ViewerModel, slides: tuple[Image, Image]
) -> None:
    widget.references.tick(slides[1])
    viewer.layers.selection.active = slides[0]
    first = widget.add_scribbles()
    assert widget.references.chosen == [(slides[0], first), (slides[1], None)]
    assert first.name == "left strokes"
    widget.references.tick(slides[0], False)
    assert viewer.layers.selection.active is first  # no image: the first ticked one is meant
    second = widget.add_scribbles()
    assert widget.references.chosen == [(slides[1], second)]
