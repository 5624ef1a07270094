"""For napari's console and scripts: segment a layer and wait, or start a run and go on working."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import napari
from napari.layers import Image, Labels

from napari_dfc.gui.inputs import gather
from napari_dfc.gui.layers import displayed_plane, image_plane, new_labels_layer
from napari_dfc.gui.live_run import LiveRun
from napari_dfc.settings import DEFAULT_PRESET, Settings

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["segment_layer", "start"]

_Layer = TypeVar("_Layer", Image, Labels)


def segment_layer(
    layer: Image,
    scribbles: Labels | None = None,
    *,
    channels: Sequence[Image] = (),
    channel_axis: int | None = None,
    plane: Sequence[int] | None = None,
    preset: str = DEFAULT_PRESET,
    **settings: Any,
) -> Labels:
    """Segment an image layer and wait for the result.

    Parameters
    ----------
    layer : napari.layers.Image
        Gray, RGB(A), a stack or a time series, multiscale or not. Never modified.
    scribbles : napari.layers.Labels, optional
        Painted strokes over the plane.
    channels : sequence of napari.layers.Image
        Further layers whose channels are used together with the layer's.
    channel_axis : int, optional
        Axis of the layer's data that holds channels.
    plane : sequence of int, optional
        Of a stack or a time series: the index on each axis before rows and columns, the channels' left out. By default
        the plane that the current viewer displays.
    preset : {"paper", "published", "fast", "balanced", "accurate"}
        The settings to start from.
    **settings
        Any field of `napari_dfc.Settings`.

    Returns
    -------
    napari.layers.Labels
        Over the plane, with the layer's scale, units and axis labels; not added to a viewer yet.

    Raises
    ------
    TypeError
        The layer is no image, or a setting is unknown.
    ValueError
        As in `napari_dfc.segment`; or layers that do not lie over each other, or a plane that is not there.

    Examples
    --------
    >>> import napari_dfc as dfc
    >>> from napari.layers import Image
    >>> from napari_dfc.samples import read_sample
    >>> image = Image(read_sample("fluorescence_nuclei").image[:64, :64], scale=(0.5, 0.5))
    >>> labels = dfc.segment_layer(image, preset="fast", max_iterations=5)
    >>> labels.data.shape, labels.scale.tolist()
    ((64, 64), [0.5, 0.5])
    """
    chosen = Settings.from_preset(preset, **settings)
    _check_layer(layer, Image)
    viewer = napari.current_viewer()
    point: Sequence[float] = ()
    if plane is None and viewer is not None and layer in viewer.layers:
        where = displayed_plane(layer, viewer.dims, channel_axis)
        point = viewer.dims.point
    else:
        where = image_plane(layer, plane or (), channel_axis)
    inputs = gather(where, scribbles, channels, point)
    run = inputs.prepare(chosen)
    for _ in run:
        pass
    result = run.result()
    return new_labels_layer(
        where,
        result.labels,
        f"{layer.name} segmentation",
        colors=inputs.colors(result.numbers_during_run),
        metadata=inputs.metadata(result)[0],
    )


def start(
    viewer: ViewerModel,
    layer: Image | str,
    scribbles: Labels | str | None = None,
    *,
    channels: Sequence[Image | str] = (),
    channel_axis: int | None = None,
    live: bool = True,
    preset: str = DEFAULT_PRESET,
    **settings: Any,
) -> LiveRun:
    """Start to segment the displayed plane of an image layer, and return at once.

    The label map appears as a new layer and is refined while you go on working.

    Parameters
    ----------
    viewer : napari.Viewer
    layer : napari.layers.Image or str
        The layer or its name.
    scribbles : napari.layers.Labels or str, optional
        Painted strokes over the displayed plane.
    live : bool
        Whether strokes that are painted in the scribbles layer while it runs, or later, take effect at once.
    channels, channel_axis, preset, **settings
        As in `segment_layer`.

    Returns
    -------
    LiveRun
        ``stop()`` ends it and keeps what there is; ``layer`` is the preview and then the result; ``running`` and
        ``outcome`` say how it stands; ``follow(layer)`` takes strokes from a Labels layer, ``hold()`` and ``release()``
        pause it, ``update()`` makes a single update.

    Raises
    ------
    KeyError
        There is no layer of that name.
    TypeError, ValueError
        As in `segment_layer`, as far as can be told without reading the image; the rest is said by ``outcome``.

    Examples
    --------
    In napari's console, where ``viewer`` is defined::

        import napari_dfc as dfc

        run = dfc.start(viewer, "cells", scribbles="strokes")
        run.stop()
    """
    chosen = Settings.from_preset(preset, **settings)
    image = _find(viewer, layer, Image)
    strokes = None if scribbles is None else _find(viewer, scribbles, Labels)
    others = [_find(viewer, other, Image) for other in channels]
    where = displayed_plane(image, viewer.dims, channel_axis)
    return LiveRun(viewer, gather(where, strokes, others, viewer.dims.point), chosen, live=live)


def _find(viewer: ViewerModel, layer: _Layer | str, kind: type[_Layer]) -> _Layer:
    """The layer itself; names are looked up here, once, and nowhere later."""
    found = viewer.layers[layer] if isinstance(layer, str) else layer
    return _check_layer(found, kind)


def _check_layer(layer: Any, kind: type[_Layer]) -> _Layer:
    if not isinstance(layer, kind):
        raise TypeError(f"{layer!r} is a {type(layer).__name__}; accepted is a napari {kind.__name__} layer")
    return layer
