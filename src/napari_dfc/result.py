"""What is kept of a run: the labels, how they came about, and what it takes to compute their confidence."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from napari_dfc import images
from napari_dfc.basins import basins_of, means_over
from napari_dfc.cancellation import Cancelled
from napari_dfc.contrast import contrast_of
from napari_dfc.devices import Device, as_torch_device, computing
from napari_dfc.ensemble import predictor_for
from napari_dfc.history import History, KeptMap, history_of_maps, history_of_pieces
from napari_dfc.legend import Legend
from napari_dfc.memory import Plan
from napari_dfc.network import Ensemble, Network
from napari_dfc.pieces import KeptPieces
from napari_dfc.prediction import Features, Picture, Statistics
from napari_dfc.settings import Settings
from napari_dfc.uncertainty import Spot, uncertain_spots

if TYPE_CHECKING:
    from napari_dfc.model import Model

__all__ = [
    "LOSS_NAMES",
    "KeptProbabilities",
    "KeptResponse",
    "Segmentation",
    "best_of",
    "depths_of",
    "network_for",
    "tensors_of",
]

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
        Updates of the network before this map; of regions and groups, of all networks together; of a prediction, those
        that trained the network.
    n_labels : int
        Different positive numbers in `labels`.
    losses : (iterations + 1, 4) ndarray of float64
        The losses of every iteration up to this map, the untrained network's first; columns as in `LOSS_NAMES`. A
        prediction has none.
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
    drift : float
        Of a prediction, how little its features have in common with those of the references: from 0, the same, to 1,
        nothing. NaN where it was not predicted by fixed statistics.
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
    _response: KeptResponse | KeptPieces | KeptProbabilities = field(repr=False)
    _run_numbers: NDArray[np.uint64] = field(repr=False)
    _numbers: NDArray[np.uint64] = field(repr=False)
    drift: float = math.nan
    _legend: Legend | None = field(default=None, repr=False)
    _to_model: Callable[[Mapping[int, str]], Model] | None = field(default=None, repr=False)
    _maps: Mapping[int, KeptMap] = field(default_factory=dict, repr=False)
    _n_classes: int = field(default=0, repr=False)
    _window: images.Window | None = field(default=None, repr=False)  # the part that was looked at

    def __repr__(self) -> str:
        rows, columns = self.labels.shape
        return f"Segmentation({columns} x {rows} pixels, {self.n_labels} labels, {self.iterations} iterations)"

    @cached_property
    def numbers_during_run(self) -> dict[int, int]:
        """For every number in `labels`, the one that the cluster had in the previews; empty for groups and regions."""
        pairs = zip(self._numbers.tolist(), self._run_numbers.tolist(), strict=True)
        present = set(np.unique(self.labels).tolist())
        return {final: during for final, during in pairs if final in present}

    @property
    def confidence(self) -> NDArray[np.float32]:
        """Softmax of the winning channel, (H, W) float32 in 0 to 1; NaN where there is no label.

        With strokes of two classes or more, averaged over the networks and, by ``settings.edge_share``, over the small
        piece between edges around each pixel.

        Of regions and groups, how far a pixel's own stands out from the others: 1 less the ratio of the cost at which
        merging ended to that at which it would merge next.

        Computed from the kept network when first asked for.
        """
        return self._probabilities[0]

    @property
    def margin(self) -> NDArray[np.float32]:
        """How far the winning channel's softmax lies above the second's, (H, W) float32 in 0 to 1; NaN without a label.

        Of regions and groups, the same as `confidence`.

        Computed from the kept network when first asked for.
        """
        return self._probabilities[1]

    @cached_property
    def legend(self) -> Legend:
        """Number, name and color of every class; of a run, "class 1" and so on."""
        return self._legend or Legend.of(np.unique(self.labels[self.labels > 0]).tolist())

    @cached_property
    def history(self) -> History:
        """The label map at each label count: fewer or more labels, without another run.

        Of clusters, the last map at each count that the run passed; of groups and regions, what their hierarchy gives.
        A cluster or group keeps its number. Painted classes alone, and predictions, have the count of `labels`.

        Examples
        --------
        >>> import napari_dfc as dfc
        >>> from napari_dfc.samples import read_sample
        >>> image = read_sample("stained_tissue").image[:64, :64]
        >>> result = dfc.segment(image, preset="fast", n_groups=3)
        >>> result.history.counts[:5], bool((result.history.at(3) == result.labels).all())
        ((1, 2, 3, 4, 5), True)
        """
        kept, window = self._response, self._window
        labels = self.labels if window is None else window.cut(self.labels)
        if isinstance(kept, KeptPieces):
            by_groups = kept.settings.split_into == "groups"
            found = history_of_pieces(kept.groups if by_groups else kept.regions, labels, every_count=by_groups)
        else:
            numbers = (self._numbers, self._run_numbers)
            found = history_of_maps(labels, self.iterations, self._maps, *numbers, self._n_classes)
        return found if window is None else found.drawn_by(lambda count: window.put(found.at(count)))

    def with_count(self, count: int) -> Segmentation:
        """The same result with the map of another label count.

        Parameters
        ----------
        count : int
            One of ``history.counts``.

        Returns
        -------
        Segmentation
            Whose record says so.

        Raises
        ------
        ValueError
            Another count.

        Examples
        --------
        >>> import napari_dfc as dfc
        >>> from napari_dfc.samples import read_sample
        >>> result = dfc.segment(read_sample("stained_tissue").image[:64, :64], preset="fast", n_groups=3)
        >>> result.with_count(7).labels.max()
        np.uint8(7)
        """
        outcome = {**self.record["result"], "shown": int(count)}
        found = replace(
            self,
            labels=self.history.at(count),
            n_labels=int(count),
            record={**self.record, "result": outcome},
        )
        found.__dict__["history"] = self.history  # numbers are those of the run's own map
        return found

    def model(self, names: Mapping[int, str] | None = None) -> Model:
        """Keep what this run has learned, to give other images the same classes.

        Groups were not made by one network: one is trained to tell them apart, which takes as long as a run with
        strokes.

        Parameters
        ----------
        names : mapping of int to str, optional
            What the classes are called, by number.

        Returns
        -------
        Model

        Raises
        ------
        ValueError
            Regions, which are no classes; a prediction, whose network is kept already; a number that is not there, or a
            name used twice.
        """
        if self._to_model is None:
            raise ValueError("this result was predicted by a network that is kept already")
        return self._to_model(names or {})

    def uncertain_spots(self, *, most: int = 20, painted: ArrayLike | None = None) -> list[Spot]:
        """The regions in which one more stroke is likely to change most, by falling number of pixels.

        Parameters
        ----------
        most : int
            How many there are at most; from 1.
        painted : (H, W) array, optional
            Nonzero where a stroke is painted already.

        Returns
        -------
        list of Spot

        Raises
        ------
        ValueError
            An array of another shape, or `most` below 1.

        See Also
        --------
        napari_dfc.uncertainty.uncertain_spots : How they are found.
        """
        return uncertain_spots(self.margin, self.labels, most=most, painted=painted)

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
            A negative scale, or a result that has clusters or painted classes and no regions.

        Examples
        --------
        >>> import napari_dfc as dfc
        >>> from napari_dfc.samples import read_sample
        >>> image = read_sample("stained_tissue").image[:64, :64]
        >>> result = dfc.segment(image, preset="fast", split_into="regions")
        >>> bool(result.regions_at(8.0).max() < result.labels.max())
        True
        """
        if not scale >= 0:
            raise ValueError(f"scale is {scale}; accepted is a number from 0")
        return self._in_place(self._pieces.regions_at(scale))

    def groups_at(self, n_groups: int) -> NDArray[np.unsignedinteger[Any]]:
        """Fewer or more groups, without another run.

        Parameters
        ----------
        n_groups : int
            In place of ``settings.n_groups``; from 1.

        Returns
        -------
        (H, W) ndarray of unsigned integers
            Numbered as `labels` are; with the number of the run, the same as these. Each group of a larger number lies
            in one of a smaller.

        Raises
        ------
        ValueError
            No whole number, one below 1, or a result that has clusters or painted classes and no groups.

        Examples
        --------
        >>> import napari_dfc as dfc
        >>> from napari_dfc.samples import read_sample
        >>> image = read_sample("stained_tissue").image[:64, :64]
        >>> result = dfc.segment(image, preset="fast", split_into="groups", n_groups=3)
        >>> result.labels.max(), result.groups_at(7).max()
        (np.uint8(3), np.uint8(7))
        """
        whole = isinstance(n_groups, int | np.integer) and not isinstance(n_groups, bool)
        if not whole or n_groups < 1:
            raise ValueError(f"n_groups is {n_groups}; accepted is a whole number from 1")
        return self._in_place(self._pieces.groups_at(int(n_groups)))

    @property
    def _pieces(self) -> KeptPieces:
        if not isinstance(self._response, KeptPieces):
            what = "the painted classes" if self.record["strokes"] else "clusters"
            raise ValueError(
                f"this result has {what} alone; for groups and regions, run again without strokes and with split_into "
                '"groups" or "regions"'
            )
        return self._response

    @cached_property
    def _probabilities(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        first, margin = self._response.probabilities()
        return self._in_place(first, np.nan), self._in_place(margin, np.nan)

    def _in_place(self, values: NDArray[Any], outside: float = 0) -> NDArray[Any]:
        """A map of what was looked at, as one of the whole image."""
        return values if self._window is None else self._window.put(values, outside)


class KeptProbabilities(NamedTuple):
    """Confidence and margin of a result whose network alone would not give them again."""

    first: NDArray[np.float32]
    margin: NDArray[np.float32]

    def probabilities(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """As `KeptResponse.probabilities`."""
        return self.first, self.margin


def _never() -> bool:
    return False


@dataclass(frozen=True, eq=False)
class KeptResponse:
    """What it takes to compute a kept map's response once more: small, unlike the response itself."""

    plane: images.Plane
    settings: Settings
    weights: Mapping[str, Tensor]
    n_clusters: int
    factors: tuple[int, ...] | None
    device: Device
    known: NDArray[np.bool_] | None
    edge_share: float
    statistics: tuple[Statistics, ...] | None = None  # of each network; by default those of this image

    cancelled: Callable[[], bool] = _never
    # once the blocks have gone over the whole image
    _drift: list[float] = field(default_factory=list, repr=False)
    _features: list[Features] = field(default_factory=list, repr=False)

    def winners(self) -> NDArray[np.integer[Any]]:
        """The channel that wins at each pixel, (H, W).

        Raises
        ------
        Cancelled
            Nobody waits any more.
        """
        if self.edge_share:
            return self._at_edges[0]
        found = np.empty(self.plane.shape, dtype=np.int64)
        for rows, columns, shares in self._blocks():
            found[rows, columns] = shares.argmax(-1)
        return found

    def probabilities(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Probability of the winning channel, and its distance to the second."""
        if self.edge_share:
            return self._at_edges[1:]
        first, margin = (np.empty(self.plane.shape, dtype=np.float32) for _ in range(2))
        for rows, columns, shares in self._blocks():
            first[rows, columns], margin[rows, columns] = best_of(shares)
        if self.known is not None:
            first[~self.known] = margin[~self.known] = np.nan
        return first, margin

    def shares(self) -> NDArray[np.float32]:
        """The probability of every channel at each pixel, (H, W, q); of no use where nothing is known.

        Raises
        ------
        Cancelled
            Nobody waits any more.
        """
        shares = np.empty((*self.plane.shape, self.n_clusters), dtype=np.float32)
        for rows, columns, values in self._blocks():
            shares[rows, columns] = values
        if not self.edge_share:
            return shares
        contrast = contrast_of(self.plane)
        if self.cancelled():
            raise Cancelled
        basins = basins_of(contrast, self.plane.mask, most=np.inf)
        inside = slice(None) if self.known is None else self.known
        for channel in np.moveaxis(shares, -1, 0):
            means = means_over(basins, channel[None])[:, 0]
            channel[inside] += self.edge_share * (means[basins[inside] - 1] - channel[inside])
        return shares

    @cached_property
    def _at_edges(self) -> tuple[NDArray[np.integer[Any]], NDArray[np.float32], NDArray[np.float32]]:
        """Winning channel, its probability and distance, where each pixel takes `edge_share` from its basin."""
        shares = self.shares()
        return shares.argmax(-1), *best_of(shares, self.known)

    @property
    def drift(self) -> float:
        """How unlike the references the image is, see `Predictor.drift`; NaN where statistics are the image's own.

        Found on the way to the winning channels or their probabilities.
        """
        if self.statistics is None:
            return math.nan
        if not self._drift:
            for _ in self._blocks():
                pass
        return self._drift[0]

    @property
    def features(self) -> tuple[Features, ...]:
        """How the features of each network are spread over the image; found on the way, as `drift`."""
        if not self._features:
            for _ in self._blocks():
                pass
        return tuple(self._features)

    def not_to_be_cancelled(self) -> KeptResponse:
        """The same with what it has found, which keeps nothing of the run that it comes from."""
        kept = replace(self, cancelled=_never)
        if "_at_edges" in vars(self):
            vars(kept)["_at_edges"] = self._at_edges
        return kept

    def adapted(self, weights: Mapping[str, Tensor], statistics: tuple[Statistics, ...] | None) -> KeptResponse:
        """The response to the same image with other weights and statistics."""
        return replace(self, weights=weights, statistics=statistics, _drift=[], _features=[])

    def _blocks(self) -> Iterator[tuple[slice, slice, NDArray[np.float32]]]:
        """Rows, columns and softmax of every block of the image."""
        image, mask = tensors_of(self.plane, self.device)
        network = network_for(len(self.plane.values), self.settings, self.n_clusters, self.factors)
        network.to(image.device, image.dtype)
        network.load_state_dict(dict(self.weights))
        picture, predictor = Picture(image, mask), predictor_for(network, self.cancelled)
        settings = self.settings
        with (
            computing(self.device, settings.threads, settings.repeatable, precision=settings.precision),
            torch.no_grad(),
        ):
            if self.statistics is None:
                measured = predictor.measure(picture)
                self._features[:] = [Features(each.means[-1], each.variances[-1]) for each in measured]
            else:
                predictor.use(self.statistics)
            seen = None if self.statistics is None else predictor.watch()
            for block in predictor.blocks(picture, seen):
                yield block.rows, block.columns, block.values.softmax(-1).cpu().numpy()
            if seen is not None:
                self._drift[:] = [predictor.drift(seen)]
                self._features[:] = [Features(each.mean, each.variance) for each in seen]


def best_of(
    shares: NDArray[np.float32], known: NDArray[np.bool_] | None = None
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The largest of all channels (H, W, q) and its distance to the second; NaN where nothing is known."""
    best = np.partition(shares, -2, axis=-1)[..., -2:] if shares.shape[-1] > 1 else shares
    first = best[..., -1].copy()
    margin = first - best[..., 0] if shares.shape[-1] > 1 else first.copy()
    if known is not None:
        first[~known] = margin[~known] = np.nan
    return first, margin


def depths_of(extractor: str, n_conv: int, factors: tuple[int, ...] | None) -> list[int]:
    """Convolutions of each network; 0 for that of fixed filters, which is the last of several."""
    if factors is None:
        return [0 if extractor == "filters" else n_conv]
    has_filters = extractor != "convolutions"
    return [n_conv] * (len(factors) - has_filters) + [0] * has_filters


def network_for(
    n_inputs: int, settings: Settings, n_clusters: int, factors: tuple[int, ...] | None
) -> Network | Ensemble:
    """The network that an image and the settings ask for, or several, without their first weights.

    Parameters
    ----------
    n_inputs : int
        Channels of the image.
    settings : Settings
    n_clusters : int
        Channels of the response.
    factors : tuple of int, or None
        For painted classes, the resolutions of the networks; see `wanted_factors`. None where there is one network.
    """
    kind: dict[str, Any] = {"padding": settings.padding, "n_clusters": n_clusters}
    if factors is None:
        (depth,) = depths_of(settings.extractor, settings.n_conv, factors)
        return Network(n_inputs, settings.n_channels, depth, **kind)
    depths = depths_of(settings.extractor, settings.n_conv, factors)
    n_learned = sum(depth > 0 for depth in depths)
    # of one channel, fixed filters see as much as learned ones: measured in docs/benchmarks.md
    of_filters = max(n_learned, 1) if n_inputs == 1 else 1
    counts = [1 if depth else of_filters for depth in depths]
    members = [Network(n_inputs, settings.n_channels, depth, **kind) for depth in depths]
    return Ensemble(members, factors, tuple(count / sum(counts) for count in counts))


def tensors_of(plane: images.Plane, device: Device) -> tuple[Tensor, Tensor | None]:
    """A plane's channels (C, H, W) and its mask (H, W), on a device."""
    target = as_torch_device(device)
    image = torch.from_numpy(plane.values).to(target)
    return image, None if plane.mask is None else torch.from_numpy(plane.mask).to(target)
