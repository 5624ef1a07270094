"""One pass over the image: the response's clusters, the losses, and how they change with every weight.

Here in the plain form, by PyTorch's automatic differentiation, for every device; `napari_dfc.stripwise` has the CPU's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from napari_dfc.cancellation import Cancelled
from napari_dfc.losses import continuity_loss, scheduled_weight, scribble_loss, similarity_loss
from napari_dfc.network import Ensemble, Network
from napari_dfc.settings import Settings
from napari_dfc.superpixels import Superpixels, majority

__all__ = [
    "AutogradPass",
    "Found",
    "Gradients",
    "Losses",
    "Pass",
    "Task",
    "cluster_dtype",
    "continuity_weight",
    "count_labels",
    "weighted_total",
]


class Losses(NamedTuple):
    """The three losses, unweighted, and their weighted sum: each a () Tensor on the device."""

    similarity: Tensor
    continuity: Tensor
    scribble: Tensor
    total: Tensor


class Gradients:
    """The gradients of a total loss; they may be computed after the label map of the same pass has been shown.

    Parameters
    ----------
    steps : generator that returns a list of Tensor, optional
        Yields where it may be put aside.
    known : list of Tensor, optional
        What has been computed already.
    """

    def __init__(
        self, steps: Generator[None, None, list[Tensor]] | None = None, known: list[Tensor] | None = None
    ) -> None:
        self._steps, self._known = steps, known

    @property
    def are_known(self) -> bool:
        """Whether nothing is left to be computed."""
        return self._known is not None

    def steps(self) -> Iterator[None]:
        """Compute what is left, bit by bit."""
        while self._known is None:
            assert self._steps is not None, "computing them failed before"
            try:
                next(self._steps)
            except StopIteration as end:
                self._known, self._steps = end.value, None
            else:
                yield

    def found(self, cancelled: Callable[[], bool] = lambda: False) -> list[Tensor]:
        """In the order of ``network.parameters()``.

        Raises
        ------
        Cancelled
            Once `cancelled` is true; asked again, it goes on where it was.
        """
        for _ in self.steps():
            if cancelled():
                raise Cancelled
        assert self._known is not None
        return self._known


class Found(NamedTuple):
    """What one pass found.

    Parameters
    ----------
    clusters : (H, W) Tensor of integers
        Channel that wins at each pixel.
    losses : Losses
    gradients : Gradients
        Of the total loss; none where none were asked for. To be computed before the pass is made again or is given
        another image; other strokes on the same one change nothing of them.
    probabilities : (H, W, q) Tensor, or None
        Softmax of the response, where the task asks for it.
    """

    clusters: Tensor
    losses: Losses
    gradients: Gradients
    probabilities: Tensor | None = None


class Task(NamedTuple):
    """What is computed, whichever way.

    Parameters
    ----------
    network : Network or Ensemble
        Read at every pass.
    image : (C, H, W) Tensor
        Scaled channels, 0 where masked, on the network's device and of its data type.
    settings : Settings
    mask : (H, W) Tensor of bool, or None
        True where a pixel takes part.
    targets : (H, W) Tensor of int64, or None
        Channel of the painted class, negative where nothing is painted.
    cancelled : callable
        Asked often; once it is true, a pass raises `Cancelled`.
    wants_probabilities : bool
        Whether `Found` is to hold them.
    superpixels : Superpixels, or None
        Where there are some, an unpainted pixel is drawn to the most frequent cluster of its superpixel.
    """

    network: Network | Ensemble
    image: Tensor
    settings: Settings
    mask: Tensor | None
    targets: Tensor | None
    cancelled: Callable[[], bool]
    wants_probabilities: bool = False
    superpixels: Superpixels | None = None

    @property
    def single(self) -> Network:
        """The network, where it is one."""
        if not isinstance(self.network, Network):
            raise TypeError("this is a task for several networks; napari_dfc.ensemble has a pass for it")
        return self.network


class Pass(Protocol):
    """A way to compute a `Task`.

    It remembers how many labels it found the last time, which is what the continuity weight may follow.

    Attributes
    ----------
    task : Task
        The present one.
    n_labels : int or Tensor; of several networks a list
        What it remembers; another pass for the same network goes on with it.
    """

    task: Task
    n_labels: Any

    def take(self, task: Task) -> None:
        """Go on with another image of the same shape, or with other strokes on the same image."""

    def __call__(self, gradients: bool) -> Found:
        """Compute with the network's present weights."""


def continuity_weight(settings: Settings, n_labels: Any) -> Any:
    """The weight of the continuity loss where the iteration before had so many labels; see `scheduled_weight`."""
    return scheduled_weight(settings.continuity_weight, settings.continuity_schedule, n_labels)


def weighted_total(
    settings: Settings, similarity: Any, continuity: Any, scribble: Any, painted: bool, n_labels: Any
) -> Any:
    """The sum of the three losses, numbers or tensors; without strokes the similarity counts in full."""
    similarity_weight = settings.similarity_weight if painted else 1.0
    weighted = similarity_weight * similarity + continuity_weight(settings, n_labels) * continuity
    return weighted + settings.scribble_weight * scribble


def count_labels(clusters: Tensor, known: Tensor | None, n_clusters: int) -> Tensor:
    """How many channels there are among the known pixels, () on the device; on CUDA nothing here waits for it."""
    if clusters.device.type == "cpu":
        inside = clusters.flatten() if known is None else clusters[known]
        return (torch.bincount(inside, minlength=n_clusters) > 0).sum()
    index = clusters.long()
    if known is not None:
        index = index.masked_fill(~known, n_clusters)
    present = torch.zeros(n_clusters + 1, dtype=torch.int64, device=index.device)
    return present.scatter_(0, index.flatten(), 1)[:n_clusters].sum()


def cluster_dtype(n_clusters: int) -> torch.dtype:
    """The smallest integers that tell the channels of a response apart."""
    return torch.uint8 if n_clusters <= 256 else torch.int16


class AutogradPass:
    """The plain way: PyTorch's own layers and derivatives, the whole image at once.

    With ``precision="bfloat16"`` the network computes in it; weights, response and losses stay as they are.

    Parameters
    ----------
    task : Task
    """

    def __init__(self, task: Task) -> None:
        # of the last pass; a tensor on the device after the first, so that CUDA need not be waited for
        self.n_labels: Any = task.network.n_clusters
        self.take(task)

    def take(self, task: Task) -> None:
        """Go on with another image."""
        self.task = task
        # channels first: on the CPU, PyTorch's batch norm for channels last sums in float32 pixel by pixel; at
        # 1024x1024 the response is then off by 1e-3, and some gradients have no correct digit
        self._seen = task.single.seen(task.image, task.mask)[None].contiguous()  # (1, C, H, W)
        self._mask = None if task.mask is None else task.mask[None, None].to(task.image.dtype)  # (1, 1, H, W)

    def __call__(self, gradients: bool) -> Found:
        """Compute with the network's present weights."""
        task = self.task
        reduced = task.settings.precision == "bfloat16"
        with _checking(task.single, task.cancelled), torch.set_grad_enabled(gradients):
            with torch.autocast(task.image.device.type, torch.bfloat16, enabled=reduced):
                response = task.single.respond(self._seen, self._mask)  # (1, q, H, W)
            response = response.to(task.image.dtype)
            clusters = response.argmax(1)  # (1, H, W)
            losses = self._losses(response, self._wanted(clusters))
            weights = list(task.single.parameters())
            found = list(torch.autograd.grad(losses.total, weights)) if gradients else []
        if task.settings.continuity_schedule != "constant":
            self.n_labels = count_labels(clusters[0], task.mask, response.shape[1]).to(response.dtype)
        probabilities = response.detach()[0].softmax(0).permute(1, 2, 0) if task.wants_probabilities else None
        told = Losses(*(each.detach() for each in losses))
        return Found(clusters[0], told, Gradients(known=found), probabilities)

    def _wanted(self, clusters: Tensor) -> Tensor:
        """What pixels without a stroke are drawn to, (1, H, W)."""
        task = self.task
        if task.superpixels is None:
            return clusters
        return majority(clusters[0], task.superpixels, task.mask, task.network.n_clusters)[None]

    def _losses(self, response: Tensor, wanted: Tensor) -> Losses:
        settings = self.task.settings
        pixels = None if self.task.mask is None else self.task.mask[None]  # (1, H, W)
        continuity = continuity_loss(response, pixels)
        if self.task.targets is None:
            similarity = similarity_loss(response, wanted, pixels)
            scribble = response.new_zeros(())
        else:
            # as published: painted pixels follow their stroke and not their own cluster
            targets = self.task.targets[None]  # (1, H, W)
            unpainted = targets < 0 if pixels is None else (targets < 0) & pixels
            similarity = similarity_loss(response, wanted, unpainted)
            usable = targets if pixels is None else targets.masked_fill(~pixels, -1)
            scribble = scribble_loss(response, usable, settings.balance_scribbles)
        painted = self.task.targets is not None
        total = weighted_total(settings, similarity, continuity, scribble, painted, self.n_labels)
        return Losses(similarity, continuity, scribble, total)


@contextmanager
def _checking(network: nn.Module, cancelled: Callable[[], bool]) -> Iterator[None]:
    """While inside, `Cancelled` is raised after a layer's forward pass or before its backward pass, once called off."""

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
