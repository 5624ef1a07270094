"""What a run takes from a viewer: planes of image layers, and the strokes on them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image
from numpy.typing import NDArray

from napari_dfc.devices import Device, choose_device, load_torch, torch_is_loaded
from napari_dfc.gui.alignment import aligned_index, scribble_plane, strokes_over
from napari_dfc.gui.colors import default_colors
from napari_dfc.gui.layers import ImagePlane
from napari_dfc.gui.placement import level_data
from napari_dfc.gui.region import region_mask
from napari_dfc.images import Window, prepare_part
from napari_dfc.memory import Plan, make_plan, wanted_factors
from napari_dfc.records import mask_of, settings_of, stopped_after
from napari_dfc.references import mosaic_places
from napari_dfc.scribbles import pack, prepare
from napari_dfc.settings import Settings

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Labels, Shapes

    from napari_dfc.result import Segmentation
    from napari_dfc.segmentation import Run

__all__ = ["RunInputs", "TrainingInputs", "gather", "inputs_of_record", "source_of"]

#: Painted classes that a record may hold: more than a network has channels.
MOST_CLASSES = 100_000


@dataclass(frozen=True)
class RunInputs:
    """What a run takes from a viewer, gathered on the main thread; image data are neither read nor copied yet.

    Parameters
    ----------
    plane : ImagePlane
    images : tuple of (array, index)
        Data of the plane's layer and of further images whose channels join it, each with what to index it with.
    names : tuple of str
        The names of the layers they come from.
    strokes : (H, W) ndarray, or None
    stroke_layer : napari.layers.Labels, or None
        Where the strokes come from, for their colors.
    record : mapping, optional
        Of a run that is to be made once more.
    levels : mapping of str to int
        Of those layers that have several levels, by name, the level that the data are of.
    mask : (H, W) ndarray of bool, or None
        The pixels within the region of interest, where there is one.
    others : tuple of napari.layers.Image
        Those of the further images.
    """

    plane: ImagePlane
    images: tuple[tuple[Any, tuple[int | slice, ...]], ...]
    names: tuple[str, ...]
    strokes: NDArray[Any] | None = None
    stroke_layer: Labels | None = None
    record: Mapping[str, Any] | None = None
    levels: Mapping[str, int] = field(default_factory=dict)
    mask: NDArray[np.bool_] | None = None
    others: tuple[Image, ...] = ()

    doing = "Segmenting"
    suffix = "segmentation"

    @property
    def planes(self) -> tuple[ImagePlane, ...]:
        """The plane, in a tuple."""
        return (self.plane,)

    def each(self) -> tuple[RunInputs, ...]:
        """Of one image, itself."""
        return (self,)

    @property
    def is_there(self) -> bool:
        """Whether the layer still holds the image that was taken from it."""
        layer = self.plane.layer
        levels = layer.data if layer.multiscale else [layer.data]
        return layer.ndim == len(self.plane.lengths) and any(level is self.images[0][0] for level in levels)

    @property
    def is_partial(self) -> bool:
        """Whether no more than a part of the plane is segmented."""
        return self.plane.window is not None or self.mask is not None

    @property
    def has_strokes(self) -> bool:
        """Whether classes are painted at the start."""
        if self.record is not None:
            return any(each["iteration"] == 0 for each in self.record["strokes"])
        return self.strokes is not None

    @property
    def stop_after(self) -> int | None:
        """The iteration after which the run is to be stopped, as it was before."""
        return None if self.record is None else stopped_after(self.record)

    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The image data, read now; of those with a region of interest, the rectangle around it."""
        window = None if self.mask is None else Window.around(self.mask)
        return tuple(np.asarray(data[index if window is None else _part(index, window)]) for data, index in self.images)

    @property
    def n_channels(self) -> int:
        """Channels of all the images together; alpha is none."""
        return sum(3 if np.ndim(data) > len(index) else 1 for data, index in self.images)

    def plan(self, settings: Settings, window: Window | None = None) -> Plan:
        """What a run will need, of no more than a window where there is one.

        Works without PyTorch; before that is loaded, as if on the CPU.
        """
        shape = self.plane.shape if window is None else window.cut(np.broadcast_to(True, self.plane.shape)).shape
        return _plan(shape, shape, self.n_channels, settings, self.has_strokes)

    def prepare(self, settings: Settings) -> Run:
        """Load PyTorch, read the image data and check everything; errors as in `napari_dfc.segment`."""
        load_torch()
        from napari_dfc.replay import replayed_run
        from napari_dfc.segmentation import Run

        image: Any = self.arrays()
        if self.mask is not None:
            kept = settings if self.record is None else settings_of(self.record)
            image = prepare_part(image, self.mask, kept.input_scaling)
        if self.record is not None:
            return replayed_run(self.record, image, mask=self.mask, spare_a_core=True)
        name = self.names[0]
        return Run(image, scribbles=self.strokes, mask=self.mask, settings=settings, name=name, spare_a_core=True)

    def colors(self, during: Mapping[int, int]) -> dict[int, Any]:
        """Colors by which each cluster keeps the look it had: its number is mapped to the one during the run."""
        if not during:
            return {}
        return dict(zip(during, default_colors(list(during.values()), self.stroke_layer), strict=True))

    def metadata(self, result: Segmentation) -> tuple[dict[str, Any]]:
        """The result's record, with where in the layers the image came from; one, in a tuple."""
        return ({**result.record, "source": source_of(self.names, self.plane)},)


def source_of(names: Sequence[str], plane: ImagePlane) -> dict[str, Any]:
    """Where in the layers of these names an image came from, in plain values."""
    found = {
        "layers": list(names),
        "axes": list(plane.axes),
        "position": {str(axis): index for axis, index in plane.position.items()},
        "channel_axis": plane.channel_axis,
        "level": plane.level,
    }
    return found if plane.window is None else {**found, "window": plane.window.as_list()}


def _part(index: tuple[int | slice, ...], window: Window) -> tuple[int | slice, ...]:
    """What to index with to get the window of what an index gives."""
    parts = iter((window.rows, window.columns))
    found: list[int | slice] = []
    for place in index:
        if isinstance(place, slice):
            part, first = next(parts), place.start or 0
            place = slice(first + part.start, first + part.stop)
        found.append(place)
    return tuple(found)


def gather(
    plane: ImagePlane,
    scribbles: Labels | None = None,
    others: Sequence[Image] = (),
    point: Sequence[float] = (),
    *,
    within: Labels | Shapes | None = None,
    may_be_empty: bool = False,
) -> RunInputs:
    """Take from layers what a run needs.

    Parameters
    ----------
    plane : ImagePlane
    scribbles : napari.layers.Labels, optional
    others : sequence of napari.layers.Image
        Further images whose channels join the plane's.
    point : sequence of float
        World coordinates of the viewer's sliders.
    within : napari.layers.Labels or Shapes, optional
        What holds the region of interest; see `region_mask`.
    may_be_empty : bool
        Whether nothing need be painted yet.

    Returns
    -------
    RunInputs

    Raises
    ------
    ValueError
        Strokes or further images that do not lie on the plane, strokes without paint, or a region without a pixel.
    """
    levels = {other: plane.level if other.multiscale and plane.level < len(other.data) else 0 for other in others}
    images = [(plane.data, index) for index in plane.indices]
    for other, level in levels.items():
        images.append((level_data(other, level), aligned_index(other, plane, point, level)))
    levels[plane.layer] = plane.level
    return RunInputs(
        plane=plane,
        images=tuple(images),
        names=tuple(layer.name for layer in (plane.layer, *others)),
        strokes=None if scribbles is None else _painted(scribbles, plane, point, may_be_empty),
        stroke_layer=scribbles,
        levels={layer.name: level for layer, level in levels.items() if layer.multiscale},
        mask=None if within is None else region_mask(within, plane, point),
        others=tuple(others),
    )


def _painted(scribbles: Labels, plane: ImagePlane, point: Sequence[float], may_be_empty: bool) -> NDArray[Any] | None:
    if may_be_empty:
        painted = strokes_over(scribbles, plane, point)
        return painted if painted.any() else None
    return scribble_plane(scribbles, plane, point)


def inputs_of_record(viewer: ViewerModel, record: Mapping[str, Any], result: Labels) -> RunInputs:
    """What the run of a result layer took, from the layers that still have the names they had.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
    record : mapping
        That the layer keeps.
    result : napari.layers.Labels
        The layer, for the colors of painted classes.

    Returns
    -------
    RunInputs

    Raises
    ------
    ValueError
        A layer that is gone.
    """
    source = record["source"]
    layers, there = [], {layer.name: layer for layer in viewer.layers}
    for name in source["layers"]:
        found = there.get(name)
        if not isinstance(found, Image):
            raise ValueError(f"its image was in a layer called “{name}”, which is not there; open it under that name")
        layers.append(found)
    rows, columns = source["axes"]
    position = {int(axis): index for axis, index in source["position"].items()}
    if max(rows, columns, *position, source["channel_axis"] or 0) >= layers[0].ndim:
        raise ValueError(f"“{layers[0].name}” has other axes than the image that was segmented")
    level = source.get("level", 0)
    if level and not (layers[0].multiscale and level < len(layers[0].data)):
        raise ValueError(f"“{layers[0].name}” has no such level of resolution as the one that was segmented")
    plane = ImagePlane(layers[0], (rows, columns), position, source["channel_axis"], level)
    if "window" in source:
        window = Window.of_list(source["window"])
        if window.shape != plane.shape:
            raise ValueError(f"“{layers[0].name}” has another size than the image that was segmented")
        plane = replace(plane, window=window)
    found = gather(plane, None, layers[1:], viewer.dims.point)
    strokes = result if record["strokes"] else None
    return replace(found, record=record, stroke_layer=strokes, mask=mask_of(record))


@dataclass(frozen=True)
class TrainingInputs:
    """What training on several references takes from a viewer.

    Parameters
    ----------
    references : tuple of RunInputs
        One or more, with strokes or without.
    """

    references: tuple[RunInputs, ...]

    doing = "Training on"
    suffix = "classes"

    @property
    def planes(self) -> tuple[ImagePlane, ...]:
        """Of the references."""
        return tuple(each.plane for each in self.references)

    @property
    def names(self) -> tuple[str, ...]:
        """Of the references' layers; of one with several, of the first."""
        return tuple(each.names[0] for each in self.references)

    def each(self) -> tuple[RunInputs, ...]:
        """Of every reference."""
        return self.references

    @property
    def has_strokes(self) -> bool:
        """Whether classes are painted on any reference."""
        return any(each.has_strokes for each in self.references)

    def plan(self, settings: Settings) -> Plan:
        """What training will need; see `RunInputs.plan`.

        Raises
        ------
        ValueError
            References of different numbers of channels.
        """
        first = self.references[0]
        for each in self.references[1:]:
            if each.n_channels != first.n_channels:
                raise ValueError(
                    f"“{first.names[0]}” has {_channels(first.n_channels)} and “{each.names[0]}” has "
                    f"{_channels(each.n_channels)}; references need as many as each other"
                )
        shapes = [each.plane.shape for each in self.references]
        shape, _ = mosaic_places(shapes, settings)
        kind = (shape, max(shapes, key=math.prod), first.n_channels, settings)
        plans = [_plan(*kind, has_strokes) for has_strokes in {True, self.has_strokes}]  # groups are taught as strokes
        return max(plans, key=lambda plan: plan.bytes)

    def prepare(self, settings: Settings) -> Run:
        """Load PyTorch, read the image data and check everything; errors as in `napari_dfc.fit`."""
        load_torch()
        from napari_dfc.training import training_run

        return training_run(
            [each.arrays() for each in self.references],
            [each.strokes for each in self.references],
            settings=settings,
            name=", ".join(self.names),
            spare_a_core=True,
        )

    def colors(self, during: Mapping[int, int]) -> dict[int, Any]:
        """As in `RunInputs`, by the first reference with strokes."""
        painted = [each for each in self.references if each.has_strokes]
        return (painted or self.references)[0].colors(during)

    def metadata(self, result: Segmentation) -> tuple[dict[str, Any], ...]:
        """For each reference the result's record, with its own strokes and the names of all references."""
        training = {"references": list(self.names)}
        found = []
        for each in self.references:
            strokes = [] if each.strokes is None else [pack(prepare(each.strokes, each.plane.shape, MOST_CLASSES))]
            where = source_of(each.names, each.plane)
            found.append({**result.record, "strokes": strokes, "training": training, "source": where})
        return tuple(found)


def _channels(number: int) -> str:
    return f"{number} channel{'s' * (number != 1)}"


def _plan(
    shape: tuple[int, int], largest: tuple[int, int], n_channels: int, settings: Settings, has_strokes: bool
) -> Plan:
    """Of a plane whose largest image has a shape of its own."""
    device = choose_device(settings.device) if torch_is_loaded() else Device("cpu", "CPU", "")
    if not has_strokes:
        return make_plan(shape, n_channels, settings, device)
    settings = settings.change(split_into="clusters")  # what strokes give
    if not settings.restrict_to_scribbles:
        return make_plan(shape, n_channels, settings, device)
    factors = wanted_factors(largest, settings)  # as for two classes; further ones take little more
    return make_plan(shape, n_channels, settings, device, factors=factors, n_clusters=2)
