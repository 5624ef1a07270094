"""What a run computes from one arrival of strokes to the next: classes, channels, and the networks that carry them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_dfc import scribbles as strokes
from napari_dfc.images import Plane
from napari_dfc.memory import wanted_factors
from napari_dfc.numbering import label_numbers
from napari_dfc.resolutions import possible_factors
from napari_dfc.scribbles import Arrival, Scribbles
from napari_dfc.settings import Settings

__all__ = ["Stage"]


@dataclass(frozen=True, eq=False)
class Stage:
    """A part of a run with the same classes and strokes.

    Parameters
    ----------
    plane : Plane
    settings : Settings
    scribbles : Scribbles, or None
    run_numbers : (q,) ndarray of uint64
        The number of every channel's cluster in the previews.
    last : int
        Number of the iteration after which the run ends.
    """

    plane: Plane
    settings: Settings
    scribbles: Scribbles | None
    run_numbers: NDArray[np.uint64]
    last: int

    @classmethod
    def first(cls, plane: Plane, settings: Settings, painted: Any) -> Stage:
        """That of a run's beginning; errors as in `napari_dfc.scribbles.prepare`."""
        found = None
        if painted is not None:
            kind = (plane.whole_shape, settings.n_channels, plane.mask)
            found = strokes.prepare(painted, *kind, window=plane.window)
        last = settings.n_updates(has_strokes=found is not None)
        start = cls(plane, settings, found, np.zeros(0, dtype=np.uint64), last)
        return start._numbered(label_numbers(np.zeros(start.n_clusters), start.classes))

    def following(self, arrival: Arrival, number: int) -> Stage:
        """That of strokes which arrive before the iteration of this number, numbers of clusters still as they come.

        Raises
        ------
        TypeError, ValueError
            As `napari_dfc.scribbles.prepare`.
        """
        plane, settings = self.plane, self.settings
        kind = (plane.whole_shape, settings.n_channels, plane.mask, self.scribbles)
        found = strokes.prepare(arrival.painted, *kind, plane.window)
        wanted = arrival.updates if self.classes else settings.max_iterations
        last = max(self.last if self.classes else 0, number + min(wanted, settings.max_iterations))
        after = Stage(plane, settings, found, np.zeros(0, dtype=np.uint64), last)
        return after._numbered(label_numbers(np.zeros(after.n_clusters), after.classes))

    def inheriting(self, before: Stage, sources: list[int]) -> Stage:
        """The same, with the clusters that stay numbered as they were; ``sources`` as `channel_sources` gives them."""
        numbers = before.run_numbers[sources].copy()
        for channel, value in enumerate(self.classes):
            other = np.flatnonzero(numbers == value)
            numbers[other] = numbers[channel]  # whoever had this number takes the one that becomes free
            numbers[channel] = value
        return self._numbered(numbers)

    @property
    def classes(self) -> tuple[int, ...]:
        """The painted ones; channel ``i`` carries ``classes[i]``."""
        return () if self.scribbles is None else self.scribbles.classes

    @property
    def restricted(self) -> bool:
        """Whether every pixel gets a painted class."""
        return self.settings.restrict_to_scribbles and len(self.classes) >= 2

    @property
    def n_clusters(self) -> int:
        """Channels of the response: one for each painted class where the output is restricted to those."""
        return len(self.classes) if self.restricted else self.settings.n_channels

    @property
    def least(self) -> int:
        """The fewest labels a result should have: the number of painted classes, else ``settings.min_labels``."""
        return len(self.classes) or self.settings.min_labels

    @property
    def takes_votes(self) -> bool:
        """Whether it gives groups or regions, by the votes of several networks."""
        return self.settings.takes_votes(has_strokes=bool(self.classes))

    @property
    def class_numbers(self) -> tuple[int, ...]:
        """The numbers that labels may have: those painted, of groups 1 and so on, else one for each channel."""
        if self.restricted:
            return tuple(sorted(self.classes))
        if self.takes_votes and self.settings.split_into == "groups":
            return tuple(range(1, self.settings.n_groups + 1))
        return tuple(int(number) for number in self.run_numbers)

    @property
    def edge_share(self) -> float:
        """``settings.edge_share`` where there are the painted classes alone, else 0."""
        return self.settings.edge_share if self.restricted else 0.0

    @cached_property
    def factors(self) -> tuple[int, ...] | None:
        """The resolutions of several networks; only where their channels mean the same, as painted classes do."""
        if self.scribbles is None or not self.restricted:
            return None
        rows, columns = self.plane.largest_part
        shape = (rows.stop - rows.start, columns.stop - columns.start)
        targets = torch.from_numpy(self.scribbles.targets)
        factors = possible_factors(wanted_factors(shape, self.settings), shape, targets, self.n_clusters)
        return None if factors == (1,) and self.settings.extractor == "convolutions" else factors

    def _numbered(self, numbers: NDArray[np.uint64]) -> Stage:
        return Stage(self.plane, self.settings, self.scribbles, numbers, self.last)
