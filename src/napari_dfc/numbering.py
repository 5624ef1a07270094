"""Which number a cluster shows: scribbled classes keep theirs, the others take the smallest unused ones by area."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["apply_numbers", "label_numbers"]


def label_numbers(areas: ArrayLike, classes: Sequence[int] = ()) -> NDArray[np.uint64]:
    """The number of every channel's cluster.

    Parameters
    ----------
    areas : (q,) array of int
        Pixels of each channel's cluster. Equal areas keep the order of the channels.
    classes : sequence of int
        Scribbled values; channel ``i`` carries ``classes[i]`` and keeps it.

    Returns
    -------
    (q,) ndarray of uint64
        Positive, all different: the values in `classes`, then by falling area the smallest integers not among them.

    Examples
    --------
    >>> label_numbers([10, 5, 30, 20]).tolist()
    [3, 4, 1, 2]
    >>> label_numbers([10, 5, 30, 20], classes=[2]).tolist()
    [2, 4, 1, 3]
    """
    areas = np.asarray(areas)
    numbers = np.zeros(len(areas), dtype=np.uint64)
    numbers[: len(classes)] = np.array(classes, dtype=np.uint64)
    taken = set(classes)
    unused = (number for number in count(1) if number not in taken)
    order = np.argsort(-areas, kind="stable")
    for channel in order[order >= len(classes)]:
        numbers[channel] = next(unused)
    return numbers


def apply_numbers(
    clusters: NDArray[np.integer[Any]], numbers: NDArray[np.uint64], mask: NDArray[np.bool_] | None = None
) -> NDArray[np.unsignedinteger[Any]]:
    """A map of channels as a map of numbers.

    Parameters
    ----------
    clusters : (H, W) ndarray of int
        Channel of each pixel's cluster.
    numbers : (q,) ndarray of uint64
        Number of every channel's cluster.
    mask : (H, W) ndarray of bool, optional
        0 is written where it is False.

    Returns
    -------
    (H, W) ndarray
        In the smallest unsigned data type that holds the numbers in use.

    Examples
    --------
    >>> import numpy as np
    >>> apply_numbers(np.array([[0, 1]]), np.array([4, 300], dtype=np.uint64))
    array([[  4, 300]], dtype=uint16)
    """
    if numbers.max() > np.iinfo(np.uint8).max:  # else the count, as slow as all the rest, would change nothing
        used = np.bincount(clusters.ravel() if mask is None else clusters[mask], minlength=len(numbers)) > 0
        numbers = np.where(used, numbers, 0)
    dtype = np.min_scalar_type(max(int(numbers.max()), 1))
    labels: NDArray[np.unsignedinteger[Any]] = numbers.astype(dtype)[clusters]  # (H, W)
    if mask is not None:
        labels[~mask] = 0
    return labels
