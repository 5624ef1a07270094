"""3x3 convolution of a strip of image rows by Winograd's minimal filtering: a quarter of the multiplications."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from napari_dfc.strips import TILE

__all__ = ["StripConvolution", "transformed_kernel", "untransformed_kernel_gradient"]

# Toom and Cook's construction at the points 0, +-A, +-B and infinity. With these two, float32 loses little more than in
# the plain form; the usual 1 and 2 lose four times as much. All numbers here but the kernel's are exact in binary.
A, B = 3 / 4, 3 / 2
_SUM, _PRODUCT = A**2 + B**2, A**2 * B**2
_INPUT = (
    (_PRODUCT, 0, -_SUM, 0, 1, 0),
    (0, -A * B**2, -(B**2), A, 1, 0),
    (0, A * B**2, -(B**2), -A, 1, 0),
    (0, -B * A**2, -(A**2), B, 1, 0),
    (0, B * A**2, -(A**2), -B, 1, 0),
    (0, _PRODUCT, 0, -_SUM, 0, 1),
)
_NEAR, _FAR = 2 * A**2 * (A**2 - B**2), 2 * B**2 * (B**2 - A**2)
_KERNEL = (
    (1 / _PRODUCT, 0, 0),
    (1 / _NEAR, A / _NEAR, A**2 / _NEAR),
    (1 / _NEAR, -A / _NEAR, A**2 / _NEAR),
    (1 / _FAR, B / _FAR, B**2 / _FAR),
    (1 / _FAR, -B / _FAR, B**2 / _FAR),
    (0, 0, 1),
)
_OUTPUT = (
    (1, 1, 1, 1, 1, 0),
    (0, A, -A, B, -B, 0),
    (0, A**2, A**2, B**2, B**2, 0),
    (0, A**3, -(A**3), B**3, -(B**3), 1),
)


def transformed_kernel(weight: Tensor) -> Tensor:
    """The kernel as `StripConvolution` wants it: (36, I, O) from (O, I, 3, 3)."""
    kernel = torch.tensor(_KERNEL, dtype=torch.float64)
    transformed = torch.einsum("ax,by,oiyx->abio", kernel, kernel, weight.double())  # (6, 6, I, O), columns first
    return transformed.flatten(0, 1).to(weight.dtype).contiguous()


def untransformed_kernel_gradient(gradient: Tensor) -> Tensor:
    """The gradient of a kernel, (O, I, 3, 3), from that of the transformed one, (36, I, O)."""
    kernel = torch.tensor(_KERNEL, dtype=torch.float64)
    return torch.einsum("ax,by,abio->oiyx", kernel, kernel, gradient.double().view(6, 6, *gradient.shape[1:])).to(
        gradient.dtype
    )


class StripConvolution:
    r"""Forward and backward pass of a 3x3 convolution over a strip of rows, in buffers that are used again and again.

    Parameters
    ----------
    width : int
        Columns of the image.
    n_channels : int
        Channels of input and output.
    tile_rows : int
        Height of the strip in tiles.
    dtype : torch.dtype

    Attributes
    ----------
    padded : (4 * tile_rows + 2, 4 * tile_columns + 2, C) Tensor
        Input with a border of one pixel.
    pixels : (4 * tile_rows, 4 * tile_columns, C) Tensor
        Output; for `backward` the gradient of the output, 0 beyond the image.
    padded_gradient : (4 * tile_rows + 2, 4 * tile_columns + 2, C) Tensor
        The gradient of `padded`. Its last two rows wait for the share of the strip below.

    Notes
    -----
    A tile :math:`d` of 6x6 input pixels and a kernel :math:`g` give 4x4 output pixels

    .. math:: Y = A^T \left[ (G g G^T) \odot (B^T d B) \right] A

    so that the sum over input channels is 36 matrix products where the plain form has 16 x 9. The backward pass is the
    exact adjoint of this. In float32 the result is off by some 2e-6 of its largest value.

    References
    ----------
    A. Lavin, S. Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016.
    """

    def __init__(self, width: int, n_channels: int, tile_rows: int, dtype: torch.dtype) -> None:
        self.tile_rows, self.tile_columns, self.n_channels = tile_rows, -(-width // TILE), n_channels
        rows, columns = TILE * tile_rows, TILE * self.tile_columns
        self.padded = torch.zeros(rows + 2, columns + 2, n_channels, dtype=dtype)
        self.pixels = torch.zeros(rows, columns, n_channels, dtype=dtype)
        self.padded_gradient = torch.zeros_like(self.padded)
        self._tiles = (6, tile_rows, self.tile_columns, n_channels)
        self._inputs = torch.empty(6, *self._tiles, dtype=dtype)  # B'dB, its columns before its rows
        self._products = torch.empty(6, *self._tiles, dtype=dtype)
        self._half = torch.empty(tile_rows, 6, columns + 2, n_channels, dtype=dtype)  # transformed down the rows only
        self._sums = torch.empty(2, *self._tiles, dtype=dtype)
        self._input, self._output = torch.tensor(_INPUT, dtype=dtype), torch.tensor(_OUTPUT, dtype=dtype)

    def read(self) -> None:
        """Transform `padded` into tiles, for `forward` and for the kernel's gradient in `backward`."""
        six_rows = self.padded.flatten(1).unfold(0, 6, TILE).transpose(1, 2)  # (R, 6, X * C)
        torch.bmm(self._input.expand(self.tile_rows, 6, 6), six_rows, out=self._half.flatten(2))
        columns = [column.transpose(0, 1) for column in self._columns(self._half)]  # each (6, R, T, C)
        _transform_input(columns, self._inputs.unbind(), *self._sums)

    def forward(self, kernel: Tensor) -> None:
        """Convolve what was read into `pixels`."""
        products = self._products.view(36, -1, self.n_channels)
        torch.bmm(self._inputs.view_as(products), kernel, out=products)
        half = self._inputs[:TILE]  # what was read is no longer needed
        _transform_output(self._products.unbind(), half.unbind(), *self._sums)
        tiles = self._products.flatten(0, 1)[: TILE * TILE].view(TILE, TILE, *self._tiles[1:])
        torch.bmm(self._output.expand(TILE, TILE, 6), half.flatten(2), out=tiles.flatten(2))
        rows = self.pixels.view(-1, TILE, *self.pixels.shape[1:]).transpose(0, 1)  # (4, R, 4 * T, C)
        for column, values in enumerate(tiles):
            rows[:, :, column::TILE].copy_(values)

    def start_backward(self) -> None:
        """Forget what the last strip of an earlier image left for the strip below it."""
        self.padded_gradient.zero_()

    def backward(self, kernel: Tensor, kernel_gradient: Tensor) -> None:
        """From what was read and the gradient in `pixels`: add to the kernel's gradient, and set `padded_gradient`.

        The strips come from top to bottom, `start_backward` before the first.

        Parameters
        ----------
        kernel : (36, I, O) Tensor
        kernel_gradient : (36, I, O) Tensor
            The strip's share is added to it.
        """
        four_rows = self.pixels.view(self.tile_rows, TILE, -1)
        half = self._half.flatten()[: 6 * self.tile_rows * four_rows.shape[2]].view(self.tile_rows, 6, -1)
        torch.bmm(self._output.T.expand(self.tile_rows, 6, TILE), four_rows, out=half)
        half = half.view(self.tile_rows, 6, -1, self.n_channels).transpose(0, 1)  # (6, R, 4 * T, C)
        _transform_output_back(
            [half[:, :, column::TILE] for column in range(TILE)], self._products.unbind(), *self._sums
        )

        products = self._products.view(36, -1, self.n_channels)
        inputs = self._inputs.view_as(products)
        kernel_gradient.baddbmm_(inputs.transpose(1, 2), products)
        torch.bmm(products, kernel.transpose(1, 2), out=inputs)
        self._write_input_gradient()

    def _write_input_gradient(self) -> None:
        """The adjoint of `read`."""
        self._half[:, :, -2:].zero_()
        columns = [column.transpose(0, 1) for column in self._columns(self._half)]  # each (6, R, T, C)
        _transform_input_back(self._inputs.unbind(), columns, *self._sums)
        self.padded_gradient[:2].copy_(self.padded_gradient[-2:])
        self.padded_gradient[2:].zero_()
        for row, six_rows in enumerate(self._half.flatten(2)):  # (6, X * C)
            into = self.padded_gradient[TILE * row : TILE * row + 6].flatten(1)
            into.addmm_(self._input.T, six_rows)

    def _columns(self, pixels: Tensor) -> list[Tensor]:
        """The six columns of every tile, each (..., T, C)."""
        starts = TILE * (self.tile_columns - 1) + 1
        return [pixels[..., column : column + starts : TILE, :] for column in range(6)]


# Along the columns the same matrices are written out: there a matrix product would have to copy its operands.


def _transform_input(d: Sequence[Tensor], v: Sequence[Tensor], p: Tensor, q: Tensor) -> None:
    """Set ``v = B' d``."""
    for point, other, index in ((A, B, 1), (B, A, 3)):
        torch.add(d[4], d[2], alpha=-(other**2), out=p)
        torch.add(d[3], d[1], alpha=-(other**2), out=q)
        torch.add(p, q, alpha=point, out=v[index])
        torch.add(p, q, alpha=-point, out=v[index + 1])
    torch.add(d[4], d[2], alpha=-_SUM, out=v[0]).add_(d[0], alpha=_PRODUCT)
    torch.add(d[5], d[3], alpha=-_SUM, out=v[5]).add_(d[1], alpha=_PRODUCT)


def _transform_output(m: Sequence[Tensor], y: Sequence[Tensor], p: Tensor, q: Tensor) -> None:
    """Set ``y = A' m``."""
    torch.add(m[1], m[2], out=p)
    torch.add(m[3], m[4], out=q)
    torch.add(m[0], p, out=y[0]).add_(q)
    torch.mul(p, A**2, out=y[2]).add_(q, alpha=B**2)
    torch.sub(m[1], m[2], out=p)
    torch.sub(m[3], m[4], out=q)
    torch.mul(p, A, out=y[1]).add_(q, alpha=B)
    torch.add(m[5], p, alpha=A**3, out=y[3]).add_(q, alpha=B**3)


def _transform_output_back(y: Sequence[Tensor], m: Sequence[Tensor], p: Tensor, q: Tensor) -> None:
    """Set ``m = A y``."""
    m[0].copy_(y[0])
    for point, index in ((A, 1), (B, 3)):
        torch.add(y[0], y[2], alpha=point**2, out=p)
        torch.add(y[1], y[3], alpha=point**2, out=q)
        torch.add(p, q, alpha=point, out=m[index])
        torch.add(p, q, alpha=-point, out=m[index + 1])
    m[5].copy_(y[3])


def _transform_input_back(v: Sequence[Tensor], d: Sequence[Tensor], p: Tensor, q: Tensor) -> None:
    """Set ``d = B v``, adding up where the last two columns of a tile are the first two of the next."""
    torch.sub(v[1], v[2], out=p)
    torch.sub(v[3], v[4], out=q)
    torch.mul(v[5], _PRODUCT, out=d[1]).sub_(p, alpha=A * B**2).sub_(q, alpha=B * A**2)
    torch.mul(v[5], -_SUM, out=d[3]).add_(p, alpha=A).add_(q, alpha=B)
    torch.add(v[1], v[2], out=p)
    torch.add(v[3], v[4], out=q)
    torch.mul(v[0], -_SUM, out=d[2]).sub_(p, alpha=B**2).sub_(q, alpha=A**2)
    torch.mul(v[0], _PRODUCT, out=d[0])
    d[4].add_(v[0]).add_(p).add_(q)
    d[5].add_(v[5])
