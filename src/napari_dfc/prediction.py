"""The response with fixed statistics, block by block: an image of any size, in little memory, exact at every seam."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_dfc.cancellation import Cancelled
from napari_dfc.filters import filter_responses
from napari_dfc.moments import Moments, folded_classifier, inverse_deviation
from napari_dfc.network import Component, Network, Normalization, kernel_matrix, padded_image
from napari_dfc.scales import FILTER_RADIUS
from napari_dfc.settings import Padding
from napari_dfc.strips import TILE
from napari_dfc.winograd import StripConvolution, transformed_kernel

__all__ = [
    "Block",
    "DeviceConvolution",
    "Features",
    "FixedNetwork",
    "Picture",
    "Predictor",
    "Statistics",
    "drift_between",
]

#: Rows and columns of a block. Blocks lie on a grid that starts at the image's corner, whatever part is asked for: so a
#: pixel's response is computed in the same way, and is the same bit for bit, in every part that holds it.
BLOCK = (32, 256)

#: The same where features are fixed filters, which see further around a block.
FILTER_BLOCK = (256, 256)

#: Bytes that the maps of a block may take on another device; its blocks are squares.
DEVICE_BYTES = 300_000_000


class Picture(NamedTuple):
    """An image to predict.

    Parameters
    ----------
    image : (C, H, W) Tensor
        Scaled channels, 0 where masked.
    mask : (H, W) Tensor of bool, or None
    """

    image: Tensor
    mask: Tensor | None = None


class Block(NamedTuple):
    """A block and its response."""

    rows: slice
    columns: slice
    values: Tensor  # (h, w, q)


class Statistics(NamedTuple):
    """What the normalizations of a network go by, as float64 on the CPU.

    Parameters
    ----------
    means, variances : tuple of (p,) Tensor
        Of the map behind each convolution; of a network of fixed features, of these.
    covariance : (p, p) Tensor
        Of the channels of the last one.
    """

    means: tuple[Tensor, ...]
    variances: tuple[Tensor, ...]
    covariance: Tensor


class Features(NamedTuple):
    """How the features of a picture are spread, those that the classifier sees; as float64 on the CPU.

    Parameters
    ----------
    mean, variance : (p,) Tensor
    """

    mean: Tensor
    variance: Tensor


class FixedNetwork(NamedTuple):
    """The arithmetic of a network with fixed statistics, for who computes it elsewhere; all on the CPU.

    Each convolution of the image is followed by ``max(0, .)`` and, but for the last, by ``* scale + shift``; the
    response is ``slope @ (map - mean) + shift`` of what comes out. Without a convolution the map is the fixed features.

    Parameters
    ----------
    padding : {"zeros", "replicate"}
        What the convolutions see beyond the border, of the image and of each map.
    kernels : tuple of (p, i, 3, 3) Tensor
    biases : tuple of (p,) Tensor
    scales, shifts : tuple of (p,) Tensor
        One fewer than there are convolutions.
    mean : (p,) Tensor
    slope : (q, p) Tensor
    shift : (q,) Tensor
    """

    padding: Padding
    kernels: tuple[Tensor, ...]
    biases: tuple[Tensor, ...]
    scales: tuple[Tensor, ...]
    shifts: tuple[Tensor, ...]
    mean: Tensor
    slope: Tensor
    shift: Tensor


class Predictor:
    """A network with fixed statistics in its normalizations.

    Unlike in a pass of the optimization, a pixel's response depends on the pixels within the network's receptive radius
    and on nothing else.

    Parameters
    ----------
    network : Network
        Its weights are copied.
    cancelled : callable, optional
        Asked before each block; once it is true, `Cancelled` is raised.

    Examples
    --------
    >>> import torch
    >>> from napari_dfc.network import Network, initialize
    >>> network = Network(n_inputs=1, n_channels=4, n_conv=2)
    >>> initialize(network, "xavier", torch.Generator().manual_seed(0))
    >>> picture = Picture(torch.rand(1, 20, 30))
    >>> predictor = Predictor(network)
    >>> statistics = predictor.measure(picture)
    >>> predictor.response(picture, slice(5, 15), slice(0, 30)).shape
    torch.Size([10, 30, 4])
    """

    def __init__(self, network: Network, cancelled: Callable[[], bool] = lambda: False) -> None:
        self._padding = network.padding
        self._cancelled = cancelled
        components = [Component(*(weight.clone() for weight in each)) for each in network.components()]
        *components, self._classifier = components
        self._components = components
        self._device, self._dtype = self._classifier.kernel.device, self._classifier.kernel.dtype
        on_cpu = self._device.type == "cpu"
        self._block = BLOCK if on_cpu else _device_block(network.n_channels)
        self._kernels = [kernel_matrix(each.kernel) for each in components[:1]]  # (9 C, p)
        self._kernels += [transformed_kernel(each.kernel) if on_cpu else each.kernel for each in components[1:]]
        if not components:
            self._block = FILTER_BLOCK
        if len(components) > 1:
            extra = 2 * (len(components) - 2)
            tile_rows, width = -(-(self._block[0] + extra) // TILE), self._block[1] + extra
            shape = (width, network.n_channels, tile_rows, self._dtype)
            self._convolution = StripConvolution(*shape) if on_cpu else DeviceConvolution(*shape, self._device)
        self._scales: list[Tensor] = []  # of each normalization, as far as its statistics are known
        self._shifts: list[Tensor] = []

    def measure(self, *pictures: Picture) -> tuple[Statistics, ...]:
        """Take the statistics of these pictures, layer by layer, as the fixed ones, and give them; one, in a tuple."""
        self._scales, self._shifts = [], []
        found: list[Moments] = []
        for layer, component in enumerate(self._components):
            found.append(self._moments(pictures, layer + 1))
            self._fix(component, found[-1].mean, found[-1].variance)
        if not self._components:
            found.append(self._moments(pictures, 0))
        statistics = Statistics(
            tuple(each.mean for each in found), tuple(each.variance for each in found), found[-1].covariance
        )
        self._fix_classifier(statistics)
        return (statistics,)

    def use(self, statistics: tuple[Statistics, ...]) -> None:
        """Take what `measure` has given before as the fixed ones."""
        (only,) = statistics
        self._scales, self._shifts = [], []
        for layer, component in enumerate(self._components):
            self._fix(component, only.means[layer], only.variances[layer])
        self._fix_classifier(only)

    def fixed(self) -> FixedNetwork:
        """What is computed for each pixel, once statistics are fixed."""
        n_between = max(len(self._components) - 1, 0)
        return FixedNetwork(
            padding=self._padding,
            kernels=tuple(each.kernel.cpu() for each in self._components),
            biases=tuple(each.bias.cpu() for each in self._components),
            scales=tuple(each.cpu() for each in self._scales[:n_between]),
            shifts=tuple(each.cpu() for each in self._shifts[:n_between]),
            mean=self._mean.cpu(),
            slope=self._slope.cpu(),
            shift=self._classifier.shift.cpu(),
        )

    def watch(self) -> tuple[Moments, ...]:
        """What `blocks` can gather a picture's features in, on the way; one, in a tuple."""
        moments = Moments(full=False)
        moments.start()
        return (moments,)

    def drift(self, seen: tuple[Moments, ...]) -> float:
        """How unlike the features of a picture are to those that the fixed statistics were taken of.

        Parameters
        ----------
        seen : tuple of Moments
            Of `watch`, after `blocks` has given all blocks of the picture.

        Returns
        -------
        float
            See `drift_between`.
        """
        (here,) = seen
        here.finish()
        there = Features(self._fixed.means[-1], self._fixed.variances[-1])
        return drift_between(there, Features(here.mean, here.variance))

    def _fix(self, component: Component, mean: Tensor, variance: Tensor) -> None:
        scale = component.scale.cpu().double() * inverse_deviation(variance)
        self._scales.append(self._ready(scale))
        self._shifts.append(self._ready(component.shift.cpu().double() - scale * mean))

    def _fix_classifier(self, statistics: Statistics) -> None:
        self._fixed = statistics
        classifier = Component(*(each.cpu() for each in self._classifier))
        scale = inverse_deviation(statistics.variances[-1])
        if self._components:
            scale = scale * self._components[-1].scale.cpu().double()
        unit_slope, _ = folded_classifier(classifier, scale, statistics.covariance)
        self._slope = self._ready(unit_slope * classifier.scale.double()[:, None])
        self._mean = self._ready(statistics.means[-1])

    def _moments(self, pictures: Sequence[Picture], depth: int) -> Moments:
        """Statistics of the map behind the first `depth` convolutions."""
        moments = Moments(full=depth == len(self._components))
        moments.start()
        for picture in pictures:
            padded = padded_image(picture.image, self._padding)
            for rows, columns, values in self._blocks(picture, padded, depth, None):
                flat = values.flatten(0, 1)
                moments.add(flat, _flat_mask(picture, rows, columns, flat.dtype), torch.empty_like(flat))
        moments.finish()
        return moments

    def blocks(self, picture: Picture, seen: tuple[Moments, ...] | None = None) -> Iterator[Block]:
        """The response of every block of a picture, whose features are gathered on the way where that is asked for."""
        yield from self._responses(picture, None, None if seen is None else seen[0])

    def response(self, picture: Picture, rows: slice, columns: slice) -> Tensor:
        """The response of a part of a picture, (h, w, q)."""
        height, width = rows.stop - rows.start, columns.stop - columns.start
        found = torch.empty(height, width, len(self._slope), dtype=self._dtype, device=self._device)
        for block in self._responses(picture, (rows, columns)):
            down, across = _overlap(block.rows, rows), _overlap(block.columns, columns)
            here = block.values[_within(down, block.rows), _within(across, block.columns)]
            found[_within(down, rows), _within(across, columns)] = here
        return found

    def _responses(
        self, picture: Picture, part: tuple[slice, slice] | None, seen: Moments | None = None
    ) -> Iterator[Block]:
        padded = padded_image(picture.image, self._padding)
        for rows, columns, values in self._blocks(picture, padded, len(self._components), part):
            flat = values.flatten(0, 1)
            if seen is not None:
                seen.add(flat, _flat_mask(picture, rows, columns, flat.dtype), torch.empty_like(flat))
            response = torch.addmm(self._classifier.shift, flat - self._mean, self._slope.T)
            yield Block(rows, columns, response.view(*values.shape[:2], -1))

    def _blocks(
        self, picture: Picture, padded: Tensor, depth: int, part: tuple[slice, slice] | None
    ) -> Iterator[tuple[slice, slice, Tensor]]:
        """The map behind the first `depth` convolutions, block by block."""
        _, height, width = picture.image.shape
        rows, columns = part or (slice(0, height), slice(0, width))
        high, wide = self._block
        for top in range(rows.start // high * high, rows.stop, high):
            for left in range(columns.start // wide * wide, columns.stop, wide):
                if self._cancelled():
                    raise Cancelled
                down, across = slice(top, min(top + high, height)), slice(left, min(left + wide, width))
                yield down, across, self._map(picture, padded, down, across, depth)

    def _map(self, picture: Picture, padded: Tensor, down: slice, across: slice, depth: int) -> Tensor:
        if not depth:
            return _filtered(picture, down, across)
        _, height, width = picture.image.shape
        rows, columns = _grown(down, depth - 1, height), _grown(across, depth - 1, width)
        taps = padded[rows.start : rows.stop + 2, columns.start : columns.stop + 2]
        taps = taps.unfold(0, 3, 1).unfold(1, 3, 1).permute(0, 1, 3, 4, 2).flatten(2)  # (h, w, 9 C)
        values = torch.addmm(self._components[0].bias, taps.flatten(0, 1), self._kernels[0])
        values = values.view(*taps.shape[:2], -1).clamp_(min=0)
        for layer in range(1, depth):
            normalized = torch.addcmul(self._shifts[layer - 1], values, self._scales[layer - 1])
            if picture.mask is not None:
                normalized.mul_(picture.mask[rows, columns, None])
            below, beside = rows, columns
            rows, columns = _grown(down, depth - 1 - layer, height), _grown(across, depth - 1 - layer, width)
            self._fill(normalized, rows.start - below.start, columns.start - beside.start, rows, columns)
            self._convolution.read()
            self._convolution.forward(self._kernels[layer])
            pixels = self._convolution.pixels[: rows.stop - rows.start, : columns.stop - columns.start]
            values = (pixels + self._components[layer].bias).clamp_(min=0)
        if picture.mask is not None:
            values = values * picture.mask[rows, columns, None]
        return values

    def _fill(self, values: Tensor, above: int, before: int, rows: slice, columns: slice) -> None:
        """Lay normalized values out with a border of one pixel around rows and columns.

        `above` and `before` say how many of the values lie there: 0 at the image's border, where the border is made up.
        """
        padded = self._convolution.padded.zero_()
        start, left = 1 - above, 1 - before
        end, right = start + values.shape[0], left + values.shape[1]
        padded[start:end, left:right] = values
        if self._padding != "replicate":
            return
        last_row, last_column = rows.stop - rows.start + 1, columns.stop - columns.start + 1
        if left:
            padded[:, 0] = padded[:, 1]
        if right <= last_column:
            padded[:, last_column] = padded[:, last_column - 1]
        if start:
            padded[0] = padded[1]
        if end <= last_row:
            padded[last_row] = padded[last_row - 1]

    def _ready(self, values: Tensor) -> Tensor:
        """A result of float64 arithmetic, which not every device has, for use on the device."""
        return values.to(self._dtype).to(self._device)


def drift_between(there: Features, here: Features) -> float:
    r"""How little the features of two pictures have in common, where one network sees both.

    Parameters
    ----------
    there, here : Features

    Returns
    -------
    float
        From 0, the same, to 1, nothing.

    Notes
    -----
    Each feature is taken to be normally distributed, there with deviation :math:`s` and here with deviation
    :math:`t` about a mean that lies :math:`m` away. Their overlap (Bhattacharyya's coefficient) is

    .. math:: \sqrt{2 s t / (s^2 + t^2)} \; e^{-m^2 / 4 (s^2 + t^2)}

    and the drift is 1 less the mean overlap.

    References
    ----------
    A. Bhattacharyya, "On a measure of divergence between two statistical populations defined by their probability
    distributions", Bulletin of the Calcutta Mathematical Society, 1943.

    Examples
    --------
    >>> import torch
    >>> one = Features(torch.zeros(2), torch.ones(2))
    >>> other = Features(torch.tensor([0.0, 2.0]), torch.ones(2))  # the second lies two deviations away
    >>> round(drift_between(one, other), 3)  # (1 - exp(-4 / 8)) / 2
    0.197
    """
    before, now = there.variance + Normalization.epsilon, here.variance + Normalization.epsilon
    both = before + now
    shift = here.mean - there.mean
    overlap = torch.sqrt(2 * torch.sqrt(before * now) / both) * torch.exp(-shift.square() / (4 * both))
    return float(1 - overlap.nan_to_num(nan=0.0).mean())  # no number where values are beyond all bounds


class DeviceConvolution:
    """What `StripConvolution` does forward, by the device's own convolution."""

    def __init__(self, width: int, n_channels: int, tile_rows: int, dtype: torch.dtype, device: torch.device) -> None:
        self.padded = torch.zeros(TILE * tile_rows + 2, width + 2, n_channels, dtype=dtype, device=device)
        self.pixels = self.padded[1:-1, 1:-1]

    def read(self) -> None:
        """Nothing has to be transformed."""

    def forward(self, kernel: Tensor) -> None:
        """Convolve `padded` into `pixels`."""
        self.pixels = F.conv2d(self.padded.permute(2, 0, 1)[None].contiguous(), kernel)[0].permute(1, 2, 0)


def _flat_mask(picture: Picture, rows: slice, columns: slice, dtype: torch.dtype) -> Tensor | None:
    """Which pixels of a block take part, (n, 1) of 0 and 1."""
    return None if picture.mask is None else picture.mask[rows, columns].flatten()[:, None].to(dtype)


def _filtered(picture: Picture, down: slice, across: slice) -> Tensor:
    """The fixed features of a part of a picture, (h, w, F)."""
    _, height, width = picture.image.shape
    rows, columns = _grown(down, FILTER_RADIUS, height), _grown(across, FILTER_RADIUS, width)
    mask = None if picture.mask is None else picture.mask[rows, columns]
    responses = filter_responses(picture.image[:, rows, columns], mask)
    return responses[:, _within(down, rows), _within(across, columns)].permute(1, 2, 0).contiguous()


def _device_block(n_channels: int) -> tuple[int, int]:
    side = math.isqrt(DEVICE_BYTES // (7 * 4 * n_channels))  # seven maps of float32 are alive at a time
    side = max(TILE, min(512, side // TILE * TILE))
    return side, side


def _grown(part: slice, by: int, length: int) -> slice:
    return slice(max(part.start - by, 0), min(part.stop + by, length))


def _overlap(one: slice, other: slice) -> slice:
    return slice(max(one.start, other.start), min(one.stop, other.stop))


def _within(part: slice, whole: slice) -> slice:
    return slice(part.start - whole.start, part.stop - whole.start)
