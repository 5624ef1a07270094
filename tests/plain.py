"""The published loop, written plainly and apart from the package: the check of the engine, and the baseline of speed.

Whole image, NCHW, PyTorch's own layers and optimizer, cross-entropy on (N, q), L1 against zeros, labels counted on the
host. It shares no code with the package.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn


@dataclass
class PlainStep:
    """One iteration: the response it saw, the labels and losses of it, and the gradients it made."""

    response: Tensor  # (N, q)
    labels: Tensor  # (N,)
    n_labels: int
    similarity: float
    continuity: float
    scribble: float
    total: float
    gradients: list[Tensor]


def plain_network(n_inputs: int, n_channels: int, n_conv: int) -> nn.Sequential:
    """3x3 convolution, ReLU, batch norm, `n_conv` times; 1x1 convolution, batch norm."""
    layers: list[nn.Module] = []
    for index in range(n_conv):
        layers += [
            nn.Conv2d(n_inputs if index == 0 else n_channels, n_channels, 3, stride=1, padding=1),
            nn.ReLU(),
            nn.BatchNorm2d(n_channels),
        ]
    return nn.Sequential(*layers, nn.Conv2d(n_channels, n_channels, 1), nn.BatchNorm2d(n_channels))


def plain_optimizer(network: nn.Module, learning_rate: float = 0.1, momentum: float = 0.9) -> torch.optim.SGD:
    return torch.optim.SGD(network.parameters(), lr=learning_rate, momentum=momentum)


def plain_step(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    image: Tensor,  # (1, C, H, W)
    mu: float,
    nu: float = 0.5,
    scribbles: Tensor | None = None,  # (N,), the class from 0, 255 where nothing is painted
    wanted: Tensor | None = None,  # (N,), takes the place of the labels as target
) -> PlainStep:
    """Forward, labels, losses, step."""
    height, width = image.shape[2:]
    optimizer.zero_grad()
    output = network(image)[0]  # (q, H, W)
    n_channels = output.shape[0]
    flat = output.permute(1, 2, 0).reshape(-1, n_channels)  # (N, q)
    grid = flat.reshape(height, width, n_channels)

    down, across = grid[1:] - grid[:-1], grid[:, 1:] - grid[:, :-1]
    l1 = nn.L1Loss()
    continuity = l1(down, torch.zeros_like(down)) + l1(across, torch.zeros_like(across))

    labels = flat.argmax(dim=1)
    n_labels = len(np.unique(labels.cpu().numpy()))
    targets = labels if wanted is None else wanted
    cross_entropy = nn.CrossEntropyLoss()
    if scribbles is None:
        similarity = cross_entropy(flat, targets)
        scribble = torch.zeros((), dtype=image.dtype)
        total = similarity + mu * continuity
    else:
        free, painted = scribbles == 255, scribbles != 255
        similarity = cross_entropy(flat[free], targets[free])
        scribble = cross_entropy(flat[painted], scribbles[painted])
        total = similarity + nu * scribble + mu * continuity
    total.backward()
    gradients = [weight.grad.clone() for weight in network.parameters()]
    optimizer.step()
    return PlainStep(
        response=flat.detach(),
        labels=labels,
        n_labels=n_labels,
        similarity=similarity.item(),
        continuity=continuity.item(),
        scribble=scribble.item(),
        total=total.item(),
        gradients=gradients,
    )


def plain_loop(
    network: nn.Module,
    image: Tensor,
    mu: float,
    max_iterations: int,
    min_labels: int,
    nu: float = 0.5,
    scribbles: Tensor | None = None,
) -> Iterator[PlainStep]:
    """Steps until no more than `min_labels` are left after a step, or `max_iterations` are made."""
    optimizer = plain_optimizer(network)
    for _ in range(max_iterations):
        step = plain_step(network, optimizer, image, mu, nu, scribbles)
        yield step
        if step.n_labels <= min_labels:
            return
