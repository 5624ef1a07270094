"""What is on screen is segmented as it is seen, and then the whole."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask.array as da
import imageio.v3 as iio
import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel
from napari.layers import Image
from pytestqt.qtbot import QtBot
from scipy.spatial.transform import Rotation
from typer.testing import CliRunner

import napari_dfc as dfc
from napari_dfc.cli import app
from napari_dfc.files import read_labels
from napari_dfc.gui.layers import METADATA_KEY, displayed_plane, new_scribbles_layer
from napari_dfc.gui.networks import networks_of
from napari_dfc.gui.screen import camera_of, displayed_level, part_on_screen
from napari_dfc.gui.segment_widget import AS_DISPLAYED, ON_SCREEN, SegmentWidget
from napari_dfc.gui.studio import Studio
from napari_dfc.images import Window

Wait = Callable[[Any], Any]

CLUSTERS = dfc.Settings.from_preset(
    "fast", split_into="clusters", n_channels=12, max_iterations=6, min_labels=2, threads=1, device="cpu"
)
GROUPS = CLUSTERS.change(split_into="groups", n_groups=3)

# an example takes a quarter of a second, so that shrinking one would take minutes
quick = settings(
    max_examples=15,
    suppress_health_check=list(HealthCheck),
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)

PLACED: dict[str, Any] = {"scale": (2, 3), "translate": (5, 7), "rotate": 30}


@pytest.fixture
def slide(viewer: ViewerModel, tissue: np.ndarray) -> Image:
    """The tissue at two resolutions, 72 and 36 pixels wide."""
    return viewer.add_image([tissue, tissue[::2, ::2]], name="slide", multiscale=True)


def show(viewer: ViewerModel, rows: tuple[float, float], columns: tuple[float, float]) -> None:
    """Let the canvas show these places of the world, from border to border."""
    viewer.canvas.size = (round(8 * (rows[1] - rows[0])), round(8 * (columns[1] - columns[0])))
    camera = camera_of(viewer)
    camera.zoom, camera.center = 8, (0, sum(rows) / 2, sum(columns) / 2)


def show_pixels(viewer: ViewerModel, rows: slice, columns: slice) -> None:
    """Let the canvas show these pixels of a layer that lies plainly in the world."""
    show(viewer, (rows.start - 0.5, rows.stop - 0.5), (columns.start - 0.5, columns.stop - 0.5))


# ---------------------------------------------------------------------- which part


@pytest.mark.filterwarnings("ignore:Non-orthogonal slicing")
@quick
@given(st.data())
def test_the_part_is_what_the_canvas_shows(data: st.DataObject) -> None:
    def number(low: float, high: float) -> float:
        return round(data.draw(st.floats(low, high)), 2)

    ndim = data.draw(st.integers(2, 3))
    shape = tuple(data.draw(st.integers(4, 30)) for _ in range(ndim))
    viewer = ViewerModel()
    if data.draw(st.booleans()):  # another layer has more axes
        viewer.add_image(np.zeros((3,) * (ndim + 1)))
    turn = Rotation.from_euler("xyz", [number(-3, 3) for _ in range(3)]).as_matrix()
    flat = np.array([[np.cos(angle := number(-3, 3)), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    where = {
        "scale": [number(0.2, 5) for _ in range(ndim)],
        "translate": [number(-30, 30) for _ in range(ndim)],
        "rotate": turn if ndim == 3 else flat,
        "shear": [number(-1, 1) for _ in range(ndim * (ndim - 1) // 2)],
    }
    n_levels = data.draw(st.integers(1, 2))
    levels = [np.zeros([-(-length // 2**level) for length in shape]) for level in range(n_levels)]
    layer = viewer.add_image(levels if n_levels > 1 else levels[0], multiscale=n_levels > 1, **where)
    shown_first = viewer.dims.ndim - ndim
    viewer.dims.order = (*range(shown_first), *data.draw(st.permutations(range(shown_first, viewer.dims.ndim))))
    level = data.draw(st.integers(0, n_levels - 1))
    try:
        plane = displayed_plane(layer, viewer.dims, level=level)
    except ValueError:
        assume(False)
        raise
    # how napari's canvas draws a layer
    drawn = layer._transforms[1:].simplified.set_slice(list(plane.axes))
    middle = np.array([number(-0.2, 1.2), number(-0.2, 1.2)]) * np.array(shape)[list(plane.axes)]
    displayed = list(np.argsort(viewer.dims.displayed))  # of two axes it is its own inverse
    center = np.asarray(drawn(middle))[displayed]
    camera = camera_of(viewer)
    camera.zoom, camera.center = number(5, 80), (0, *center)

    half = np.array(viewer.canvas.size) / camera.zoom / 2
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, 41) * each for each in half), indexing="ij"), -1).reshape(-1, 2)
    seen = np.asarray(drawn.inverse((center + grid)[:, displayed]))
    factors = np.array(layer.downsample_factors[level] if n_levels > 1 else (1,) * ndim)[list(plane.axes)]
    pixels = np.floor((seen + 0.5) / factors).astype(int)
    inside = pixels[((pixels >= 0) & (pixels < plane.shape)).all(axis=1)]
    if not len(inside):
        corners_only = ((pixels.max(axis=0) < 0) | (pixels.min(axis=0) >= plane.shape)).any()
        if corners_only:
            with pytest.raises(ValueError, match="nothing of"):
                part_on_screen(plane, viewer)
        return
    part = part_on_screen(plane, viewer)
    rows, columns = (slice(0, length) for length in plane.shape)
    if part.window is not None:
        rows, columns = part.window.rows, part.window.columns
    for axis, each in enumerate((rows, columns)):
        assert (each.start <= inside[:, axis]).all()
        assert (inside[:, axis] < each.stop).all()
        # no more of them: an affine map has its extremes at the corners
        assert each.start == max(pixels[:, axis].min(), 0)
        assert each.stop == min(pixels[:, axis].max() + 1, plane.shape[axis])


def test_the_part_is_the_one_that_napari_loads(
    make_napari_viewer: Callable[..., Any], tissue: np.ndarray, qtbot: QtBot
) -> None:
    viewer = make_napari_viewer(show=True)
    large = np.tile(tissue[..., 0], (30, 30))
    plain = viewer.add_image(large, **PLACED)
    slide = viewer.add_image([large, large[::2, ::2], large[::4, ::4]], multiscale=True, **PLACED)
    camera, found = camera_of(viewer), set()

    def corners(layer: Image) -> np.ndarray:
        part = part_on_screen(displayed_plane(layer, viewer.dims, level=displayed_level(layer)), viewer)
        window = part.window or Window(slice(0, part.shape[0]), slice(0, part.shape[1]), part.shape)
        return np.array([[window.rows.start, window.columns.start], [window.rows.stop, window.columns.stop]])

    for zoom in (0.08, 0.3, 4):
        camera.zoom, camera.center = zoom, (0, *plain.data_to_world((700, 900)))
        qtbot.waitUntil(lambda: np.abs(corners(plain) - plain.corner_pixels).max() <= 1, timeout=5000)
        ours, theirs = corners(slide), slide.corner_pixels  # which napari keeps larger where it zooms in
        assert (ours[0] >= theirs[0] - 1).all()
        assert (ours[1] <= theirs[1] + 1).all()
        found.add(slide.data_level)
    assert len(found) > 1


def test_what_cannot_be_seen_as_a_plane_is_refused_in_words(viewer: ViewerModel) -> None:
    layer = viewer.add_image(np.zeros((5, 20, 20)), name="stack")
    plane = displayed_plane(layer, viewer.dims)
    flat = viewer.add_image(np.zeros((20, 20)), name="flat")

    def refused(words: str, of: Any = plane) -> None:
        with pytest.raises(ValueError, match=words):
            part_on_screen(of, viewer)

    camera_of(viewer).center = (0, 500, 500)
    camera_of(viewer).zoom = 8
    refused("nothing of “stack” is on screen; move the view there")
    show_pixels(viewer, slice(2, 9), slice(3, 7))
    viewer.dims.ndisplay = 3
    refused("switch to 2-D display")
    viewer.dims.ndisplay = 2
    viewer.dims.order = (1, 0, 2)
    refused("roll the axes back")
    refused("roll the axes back", displayed_plane(flat, viewer.dims))
    viewer.dims.order = (0, 1, 2)
    layer.visible = False
    refused("“stack” is hidden; show it")
    layer.visible = True
    viewer.canvas.grid.enabled = True
    refused("turn the grid off")
    viewer.canvas.grid.enabled = False
    show_pixels(viewer, slice(2, 9), slice(3, 7))  # the way through 3-D has moved the camera
    assert part_on_screen(plane, viewer).window == Window(slice(2, 9), slice(3, 7), (20, 20))


# ---------------------------------------------------------------------- the preview


@pytest.mark.parametrize("level", [0, 1])
def test_what_is_on_screen_is_segmented_as_it_is_seen(
    studio: Studio, viewer: ViewerModel, slide: Image, tissue: np.ndarray, finish: Wait, level: int
) -> None:
    slide.data_level = level
    show_pixels(viewer, slice(10, 50), slice(8, 64))
    run = finish(studio.segment(slide, level=None, on_screen=True, settings=CLUSTERS))
    step = 2**level
    first = (10 // step, 8 // step)
    seen = tissue[::step, ::step][first[0] : first[0] + run.layer.data.shape[0], first[1] :][
        :, : run.layer.data.shape[1]
    ]
    assert abs(run.layer.data.shape[0] - 40 // step) <= 1
    assert abs(run.layer.data.shape[1] - 56 // step) <= 1
    expected = dfc.segment(seen, **CLUSTERS.as_dict())
    np.testing.assert_array_equal(run.layer.data, expected.labels)
    corner = np.array(first) * step - 0.5
    np.testing.assert_allclose(run.layer.data_to_world((-0.5, -0.5)), corner)
    assert run.layer.metadata[METADATA_KEY]["source"]["level"] == level

    np.testing.assert_array_equal(finish(studio.run_again(run.layer)).layer.data, run.layer.data)
    found: dict[str, Any] = {"viewer": viewer}
    exec(studio.as_python(run.layer), found)
    np.testing.assert_array_equal(found["labels"], run.layer.data)


def test_the_command_gives_the_part_in_the_whole(
    studio: Studio, viewer: ViewerModel, image: Image, tmp_path: Path, finish: Wait
) -> None:
    window = Window(slice(10, 50), slice(8, 64), (64, 72))
    show_pixels(viewer, window.rows, window.columns)
    strokes = studio.new_scribbles(displayed_plane(image, viewer.dims))
    strokes.data[20, 12:30], strokes.data[44, 20:60] = 3, 7
    run = finish(studio.segment(image, strokes, on_screen=True, settings=CLUSTERS))
    assert set(np.unique(run.layer.data)) == {3, 7}
    iio.imwrite(tmp_path / "image.png", image.data)
    words = shlex.split(studio.as_command())[1:]
    words[words.index("-o") - 1], words[words.index("-o") + 1] = str(tmp_path / "image.png"), str(tmp_path / "o.tif")
    assert CliRunner().invoke(app, words).exit_code == 0
    written = read_labels(tmp_path / "o.tif").labels
    np.testing.assert_array_equal(window.cut(written), run.layer.data)
    np.testing.assert_array_equal(written, window.put(run.layer.data))


def test_channels_come_from_the_same_part_of_further_layers(
    studio: Studio, viewer: ViewerModel, tissue: np.ndarray, finish: Wait
) -> None:
    red, green = (viewer.add_image(tissue[..., channel], name=f"stain {channel}") for channel in range(2))
    show_pixels(viewer, slice(10, 50), slice(8, 64))
    run = finish(studio.segment(red, channels=[green], on_screen=True, settings=CLUSTERS))
    parts = tuple(tissue[10:50, 8:64, channel] for channel in range(2))
    np.testing.assert_array_equal(run.layer.data, dfc.segment(parts, **CLUSTERS.as_dict()).labels)
    found: dict[str, Any] = {"viewer": viewer}
    exec(studio.as_python(), found)
    np.testing.assert_array_equal(found["labels"], run.layer.data)


class Counted:
    """A dask array of an image that notes which of its chunks were read."""

    def __init__(self, image: np.ndarray, side: int) -> None:
        self.read: set[tuple[int, int]] = set()

        def chunk(block_info: Any) -> np.ndarray:
            (top, bottom), (left, right) = block_info[None]["array-location"][:2]
            self.read.add((top // side, left // side))
            return image[top:bottom, left:right]

        chunks = [(side,) * (length // side) for length in image.shape[:2]]
        self.array = da.map_blocks(
            chunk, chunks=(*chunks, *((length,) for length in image.shape[2:])), dtype=image.dtype, meta=image[:0]
        )


def test_no_more_than_the_region_is_read(studio: Studio, viewer: ViewerModel, tissue: np.ndarray, finish: Wait) -> None:
    lazy = Counted(tissue[:64, :64], 8)
    layer = viewer.add_image(lazy.array, rgb=True, name="lazy")
    square = [[10.0, 18], [10, 29], [21, 29], [21, 18]]
    roi = viewer.add_shapes([square], shape_type="rectangle")
    chunks = {(row, column) for row in (1, 2) for column in (2, 3)}
    lazy.read.clear()
    inside = finish(studio.segment(layer, within=roi, settings=CLUSTERS))
    assert lazy.read == chunks
    assert inside.layer.data.shape == (64, 64)
    mask = np.zeros((64, 64), dtype=bool)
    mask[10:22, 18:30] = True
    np.testing.assert_array_equal(
        inside.layer.data, dfc.segment(tissue[:64, :64], mask=mask, **CLUSTERS.as_dict()).labels
    )
    lazy.read.clear()
    np.testing.assert_array_equal(finish(studio.run_again(inside.layer)).layer.data, inside.layer.data)
    assert lazy.read == chunks
    show_pixels(viewer, slice(10, 22), slice(18, 30))
    lazy.read.clear()
    seen = finish(studio.segment(layer, on_screen=True, settings=CLUSTERS))
    assert lazy.read == chunks
    np.testing.assert_array_equal(seen.layer.data, inside.layer.data[10:22, 18:30])


# ---------------------------------------------------------------------- strokes


def test_strokes_count_as_far_as_they_are_on_screen(
    studio: Studio, viewer: ViewerModel, image: Image, tissue: np.ndarray, finish: Wait
) -> None:
    show_pixels(viewer, slice(10, 50), slice(8, 64))
    seen = part_on_screen(displayed_plane(image, viewer.dims), viewer)
    part = viewer.add_layer(new_scribbles_layer(seen, "strokes"))  # as of a plane that is too large for a whole layer
    part.data[5, 4:40], part.data[34, 4:40] = 1, 2
    show_pixels(viewer, slice(0, 47), slice(20, 72))
    run = finish(studio.segment(image, part, on_screen=True, settings=CLUSTERS))
    expected = np.zeros((47, 52), np.uint8)
    expected[15, :28], expected[44, :28] = 1, 2
    labels = dfc.segment(tissue[:47, 20:], scribbles=expected, **CLUSTERS.as_dict()).labels
    np.testing.assert_array_equal(run.layer.data, labels)
    show_pixels(viewer, slice(52, 62), slice(20, 60))
    with pytest.raises(
        ValueError, match=r"“strokes” lies nowhere on the part .* move the view to your strokes, or add"
    ):
        studio.segment(image, part, on_screen=True, settings=CLUSTERS)


def test_new_strokes_cover_the_whole_and_follow_the_view(
    studio: Studio, viewer: ViewerModel, image: Image, finish: Wait
) -> None:
    show_pixels(viewer, slice(10, 50), slice(8, 64))
    run = finish(studio.segment(image, on_screen=True, settings=CLUSTERS))
    strokes = studio.new_scribbles(run.inputs.plane)
    assert strokes.data.shape == (64, 72)
    assert run.strokes_layer is strokes


def test_strokes_of_another_level_are_refused_with_what_to_do(
    studio: Studio, viewer: ViewerModel, slide: Image
) -> None:
    strokes = viewer.add_layer(new_scribbles_layer(displayed_plane(slide, viewer.dims, level=1), "strokes"))
    strokes.data[4, 4:12] = 1
    with pytest.raises(ValueError, match="choose the resolution of 36 x 32 pixels, or add a new strokes layer"):
        studio.segment(slide, strokes, level=0, settings=CLUSTERS)
    show_pixels(viewer, slice(10, 50), slice(8, 64))
    with pytest.raises(ValueError, match="pixel on pixel; add a new strokes layer"):
        studio.segment(slide, strokes, level=0, on_screen=True, settings=CLUSTERS)
    other = viewer.add_labels(np.ones((9, 9), np.uint8), name="else")
    with pytest.raises(ValueError, match=r"has 9 x 9 pixels .* be the same; add a new strokes layer"):
        studio.segment(slide, other, settings=CLUSTERS)


# ---------------------------------------------------------------------- then the whole


@pytest.mark.parametrize("chosen", [CLUSTERS, GROUPS], ids=["clusters", "groups"])
def test_the_whole_gets_the_classes_of_the_part(
    studio: Studio, viewer: ViewerModel, tissue: np.ndarray, finish: Wait, chosen: dfc.Settings
) -> None:
    image = viewer.add_image(tissue, name="cells", **PLACED)
    viewer.canvas.size = (360, 360)
    camera_of(viewer).zoom, camera_of(viewer).center = 5, (0, *image.data_to_world((30, 36)))
    run = finish(studio.segment(image, on_screen=True, settings=chosen))
    window = run.inputs.plane.window
    assert 0.2 < run.layer.data.size / tissue[..., 0].size < 0.9
    whole = finish(studio.segment_whole_plane())
    (layer,) = whole.layers.values()
    assert layer.data.shape == (64, 72)
    assert not run.layer.visible  # it would shine through
    np.testing.assert_allclose(layer.data_to_world((3, 5)), image.data_to_world((3, 5)))
    model = networks_of(viewer)["cells network"]
    np.testing.assert_array_equal(layer.data, model.predict(tissue, threads=1, device="cpu").labels)
    common = np.intersect1d(layer.data, run.layer.data)
    assert len(common) > 1
    if chosen is GROUPS:  # of clusters some may win elsewhere only
        assert set(np.unique(layer.data)) <= set(np.unique(run.layer.data))
    agreement = window.cut(layer.data)[8:-8, 8:-8] == run.layer.data[8:-8, 8:-8]  # the border has other neighbors now
    assert agreement.mean() > (0.95 if chosen is CLUSTERS else 0.7)  # as far as one network can tell groups apart
    for number in common:
        np.testing.assert_allclose(layer.get_color(number), run.layer.get_color(number), atol=0.01)


def test_the_whole_of_a_level_with_further_channels(
    studio: Studio, viewer: ViewerModel, tissue: np.ndarray, finish: Wait
) -> None:
    names = ("first", "second")
    first, second = (
        viewer.add_image([tissue[..., n], tissue[::2, ::2, n]], multiscale=True, name=name)
        for n, name in enumerate(names)
    )
    first.data_level = 1
    show_pixels(viewer, slice(11, 49), slice(9, 63))
    finish(studio.segment(first, channels=[second], level=None, on_screen=True, settings=CLUSTERS))
    (layer,) = finish(studio.segment_whole_plane()).layers.values()
    channels = (tissue[::2, ::2, 0], tissue[::2, ::2, 1])
    model = networks_of(viewer)["first network"]
    np.testing.assert_array_equal(layer.data, model.predict(channels, threads=1, device="cpu").labels)
    np.testing.assert_allclose(layer.data_to_world((-0.5, -0.5)), (-0.5, -0.5))


def test_all_planes_of_a_part_are_that_part(
    studio: Studio, viewer: ViewerModel, tissue: np.ndarray, finish: Wait
) -> None:
    stack = viewer.add_image(np.stack([tissue, tissue[::-1]])[..., 0], name="stack")
    show_pixels(viewer, slice(10, 50), slice(8, 64))
    finish(studio.segment(stack, on_screen=True, settings=CLUSTERS))
    (layer,) = finish(studio.segment_all_planes()).layers.values()
    model = networks_of(viewer)["stack network"]
    for labels, plane in zip(layer.data, stack.data, strict=True):
        np.testing.assert_array_equal(labels, model.predict(plane[10:50, 8:64], threads=1, device="cpu").labels)
    np.testing.assert_allclose(layer.data_to_world((1, 0, 0)), (1, 10, 8))
    (whole,) = finish(studio.segment_whole_plane()).layers.values()  # of the plane that was segmented
    assert whole.data.shape == (1, 64, 72)


def test_the_whole_needs_a_part(studio: Studio, viewer: ViewerModel, image: Image, finish: Wait) -> None:
    with pytest.raises(ValueError, match="no result yet"):
        studio.segment_whole_plane()
    show_pixels(viewer, slice(-5, 100), slice(-5, 100))
    finish(studio.segment(image, on_screen=True, settings=CLUSTERS))  # all of it is on screen
    with pytest.raises(ValueError, match="whole plane of “cells” is segmented already"):
        studio.segment_whole_plane()
    roi = viewer.add_shapes([[[8.0, 9], [8, 40], [35, 40], [35, 9]]], shape_type="rectangle")
    finish(studio.segment(image, within=roi, settings=CLUSTERS))
    (layer,) = finish(studio.segment_whole_plane()).layers.values()
    assert (layer.data > 0).all()
    finish(studio.segment(image, within=roi, settings=CLUSTERS.change(split_into="regions")))
    with pytest.raises(ValueError, match="regions are pieces of one plane"):
        studio.segment_whole_plane()


# ---------------------------------------------------------------------- the dock


def test_the_dock_previews_what_is_on_screen_and_then_the_whole(
    viewer: ViewerModel, slide: Image, qtbot: QtBot, finish: Wait
) -> None:
    widget = SegmentWidget(viewer)
    qtbot.addWidget(widget.native)
    widget.native.show()
    for name, value in {"max_iterations": 4, "n_channels": 12, "split_into": "groups"}.items():
        widget.form.control(name).value = value
    slide.data_level = 0
    show_pixels(viewer, slice(10, 50), slice(8, 64))
    widget.within.value = ON_SCREEN
    assert widget.level.value == AS_DISPLAYED
    assert "On screen are 56 x 40 pixels." in widget.estimate.value
    show_pixels(viewer, slice(10, 40), slice(8, 64))
    qtbot.waitUntil(lambda: "On screen are 56 x 30 pixels." in widget.estimate.value, timeout=5000)
    button = widget.controls.whole_plane
    assert not button.visible
    run = finish(widget.start())
    assert run.layer.data.shape == (30, 56)
    assert button.visible
    assert button.enabled
    widget.form.control("max_iterations").value = 100_000  # of runs, and not of this one
    button.native.click()
    assert button.text == "Stop the whole plane"
    button.native.click()
    assert not widget.studio.stack_run.running
    assert button.text == "Segment the whole plane"
    assert "Stopped after 0 of 1 plane" in widget.status.value
    button.native.click()
    (layer,) = finish(widget.studio.stack_run).layers.values()
    assert layer.data.shape == (64, 72)
    assert "1 plane segmented" in widget.status.value

    camera_of(viewer).center = (0, 1000, 1000)
    qtbot.waitUntil(lambda: "nothing of “slide” is on screen" in widget.hint.value, timeout=5000)
    assert not widget.start_button.enabled
    widget.within.value, widget.level.value = None, 1
    assert widget.start_button.enabled
    assert finish(widget.start()).layer.data.shape == (32, 36)
    assert not button.visible
