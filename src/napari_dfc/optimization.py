"""The loop: a generator that yields one `Iteration` after another; who stops taking them stops the optimization."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from napari_dfc.cancellation import Cancelled
from napari_dfc.ensemble import EnsemblePass, pass_for, predictor_for
from napari_dfc.network import Ensemble, Network, weights_of
from napari_dfc.passes import Found, Gradients, Losses, Pass, Task, cluster_dtype, count_labels
from napari_dfc.prediction import Picture
from napari_dfc.settings import Settings
from napari_dfc.superpixels import find_superpixels

__all__ = ["Iteration", "Optimization", "optimize"]

#: Updates of a classifier of fixed features in a foretaste.
FORETASTE_UPDATES = 3


@dataclass(frozen=True)
class Iteration:
    """What one pass through the loop found.

    Parameters
    ----------
    number : int
        Updates of the network made before this response: 0 is the untrained network's.
    clusters : (H, W) Tensor of integers
        Channel that wins at each pixel, on the device.
    n_labels : int
        Channels in `clusters`, among the pixels that take part.
    losses : Losses
        Of this response; with crops, of the last crop's.
    weights : dict of Tensor
        The network's weights that gave this response.
    known : (H, W) Tensor of bool, or None
        The pixels that have a label: those that take part and, with crops, have been in one. None where all have.
    complete : bool
        With crops, whether every one has had its turn.
    provisional : bool
        Whether it only shows what strokes that have just come will do, before the iteration of that number.
    """

    number: int
    clusters: Tensor
    n_labels: int
    losses: Losses
    weights: Mapping[str, Tensor]
    known: Tensor | None = None
    complete: bool = True
    provisional: bool = False


def optimize(network: Network | Ensemble, image: Tensor, settings: Settings, **options: Any) -> Iterator[Iteration]:
    """Optimize a network on one image from start to end.

    Parameters
    ----------
    network, image, settings, **options
        As in `Optimization`.

    Yields
    ------
    Iteration
        At most ``settings.max_iterations + 1``, as `Optimization.iterations` gives them.
    """
    yield from Optimization(network, image, settings, **options).iterations(settings.max_iterations)


class Optimization:
    """The optimization of a network on one image, which can go on after other strokes.

    Parameters
    ----------
    network : Network or Ensemble
        Changed in place.
    image : (C, H, W) Tensor
        Scaled channels, 0 where masked, on the network's device and of its data type.
    settings : Settings
    mask : (H, W) Tensor of bool, optional
        True where a pixel takes part.
    targets : (H, W) Tensor of int64, optional
        Channel of the painted class, negative where nothing is painted.
    least : int, optional
        The label count that ends it; ``settings.min_labels`` by default.
    cancelled : callable, optional
        Asked between the layers, forward and backward; once it is true, `Cancelled` is raised.
    crops : sequence of (slice, slice)
        Rows and columns, all of one size, of the parts that take turns in the iterations; by default the whole image
        is seen in each. The last iteration then labels the whole image, with the statistics of all its pixels.
    momentum : sequence of Tensor, optional
        What each of ``network.parameters()`` goes on with; by default it begins at rest.

    Attributes
    ----------
    network : Network or Ensemble
    number : int
        Of the next iteration.
    is_over : bool
        Whether it ended for its label count; other strokes let it go on.
    """

    def __init__(
        self,
        network: Network | Ensemble,
        image: Tensor,
        settings: Settings,
        *,
        mask: Tensor | None = None,
        targets: Tensor | None = None,
        least: int | None = None,
        cancelled: Callable[[], bool] | None = None,
        crops: Sequence[tuple[slice, slice]] = (),
        momentum: Sequence[Tensor] = (),
    ) -> None:
        self.network = network
        self.number = 0
        self.is_over = False
        self._least = settings.min_labels if least is None else least
        self._descent = _Descent(list(network.parameters()), settings.learning_rate, settings.momentum, momentum)
        self._cancelled = cancelled or (lambda: False)
        self._owed: Gradients | None = None  # of the update that follows the last pass; made when something needs it
        task = Task(network, image, settings, mask, targets, self._cancelled)
        if settings.superpixels:
            task = task._replace(superpixels=find_superpixels(image, settings.superpixels))
        self._view = _Crops(task, crops) if len(crops) > 1 else _Whole(task)

    @property
    def momentum(self) -> list[Tensor]:
        """Of each of ``network.parameters()``."""
        return self._descent.velocities

    @property
    def known(self) -> Tensor | None:
        """The pixels that have a label; None where all have."""
        return self._view.known

    def teach(self, targets: Tensor) -> None:
        """Go on with other strokes of the same classes."""
        self.is_over = False
        self._view.teach(targets)

    def rest(self) -> None:
        """Give back the memory of the maps until it goes on."""
        if self._owed is not None and not self._owed.are_known:
            self._owed = Gradients(self._view.latest.again())
        self._view.rest()

    def settle(self) -> None:
        """Make the update that follows the last iteration, if it has not been made yet."""
        self._update(lambda: False)

    def foretaste(self) -> Tensor | None:
        """Which class wins where, (H, W), as far as present strokes tell at once; the network is left as it is.

        A classifier of fixed features needs few updates and little time; the other networks have the say that they had
        in the last iteration. None where there is no such classifier, or the image is seen in crops.
        """
        return self._view.foretaste(self._descent)

    def iterations(self, last: int, interrupted: Callable[[int], bool] = lambda number: False) -> Iterator[Iteration]:
        """The iterations from the present one on.

        Parameters
        ----------
        last : int
            Number of the last one, after which no update is made.
        interrupted : callable
            Asked with the number of each iteration before it is made; once it is true, no more are made.

        Yields
        ------
        Iteration
            One after each update; the first of all is the untrained network's. The last one is that of the number
            `last`, or the first after the update that follows a label count of at most `least`.
        """
        waiting: deque[_Pending] = deque()
        few = False  # labels, in the iteration that was yielded last
        while not few and self.number <= last and (made := self._make(self.number == last, interrupted)):
            waiting.append(made)
            while waiting and not few and (self.number > last or len(waiting) > self._view.ahead):
                iteration = waiting.popleft().iteration()
                yield iteration
                few = self._has_few(iteration)
        if few and not waiting and self.number <= last and (made := self._make(True, interrupted)):
            waiting.append(made)
            self.is_over = True
        elif few and waiting and not interrupted(self.number):  # made already, and others after it
            while len(waiting) > 1:
                self.number = waiting.pop().number
            self.is_over = True
        while waiting:
            made = waiting.popleft()
            if few and not waiting:
                self._go_back_to(made)
            iteration = made.iteration()
            yield iteration
            few = self._has_few(iteration)

    def _make(self, final: bool, interrupted: Callable[[int], bool]) -> _Pending | None:
        """The next iteration, which owes an update unless it is the last; None where it is not to be made."""
        if interrupted(self.number):
            return None
        try:
            self._update(self._cancelled)
            found = self._view.finish() if final else self._view.step()
        except Cancelled:
            if not interrupted(self.number):
                raise
            return None
        made = _Pending(self.number, found, self.network, self._view, self.momentum)
        self.number += 1
        if not final:
            self._owed = found.gradients
        return made

    def _update(self, cancelled: Callable[[], bool]) -> None:
        """Make what is owed; once called off, it can be gone on with."""
        if self._owed is not None:
            self._descent.step(self._owed.found(cancelled))
            self._owed = None

    def _has_few(self, iteration: Iteration) -> bool:
        """Whether the iteration that follows is the last one."""
        return iteration.complete and iteration.n_labels <= self._least

    def _go_back_to(self, made: _Pending) -> None:
        """Forget the updates that were made since an iteration, so that strokes find what they would on the CPU."""
        self._owed = None
        if made.momentum is None:  # there were none
            return
        self.network.load_state_dict(dict(made.weights))
        self._descent.take(made.momentum)
        self._view.n_labels = made.n_labels


class _Pending:
    """An iteration whose label count is on its way from the device."""

    def __init__(
        self, number: int, found: Found, network: Network | Ensemble, view: _Whole | _Crops, momentum: list[Tensor]
    ) -> None:
        self.number, self.weights, self.n_labels = number, weights_of(network), view.n_labels
        # that of the update before; only where others may follow before the label count is known
        self.momentum = [velocity.clone() for velocity in momentum] if view.ahead else None
        self._found = found
        self._known, self._complete = view.known, view.complete
        self._count = count_labels(found.clusters, view.known, network.n_clusters)
        self._arrived = None
        if self._count.is_cuda:
            self._count = self._count.to("cpu", non_blocking=True)
            self._arrived = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._arrived.record()

    def iteration(self) -> Iteration:
        """The iteration; waits until its count is there."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return Iteration(
            number=self.number,
            clusters=self._found.clusters,
            n_labels=int(self._count),
            losses=self._found.losses,
            weights=self.weights,
            known=self._known,
            complete=self._complete,
        )


class _Given(NamedTuple):
    """What a pass was given; together with the network's weights it tells what the pass has found."""

    task: Task
    n_labels: Any

    def again(self) -> Generator[None, None, list[Tensor]]:
        """The gradients, from another pass like it."""
        yield
        one_pass = pass_for(self.task._replace(cancelled=lambda: False))
        one_pass.n_labels = self.n_labels
        gradients = one_pass(gradients=True).gradients
        yield from gradients.steps()
        return gradients.found()


class _Whole:
    """Every iteration sees the whole image."""

    complete = True
    latest: _Given

    def __init__(self, task: Task) -> None:
        self.known = task.mask
        self.ahead = _ahead(task.image.device)
        self._task = task
        self._made: Pass | None = pass_for(task)
        self._n_labels = self._made.n_labels  # once there is no pass

    @property
    def _pass(self) -> Pass:
        if self._made is None:
            self._made = pass_for(self._task)
            self._made.n_labels = self._n_labels
        return self._made

    @property
    def n_labels(self) -> Any:
        """What decides the next pass; as in `Pass`."""
        return self._n_labels if self._made is None else self._made.n_labels

    @n_labels.setter
    def n_labels(self, found: Any) -> None:
        self._pass.n_labels = found

    def teach(self, targets: Tensor) -> None:
        self._task = self._task._replace(targets=targets)
        if self._made is not None:
            self._made.take(self._task)

    def rest(self) -> None:
        self._n_labels, self._made = self.n_labels, None

    def foretaste(self, descent: _Descent) -> Tensor | None:
        if not isinstance(self._task.network, Ensemble):
            return None
        assert isinstance(self._pass, EnsemblePass)
        return self._pass.foretaste(FORETASTE_UPDATES, descent.learning_rate, descent.momentum)

    def step(self) -> Found:
        self.latest = _Given(self._task, self.n_labels)
        return self._pass(gradients=True)

    def finish(self) -> Found:
        return self._pass(gradients=False)


class _Crops:
    """Crops take turns, in a new order each time all have been seen; their clusters are put together to a map."""

    ahead = 0
    latest: _Given

    def __init__(self, task: Task, crops: Sequence[tuple[slice, slice]]) -> None:
        self._task = task
        self._crops = [crop for crop in crops if task.mask is None or bool(task.mask[crop].any())]
        self._generator = torch.Generator().manual_seed(task.settings.seed)
        self._order: list[int] = []
        self._pass: Pass | None = None
        self.n_labels: Any = None  # of the last pass, once that is gone
        shape, device = task.image.shape[1:], task.image.device
        self._clusters = torch.zeros(shape, dtype=cluster_dtype(task.network.n_clusters), device=device)
        self.known = torch.zeros(shape, dtype=torch.bool, device=device)
        self._unseen = set(range(len(self._crops)))
        self._losses: Losses

    @property
    def complete(self) -> bool:
        """Whether every pixel has been in a crop."""
        return not self._unseen

    def teach(self, targets: Tensor) -> None:
        self._task = self._task._replace(targets=targets)

    def rest(self) -> None:
        if self._pass is not None:
            self.n_labels, self._pass = self._pass.n_labels, None

    def foretaste(self, descent: _Descent) -> Tensor | None:
        return None

    def step(self) -> Found:
        if not self._order:
            self._order = torch.randperm(len(self._crops), generator=self._generator).tolist()
        index = self._order[-1]
        crop = self._crops[index]
        part = self._task._replace(
            image=self._task.image[:, crop[0], crop[1]].contiguous(),
            mask=None if self._task.mask is None else self._task.mask[crop],
            targets=None if self._task.targets is None else self._task.targets[crop],
            superpixels=None if self._task.superpixels is None else self._task.superpixels.cut(crop),
        )
        if self._pass is None:
            self._pass = pass_for(part)
            if self.n_labels is not None:
                self._pass.n_labels = self.n_labels
        else:
            self._pass.take(part)
        self.latest = _Given(part, self._pass.n_labels)
        found = self._pass(gradients=True)
        self._order.pop()  # only now: a pass that was called off is made again
        self._losses = found.losses
        self._clusters[crop] = found.clusters.to(self._clusters.dtype)
        self._unseen.discard(index)
        self.known = self.known.clone()
        self.known[crop] = True if part.mask is None else part.mask
        return self._found(found.gradients)

    def finish(self) -> Found:
        self._pass = self.n_labels = None  # its maps are free before the whole image is labeled
        task = self._task
        picture, predictor = Picture(task.image, task.mask), predictor_for(task.network, task.cancelled)
        with torch.no_grad():
            predictor.measure(picture)
            for block in predictor.blocks(picture):
                clusters = block.values.argmax(-1)
                self._clusters[block.rows, block.columns] = clusters.to(self._clusters.dtype)
        self.known = torch.ones_like(self.known) if task.mask is None else task.mask
        self._unseen = set()
        return self._found(Gradients(known=[]))

    def _found(self, gradients: Gradients) -> Found:
        return Found(self._clusters.clone(), self._losses, gradients)


def _ahead(device: torch.device) -> int:
    """How many iterations are under way before the label counts of one are known.

    On CUDA some, so that the device never waits for the processor; what was made after the last one is thrown away.
    """
    return 3 if device.type == "cuda" else 0


class _Descent:
    """Stochastic gradient descent with momentum.

    The arithmetic of `torch.optim.SGD`, whose first use loads PyTorch's compiler: a second that nobody here needs.
    """

    def __init__(
        self,
        weights: list[torch.nn.Parameter],
        learning_rate: float,
        momentum: float,
        velocities: Sequence[Tensor] = (),
    ) -> None:
        self.weights, self.learning_rate, self.momentum = weights, learning_rate, momentum
        self.velocities = [torch.zeros_like(weight) for weight in weights]
        if velocities:
            self.take(velocities)

    def take(self, velocities: Sequence[Tensor]) -> None:
        """Go on with these."""
        for own, given in zip(self.velocities, velocities, strict=True):
            own.copy_(given)

    @torch.no_grad()
    def step(self, gradients: list[Tensor]) -> None:
        """Move the weights along their gradients."""
        for weight, velocity, gradient in zip(self.weights, self.velocities, gradients, strict=True):
            velocity.mul_(self.momentum).add_(gradient)
            weight.sub_(velocity, alpha=self.learning_rate)
