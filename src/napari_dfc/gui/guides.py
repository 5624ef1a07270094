"""What shows in a viewer where labels are uncertain: a layer of certainty, and a line around a spot."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar
from weakref import ref

import numpy as np
from napari.layers import Image, Labels, Layer, Shapes
from numpy.typing import NDArray

from napari_dfc.gui.layers import ImagePlane, add_over, new_image_layer
from napari_dfc.gui.placement import placement

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_dfc.uncertainty import Spot

__all__ = ["LEAST_SPOT", "Guides", "is_guide"]

#: What says in a layer's metadata that it shows the way, and is no image and no region of the user's.
GUIDE_KEY = "napari_dfc_guide"

#: What a smaller spot counts as, in pixels.
LEAST_SPOT = 24

#: How wide the line around a spot is, as a share of the spot.
LINE_SHARE = 1 / 60

_Guide = TypeVar("_Guide", bound=Layer)


def is_guide(layer: Layer) -> bool:
    """Whether a layer was made here."""
    return bool(layer.metadata.get(GUIDE_KEY))


class Guides:
    """The layers of one viewer that show where a stroke would help; at most two, used again and again.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._certainty: tuple[ImagePlane, ref[Image]] | None = None
        self._outline: ref[Shapes] | None = None

    def show_certainty(self, plane: ImagePlane, margin: NDArray[Any], result: Labels | None) -> None:
        """Show margins, (H, W), right over a result, below what is painted; in the layer that this plane has already.

        Parameters
        ----------
        plane : ImagePlane
        margin : (H, W) ndarray of float
        result : napari.layers.Labels, or None
            Without it the layer comes on top.
        """
        fresh = new_image_layer(plane, margin, f"{plane.layer.name} certainty")
        of, shown = (None, None) if self._certainty is None else (self._certainty[0], self._there(self._certainty[1]))
        if of == plane and shown is not None and shown.data.shape == fresh.data.shape:
            shown.data, shown.visible = fresh.data, True
            return
        fresh.metadata = {GUIDE_KEY: True}
        selected = list(self._viewer.layers.selection)
        add_over(self._viewer, fresh, result)
        self._viewer.layers.selection = selected  # the brush stays in hand
        self._certainty = plane, ref(fresh)

    def show_outline(self, plane: ImagePlane, spot: Spot) -> None:
        """Draw a line around a spot of a plane."""
        lines = []
        for outline in spot.outlines:
            corners = np.tile(self._place(plane), (len(outline), 1))
            corners[:, list(plane.axes)] = outline
            lines.append(corners[:, plane.channel_axis == 0 :])
        layer = None if self._outline is None else self._there(self._outline)
        if layer is not None and layer.ndim != lines[0].shape[1]:
            layer.visible, layer = False, None
        if layer is None:
            layer = Shapes(ndim=lines[0].shape[1], name="uncertain spot", metadata={GUIDE_KEY: True})
            self._viewer.add_layer(layer)
            self._outline = ref(layer)
        for name, value in placement(plane).items():
            setattr(layer, name, value)
        layer.data = []
        width = max(spot.height, spot.width, LEAST_SPOT) * LINE_SHARE
        layer.add_paths(lines, edge_width=width, edge_color="yellow")
        layer.visible = True

    def hide(self, image: Image | None = None) -> None:
        """Hide what shows the way: labels of this image, or of any, are others now."""
        if self._certainty is not None and image in (None, self._certainty[0].layer):
            _hide(self._there(self._certainty[1]))
        self.hide_outline()

    def hide_outline(self) -> None:
        """There is no spot to look at any more."""
        if self._outline is not None:
            _hide(self._there(self._outline))

    def _there(self, layer: ref[_Guide]) -> _Guide | None:
        """A layer, where nobody has deleted it."""
        found = layer()
        return found if found is not None and found in self._viewer.layers else None

    def _place(self, plane: ImagePlane) -> NDArray[np.float64]:
        """Where the displayed plane lies in an array over it: 0, but on an axis of channels, where any may be shown."""
        place, channels = np.zeros(len(plane.lengths)), plane.channel_axis
        if channels is not None:
            shown = plane.layer.world_to_data(self._viewer.dims.point[-plane.layer.ndim :])
            place[channels] = np.rint(shown[channels])
        return place


def _hide(layer: Layer | None) -> None:
    if layer is not None:
        layer.visible = False
