"""A hierarchy's levels found by cutting it at all of them: the check of `Hierarchy.level_between`."""

import numpy as np

from napari_dfc.hierarchy import Hierarchy


def together_at(hierarchy: Hierarchy, one: int, other: int) -> float:
    """The lowest level whose cut has two pieces, counted from 1, in one region; cut for every level there is."""
    for level in (0.0, *hierarchy.levels):
        regions = hierarchy.cut(level)
        if regions[hierarchy.pieces == one][0] == regions[hierarchy.pieces == other][0]:
            return level
    return np.inf
