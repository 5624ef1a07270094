"""The order in which pieces of an image merge, and what is left of them at any level."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Hierarchy"]


class Hierarchy:
    """Pieces of an image, and the order in which they merge.

    Parameters
    ----------
    pieces : (H, W) ndarray of int32
        1 to their number, S; 0 where masked. Kept as an attribute.
    merges : (M, 2) ndarray of int64
        Each row merges two pieces, counted from 0, that may have been merged with others before; the merged piece goes
        by the first index. Kept as an attribute.
    costs : (M,) ndarray of float64
        Of every merge.

    Attributes
    ----------
    levels : (M,) ndarray of float64
        What each merge cost, or an earlier one that cost more.

    Examples
    --------
    >>> pieces = np.array([[1, 1, 2, 3]], dtype=np.int32)
    >>> hierarchy = Hierarchy(pieces, np.array([[2, 1], [0, 2]]), np.array([0.5, 2.0]))
    >>> hierarchy.cut(1.0).tolist(), hierarchy.cut_to(1).tolist()
    ([[1, 1, 2, 2]], [[1, 1, 1, 1]])
    """

    def __init__(self, pieces: NDArray[np.int32], merges: NDArray[np.int64], costs: NDArray[np.float64]) -> None:
        self.pieces = pieces
        self.merges = merges
        self.levels = np.maximum.accumulate(costs)
        self._n_pieces = int(pieces.max())

    def cut(self, level: float) -> NDArray[np.int32]:
        """What is left once every merge of at most a level is made.

        Parameters
        ----------
        level : float
            From 0; see `levels`.

        Returns
        -------
        (H, W) ndarray of int32
            1 to the number of merged pieces; 0 where masked.
        """
        return self._numbered(self._after(self._n_made(level)))

    def cut_to(self, n_left: int) -> NDArray[np.int32]:
        """Merge until at most a number of pieces is left, or no merge.

        Parameters
        ----------
        n_left : int
            From 1.

        Returns
        -------
        (H, W) ndarray of int32
            1 to the number of merged pieces; 0 where masked.
        """
        return self._numbered(self._after(self._n_made_to(n_left)))

    def n_left(self, level: float) -> int:
        """How many merged pieces `cut` leaves at a level, from 0; see `levels`."""
        return self._n_pieces - self._n_made(level)

    def until(self, n_left: int) -> Hierarchy:
        """Only the merges that `cut_to` makes.

        Parameters
        ----------
        n_left : int
            From 1.

        Returns
        -------
        Hierarchy
            Of the same pieces.
        """
        n_made = self._n_made_to(n_left)
        return Hierarchy(self.pieces, self.merges[:n_made], self.levels[:n_made])

    def level_between(self, ones: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.float64]:
        """The level at which two pieces are one.

        Parameters
        ----------
        ones, others : (P,) ndarray of int64
            Pairs of pieces, counted from 0.

        Returns
        -------
        (P,) ndarray of float64
            Infinite where they never are, and 0 for a piece with itself.
        """
        into, when = np.arange(self._n_pieces), np.full(self._n_pieces, len(self.merges))
        into[self.merges[:, 1]], when[self.merges[:, 1]] = self.merges[:, 0], np.arange(len(self.merges))
        levels = np.append(self.levels, np.inf)
        found = np.zeros(len(ones))
        ones, others, left = ones.copy(), others.copy(), np.arange(len(ones))
        while True:
            left = left[ones[left] != others[left]]
            if not len(left):
                return found
            # whichever is the first to be part of another goes there; paths are short, as pieces join what has more
            # neighbors
            one, other = ones[left], others[left]
            sooner, later = np.where(when[one] <= when[other], (one, other), (other, one))
            found[left] = levels[when[sooner]]
            ones[left], others[left] = into[sooner], later
            left = left[when[sooner] < len(self.merges)]  # what is never part of another goes nowhere

    def followed_by(self, later: Hierarchy) -> Hierarchy:
        """The merges of this hierarchy, and then those of another that begins with what these leave.

        Parameters
        ----------
        later : Hierarchy
            Of what ``cut_to(1)`` leaves.

        Returns
        -------
        Hierarchy
            Of the pieces of this one. No later level is below the last of these.

        Examples
        --------
        >>> first = Hierarchy(np.array([[1, 2, 3]], dtype=np.int32), np.array([[0, 1]]), np.array([0.5]))
        >>> first.followed_by(Hierarchy(first.cut_to(1), np.array([[1, 0]]), np.array([2.0]))).merges.tolist()
        [[0, 1], [2, 0]]
        """
        roots = np.setdiff1d(np.arange(self._n_pieces), self.merges[:, 1])
        return Hierarchy(
            self.pieces,
            np.concatenate([self.merges, roots[later.merges]]),
            np.concatenate([self.levels, later.levels]),
        )

    def distinctness(self, level: float) -> NDArray[np.float32]:
        """How far each merged piece stands out from those it could merge with.

        Parameters
        ----------
        level : float
            From 0; see `levels`.

        Returns
        -------
        (H, W) ndarray of float32
            1 less the ratio of the level to that at which the pixel's piece merges next, in 0 to 1; 1 where it never
            does, NaN where masked.
        """
        return self._distinctness(self._n_made(level), level)

    def distinctness_at(self, n_left: int) -> NDArray[np.float32]:
        """The same for what `cut_to` leaves."""
        n_made = self._n_made_to(n_left)
        return self._distinctness(n_made, float(self.levels[n_made - 1]) if n_made else 0.0)

    def _distinctness(self, n_made: int, level: float) -> NDArray[np.float32]:
        merged = self._after(n_made)
        following = np.full(merged.max() + 1, np.inf)
        for (one, other), cost in zip(self.merges[n_made:][::-1], self.levels[n_made:][::-1], strict=True):
            following[merged[one]] = following[merged[other]] = cost
        # what merges next at no cost does not stand out, whatever the level
        found = np.where(following > 0, 1 - level / np.where(following > 0, following, 1), 0)
        return np.concatenate([[np.nan], found[merged]]).astype(np.float32)[self.pieces]

    def average(self, features: NDArray[np.float32], n_left: int) -> NDArray[np.float32]:
        """Features of what `cut_to` leaves, from those of the pieces.

        Parameters
        ----------
        features : (S, D) ndarray of float32
        n_left : int
            From 1.

        Returns
        -------
        (L, D) ndarray of float32
            Means over pixels.
        """
        merged = self._after(self._n_made_to(n_left))
        sizes = np.bincount(self.pieces.ravel(), minlength=self._n_pieces + 1)[1:]
        sums = np.stack([np.bincount(merged, sizes * column) for column in features.T], axis=1)
        return (sums / np.bincount(merged, sizes)[:, None]).astype(np.float32)

    def _n_made(self, level: float) -> int:
        return int(np.searchsorted(self.levels, level, side="right"))

    def _n_made_to(self, n_left: int) -> int:
        return min(max(self._n_pieces - n_left, 0), len(self.merges))

    def _after(self, n_made: int) -> NDArray[np.int64]:
        """What every piece is part of after so many merges, (S,), counted from 0."""
        made = self.merges[:n_made]
        parents = np.arange(self._n_pieces)
        parents[made[:, 1]] = made[:, 0]
        while True:
            further = parents[parents]
            if np.array_equal(further, parents):
                break
            parents = further
        found: NDArray[np.int64] = np.unique(parents, return_inverse=True)[1]
        return found

    def _numbered(self, merged: NDArray[np.int64]) -> NDArray[np.int32]:
        return np.concatenate([[0], merged + 1]).astype(np.int32)[self.pieces]
