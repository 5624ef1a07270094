"""What is kept of a run: the labels, how they came about, and what it takes to compute their confidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_dfc import images
from napari_dfc.devices import Device, as_torch_device, computing
from napari_dfc.ensemble import predictor_for
from napari_dfc.memory import Plan
from napari_dfc.network import Ensemble, Network
from napari_dfc.numbering import apply_numbers, label_numbers
from napari_dfc.prediction import Picture
from napari_dfc.regions import Hierarchy
from napari_dfc.settings import Settings

__all__ = ["LOSS_NAMES", "REGION_LEVEL", "KeptHierarchy", "KeptResponse", "Segmentation", "network_for", "tensors_of"]

#: Level of a hierarchy at which it is cut for ``region_scale=1``; measured in docs/benchmarks.md.
REGION_LEVEL = 0.04

#: Columns of `Segmentation.losses`.
LOSS_NAMES = ("similarity", "continuity", "scribble", "total")


@dataclass(frozen=True, eq=False)
class Segmentation:
    """A segmented image, and how it came about.

    Parameters
    ----------
    labels : (H, W) ndarray of unsigned integers
        Positive, 0 only where masked, or where a run with crops was stopped before it; in the smallest data type that
        holds the numbers. A scribbled class keeps its value, the other clusters have the smallest unused integers by
        falling area.
    iterations : int
        Updates of the network before this map; of regions, of all networks together.
    n_labels : int
        Different positive numbers in `labels`.
    losses : (iterations + 1, 4) ndarray of float64
        The losses of every iteration up to this map, the untrained network's first; columns as in `LOSS_NAMES`.
    label_counts : (iterations + 1,) ndarray of int64
        The number of labels in the map of every iteration up to this one.
    settings : Settings
        What the run was asked for.
    device : Device
        Where it was computed, and why there.
    plan : Plan
        How much memory it took, and in which crops.
    ended : str
        Why the run ended, in words.
    note : str
        What the user should know about this result; usually empty.
    record : dict
        Everything needed to run it again on the same image: settings, threads, versions, the image's digest, strokes.
        Plain values, ready for JSON.
    """

    labels: NDArray[np.unsignedinteger[Any]]
    iterations: int
    n_labels: int
    losses: NDArray[np.float64]
    label_counts: NDArray[np.int64]
    settings: Settings
    device: Device
    plan: Plan
    ended: str
    note: str
    record: Mapping[str, Any]
    _response: KeptResponse | KeptHierarchy = field(repr=False)
    _run_numbers: NDArray[np.uint64] = field(repr=False)
    _numbers: NDArray[np.uint64] = field(repr=False)

    def __repr__(self) -> str:
        rows, columns = self.labels.shape
        return f"Segmentation({columns} x {rows} pixels, {self.n_labels} labels, {self.iterations} iterations)"

    @property
    def numbers_during_run(self) -> dict[int, int]:
        """For every number in `labels`, the one that the same cluster had in the previews; empty for regions."""
        pairs = zip(self._numbers.tolist(), self._run_numbers.tolist(), strict=True)
        present = set(np.unique(self.labels).tolist())
        return {final: during for final, during in pairs if final in present}

    @property
    def confidence(self) -> NDArray[np.float32]:
        """Softmax of the winning channel, (H, W) float32 in 0 to 1; NaN where there is no label.

        Of regions, how far a pixel's region stands out from its neighbors: 1 less the ratio of the cost at which
        merging ended to that at which the region would merge next.

        Computed from the kept network when first asked for.
        """
        return self._probabilities[0]

    @property
    def margin(self) -> NDArray[np.float32]:
        """How far the winning channel's softmax lies above the second's, (H, W) float32 in 0 to 1; NaN without a label.

        Of regions, the same as `confidence`.

        Computed from the kept network when first asked for.
        """
        return self._probabilities[1]

    def regions_at(self, scale: float) -> NDArray[np.unsignedinteger[Any]]:
        """Fewer or more regions, without another run.

        Parameters
        ----------
        scale : float
            In place of ``settings.region_scale``.

        Returns
        -------
        (H, W) ndarray of unsigned integers
            Numbered as `labels` are; with the scale of the run, the same as these.

        Raises
        ------
        ValueError
            A negative scale, or a result that has clusters and no regions.

        Examples
        --------
        >>> import napari_dfc as dfc
        >>> from napari_dfc.samples import read_sample
        >>> image = read_sample("stained_tissue").image[:64, :64]
        >>> result = dfc.segment(image, preset="fast", split_into="regions")
        >>> bool(result.regions_at(8.0).max() < result.labels.max())
        True
        """
        if not isinstance(self._response, KeptHierarchy):
            raise ValueError('this result has clusters; regions come from segment(..., split_into="regions")')
        if not scale >= 0:
            raise ValueError(f"scale is {scale}; accepted is a number from 0")
        return self._response.labels(scale)

    @cached_property
    def _probabilities(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        return self._response.probabilities()


@dataclass(frozen=True, eq=False)
class KeptResponse:
    """What it takes to compute a kept map's response once more: small, unlike the response itself."""

    plane: images.Plane
    settings: Settings
    weights: Mapping[str, Tensor]
    n_clusters: int
    factors: tuple[int, ...]
    device: Device
    known: NDArray[np.bool_] | None

    def probabilities(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Softmax of the winning channel, and its distance to the second."""
        image, mask = tensors_of(self.plane, self.device)
        network = network_for(self.plane, self.settings, self.n_clusters, self.factors)
        network.to(image.device, image.dtype)
        network.load_state_dict(dict(self.weights))
        picture, predictor = Picture(image, mask), predictor_for(network)
        first, margin = (np.empty(self.plane.shape, dtype=np.float32) for _ in range(2))
        settings = self.settings
        with (
            computing(self.device, settings.threads, settings.repeatable, precision=settings.precision),
            torch.no_grad(),
        ):
            predictor.measure(picture)
            for block in predictor.blocks(picture):
                shares = block.values.softmax(-1)
                best = shares.topk(min(2, self.n_clusters), -1).values.cpu().numpy()  # (h, w, 2)
                first[block.rows, block.columns] = best[..., 0]
                margin[block.rows, block.columns] = best[..., 0] - (best[..., 1] if best.shape[-1] == 2 else 0)
        if self.known is not None:
            first[~self.known] = margin[~self.known] = np.nan
        return first, margin


@dataclass(frozen=True, eq=False)
class KeptHierarchy:
    """Regions, and how they would merge further."""

    hierarchy: Hierarchy
    mask: NDArray[np.bool_] | None
    scale: float

    def labels(self, scale: float) -> NDArray[np.unsignedinteger[Any]]:
        """The regions at a scale, numbered by falling area, (H, W)."""
        regions = self.hierarchy.cut(REGION_LEVEL * scale) - 1  # -1 where masked
        inside = regions if self.mask is None else regions[self.mask]
        return apply_numbers(regions, label_numbers(np.bincount(inside.ravel())), self.mask)

    def probabilities(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """How distinct each region is, twice: there is no second channel."""
        distinctness = self.hierarchy.distinctness(REGION_LEVEL * self.scale)
        return distinctness, distinctness


def network_for(
    plane: images.Plane, settings: Settings, n_clusters: int, factors: tuple[int, ...]
) -> Network | Ensemble:
    """The network that a plane and the settings ask for, or several, without their first weights."""
    members = [
        Network(len(plane.values), settings.n_channels, settings.n_conv, settings.padding, n_clusters) for _ in factors
    ]
    return members[0] if factors == (1,) else Ensemble(members, factors)


def tensors_of(plane: images.Plane, device: Device) -> tuple[Tensor, Tensor | None]:
    """A plane's channels (C, H, W) and its mask (H, W), on a device."""
    target = as_torch_device(device)
    image = torch.from_numpy(plane.values).to(target)
    return image, None if plane.mask is None else torch.from_numpy(plane.mask).to(target)
