"""The loop: a generator that yields one `Iteration` after another; who stops taking them stops the optimization."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from napari_dfc.losses import continuity_loss, scribble_loss, similarity_loss
from napari_dfc.network import Network, weights_of
from napari_dfc.settings import Settings

__all__ = ["Cancelled", "Iteration", "Losses", "optimize", "winners"]


class Cancelled(Exception):
    """The optimization was called off in the middle of an iteration."""


class Losses(NamedTuple):
    """The three losses, unweighted, and their weighted sum: each a () Tensor on the device."""

    similarity: Tensor
    continuity: Tensor
    scribble: Tensor
    total: Tensor


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
    # channels first: on the CPU, PyTorch's batch norm for channels last sums in float32 pixel by pixel; at 1024x1024
    # the response is then off by 1e-3, and some gradients have no correct digit
    image = image[None].contiguous()  # (1, C, H, W)
    targets = None if targets is None else targets[None]  # (1, H, W)
    least = n_classes if targets is not None else settings.min_labels
    descent = _Descent(list(network.parameters()), settings.learning_rate, settings.momentum)

    n_winning = settings.n_channels + 1
    with _checking(network, cancelled):
        for number in range(settings.max_iterations + 1):
            last = number == settings.max_iterations or n_winning <= least
            with torch.set_grad_enabled(not last):
                response = network(image, None if mask is None else mask[None, None].to(image.dtype))  # (1, q, H, W)
                clusters = response.argmax(1)  # (1, H, W)
                losses = _losses(response, clusters, settings, mask, targets)
            weights = weights_of(network)
            if not last:
                torch.autograd.backward(losses.total)
                descent.step()
            n_winning = _count(clusters[0], mask, settings.n_channels)
            shown = winners(response.detach(), settings, n_classes)
            n_labels = _count(shown, mask, settings.n_channels)
            del response  # its graph and buffers are free before the next one is made
            losses = Losses(*(each.detach() for each in losses))
            yield Iteration(number, shown, n_labels, n_winning, losses, weights)
            if last:
                return


def winners(response: Tensor, settings: Settings, n_classes: int = 0) -> Tensor:
    """The channel that wins at each pixel, among the painted classes alone where the settings say so.

    Parameters
    ----------
    response : (1, q, H, W) Tensor
    settings : Settings
    n_classes : int
        Painted classes; they are the first channels.

    Returns
    -------
    (H, W) Tensor of int64
    """
    return response[:, : n_candidates(settings, n_classes)].argmax(1)[0]


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
    def step(self) -> None:
        """Move the weights along their gradients, and clear these."""
        for weight, velocity in zip(self.weights, self.velocities, strict=True):
            assert weight.grad is not None
            velocity.mul_(self.momentum).add_(weight.grad)
            weight.sub_(velocity, alpha=self.learning_rate)
            weight.grad = None


def _losses(
    response: Tensor, clusters: Tensor, settings: Settings, mask: Tensor | None, targets: Tensor | None
) -> Losses:
    pixels = None if mask is None else mask[None]  # (1, H, W)
    continuity = continuity_loss(response, pixels)
    if targets is None:
        similarity = similarity_loss(response, clusters, pixels)
        scribble = response.new_zeros(())
    else:
        # as published: painted pixels follow their stroke and not their own cluster
        unpainted = targets < 0 if pixels is None else (targets < 0) & pixels
        similarity = similarity_loss(response, clusters, unpainted)
        scribble = scribble_loss(response, targets)
    total = similarity + settings.continuity_weight * continuity + settings.scribble_weight * scribble
    return Losses(similarity, continuity, scribble, total)


def _count(clusters: Tensor, mask: Tensor | None, n_channels: int) -> int:
    inside = clusters.flatten() if mask is None else clusters[mask]
    return int((torch.bincount(inside, minlength=n_channels) > 0).sum())


@contextmanager
def _checking(network: Network, cancelled: Callable[[], bool] | None) -> Iterator[None]:
    """While inside, `Cancelled` is raised after a layer's forward pass or before its backward pass, once called off."""
    if cancelled is None:
        yield
        return

    def check(*_: Any) -> None:
        if cancelled():
            raise Cancelled

    def check_layer(layer: Any, inputs: Any, output: Tensor) -> None:
        check()
        if output.requires_grad:
            output.register_hook(check)  # type: ignore[no-untyped-call]

    layers = [module for module in network.modules() if not list(module.children())]
    hooks = [layer.register_forward_hook(check_layer) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
