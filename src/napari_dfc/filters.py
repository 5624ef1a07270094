"""Fixed filters in place of learned convolutions: brightness, edges and curvature of an image at several scales."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_dfc.scales import CUT_OFF, N_FILTERS, SIGMAS

__all__ = ["filter_responses", "gaussian"]


def filter_responses(image: Tensor, mask: Tensor | None = None) -> Tensor:
    r"""Brightness, steepness and both curvatures of every channel, at several scales.

    Parameters
    ----------
    image : (C, H, W) Tensor
    mask : (H, W) Tensor of bool, optional
        The pixels that take part. The others weigh nothing.

    Returns
    -------
    (16 C, H, W) Tensor
        0 where masked.

    Notes
    -----
    With :math:`g` the channel smoothed by a Gaussian, these are :math:`g`, :math:`|\nabla g|` and the two eigenvalues
    of the matrix of its second derivatives, the larger first; derivatives are central differences. Beyond its border
    the image goes on as at the border. None depends on how the image is turned.

    Examples
    --------
    >>> responses = filter_responses(torch.arange(40.0).expand(1, 9, 40))
    >>> responses.shape
    torch.Size([16, 9, 40])
    >>> responses[:4, 4, 20].round(decimals=3).tolist()  # a ramp: its height, its slope, and no curvature
    [20.0, 1.0, 0.0, 0.0]
    """
    weights = None if mask is None else mask.to(image.dtype)
    responses = image.new_empty(N_FILTERS, *image.shape)
    for index, sigma in enumerate(SIGMAS):
        smooth = _smooth(image if weights is None else image * weights, sigma)
        if weights is not None:
            smooth = smooth / _smooth(weights[None], sigma).clamp(min=1e-6)
        down, across = _slope(smooth, 1), _slope(smooth, 2)
        by_rows, mixed, by_columns = _slope(down, 1), _slope(down, 2), _slope(across, 2)
        mean = (by_rows + by_columns) / 2
        apart = torch.sqrt(((by_rows - by_columns) / 2).square() + mixed.square())
        steepness = torch.sqrt(down.square() + across.square())
        torch.stack([smooth, steepness, mean + apart, mean - apart], out=responses[4 * index : 4 * index + 4])
    return (responses if weights is None else responses.mul_(weights)).flatten(0, 1)


def gaussian(sigma: float) -> Tensor:
    """Weights of a Gaussian that is cut off, which add up to 1: (2 r + 1,) float64."""
    radius = math.ceil(CUT_OFF * sigma)
    offsets = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-offsets.square() / (2 * sigma**2))
    return kernel / kernel.sum()


def _smooth(image: Tensor, sigma: float) -> Tensor:
    """An image (C, H, W) smoothed by a Gaussian."""
    kernel = gaussian(sigma).to(image.dtype).to(image.device)
    radius = len(kernel) // 2
    padded = F.pad(image[:, None], (radius, radius, radius, radius), mode="replicate")  # (C, 1, H + 2 r, W + 2 r)
    return F.conv2d(F.conv2d(padded, kernel[None, None, None]), kernel[None, None, :, None])[:, 0]


def _slope(image: Tensor, axis: int) -> Tensor:
    """Half the difference of both neighbors along an axis; at a border of the one that there is and the pixel."""
    length = image.shape[axis]
    index = torch.arange(length, device=image.device)
    after, before = (index + 1).clamp(max=length - 1), (index - 1).clamp(min=0)
    return (image.index_select(axis, after) - image.index_select(axis, before)) / 2
