"""A trained network that is kept: it gives every image that follows the same classes."""

from __future__ import annotations

import math
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from napari_dfc import images, model_file
from napari_dfc.adaptation import settings_of_updates
from napari_dfc.devices import as_torch_device, choose_device, computing
from napari_dfc.ensemble import EnsemblePredictor, predictor_for
from napari_dfc.legend import Legend
from napari_dfc.memory import Plan, make_plan, prediction_plan
from napari_dfc.model_document import FORMAT, checked
from napari_dfc.model_tensors import PATCH, Golden, Tensors, check_golden, n_weights, response_to
from napari_dfc.network import Ensemble, Network
from napari_dfc.numbering import apply_numbers
from napari_dfc.prediction import Picture, Predictor, Statistics
from napari_dfc.result import KeptResponse, Segmentation, depths_of, network_for
from napari_dfc.scales import FILTER_RADIUS
from napari_dfc.series import check_adaptation, check_smoothing, predict_series
from napari_dfc.settings import Settings

__all__ = ["MOST_DRIFT", "Model", "load", "model_of", "versions"]

WhichStatistics = Literal["reference", "image"]

#: Classes that a network in words names, at most.
SHOWN = 6

#: `Segmentation.drift` above which a result says that it should not be trusted; see docs/benchmarks.md.
MOST_DRIFT = 0.1


@dataclass(frozen=True, eq=False)
class Model:
    """A trained network, with all it takes to use it again: `Segmentation.model` gives one.

    Parameters
    ----------
    legend : Legend
        Number, name and color of every class.
    settings : Settings
        What it was trained with.
    offset, scale : (C,) ndarray of float64
        The scaling of each channel of the references: ``(image - offset) / scale``.
    is_rgb : bool
        Whether the references are color images.
    numbers : tuple of int
        Of the class that each channel of the response stands for.
    edge_share : float
        Which share of its probabilities a pixel takes from the piece between edges around it.
    factors : tuple of int, or None
        The resolutions of several networks; None where there is one.
    weights : mapping of str to Tensor
    statistics : tuple of Statistics
        Of each network, over all references.
    golden : Golden
    iterations : int
        Updates that led to these weights.
    references : tuple of dict
        The name, digest (SHA-256), rows and columns of each reference image.
    versions : mapping of str to str
        The programs that it was trained with.
    pixel_size : tuple of float, optional
        Height and width of the references' pixels in micrometers, where it is known.
    file_digest : str
        SHA-256 of the file that it was read from; empty where it was not.

    Examples
    --------
    >>> import napari_dfc as dfc
    >>> from napari_dfc.samples import read_sample
    >>> sample = read_sample("stained_tissue")
    >>> reference = dfc.segment(sample.image, scribbles=sample.scribbles, preset="fast", max_iterations=5)
    >>> model = reference.model(names={1: "nucleus"})
    >>> model.legend[1].name, sorted(set(model.predict(sample.image).labels.flat))
    ('nucleus', [np.uint8(1), np.uint8(2), np.uint8(3)])
    """

    legend: Legend
    settings: Settings
    offset: NDArray[np.float64]
    scale: NDArray[np.float64]
    is_rgb: bool
    numbers: tuple[int, ...]
    edge_share: float
    factors: tuple[int, ...] | None
    weights: Mapping[str, Tensor]
    statistics: tuple[Statistics, ...]
    golden: Golden
    iterations: int
    references: tuple[Mapping[str, Any], ...]
    versions: Mapping[str, str]
    pixel_size: tuple[float, float] | None = None
    file_digest: str = ""

    def __repr__(self) -> str:
        names = [entry.name for entry in self.legend][:SHOWN] + ["..."] * (len(self.legend) > SHOWN)
        references = f"{len(self.references)} reference image{'s' * (len(self.references) != 1)}"
        return f"Model({len(self.legend)} classes: {', '.join(names)}; {references})"

    def named(self, names: Mapping[int, str]) -> Model:
        """The same network with other names for its classes, by number."""
        return replace(self, legend=self.legend.named(names), file_digest="")

    def colored(self, colors: Mapping[int, str]) -> Model:
        """The same network with other colors for its classes, ``#rrggbb`` by number."""
        return replace(self, legend=self.legend.colored(colors), file_digest="")

    def of_files(self, names: Sequence[str], pixel_size: tuple[float, float] | None) -> Model:
        """The same network with the names of its references, and the size of their pixels in micrometers."""
        references = tuple({**each, "name": name} for each, name in zip(self.references, names, strict=True))
        return replace(self, references=references, pixel_size=pixel_size, file_digest="")

    def predict(
        self,
        image: ArrayLike | tuple[ArrayLike, ...],
        *,
        mask: ArrayLike | None = None,
        channel_axis: int | None = None,
        statistics: WhichStatistics = "reference",
        device: str = "auto",
        threads: int = 0,
        name: str = "",
        cancelled: Callable[[], bool] = lambda: False,
    ) -> Segmentation:
        """Segment another image into the same classes, without training.

        Parameters
        ----------
        image, mask, channel_axis
            As in `napari_dfc.segment`; with as many channels as the references have.
        statistics : {"reference", "image"}
            "reference": brightness is scaled, and features are normalized, as in the references; a part of an image is
            segmented as in the whole. "image": by the image itself, as the published code does, which makes up for
            another exposure but gives every image the references' share of each class.
        device : str
            As the setting.
        threads : int
            As the setting.
        name : str
            What the record calls the image.
        cancelled : callable, optional
            Asked now and then; once it is true, `napari_dfc.cancellation.Cancelled` is raised.

        Returns
        -------
        Segmentation
            Its `drift` says how unlike the references the image is, and its `note` whether that is too much.

        Raises
        ------
        TypeError, ValueError
            As `napari_dfc.segment`; another number of channels than the references have.
        """
        response = self.respond(
            image,
            mask=mask,
            channel_axis=channel_axis,
            statistics=statistics,
            device=device,
            threads=threads,
            cancelled=cancelled,
        )
        return self.result_of(response, response.winners(), name)

    def predict_series(
        self, frames: Iterable[ArrayLike | tuple[ArrayLike, ...]], **options: Any
    ) -> Iterator[Segmentation]:
        """Segment a time series, a stack or a video, frame by frame; see `napari_dfc.series.predict_series`."""
        return predict_series(self, frames, **options)

    def plan(
        self,
        shape: tuple[int, int],
        *,
        smoothing: float = 0.0,
        adaptation: int = 0,
        device: str = "auto",
        threads: int = 0,
    ) -> Plan:
        """What `predict` of an image, or `predict_series` of images, will take.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns of an image.
        smoothing, adaptation, device, threads
            As in `predict_series`.

        Returns
        -------
        Plan
            With `adaptation`, as much as a frame takes that gets updates, and in which crops these are made.

        Raises
        ------
        ValueError
            As `predict_series`.

        Examples
        --------
        >>> import napari_dfc as dfc
        >>> from napari_dfc.samples import read_sample
        >>> sample = read_sample("stained_tissue")
        >>> model = dfc.segment(sample.image, scribbles=sample.scribbles, preset="fast", max_iterations=2).model()
        >>> model.plan((512, 512), adaptation=5).bytes > 5 * model.plan((512, 512)).bytes
        True
        """
        check_smoothing(smoothing)
        check_adaptation(adaptation)
        chosen, n_inputs, n_clusters = choose_device(device), len(self.offset), len(self.numbers)
        settings = settings_of_updates(self.settings.change(device=device, threads=threads), max(adaptation, 1))
        updates = None
        if adaptation:
            updates = make_plan(shape, n_inputs, settings, chosen, factors=self.factors, n_clusters=n_clusters)
        compared = bool(smoothing or adaptation)
        return prediction_plan(shape, n_inputs, n_clusters, self.edge_share, chosen, compared=compared, updates=updates)

    def respond(
        self,
        image: ArrayLike | tuple[ArrayLike, ...],
        *,
        mask: ArrayLike | None,
        channel_axis: int | None,
        statistics: WhichStatistics,
        device: str,
        threads: int,
        cancelled: Callable[[], bool] = lambda: False,
    ) -> KeptResponse:
        """What `predict` is to make a result of; parameters and errors as there."""
        if statistics not in get_args(WhichStatistics):
            raise ValueError(f'statistics is {statistics!r}; accepted are "reference" and "image"')
        settings = self.settings.change(device=device, threads=threads)
        fixed = statistics == "reference"
        constants = (self.offset, self.scale) if fixed else None
        plane = images.prepare(
            image, channel_axis=channel_axis, mask=mask, scaling=settings.input_scaling, constants=constants
        )
        if len(plane.values) != len(self.offset):
            raise ValueError(images.channels_differ(len(plane.values), len(self.offset)))
        # edges are sought as in the references, however the file is laid out
        plane = replace(plane, is_rgb=self.is_rgb)
        return KeptResponse(
            plane=plane,
            settings=settings,
            weights=self.weights,
            n_clusters=len(self.numbers),
            factors=self.factors,
            device=choose_device(device),
            known=plane.mask,
            edge_share=self.edge_share,
            statistics=self.statistics if fixed else None,
            cancelled=cancelled,
        )

    def result_of(self, response: KeptResponse, winners: NDArray[np.integer[Any]], name: str) -> Segmentation:
        """A result of the channels (H, W) that win at the pixels of what `respond` gave."""
        plane, settings, fixed = response.plane, response.settings, response.statistics is not None
        numbers = np.array(self.numbers, dtype=np.uint64)
        labels = apply_numbers(winners, numbers, plane.mask)
        drift = response.drift
        note = _warning(drift)
        n_labels = len(np.unique(labels[labels > 0]))
        return Segmentation(
            labels=labels,
            iterations=self.iterations,
            n_labels=n_labels,
            losses=np.zeros((0, 4)),
            label_counts=np.zeros(0, dtype=np.int64),
            settings=settings,
            device=response.device,
            plan=prediction_plan(plane.shape, len(plane.values), len(numbers), self.edge_share, response.device),
            ended="predicted by a trained network",
            note=note,
            record={
                "format": 1,
                "model": {"sha256": self.digest, "legend": self.legend.as_list()},
                "statistics": "reference" if fixed else "image",
                "settings": settings.as_dict(),
                "device": response.device.title,
                "versions": versions(),
                "image": {"name": name, "sha256": plane.sha256, "shape": list(plane.shape)},
                "drift": None if math.isnan(drift) else drift,
                "note": note,
                "strokes": [],
            },
            drift=drift,
            _response=response,
            _run_numbers=numbers,
            _numbers=numbers,
            _legend=self.legend,
        )

    def save(self, path: str | Path, *, overwrite: bool = False) -> None:
        """Write the network to a file, which is complete or absent.

        Parameters
        ----------
        path : str or Path
            Ends in ``.dfc.safetensors``.
        overwrite : bool
            Replace the file if it is there.

        Raises
        ------
        FileExistsError
            The file is there and `overwrite` is False.
        OSError
            The folder is missing, or there is no room.
        ValueError
            Another ending.
        """
        data = self.to_bytes()
        Model.from_bytes(data)  # nothing is kept that could not be loaded
        model_file.write(path, data, overwrite)

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its file, by which results name their network."""
        return self.file_digest or model_file.digest_of(self.to_bytes())

    def to_bytes(self) -> bytes:
        """What `save` writes."""
        document = {
            "format": FORMAT,
            "architecture": {"name": "dfc", "arguments": self._arguments()},
            "receptive_radius": self.receptive_radius,
            "channels": {"offset": self.offset.tolist(), "scale": self.scale.tolist(), "is_rgb": self.is_rgb},
            "classes": self.legend.as_list(),
            "channel_classes": list(self.numbers),
            "edge_share": self.edge_share,
            "settings": self.settings.as_dict(),
            "iterations": self.iterations,
            "references": [dict(each) for each in self.references],
            "pixel_size": None if self.pixel_size is None else list(self.pixel_size),
            "versions": dict(self.versions),
        }
        return model_file.pack(document, Tensors(self.weights, self.statistics, self.golden).named())

    @classmethod
    def from_bytes(cls, data: bytes) -> Model:
        """What `load` makes of a file's bytes; errors as there."""
        document, tensors = model_file.unpack(data)
        found = checked(document)
        arguments, settings = found["architecture"]["arguments"], found["settings"]
        if 4 * n_weights(arguments) > len(data):  # before networks of that size are made
            raise ValueError("the network's file holds fewer weights than the network that it describes has")
        kept = Tensors.of(tensors, len(arguments["factors"] or (1,)))
        model = cls(
            legend=found["classes"],
            settings=settings,
            offset=np.array(found["channels"]["offset"]),
            scale=np.array(found["channels"]["scale"]),
            is_rgb=found["channels"]["is_rgb"],
            numbers=found["channel_classes"],
            edge_share=found["edge_share"],
            factors=arguments["factors"],
            weights=kept.weights,
            statistics=kept.statistics,
            golden=kept.golden,
            iterations=found["iterations"],
            references=found["references"],
            versions=found["versions"],
            pixel_size=found["pixel_size"],
            file_digest=model_file.digest_of(data),
        )
        if model._arguments() != {**arguments, "factors": arguments["factors"] and list(arguments["factors"])}:
            raise ValueError("the network's file describes a network that does not go with its settings")
        n_networks = 0 if settings.extractor == "filters" else settings.n_networks
        if model.factors is not None and len(model.factors) != n_networks + (settings.extractor != "convolutions"):
            raise ValueError("the network's file describes a network that does not go with its settings")
        n_inputs, n_clusters = len(model.offset), len(model.numbers)
        kept.check(network_for(n_inputs, settings, n_clusters, model.factors), n_inputs, tensors)
        check_golden(model.golden, model.predictor())
        if found["receptive_radius"] != model.receptive_radius:
            raise ValueError("the network's file says that its network sees further, or less far, than it does")
        return model

    def _arguments(self) -> dict[str, Any]:
        """Of the architecture."""
        settings = self.settings
        return {
            "n_inputs": len(self.offset),
            "n_channels": settings.n_channels,
            "n_conv": settings.n_conv,
            "n_clusters": len(self.numbers),
            "padding": settings.padding,
            "extractor": settings.extractor,
            "factors": None if self.factors is None else list(self.factors),
        }

    @property
    def receptive_radius(self) -> int:
        """How many pixels away the farthest pixel lies that a pixel's response sees."""
        depths = depths_of(self.settings.extractor, self.settings.n_conv, self.factors)
        factors = self.factors or (1,)
        # a pixel's probabilities are interpolated between its own square and those beside it
        between = [factor + factor // 2 - 1 if factor > 1 else 0 for factor in factors]
        return max(
            (depth or FILTER_RADIUS) * factor + beside
            for depth, factor, beside in zip(depths, factors, between, strict=True)
        )

    def network(self) -> Network | Ensemble:
        """The network or networks with their weights, on the CPU."""
        found = network_for(len(self.offset), self.settings, len(self.numbers), self.factors)
        found.load_state_dict(dict(self.weights))
        return found

    def predictor(self, device: str = "cpu") -> Predictor | EnsemblePredictor:
        """The network with the references' statistics, on a device."""
        found = predictor_for(self.network().to(as_torch_device(choose_device(device))))
        found.use(self.statistics)
        return found


def model_of(
    response: KeptResponse, numbers: NDArray[np.uint64], record: Mapping[str, Any], iterations: int, legend: Legend
) -> Model:
    """What a finished run has learned.

    Parameters
    ----------
    response : KeptResponse
        Of a run whose channels stand for classes.
    numbers : (q,) ndarray of uint64
        Of the class that each channel stands for.
    record : mapping
        Of the run.
    iterations : int
    legend : Legend

    Returns
    -------
    Model
    """
    plane, settings = response.plane, response.settings
    weights = {name: weight.detach().cpu().contiguous() for name, weight in response.weights.items()}
    network = network_for(len(plane.values), settings, response.n_clusters, response.factors)
    network.load_state_dict(weights)
    predictor = predictor_for(network)
    rows, columns = (_middle(part) for part in plane.largest_part)
    patch = torch.from_numpy(np.ascontiguousarray(plane.values[:, rows, columns], dtype=np.float32))
    with computing(choose_device("cpu"), settings.threads, precision="float32"), torch.no_grad():
        # each reference by itself, as later images are: in training, several lie between masked pixels
        statistics = predictor.measure(*(_picture(plane, place) for place in plane.places))
        golden = Golden(patch, response_to(predictor, patch))
    name = str(record["image"]["name"])
    references = tuple(
        {"name": name, "sha256": digest, "shape": [rows.stop - rows.start, columns.stop - columns.start]}
        for digest, (rows, columns) in zip(plane.part_sha256 or (plane.sha256,), plane.places, strict=True)
    )
    return Model(
        legend=legend,
        settings=settings,
        offset=plane.offset,
        scale=plane.scale,
        is_rgb=plane.is_rgb,
        numbers=tuple(int(number) for number in numbers),
        edge_share=response.edge_share,
        factors=response.factors,
        weights=weights,
        statistics=statistics,
        golden=golden,
        iterations=iterations,
        references=references,
        versions=versions(),
    )


def load(path: str | Path) -> Model:
    """Read a network that `Model.save` wrote. Nothing in the file is executed.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    Model

    Raises
    ------
    OSError
        The file is not there, or cannot be read.
    ValueError
        It is damaged, no network's, of a newer version, or its network no longer says what it said when it was saved.
    """
    try:
        return Model.from_bytes(model_file.read(path))
    except ValueError as error:
        raise ValueError(f"{path} cannot be used: {error}") from error


def _picture(plane: images.Plane, place: tuple[slice, slice]) -> Picture:
    """One of a plane's images, without those beside it."""
    rows, columns = place
    values = torch.from_numpy(np.ascontiguousarray(plane.values[:, rows, columns]))
    mask = None if plane.mask is None else torch.from_numpy(plane.mask[place])
    return Picture(values, None if mask is None or bool(mask.all()) else mask)


def _middle(part: slice) -> slice:
    start = part.start + max(part.stop - part.start - PATCH, 0) // 2
    return slice(start, min(start + PATCH, part.stop))


def versions() -> dict[str, str]:
    """Of the programs that compute."""
    return {
        "napari-dfc": version("napari-dfc"),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }


def _warning(drift: float) -> str:
    if not drift > MOST_DRIFT:
        return ""
    return (
        f"this image is unlike the references (drift {drift:.2f}; up to {MOST_DRIFT:g} is usual): look at the result "
        'before you trust it. Where only the exposure is another, statistics="image" can help; else train on such an '
        "image too"
    )
