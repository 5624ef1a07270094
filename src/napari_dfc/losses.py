"""The three losses that pull against each other: similarity, continuity, scribble."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["continuity_loss", "painted_shares", "scheduled_weight", "scribble_loss", "similarity_loss"]


def similarity_loss(response: Tensor, clusters: Tensor, pixels: Tensor | None = None) -> Tensor:
    r"""Cross-entropy of each pixel's response against its own cluster, or that of its superpixel.

    Parameters
    ----------
    response : (1, q, H, W) Tensor
        Normalized response :math:`r'`.
    clusters : (1, H, W) Tensor of int64
        Cluster label :math:`c_n` of each pixel, or the most frequent one of its superpixel.
    pixels : (1, H, W) Tensor of bool, optional
        The pixels that count, all by default.

    Returns
    -------
    () Tensor
        0 where no pixel counts.

    Notes
    -----
    .. math:: L_{sim} = -\frac{1}{N} \sum_n \log \operatorname{softmax}(r'_n)_{c_n}

    Taken pixel by pixel and averaged here, because PyTorch's own mean over a 2-D map is not repeatable on CUDA.

    Examples
    --------
    >>> import torch
    >>> response = torch.zeros(1, 4, 2, 2)
    >>> round(similarity_loss(response, response.argmax(1)).item(), 4)  # log(4)
    1.3863
    """
    return _mean(F.cross_entropy(response, clusters, reduction="none"), pixels)


def continuity_loss(response: Tensor, pixels: Tensor | None = None) -> Tensor:
    r"""L1 norm of the differences between neighboring pixels' responses.

    Parameters
    ----------
    response : (1, q, H, W) Tensor
        Normalized response :math:`r'`.
    pixels : (1, H, W) Tensor of bool, optional
        The pixels that count; a pair of neighbors counts where both do.

    Returns
    -------
    () Tensor
        The mean over all vertical differences plus the mean over all horizontal ones; a direction without a pair
        gives 0.

    Notes
    -----
    .. math:: L_{con} = \operatorname{mean} |r'_{y+1,x} - r'_{y,x}| + \operatorname{mean} |r'_{y,x+1} - r'_{y,x}|

    Examples
    --------
    >>> import torch
    >>> continuity_loss(torch.tensor([[[[0.0, 1.0], [4.0, 5.0]]]])).item()  # 4 down, 1 across
    5.0
    """
    total = response.new_zeros(())
    for axis in (2, 3):
        length = response.shape[axis] - 1
        first, second = response.narrow(axis, 0, length), response.narrow(axis, 1, length)
        if pixels is None:
            pairs = None
        else:
            pairs = (pixels.narrow(axis - 1, 0, length) & pixels.narrow(axis - 1, 1, length))[:, None]  # (1, 1, H, W)
        if length:
            total = total + _mean((second - first).abs(), pairs)
    return total


def scheduled_weight(weight: float, schedule: str, n_labels: Any) -> Any:
    r"""The weight of the continuity loss, which may follow the number of labels in use.

    Parameters
    ----------
    weight : float
        The weight that the user chose.
    schedule : {"constant", "similarity", "continuity"}
    n_labels : int or () Tensor of real numbers
        Labels :math:`q'` in use.

    Returns
    -------
    float, or () Tensor where `n_labels` is one and counts

    Notes
    -----
    The weight itself, times :math:`q' / 15` with "similarity" and times :math:`50 / q'` with "continuity". With a
    weight of 1 these are the feature similarity focus and the spatial continuity focus of DynaSeg, but for one thing:
    there :math:`q'` is that of the same response. A pass in strips has to know the weight before it has seen the whole
    response, so the callers give the number of labels in the iteration before (with crops, in the crop before), and in
    the first iteration the number of channels.

    References
    ----------
    B. Guermazi, R. Ksantini, N. Khan, "DynaSeg: A Deep Dynamic Fusion Method for Unsupervised Image Segmentation
    Incorporating Feature Similarity and Spatial Continuity", Image and Vision Computing, 2024.

    Examples
    --------
    >>> [scheduled_weight(2.0, schedule, 10) for schedule in ("constant", "continuity")]
    [2.0, 10.0]
    """
    if schedule == "similarity":
        return weight * n_labels / 15
    if schedule == "continuity":
        return weight * 50 / n_labels
    return weight


def scribble_loss(response: Tensor, targets: Tensor, balanced: bool = False) -> Tensor:
    r"""Cross-entropy of the painted pixels' response against their scribbled class.

    Parameters
    ----------
    response : (1, q, H, W) Tensor
        Normalized response :math:`r'`.
    targets : (1, H, W) Tensor of int64
        Channel :math:`s_n` of each painted pixel's class, negative where nothing is painted.
    balanced : bool
        Whether every class counts alike; else every painted pixel does, as in the paper.

    Returns
    -------
    () Tensor
        0 where nothing is painted.

    Notes
    -----
    .. math:: L_{scr} = -\sum_n u_n \log \operatorname{softmax}(r'_n)_{s_n}

    with the shares :math:`u_n` of `painted_shares`.

    Examples
    --------
    >>> import torch
    >>> response = torch.zeros(1, 2, 1, 2)
    >>> round(scribble_loss(response, torch.tensor([[[1, -1]]])).item(), 4)  # log(2)
    0.6931
    """
    painted = targets >= 0
    cross_entropy = F.cross_entropy(response, targets.clamp(min=0), reduction="none")
    shares = painted_shares(targets, response.shape[1], balanced).to(response.dtype)
    return torch.where(painted, cross_entropy * shares, 0).sum()


def painted_shares(targets: Tensor, n_clusters: int, balanced: bool) -> Tensor:
    r"""How much each pixel counts in the scribble loss.

    Parameters
    ----------
    targets : Tensor of int64
        Channel of each painted pixel's class, negative where nothing is painted.
    n_clusters : int
        Channels of the response.
    balanced : bool
        Whether every class counts alike; else every painted pixel does.

    Returns
    -------
    Tensor of float64
        Of the shape of `targets`, 0 where nothing is painted; they add up to 1. On Apple's GPU, which has no float64,
        float32.

    Examples
    --------
    >>> import torch
    >>> painted_shares(torch.tensor([0, 0, 1, -1]), n_clusters=3, balanced=True).tolist()
    [0.25, 0.25, 0.5, 0.0]
    """
    painted = targets >= 0
    dtype = torch.float32 if targets.device.type == "mps" else torch.float64
    index = targets.clamp(min=0) if balanced else torch.zeros_like(targets)
    counts = torch.zeros(n_clusters, dtype=dtype, device=targets.device)
    counts.scatter_add_(0, index.flatten(), painted.flatten().to(dtype))
    shares = torch.where(painted, 1 / counts[index].clamp(min=1), 0)
    return shares / (counts > 0).sum().clamp(min=1)


def _mean(values: Tensor, chosen: Tensor | None) -> Tensor:
    """Mean of the values, those chosen where a mask of the same shape, or one that stretches to it, says so."""
    if chosen is None:
        return values.mean()
    count = chosen.sum() * (values.numel() // chosen.numel())
    return torch.where(chosen, values, 0).sum() / count.clamp(min=1)
