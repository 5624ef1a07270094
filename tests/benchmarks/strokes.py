from __future__ import annotations
import numpy as np
from numpy.typing import NDArray

_STEPS = np.array([(0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1), (-1, 0), (-1, 1)])

def stroke(region: NDArray[np.bool_], length: int, random: np.random.Generator, tries: int = 20) -> NDArray[np.intp]:
    """Pixels of a stroke, (n, 2): a walk that turns seldom, starts anywhere in a region and never leaves it."""
    rows, columns = np.nonzero(region)
    best = np.empty((0, 2), dtype=np.intp)
    for _ in range(tries):
        start = random.integers(len(rows))
        here = np.array((rows[start], columns[start]))
        heading = int(random.integers(8))
        walk = [here]
        for _ in range(length - 1):
            # straight on three times of five, else a little to one side; where that leaves the region, the next best turn
            turn = int(random.choice((0, 0, 0, -1, 1)))
            for change in sorted(range(-3, 5), key=lambda other: abs(other - turn)):
                there = here + _STEPS[(heading + change) % 8]
                if (there >= 0).all() and (there < region.shape).all() and region[tuple(there)]:
                    heading = (heading + change) % 8
                    break
            else:
                break
            here = there
            walk.append(here)
        found = np.unique(walk, axis=0)
        if len(found) > len(best):
            best = found
        if len(best) >= 0.8*length:
            break
    return best

def strokes(classes: NDArray[np.uint8], n: int, seed: int) -> NDArray[np.uint8]:
    random = np.random.default_rng(seed)
    length = max(round(0.06 * max(classes.shape)), 12)
    painted = np.zeros_like(classes)
    for value in np.unique(classes):
        for _ in range(n):
            pixels = stroke(classes == value, length, random)
            painted[pixels[:,0], pixels[:,1]] = value
    return painted
