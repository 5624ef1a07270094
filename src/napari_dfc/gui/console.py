"""For napari's console and scripts: segment a layer and wait, or start a run and go on working."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType, WeakKeyDictionary, ref

import napari
from napari.layers import Image, Labels, Shapes

from napari_dfc.gui.inputs import gather
from napari_dfc.gui.layers import displayed_plane, image_plane, new_labels_layer
from napari_dfc.gui.live_run import LiveRun
from napari_dfc.gui.screen import chosen_plane, displayed_level
from napari_dfc.settings import DEFAULT_PRESET, Settings

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["segment_layer", "start"]

#: The latest run on an image that was started here.
_STARTED: WeakKeyDictionary[Image, ReferenceType[LiveRun]] = WeakKeyDictionary()


def segment_layer(
    layer: Image,
    scribbles: Labels | None = None,
    *,
    channels: Sequence[Image] = (),
    channel_axis: int | None = None,
    plane: Sequence[int] | None = None,
    within: Labels | Shapes | None = None,
    level: int | None = 0,
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
    within : napari.layers.Labels or Shapes, optional
        Only what is painted or drawn in it is segmented; the rest has the label 0. It may lie in the world as it likes.
    level : int or None
        Of a multiscale layer: at which resolution, 0 the finest, None the one that is displayed now.
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
    if within is not None:
        _check_layer(within, (Labels, Shapes))
    viewer = napari.current_viewer()
    point: Sequence[float] = ()
    if plane is None and viewer is not None and layer in viewer.layers:
        where = displayed_plane(layer, viewer.dims, channel_axis, _check_level(layer, level))
        point = viewer.dims.point
    else:
        where = image_plane(layer, plane or (), channel_axis, _check_level(layer, level))
    inputs = gather(where, scribbles, channels, point, within=within)
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
    within: Labels | Shapes | str | None = None,
    level: int | None = 0,
    on_screen: bool = False,
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
    channels, channel_axis, within, level, preset, **settings
        As in `segment_layer`.
    on_screen : bool
        Only what of the plane is on screen now is segmented.

    Returns
    -------
    LiveRun
        ``stop()`` ends it and keeps what there is; ``layer`` is the preview and then the result; ``running`` and
        ``outcome`` say how it stands; ``follow(layer)`` takes strokes from a Labels layer, ``hold()`` and ``release()``
        pause it, ``update()`` makes a single update. It takes strokes until another run is started on the image.

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
    region = None if within is None else _find(viewer, within, (Labels, Shapes))
    where = chosen_plane(viewer, image, channel_axis, _check_level(image, level), on_screen=on_screen)
    inputs = gather(where, strokes, others, viewer.dims.point, within=region)
    earlier = _STARTED[image]() if image in _STARTED else None
    if earlier is not None:
        earlier.unfollow()  # or each stroke would go on with both
    run = LiveRun(viewer, inputs, chosen, live=live)
    _STARTED[image] = ref(run)
    return run


def _find(viewer: ViewerModel, layer: Any, kind: Any) -> Any:
    """The layer itself; names are looked up here, once, and nowhere later."""
    return _check_layer(viewer.layers[layer] if isinstance(layer, str) else layer, kind)


def _check_layer(layer: Any, kind: Any) -> Any:
    if not isinstance(layer, kind):
        names = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
        raise TypeError(f"{layer!r} is a {type(layer).__name__}; accepted is a napari {names} layer")
    return layer


def _check_level(layer: Image, level: int | None) -> int:
    level = displayed_level(layer) if level is None else level
    n_levels = len(layer.data) if layer.multiscale else 1
    if not 0 <= level < n_levels:
        raise ValueError(f"level is {level}; “{layer.name}” has the levels 0 to {n_levels - 1}")
    return level
