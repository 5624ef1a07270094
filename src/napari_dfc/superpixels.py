"""Superpixels, the small patches of pixels that look alike, and the label that most pixels of each have."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

__all__ = ["Superpixels", "find_superpixels", "majority"]

#: How much the shape of a superpixel counts beside its colors. The published code gives 100 for 8-bit RGB, which
#: scikit-image turns into Lab colors: there it stands beside a lightness of 0 to 100.
COMPACTNESS_IN_LAB = 100.0

#: The same beside values of 0 to 1, to which scikit-image stretches any other image. With 100, a superpixel of a gray
#: image would be a square whatever the image shows.
COMPACTNESS = COMPACTNESS_IN_LAB / 100


@dataclass(frozen=True, eq=False)
class Superpixels:
    """A division of an image into superpixels.

    Parameters
    ----------
    index : (H, W) Tensor of int64
        The superpixel of each pixel, from 0.
    number : int
        How many there are in the whole image; kept here, so that no device has to be asked.
    """

    index: Tensor
    number: int

    def cut(self, crop: tuple[slice, slice]) -> Superpixels:
        """What lies in some rows and columns."""
        return Superpixels(self.index[crop], self.number)

    def shrunken(self, factor: int) -> Superpixels:
        """At a fraction of the resolution: the superpixel of each square's first pixel."""
        return Superpixels(self.index[::factor, ::factor], self.number)


def find_superpixels(image: Tensor, number: int) -> Superpixels:
    """SLIC superpixels, with the compactness of the published code.

    Parameters
    ----------
    image : (C, H, W) Tensor
        As it enters the network. Three channels are taken as RGB.
    number : int
        About how many there are to be.

    Returns
    -------
    Superpixels
        On the image's device. Masked pixels have superpixels too: SLIC with a mask searches for seeds first, which
        takes a minute where 10000 are asked for.

    References
    ----------
    R. Achanta and others, "SLIC Superpixels Compared to State-of-the-Art Superpixel Methods", IEEE Transactions on
    Pattern Analysis and Machine Intelligence, 2012.

    Examples
    --------
    >>> import torch
    >>> image = torch.zeros(1, 6, 12)
    >>> image[:, :, 5:] = 1
    >>> find_superpixels(image, 2).index[0].tolist()
    [0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1]
    """
    from skimage.segmentation import slic  # half a second, which only a run with superpixels should take

    values = image.permute(1, 2, 0).cpu().numpy()  # (H, W, C)
    compactness = COMPACTNESS_IN_LAB if values.shape[-1] == 3 else COMPACTNESS
    index = slic(values, n_segments=number, compactness=compactness, start_label=0, channel_axis=-1)
    return Superpixels(torch.from_numpy(index).to(image.device, torch.int64), int(index.max()) + 1)


def majority(clusters: Tensor, superpixels: Superpixels, mask: Tensor | None, n_clusters: int) -> Tensor:
    """The most frequent cluster of each pixel's superpixel, the smallest of equals.

    Parameters
    ----------
    clusters : (H, W) Tensor of integers
        Channel that wins at each pixel.
    superpixels : Superpixels
    mask : (H, W) Tensor of bool, or None
        True where a pixel takes part; the others are not counted.
    n_clusters : int
        Channels of the response.

    Returns
    -------
    (H, W) Tensor of int64
        0 in a superpixel of which no pixel takes part.

    Examples
    --------
    >>> import torch
    >>> superpixels = Superpixels(torch.tensor([[0, 0, 0, 1, 1]]), 2)
    >>> majority(torch.tensor([[2, 2, 0, 3, 1]]), superpixels, None, 4).tolist()
    [[2, 2, 2, 1, 1]]
    """
    bins = superpixels.index * n_clusters + clusters
    if mask is not None:
        bins = bins.masked_fill(~mask, superpixels.number * n_clusters)  # one more bin, for what is not counted
    counts = torch.zeros(superpixels.number * n_clusters + 1, dtype=torch.int32, device=bins.device)
    # torch.bincount would wait for a CUDA device, to learn the largest value
    counts.scatter_add_(0, bins.flatten(), counts.new_ones(1).expand(bins.numel()))
    most = counts[:-1].view(-1, n_clusters).argmax(1)  # the first of equals
    return most[superpixels.index]
