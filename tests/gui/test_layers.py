from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from napari.components import Dims, ViewerModel
from napari.layers import Image, Labels
from scipy.spatial.transform import Rotation

from napari_dfc.gui.alignment import aligned_index, scribble_plane
from napari_dfc.gui.colors import default_colors
from napari_dfc.gui.layers import (
    METADATA_KEY,
    ImagePlane,
    displayed_plane,
    finish_labels,
    image_plane,
    new_labels_layer,
    new_scribbles_layer,
    show_labels,
)


def placed(data: np.ndarray, **options: object) -> Image:
    """An image layer with every kind of metadata, different on every axis."""
    ndim = data.ndim - bool(options.get("rgb"))
    affine = np.eye(ndim + 1)
    affine[:ndim, -1] = np.arange(1, ndim + 1) * 10
    return Image(
        data,
        name="cells",
        scale=np.arange(2, ndim + 2) / 4,
        translate=np.arange(3, ndim + 3),
        affine=affine,
        units=["s", "um", "um", "um"][-ndim:],
        axis_labels=["t", "z", "y", "x"][-ndim:],
        **options,
    )


def labels_over(plane, value: int = 1) -> Labels:
    return new_labels_layer(plane, np.full(plane.shape, value, np.uint8), "regions", colors={}, metadata={})


# ---------------------------------------------------------------------- which plane


def test_2d_and_rgb_layers_are_their_own_plane() -> None:
    gray, rgb = placed(np.zeros((5, 7))), placed(np.zeros((5, 7, 3)), rgb=True)
    for layer in (gray, rgb):
        plane = displayed_plane(layer, Dims(ndim=2))
        assert plane.shape == (5, 7)
        assert plane.axes == (0, 1)
        assert [layer.data[index].shape for index in plane.indices] == [layer.data.shape]


def test_displayed_plane_follows_the_sliders_in_world_coordinates() -> None:
    viewer = ViewerModel()
    layer = viewer.add_layer(placed(np.zeros((4, 3, 5, 7))))
    viewer.dims.set_current_step((0, 1), (3, 2))
    plane = displayed_plane(layer, viewer.dims)
    assert plane.axes == (2, 3)
    assert dict(plane.position) == {0: 3, 1: 2}
    assert plane.indices == ((3, 2, slice(None), slice(None)),)


def test_displayed_plane_follows_rolled_axes() -> None:
    viewer = ViewerModel()
    layer = viewer.add_layer(placed(np.zeros((4, 5, 7))))
    viewer.dims.order = (1, 2, 0)
    viewer.dims.set_current_step(1, 3)
    plane = displayed_plane(layer, viewer.dims)
    assert plane.axes == (0, 2)
    assert dict(plane.position) == {1: 3}
    assert plane.shape == (4, 7)


def test_3d_display_of_a_stack_has_no_plane() -> None:
    viewer = ViewerModel()
    layer = viewer.add_layer(placed(np.zeros((4, 5, 7))))
    viewer.dims.ndisplay = 3
    with pytest.raises(ValueError, match="switch to 2-D display"):
        displayed_plane(layer, viewer.dims)


def test_slider_outside_the_layer_has_no_plane() -> None:
    viewer = ViewerModel()
    short = viewer.add_image(np.zeros((4, 5, 7)), name="short")
    viewer.add_image(np.zeros((40, 5, 7)))
    viewer.dims.set_current_step(0, 30)
    with pytest.raises(ValueError, match="“short” has no plane here"):
        displayed_plane(short, viewer.dims)


def test_channel_axis_is_no_axis_of_planes() -> None:
    viewer = ViewerModel()
    layer = viewer.add_image(np.arange(2 * 3 * 5 * 7).reshape(2, 3, 5, 7))
    viewer.dims.set_current_step((0, 1), (1, 2))
    plane = displayed_plane(layer, viewer.dims, channel_axis=1)
    assert dict(plane.position) == {0: 1}
    np.testing.assert_array_equal([layer.data[index] for index in plane.indices], layer.data[1])


@pytest.mark.parametrize("position", [(), (1, 2), (4,), (-1,)])
def test_planes_that_are_not_there_are_refused(position: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="plane is"):
        image_plane(placed(np.zeros((4, 5, 7))), position)


def test_multiscale_layers_are_taken_at_full_resolution() -> None:
    layer = Image([np.zeros((20, 30)), np.zeros((10, 15))], multiscale=True, scale=(2, 3))
    plane = image_plane(layer)
    assert plane.shape == (20, 30)
    assert labels_over(plane).scale.tolist() == [2, 3]


# ---------------------------------------------------------------------- where a result lies


def test_result_keeps_every_piece_of_the_image_s_metadata() -> None:
    layer = placed(np.zeros((5, 7, 3)), rgb=True)
    labels = labels_over(image_plane(layer))
    assert labels.scale.tolist() == layer.scale.tolist()
    assert labels.translate.tolist() == layer.translate.tolist()
    np.testing.assert_array_equal(labels.affine.affine_matrix, layer.affine.affine_matrix)
    assert labels.units == layer.units
    assert labels.axis_labels == layer.axis_labels == ("y", "x")


def test_result_of_a_stack_lies_at_its_plane_only() -> None:
    viewer = ViewerModel()
    layer = viewer.add_layer(placed(np.zeros((4, 5, 7))))
    labels = viewer.add_layer(labels_over(image_plane(layer, (2,))))
    assert labels.data.shape == (1, 5, 7)
    assert labels.axis_labels == layer.axis_labels
    seen = []
    for step in range(4):
        viewer.dims.set_current_step(0, step)
        seen.append(labels.get_value(viewer.dims.point, world=True) or 0)
    value_at = [int(bool(value)) for value in seen]
    assert value_at == [0, 0, 1, 0]


@pytest.mark.parametrize("turn", [{}, {"rotate": Rotation.from_euler("x", 20, degrees=True).as_matrix()}])
def test_result_of_leading_channels_lies_over_every_channel(turn: dict[str, object]) -> None:
    layer = placed(np.zeros((3, 5, 7)), shear=[0, 0, 0.3], **turn)
    labels = labels_over(image_plane(layer, (), channel_axis=0))
    assert labels.data.shape == (5, 7)
    assert labels.data_to_world((2, 3)) == pytest.approx(layer.data_to_world((0, 2, 3))[1:])
    assert labels.units == layer.units[1:]
    assert labels.axis_labels == layer.axis_labels[1:]


def test_result_of_inner_channels_covers_all_of_them() -> None:
    layer = placed(np.zeros((2, 3, 5, 7)))
    labels = labels_over(image_plane(layer, (1,), channel_axis=1))
    assert labels.data.shape == (1, 3, 5, 7)
    for channel in range(3):
        world = layer.data_to_world((1, channel, 2, 3))
        assert labels.data_to_world((0, channel, 2, 3)) == pytest.approx(world)


numbers = st.floats(-3, 3, allow_nan=False).map(lambda value: round(value, 2))


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@given(
    scale=st.tuples(*[st.floats(0.1, 5)] * 3),
    translate=st.tuples(numbers, numbers, numbers),
    angles=st.tuples(numbers, numbers, numbers),
    shear=st.tuples(numbers, numbers, numbers),
    warp=st.lists(numbers, min_size=12, max_size=12),
    axis=st.integers(0, 2),
    index=st.integers(0, 2),
)
def test_result_lies_over_its_plane_under_any_transform(scale, translate, angles, shear, warp, axis, index) -> None:
    affine = np.eye(4)
    affine[:3] += np.reshape(warp, (3, 4)) * 0.1
    rotate = Rotation.from_euler("xyz", angles).as_matrix()
    layer = Image(np.zeros((3, 4, 5)), scale=scale, translate=translate, rotate=rotate, shear=shear, affine=affine)
    others = [each for each in range(3) if each != axis]
    plane = ImagePlane(layer, (others[0], others[1]), {axis: index})
    labels = labels_over(plane)
    assert labels.data.shape[axis] == 1
    for row, column in ((0, 0), (1, 2)):
        data = np.zeros(3)
        data[others] = row, column
        there = data.copy()
        there[axis] = index
        np.testing.assert_allclose(labels.data_to_world(data), layer.data_to_world(there), atol=1e-6)


# ---------------------------------------------------------------------- strokes and further images


def test_strokes_of_the_same_place_are_found() -> None:
    layer = placed(np.zeros((4, 5, 7)))
    plane = image_plane(layer, (2,))
    strokes = new_scribbles_layer(plane, "strokes")
    strokes.data[0, 1, 2:4] = 3
    expected = np.zeros((5, 7), int)
    expected[1, 2:4] = 3
    np.testing.assert_array_equal(scribble_plane(strokes, plane), expected)


def test_strokes_in_a_whole_stack_are_taken_at_the_plane() -> None:
    layer = placed(np.zeros((4, 5, 7)))
    painted = np.zeros((4, 5, 7), np.uint8)
    painted[2, 1, 1] = 6
    strokes = Labels(painted, scale=layer.scale, translate=layer.translate, affine=layer.affine)
    assert scribble_plane(strokes, image_plane(layer, (2,)))[1, 1] == 6
    with pytest.raises(ValueError, match="nothing is painted"):
        scribble_plane(strokes, image_plane(layer, (1,)))


def test_flat_strokes_lie_on_every_plane_of_a_stack() -> None:
    layer = Image(np.zeros((4, 5, 7)))
    strokes = Labels(np.ones((5, 7), np.uint8))
    assert scribble_plane(strokes, image_plane(layer, (3,))).shape == (5, 7)


def test_strokes_in_a_stack_over_a_flat_image_are_taken_where_the_slider_stands() -> None:
    painted = np.zeros((4, 5, 7), np.uint8)
    painted[2, 1, 1] = 6
    plane = image_plane(Image(np.zeros((5, 7))))
    assert scribble_plane(Labels(painted), plane, point=(2.0, 0.0, 0.0))[1, 1] == 6


def test_strokes_of_another_size_are_refused() -> None:
    plane = image_plane(Image(np.zeros((5, 7)), name="cells"))
    with pytest.raises(ValueError, match="“strokes” has 8 x 5 pixels and “cells” 7 x 5"):
        aligned_index(Labels(np.ones((5, 8), np.uint8), name="strokes"), plane)


@pytest.mark.parametrize("placement", [{"translate": (0, 1)}, {"scale": (1, 1.1)}, {"rotate": 10}])
def test_strokes_that_lie_elsewhere_are_refused(placement: dict[str, object]) -> None:
    plane = image_plane(Image(np.zeros((5, 7))))
    with pytest.raises(ValueError, match="does not lie over"):
        aligned_index(Labels(np.ones((5, 7), np.uint8), **placement), plane)


def test_strokes_over_another_plane_are_said_to_be_there() -> None:
    stack = Image(np.zeros((4, 5, 7)), name="series")
    strokes = new_scribbles_layer(image_plane(stack, (2,)), "strokes")
    assert aligned_index(strokes, image_plane(stack, (2,))) == (0, slice(None), slice(None))
    with pytest.raises(
        ValueError, match="“strokes” lies over another plane of “series”; move the slider there, or add"
    ):
        aligned_index(strokes, image_plane(stack, (3,)))


def test_further_images_are_found_at_the_same_place() -> None:
    first, second = placed(np.zeros((4, 5, 7))), placed(np.arange(140).reshape(4, 5, 7))
    index = aligned_index(second, image_plane(first, (3,)))
    np.testing.assert_array_equal(second.data[index], second.data[3])


def test_a_flat_image_cannot_join_a_side_view_of_a_stack() -> None:
    side_view = ImagePlane(Image(np.zeros((4, 5, 7))), (0, 1), {2: 0})
    with pytest.raises(ValueError, match="too few axes"):
        aligned_index(Image(np.zeros((5, 7))), side_view)


# ---------------------------------------------------------------------- previews and colors


def test_preview_is_written_in_place_and_refused_once_the_data_changed() -> None:
    plane = image_plane(Image(np.zeros((5, 7))))
    layer = labels_over(plane, 1)
    data = layer.data
    assert show_labels(layer, plane, np.full((5, 7), 2, np.uint8))
    assert layer.data is data
    assert (data == 2).all()
    layer.data = np.zeros((3, 3), np.uint8)
    assert not show_labels(layer, plane, np.full((5, 7), 3, np.uint8))
    assert not layer.data.any()


def test_finishing_sets_labels_colors_and_metadata() -> None:
    plane = image_plane(Image(np.zeros((5, 7))))
    layer = labels_over(plane, 1)
    layer.metadata["mine"] = 1
    large = np.full((5, 7), 300, np.uint16)
    finish_labels(layer, plane, large, colors={300: (1, 0, 0, 1)}, metadata={"seed": 3})
    np.testing.assert_array_equal(layer.data, large)
    assert layer.data.dtype == np.uint16
    assert layer.get_color(300).tolist() == [1, 0, 0, 1]
    assert layer.metadata == {"mine": 1, METADATA_KEY: {"seed": 3}}


def test_colors_are_those_of_the_strokes_layer() -> None:
    strokes = Labels(np.ones((5, 7), np.uint8))
    np.testing.assert_array_equal(default_colors([1, 4], strokes), [strokes.get_color(1), strokes.get_color(4)])


def test_background_stays_transparent() -> None:
    layer = labels_over(image_plane(Image(np.zeros((5, 7)))))
    assert layer.colormap.map(0)[3] == 0
