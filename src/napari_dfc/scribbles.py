"""Painted strokes: which classes were painted, and which channel of the network carries each of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from napari_dfc.images import Window

__all__ = ["UNPAINTED", "UPDATES_AFTER_STROKES", "Arrival", "Scribbles", "check_arrivals", "pack", "prepare", "unpack"]

#: Target of a pixel without a stroke.
UNPAINTED = -1

#: Updates that follow strokes which arrive during a run or after it, at least, where so many iterations are asked for.
UPDATES_AFTER_STROKES = 20


class Arrival(NamedTuple):
    """Strokes that arrive at a run.

    Parameters
    ----------
    painted : (H, W) ndarray of integers
    updates : int
        Updates that are to follow, at least.
    """

    painted: NDArray[Any]
    updates: int = UPDATES_AFTER_STROKES


@dataclass(frozen=True)
class Scribbles:
    """Strokes as targets for the network.

    Parameters
    ----------
    classes : tuple of int
        Painted values; channel ``i`` of the network carries ``classes[i]``. In rising order; where strokes follow
        others, new classes come last.
    targets : (H, W) ndarray of int64
        Channel of the painted class, `UNPAINTED` elsewhere.
    left_out : tuple of int
        Values that are painted only where the image is not looked at, rising.
    """

    classes: tuple[int, ...]
    targets: NDArray[np.int64]
    left_out: tuple[int, ...] = ()


def prepare(
    scribbles: ArrayLike,
    shape: tuple[int, int],
    n_channels: int,
    mask: NDArray[np.bool_] | None = None,
    before: Scribbles | None = None,
    window: Window | None = None,
) -> Scribbles:
    """Check painted strokes and give every class a channel.

    Parameters
    ----------
    scribbles : (H, W) array of integers
        0 where nothing is painted, otherwise the class: any positive integers, in any order.
    shape : tuple of int
        Rows and columns of the image.
    n_channels : int
        Channels of the network, the largest possible number of classes.
    mask : (H, W) ndarray of bool, optional
        Strokes where it is False are ignored.
    before : Scribbles, optional
        What was painted until now: its classes keep their order, and new ones follow. One that is not painted any more
        is gone, unless fewer than two would be left: it then keeps its channel without a stroke.
    window : Window, optional
        The part of the image that is looked at, where that is not all of it; the mask is that part's, and so are the
        targets.

    Returns
    -------
    Scribbles

    Raises
    ------
    TypeError
        Values that are not integers.
    ValueError
        Another shape than the image's, negative values, nothing painted, or more classes than channels.

    Examples
    --------
    >>> import numpy as np
    >>> strokes = prepare(np.array([[0, 700], [3, 3]]), shape=(2, 2), n_channels=8)
    >>> strokes.classes
    (3, 700)
    >>> strokes.targets.tolist()
    [[-1, 1], [0, 0]]
    >>> prepare(np.array([[1, 700], [3, 3]]), shape=(2, 2), n_channels=8, before=strokes).classes
    (3, 700, 1)
    """
    painted = np.asarray(scribbles)
    if painted.dtype.kind not in "bui":
        raise TypeError(f"scribbles have values of type {painted.dtype}; accepted are integers, 0 where unpainted")
    if painted.shape != tuple(shape):
        raise ValueError(f"scribbles have shape {painted.shape}; accepted is that of the image's plane, {tuple(shape)}")
    if painted.dtype.kind == "i" and (painted < 0).any():
        raise ValueError(f"scribbles hold the value {painted.min()}; accepted are 0 (unpainted) and positive integers")
    everywhere = painted
    if window is not None:
        painted = window.cut(painted)
    if mask is not None:
        painted = np.where(mask, painted, np.zeros((), painted.dtype))
    values = np.unique(painted)
    values = values[values != 0]
    if values.size == 0:
        where = "" if mask is None and window is None else " where the image can be used"
        raise ValueError(f"scribbles hold no painted pixel{where}; paint at least one stroke, or give none")
    painted_classes = tuple(int(value) for value in values)
    earlier = () if before is None else before.classes
    if len(earlier) < 2 or len(painted_classes) >= 2:
        earlier = tuple(value for value in earlier if value in painted_classes)
    classes = (*earlier, *(value for value in painted_classes if value not in earlier))
    if len(classes) > n_channels:
        raise ValueError(
            f"scribbles hold {len(classes)} classes and the network has {n_channels} channels; accepted are as many "
            "classes as channels: raise n_channels or paint fewer classes"
        )
    channels = np.array([classes.index(value) for value in painted_classes], dtype=np.int64)
    targets = channels[np.minimum(np.searchsorted(values, painted), len(values) - 1)]  # (H, W)
    targets[painted == 0] = UNPAINTED
    left_out = () if painted is everywhere else set(np.unique(everywhere[everywhere != 0]).tolist()) - {*classes}
    return Scribbles(classes, targets, tuple(sorted(left_out)))


def check_arrivals(scribbles: Mapping[Any, Any]) -> dict[int, Arrival]:
    """Strokes by the number of the iteration before which they arrive.

    Parameters
    ----------
    scribbles : mapping of int to array or Arrival

    Returns
    -------
    dict of Arrival
        By rising number.

    Raises
    ------
    ValueError
        No strokes, or a number that is no whole number from 0.

    Examples
    --------
    >>> list(check_arrivals({12: np.eye(2), 0: np.eye(2)}))
    [0, 12]
    """
    for number in scribbles:
        if not isinstance(number, int | np.integer) or isinstance(number, bool) or number < 0:
            raise ValueError(f"scribbles arrive at iteration {number!r}; accepted is a whole number from 0")
    if not scribbles:
        raise ValueError("scribbles is an empty mapping; accepted are strokes by the iteration at which they arrive")
    pairs = ((number, scribbles[number]) for number in sorted(scribbles))
    return {int(number): each if isinstance(each, Arrival) else Arrival(np.asarray(each)) for number, each in pairs}


def pack(scribbles: Scribbles, iteration: int = 0, window: Window | None = None) -> dict[str, Any]:
    """Strokes in a few plain numbers, for a record: flat pixel indices for each class.

    Parameters
    ----------
    scribbles : Scribbles
    iteration : int
        Number of updates after which the strokes arrived.
    window : Window, optional
        The part of the image that the targets are of; packed are strokes of the whole.

    Returns
    -------
    dict
        ``{"iteration": int, "shape": [H, W], "pixels": {class: [flat index, ...]}}`` with the classes as text, as in
        JSON.

    Examples
    --------
    >>> import numpy as np
    >>> pack(prepare(np.array([[0, 7], [0, 7]]), (2, 2), 8))
    {'iteration': 0, 'shape': [2, 2], 'pixels': {'7': [1, 3]}}
    """
    targets = scribbles.targets if window is None else window.put(scribbles.targets, UNPAINTED)
    flat = targets.ravel()
    return {
        "iteration": iteration,
        "shape": list(targets.shape),
        "pixels": {
            str(value): np.flatnonzero(flat == channel).tolist() for channel, value in enumerate(scribbles.classes)
        },
    }


def unpack(record: Mapping[str, Any]) -> NDArray[np.unsignedinteger[Any]]:
    """The painted image that `pack` put into a record.

    Parameters
    ----------
    record : dict
        As `pack` returns it.

    Returns
    -------
    (H, W) ndarray of unsigned integers

    Examples
    --------
    >>> unpack({"iteration": 0, "shape": [2, 2], "pixels": {"7": [1, 3]}}).tolist()
    [[0, 7], [0, 7]]
    """
    classes = [int(value) for value in record["pixels"]]
    painted = np.zeros(record["shape"], dtype=np.min_scalar_type(max(classes, default=0)))
    for value in classes:
        painted.ravel()[record["pixels"][str(value)]] = value
    return painted
