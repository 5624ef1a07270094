"""An image, its mask and its strokes at a fraction of their resolution, and probabilities back at the full one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["enlarged", "possible_factors", "shrunken_image", "shrunken_mask", "shrunken_targets"]

#: Sides, in pixels, below which no shrunken image goes.
LEAST_SIDE = 16


def possible_factors(
    wanted: Sequence[int], shape: tuple[int, int], targets: Tensor, n_clusters: int
) -> tuple[int, ...]:
    """The fractions of the resolution at which all painted classes are still there.

    Parameters
    ----------
    wanted : sequence of int
        The side of the square of pixels that become one, for each of several networks. Where a class has no stroke
        left, because others share its squares, or the image would become tiny, half of it is taken, and so on.
    shape : (int, int)
        Rows and columns of the image.
    targets : (H, W) Tensor of int64
        Channel of the painted class, negative where nothing is painted.
    n_clusters : int

    Returns
    -------
    tuple of int

    Examples
    --------
    >>> import torch
    >>> targets = torch.full((400, 600), -1)
    >>> targets[100, 100:102], targets[101, 100:101] = 0, 1
    >>> possible_factors((1, 2, 1, 4), (400, 600), targets, 2)
    (1, 1, 1, 1)
    """
    return tuple(_largest_possible(factor, shape, targets, n_clusters) for factor in wanted)


def _largest_possible(factor: int, shape: tuple[int, int], targets: Tensor, n_clusters: int) -> int:
    painted = torch.bincount(targets[targets >= 0], minlength=n_clusters) > 0
    while factor > 1:
        small = shrunken_targets(targets, n_clusters, factor)
        left = torch.bincount(small[small >= 0], minlength=n_clusters) > 0
        if min(shape) >= factor * LEAST_SIDE and torch.equal(left, painted):
            break
        factor //= 2
    return factor


def shrunken_image(image: Tensor, mask: Tensor | None, factor: int) -> Tensor:
    """The mean of the pixels that take part in each square.

    Parameters
    ----------
    image : (C, H, W) Tensor
        0 where masked.
    mask : (H, W) Tensor of bool, or None
    factor : int

    Returns
    -------
    (C, h, w) Tensor
        With ``h = ceil(H / factor)``; 0 where no pixel takes part.

    Examples
    --------
    >>> import torch
    >>> image = torch.tensor([[[1.0, 3.0, 8.0]]])
    >>> shrunken_image(image, None, 2).tolist()
    [[[2.0, 8.0]]]
    """
    if factor == 1:
        return image
    means = _means(image, factor)
    if mask is None:
        return means
    share = _means(mask[None].to(image.dtype), factor)
    return torch.where(share > 0, means / share, 0)


def shrunken_mask(mask: Tensor, factor: int) -> Tensor:
    """Whether any pixel of each square takes part, (h, w) bool."""
    return mask if factor == 1 else _means(mask[None].float(), factor)[0] > 0


def shrunken_targets(targets: Tensor, n_clusters: int, factor: int) -> Tensor:
    """The class painted most in each square, the first of equals; negative where none is.

    Parameters
    ----------
    targets : (H, W) Tensor of int64
        Channel of the painted class, negative where nothing is painted.
    n_clusters : int
    factor : int

    Returns
    -------
    (h, w) Tensor of int64

    Examples
    --------
    >>> import torch
    >>> shrunken_targets(torch.tensor([[-1, 1, 0, 0], [-1, -1, 1, -1], [-1, -1, -1, -1]]), 2, 2).tolist()
    [[1, 0], [-1, -1]]
    """
    if factor == 1:
        return targets
    most = torch.zeros_like(_means((targets >= 0)[None].float(), factor)[0])
    found = torch.full(most.shape, -1, dtype=targets.dtype, device=targets.device)
    for channel in range(n_clusters):
        share = _means((targets == channel)[None].float(), factor)[0]
        found = torch.where(share > most, channel, found)
        most = torch.maximum(most, share)
    return found


def enlarged(values: Tensor, factor: int, shape: tuple[int, int]) -> Tensor:
    """Values of squares as values of pixels, linear between the squares' centers.

    Parameters
    ----------
    values : (h, w, q) Tensor
    factor : int
    shape : (int, int)
        Rows and columns of the whole image.

    Returns
    -------
    (H, W, q) Tensor

    Examples
    --------
    >>> import torch
    >>> enlarged(torch.tensor([[[0.0], [1.0]]]), 2, (1, 4))[..., 0].tolist()
    [[0.0, 0.25, 0.75, 1.0]]
    """
    if factor == 1:
        return values
    larger = F.interpolate(values.permute(2, 0, 1)[None], scale_factor=factor, mode="bilinear", align_corners=False)
    return larger[0, :, : shape[0], : shape[1]].permute(1, 2, 0)


def _means(image: Tensor, factor: int) -> Tensor:
    """Means over squares, of the pixels of each that lie in the image."""
    pooled = F.avg_pool2d(image[None], factor, ceil_mode=True, count_include_pad=False)
    return pooled[0]
