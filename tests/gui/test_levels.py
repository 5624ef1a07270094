from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Shapes
from pytestqt.qtbot import QtBot

import napari_dfc as dfc
from napari_dfc.gui.alignment import aligned_index
from napari_dfc.gui.layers import (
    METADATA_KEY,
    ImagePlane,
    displayed_plane,
    image_plane,
    levels,
    new_labels_layer,
    new_scribbles_layer,
)
from napari_dfc.gui.live_run import LiveRun
from napari_dfc.gui.region import region_mask
from napari_dfc.gui.segment_widget import SegmentWidget
from napari_dfc.gui.studio import Studio

Wait = Callable[[LiveRun], LiveRun]

GROUPS = dfc.Settings.from_preset("fast", n_channels=12, max_iterations=6, n_groups=3)


def halved(image: np.ndarray) -> np.ndarray:
    return image.reshape(image.shape[0] // 2, 2, image.shape[1] // 2, 2, *image.shape[2:]).mean((1, 3)).astype(np.uint8)


@pytest.fixture
def pyramid(viewer: ViewerModel, tissue: np.ndarray) -> Image:
    """The tissue at three resolutions, 72, 36 and 18 pixels wide."""
    half = halved(tissue)
    data = [tissue, half, halved(half)]
    return viewer.add_image(data, name="slide", multiscale=True, scale=(2, 3), translate=(5, 7), rotate=30)


@pytest.fixture
def studio(viewer: ViewerModel) -> Iterator[Studio]:
    made = Studio(viewer)
    yield made
    made.let_go()


def over(plane: ImagePlane) -> Labels:
    return new_labels_layer(plane, np.ones(plane.shape, np.uint8), "regions", colors={}, metadata={})


def test_levels_are_offered_by_their_size(pyramid: Image) -> None:
    assert levels(pyramid) == [("72 x 64 pixels", 0), ("36 x 32 pixels", 1), ("18 x 16 pixels", 2)]
    assert levels(Image(np.zeros((5, 7)))) == levels(None) == []


@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_borders_of_a_result_are_those_of_the_image_at_every_level(pyramid: Image, level: int) -> None:
    labels = over(image_plane(pyramid, level=level))
    rows, columns = labels.data.shape
    for corner in ((0, 0), (0, 1), (1, 0), (1, 1)):
        of_image = pyramid.data_to_world(np.array(corner) * (64, 72) - 0.5)
        np.testing.assert_allclose(labels.data_to_world(np.array(corner) * (rows, columns) - 0.5), of_image)


def test_a_coarse_pixel_lies_over_the_fine_ones_that_it_stands_for(pyramid: Image) -> None:
    labels = over(image_plane(pyramid, level=2))
    for pixel in ((0, 0), (3, 5), (63, 71)):
        there = np.rint(labels.world_to_data(pyramid.data_to_world(pixel)))
        np.testing.assert_array_equal(there, np.array(pixel) // 4)


def test_a_plane_of_a_stack_with_coarser_slices_is_the_one_that_holds_the_slider(viewer: ViewerModel) -> None:
    stack = viewer.add_image([np.zeros((8, 32, 32)), np.zeros((4, 16, 16))], multiscale=True, scale=(5, 1, 1))
    for index in range(8):
        viewer.dims.set_current_step(0, index)
        plane = displayed_plane(stack, viewer.dims, level=1)
        assert dict(plane.position) == {0: index // 2}
        labels = over(plane)
        assert round(float(labels.world_to_data(viewer.dims.point)[0])) == 0


def test_a_level_is_segmented_run_again_and_copied(
    studio: Studio, pyramid: Image, tissue: np.ndarray, finish: Wait
) -> None:
    run = finish(studio.segment(pyramid, level=1, settings=GROUPS))
    np.testing.assert_array_equal(run.layer.data, dfc.run_again(run.result.record, halved(tissue)).labels)
    assert run.layer.metadata[METADATA_KEY]["source"]["level"] == 1
    np.testing.assert_allclose(run.layer.scale, (4, 6))
    np.testing.assert_array_equal(finish(studio.run_again(run.layer)).layer.data, run.layer.data)
    found: dict[str, Any] = {"viewer": studio.viewer}
    exec(studio.as_python(), found)
    np.testing.assert_array_equal(found["labels"], run.layer.data)
    with pytest.raises(ValueError, match="at its full resolution"):
        studio.as_command()


def test_running_again_needs_the_level(studio: Studio, viewer: ViewerModel, pyramid: Image, finish: Wait) -> None:
    run = finish(studio.segment(pyramid, level=2, settings=GROUPS))
    data = pyramid.data
    viewer.layers.remove(pyramid)
    viewer.add_image(data[0], name="slide", rgb=True)
    with pytest.raises(ValueError, match="no such level of resolution"):
        studio.run_again(run.layer)


def test_strokes_and_further_images_are_those_of_the_level(viewer: ViewerModel, pyramid: Image, finish: Wait) -> None:
    plane = image_plane(pyramid, level=1)
    strokes = viewer.add_layer(new_scribbles_layer(plane, "strokes"))
    strokes.data[4, 4:12], strokes.data[25, 4:12] = 1, 2
    other = [each[..., 0] for each in pyramid.data]
    viewer.add_image(other, name="stain", multiscale=True, scale=(2, 3), translate=(5, 7), rotate=30)
    run = finish(dfc.start(viewer, "slide", "strokes", channels=["stain"], level=1, preset="fast", max_iterations=4))
    assert set(np.unique(run.layer.data)) == {1, 2}
    expected = dfc.segment((pyramid.data[1], other[1]), scribbles=strokes.data, preset="fast", max_iterations=4)
    np.testing.assert_array_equal(run.layer.data, expected.labels)
    with pytest.raises(ValueError, match="has 36 x 32 pixels"):
        aligned_index(strokes, image_plane(pyramid))


def test_a_region_is_found_at_a_level(pyramid: Image) -> None:
    where = {"scale": (2, 3), "translate": (5, 7), "rotate": 30}
    corners = np.array([[7.5, 11.5], [7.5, 31.5], [39.5, 31.5], [39.5, 11.5]])
    shapes, painted = Shapes([corners], shape_type="rectangle", **where), np.zeros((64, 72), np.uint8)
    painted[8:40, 12:32] = 1
    for level in range(3):
        plane, step = image_plane(pyramid, level=level), 2**level
        expected = np.zeros(plane.shape, dtype=bool)
        expected[8 // step : 40 // step, 12 // step : 32 // step] = True
        np.testing.assert_array_equal(region_mask(shapes, plane), expected)
        np.testing.assert_array_equal(region_mask(Labels(painted, **where), plane), expected)


def test_levels_that_are_not_there_are_refused(viewer: ViewerModel, pyramid: Image) -> None:
    for level in (-1, 3):
        with pytest.raises(ValueError, match="has the levels 0 to 2"):
            dfc.segment_layer(pyramid, level=level)


def test_the_dock_offers_the_levels_of_a_multiscale_image(
    viewer: ViewerModel, pyramid: Image, qtbot: QtBot, finish: Wait
) -> None:
    widget = SegmentWidget(viewer)
    qtbot.addWidget(widget.native)
    widget.native.show()
    assert widget._level_row.visible
    assert widget.level.value == 0
    for name, value in {"max_iterations": 4, "n_channels": 12, "split_into": "clusters"}.items():
        widget.form.control(name).value = value
    widget.level.value = 2
    assert widget.add_scribbles().data.shape == (16, 18)
    assert finish(widget.start()).layer.data.shape == (16, 18)
    widget.image.value = viewer.add_image(np.zeros((16, 16)))
    assert not widget._level_row.visible
    assert widget.level.value is None
