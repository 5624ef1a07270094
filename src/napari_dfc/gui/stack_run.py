"""The network of a result over its whole plane or stack: it is made, kept for the viewer, and applied in one go."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_dfc.gui.alignment import aligned_index
from napari_dfc.gui.apply_run import Application, ApplyRun, Done
from napari_dfc.gui.background import Progress
from napari_dfc.gui.colors import class_names, hex_colors
from napari_dfc.gui.layer_planes import LayerPlanes
from napari_dfc.gui.layers import ImagePlane
from napari_dfc.gui.networks import networks_of
from napari_dfc.gui.placement import level_data

if TYPE_CHECKING:
    from napari.layers import Image, Labels

    from napari_dfc.gui.live_run import LiveRun
    from napari_dfc.model import Model
    from napari_dfc.segmentation import Run

__all__ = ["StackRun", "stack_run", "whole_run"]


@dataclass(frozen=True)
class StackPlanes(LayerPlanes):
    """A plane or all of a stack, with the channels that other layers have there.

    Parameters
    ----------
    others : mapping
        By a plane's position, further arrays with what to index them with.
    other_names : tuple of str
        Of their layers.
    """

    others: Mapping[tuple[tuple[int, int], ...], tuple[Any, ...]] = field(default_factory=dict)
    other_names: tuple[str, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of all layers."""
        return (self.name, *self.other_names)

    def arrays(self, plane: ImagePlane) -> tuple[NDArray[Any], ...]:
        """The channels of a plane, read now."""
        others = self.others.get(tuple(sorted(plane.position.items())), ())
        return (*super().arrays(plane), *(np.asarray(data[index]) for data, index in others))


class StackRun(ApplyRun):
    """A result's network at work on more than it was made of; made by `stack_run` or `whole_run`.

    Parameters
    ----------
    run : LiveRun
        It has a result.
    application : Application
        Whose network is still to be made.
    taught : (H, W) ndarray, or None
        Groups that a network has to be taught first.
    """

    def __init__(self, run: LiveRun, application: Application, taught: NDArray[Any] | None) -> None:
        assert run.result is not None
        assert run.layer is not None
        present = np.unique(run.result.labels if taught is None else taught)
        numbers = present[present > 0].tolist()
        self._make, self._to_teach, self._taught = run.result.model, run.to_teach, taught
        self._names = class_names(run.layer, numbers)
        self._colors = hex_colors({number: run.layer.get_color(number) for number in numbers})
        self._part, self._has_hidden = run.layer, False
        self._teacher: Run | None = None
        self._kept = False
        super().__init__(run.viewer, application)

    @property
    def is_of_stack(self) -> bool:
        """Whether it fills all planes, rather than the whole of one."""
        return self.application.planes[0].everything

    def give_way(self, run: LiveRun) -> None:
        """A run begins or goes on: hide what lies over its image, and show what this has hidden, if it is the run's."""
        if run.inputs.plane.layer is not self.application.planes[0].plane.layer:
            return
        for layer in self.layers.values():
            layer.visible = False
        if self._has_hidden and run.layer is not None and run.layer is self._part:
            run.layer.visible, self._has_hidden = True, False

    # ------------------------------------------------------------------ in the worker's thread

    def _steps(self) -> Generator[Progress, None, None]:
        model = yield from self._network()
        if model is not None:
            self.application = replace(self.application, model=model.colored(self._colors))
            rows, columns = self.application.planes[0].plane.shape
            yield Progress(0, self._n_planes, f"Applying it to {columns} x {rows} pixels ...")
            yield from self._apply()

    def _network(self) -> Generator[Progress, None, Model | None]:
        """Groups are what several networks agreed on: one is taught them. Classes and clusters have their network."""
        if self._taught is None:
            yield Progress(0, self._n_planes, "Measuring the plane, to keep its network ...")
            return None if self._called_off else self._make(self._names)
        yield Progress(0, self._n_planes, "Teaching a network these groups ...")
        self._teacher = teacher = self._to_teach(self._taught)
        for iteration in () if self._called_off else teacher:
            words = f"Teaching a network these groups: {iteration.number} of {teacher.n_updates}"
            yield Progress(0, self._n_planes, words)
        return None if self._called_off else teacher.result().model(self._names)

    # ------------------------------------------------------------------ in the main thread

    def _take(self, progress: Progress) -> None:
        if self.running and not self._kept and self.application.model is not None:
            self._kept = True
            networks_of(self.viewer).keep(self.application.name, self.application.model)
        super()._take(progress)

    def _record(self, done: Done) -> dict[str, Any]:
        (planes,) = self.application.planes
        if not planes.outward:
            return super()._record(done)
        return {**super()._record(done), "begins": {str(axis): index for axis, index in planes.plane.position.items()}}

    def _show(self, done: Done) -> None:
        is_first = not self.layers
        super()._show(done)
        if is_first and self.layers and self._part.visible:
            self._part.visible, self._has_hidden = False, True  # it would shine through what it is a part of

    def _below(self, planes: LayerPlanes) -> Image | Labels | None:
        return self._part if self._part in self.viewer.layers else super()._below(planes)

    def _call_off(self) -> None:
        super()._call_off()
        if self._teacher is not None:
            self._teacher.cancel()


def stack_run(run: LiveRun | None, count: int | None = None, adaptation: int = 0) -> StackRun:
    """Begin to give all planes of a stack the classes of a result of one of them.

    Parameters
    ----------
    run : LiveRun, or None
    count : int, optional
        The label count that is shown, where that is not the result's own.
    adaptation : int
        Updates of the network, see `napari_dfc.series.predict_series`, for which it goes from the result's plane
        outward; 0 leaves it as it is.

    Returns
    -------
    StackRun

    Raises
    ------
    ValueError
        No result, no stack, a result that no network gives, or further layers without some of the planes.
    """
    from napari_dfc.series import check_adaptation

    check_adaptation(adaptation)
    run = _with_result(run)
    plane = run.inputs.plane
    if not plane.position:
        raise ValueError(f"“{plane.layer.name}” has one plane alone")
    planes = replace(_planes_of(run, plane, everything=True), outward=adaptation > 0, mask=run.inputs.mask)
    return _begin(run, count, planes, adaptation)


def whole_run(run: LiveRun | None, count: int | None = None) -> StackRun:
    """Begin to give a whole plane the classes of a result of a part of it.

    Parameters
    ----------
    run, count
        As in `stack_run`.

    Returns
    -------
    StackRun

    Raises
    ------
    ValueError
        No result, one of the whole plane, a result that no network gives, or further layers that do not cover it.
    """
    run = _with_result(run)
    plane = run.inputs.plane
    if not run.inputs.is_partial:
        raise ValueError(f"the whole plane of “{plane.layer.name}” is segmented already")
    return _begin(run, count, _planes_of(run, plane.whole, everything=False))


def _with_result(run: LiveRun | None) -> LiveRun:
    if run is None or run.running or run.result is None or run.layer is None:
        raise ValueError("there is no result yet; segment one plane first")
    return run


def _begin(run: LiveRun, count: int | None, planes: StackPlanes, adaptation: int = 0) -> StackRun:
    result, settings, taught = run.result, run.settings, None
    assert result is not None
    kind, name = result.record["result"]["split_into"], run.inputs.plane.layer.name
    if kind == "regions":
        raise ValueError("regions are pieces of one plane and no classes; choose groups, or paint what you mean")
    if kind == "groups":
        taught = result.labels if count is None else result.history.at(count)
    elif count not in (None, result.n_labels):
        raise ValueError(f"the network gives {result.n_labels} labels; move the slider there first")
    application = Application(
        None,
        networks_of(run.viewer).new_name(f"{name} network"),
        (planes,),
        adaptation=adaptation,
        device=settings.device,
        threads=settings.threads,
    )
    return StackRun(run, application, taught)


def _planes_of(run: LiveRun, plane: ImagePlane, *, everything: bool) -> StackPlanes:
    """A plane, or all that lie as it does, with the channels of the run's further layers."""
    layers = run.inputs.others
    planes = StackPlanes.of(plane, everything)
    assert isinstance(planes, StackPlanes)
    point, others = run.viewer.dims.point, {}
    for each in (plane for series in planes.series() for plane in series):
        found = []
        for layer in layers:
            level = plane.level if layer.multiscale else 0
            found.append((level_data(layer, level), aligned_index(layer, each, point, level)))
        others[tuple(sorted(each.position.items()))] = tuple(found)
    return replace(planes, others=others, other_names=tuple(layer.name for layer in layers))
