"""The result always lies exactly over its image, however the image lies and whatever the viewer shows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image, Labels
from scipy.spatial.transform import Rotation

import napari_dfc as dfc
from napari_dfc.gui.alignment import aligned_index, strokes_over
from napari_dfc.gui.layer_planes import LayerPlanes
from napari_dfc.gui.layers import (
    ImagePlane,
    displayed_plane,
    finish_labels,
    new_labels_layer,
    new_scribbles_layer,
    new_stack_labels_layer,
    show_labels,
    show_plane,
)
from napari_dfc.gui.live_run import LiveRun
from napari_dfc.gui.region import region_mask
from napari_dfc.images import Window

pytestmark = pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")

# an example takes a quarter of a second, so that shrinking one would take minutes
quick = settings(
    max_examples=15,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)


@dataclass
class Scene:
    """An image in a viewer, and where its channels are; every pixel has a value of its own, the same in each.

    The plane may be cut to a part, as one that is on screen is.
    """

    viewer: ViewerModel
    layer: Image
    channel_axis: int | None
    level: int
    cut: tuple[float, float, float, float] | None = None

    def plane(self) -> ImagePlane:
        """What the viewer displays of it; an example where no plane is displayed is none."""
        try:
            plane = displayed_plane(self.layer, self.viewer.dims, self.channel_axis, self.level)
        except ValueError:
            assume(False)
            raise
        if self.cut is None:
            return plane
        top, bottom = sorted(
            int(place * length) for place, length in zip(self.cut[:2], plane.shape[:1] * 2, strict=True)
        )
        left, right = sorted(
            int(place * length) for place, length in zip(self.cut[2:], plane.shape[1:] * 2, strict=True)
        )
        return replace(plane, window=Window(slice(top, bottom + 1), slice(left, right + 1), plane.shape))

    def values(self, plane: ImagePlane) -> np.ndarray:
        """Of a plane's pixels, (H, W)."""
        found = np.asarray(plane.data[plane.indices[0]])
        return found[..., 0] if self.layer.rgb else found


def numbers(low: float, high: float) -> st.SearchStrategy[float]:
    return st.floats(low, high, allow_nan=False).map(lambda value: round(value, 2))


def coarser(values: np.ndarray, factors: tuple[int, ...]) -> np.ndarray:
    """A level whose pixels have values of their own."""
    shape = [-(-length // factor) for length, factor in zip(values.shape, factors, strict=True)]
    return np.arange(1, np.prod(shape) + 1, dtype=np.uint16).reshape(shape)


@st.composite
def transforms(draw: st.DrawFn, ndim: int, apart: int | None) -> dict[str, Any]:
    """Any placement of a layer; its axis `apart` is mixed with no other."""
    rotate, affine, shear = np.eye(ndim), np.eye(ndim + 1), np.eye(ndim)
    mixed = [axis for axis in range(ndim) if axis != apart]
    if draw(st.booleans()):
        axes = mixed[-draw(st.integers(2, min(3, len(mixed)))) :]
        turn = Rotation.from_euler("xyz", [draw(numbers(-3, 3)) for _ in range(3)]).as_matrix()
        angle = draw(numbers(-3, 3))
        flat = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        rotate[np.ix_(axes, axes)] = turn if len(axes) == 3 else flat
    if draw(st.booleans()):
        for row, column in zip(*np.triu_indices(ndim, 1), strict=True):
            shear[row, column] = draw(numbers(-1, 1)) if apart not in (row, column) else 0
    if draw(st.booleans()):
        for row in mixed:
            for column in mixed:
                affine[row, column] += draw(numbers(-0.3, 0.3))
        affine[:-1, -1] = [draw(numbers(-20, 20)) for _ in range(ndim)]
    assume(abs(np.linalg.det(affine)) > 0.05)
    return {
        "scale": [draw(numbers(0.1, 5)) for _ in range(ndim)],
        "translate": [draw(numbers(-30, 30)) for _ in range(ndim)],
        "rotate": rotate,
        "shear": shear,
        "affine": affine,
    }


@st.composite
def scenes(draw: st.DrawFn, levels: bool = False) -> Scene:
    """Gray or RGB, flat or a stack, with channels or without, of one level or several, in a viewer rolled at will."""
    rgb = draw(st.booleans())
    n_stacks = draw(st.integers(0, 2))
    lengths = [draw(st.integers(1, 4)) for _ in range(n_stacks)] + [draw(st.integers(3, 9)) for _ in range(2)]
    channel_axis = None if rgb else draw(st.sampled_from([None, *range(n_stacks + 1)]))
    factors = [tuple(2**level if axis >= n_stacks else 1 for axis in range(len(lengths))) for level in range(3)]
    if draw(st.booleans()):
        factors = [tuple(2**level for _ in lengths) for level in range(3)]
    n_levels = draw(st.integers(2, 3)) if levels else 1
    data = []
    for level in range(n_levels):
        values = coarser(np.empty(lengths), factors[level])
        if rgb:
            values = np.repeat(values[..., None], 3, axis=-1)
        elif channel_axis is not None:
            values = np.repeat(np.expand_dims(values, channel_axis), 3, axis=channel_axis)
        data.append(values)
    ndim = len(lengths) + (channel_axis is not None)
    where = draw(transforms(ndim, channel_axis))
    viewer = ViewerModel()
    if draw(st.booleans()):  # another layer has more axes
        viewer.add_image(np.zeros((3,) * (ndim + 1)), translate=[draw(numbers(-9, 9)) for _ in range(ndim + 1)])
    layer = viewer.add_image(data if levels else data[0], multiscale=levels, rgb=rgb, **where)
    viewer.dims.order = draw(st.permutations(range(viewer.dims.ndim)))
    for axis, n_steps in enumerate(viewer.dims.nsteps):
        viewer.dims.set_current_step(axis, draw(st.integers(0, max(n_steps - 1, 0))))
    share = st.floats(0, 0.999)
    cut = draw(st.one_of(st.none(), st.tuples(share, share, share, share)))
    return Scene(viewer, layer, channel_axis, draw(st.integers(0, n_levels - 1)), cut)


def in_whole(plane: ImagePlane, row: int, column: int) -> tuple[int, int]:
    """A pixel's row and column in the plane that was not cut."""
    return (
        (row, column) if plane.window is None else (row + plane.window.rows.start, column + plane.window.columns.start)
    )


def some_pixels(draw: st.DrawFn, plane: ImagePlane) -> list[tuple[int, int]]:
    rows, columns = plane.shape
    return draw(st.lists(st.tuples(st.integers(0, rows - 1), st.integers(0, columns - 1)), min_size=1, max_size=4))


def result_over(plane: ImagePlane, values: np.ndarray) -> Labels:
    """A result as a run makes it: a preview that is filled, then finished."""
    blank = np.zeros(plane.shape, np.uint16)
    layer = new_labels_layer(plane, blank, "regions", colors={}, metadata={})
    assert show_labels(layer, plane, blank + 1)
    finish_labels(layer, plane, values, colors=None, metadata={})
    return layer


def index_in(layer: Labels, plane: ImagePlane, row: int, column: int) -> np.ndarray:
    """Of a plane's pixel in the data of a layer that is one plane thick."""
    found = np.zeros(plane.layer.ndim)
    found[list(plane.axes)] = row, column
    return found[plane.layer.ndim - layer.ndim :]


@quick
@given(st.data(), st.booleans())
def test_a_pixel_of_the_result_has_the_place_of_the_pixel_it_came_from(data: st.DataObject, levels: bool) -> None:
    scene = data.draw(scenes(levels=levels))
    plane = scene.plane()
    values = scene.values(plane)
    layer = result_over(plane, values)
    steps = 1 / np.array(scene.layer.level_shapes[plane.level]) * scene.layer.level_shapes[0] if levels else 1
    for row, column in some_pixels(data.draw, plane):
        pixel = np.array([plane.position.get(axis, 0) for axis in range(scene.layer.ndim)], dtype=float)
        pixel[list(plane.axes)] = in_whole(plane, row, column)
        fine = (pixel + 0.5) * steps - 0.5  # napari draws all levels with the same borders
        world = np.asarray(scene.layer.data_to_world(fine))
        found = layer.data_to_world(index_in(layer, plane, row, column))
        np.testing.assert_allclose(found, world[scene.layer.ndim - layer.ndim :], atol=1e-6)
        assert layer.data[tuple(index_in(layer, plane, row, column).astype(int))] == values[row, column]


@quick
@given(st.data())
def test_the_plane_that_is_displayed_is_segmented_and_its_result_displayed(data: st.DataObject) -> None:
    scene = data.draw(scenes())
    plane = scene.plane()
    n_axes = scene.viewer.dims.ndim - scene.layer.ndim
    assume({axis + n_axes for axis in plane.axes} == set(scene.viewer.dims.displayed))
    if scene.channel_axis is not None:  # beyond its channels the image shows nothing, and can be segmented all the same
        channel = scene.layer.world_to_data(scene.viewer.dims.point)[scene.channel_axis]
        assume(0 <= np.rint(channel) < 3)
    values = scene.values(plane)
    layer = scene.viewer.add_layer(result_over(plane, values))
    for row, column in some_pixels(data.draw, plane):
        world = plane.world(row, column)
        of_image = scene.layer.get_value(world, world=True)
        assert np.ravel(of_image)[0] == values[row, column]
        assert layer.get_value(world, world=True) == values[row, column]


@quick
@given(st.data(), st.booleans())
def test_strokes_and_regions_over_a_plane_are_found_there(data: st.DataObject, levels: bool) -> None:
    scene = data.draw(scenes(levels=levels))
    plane = scene.plane()
    strokes = new_scribbles_layer(plane, "strokes")
    painted = (scene.values(plane) % 3 == 1).astype(np.uint8)
    assume(painted.any())
    assert show_labels(strokes, plane, painted)
    found = strokes.data[aligned_index(strokes, plane, scene.viewer.dims.point)]
    np.testing.assert_array_equal(found, painted)
    np.testing.assert_array_equal(region_mask(strokes, plane, scene.viewer.dims.point), painted > 0)
    whole = new_scribbles_layer(plane.whole, "strokes")
    assert show_labels(whole, plane.whole, (scene.values(plane.whole) % 3 == 1).astype(np.uint8))
    np.testing.assert_array_equal(strokes_over(whole, plane, scene.viewer.dims.point), painted)


@quick
@given(st.data(), st.booleans())
def test_all_planes_of_a_result_lie_over_theirs(data: st.DataObject, levels: bool) -> None:
    scene = data.draw(scenes(levels=levels))
    plane = scene.plane()
    planes = LayerPlanes.of(plane, everything=True)
    stack = new_stack_labels_layer(plane, np.uint16, "stack", metadata={})
    every = [each for series in planes.series() for each in series]
    for each in every:
        show_plane(stack, each, scene.values(each))
    for each in every:
        for row, column in some_pixels(data.draw, each):
            world = each.world(row, column)[scene.layer.ndim - stack.ndim :]
            there = np.rint(stack.world_to_data(world)).astype(int)
            np.testing.assert_allclose(stack.data_to_world(there), world, atol=1e-6)
            assert stack.data[tuple(there)] == scene.values(each)[row, column]


PLACED: dict[str, Any] = {"scale": (5, 0.5, 0.4), "translate": (3, -4, 5), "shear": [0, 0, 0.3]}


@pytest.mark.parametrize(
    ("where", "order"),
    [
        ({}, (0, 1, 2)),
        (PLACED, (0, 1, 2)),
        (PLACED, (1, 2, 0)),
        (PLACED, (2, 1, 0)),
        ({**PLACED, "rotate": Rotation.from_euler("x", 30, degrees=True).as_matrix()}, (0, 2, 1)),
    ],
)
def test_a_real_result_lies_over_what_is_displayed(
    viewer: ViewerModel, where: dict[str, Any], order: tuple[int, ...], finish: Callable[[LiveRun], LiveRun]
) -> None:
    values = np.random.default_rng(0).normal(0, 0.02, (12, 20, 22))
    values[2:9, 4:13, 7:18] += 1
    layer = viewer.add_image(values, **where)
    viewer.dims.order = order
    viewer.dims.set_point(range(3), layer.data_to_world((5, 8, 10)))
    options = {"preset": "fast", "n_channels": 8, "max_iterations": 20, "n_groups": 2}
    labels = finish(dfc.start(viewer, layer, **options)).layer
    plane = displayed_plane(layer, viewer.dims)
    assert sorted(plane.axes) == sorted(order[-2:])
    shown = values[plane.indices[0]]
    expected = dfc.segment(shown, **options).labels
    for row, column in np.ndindex(plane.shape):
        world = plane.world(row, column)
        assert layer.get_value(world, world=True) == shown[row, column]
        assert labels.get_value(world, world=True) == expected[row, column]
