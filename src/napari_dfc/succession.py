"""How a network goes on with other classes: which channel of its response carries which, and what it keeps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_dfc.network import Ensemble, Network, initialize

__all__ = ["Trained", "channel_sources", "succeeded"]

#: A network and the momentum of its weights, in the order of ``parameters()``.
Trained = tuple[Network | Ensemble, Sequence[Tensor]]


def channel_sources(
    classes: Sequence[int],
    earlier: Sequence[int],
    targets: NDArray[np.integer],
    clusters: NDArray[np.integer],
    n_channels: int,
) -> list[int]:
    """Which channel of the response so far is to carry each class.

    A class that had a channel keeps it. A new one takes the channel that wins most often under its strokes, where no
    other class has that, and otherwise the one of the unused channels that wins least.

    Parameters
    ----------
    classes : sequence of int
    earlier : sequence of int
        Classes until now; channel ``i`` carries ``earlier[i]``.
    targets : (H, W) ndarray of int
        Index in `classes` of what is painted; negative where nothing is.
    clusters : (H, W) ndarray of int
        Channel that wins at each pixel.
    n_channels : int
        Channels of the response.

    Returns
    -------
    list of int
        A permutation of all channels: those of the classes first, then the others as they were.

    Examples
    --------
    >>> clusters = np.array([[5, 5, 2, 0]])
    >>> channel_sources([7, 9], [7], np.array([[1, 1, -1, -1]]), clusters, 6)
    [0, 5, 1, 2, 3, 4]
    """
    known = {value: channel for channel, value in enumerate(earlier)}
    taken = {known[value] for value in classes if value in known}
    areas = np.bincount(clusters.ravel(), minlength=n_channels)
    sources = []
    for index, value in enumerate(classes):
        channel = known.get(value)
        if channel is None:
            under = np.bincount(clusters[targets == index].ravel(), minlength=n_channels)
            channel = int(under.argmax())
            if channel in taken:
                channel = min((each for each in range(n_channels) if each not in taken), key=lambda each: areas[each])
            taken.add(channel)
        sources.append(channel)
    return sources + [channel for channel in range(n_channels) if channel not in taken]


def succeeded(
    successor: Network | Ensemble,
    before: Trained,
    sources: Sequence[int | None],
    method: str,
    generator: torch.Generator,
) -> list[Tensor]:
    """Give a network what it can go on with of another one, and first weights for the rest.

    Features are kept; of the classifier, each channel takes the weights of one channel before, or begins anew. Of
    several networks each takes from the one in its place; a single network is succeeded by the first.

    Parameters
    ----------
    successor : Network or Ensemble
        Without first weights, on the CPU; of the kind of the network before but for its classes.
    before : Trained
    sources : sequence of int or None
        For each channel of the successor's response, the channel before; None where it begins anew.
    method : {"xavier", "framework"}
        Of the first weights.
    generator : torch.Generator
        Source of their random numbers.

    Returns
    -------
    list of Tensor
        The momentum that each of the successor's weights goes on with, in the order of ``parameters()``.

    Examples
    --------
    >>> generator = torch.Generator().manual_seed(0)
    >>> before, after = Network(1, 4, 1), Network(1, 4, 1, n_clusters=2)
    >>> initialize(before, "xavier", generator)
    >>> trained = before, [torch.ones_like(weight) for weight in before.parameters()]
    >>> momentum = succeeded(after, trained, [3, None], "xavier", generator)
    >>> bool(torch.equal(after.classifier.weight[0], before.classifier.weight[3]))
    True
    >>> speeds = dict(zip([name for name, _ in after.named_parameters()], momentum, strict=True))
    >>> speeds["classifier.bias"].tolist()
    [1.0, 0.0]
    """
    initialize(successor, method, generator)
    velocities = {name: torch.zeros_like(weight) for name, weight in successor.named_parameters()}
    network, momentum = before
    of_before = dict(zip((name for name, _ in network.named_parameters()), momentum, strict=True))
    pairs = [("", "")]
    if isinstance(successor, Ensemble):
        n_before = len(network.each()) if isinstance(network, Ensemble) else 1
        pairs = [(f"members.{index}.", f"members.{index}.") for index in range(n_before)]
        if not isinstance(network, Ensemble):
            pairs = [("members.0.", "")]
    weights, earlier = dict(successor.named_parameters()), dict(network.named_parameters())
    kept = [(channel, source) for channel, source in enumerate(sources) if source is not None]
    channels, places = [channel for channel, _ in kept], [source for _, source in kept]
    with torch.no_grad():
        for prefix, prefix_before in pairs:
            for name, weight in weights.items():
                if not name.startswith(prefix):
                    continue
                name_before = prefix_before + name.removeprefix(prefix)
                found, speed = earlier[name_before].cpu(), of_before[name_before].cpu()
                if name.removeprefix(prefix).startswith(("classifier.", "response_normalization.")):
                    weight[channels] = found[places]
                    velocities[name][channels] = speed[places]
                else:
                    weight.copy_(found)
                    velocities[name].copy_(speed)
    return list(velocities.values())
