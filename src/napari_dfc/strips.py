"""Into which strips of rows the CPU's pass cuts an image; free of PyTorch, so that memory is foretold without it."""

from __future__ import annotations

__all__ = ["TILE", "tile_rows_of_strip"]

#: Pixels along each side of a tile of the convolutions' output; a tile of their input has two more.
TILE = 4

#: Bytes of transformed input in a strip, for each thread: enough to keep a thread busy, little enough for the cache.
STRIP_BYTES = 1_750_000


def tile_rows_of_strip(height: int, width: int, n_channels: int, itemsize: int, threads: int) -> int:
    """Height of a strip in tiles: all strips nearly alike, each of about `STRIP_BYTES` a thread.

    Parameters
    ----------
    height, width : int
        Of the image, in pixels.
    n_channels : int
    itemsize : int
        Bytes of a value.
    threads : int

    Examples
    --------
    >>> tile_rows_of_strip(height=321, width=481, n_channels=100, itemsize=4, threads=2)
    2
    """
    in_image = -(-height // TILE)
    one = 36 * -(-width // TILE) * n_channels * itemsize
    most = max(1, round(STRIP_BYTES * threads / one))
    n_strips = -(-in_image // most)
    return -(-in_image // n_strips)
