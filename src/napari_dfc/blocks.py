"""Large arrays taken block by block."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

__all__ = ["BLOCK_PIXELS", "blocks"]

#: Pixels of a block, at most: what takes longer would let a window beside it wait, and what is larger leaves the cache.
BLOCK_PIXELS = 2**19


def blocks(shape: Sequence[int]) -> Iterator[tuple[int | slice, ...]]:
    """What to index an array with to get all of it, at most `BLOCK_PIXELS` at a time, or one row."""
    rest = math.prod(shape[1:])
    if rest > BLOCK_PIXELS:
        for place in range(shape[0]):
            yield from ((place, *index) for index in blocks(shape[1:]))
    elif rest:
        step = BLOCK_PIXELS // rest
        yield from ((slice(start, start + step),) for start in range(0, shape[0], step))
