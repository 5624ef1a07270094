"""The iterations of a run: of one network after the other, and with other strokes once these arrive."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor

from napari_dfc import scribbles as strokes
from napari_dfc.cancellation import Cancelled
from napari_dfc.devices import Device, as_torch_device
from napari_dfc.images import Plane
from napari_dfc.memory import Plan, crops, make_plan
from napari_dfc.network import Ensemble, Network, initialize
from napari_dfc.optimization import Iteration, Optimization
from napari_dfc.passes import count_labels
from napari_dfc.result import network_for, tensors_of
from napari_dfc.scribbles import Arrival
from napari_dfc.settings import Settings
from napari_dfc.stage import Stage
from napari_dfc.succession import channel_sources, succeeded

__all__ = ["Courses"]


class _Course(NamedTuple):
    """A piece of a run that one `Optimization` makes.

    Its own numbers begin at 0; ``offset`` makes those of the run of them, of which ``last`` is the last.
    """

    optimization: Optimization
    offset: int
    last: int
    is_later: bool = False  # one of several networks that vote, but not the first

    @property
    def next(self) -> int:
        """Number of the next iteration in the run."""
        return max(self.optimization.number, int(self.is_later)) + self.offset


class _Origin(NamedTuple):
    """What strokes find that arrive before the iteration of a number; those that come after them find it again."""

    number: int
    stage: Stage
    plan: Plan
    optimization: Optimization
    generator_state: Tensor


class Courses:
    """The iterations of a run; iterated over once more, it goes on where it was.

    Parameters
    ----------
    plane : Plane
    settings : Settings
        With a precision that the device has.
    device : Device
    schedule : mapping of int to Arrival
        Strokes by the number of the iteration before which they arrive.
    inbox : deque of Arrival
        Where other threads put strokes that are to take effect at once.
    cancelled : callable
        Asked often; once it is true, `Cancelled` is raised.
    most : float
        Bytes of memory that may be used.

    Attributes
    ----------
    stage : Stage
        The present classes and strokes.
    plan : Plan
        How much memory they take, and in which crops.
    arrived : dict of (Arrival, Scribbles)
        All strokes so far, by the number of the iteration before which they arrived.
    refused : str
        Why the strokes that arrived last could not be used; usually empty.
    """

    def __init__(
        self,
        plane: Plane,
        settings: Settings,
        device: Device,
        schedule: Mapping[int, Arrival],
        inbox: deque[Arrival],
        cancelled: Callable[[], bool],
        most: float = math.inf,
    ) -> None:
        self.plane, self.settings, self.device = plane, settings, device
        self.refused = ""
        self._inbox, self._cancelled, self._most = inbox, cancelled, most
        self._begin(schedule)

    def _begin(self, schedule: Mapping[int, Arrival]) -> None:
        first = schedule.get(0)
        self.stage = Stage.first(self.plane, self.settings, None if first is None else first.painted)
        self._schedule = dict(schedule)
        self.plan = self._plan_of(self.stage)
        self.arrived: dict[int, tuple[Arrival, strokes.Scribbles]] = {}
        if first is not None and self.stage.scribbles is not None:
            self.arrived[0] = first, self.stage.scribbles
        self._course: _Course | None = None
        self._origin: _Origin | None = None
        self._latest: Iteration | None = None
        self._generator = torch.Generator().manual_seed(self.settings.seed)

    def _plan_of(self, stage: Stage) -> Plan:
        n_clusters = stage.n_clusters if stage.restricted else None
        settings = self.settings.change(split_into="clusters") if stage.classes else self.settings
        kind = (self.plane.shape, len(self.plane.values), settings, self.device)
        return make_plan(*kind, self._most, stage.factors, n_clusters)

    def __iter__(self) -> Iterator[Iteration]:
        """The iterations from the next one on; for groups and regions of one network after the other, counted on."""
        while True:
            if self._next == 0:
                self._start()
            elif (arrival := self._arrival()) is not None:
                yield from self._change(*arrival)
                continue
            elif self._present.optimization.is_over or self._next > self.stage.last:
                return
            elif self._next > self._present.last:
                self._start_next_network()
            course = self._present
            for iteration in course.optimization.iterations(course.last - course.offset, self._interrupted):
                if iteration.number or not course.is_later:  # of a later network, the untrained one has nothing to say
                    self._latest = replace(iteration, number=iteration.number + course.offset)
                    yield self._latest

    @property
    def _present(self) -> _Course:
        assert self._course is not None
        return self._course

    @property
    def _next(self) -> int:
        """Number of the next iteration."""
        return 0 if self._course is None else self._course.next

    def _start(self) -> None:
        """The first iterations of all; strokes that came before them are as good as given at once."""
        if self._inbox:
            try:
                self._begin({**self._schedule, 0: self._inbox.pop()})
                self.refused = ""
            except (TypeError, ValueError) as error:
                self.refused = str(error)
        last = self.settings.region_iterations if self.stage.takes_votes else self.stage.last
        self._course = _Course(self._optimization(self._first_network()), 0, last)

    def _start_next_network(self) -> None:
        """The next one of several networks that vote."""
        before = self._present
        self._origin = self._origin_of(before)
        before.optimization.rest()  # its maps are free before the next one's are made
        optimization = self._optimization(self._first_network())
        self._course = _Course(optimization, before.last, before.last + self.settings.region_iterations, is_later=True)

    @cached_property
    def _tensors(self) -> tuple[Tensor, Tensor | None]:
        return tensors_of(self.plane, self.device)

    def _first_network(self) -> Network | Ensemble:
        network = self._network_of(self.stage)
        initialize(network, self.settings.initialization, self._generator)
        return network

    def _network_of(self, stage: Stage) -> Network | Ensemble:
        network = network_for(len(self.plane.values), self.settings, stage.n_clusters, stage.factors)
        return network.to(torch.from_numpy(self.plane.values).dtype)

    def _origin_of(self, course: _Course) -> _Origin:
        return _Origin(self._next, self.stage, self.plan, course.optimization, self._generator.get_state())

    def _optimization(self, network: Network | Ensemble, momentum: Sequence[Tensor] = ()) -> Optimization:
        stage = self.stage
        image, mask = self._tensors
        targets = None
        if stage.scribbles is not None:
            targets = torch.from_numpy(stage.scribbles.targets).to(image.device)
        under_way: list[Optimization] = []

        def called_off() -> bool:  # strokes interrupt iterations; before the first they would end the run
            return self.called_off() if under_way else self._cancelled()

        optimization = Optimization(
            network.to(image.device, image.dtype),
            image,
            self.settings,
            mask=mask,
            targets=targets,
            least=0 if stage.restricted or stage.takes_votes else stage.least,
            cancelled=called_off,
            crops=crops(self.plane.shape, self.plan.crop),
            momentum=momentum,
        )
        under_way.append(optimization)
        return optimization

    # ------------------------------------------------------------------ strokes that arrive

    def rest(self) -> None:
        """Give back the memory of the maps until it goes on."""
        if self._course is not None:
            self._course.optimization.rest()

    def all_arrivals(self) -> dict[int, Arrival]:
        """What has arrived, and what will."""
        return self._schedule | {number: arrival for number, (arrival, _) in self.arrived.items()}

    def called_off(self) -> bool:
        """Whether the pass in progress is of no use."""
        return self._cancelled() or bool(self._inbox)

    def _interrupted(self, _: int) -> bool:
        """Whether strokes arrive before the next iteration."""
        if self._inbox:
            return not self._cancelled()
        return 0 < self._next in self._schedule and self._next not in self.arrived

    def _arrival(self) -> tuple[Arrival, bool] | None:
        """What arrives before the next iteration, and whether somebody waits to see it."""
        if self._inbox:
            return self._inbox.pop(), True
        return (self._schedule[self._next], False) if self._interrupted(0) else None

    def _change(self, arrival: Arrival, waited_for: bool) -> Iterator[Iteration]:
        """Go on with other strokes; yields what can be shown at once."""
        number = self._next
        if self._origin is None or self._origin.number != number:  # else nothing was learned since then
            self._origin = self._origin_of(self._present)
        origin = self._origin
        try:
            stage = origin.stage.following(arrival, number)
        except (TypeError, ValueError) as error:
            self.refused = str(error)
            if not waited_for:  # others came before them than were foreseen
                del self._schedule[number]
            return
        assert stage.scribbles is not None
        self.refused = ""
        self.arrived = {**self.arrived, number: (arrival, stage.scribbles)}  # another thread may be reading the old one
        if self._present.optimization is not origin.optimization:
            self._present.optimization.rest()
        self._generator.set_state(origin.generator_state)
        if stage.classes == origin.stage.classes and stage.factors == origin.stage.factors:
            self.stage, self.plan = stage.inheriting(origin.stage, list(range(stage.n_clusters))), origin.plan
            optimization = origin.optimization
            optimization.teach(torch.from_numpy(stage.scribbles.targets).to(as_torch_device(self.device)))
        else:
            optimization = self._succeed(origin, stage)
        self._course = _Course(optimization, number - optimization.number, self.stage.last)
        if waited_for:
            yield from self._foretaste(optimization, number)

    def _succeed(self, origin: _Origin, stage: Stage) -> Optimization:
        """The optimization of networks for other classes, which keep what they have learned."""
        assert stage.scribbles is not None
        assert self._latest is not None
        before, sources = origin.stage, [*range(stage.n_clusters)]
        if before.restricted:
            channels = {value: channel for channel, value in enumerate(before.classes)}
            taken = [channels.get(value) for value in stage.classes]
        else:
            clusters = self._latest.clusters.cpu().numpy()
            sources = channel_sources(
                stage.classes, before.classes, stage.scribbles.targets, clusters, before.n_clusters
            )
            taken = [*sources[: stage.n_clusters]]
        network = self._network_of(stage)
        origin.optimization.settle()
        momentum = succeeded(
            network,
            (origin.optimization.network, origin.optimization.momentum),
            taken,
            self.settings.initialization,
            self._generator,
        )
        self.stage = stage if stage.restricted else stage.inheriting(before, sources)
        self.plan = self._plan_of(stage)
        return self._optimization(network, momentum)

    def _foretaste(self, optimization: Optimization, number: int) -> Iterator[Iteration]:
        assert self._latest is not None
        try:
            clusters = optimization.foretaste()
        except Cancelled:  # by the next strokes, or for good: the next pass will tell
            return
        if clusters is not None:
            known = optimization.known
            n_labels = int(count_labels(clusters, known, self.stage.n_clusters))
            yield Iteration(number, clusters, n_labels, self._latest.losses, {}, known, provisional=True)
