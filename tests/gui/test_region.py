from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels, Shapes
from pytestqt.qtbot import QtBot

import napari_dfc as dfc
from napari_dfc.gui import region
from napari_dfc.gui.layers import METADATA_KEY, ImagePlane, image_plane
from napari_dfc.gui.live_run import LiveRun
from napari_dfc.gui.region import FollowedRegion, region_mask
from napari_dfc.gui.segment_widget import ON_SCREEN, SegmentWidget
from napari_dfc.gui.studio import Studio

Wait = Callable[[LiveRun], LiveRun]

GROUPS = dfc.Settings.from_preset("fast", n_channels=12, max_iterations=6, n_groups=3)
SQUARE = np.array([[2.0, 3], [2, 9], [7, 9], [7, 3]])


def inside(shape: tuple[int, int], rows: slice, columns: slice) -> np.ndarray:
    mask = np.zeros(shape, dtype=bool)
    mask[rows, columns] = True
    return mask


def centers(plane: ImagePlane, layer: Any) -> np.ndarray:
    """Where in another layer's data each pixel of a plane lies, found pixel by pixel, (H, W, N)."""
    pixels = [
        [layer.world_to_data(plane.world(row, column)) for column in range(plane.shape[1])]
        for row in range(plane.shape[0])
    ]
    return np.array(pixels)


# ---------------------------------------------------------------------- drawn


def test_rectangles_and_polygons_count_together_and_lines_do_not() -> None:
    triangle, line = np.array([[10.0, 1], [10, 5], [14, 1]]), np.array([[0.0, 0], [15, 15]])
    shapes = Shapes([SQUARE, triangle, line], shape_type=["rectangle", "polygon", "line"])
    expected = inside((16, 12), slice(2, 8), slice(3, 10))
    for row in range(10, 15):
        expected[row, 1 : 16 - row] = True
    np.testing.assert_array_equal(region_mask(shapes, image_plane(Image(np.zeros((16, 12))))), expected)


def test_an_ellipse_is_round() -> None:
    shapes = Shapes([[10.0, 20], [6, 12]], shape_type="ellipse")  # center, radii
    rows, columns = np.ogrid[:25, :50]
    expected = ((rows - 10) / 6) ** 2 + ((columns - 20) / 12) ** 2 <= 1
    np.testing.assert_array_equal(region_mask(shapes, image_plane(Image(np.zeros((25, 50))))), expected)


@pytest.mark.parametrize("kind", ["rectangle", "ellipse", "polygon"])
def test_shapes_are_those_that_napari_draws(kind: str) -> None:
    shapes = Shapes([SQUARE * 5], shape_type=kind)
    mask = region_mask(shapes, image_plane(Image(np.zeros((60, 50)))))
    theirs = shapes.to_masks((60, 50))[0]
    assert (mask != theirs).sum() <= (0 if kind != "ellipse" else 0.02 * theirs.sum())  # of an ellipse it is a polygon


TURNED = {"scale": (0.5, 2), "translate": (3, -4), "rotate": 25, "shear": [0.3]}


@pytest.mark.parametrize("kind", ["rectangle", "ellipse", "polygon"])
@pytest.mark.parametrize("of_image", [{}, {"scale": (0.8, 0.9), "rotate": -40, "translate": (-22, 18)}])
def test_shapes_of_another_scale_and_rotation_are_mapped_through_the_world(kind: str, of_image: dict[str, Any]) -> None:
    plane = image_plane(Image(np.zeros((40, 44)), **of_image))
    shapes = Shapes([SQUARE * 2], shape_type=kind, **TURNED)
    there = centers(plane, shapes)
    away = np.abs(there - SQUARE.mean(axis=0) * 2) / (np.ptp(SQUARE, axis=0))  # 1 on the middle of a side
    near = away.max(-1) if kind != "ellipse" else np.linalg.norm(away, axis=-1)
    mask = region_mask(shapes, plane)
    np.testing.assert_array_equal(mask[np.abs(near - 1) > 1e-6], near[np.abs(near - 1) > 1e-6] < 1)


def test_flat_shapes_are_for_every_plane_and_those_of_a_stack_for_their_own() -> None:
    stack = Image(np.zeros((4, 16, 12)), scale=(5, 2, 2))
    flat = Shapes([SQUARE * 2], shape_type="rectangle")
    deep = Shapes([np.insert(SQUARE, 0, 3, axis=1)], shape_type="rectangle", scale=(5, 2, 2))
    expected = inside((16, 12), slice(2, 8), slice(3, 10))
    for position in range(4):
        np.testing.assert_array_equal(region_mask(flat, image_plane(stack, (position,))), expected)
    np.testing.assert_array_equal(region_mask(deep, image_plane(stack, (3,))), expected)
    with pytest.raises(ValueError, match="holds nothing of the displayed plane"):
        region_mask(deep, image_plane(stack, (2,)))


def test_shapes_of_a_stack_over_a_flat_image_are_those_where_the_slider_stands() -> None:
    deep = Shapes([np.insert(SQUARE, 0, 3, axis=1)], shape_type="rectangle", scale=(5, 1, 1))
    plane = image_plane(Image(np.zeros((16, 12))))
    np.testing.assert_array_equal(region_mask(deep, plane, (15.0, 0, 0)), inside((16, 12), slice(2, 8), slice(3, 10)))
    with pytest.raises(ValueError, match="holds nothing"):
        region_mask(deep, plane, (10.0, 0, 0))


def test_shapes_over_a_side_view_of_a_stack() -> None:
    side_view = ImagePlane(Image(np.zeros((16, 5, 12))), (0, 2), {1: 4})
    shapes = Shapes([np.insert(SQUARE, 1, 4, axis=1)], shape_type="rectangle")
    np.testing.assert_array_equal(region_mask(shapes, side_view), inside((16, 12), slice(2, 8), slice(3, 10)))


@pytest.mark.parametrize("layer", [Shapes(), Shapes([SQUARE + 100]), Labels(np.zeros((16, 12), int))])
def test_a_region_without_a_pixel_says_what_to_do(layer: Shapes | Labels) -> None:
    layer.name = "roi"
    with pytest.raises(ValueError, match="“roi” holds nothing of the displayed plane of “cells”; "):
        region_mask(layer, image_plane(Image(np.zeros((16, 12)), name="cells")))


# ---------------------------------------------------------------------- painted


def test_a_labels_layer_on_the_same_pixels_is_taken_as_it_is() -> None:
    painted = np.random.default_rng(0).integers(0, 3, (4, 16, 12))
    plane = image_plane(Image(np.zeros((4, 16, 12)), scale=(5, 2, 3)), (2,))
    np.testing.assert_array_equal(region_mask(Labels(painted, scale=(5, 2, 3)), plane), painted[2] > 0)
    np.testing.assert_array_equal(region_mask(Labels(painted[1], scale=(2, 3)), plane), painted[1] > 0)


@pytest.mark.parametrize(
    "placement", [{"scale": (3, 0.7), "translate": (2, -3)}, TURNED, {"rotate": 90, "translate": (0, 30)}]
)
def test_painted_pixels_of_a_layer_that_lies_askew_are_looked_up_one_by_one(
    placement: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_dfc.gui.region.ROWS_AT_ONCE", 7)
    painted = np.random.default_rng(0).integers(0, 3, (30, 20))
    within, plane = Labels(painted, **placement), image_plane(Image(np.zeros((40, 44)), scale=(0.6, 0.8)))
    expected = np.zeros((40, 44), dtype=bool)
    for (row, column), place in zip(np.ndindex(40, 44), centers(plane, within).reshape(-1, 2), strict=True):
        there = np.rint(place).astype(int)
        if ((there >= 0) & (there < painted.shape)).all():
            expected[row, column] = painted[tuple(there)] > 0
    np.testing.assert_array_equal(region_mask(within, plane), expected)


# ---------------------------------------------------------------------- a run within it


@pytest.fixture
def studio(viewer: ViewerModel) -> Iterator[Studio]:
    made = Studio(viewer)
    yield made
    made.let_go()


@pytest.fixture
def roi(viewer: ViewerModel, image: Image) -> Shapes:
    """An ellipse on the image, drawn in a layer of another scale."""
    image.scale = (0.5, 0.5)
    return viewer.add_shapes([[7.5, 9], [5, 6]], shape_type="ellipse", scale=(2, 2), name="roi")


def test_a_run_within_shapes_is_copied_and_run_again_to_the_same_labels(
    studio: Studio, image: Image, roi: Shapes, finish: Wait
) -> None:
    region = region_mask(roi, image_plane(image))
    run = finish(studio.segment(image, within=roi, settings=GROUPS))
    assert run.layer.data.shape == (64, 72)
    np.testing.assert_array_equal(run.layer.data > 0, region)
    np.testing.assert_array_equal(run.layer.scale, image.scale)
    studio.viewer.layers.remove(roi)  # the record knows
    found: dict[str, Any] = {"viewer": studio.viewer}
    exec(studio.as_python(), found)
    np.testing.assert_array_equal(found["labels"], run.layer.data)
    assert f"--within {run.layer.metadata[METADATA_KEY]['mask']}" in studio.as_command()
    again = finish(studio.run_again(run.layer))
    np.testing.assert_array_equal(again.layer.data, run.layer.data)


def test_strokes_within_a_region_take_effect_while_it_runs(
    studio: Studio, image: Image, roi: Shapes, qtbot: QtBot, finish: Wait, filled: Wait
) -> None:
    run = filled(studio.segment(image, within=roi, settings=GROUPS.change(max_iterations=200)))
    strokes = studio.new_scribbles(image_plane(image))
    strokes.data_setitem(np.nonzero(inside((64, 72), slice(30, 32), slice(30, 40))), 1)
    strokes.data_setitem(np.nonzero(inside((64, 72), slice(20, 22), slice(30, 40))), 5)
    qtbot.waitUntil(lambda: run._run._kept.stage.classes == (1, 5), timeout=20_000)
    run.stop()
    assert set(np.unique(run.layer.data)) == {0, 1, 5}
    np.testing.assert_array_equal(run.layer.data > 0, region_mask(roi, image_plane(image)))


def test_the_console_takes_a_region(viewer: ViewerModel, image: Image, roi: Shapes, finish: Wait) -> None:
    options = {"preset": "fast", "n_channels": 12, "max_iterations": 4, "n_groups": 2}
    labels = dfc.segment_layer(image, within=roi, **options)
    run = finish(dfc.start(viewer, "cells", within="roi", **options))
    np.testing.assert_array_equal(labels.data, run.layer.data)
    np.testing.assert_array_equal(labels.data > 0, region_mask(roi, image_plane(image)))
    with pytest.raises(TypeError, match="accepted is a napari Labels or Shapes layer"):
        dfc.segment_layer(image, within=image)


def test_the_dock_offers_regions_and_says_what_is_missing(
    viewer: ViewerModel, image: Image, roi: Shapes, qtbot: QtBot, finish: Wait
) -> None:
    widget = SegmentWidget(viewer)
    qtbot.addWidget(widget.native)
    assert list(widget.within.choices) == [None, ON_SCREEN, roi]
    assert widget.within.value is None
    for name, value in {"max_iterations": 4, "n_channels": 12, "split_into": "clusters"}.items():
        widget.form.control(name).value = value
    whole = widget.estimate.value
    widget.within.value = roi
    assert widget.estimate.value != whole  # less of the image takes less memory
    run = finish(widget.start())
    np.testing.assert_array_equal(run.layer.data > 0, region_mask(roi, image_plane(image)))
    roi.data = []
    assert "“roi” holds nothing of the displayed plane" in widget.hint.value
    assert not widget.start_button.enabled
    viewer.layers.remove(roi)
    assert widget.within.value is None
    assert widget.start_button.enabled


# ---------------------------------------------------------------------- followed


def test_a_region_is_looked_for_again_only_where_something_has_changed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = []

    def counted(*given: Any) -> np.ndarray:
        looks.append(given)
        return region_mask(*given)

    monkeypatch.setattr(region, "region_mask", counted)
    image, painted = Image(np.zeros((12, 16)), name="cells"), Labels(np.zeros((12, 16), np.uint8), name="here")
    followed = FollowedRegion()

    def found() -> list[slice] | str | None:
        seen = []
        for _ in range(3):
            try:
                window = followed.window(painted, image_plane(image), (0.0, 0.0))
                seen.append(window and [window.rows, window.columns])
            except ValueError as error:
                seen.append(str(error))
        assert seen[0] == seen[1] == seen[2]
        return seen[0]

    nothing = "“here” holds nothing of the displayed plane of “cells”; paint what is to be segmented"
    assert found() == nothing
    painted.data_setitem((np.array([3, 4]), np.array([5, 9])), 1)
    assert found() == [slice(3, 5), slice(5, 10)]
    painted.data[11, 15] = 1
    painted.refresh()
    assert found() == [slice(3, 12), slice(5, 16)]
    painted.translate = (1, 0)
    assert found() == [slice(4, 6), slice(5, 10)]
    image.translate = (1, 0)
    assert found() == [slice(3, 12), slice(5, 16)]
    painted.data = np.ones((12, 16), np.uint8)
    assert found() is None
    image.translate = (20, 0)
    assert found() == nothing
    image.name = "tissue"
    assert found() == nothing.replace("cells", "tissue")
    painted.name = "there"
    assert found() == nothing.replace("cells", "tissue").replace("here", "there")
    assert len(looks) == 9


def test_drawn_regions_are_followed_until_they_are_let_go() -> None:
    image = Image(np.zeros((12, 16)))
    shapes, other = (Shapes([SQUARE], shape_type="rectangle") for _ in range(2))
    followed = FollowedRegion()
    assert followed.window(shapes, image_plane(image)).rows == slice(2, 8)
    shapes.data = [SQUARE + 1]
    assert followed.window(shapes, image_plane(image)).rows == slice(3, 9)
    shapes.add([SQUARE + 4], shape_type="polygon")
    assert followed.window(shapes, image_plane(image)).rows == slice(3, 12)
    before = len(shapes.events.data.callbacks)
    assert followed.window(other, image_plane(image)).rows == slice(2, 8)
    assert len(shapes.events.data.callbacks) == before - 1
    followed.let_go()
    assert len(other.events.data.callbacks) == before - 1
