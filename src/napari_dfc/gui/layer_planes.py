"""The planes of an image layer that a network is applied to, held as they are when it starts."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from napari_dfc.gui.layers import ImagePlane
from napari_dfc.gui.placement import axis_name

__all__ = ["LayerPlanes"]


@dataclass(frozen=True)
class LayerPlanes:
    """One plane of a layer, or all that lie as it does; to be made with `of`.

    Parameters
    ----------
    plane : ImagePlane
    everything : bool
        All time points and slices, rather than this plane alone.
    data : array
        The layer's; what the layer is given later changes nothing here.
    name : str
        The layer's.
    axis_names : mapping of int to str
        Of the axes that count planes.
    outward : bool
        Whether `series` begin where `plane` lies, and go from there in both directions.
    mask : (H, W) ndarray of bool, optional
        The pixels that take part, in every plane.
    """

    plane: ImagePlane
    everything: bool
    data: Any
    name: str
    axis_names: dict[int, str]
    outward: bool = False
    mask: NDArray[np.bool_] | None = None

    @classmethod
    def of(cls, plane: ImagePlane, everything: bool) -> Self:
        """Hold the data of a plane's layer; called on the main thread."""
        names = {axis: axis_name(plane.layer, axis) for axis in plane.position}
        everything = everything and bool(plane.position)
        return cls(plane, everything, plane.data, plane.layer.name, names)

    @property
    def lengths(self) -> tuple[int, ...]:
        """Of all axes that count planes."""
        return tuple(self.data.shape[axis] if self.everything else 1 for axis in sorted(self.plane.position))

    @property
    def names(self) -> tuple[str, ...]:
        """Of the layers that the channels come from."""
        return (self.name,)

    def __len__(self) -> int:
        return math.prod(self.lengths)

    def series(self) -> Iterator[Iterator[ImagePlane]]:
        """Planes along the first axis, once for each place on the others.

        Outward there are two for each, to the last plane and to the first; both begin with the same one. The places
        next to that of `plane` come first.
        """
        if not self.everything:
            yield iter([self.plane])
            return
        axes = sorted(self.plane.position)
        begin, *beside = (self.plane.position[axis] for axis in axes)
        length, *others = self.lengths
        places = list(product(*map(range, others)))
        ways = [range(length)]
        if self.outward:
            places.sort(key=lambda place: math.dist(place, beside))
            ways = [range(begin, length), range(begin, -1, -1)]
        for rest in places:
            for way in ways:
                positions = (dict(zip(axes, (moment, *rest), strict=True)) for moment in way)
                yield (replace(self.plane, position=position) for position in positions)

    def arrays(self, plane: ImagePlane) -> tuple[NDArray[Any], ...]:
        """The channels of a plane, read now."""
        return tuple(np.asarray(self.data[index]) for index in plane.indices)

    def title(self, plane: ImagePlane) -> str:
        """The layer, and which of its planes."""
        place = ", ".join(f"{self.axis_names[axis]}: {index}" for axis, index in sorted(plane.position.items()))
        return f"{self.name}, {place}" if place else self.name
