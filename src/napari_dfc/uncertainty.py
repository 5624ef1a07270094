"""Where a segmentation is least certain: the places at which one more stroke is likely to change most."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt, find_objects, gaussian_filter, label, maximum_position, sum_labels

__all__ = ["Spot", "uncertain_spots"]

#: Bins of the histogram of margins.
N_BINS = 256

#: Half the width of what counts as a rim where there is no boundary between labels to measure it at, in pixels.
LEAST_RADIUS = 2.0

#: Which share of the boundaries between labels is to be no thicker than a rim; doubtful objects make up the rest.
RIM_SHARE = 0.75


@dataclass(frozen=True)
class Spot:
    """A doubtful region.

    Parameters
    ----------
    row, column : int
        The pixel of the region around which most pixels are doubtful.
    score : float
        How many of its pixels are expected to have another label than they should.
    top, left : int
        First row and column of the region's bounding box.
    mask : (H, W) ndarray of bool
        Which pixels of that box belong to the region.
    """

    row: int
    column: int
    score: float
    top: int
    left: int
    mask: NDArray[np.bool_] = field(repr=False, compare=False)

    @property
    def height(self) -> int:
        """Of the bounding box, in pixels."""
        return len(self.mask)

    @property
    def width(self) -> int:
        """Of the bounding box, in pixels."""
        return len(self.mask[0])

    @cached_property
    def outlines(self) -> list[NDArray[np.float64]]:
        """Closed lines around the region and around its holes, (N, 2) rows and columns, half a pixel off its pixels."""
        from skimage.measure import find_contours  # a while to import, as below

        corner = np.array([self.top - 1, self.left - 1])
        return [corner + line for line in find_contours(np.pad(self.mask, 1).astype(float), 0.5)]


def uncertain_spots(
    margin: NDArray[np.floating[Any]],
    labels: NDArray[np.integer[Any]] | None = None,
    *,
    most: int = 20,
    painted: ArrayLike | None = None,
) -> list[Spot]:
    r"""Find the regions in which a stroke would help most.

    Parameters
    ----------
    margin : (H, W) ndarray of float
        How far each pixel's label lies above the second, 0 to 1; NaN where there is none.
    labels : (H, W) ndarray of int, optional
        How thick rims are is measured at the boundaries between these.
    most : int
        How many spots there are at most; from 1.
    painted : (H, W) array, optional
        Nonzero or True where a stroke is painted already.

    Returns
    -------
    list of Spot
        By falling score, which is at least 1. Empty where all is equally certain.

    Raises
    ------
    ValueError
        Arrays of other shapes, or `most` below 1.

    Notes
    -----
    Of two labels with the probabilities :math:`p_1 \ge p_2` the first is wrong with :math:`p_2 = (1 - m)/2`, where
    :math:`m = p_1 - p_2` is the margin. The score of a region is the sum of this over its pixels.

    A pixel is doubtful below the threshold that Otsu's method finds among the image's own margins: how far margins lie
    below 1 depends on how long a network was trained and on how many labels there are, so that no fixed value, and no
    fixed share of the pixels, divides the two kinds. Pixels at the boundary between two labels are doubtful nearly
    everywhere, and a stroke there teaches little. An opening takes such rims away: what is left are the disks that fit
    into what is doubtful and are thicker than the rims, which is to say, than doubt is around three of four pixels at
    those boundaries.

    References
    ----------
    N. Otsu, "A threshold selection method from gray-level histograms", IEEE Transactions on Systems, Man, and
    Cybernetics, 1979.

    Examples
    --------
    >>> margin = np.ones((20, 30))
    >>> margin[5:14, 4:13] = 0.2
    >>> margin[:, 20:22] = 0.0  # a rim
    >>> [(spot.row, spot.column, spot.height, spot.width, round(spot.score, 1)) for spot in uncertain_spots(margin)]
    [(9, 8, 9, 9, 27.6)]
    """
    from skimage.filters import threshold_otsu  # a while to import, which only who asks for spots should take

    inside = np.isfinite(margin)
    if labels is not None:
        _check_shape("labels", labels, margin)
    if painted is not None:
        strokes = np.asarray(painted) != 0
        _check_shape("painted", strokes, margin)
        inside &= ~strokes
    if most < 1:
        raise ValueError(f"most is {most}; accepted is a whole number from 1")
    if not inside.any():
        return []
    known = margin[inside]
    half_a_bin = np.ptp(known) / 2 / N_BINS  # the threshold is the middle of the last bin below it
    doubtful = inside & (margin < threshold_otsu(known, nbins=N_BINS) + half_a_bin)
    if not doubtful.any():
        return []
    # to the nearest certain pixel: what has no margin makes nothing thin
    depth = distance_transform_edt(~inside | doubtful)
    radius = _rim_radius(depth, inside, labels)
    centers = doubtful & (depth > radius)
    regions = doubtful & (distance_transform_edt(~centers) <= radius) if centers.any() else centers
    return _spots(regions, np.where(regions, (1 - margin) / 2, 0), radius)[:most]


def _check_shape(name: str, array: NDArray[Any], margin: NDArray[Any]) -> None:
    if array.shape != margin.shape:
        raise ValueError(f"{name} has the shape {array.shape}; accepted is that of margin, {margin.shape}")


def _rim_radius(
    depth: NDArray[np.floating[Any]], inside: NDArray[np.bool_], labels: NDArray[np.integer[Any]] | None
) -> float:
    """Half the thickness of the doubtful rims along most boundaries between labels, in pixels."""
    if labels is None:
        return LEAST_RADIUS
    rims = _boundaries(labels) & inside
    return max(LEAST_RADIUS, float(np.quantile(depth[rims], RIM_SHARE))) if rims.any() else LEAST_RADIUS


def _boundaries(labels: NDArray[np.integer[Any]]) -> NDArray[np.bool_]:
    """The pixels that have another label than one of their four neighbors, (H, W)."""
    found = np.zeros(labels.shape, dtype=bool)
    for one, other in (
        ((slice(None), slice(1, None)), (slice(None), slice(None, -1))),
        ((slice(1, None), slice(None)), (slice(None, -1), slice(None))),
    ):
        apart = labels[one] != labels[other]
        found[one] |= apart
        found[other] |= apart
    return found


def _spots(regions: NDArray[np.bool_], shares: NDArray[np.floating[Any]], radius: float) -> list[Spot]:
    """The connected ones of some regions, by falling sum of shares."""
    pieces, n_pieces = label(regions)
    if not n_pieces:
        return []
    which = np.arange(1, n_pieces + 1)
    scores = sum_labels(shares, pieces, which)
    # of what was measured, this finds wrong pixels more often than the point deepest in the region
    centers = maximum_position(gaussian_filter(shares, radius / 2, mode="constant"), pieces, which)
    spots = [
        Spot(int(row), int(column), float(score), box[0].start, box[1].start, pieces[box] == number)
        for number, (row, column), box, score in zip(which, centers, find_objects(pieces), scores, strict=True)
        if score >= 1
    ]
    return sorted(spots, key=lambda spot: -spot.score)
