from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from pytestqt.qtbot import QtBot

import napari_dfc as dfc
from napari_dfc.gui.layers import METADATA_KEY, image_plane
from napari_dfc.gui.networks import networks_of
from napari_dfc.gui.segment_widget import SegmentWidget
from napari_dfc.gui.studio import Studio
from napari_dfc.settings import USUAL_UPDATES

Wait = Callable[[Any], Any]

#: Networks whose updates take little time.
QUICK = dfc.Settings.from_preset("fast", n_channels=8, max_iterations=4, n_networks=1, extractor="convolutions")

GROUPS = dfc.Settings.from_preset("fast", n_channels=12, max_iterations=8, n_groups=3)


@pytest.fixture
def planes(tissue: np.ndarray) -> np.ndarray:
    """The tissue in three exposures, (3, 64, 72, 3)."""
    return np.stack([tissue, 0.9 * tissue, tissue[::-1]]).astype(np.uint8)


@pytest.fixture
def stack(viewer: ViewerModel, planes: np.ndarray) -> Image:
    layer = viewer.add_image(planes, name="stack", rgb=True, scale=(5, 0.5, 0.5), translate=(10, 1, 2))
    viewer.dims.set_current_step(0, 1)
    return layer


def test_all_planes_get_the_painted_classes_by_one_network(
    studio: Studio, viewer: ViewerModel, stack: Image, planes: np.ndarray, finish: Wait
) -> None:
    strokes = studio.new_scribbles(image_plane(stack, (1,)))
    strokes.data[0, 4, 4:20], strokes.data[0, 50, 4:20] = 3, 7
    run = finish(studio.segment(stack, strokes, settings=GROUPS))
    whole = finish(studio.segment_all_planes())
    (layer,) = whole.layers.values()
    assert layer.data.shape == (3, 64, 72)
    model = networks_of(viewer)["stack network"]
    for index, plane in enumerate(planes):
        np.testing.assert_array_equal(layer.data[index], model.predict(plane).labels)
    np.testing.assert_array_equal(layer.data[1], run.layer.data[0])
    np.testing.assert_array_equal(layer.data_to_world((2, 3, 4)), stack.data_to_world((2, 3, 4)))
    for number in (3, 7):
        np.testing.assert_allclose(layer.get_color(number), run.layer.get_color(number), atol=0.01)
    assert [each["position"] for each in layer.metadata[METADATA_KEY]["planes"]] == [{"0": index} for index in range(3)]


def test_groups_as_the_slider_shows_them_are_taught_to_the_network(
    studio: Studio, viewer: ViewerModel, stack: Image, finish: Wait
) -> None:
    run = finish(studio.segment(stack, settings=GROUPS))
    studio.show_count(4)
    whole = finish(studio.segment_all_planes())
    (layer,) = whole.layers.values()
    assert whole.application.model.legend.numbers == (1, 2, 3, 4)
    assert (layer.data > 0).all()
    assert (layer.data[1] == run.layer.data[0]).mean() > 0.7  # as far as one network can tell the groups apart
    for number in (1, 2, 3, 4):
        np.testing.assert_allclose(layer.get_color(number), run.layer.get_color(number), atol=0.01)


def test_channels_of_further_layers_are_taken_plane_by_plane(
    studio: Studio, viewer: ViewerModel, planes: np.ndarray, finish: Wait
) -> None:
    red, green = (viewer.add_image(planes[..., channel], name=f"stain {channel}") for channel in range(2))
    flat = viewer.add_image(planes[0, ..., 2], name="flat")
    viewer.dims.set_current_step(0, 2)
    finish(studio.segment(red, channels=[green, flat], settings=GROUPS.change(split_into="clusters", min_labels=2)))
    whole = finish(studio.segment_all_planes())
    (layer,) = whole.layers.values()
    for index, plane in enumerate(planes):
        channels = (plane[..., 0], plane[..., 1], planes[0, ..., 2])
        np.testing.assert_array_equal(layer.data[index], whole.application.model.predict(channels).labels)
    assert layer.metadata[METADATA_KEY]["source"]["layers"] == ["stain 0", "stain 1", "flat"]


def test_the_region_of_interest_holds_for_all_planes(
    studio: Studio, viewer: ViewerModel, stack: Image, finish: Wait
) -> None:
    square = [[8.0, 9], [8, 20], [25, 20], [25, 9]]
    roi = viewer.add_shapes([square], shape_type="rectangle")
    run = finish(studio.segment(stack, within=roi, settings=GROUPS.change(split_into="clusters", min_labels=2)))
    whole = finish(studio.segment_all_planes())
    (layer,) = whole.layers.values()
    inside = run.layer.data[0] > 0
    assert 0 < inside.mean() < 0.5
    for labels, plane in zip(layer.data, stack.data, strict=True):
        np.testing.assert_array_equal(labels > 0, inside)
        np.testing.assert_array_equal(labels, whole.application.model.predict(plane, mask=inside).labels)


def test_a_level_is_segmented_in_all_planes(
    studio: Studio, viewer: ViewerModel, planes: np.ndarray, finish: Wait
) -> None:
    gray = planes[..., 0]
    coarse = gray[:, ::2, ::2]
    slide = viewer.add_image([gray, coarse], multiscale=True, name="slide")
    finish(studio.segment(slide, level=1, settings=GROUPS.change(split_into="clusters", min_labels=2)))
    (layer,) = finish(studio.segment_all_planes()).layers.values()
    assert layer.data.shape == (3, 32, 36)
    np.testing.assert_allclose(layer.data_to_world((2, 0, 0)), (2, 0.5, 0.5))
    assert (layer.data > 0).all()


@pytest.fixture
def staining(tissue: np.ndarray) -> np.ndarray:
    """The tissue with ever more blue and less red, (5, 64, 72, 3)."""
    stained = [tissue * (1 + amount * np.array([-0.4, 0.1, 0.3])) for amount in 0.03 * np.arange(5)]
    return np.stack(stained).clip(0, 255).astype(np.uint8)


def paint(studio: Studio, layer: Image, position: tuple[int, ...]) -> Labels:
    """A few strokes of classes 3 and 7 on a plane."""
    strokes = studio.new_scribbles(image_plane(layer, position))
    (painted,) = strokes.data.reshape(-1, 64, 72)
    painted[4, 4:20], painted[50, 4:20] = 3, 7
    return strokes


def test_changes_are_followed_from_the_segmented_plane_outward(
    studio: Studio,
    viewer: ViewerModel,
    staining: np.ndarray,
    finish: Wait,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("napari_dfc.adaptation.LEAST_AGREEMENT", 0.0)  # updates are kept however little they learned
    stack = viewer.add_image(staining, name="stack", rgb=True)
    viewer.dims.set_current_step(0, 2)
    run = finish(studio.segment(stack, paint(studio, stack, (2,)), settings=QUICK))
    whole = finish(studio.segment_all_planes(adaptation=2))
    (layer,) = whole.layers.values()
    model = whole.application.model
    for places in ([2, 3, 4], [2, 1, 0]):
        expected = list(model.predict_series(staining[places], adaptation=2))
        np.testing.assert_array_equal(layer.data[places], [each.labels for each in expected])
        assert 2 in [each.record["series"]["updates"] for each in expected]
    np.testing.assert_array_equal(layer.data[2], run.layer.data[0])
    kept = layer.metadata[METADATA_KEY]
    assert [each["position"]["0"] for each in kept["planes"]] == [2, 3, 4, 1, 0]
    assert (kept["adaptation"], kept["begins"]) == (2, {"0": 2})
    assert "5 planes segmented. The network was updated on " in whole.outcome
    plain = [model.predict(plane).labels for plane in staining]
    assert (layer.data != plain).any()


def test_of_two_sliders_the_first_is_followed_and_the_nearest_of_the_second_comes_first(
    studio: Studio, viewer: ViewerModel, staining: np.ndarray, finish: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_dfc.adaptation.LEAST_AGREEMENT", 0.0)
    film = np.stack([staining[:3], staining[:3, ::-1]], axis=1)  # (T, Z, H, W, 3)
    stack = viewer.add_image(film, name="film", rgb=True)
    viewer.dims.set_current_step((0, 1), (1, 1))
    finish(studio.segment(stack, paint(studio, stack, (1, 1)), settings=QUICK))
    whole = finish(studio.segment_all_planes(adaptation=1))
    (layer,) = whole.layers.values()
    visited = [tuple(each["position"].values()) for each in layer.metadata[METADATA_KEY]["planes"]]
    assert visited == [(1, 1), (2, 1), (0, 1), (1, 0), (2, 0), (0, 0)]
    for depth in range(2):
        for places in ([1, 2], [1, 0]):
            expected = whole.application.model.predict_series(film[places, depth], adaptation=1)
            np.testing.assert_array_equal(layer.data[places, depth], [each.labels for each in expected])


def test_stop_keeps_the_planes_around_the_segmented_one(
    studio: Studio, viewer: ViewerModel, staining: np.ndarray, finish: Wait
) -> None:
    stack = viewer.add_image(staining, name="stack", rgb=True)
    viewer.dims.set_current_step(0, 2)
    finish(studio.segment(stack, paint(studio, stack, (2,)), settings=QUICK))
    whole = studio.segment_all_planes(adaptation=1)
    whole.progressed.connect(lambda progress: whole.stop() if progress.done == 2 else None)
    finish(whole)
    (layer,) = whole.layers.values()
    assert whole.outcome.startswith("Stopped after 2 of 5 planes. The network was updated on ")
    assert [bool(plane.any()) for plane in layer.data] == [False, False, True, True, False]


def test_masked_pixels_have_no_say_in_what_is_followed(
    studio: Studio, viewer: ViewerModel, staining: np.ndarray, finish: Wait, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_dfc.adaptation.LEAST_AGREEMENT", 0.0)
    viewer.add_image(staining[:3], name="stack", rgb=True)
    roi = viewer.add_shapes([[[2.0, 2], [2, 40], [60, 40], [60, 2]]], shape_type="rectangle")
    stack = viewer.layers["stack"]
    viewer.dims.set_current_step(0, 0)
    run = finish(studio.segment(stack, paint(studio, stack, (0,)), within=roi, settings=QUICK))
    whole = finish(studio.segment_all_planes(adaptation=2))
    (layer,) = whole.layers.values()
    mask = run.layer.data[0] > 0
    expected = whole.application.model.predict_series(staining[:3], adaptation=2, mask=mask)
    np.testing.assert_array_equal(layer.data, [each.labels for each in expected])


def test_an_adaptation_out_of_range_is_refused(studio: Studio, stack: Image, finish: Wait) -> None:
    finish(studio.segment(stack, settings=GROUPS.change(split_into="clusters", min_labels=2)))
    with pytest.raises(ValueError, match="adaptation is 51"):
        studio.segment_all_planes(adaptation=51)


def test_the_dock_says_how_the_network_goes_over_the_planes(
    viewer: ViewerModel, stack: Image, qtbot: QtBot, finish: Wait
) -> None:
    widget = SegmentWidget(viewer)
    qtbot.addWidget(widget.native)
    widget.native.show()
    for name, value in {"max_iterations": 4, "n_channels": 12, "split_into": "clusters", "min_labels": 2}.items():
        widget.form.control(name).value = value
    finish(widget.start())
    by, button = widget.controls.planes_by, widget.controls.all_planes
    assert by.visible
    button.native.click()
    assert not by.enabled
    assert finish(widget.studio.stack_run).application.adaptation == 0
    by.value = "following changes"
    button.native.click()
    assert finish(widget.studio.stack_run).application.adaptation == USUAL_UPDATES
    assert by.enabled


def test_what_no_network_gives_is_refused_in_words(
    studio: Studio, viewer: ViewerModel, image: Image, stack: Image, finish: Wait
) -> None:
    with pytest.raises(ValueError, match="segment an image before you segment all planes"):
        studio.segment_all_planes()
    finish(studio.segment(image, settings=GROUPS))
    with pytest.raises(ValueError, match="has one plane alone"):
        studio.segment_all_planes()
    finish(studio.segment(stack, settings=GROUPS.change(split_into="regions")))
    with pytest.raises(ValueError, match="regions are pieces of one plane"):
        studio.segment_all_planes()
    finish(studio.segment(stack, settings=GROUPS.change(split_into="clusters", min_labels=1)))
    other = next(count for count in studio.counts if count != studio.run.result.n_labels)
    studio.show_count(other)
    with pytest.raises(ValueError, match="move the slider there first"):
        studio.segment_all_planes()


def test_further_layers_without_some_of_the_planes_are_refused(
    studio: Studio, viewer: ViewerModel, planes: np.ndarray, finish: Wait
) -> None:
    long, short = viewer.add_image(planes[..., 0]), viewer.add_image(planes[:2, ..., 1], name="short")
    viewer.dims.set_current_step(0, 1)
    finish(studio.segment(long, channels=[short], settings=GROUPS))
    with pytest.raises(ValueError, match="“short” does not lie over"):
        studio.segment_all_planes()


def test_the_button_starts_and_stops(
    viewer: ViewerModel, stack: Image, planes: np.ndarray, qtbot: QtBot, finish: Wait
) -> None:
    widget = SegmentWidget(viewer)
    qtbot.addWidget(widget.native)
    widget.native.show()
    button = widget.controls.all_planes
    for name, value in {"max_iterations": 100_000, "n_channels": 12, "split_into": "groups"}.items():
        widget.form.control(name).value = value
    assert not button.visible
    widget.form.control("max_iterations").value = 4
    finish(widget.start())
    assert button.visible
    assert button.enabled
    button.native.click()
    assert button.text == "Stop all planes"
    whole = widget.studio.stack_run
    qtbot.waitUntil(lambda: "Teaching a network" in widget.status.value, timeout=20_000)
    button.native.click()
    assert not whole.running
    assert not whole.layers
    assert button.text == "Segment all planes"
    assert "Stopped after 0 of 3 planes" in widget.status.value
    button.native.click()
    assert len(finish(widget.studio.stack_run).layers) == 1
    assert "3 planes segmented" in widget.status.value
    widget.image.value = viewer.add_image(planes[0])
    finish(widget.start())
    assert not button.visible


def test_all_planes_hide_the_one_they_were_made_of_until_it_changes(
    studio: Studio, viewer: ViewerModel, stack: Image, qtbot: QtBot, finish: Wait
) -> None:
    strokes = studio.new_scribbles(image_plane(stack, (1,)))
    strokes.data[0, 4, 4:20], strokes.data[0, 50, 4:20] = 3, 7
    run = finish(studio.segment(stack, strokes, settings=QUICK))
    (layer,) = finish(studio.segment_all_planes()).layers.values()
    assert [*viewer.layers] == [stack, run.layer, layer, strokes]
    assert layer.visible
    assert not run.layer.visible  # it would darken its plane
    strokes.data_setitem((np.zeros(9, int), np.full(9, 30), np.arange(30, 39)), 7)
    qtbot.waitUntil(lambda: run.running, timeout=5000)
    assert run.layer.visible
    assert not layer.visible
    layer.visible = True  # by somebody who wants to see it
    studio.changed.emit()
    assert layer.visible
    finish(run)
    other = finish(studio.segment(viewer.add_image(stack.data[0], name="alone", rgb=True), settings=QUICK))
    assert other.layer.visible
    assert layer.visible  # of another image


@pytest.mark.parametrize("gone", ["hidden", "deleted"])
def test_the_one_plane_is_shown_again_whatever_became_of_all(
    studio: Studio, viewer: ViewerModel, stack: Image, qtbot: QtBot, finish: Wait, gone: str
) -> None:
    strokes = studio.new_scribbles(image_plane(stack, (1,)))
    strokes.data[0, 4, 4:20], strokes.data[0, 50, 4:20] = 3, 7
    run = finish(studio.segment(stack, strokes, settings=QUICK))
    (layer,) = finish(studio.segment_all_planes()).layers.values()
    if gone == "hidden":
        layer.visible = False
    else:
        viewer.layers.remove(layer)
    strokes.data_setitem((np.zeros(9, int), np.full(9, 30), np.arange(30, 39)), 7)
    qtbot.waitUntil(lambda: run.running, timeout=5000)
    assert run.layer.visible
    finish(run)


def test_a_new_run_is_seen_over_all_planes(studio: Studio, viewer: ViewerModel, stack: Image, finish: Wait) -> None:
    strokes = studio.new_scribbles(image_plane(stack, (1,)))
    strokes.data[0, 4, 4:20], strokes.data[0, 50, 4:20] = 3, 7
    finish(studio.segment(stack, strokes, settings=QUICK))
    (layer,) = finish(studio.segment_all_planes()).layers.values()
    run = finish(studio.segment(stack, strokes, settings=QUICK))
    assert viewer.layers.index(run.layer) > viewer.layers.index(layer)
    assert (run.layer.visible, layer.visible) == (True, False)
