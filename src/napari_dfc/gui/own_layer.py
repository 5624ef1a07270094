"""A layer that a run has made: its labels stay over the image they came from, and in no array of anybody else's."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.layers import Image, Labels

from napari_dfc.gui.layers import METADATA_KEY, ImagePlane
from napari_dfc.gui.placement import placement

__all__ = ["OwnLayer", "hide_earlier"]

#: Each as long as its layer: napari itself keeps no object that has connected one of its methods.
_KEPT: WeakKeyDictionary[Labels, OwnLayer] = WeakKeyDictionary()


class OwnLayer:
    """A result layer, which follows its image where that is moved, rotated or given another scale or unit.

    Parameters
    ----------
    layer : napari.layers.Labels
        Just made, over the plane.
    plane : ImagePlane
    """

    def __init__(self, layer: Labels, plane: ImagePlane) -> None:
        self._layer = ref(layer)
        self._array = layer.data
        self.plane, self._placed = plane, placement(plane)
        for name in self._placed:
            getattr(plane.layer.events, name).connect(self._follow_image)
        _KEPT[layer] = self

    @property
    def layer(self) -> Labels:
        """The result layer."""
        layer = self._layer()
        assert layer is not None  # or there would be nobody to ask
        return layer

    @property
    def is_intact(self) -> bool:
        """Whether the layer still has the array that the run gave it, rather than one of somebody else's."""
        return self.layer.data is self._array

    def separate(self, layers: Iterable[Any]) -> None:
        """Before labels are written: have an array that none of the other layers has, as a script may have it."""
        others = (layer.data for layer in layers if layer is not self.layer and isinstance(layer, Image | Labels))
        if any(isinstance(data, np.ndarray) and np.may_share_memory(data, self._array) for data in others):
            self.layer.data = self._array.copy()
        self.written()

    def written(self) -> None:
        """The run has written labels, perhaps into an array with larger numbers."""
        self._array = self.layer.data

    def _follow_image(self) -> None:
        """Take the image's new place, in as far as the layer has not been given one of its own."""
        plane, before = self.plane, self._placed
        if plane.layer.ndim != len(plane.lengths) or not self.is_intact:
            return
        self._placed = placement(plane)
        for name, place in self._placed.items():
            present = getattr(self.layer, name)
            present = present.affine_matrix if name == "affine" else present
            if _same(present, before[name]) and not _same(present, place):
                setattr(self.layer, name, place)


def hide_earlier(layers: Iterable[Any], planes: Iterable[ImagePlane]) -> None:
    """Hide finished results over these planes, through which a new one could not be seen for what it is.

    Parameters
    ----------
    layers : iterable of napari.layers.Layer
        Those of the viewer.
    planes : iterable of ImagePlane
        That are segmented once more.
    """
    places = [(plane.layer, plane.axes, plane.position) for plane in planes]
    for layer in layers:
        own = _KEPT.get(layer) if isinstance(layer, Labels) else None
        if own is None or not own.is_intact or not layer.metadata.get(METADATA_KEY):
            continue
        if (own.plane.layer, own.plane.axes, own.plane.position) in places:
            layer.visible = False


def _same(one: Any, other: Any) -> bool:
    return np.allclose(one, other) if isinstance(one, np.ndarray) else tuple(one) == tuple(other)
