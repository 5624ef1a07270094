"""Several references as one plane: nothing of one is seen beside another, and all are on one scale."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_dfc.images import prepare, prepare_alike
from napari_dfc.network import Network, initialize
from napari_dfc.references import mosaic, strokes_on
from napari_dfc.scales import FILTER_RADIUS
from napari_dfc.settings import Settings

SHAPES = [(30, 20), (50, 33), (7, 90), (1, 1), (64, 64)]


def images() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.normal(index, 1, size=shape) for index, shape in enumerate(SHAPES)]


@pytest.mark.parametrize(
    ("settings", "gap", "grid"),
    [
        (Settings(n_networks=2), FILTER_RADIUS, 2),
        (Settings(n_networks=4, n_conv=9), 36, 4),
        (Settings(n_networks=1, n_conv=3, extractor="convolutions"), 3, 1),
        (Settings(n_networks=4, n_conv=9, full_resolution_up_to=16), 72, 8),
    ],
)
def test_parts_lie_apart_as_far_as_networks_see_and_hold_the_images(settings: Settings, gap: int, grid: int) -> None:
    plane = mosaic(images(), settings=settings)
    alike = prepare_alike(images())
    owner = np.zeros(plane.shape, dtype=int)
    for index, ((rows, columns), one) in enumerate(zip(plane.parts, alike, strict=True), 1):
        assert (rows.stop - rows.start, columns.stop - columns.start) == SHAPES[index - 1]
        assert rows.start % grid == columns.start % grid == 0
        assert np.array_equal(plane.values[:, rows, columns], one.values)
        around = owner[max(rows.start - gap, 0) : rows.stop + gap, max(columns.start - gap, 0) : columns.stop + gap]
        assert not around.any()  # no other part within the gap
        owner[rows, columns] = index
    assert np.array_equal(owner > 0, plane.mask)
    assert not plane.values[:, owner == 0].any()
    assert plane.part_sha256 == tuple(one.sha256 for one in alike)


def test_the_scale_is_that_of_all_pixels_together() -> None:
    planes = prepare_alike(images())
    everything = np.concatenate([each.ravel() for each in images()])
    low, high = np.percentile(everything, (0.1, 99.9))
    for plane, image in zip(planes, images(), strict=True):
        assert plane.values[0] == pytest.approx((image - low) / (high - low), abs=1e-5)


def test_a_single_reference_is_the_image_alone() -> None:
    image = images()[1]
    plane = mosaic([image], settings=Settings())
    assert np.array_equal(plane.values, prepare(image).values)
    assert plane.parts == ()
    assert plane.largest_part == (slice(0, 50), slice(0, 33))


def test_a_network_sees_in_each_part_what_it_sees_in_the_image_alone() -> None:
    """With the statistics of the whole plane, by convolving each part alone between zeros."""
    plane = mosaic(images()[:2], settings=Settings())
    network = Network(1, 5, 2, "zeros").double()
    initialize(network, "xavier", torch.Generator().manual_seed(0))
    mask = torch.from_numpy(plane.mask)[None, None].double()
    values = torch.from_numpy(plane.values)[None].double()
    with torch.no_grad():
        whole = network(values, mask)[0]
        maps = [values[0][:, rows, columns][None] for rows, columns in plane.parts]
        for convolution, normalization in zip(
            [*network.convolutions, network.classifier],
            [*network.normalizations, network.response_normalization],
            strict=True,
        ):
            maps = [convolution(each) for each in maps]
            if convolution is not network.classifier:
                maps = [each.clamp(min=0) for each in maps]
            flat = torch.cat([each.flatten(2) for each in maps], dim=2)  # (1, p, N)
            mean, variance = flat.mean(2)[..., None, None], flat.var(2, correction=0)[..., None, None]
            scale, shift = (each[:, None, None] for each in (normalization.weight, normalization.bias))
            maps = [(each - mean) / torch.sqrt(variance + 1e-5) * scale + shift for each in maps]
    for (rows, columns), expected in zip(plane.parts, maps, strict=True):
        assert torch.allclose(whole[:, rows, columns], expected[0], atol=1e-9)


def test_strokes_lie_on_their_images() -> None:
    plane = mosaic(images()[:3], settings=Settings())
    strokes = [np.zeros(shape, dtype=np.uint16) for shape in SHAPES[:3]]
    strokes[0][3, 4], strokes[2][5, 60] = 7, 300
    painted = strokes_on(plane, [strokes[0], None, strokes[2]])
    assert painted is not None
    assert sorted(painted[painted > 0].tolist()) == [7, 300]
    (rows, columns), _, (other_rows, other_columns) = plane.parts
    assert painted[rows, columns][3, 4] == 7
    assert painted[other_rows, other_columns][5, 60] == 300
    assert strokes_on(plane, [None, None, None]) is None


def test_masked_pixels_of_a_reference_stay_masked() -> None:
    one, other = images()[:2]
    mask = np.ones(one.shape, dtype=bool)
    mask[:5] = False
    plane = mosaic([one, other], settings=Settings(), masks=[mask, None])
    rows, columns = plane.parts[0]
    assert np.array_equal(plane.mask[rows, columns], mask)


def test_colors_are_colors_only_where_all_are() -> None:
    color = np.random.default_rng(0).integers(0, 255, (9, 9, 3), dtype=np.uint8)
    assert mosaic([color, color], settings=Settings()).is_rgb
    channels = (color[..., 0], color[..., 1], color[..., 2])
    assert not mosaic([color, channels], settings=Settings()).is_rgb


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"images": []}, "there is no reference image"),
        ({"images": [np.zeros((4, 4)), np.zeros((4, 4, 3))]}, "image 2 has 3 channels and image 1 has 1"),
        ({"images": [np.zeros((4, 4)), np.zeros((0, 4))]}, "image 2: .*no pixels"),
        ({"images": [np.zeros((4, 4))], "masks": []}, "0 masks for 1 images"),
        (
            {
                "images": [np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.uint16)],
                "settings": Settings(input_scaling="published"),
            },
            "data types uint16 and uint8",
        ),
    ],
)
def test_references_that_do_not_go_together_are_refused(given: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        mosaic(**{"settings": Settings(), **given})


def test_class_numbers_of_any_integer_type_go_together() -> None:
    plane = mosaic(images()[:2], settings=Settings())
    one, other = np.zeros(SHAPES[0], dtype=np.uint64), np.zeros(SHAPES[1], dtype=np.int64)
    one[0, 0], other[0, 0] = 2**64 - 1, 5
    painted = strokes_on(plane, [one, other])
    assert painted is not None
    assert sorted(painted[painted > 0].tolist()) == [5, 2**64 - 1]
    other[0, 0] = -5
    with pytest.raises(ValueError, match="scribbles 2 hold the value -5"):
        strokes_on(plane, [one, other])


def test_strokes_that_do_not_go_with_their_images_are_refused() -> None:
    plane = mosaic(images()[:2], settings=Settings())
    with pytest.raises(ValueError, match="1 scribbles for 2 images"):
        strokes_on(plane, [None])
    with pytest.raises(
        ValueError, match=r"scribbles 2 have shape \(30, 20\); accepted is that of the image, \(50, 33\)"
    ):
        strokes_on(plane, [None, np.zeros((30, 20), dtype=int)])
    with pytest.raises(TypeError, match="scribbles 1 have values of type float64"):
        strokes_on(plane, [np.zeros((30, 20)), None])
