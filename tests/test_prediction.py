from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from napari_dfc import prediction
from napari_dfc.cancellation import Cancelled
from napari_dfc.network import Network, initialize
from napari_dfc.prediction import DeviceConvolution, Picture, Predictor
from napari_dfc.winograd import StripConvolution, transformed_kernel


@pytest.fixture(autouse=True)
def small_blocks() -> Iterator[None]:
    """Several blocks even in small images."""
    before = prediction.BLOCK
    prediction.BLOCK = (8, 12)
    yield
    prediction.BLOCK = before


def network_of(n_conv: int, padding: str, dtype: torch.dtype, seed: int = 0) -> Network:
    generator = torch.Generator().manual_seed(seed)
    network = Network(2, 6, n_conv, padding).to(dtype)
    initialize(network, "framework", generator)
    with torch.no_grad():
        for normalization in [*network.normalizations, network.response_normalization]:
            normalization.weight.uniform_(0.5, 1.5, generator=generator)
            normalization.bias.uniform_(-0.5, 0.5, generator=generator)
    return network


def picture_of(height: int, width: int, dtype: torch.dtype, masked: bool = False) -> Picture:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, height, width, generator=generator, dtype=dtype)
    if not masked:
        return Picture(image)
    mask = torch.rand(height, width, generator=generator) > 0.3
    mask[0, 0] = True
    return Picture(image * mask, mask)


def response_of_a_pass(network: Network, picture: Picture) -> torch.Tensor:
    """The network's own response, whose statistics are the image's, (H, W, q)."""
    mask = None if picture.mask is None else picture.mask[None, None].to(picture.image.dtype)
    with torch.no_grad():
        return network(picture.image[None], mask)[0].permute(1, 2, 0)


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
@pytest.mark.parametrize("padding", ["zeros", "replicate"])
@pytest.mark.parametrize("n_conv", [1, 2, 3, 4])
def test_with_the_image_s_own_statistics_it_is_the_network_s_response(n_conv: int, padding: str, masked: bool) -> None:
    network, picture = network_of(n_conv, padding, torch.float64), picture_of(29, 31, torch.float64, masked)
    predictor = Predictor(network)
    predictor.measure(picture)
    expected = response_of_a_pass(network, picture)
    inside = torch.ones(29, 31, dtype=torch.bool) if picture.mask is None else picture.mask
    found = predictor.response(picture, slice(0, 29), slice(0, 31))
    torch.testing.assert_close(found[inside], expected[inside], atol=1e-9, rtol=0)


def test_statistics_stay_those_that_were_measured() -> None:
    network = network_of(2, "replicate", torch.float64)
    bright = Picture(picture_of(20, 24, torch.float64).image * 2 + 1)
    predictor = Predictor(network)
    predictor.measure(bright)
    whole = predictor.response(bright, slice(0, 20), slice(0, 24))
    part = Picture(bright.image[:, :10, :12].contiguous())
    # but for the border, which the part has elsewhere, a part alone gives what it gives within the whole
    alone = predictor.response(part, slice(0, 10), slice(0, 12))
    torch.testing.assert_close(alone[:8, :10], whole[:8, :10], atol=1e-12, rtol=0)
    assert float((alone[9] - whole[9, :12]).abs().max()) > 1e-3


def test_several_pictures_give_the_statistics_of_all_their_pixels() -> None:
    network = network_of(1, "zeros", torch.float64)
    one, other = picture_of(9, 14, torch.float64), Picture(picture_of(9, 5, torch.float64).image + 1)
    predictor = Predictor(network)
    predictor.measure(one, other)
    maps = [torch.relu(network.convolutions[0](each.image[None])).detach()[0].flatten(1) for each in (one, other)]
    both = torch.cat(maps, 1)  # (p, n)
    expected = network.normalizations[0].weight / (both.var(1, correction=0) + 1e-5).sqrt()
    torch.testing.assert_close(predictor._scales[0], expected.detach(), atol=1e-12, rtol=0)


@hypothesis_settings(max_examples=50)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    n_conv=st.integers(1, 3),
    padding=st.sampled_from(["zeros", "replicate"]),
    tile=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    masked=st.booleans(),
)
def test_tiles_of_any_size_are_bit_for_bit_the_whole_in_float32(
    height: int, width: int, n_conv: int, padding: str, tile: tuple[int, int], masked: bool
) -> None:
    network, picture = network_of(n_conv, padding, torch.float32), picture_of(height, width, torch.float32, masked)
    predictor = Predictor(network)
    predictor.measure(picture)
    whole = predictor.response(picture, slice(0, height), slice(0, width))
    tiled = torch.full_like(whole, np.nan)
    for top in range(0, height, tile[0]):
        for left in range(0, width, tile[1]):
            rows, columns = slice(top, min(top + tile[0], height)), slice(left, min(left + tile[1], width))
            tiled[rows, columns] = predictor.response(picture, rows, columns)
    assert torch.equal(tiled, whole)


def test_the_convolution_of_other_devices_gives_what_the_cpu_s_gives() -> None:
    generator = torch.Generator().manual_seed(0)
    kernel = torch.randn(3, 3, 3, 3, generator=generator, dtype=torch.float64)
    other = DeviceConvolution(20, 3, 2, torch.float64, torch.device("cpu"))
    ours = StripConvolution(20, 3, 2, torch.float64)
    ours.padded.copy_(torch.randn(ours.padded.shape, generator=generator, dtype=torch.float64))
    other.padded.copy_(ours.padded)
    ours.read()
    ours.forward(transformed_kernel(kernel))
    other.read()
    other.forward(kernel)
    torch.testing.assert_close(other.pixels, ours.pixels, atol=1e-12, rtol=0)


def test_it_is_called_off_between_two_blocks() -> None:
    picture = picture_of(30, 30, torch.float32)
    asked = iter(range(100))
    predictor = Predictor(network_of(2, "zeros", torch.float32), cancelled=lambda: next(asked) >= 5)
    with pytest.raises(Cancelled):
        predictor.measure(picture)
    assert next(asked) == 6
