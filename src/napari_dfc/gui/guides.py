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
    """The layers of one viewer that show where a stroke would help; each is used again and again.

    There is one of certainty for each plane, and one outline for each number of axes.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
    """

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = viewer
        self._certainties: list[tuple[ImagePlane, ref[Image]]] = []
        self._outlines: dict[int, ref[Shapes]] = {}

    def show_certainty(self, plane: ImagePlane, margin: NDArray[Any], result: Labels | None) -> None:
        """Show margins, (H, W), right over a result, below what is painted; in the layer that this plane has already.

        Parameters
        ----------
        plane : ImagePlane
        margin : (H, W) ndarray of float
        result : napari.layers.Labels, or None
            Without it the layer comes on top.
        """
        layers = self._viewer.layers
        fresh = new_image_layer(plane, margin, f"{plane.layer.name} certainty")
        for shown in self._certainties_of(plane.layer):
            shown.visible = False
        shown = next((self._there(layer) for of, layer in self._certainties if of == plane), None)
        if shown is not None and shown.data.shape == fresh.data.shape:
            _place_over(shown, plane)
            if result in layers:
                layers.move(layers.index(shown), layers.index(result) + 1)
            shown.data, shown.visible = fresh.data, True
            return
        fresh.metadata = {GUIDE_KEY: True}
        selected = list(layers.selection)
        add_over(self._viewer, fresh, result)
        layers.selection = selected  # the brush stays in hand
        self._certainties = [each for each in self._certainties if each[0] != plane and self._there(each[1])]
        self._certainties.append((plane, ref(fresh)))

    def show_outline(self, plane: ImagePlane, spot: Spot) -> None:
        """Draw a line around a spot of a plane."""
        lines = []
        for outline in spot.outlines:
            corners = np.tile(self._place(plane), (len(outline), 1))
            corners[:, list(plane.axes)] = outline
            lines.append(corners[:, plane.channel_axis == 0 :])
        ndim = lines[0].shape[1]
        self.hide_outline()
        layer = self._there(self._outlines[ndim]) if ndim in self._outlines else None
        if layer is None:
            layer = Shapes(ndim=ndim, name="uncertain spot", metadata={GUIDE_KEY: True})
            self._viewer.add_layer(layer)
            self._outlines[ndim] = ref(layer)
        _place_over(layer, plane)
        layer.data = []
        width = max(spot.height, spot.width, LEAST_SPOT) * LINE_SHARE
        layer.add_paths(lines, edge_width=width, edge_color="yellow")
        layer.visible = True

    def hide(self, image: Image) -> None:
        """Hide what shows the way: other labels of this image are shown now."""
        for layer in self._certainties_of(image):
            layer.visible = False
        self.hide_outline()

    def hide_outline(self) -> None:
        """There is no spot to look at any more."""
        for each in self._outlines.values():
            if (layer := self._there(each)) is not None:
                layer.visible = False

    def _certainties_of(self, image: Image) -> list[Image]:
        found = (self._there(layer) for plane, layer in self._certainties if plane.layer is image)
        return [layer for layer in found if layer is not None]

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


def _place_over(layer: Layer, plane: ImagePlane) -> None:
    for name, value in placement(plane).items():
        setattr(layer, name, value)
