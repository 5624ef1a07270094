"""The tensors of a kept network under their names in its file: weights, statistics, and the patch it is checked by."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import Tensor

from napari_dfc.devices import choose_device, computing
from napari_dfc.ensemble import EnsemblePredictor
from napari_dfc.network import Ensemble, Network
from napari_dfc.prediction import Picture, Predictor, Statistics
from napari_dfc.result import depths_of
from napari_dfc.scales import N_FILTERS

__all__ = ["PATCH", "Golden", "Tensors", "check_golden", "n_weights", "response_to"]

#: Rows and columns of the golden patch, at most.
PATCH = 32

#: Difference of a golden patch's response from what it was when it was saved, at most.
MOST_OFF = 1e-4


class Golden(NamedTuple):
    """A piece of a reference image and what the network says of it, by which a loaded network is checked.

    Parameters
    ----------
    patch : (C, h, w) Tensor of float32
        Scaled channels.
    response : (h, w, q) Tensor of float32
    """

    patch: Tensor
    response: Tensor


class Tensors(NamedTuple):
    """All of a network.

    Parameters
    ----------
    weights : mapping of str to Tensor
    statistics : tuple of Statistics
        Of each network.
    golden : Golden
    """

    weights: Mapping[str, Tensor]
    statistics: tuple[Statistics, ...]
    golden: Golden

    @classmethod
    def of(cls, named: Mapping[str, Tensor], n_networks: int) -> Tensors:
        """What `named` gave; a ValueError where something is missing."""
        statistics = tuple(_statistics_of(_below(named, f"statistics/{index}")) for index in range(n_networks))
        golden = Golden(_one(named, "golden/patch"), _one(named, "golden/response"))
        return cls(_below(named, "weights"), statistics, golden)

    def named(self) -> dict[str, Tensor]:
        """All of them, under their names in the file."""
        found = {f"weights/{name}": weight for name, weight in self.weights.items()}
        for index, each in enumerate(self.statistics):
            for layer, (mean, variance) in enumerate(zip(each.means, each.variances, strict=True)):
                found[f"statistics/{index}/mean/{layer}"] = mean
                found[f"statistics/{index}/variance/{layer}"] = variance
            found[f"statistics/{index}/covariance"] = each.covariance
        return {**found, "golden/patch": self.golden.patch, "golden/response": self.golden.response}

    def check(self, network: Network | Ensemble, n_inputs: int, named: Mapping[str, Tensor]) -> None:
        """Raise a ValueError unless a file's tensors are all that such a network has, in shape and data type."""
        members = network.each() if isinstance(network, Ensemble) else [network]
        patch = self.golden.patch
        if patch.ndim != 3 or patch.shape[0] != n_inputs or not 0 < min(patch.shape) <= max(patch.shape[1:]) <= PATCH:
            raise ValueError("the network's file holds a golden patch of another kind than the network's images")
        single, double = torch.float32, torch.float64
        wanted = {f"weights/{name}": (single, tuple(each.shape)) for name, each in network.state_dict().items()}
        for index, member in enumerate(members):
            width = member.n_channels
            for layer in range(max(member.n_conv, 1)):
                wanted[f"statistics/{index}/mean/{layer}"] = double, (width,)
                wanted[f"statistics/{index}/variance/{layer}"] = double, (width,)
            wanted[f"statistics/{index}/covariance"] = double, (width, width)
        wanted["golden/patch"] = single, tuple(patch.shape)
        wanted["golden/response"] = single, (*patch.shape[1:], network.n_clusters)
        present = {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in named.items()}
        wrong = sorted(name for name in {*wanted, *present} if wanted.get(name) != present.get(name))
        if wrong:
            raise ValueError(f"the network's file holds {wrong[0]} otherwise than the network that it describes")
        if any(bool((variance < 0).any()) for each in self.statistics for variance in each.variances):
            raise ValueError("the network's file holds negative variances")


def check_golden(golden: Golden, predictor: Predictor | EnsemblePredictor) -> None:
    """Raise a ValueError where a network, on the CPU, no longer says of its golden patch what it said."""
    with computing(choose_device("cpu"), precision="float32"), torch.no_grad():
        response = response_to(predictor, golden.patch)
    off = float((response - golden.response).abs().max())
    if not off <= MOST_OFF:
        raise ValueError(
            f"the network says something else of its golden patch than when it was saved (by up to {off:.1g}); "
            "another version of PyTorch may compute otherwise"
        )


def n_weights(arguments: Mapping[str, Any]) -> int:
    """How many weights the networks have at least that these arguments describe."""
    n_inputs, width, n_clusters = (arguments[name] for name in ("n_inputs", "n_channels", "n_clusters"))
    total = 0
    for depth in depths_of(arguments["extractor"], arguments["n_conv"], arguments["factors"]):
        features = width if depth else N_FILTERS * n_inputs
        total += 9 * n_inputs * width * (depth > 0) + 9 * width**2 * max(depth - 1, 0) + features * n_clusters
        total += features**2  # of the statistics
    return total


def response_to(predictor: Predictor | EnsemblePredictor, patch: Tensor) -> Tensor:
    """What a network says of a small image of its own, (h, w, q)."""
    found: Tensor | None = None
    for block in predictor.blocks(Picture(patch)):
        if found is None:
            found = torch.empty(*patch.shape[1:], block.values.shape[-1])
        found[block.rows, block.columns] = block.values
    assert found is not None
    return found


def _one(named: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in named:
        raise ValueError(f"the network's file lacks {name}")
    return named[name]


def _below(named: Mapping[str, Tensor], folder: str) -> dict[str, Tensor]:
    return {name.removeprefix(f"{folder}/"): each for name, each in named.items() if name.startswith(f"{folder}/")}


def _statistics_of(named: Mapping[str, Tensor]) -> Statistics:
    layers = range(len(_below(named, "mean")))
    means, variances = (tuple(_one(named, f"{what}/{layer}") for layer in layers) for what in ("mean", "variance"))
    return Statistics(means, variances, _one(named, "covariance"))
