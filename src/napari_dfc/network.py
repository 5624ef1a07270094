"""The network: convolution components, a linear classifier, and the normalization that gives every channel a chance."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from napari_dfc.filters import filter_responses
from napari_dfc.scales import FILTER_RADIUS, N_FILTERS
from napari_dfc.settings import Padding

__all__ = [
    "Component",
    "Ensemble",
    "Network",
    "Normalization",
    "initialize",
    "kernel_matrix",
    "padded_image",
    "weights_of",
]


class Normalization(nn.Module):
    """Batch normalization over the pixels of one image that take part.

    Each channel gets zero mean and unit variance over those pixels, then a learned scale and shift. Pixels that take no
    part become 0, so that the next convolution sees them as it sees what lies outside the image.

    Unlike `torch.nn.BatchNorm2d` it accepts a single pixel, which it maps to the shift.

    Parameters
    ----------
    n_channels : int
    """

    epsilon = 1e-5

    def __init__(self, n_channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(n_channels))
        self.bias = nn.Parameter(torch.empty(n_channels))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalize ``x`` (1, C, H, W) over the pixels where ``mask`` (1, 1, H, W) is 1."""
        if mask is None and x[0, 0].numel() > 1:
            return F.batch_norm(x, None, None, self.weight, self.bias, training=True, eps=self.epsilon)
        inside = torch.ones_like(x[:, :1]) if mask is None else mask
        count = inside.sum()
        mean = (x * inside).sum((0, 2, 3), keepdim=True) / count  # (1, C, 1, 1)
        centered = (x - mean) * inside
        variance = centered.square().sum((0, 2, 3), keepdim=True) / count  # (1, C, 1, 1)
        scaled = centered * torch.rsqrt(variance + self.epsilon)
        return (scaled * self.weight[:, None, None] + self.bias[:, None, None]) * inside


class Component(NamedTuple):
    """The weights of a convolution and of the normalization behind it, as plain tensors."""

    kernel: Tensor  # (O, I, 3, 3), of the classifier (O, I, 1, 1)
    bias: Tensor  # (O,)
    scale: Tensor  # (O,)
    shift: Tensor  # (O,)


class Network(nn.Module):
    """From an image to the normalized response, whose largest channel is a pixel's cluster.

    `n_conv` times 3x3 convolution, ReLU, batch normalization; then a 1x1 convolution and a last batch normalization.
    Without a convolution, the features are fixed: what `filter_responses` says of the image, normalized as by a batch
    normalization without weights. That leaves little of what hardly varies, such as the curvature of a smooth image at
    a large scale.

    Parameters
    ----------
    n_inputs : int
        Channels of the image.
    n_channels : int
        Feature channels, ``p`` in the paper; of fixed features there are as many as there are.
    n_conv : int
        Convolution components, ``M`` in the paper; 0 for fixed features.
    padding : {"zeros", "replicate"}
        What the convolutions see beyond the border of the image: zeros, or its outermost pixels once more.
    n_clusters : int, optional
        Channels of the response, ``q`` in the paper; as many as `n_channels` by default.

    References
    ----------
    W. Kim, A. Kanezaki, M. Tanaka, "Unsupervised Learning of Image Segmentation Based on Differentiable Feature
    Clustering", IEEE Transactions on Image Processing, 2020, section III.

    Examples
    --------
    >>> import torch
    >>> network = Network(n_inputs=3, n_channels=8, n_conv=2)
    >>> initialize(network, "xavier", torch.Generator().manual_seed(0))
    >>> network(torch.rand(1, 3, 16, 20)).shape
    torch.Size([1, 8, 16, 20])
    >>> network.receptive_radius
    2
    """

    def __init__(
        self, n_inputs: int, n_channels: int, n_conv: int, padding: Padding = "zeros", n_clusters: int | None = None
    ) -> None:
        super().__init__()
        self.n_clusters = n_channels if n_clusters is None else n_clusters
        n_channels = n_channels if n_conv else N_FILTERS * n_inputs
        self.n_inputs, self.n_channels, self.n_conv, self.padding = n_inputs, n_channels, n_conv, padding
        widths = [n_inputs] + [n_channels] * n_conv
        self.convolutions = nn.ModuleList(_convolution(width, n_channels, 3, padding) for width in widths[:-1])
        self.normalizations = nn.ModuleList(Normalization(n_channels) for _ in range(n_conv))
        self.classifier = _convolution(n_channels, self.n_clusters, 1, padding)
        self.response_normalization = Normalization(self.n_clusters)

    @property
    def receptive_radius(self) -> int:
        """How many pixels away the farthest pixel lies that a pixel's response sees, batch statistics aside."""
        return self.n_conv or FILTER_RADIUS

    def components(self) -> list[Component]:
        """The present weights, component by component, the classifier's last."""
        modules: list[Any] = [*self.convolutions, self.classifier]
        normalizations: list[Any] = [*self.normalizations, self.response_normalization]
        return [
            Component(
                each.weight.detach(), each.bias.detach(), normalization.weight.detach(), normalization.bias.detach()
            )
            for each, normalization in zip(modules, normalizations, strict=True)
        ]

    def seen(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """What the weights are applied to, which no training changes: the image (C, H, W), or its fixed features."""
        return image if self.n_conv else filter_responses(image, mask)

    def forward(self, image: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalized response (1, q, H, W) of an image (1, C, H, W); the mask (1, 1, H, W) is 1 where pixels count."""
        return self.respond(self.seen(image[0], None if mask is None else mask[0, 0])[None], mask)

    def respond(self, seen: Tensor, mask: Tensor | None = None) -> Tensor:
        """The same from what `seen` gives, with an axis of length 1 before it."""
        x = seen if self.n_conv else self._standardized(seen, mask)
        for convolution, normalization in zip(self.convolutions, self.normalizations, strict=True):
            x = normalization(F.relu(convolution(x)), mask)  # (1, p, H, W)
        return self.response_normalization(self.classifier(x), mask)  # type: ignore[no-any-return]  # (1, q, H, W)

    def _standardized(self, features: Tensor, mask: Tensor | None) -> Tensor:
        """Fixed features, normalized; there is nothing to be learned about them."""
        normalization = Normalization(self.n_channels).to(features.device, features.dtype).requires_grad_(False)
        normalization.weight.fill_(1)
        normalization.bias.zero_()
        return normalization(features, mask)  # type: ignore[no-any-return]


class Ensemble(nn.Module):
    """Several networks for painted classes whose probabilities are averaged, each over the image at its own resolution.

    Parameters
    ----------
    members : sequence of Network
        All with as many channels in the response.
    factors : tuple of int
        For each, the side of the square of pixels that become one.
    shares : tuple of float, optional
        What each counts in the average, 1 in all; by default alike.
    """

    def __init__(
        self, members: Sequence[Network], factors: tuple[int, ...], shares: tuple[float, ...] | None = None
    ) -> None:
        super().__init__()
        self.members, self.factors = nn.ModuleList(members), factors
        self.shares = shares or (1 / len(members),) * len(members)
        self.n_clusters = members[0].n_clusters

    def each(self) -> list[Network]:
        """The networks."""
        return [member for member in self.members if isinstance(member, Network)]


def padded_image(image: Tensor, padding: Padding) -> Tensor:
    """An image (C, H, W) with what the network sees beyond its border, channels last, (H + 2, W + 2, C)."""
    mode = "replicate" if padding == "replicate" else "constant"
    return F.pad(image[None], (1, 1, 1, 1), mode=mode)[0].permute(1, 2, 0).contiguous()


def kernel_matrix(kernel: Tensor) -> Tensor:
    """A kernel (O, I, 3, 3) as the matrix (9 I, O) that a pixel's neighborhood, channels last, is multiplied with."""
    return kernel.permute(2, 3, 1, 0).flatten(0, 2).contiguous()


def _convolution(n_inputs: int, n_outputs: int, kernel_size: int, padding: Padding) -> nn.Conv2d:
    """A convolution without its usual first weights, which PyTorch would draw from its global generator."""
    with torch.device("meta"):
        convolution = nn.Conv2d(n_inputs, n_outputs, kernel_size, padding=kernel_size // 2, padding_mode=padding)
    return convolution.to_empty(device="cpu")


def initialize(network: Network | Ensemble, method: str, generator: torch.Generator) -> None:
    """Give a network its first weights, or every network of an ensemble, one after the other.

    In an ensemble, a classifier of fixed features begins with zeros.

    Parameters
    ----------
    network : Network or Ensemble
        On the CPU, so that a seed means the same weights on every device.
    method : {"xavier", "framework"}
        "xavier": uniform in ``+-sqrt(6 / (fan_in + fan_out))``, biases 0, as in the paper. "framework": weights and
        biases uniform in ``+-1 / sqrt(fan_in)``, PyTorch's default, as in the published code.
    generator : torch.Generator
        Source of the random numbers.
    """
    if isinstance(network, Ensemble):
        for member in network.each():
            initialize(member, method, generator)
            if not member.n_conv:  # the first step then goes to the mean features of every class, wherever it starts
                nn.init.zeros_(member.classifier.weight)
        return
    with torch.no_grad():
        for convolution in [*network.convolutions, network.classifier]:
            fan_out, fan_in = (width * convolution.weight[0, 0].numel() for width in convolution.weight.shape[:2])
            if method == "xavier":
                bound = math.sqrt(6 / (fan_in + fan_out))
                convolution.weight.uniform_(-bound, bound, generator=generator)
                convolution.bias.zero_()
            else:
                bound = 1 / math.sqrt(fan_in)
                convolution.weight.uniform_(-bound, bound, generator=generator)
                convolution.bias.uniform_(-bound, bound, generator=generator)
        for normalization in [*network.normalizations, network.response_normalization]:
            normalization.weight.fill_(1)
            normalization.bias.zero_()


def weights_of(network: nn.Module) -> Mapping[str, Tensor]:
    """A copy of a network's weights that further training leaves alone; `load_state_dict` takes it."""
    return {name: weight.detach().clone() for name, weight in network.state_dict().items()}
