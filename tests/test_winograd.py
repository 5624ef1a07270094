from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from napari_dfc.strips import TILE
from napari_dfc.winograd import StripConvolution, transformed_kernel, untransformed_kernel_gradient

HEIGHT, WIDTH, CHANNELS, TILE_ROWS = 21, 30, 7, 2
ROWS = TILE * TILE_ROWS


@pytest.fixture(params=[torch.float64, torch.float32], ids=["float64", "float32"])
def case(request: pytest.FixtureRequest) -> dict[str, torch.Tensor]:
    """An image, a kernel, a gradient of the output, and what PyTorch makes of them."""
    generator = torch.Generator().manual_seed(0)
    image = torch.randn(1, CHANNELS, HEIGHT, WIDTH, generator=generator, dtype=torch.float64).requires_grad_()
    weight = torch.randn(CHANNELS, CHANNELS, 3, 3, generator=generator, dtype=torch.float64).requires_grad_()
    output = F.conv2d(image, weight, padding=1)
    gradient = torch.randn(output.shape, generator=generator, dtype=torch.float64)
    of_image, of_weight = torch.autograd.grad(output, [image, weight], gradient)
    found = {
        "image": image, "weight": weight, "output": output, "gradient": gradient, "of_image": of_image,
        "of_weight": of_weight,
    }  # fmt: skip
    return {name: tensor.detach().to(request.param) for name, tensor in found.items()}


def strips() -> range:
    return range(0, -(-HEIGHT // ROWS) * ROWS, ROWS)


def laid_out(image: torch.Tensor, border: int) -> torch.Tensor:
    """Channels last, with a border and zeros up to whole strips, (rows + 2 * border, columns + 2 * border, C)."""
    rows, columns = len(strips()) * ROWS, -(-WIDTH // TILE) * TILE
    padded = torch.zeros(rows + 2 * border, columns + 2 * border, CHANNELS, dtype=image.dtype)
    padded[border : border + HEIGHT, border : border + WIDTH] = image[0].permute(1, 2, 0)
    return padded


def assert_close(ours: torch.Tensor, expected: torch.Tensor) -> None:
    tolerance = 1e-12 if expected.dtype == torch.float64 else 2e-5
    assert float((ours - expected).abs().max()) <= tolerance * float(expected.abs().max())


def test_output_is_that_of_a_plain_convolution(case: dict[str, torch.Tensor]) -> None:
    convolution = StripConvolution(WIDTH, CHANNELS, TILE_ROWS, case["image"].dtype)
    padded = laid_out(case["image"], 1)
    found = []
    for top in strips():
        convolution.padded.copy_(padded[top : top + ROWS + 2])
        convolution.read()
        convolution.forward(transformed_kernel(case["weight"]))
        found.append(convolution.pixels.clone())
    assert_close(torch.cat(found)[:HEIGHT, :WIDTH], case["output"][0].permute(1, 2, 0))


def test_gradients_are_those_of_a_plain_convolution(case: dict[str, torch.Tensor]) -> None:
    convolution = StripConvolution(WIDTH, CHANNELS, TILE_ROWS, case["image"].dtype)
    padded, gradient = laid_out(case["image"], 1), laid_out(case["gradient"], 0)
    kernel = transformed_kernel(case["weight"])
    of_kernel = torch.zeros_like(kernel)
    of_padded = torch.zeros_like(padded)
    for _ in range(2):  # the second image must not see what the first one left
        of_kernel.zero_()
        convolution.start_backward()
        for top in strips():
            convolution.padded.copy_(padded[top : top + ROWS + 2])
            convolution.read()
            convolution.pixels.copy_(gradient[top : top + ROWS])
            convolution.backward(kernel, of_kernel)
            of_padded[top : top + ROWS + 2] = convolution.padded_gradient
        assert_close(untransformed_kernel_gradient(of_kernel), case["of_weight"])
        assert_close(of_padded[1 : HEIGHT + 1, 1 : WIDTH + 1], case["of_image"][0].permute(1, 2, 0))


def test_a_kernel_that_moves_the_image_moves_it_exactly() -> None:
    weight = torch.zeros(CHANNELS, CHANNELS, 3, 3, dtype=torch.float64)
    weight[range(CHANNELS), range(CHANNELS), 0, 2] = 1  # one pixel down, one to the left
    image = torch.arange(ROWS * WIDTH * CHANNELS, dtype=torch.float64).view(ROWS, WIDTH, CHANNELS)
    convolution = StripConvolution(WIDTH, CHANNELS, TILE_ROWS, torch.float64)
    convolution.padded[1:-1, 1 : WIDTH + 1] = image
    convolution.read()
    convolution.forward(transformed_kernel(weight))
    torch.testing.assert_close(convolution.pixels[1:, : WIDTH - 1], image[:-1, 1:], atol=1e-9, rtol=0)
    assert float(convolution.pixels[0].abs().max()) < 1e-9
