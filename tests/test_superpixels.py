from __future__ import annotations

from collections import Counter

import numpy as np
import torch
from torch import Tensor

from napari_dfc.superpixels import Superpixels, find_superpixels, majority


def plain_majority(clusters: Tensor, index: Tensor, mask: Tensor) -> Tensor:
    """One pixel after another."""
    found = torch.zeros_like(index)
    for superpixel in index.unique():
        inside = index == superpixel
        counts = Counter(clusters[inside & mask].tolist())
        if counts:
            found[inside] = min(counts, key=lambda cluster: (-counts[cluster], cluster))
    return found


def test_majority_of_a_tiny_map() -> None:
    superpixels = Superpixels(torch.tensor([[0, 0, 1], [0, 2, 1]]), 3)
    clusters = torch.tensor([[3, 1, 2], [3, 0, 1]], dtype=torch.uint8)
    # 3 in two pixels of three; 1 and 2 in one each, of which the smaller wins; 0 alone
    assert majority(clusters, superpixels, None, 4).tolist() == [[3, 3, 1], [3, 0, 1]]
    mask = torch.tensor([[False, True, True], [False, True, False]])
    # now only 1 is left of the first, and only 2 of the second
    assert majority(clusters, superpixels, mask, 4).tolist() == [[1, 1, 2], [1, 0, 2]]


def test_majority_is_that_of_a_plain_loop() -> None:
    generator = torch.Generator().manual_seed(0)
    clusters = torch.randint(0, 5, (20, 30), generator=generator)
    index = torch.randint(0, 60, (20, 30), generator=generator)
    mask = (torch.rand(20, 30, generator=generator) > 0.3) & (index != 7)  # of one superpixel no pixel takes part
    found = majority(clusters, Superpixels(index, 60), mask, 5)
    assert torch.equal(found, plain_majority(clusters, index, mask))


def test_superpixels_follow_the_image_whatever_its_channels() -> None:
    rows, columns = np.mgrid[:60, :60]
    bright = torch.from_numpy(rows + columns / 3 > 40).float()
    for n_channels in (1, 2, 3):
        image = bright.expand(n_channels, 60, 60)
        superpixels = find_superpixels(image, 25)
        assert 10 < superpixels.number < 50
        assert superpixels.index.unique().tolist() == list(range(superpixels.number))
        # no superpixel lies on both sides of the edge
        settled = majority(bright.long(), superpixels, None, 2)
        assert (settled == bright).float().mean() > 0.995


def test_superpixels_of_an_image_with_fewer_pixels() -> None:
    for shape in ((1, 1, 1), (3, 1, 7), (2, 5, 1)):
        assert find_superpixels(torch.rand(shape), 1000).index.shape == shape[1:]


def test_superpixels_are_cut_and_shrunken() -> None:
    superpixels = Superpixels(torch.arange(15).view(3, 5), 15)
    cut = superpixels.cut((slice(1, 3), slice(0, 2)))
    assert (cut.index.tolist(), cut.number) == ([[5, 6], [10, 11]], 15)
    small = superpixels.shrunken(2)
    assert (small.index.tolist(), small.number) == ([[0, 2, 4], [10, 12, 14]], 15)
