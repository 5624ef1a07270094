from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from napari_dfc.network import Network, Normalization, initialize, weights_of
from plain import plain_network


def made(n_inputs: int = 3, n_channels: int = 8, n_conv: int = 2, **options: str) -> Network:
    network = Network(n_inputs, n_channels, n_conv, **options).double()
    initialize(network, "xavier", torch.Generator().manual_seed(0))
    return network


def noise(*shape: int, seed: int = 1) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("n_conv", [1, 2, 3])
def test_response_is_that_of_pytorch_s_own_layers(n_conv: int) -> None:
    network, plain = made(n_conv=n_conv), plain_network(3, 8, n_conv).double()
    ours = [*network.convolutions, network.classifier], [*network.normalizations, network.response_normalization]
    theirs = (
        [layer for layer in plain if isinstance(layer, torch.nn.Conv2d)],
        [layer for layer in plain if isinstance(layer, torch.nn.BatchNorm2d)],
    )
    with torch.no_grad():
        for mine, other in zip(ours[0] + ours[1], theirs[0] + theirs[1], strict=True):
            mine.bias.uniform_(-1, 1)
            other.weight.copy_(mine.weight)
            other.bias.copy_(mine.bias)
    image = noise(1, 3, 12, 15)
    assert torch.allclose(network(image), plain(image), atol=1e-12)


def test_response_has_zero_mean_and_unit_variance_in_every_channel() -> None:
    response = made()(noise(1, 3, 20, 30))
    assert torch.allclose(response.mean((0, 2, 3)), torch.zeros(8, dtype=torch.float64), atol=1e-12)
    assert torch.allclose(response.var((0, 2, 3), correction=0), torch.ones(8, dtype=torch.float64), atol=1e-3)


def test_masked_normalization_uses_the_pixels_inside_only() -> None:
    normalization = Normalization(2).double()
    with torch.no_grad():
        normalization.weight.copy_(torch.tensor([2.0, 1.0]))
        normalization.bias.copy_(torch.tensor([0.5, 0.0]))
    x = torch.tensor([[[[1.0, 3.0, 100.0]], [[5.0, 5.0, -7.0]]]], dtype=torch.float64)
    out = normalization(x, torch.tensor([[[[1.0, 1.0, 0.0]]]], dtype=torch.float64))
    scaled = 1 / math.sqrt(1 + 1e-5)  # mean 2, variance 1
    assert out[0, 0, 0].tolist() == pytest.approx([0.5 - 2 * scaled, 0.5 + 2 * scaled, 0.0])
    assert out[0, 1, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("n_conv", [1, 3])
def test_masked_surround_gives_what_the_inside_alone_gives(n_conv: int) -> None:
    network = made(n_conv=n_conv)
    inner = noise(1, 3, 9, 11)
    outer, mask = torch.zeros(1, 3, 20, 20, dtype=torch.float64), torch.zeros(1, 1, 20, 20, dtype=torch.float64)
    outer[..., 4:13, 6:17], mask[..., 4:13, 6:17] = inner, 1
    response = network(outer, mask)
    assert torch.allclose(response[..., 4:13, 6:17], network(inner), atol=1e-10)
    assert (response * (1 - mask) == 0).all()


def test_one_pixel_has_a_finite_response() -> None:
    response = made()(noise(1, 3, 1, 1))
    assert torch.equal(response, torch.zeros(1, 8, 1, 1, dtype=torch.float64))


@pytest.mark.parametrize("n_conv", [1, 2, 4])
def test_receptive_radius_is_how_far_a_pixel_sees(n_conv: int) -> None:
    network = made(n_conv=n_conv)
    for normalization in [*network.normalizations, network.response_normalization]:
        normalization.forward = lambda x, mask=None: x  # batch statistics see every pixel
    image = noise(1, 3, 21, 21).requires_grad_()
    network(image)[0, :, 10, 10].sum().backward()
    rows, columns = image.grad.abs().sum((0, 1)).nonzero(as_tuple=True)
    radius = network.receptive_radius
    assert (int(rows.min()), int(rows.max())) == (10 - radius, 10 + radius)
    assert (int(columns.min()), int(columns.max())) == (10 - radius, 10 + radius)


def test_replicate_padding_shows_the_outermost_pixels_once_more() -> None:
    network, image = made(n_conv=1, padding="replicate"), noise(1, 3, 6, 7)
    around = torch.nn.functional.pad(image, (1, 1, 1, 1), mode="replicate")
    inside = network.convolutions[0]._conv_forward(image, network.convolutions[0].weight, None)
    plain = torch.nn.functional.conv2d(around, network.convolutions[0].weight)
    assert torch.allclose(inside, plain, atol=1e-12)


@pytest.mark.parametrize(
    ("method", "bounds"),
    [  # fans of the 3x3 convolutions: 3*9 in and 8*9 out, 8*9 and 8*9; of the 1x1: 8 and 8
        ("xavier", [math.sqrt(6 / 99), math.sqrt(6 / 144), math.sqrt(6 / 16)]),
        ("framework", [1 / math.sqrt(27), 1 / math.sqrt(72), 1 / math.sqrt(8)]),
    ],
)
def test_first_weights_fill_their_range(method: str, bounds: list[float]) -> None:
    network = Network(3, 8, 2)
    initialize(network, method, torch.Generator().manual_seed(0))
    for layer, bound in zip([*network.convolutions, network.classifier], bounds, strict=True):
        weight, bias = layer.weight.detach(), layer.bias.detach()
        assert 0.85 * bound < float(weight.max()) <= bound
        assert -bound <= float(weight.min()) < -0.85 * bound
        assert (float(bias.abs().max()) == 0) is (method == "xavier")
        assert float(bias.abs().max()) <= bound
    for layer in [*network.normalizations, network.response_normalization]:
        assert (layer.weight == 1).all()
        assert (layer.bias == 0).all()


def test_first_weights_follow_the_seed_and_leave_global_randomness_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, second = made(), made()
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(first.classifier.weight, second.classifier.weight)
    other = Network(3, 8, 2).double()
    initialize(other, "xavier", torch.Generator().manual_seed(1))
    assert not torch.equal(first.classifier.weight, other.classifier.weight)


def test_weights_are_copied() -> None:
    network = made()
    kept = weights_of(network)
    with torch.no_grad():
        network.classifier.weight.zero_()
    assert kept["classifier.weight"].abs().sum() > 0
