"""What the docks of the plugin share: rows that scroll, layers that are followed, letting go when the dock closes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container, Label
from napari.layers import Image, Labels
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QComboBox, QScrollArea, QWidget

if TYPE_CHECKING:
    from collections.abc import Sequence

    from magicgui.widgets import ComboBox
    from napari.components import ViewerModel

from napari_dfc.gui.background import CancellableWorker, in_background

__all__ = ["NO_IMAGE", "Dock"]

NO_IMAGE = "Open an image first: File > Open, or File > Open Sample > DFC segmentation."

#: Least width of a dock, in pixels: room for the longest row and a vertical scroll bar.
DOCK_WIDTH = 310


class _DockWatcher(QObject):
    """Tells when napari closes the dock of a widget: it takes the widget out, and destroys it at some later time."""

    def __init__(self, widget: QWidget, closed: Callable[[], None]) -> None:
        super().__init__(widget)
        self._closed = closed
        widget.installEventFilter(self)

    def eventFilter(self, widget: QObject, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        if event.type() == QEvent.Type.ParentChange and widget.parent() is None:
            self._closed()
        return False


class Dock(Container[Any]):
    """A dock widget that follows the layers of a viewer until it is closed.

    Parameters
    ----------
    viewer : napari.components.ViewerModel

    Notes
    -----
    A subclass makes its controls, then calls `lay_out` and `follow_viewer`, and says in `refresh`, `offer_layers` and
    `let_go` what is to be done.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(labels=False)
        self._viewer = viewer
        self.status = Label()
        self._followed: list[tuple[Any, Callable[..., None]]] = []

    def refresh(self) -> None:
        """Say what can be done with the layers as they are."""
        raise NotImplementedError

    def offer_layers(self) -> None:
        """Fill the choices anew, under the layers' present names."""
        raise NotImplementedError

    def let_go(self) -> None:
        """The dock is gone: end what it has started, and keep what there is."""
        raise NotImplementedError

    def image_layers(self, _: Any = None) -> list[Image]:
        """Those of the viewer."""
        return [layer for layer in self._viewer.layers if isinstance(layer, Image)]

    def label_layers(self, _: Any = None) -> list[Labels]:
        """Those of the viewer."""
        return [layer for layer in self._viewer.layers if isinstance(layer, Labels)]

    def say(self, words: str) -> None:
        """Show words below the controls."""
        self.status.value = words
        self.refresh()

    def in_background(self, work: Callable[[], Any], done: Callable[[Any], None]) -> CancellableWorker:
        """As `napari_dfc.gui.background.in_background`; nothing is done with the outcome once the dock is gone."""
        return in_background(work, lambda outcome: done(outcome) if self._followed else None)

    def lay_out(self, rows: Sequence[Any], wrapped: Sequence[Any] = (), layer_boxes: Sequence[ComboBox] = ()) -> None:
        """Put rows below one another.

        Parameters
        ----------
        rows : sequence of widgets
        wrapped : sequence of Label
            Whose words may take several lines.
        layer_boxes : sequence of ComboBox
            Of layers: a long name must not widen the dock.
        """
        self._rows = Container(widgets=rows, labels=False)
        self._rows.native.layout().addStretch()
        # magicgui's own scrollable container is no use: napari docks its inner widget, which then doesn't scroll
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QScrollArea.Shape.NoFrame)
        scroll.setWidget(self._rows.native)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setMinimumWidth(DOCK_WIDTH)
        self.native.layout().addWidget(scroll)
        self.margins = (0, 0, 0, 0)
        for words in wrapped:
            words.native.setWordWrap(True)
        for box in layer_boxes:
            narrow(box)

    def follow_viewer(self) -> None:
        """Begin to follow layers and sliders."""
        layers, dims = self._viewer.layers.events, self._viewer.dims.events
        of_layers = (layers.inserted, layers.removed, layers.reordered)
        of_dims = (dims.ndisplay, dims.order, dims.current_step, dims.ndim)
        self._followed = [(event, self._follow_layers) for event in of_layers]
        self._followed += [(event, self.refresh) for event in of_dims]
        for event, follow in self._followed:
            event.connect(follow)
        self._dock_watcher = _DockWatcher(self.native, self._let_go)
        self.native.destroyed.connect(self._let_go)
        self._follow_layers()

    def _follow_layers(self) -> None:
        """Layers came, went or changed their order."""
        for layer in self._viewer.layers:
            self._unfollow_layer(layer)
            layer.events.name.connect(self.offer_layers)
            layer.events.data.connect(self.refresh)
            if isinstance(layer, Labels):
                layer.events.labels_update.connect(self.refresh)
        self.offer_layers()
        self.refresh()

    def _unfollow_layer(self, layer: Any) -> None:
        layer.events.name.disconnect(self.offer_layers)
        layer.events.data.disconnect(self.refresh)
        if isinstance(layer, Labels):
            layer.events.labels_update.disconnect(self.refresh)

    def _let_go(self) -> None:
        for event, follow in self._followed:
            event.disconnect(follow)
        self._followed = []
        for layer in self._viewer.layers:
            self._unfollow_layer(layer)
        self.let_go()


def narrow(box: ComboBox) -> None:
    """Let a box be narrower than what it offers."""
    box.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.native.setMinimumContentsLength(8)
