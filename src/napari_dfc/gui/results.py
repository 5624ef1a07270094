"""The results that a layer has shown one after the other, to return to."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = ["EarlierResult", "PackedLabels", "Results"]

#: Results that can be returned to, at most, and the bytes that they may take.
MOST_RESULTS, MOST_BYTES = 30, 200_000_000


class PackedLabels(NamedTuple):
    """A label map, compressed.

    Parameters
    ----------
    data : bytes
    dtype, shape
        Of the labels.
    """

    data: bytes
    dtype: np.dtype[Any]
    shape: tuple[int, ...]

    @classmethod
    def of(cls, labels: NDArray[Any]) -> PackedLabels:
        """Compress a label map; of a large one in a thread, for it takes long."""
        return cls(zlib.compress(labels.tobytes(), 1), labels.dtype, labels.shape)

    def unpacked(self) -> NDArray[Any]:
        """The label map."""
        return np.frombuffer(zlib.decompress(self.data), self.dtype).reshape(self.shape)


class EarlierResult(NamedTuple):
    """What a layer showed.

    Parameters
    ----------
    packed : PackedLabels
    colors : dict
        Of each number.
    metadata : dict
        The record that the layer kept.
    """

    packed: PackedLabels
    colors: Mapping[int, Any]
    metadata: Mapping[str, Any]

    @property
    def labels(self) -> NDArray[Any]:
        """The label map, (H, W)."""
        return self.packed.unpacked()


class Results:
    """Results in their order, kept compressed; the oldest go where they would take too much memory.

    Examples
    --------
    >>> results = Results()
    >>> for number in (1, 2):
    ...     results.add(PackedLabels.of(np.full((2, 2), number, dtype=np.uint8)), {}, {})
    >>> results.back().labels.tolist(), results.can_go_back, results.can_go_on
    ([[1, 1], [1, 1]], False, True)
    """

    def __init__(self) -> None:
        self._kept: list[EarlierResult] = []
        self._place = -1  # of the one that is shown

    @property
    def can_go_back(self) -> bool:
        """Whether there is an earlier one."""
        return self._place > 0

    @property
    def can_go_on(self) -> bool:
        """Whether there is a later one."""
        return self._place < len(self._kept) - 1

    def add(self, packed: PackedLabels, colors: Mapping[int, Any], metadata: Mapping[str, Any]) -> None:
        """Another one is shown; later ones than the present are gone."""
        fresh = EarlierResult(packed, colors, metadata)
        self._kept = [*self._kept[: self._place + 1], fresh][-MOST_RESULTS:]
        while len(self._kept) > 1 and sum(len(each.packed.data) for each in self._kept) > MOST_BYTES:
            del self._kept[0]
        self._place = len(self._kept) - 1

    @property
    def present(self) -> EarlierResult | None:
        """The one that is shown."""
        return self._kept[self._place] if self._kept else None

    def back(self) -> EarlierResult:
        """The one before."""
        self._place -= 1
        return self._kept[self._place]

    def on(self) -> EarlierResult:
        """The one after."""
        self._place += 1
        return self._kept[self._place]
