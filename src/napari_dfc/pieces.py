"""What is kept of a run in which label maps voted: its regions, its groups, and how either would merge further."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from scipy.spatial import cKDTree

from napari_dfc.basins import Votes, means_over
from napari_dfc.hierarchy import Hierarchy
from napari_dfc.images import Plane
from napari_dfc.merging import Neighbors, consensus, merge_alike, merge_neighbors
from napari_dfc.numbering import apply_numbers, label_numbers
from napari_dfc.settings import Settings

__all__ = ["REGION_LEVEL", "KeptPieces", "groups_of", "regions_of"]

#: Level of a hierarchy at which it is cut for ``region_scale=1``; measured in docs/benchmarks.md.
REGION_LEVEL = 0.0272

#: Label maps for each of which, and one more, there is a hierarchy; measured in docs/benchmarks.md, as is the next.
MAPS_APART = 4

#: Hierarchies, at most.
MOST_HIERARCHIES = 7

#: Share of the basins that is left when hierarchies go their own ways: before, all label maps together do as well.
SHARE_APART = 0.5

#: Pieces with which hierarchies go their own ways, at most: a thousand of them take a second.
MOST_APART = 2500

#: Regions that groups are made of, at least; measured in docs/benchmarks.md.
LEAST_REGIONS = 400

#: Regions that groups are made of, at most: finding groups takes time with their square.
MOST_REGIONS = 1500


def regions_of(
    votes: Votes,
    shares: NDArray[np.float32],
    contrast: NDArray[np.float32],
    cancelled: Callable[[], bool] = lambda: False,
) -> Hierarchy:
    """The order in which neighboring basins merge into regions.

    All label maps together make the first merges. Then they are dealt out in turn, every part makes a hierarchy of its
    own, and what follows is the consensus of these.

    Parameters
    ----------
    votes : Votes
    shares : (S, D) ndarray of float32
        Those of all label maps.
    contrast : (H, W) ndarray of float32
        Of every pixel.
    cancelled : callable, optional
        Asked now and then; once it is true, `Cancelled` is raised.

    Returns
    -------
    Hierarchy
    """
    # one more, so that with six updates each, as by default, no part hears every network after the same one
    n_hierarchies = min(len(votes) // MAPS_APART + 1, MOST_HIERARCHIES)
    basins = Neighbors.of(votes.basins, contrast)
    if n_hierarchies == 1:
        return merge_neighbors(basins, shares, cancelled)
    n_further = ndimage.label(votes.basins)[1] - 1  # islands between masked pixels, which stay apart in any case
    n_apart = n_further + min(math.ceil(SHARE_APART * (int(votes.basins.max()) - n_further)), MOST_APART)
    first = merge_neighbors(basins, shares, cancelled, n_left=n_apart)
    pieces = Neighbors.of(first.cut_to(n_apart), contrast)
    parts = []
    for start in range(n_hierarchies):
        features = first.average(votes.shares(start, n_hierarchies), n_apart)
        parts.append(merge_neighbors(pieces, features, cancelled))
    return first.followed_by(consensus(pieces, parts, cancelled))


def groups_of(
    regions: Hierarchy, votes: NDArray[np.float32], plane: Plane, cancelled: Callable[[], bool] = lambda: False
) -> Hierarchy:
    """The order in which regions that look alike merge, wherever they lie.

    Parameters
    ----------
    regions : Hierarchy
        Of basins, whose merges come first, up to ``region_scale=1``, but so that at least `LEAST_REGIONS` and no more
        than `MOST_REGIONS` are left. Islands between masked pixels can be more than that: the smallest then go with the
        larger one that looks most alike.
    votes : (S, D) ndarray of float32
        What the label maps say of each basin, of unit variance over the pixels.
    plane : Plane
        Its channels, brought to unit variance together, count as much as the votes.
    cancelled : callable, optional
        Asked now and then; once it is true, `Cancelled` is raised.

    Returns
    -------
    Hierarchy
        Of the same basins, or of those islands.
    """
    n_regions = min(max(regions.n_left(REGION_LEVEL), LEAST_REGIONS), MOST_REGIONS)
    pieces = regions.cut_to(n_regions)
    inside = plane.values.reshape(len(plane.values), -1) if plane.mask is None else plane.values[:, plane.mask]
    variance = float(inside.var(1, dtype=np.float64).sum())
    brightness = means_over(pieces, plane.values) / np.float32(np.sqrt(variance) or 1.0)
    features = np.hstack([regions.average(votes, n_regions), brightness])
    if len(features) > MOST_REGIONS:
        return merge_alike(*_largest(pieces, features), cancelled)
    return regions.until(n_regions).followed_by(merge_alike(pieces, features, cancelled))


def _largest(pieces: NDArray[np.int32], features: NDArray[np.float32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """The largest pieces, with every other joined to the one that looks most alike, and the features of these."""
    order = np.argsort(-np.bincount(pieces.ravel(), minlength=len(features) + 1)[1:], kind="stable")
    kept = features[order[:MOST_REGIONS]]
    nearest = cKDTree(kept).query(features)[1]
    nearest[order[:MOST_REGIONS]] = np.arange(MOST_REGIONS)
    return np.concatenate([[0], nearest + 1]).astype(np.int32)[pieces], kept


@dataclass(frozen=True, eq=False)
class KeptPieces:
    """Regions and groups at any scale and number, and how distinct those of the run are.

    Parameters
    ----------
    regions : Hierarchy
    votes : (S, D) ndarray of float32
        Of every basin.
    plane : Plane
    settings : Settings
    made_groups : Hierarchy, optional
        `groups_of` these regions, where they are made already.
    """

    regions: Hierarchy
    votes: NDArray[np.float32]
    plane: Plane
    settings: Settings
    made_groups: Hierarchy | None = None

    @cached_property
    def groups(self) -> Hierarchy:
        """How regions merge into groups; found when first asked for, which takes up to a second."""
        return self.made_groups or groups_of(self.regions, self.votes, self.plane)

    def labels(self) -> NDArray[np.unsignedinteger[Any]]:
        """What the settings ask for, numbered by falling area, (H, W)."""
        settings = self.settings
        if settings.split_into == "groups":
            return self.groups_at(settings.n_groups)
        return self.regions_at(settings.region_scale)

    def regions_at(self, scale: float) -> NDArray[np.unsignedinteger[Any]]:
        """The regions at a scale, numbered by falling area, (H, W)."""
        return self._numbered(self.regions.cut(REGION_LEVEL * scale))

    def groups_at(self, n_groups: int) -> NDArray[np.unsignedinteger[Any]]:
        """So many groups, numbered by falling area, (H, W)."""
        return self._numbered(self.groups.cut_to(n_groups))

    def probabilities(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """How distinct each piece is, twice: there is no second channel."""
        settings = self.settings
        if settings.split_into == "groups":
            distinctness = self.groups.distinctness_at(settings.n_groups)
        else:
            distinctness = self.regions.distinctness(REGION_LEVEL * settings.region_scale)
        return distinctness, distinctness

    def _numbered(self, pieces: NDArray[np.int32]) -> NDArray[np.unsignedinteger[Any]]:
        index = pieces - 1  # -1 where masked
        mask = self.plane.mask
        inside = index if mask is None else index[mask]
        return apply_numbers(index, label_numbers(np.bincount(inside.ravel())), mask)
