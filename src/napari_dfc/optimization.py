"""The loop: a generator that yields one `Iteration` after another; who stops taking them stops the optimization."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from napari_dfc.network import Network, weights_of
from napari_dfc.passes import AutogradPass, Losses, Pass, Task
from napari_dfc.settings import Settings
from napari_dfc.stripwise import StripPass

__all__ = ["Iteration", "optimize"]


@dataclass(frozen=True)
class Iteration:
    """What one pass through the loop found.

    Parameters
    ----------
    number : int
        Updates of the network made before this response: 0 is the untrained network's.
    clusters : (H, W) Tensor of int64
        Channel that wins at each pixel, on the device.
    n_labels : int
        Channels in `clusters`, among the pixels that take part.
    n_winning : int
        Channels that win anywhere when none is excluded; the count that ends the run.
    losses : Losses
        Of this response.
    weights : dict of Tensor
        The network's weights that gave this response.
    """

    number: int
    clusters: Tensor
    n_labels: int
    n_winning: int
    losses: Losses
    weights: Mapping[str, Tensor]


def optimize(
    network: Network,
    image: Tensor,
    settings: Settings,
    *,
    mask: Tensor | None = None,
    targets: Tensor | None = None,
    n_classes: int = 0,
    cancelled: Callable[[], bool] | None = None,
) -> Iterator[Iteration]:
    """Optimize a network on one image.

    Parameters
    ----------
    network : Network
        Changed in place.
    image : (C, H, W) Tensor
        Scaled channels, 0 where masked, on the network's device and of its data type.
    settings : Settings
    mask : (H, W) Tensor of bool, optional
        True where a pixel takes part.
    targets : (H, W) Tensor of int64, optional
        Channel of the painted class, negative where nothing is painted.
    n_classes : int
        Painted classes; they are the first channels.
    cancelled : callable, optional
        Asked between the layers, forward and backward; once it is true, `Cancelled` is raised.

    Yields
    ------
    Iteration
        At most ``settings.max_iterations + 1``: the untrained network's, then one after each update. The last one is
        the first after the update that follows a label count of at most ``settings.min_labels``, or of at most
        `n_classes` with strokes.
    """
    least = n_classes if targets is not None else settings.min_labels
    descent = _Descent(list(network.parameters()), settings.learning_rate, settings.momentum)
    candidates = n_candidates(settings, n_classes)
    task = Task(network, image, settings, mask, targets, candidates, cancelled or (lambda: False))
    one_pass: Pass = StripPass(task) if image.device.type == "cpu" else AutogradPass(task)

    n_winning = settings.n_channels + 1
    for number in range(settings.max_iterations + 1):
        last = number == settings.max_iterations or n_winning <= least
        found = one_pass(gradients=not last)
        weights = weights_of(network)
        if not last:
            descent.step(found.gradients)
        n_winning = _count(found.clusters, mask, settings.n_channels)
        n_labels = n_winning if found.shown is found.clusters else _count(found.shown, mask, settings.n_channels)
        yield Iteration(number, found.shown, n_labels, n_winning, found.losses, weights)
        if last:
            return


def n_candidates(settings: Settings, n_classes: int) -> int:
    """How many channels, the first ones, may win: all, or the painted classes where the output is restricted."""
    restricted = settings.restrict_to_scribbles and n_classes >= 2
    return n_classes if restricted else settings.n_channels


class _Descent:
    """Stochastic gradient descent with momentum.

    The arithmetic of `torch.optim.SGD`, whose first use loads PyTorch's compiler: a second that nobody here needs.
    """

    def __init__(self, weights: list[torch.nn.Parameter], learning_rate: float, momentum: float) -> None:
        self.weights, self.learning_rate, self.momentum = weights, learning_rate, momentum
        self.velocities = [torch.zeros_like(weight) for weight in weights]

    @torch.no_grad()
    def step(self, gradients: list[Tensor]) -> None:
        """Move the weights along their gradients."""
        for weight, velocity, gradient in zip(self.weights, self.velocities, gradients, strict=True):
            velocity.mul_(self.momentum).add_(gradient)
            weight.sub_(velocity, alpha=self.learning_rate)


def _count(clusters: Tensor, mask: Tensor | None, n_channels: int) -> int:
    inside = clusters.flatten() if mask is None else clusters[mask]
    return int((torch.bincount(inside, minlength=n_channels) > 0).sum())
