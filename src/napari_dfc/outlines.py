"""Which pixels lie within a polygon or an ellipse."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["fill_ellipse", "fill_polygon"]

#: Pixels by which a center may lie off an outline and count as on it.
TOLERANCE = 1e-9


def fill_polygon(inside: NDArray[np.bool_], corners: NDArray[np.floating[Any]]) -> None:
    """Mark the pixels whose centers lie within a polygon or on its outline.

    Parameters
    ----------
    inside : (H, W) ndarray of bool
        Set to True there; the rest is left alone.
    corners : (K, 2) ndarray of float
        Rows and columns. Where the outline crosses itself, what it encloses an even number of times lies outside.

    Notes
    -----
    Row by row, between every two places where the outline crosses it: no list of pixels is made, and the time is that
    of filling. A row through a corner is taken as what lies just above it and just below.

    Examples
    --------
    >>> inside = np.zeros((3, 5), dtype=bool)
    >>> fill_polygon(inside, np.array([[0.0, 0], [0, 4], [2, 2]]))
    >>> inside.astype(int).tolist()
    [[1, 1, 1, 1, 1], [0, 1, 1, 1, 0], [0, 0, 1, 0, 0]]
    """
    height, width = inside.shape
    firsts = np.ceil(corners[:, 0] - TOLERANCE), np.floor(corners[:, 0] + TOLERANCE) + 1
    for borders in firsts:  # where an edge ends, a row through its end belongs to the edge below it, or to that above
        borders = borders.clip(0, height).astype(int)
        found_rows, found_columns = [np.zeros(0, dtype=int)], [np.zeros(0)]
        for number, (row, column) in enumerate(corners):
            next_row, next_column = corners[number - 1]
            rows = np.arange(*sorted((borders[number], borders[number - 1])))
            found_rows.append(rows)
            if len(rows):
                found_columns.append(column + (rows - row) / (next_row - row) * (next_column - column))
        rows, columns = np.concatenate(found_rows), np.concatenate(found_columns)
        order = np.lexsort((columns, rows))
        pairs = columns[order].clip(-1, width).reshape(-1, 2)
        starts, ends = np.ceil(pairs[:, 0] - TOLERANCE), np.floor(pairs[:, 1] + TOLERANCE) + 1
        spans = (rows[order][::2], starts.clip(0).astype(int), ends.clip(0).astype(int))
        for row, start, end in zip(*(each.tolist() for each in spans), strict=True):
            inside[row, start:end] = True


def fill_ellipse(inside: NDArray[np.bool_], corners: NDArray[np.floating[Any]]) -> None:
    """Mark the pixels whose centers lie within the ellipse that touches the middles of a parallelogram's sides.

    Parameters
    ----------
    inside : (H, W) ndarray of bool
        Set to True there; the rest is left alone.
    corners : (4, 2) ndarray of float
        Of the parallelogram, in rows and columns.
    """
    center = corners.mean(axis=0)
    half_axes = np.stack([corners[1] - corners[0], corners[2] - corners[1]], axis=-1) / 2  # (2, 2)
    if abs(np.linalg.det(half_axes)) < TOLERANCE:
        return
    reach = np.linalg.norm(half_axes, axis=1)
    top, left = np.maximum(np.ceil(center - reach), 0).astype(int)
    bottom, right = np.maximum(np.floor(center + reach) + 1, 0).astype(int)
    part = inside[top:bottom, left:right]
    columns = np.arange(left, left + part.shape[1]) - center[1]
    inverse = np.linalg.inv(half_axes)
    for place, marked in enumerate(part, top):  # row by row: the squares of the whole would take 8 times the memory
        row = place - center[0]
        marked |= sum((by_row * row + by_column * columns) ** 2 for by_row, by_column in inverse) <= 1
