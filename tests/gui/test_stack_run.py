from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from pytestqt.qtbot import QtBot

import napari_dfc as dfc
from napari_dfc.gui.layers import METADATA_KEY, image_plane
from napari_dfc.gui.networks import networks_of
from napari_dfc.gui.segment_widget import SegmentWidget
from napari_dfc.gui.studio import Studio

Wait = Callable[[Any], Any]

GROUPS = dfc.Settings.from_preset("fast", n_channels=12, max_iterations=8, n_groups=3)


@pytest.fixture
def studio(viewer: ViewerModel) -> Iterator[Studio]:
    made = Studio(viewer)
    yield made
    made.stop_all_planes()
    made.let_go()


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
    for plane in layer.data:
        np.testing.assert_array_equal(plane > 0, inside)


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


def test_what_no_network_gives_is_refused_in_words(
    studio: Studio, viewer: ViewerModel, image: Image, stack: Image, finish: Wait
) -> None:
    with pytest.raises(ValueError, match="segment one plane first"):
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
