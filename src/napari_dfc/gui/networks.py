"""The networks that are kept while napari runs, for each viewer: trained in it, or read from a file."""

from __future__ import annotations

import re
from itertools import count
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from psygnal import Signal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from napari.components import ViewerModel

    from napari_dfc.model import Model

__all__ = ["Networks", "networks_of"]


class Networks:
    """Networks by name, the latest last.

    Attributes
    ----------
    changed : psygnal.Signal
        Emits after a network came or was replaced.
    """

    changed = Signal()

    def __init__(self) -> None:
        self._models: dict[str, Model] = {}

    def keep(self, name: str, model: Model) -> None:
        """Keep a network, in place of one of the same name."""
        self._models[name] = model
        self.changed.emit()

    def rename(self, old: str, new: str) -> None:
        """Give a network another name; nothing is done where the old one is not there."""
        if old in self._models and new != old:
            self._models[new] = self._models.pop(old)
            self.changed.emit()

    def new_name(self, wanted: str) -> str:
        """The name, with a number behind it where it is taken."""
        if wanted not in self._models:
            return wanted
        stem = re.sub(r" \d+$", "", wanted)
        return next(name for number in count(2) if (name := f"{stem} {number}") not in self._models)

    def get(self, name: str) -> Model | None:
        """The network of this name, if there is one."""
        return self._models.get(name)

    def __getitem__(self, name: str) -> Model:
        return self._models[name]

    def __contains__(self, name: object) -> bool:
        return name in self._models

    def __iter__(self) -> Iterator[str]:
        return iter(self._models)

    def __len__(self) -> int:
        return len(self._models)


_networks: WeakKeyDictionary[ViewerModel, Networks] = WeakKeyDictionary()


def networks_of(viewer: ViewerModel) -> Networks:
    """Those of a viewer, which go when it goes; whether it is the viewer itself or napari's wrapper for plugins."""
    return _networks.setdefault(getattr(viewer, "__wrapped__", viewer), Networks())
