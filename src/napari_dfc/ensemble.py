"""Several networks for one segmentation, some of them at lower resolution: their probabilities are averaged."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

from napari_dfc.moments import Moments
from napari_dfc.network import Ensemble, Network
from napari_dfc.passes import AutogradPass, Found, Gradients, Losses, Pass, Task, cluster_dtype
from napari_dfc.prediction import Block, Picture, Predictor, Statistics
from napari_dfc.resolutions import enlarged, shrunken_image, shrunken_mask, shrunken_targets
from napari_dfc.stripwise import StripPass

__all__ = ["EnsemblePass", "EnsemblePredictor", "pass_for", "predictor_for"]

#: Rows of a block of the mean probabilities.
BLOCK_ROWS = 64


def pass_for(task: Task) -> Pass:
    """The way to compute a task with its kind of network on its device."""
    if isinstance(task.network, Ensemble):
        return EnsemblePass(task)
    return StripPass(task) if task.image.device.type == "cpu" else AutogradPass(task)


def predictor_for(
    network: Network | Ensemble, cancelled: Callable[[], bool] = lambda: False
) -> Predictor | EnsemblePredictor:
    """The way to predict with a kind of network."""
    return EnsemblePredictor(network, cancelled) if isinstance(network, Ensemble) else Predictor(network, cancelled)


class EnsemblePass:
    """A pass of every network, each over the image at its own resolution.

    The clusters are those of the mean of all probabilities at the full resolution. Every network has its own losses, of
    which the mean is told, and the gradient of its own total loss.

    Parameters
    ----------
    task : Task
        Of an `Ensemble`.
    """

    def __init__(self, task: Task) -> None:
        self.task = task
        self._passes: list[Pass] = []
        self._latest: list[Tensor | None] = []  # each network's probabilities in the last pass, (h, w, q)
        self.take(task)

    @property
    def n_labels(self) -> list[Any]:
        """How many labels each network had in the last pass."""
        return [one_pass.n_labels for one_pass in self._passes]

    @n_labels.setter
    def n_labels(self, found: list[Any]) -> None:
        for one_pass, each in zip(self._passes, found, strict=True):
            one_pass.n_labels = each

    def take(self, task: Task) -> None:
        """Go on with another image of the same shape, or with other strokes on the same image."""
        same_image = bool(self._passes) and task.image is self.task.image and task.mask is self.task.mask
        self.task = task
        if not self._passes:
            self._passes = [pass_for(_member_task(task, index)) for index in range(len(_ensemble(task).members))]
            return
        for index, one_pass in enumerate(self._passes):
            each = _member_task(task, index)
            if same_image:  # shrunken once
                each = each._replace(image=one_pass.task.image, mask=one_pass.task.mask)
            one_pass.take(each)

    def __call__(self, gradients: bool) -> Found:
        """Compute with the networks' present weights."""
        ensemble = _ensemble(self.task)
        found = [one_pass(gradients) for one_pass in self._passes]
        self._latest = [each.probabilities for each in found]
        losses = Losses(*(torch.stack(each).mean(0) for each in zip(*(one.losses for one in found), strict=True)))
        mean = self._mean(range(len(found)))
        clusters = mean.argmax(-1).to(cluster_dtype(ensemble.n_clusters))
        return Found(clusters, losses, _together([one.gradients for one in found]), mean)

    def foretaste(self, n_updates: int, learning_rate: float, momentum: float) -> Tensor | None:
        """Which class wins where, (H, W), once the classifiers of fixed features have had some updates.

        The networks that learn their features have the say that they had in the last pass; in the first, none. All
        weights and `n_labels` are as before afterwards. None where every network learns its features.

        Parameters
        ----------
        n_updates : int
        learning_rate, momentum : float
            Of these updates, which begin at rest.
        """
        members = _ensemble(self.task).each()
        fixed = [index for index, member in enumerate(members) if not member.n_conv]
        if not fixed:
            return None
        counted = range(len(members)) if self._latest else fixed
        self._latest = self._latest or [None] * len(members)
        n_labels = self.n_labels
        for index in fixed:
            weights = list(members[index].parameters())
            before = [weight.detach().clone() for weight in weights]
            velocities = [torch.zeros_like(weight) for weight in before]
            try:
                for _ in range(n_updates):
                    gradients = self._passes[index](gradients=True).gradients.found()
                    with torch.no_grad():
                        for weight, velocity, gradient in zip(weights, velocities, gradients, strict=True):
                            weight.sub_(velocity.mul_(momentum).add_(gradient), alpha=learning_rate)
                self._latest[index] = self._passes[index](gradients=False).probabilities
            finally:
                self.n_labels = n_labels
                with torch.no_grad():
                    for weight, value in zip(weights, before, strict=True):
                        weight.copy_(value)
        return self._mean(counted).argmax(-1).to(cluster_dtype(members[0].n_clusters))

    def _mean(self, counted: Iterable[int]) -> Tensor:
        """The mean of the last probabilities of some of the networks, by their shares, (H, W, q)."""
        ensemble, image = _ensemble(self.task), self.task.image
        shape = (image.shape[1], image.shape[2])
        mean = image.new_zeros(*shape, ensemble.n_clusters)
        for index in counted:
            probabilities = self._latest[index]
            assert probabilities is not None  # what every member's task asks for
            mean.add_(enlarged(probabilities, ensemble.factors[index], shape), alpha=ensemble.shares[index])
        return mean


class EnsemblePredictor:
    """What `Predictor` does, for an `Ensemble`: a block's values are logarithms of mean probabilities.

    Parameters
    ----------
    network : Ensemble
        Its weights are copied.
    cancelled : callable, optional
        Asked before each block; once it is true, `Cancelled` is raised.

    Attributes
    ----------
    predictors : list of Predictor
        Of each network.
    factors, shares : tuple
        As in `Ensemble`.
    """

    def __init__(self, network: Ensemble, cancelled: Callable[[], bool] = lambda: False) -> None:
        self.factors, self.shares = network.factors, network.shares
        self._n_clusters = network.n_clusters
        self.predictors = [Predictor(member, cancelled) for member in network.each()]

    def measure(self, *pictures: Picture) -> tuple[Statistics, ...]:
        """Take the statistics of these pictures as the fixed ones, for each network at its own resolution."""
        return tuple(
            each
            for predictor, factor in zip(self.predictors, self.factors, strict=True)
            for each in predictor.measure(*(_shrunken(picture, factor) for picture in pictures))
        )

    def use(self, statistics: tuple[Statistics, ...]) -> None:
        """Take what `measure` has given before as the fixed ones."""
        for predictor, each in zip(self.predictors, statistics, strict=True):
            predictor.use((each,))

    def watch(self) -> tuple[Moments, ...]:
        """What `blocks` can gather the features of each network in, on the way."""
        return tuple(each for predictor in self.predictors for each in predictor.watch())

    def drift(self, seen: tuple[Moments, ...]) -> float:
        """The mean over the networks of what `Predictor.drift` gives."""
        found = [predictor.drift((each,)) for predictor, each in zip(self.predictors, seen, strict=True)]
        return sum(found) / len(found)

    def blocks(self, picture: Picture, seen: tuple[Moments, ...] | None = None) -> Iterator[Block]:
        """The logarithm of the mean probability of every block of a picture; features are gathered on the way."""
        _, height, width = picture.image.shape
        mean = torch.zeros(height, width, self._n_clusters, dtype=picture.image.dtype, device=picture.image.device)
        gathered = [None] * len(self.predictors) if seen is None else [(each,) for each in seen]
        members = zip(self.predictors, self.factors, self.shares, gathered, strict=True)
        for predictor, factor, share, of_member in members:
            small = _shrunken(picture, factor)
            probabilities = mean.new_empty(*small.image.shape[1:], self._n_clusters)
            for block in predictor.blocks(small, of_member):
                probabilities[block.rows, block.columns] = block.values.softmax(-1)
            mean.add_(enlarged(probabilities, factor, (height, width)), alpha=share)
        for top in range(0, height, BLOCK_ROWS):
            rows = slice(top, min(top + BLOCK_ROWS, height))
            yield Block(rows, slice(0, width), mean[rows].log())


def _together(each: list[Gradients]) -> Gradients:
    """The gradients of one network after the other."""

    def in_turn() -> Generator[None, None, list[Tensor]]:
        for one in each:
            yield from one.steps()
        return [gradient for one in each for gradient in one.found()]

    if all(one.are_known for one in each):
        return Gradients(known=[gradient for one in each for gradient in one.found()])
    return Gradients(in_turn())


def _ensemble(task: Task) -> Ensemble:
    assert isinstance(task.network, Ensemble)
    return task.network


def _member_task(task: Task, index: int) -> Task:
    """What a network of an ensemble computes."""
    ensemble = _ensemble(task)
    factor = ensemble.factors[index]
    small = _shrunken(Picture(task.image, task.mask), factor)
    targets = task.targets
    if targets is not None:
        targets = shrunken_targets(targets, ensemble.n_clusters, factor)
    return task._replace(
        network=ensemble.each()[index],
        image=small.image.contiguous(),
        mask=small.mask,
        targets=targets,
        superpixels=None if task.superpixels is None else task.superpixels.shrunken(factor),
        wants_probabilities=True,
    )


def _shrunken(picture: Picture, factor: int) -> Picture:
    mask = None if picture.mask is None else shrunken_mask(picture.mask, factor)
    return Picture(shrunken_image(picture.image, picture.mask, factor), mask)
