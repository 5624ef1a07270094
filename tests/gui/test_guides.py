"""The layers that show where a stroke would help lie where they should, and are no images and no regions."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Shapes
from pytestqt.qtbot import QtBot

import napari_dfc as dfc
from napari_dfc.gui.guides import Guides
from napari_dfc.gui.layers import displayed_plane
from napari_dfc.gui.live_run import LiveRun
from napari_dfc.gui.segment_widget import SegmentWidget
from napari_dfc.gui.studio import Studio
from napari_dfc.uncertainty import Spot

Wait = Callable[[LiveRun], LiveRun]

GROUPS = dfc.Settings.from_preset("fast", n_channels=12, max_iterations=8, n_groups=4)
SPOT = Spot(row=12, column=9, score=20.0, top=10, left=5, mask=np.ones((6, 11), dtype=bool))


@pytest.mark.parametrize("channel_axis", [None, 0, 1])
def test_outline_is_around_the_spot_in_the_world(viewer: ViewerModel, channel_axis: int | None) -> None:
    shape = (3, 40, 50) if channel_axis is None else (2, 3, 40, 50) if channel_axis == 0 else (3, 2, 40, 50)
    image = Image(np.zeros(shape), scale=[2, 1, 0.5, 0.25][-len(shape) :], translate=[7, 0, 30, -20][-len(shape) :])
    image.rotate = _turned(len(shape))
    viewer.add_layer(image)
    for axis in range(len(shape) - 2):
        viewer.dims.set_current_step(axis, 1)
    plane = displayed_plane(image, viewer.dims, channel_axis)
    Guides(viewer).show_outline(plane, SPOT)
    layer = viewer.layers["uncertain spot"]
    (line,) = layer.data
    shown = 0 if channel_axis is None else image.data_to_world([1] * len(shape))[channel_axis]  # whichever channel is
    for corner, (row, column) in zip(line, SPOT.outlines[0], strict=True):
        expected = plane.world(row, column)
        if channel_axis is not None:
            expected[channel_axis] = shown
        np.testing.assert_allclose(layer.data_to_world(corner), expected[channel_axis == 0 :])


def _turned(ndim: int) -> np.ndarray:
    """Rows and columns turned by 30 degrees."""
    turned, angle = np.eye(ndim), np.deg2rad(30)
    turned[-2:, -2:] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return turned


def test_there_is_one_outline_at_a_time(viewer: ViewerModel) -> None:
    image = viewer.add_image(np.zeros((40, 50)))
    guides, plane = Guides(viewer), displayed_plane(image, viewer.dims)
    guides.show_outline(plane, SPOT)
    guides.show_outline(plane, Spot(30, 30, 9.0, 28, 28, np.ones((5, 5), dtype=bool)))
    (outline,) = (layer for layer in viewer.layers if isinstance(layer, Shapes))
    (corners,) = outline.data
    np.testing.assert_array_equal(corners.min(axis=0), [27.5, 27.5])
    viewer.layers.remove(outline)
    guides.show_outline(plane, SPOT)
    assert [layer.name for layer in viewer.layers if isinstance(layer, Shapes)] == ["uncertain spot"]


def test_outline_follows_to_an_image_of_other_axes(viewer: ViewerModel) -> None:
    guides = Guides(viewer)
    flat, deep = viewer.add_image(np.zeros((40, 50))), viewer.add_image(np.zeros((3, 40, 50)))
    guides.show_outline(displayed_plane(flat, viewer.dims), SPOT)
    guides.show_outline(displayed_plane(deep, viewer.dims), SPOT)
    outlines = [layer for layer in viewer.layers if isinstance(layer, Shapes)]
    assert [(layer.ndim, layer.visible) for layer in outlines] == [(2, False), (3, True)]
    guides.show_outline(displayed_plane(flat, viewer.dims), SPOT)
    assert [layer for layer in viewer.layers if isinstance(layer, Shapes)] == outlines
    assert [layer.visible for layer in outlines] == [True, False]


def test_guides_are_hidden_once_labels_change_and_lie_below_the_strokes(
    studio: Studio, image: Image, qtbot: QtBot, finish: Wait
) -> None:
    run = finish(studio.segment(image, settings=GROUPS))
    strokes = studio.new_scribbles(run.inputs.plane)
    studio.show_confidence()
    qtbot.waitUntil(lambda: "cells certainty" in studio.viewer.layers, timeout=10_000)
    studio.next_spot()
    qtbot.waitUntil(lambda: "uncertain spot" in studio.viewer.layers, timeout=10_000)
    certainty, outline = studio.viewer.layers["cells certainty"], studio.viewer.layers["uncertain spot"]
    order = [studio.viewer.layers.index(layer) for layer in (image, run.layer, certainty, strokes)]
    assert order == sorted(order)
    assert studio.viewer.layers.selection.active is strokes
    rows, columns = np.mgrid[4:6, 50:59]
    strokes.data_setitem((rows.ravel(), columns.ravel()), 2)
    qtbot.waitUntil(lambda: run.running, timeout=5000)
    assert not certainty.visible
    assert not outline.visible
    finish(run)
    assert not certainty.visible


def test_a_run_on_another_image_leaves_certainty_alone(
    studio: Studio, image: Image, tissue: np.ndarray, qtbot: QtBot, finish: Wait
) -> None:
    finish(studio.segment(image, settings=GROUPS))
    studio.show_confidence()
    qtbot.waitUntil(lambda: "cells certainty" in studio.viewer.layers, timeout=10_000)
    finish(studio.segment(studio.viewer.add_image(tissue, name="other"), settings=GROUPS))
    assert studio.viewer.layers["cells certainty"].visible


def test_guides_are_not_offered_as_images_channels_or_regions(
    viewer: ViewerModel, image: Image, tissue: np.ndarray
) -> None:
    widget = SegmentWidget(viewer)
    plane = displayed_plane(image, viewer.dims)
    guides = Guides(viewer)
    guides.show_certainty(plane, np.zeros(plane.shape), None)
    guides.show_outline(plane, SPOT)
    strokes = viewer.add_labels(np.zeros(plane.shape, np.uint8))
    assert [*widget.image.choices] == [image]
    assert not widget.others.choices
    assert [*widget.within.choices][-1] is strokes
    assert viewer.layers["uncertain spot"] not in widget.within.choices
    widget._let_go()


def test_certainty_moves_over_a_later_result_and_to_where_the_image_lies_now(
    studio: Studio, image: Image, qtbot: QtBot, finish: Wait
) -> None:
    finish(studio.segment(image, settings=GROUPS))
    studio.show_confidence()
    qtbot.waitUntil(lambda: "cells certainty" in studio.viewer.layers, timeout=10_000)
    certainty = studio.viewer.layers["cells certainty"]
    later = finish(studio.segment(image, settings=GROUPS)).layer
    assert not certainty.visible
    image.translate = (5, 7)
    studio.show_confidence()
    qtbot.waitUntil(lambda: certainty.visible, timeout=10_000)
    assert studio.viewer.layers.index(certainty) == studio.viewer.layers.index(later) + 1
    np.testing.assert_array_equal(certainty.translate, (5, 7))


def test_of_two_images_each_has_its_certainty_which_is_hidden_with_its_labels(
    studio: Studio, image: Image, tissue: np.ndarray, qtbot: QtBot, finish: Wait
) -> None:
    other = studio.viewer.add_image(tissue, name="other")
    for each in (image, other):
        finish(studio.segment(each, settings=GROUPS))
        studio.show_confidence()
        qtbot.waitUntil(lambda each=each: f"{each.name} certainty" in studio.viewer.layers, timeout=10_000)
    first, second = (studio.viewer.layers[f"{name} certainty"] for name in ("cells", "other"))
    finish(studio.segment(image, settings=GROUPS))
    assert (first.visible, second.visible) == (False, True)
    studio.show_confidence()
    qtbot.waitUntil(lambda: first.visible, timeout=10_000)
    assert sum("certainty" in layer.name for layer in studio.viewer.layers) == 2
    studio.show_count(next(count for count in studio.counts if count != studio.count))
    assert not first.visible
