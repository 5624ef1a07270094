"""What the docks of the plugin share: rows that scroll, layers that are followed, letting go when the dock closes."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from magicgui.widgets import Container, Label, ProgressBar, PushButton
from napari.layers import Image, Labels, Layer
from qtpy.QtCore import QEvent, QObject, Qt
from qtpy.QtWidgets import QComboBox, QScrollArea, QStyle, QStyleOptionComboBox, QStylePainter, QWidget

from napari_dfc.gui.background import CancellableWorker, Progress, in_background
from napari_dfc.gui.guides import is_guide
from napari_dfc.gui.networks import networks_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from magicgui.widgets import ComboBox
    from napari.components import ViewerModel

__all__ = ["NO_IMAGE", "Dock", "LayerDock"]

NO_IMAGE = "Open an image first: File > Open, or File > Open Sample > DFC segmentation."

#: Least width of a dock, in pixels: room for the longest row and a vertical scroll bar.
DOCK_WIDTH = 310

#: Pixels that the style leaves on either side of a box's words.
TEXT_MARGIN = 2


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


class LayerDock(Container[Any]):
    """A dock widget that follows the layers of a viewer until it is closed.

    Parameters
    ----------
    viewer : napari.components.ViewerModel

    Attributes
    ----------
    hint, status : Label
        What to do first, and what became of what was done.

    Notes
    -----
    A subclass makes its controls, then calls `lay_out` and `follow_viewer`.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(labels=False)
        self._viewer = viewer
        self.hint, self.status = Label(), Label()
        self._followed: list[tuple[Any, Callable[..., None]]] = []
        self._followed_layers: list[Layer] = []

    @abstractmethod
    def refresh(self) -> None:
        """Say what can be done with the layers as they are."""

    @abstractmethod
    def offer_layers(self) -> None:
        """Fill the choices anew, under the layers' present names."""

    def let_go(self) -> None:
        """The dock is gone."""

    def image_layers(self, _: Any = None) -> list[Image]:
        """Those of the viewer, without what shows where labels are uncertain."""
        return [layer for layer in self._viewer.layers if isinstance(layer, Image) and not is_guide(layer)]

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

    def follow_viewer(self, *further: Any) -> None:
        """Begin to follow layers and sliders, and further events after which it is to be refreshed."""
        layers, dims = self._viewer.layers.events, self._viewer.dims.events
        of_layers = (layers.inserted, layers.removed, layers.reordered)
        of_dims = (dims.ndisplay, dims.order, dims.current_step, dims.ndim)
        self._followed = [(event, self._follow_layers) for event in of_layers]
        self._followed += [(event, self.refresh) for event in (*of_dims, *further)]
        for event, follow in self._followed:
            event.connect(follow)
        self._dock_watcher = _DockWatcher(self.native, self._let_go)
        self.native.destroyed.connect(self._let_go)
        self._follow_layers()

    def _follow_layers(self) -> None:
        """Layers came, went or changed their order."""
        self._unfollow_layers()
        self._followed_layers = list(self._viewer.layers)
        for layer in self._followed_layers:
            layer.events.name.connect(self.offer_layers)
            layer.events.data.connect(self.refresh)
            if isinstance(layer, Image):  # which may have other axes now
                layer.events.data.connect(self.offer_layers, position="first")
            if isinstance(layer, Labels):
                layer.events.labels_update.connect(self.refresh)
        self.offer_layers()
        self.refresh()

    def _unfollow_layers(self) -> None:
        for layer in self._followed_layers:
            layer.events.name.disconnect(self.offer_layers)
            layer.events.data.disconnect(self.refresh)
            if isinstance(layer, Image):
                layer.events.data.disconnect(self.offer_layers)
            if isinstance(layer, Labels):
                layer.events.labels_update.disconnect(self.refresh)
        self._followed_layers = []

    def _let_go(self) -> None:
        for event, follow in self._followed:
            event.disconnect(follow)
        self._followed = []
        self._unfollow_layers()
        self.let_go()


class Dock(LayerDock):
    """A dock widget that follows the layers of a viewer until it is closed, and starts one run at a time.

    Parameters
    ----------
    viewer : napari.components.ViewerModel
    start, stop : dict
        Text and tooltip of the buttons that start and stop a run.

    Attributes
    ----------
    run : object or None
        The latest run started here, with `progressed`, `ended`, `running` and `stop` as `LayerRun` has them.
    """

    def __init__(self, viewer: ViewerModel, start: Mapping[str, str], stop: Mapping[str, str]) -> None:
        super().__init__(viewer)
        self._networks = networks_of(viewer)
        self.run: Any = None
        self.start_button = PushButton(**start)
        self.stop_button = PushButton(**stop, enabled=False)
        self.progress = ProgressBar(value=0, max=1, visible=False)
        self.start_button.changed.connect(self.start)
        self.stop_button.changed.connect(self.stop)

    @abstractmethod
    def start(self) -> Any:
        """Start a run; None where it can't, with the reason in `hint`."""

    @property
    def running(self) -> bool:
        """Whether a run started here goes on."""
        return self.run is not None and self.run.running

    def stop(self) -> None:
        """End the run, as the button says."""
        if self.run is not None:
            self.run.stop()

    def can_start(self) -> bool:
        """Whether a run can be started, looked at anew."""
        if self.running:
            return False
        self.refresh()
        return bool(self.start_button.enabled)

    def follow_run(self, run: Any, total: int) -> None:
        """Show how a run that has just been started goes on."""
        self.run = run
        run.progressed.connect(self._show_progress)
        run.ended.connect(self.show_outcome)
        self._show_progress(Progress(0, total, "Starting ..."))
        self.refresh()

    def show_state(self, reason: str) -> None:
        """Show whether a run goes on, and otherwise why none can start."""
        self.start_button.enabled = not (self.running or reason)
        self.stop_button.enabled = self.running
        self.hint.value, self.hint.visible = reason, bool(reason)
        self.status.visible = bool(self.status.value)
        self.progress.visible = self.running

    def show_outcome(self, outcome: str) -> None:
        """A run has ended, as these words say."""
        self.say(outcome)

    def _show_progress(self, progress: Progress) -> None:
        self.progress.max = progress.total
        self.progress.value = progress.done
        self.status.value = progress.words

    def let_go(self) -> None:
        """The dock is gone: end the run, keeping what there is."""
        self.stop()

    def _let_go(self) -> None:
        if self.run is not None:
            self.run.progressed.disconnect(self._show_progress, missing_ok=True)
            self.run.ended.disconnect(self.show_outcome, missing_ok=True)
        super()._let_go()


class _MiddleLeftOut(QObject):
    """Draws a box whose words are too long without their middle: names of layers often differ at the end."""

    def __init__(self, box: QComboBox) -> None:
        super().__init__(box)
        box.view().setTextElideMode(Qt.TextElideMode.ElideMiddle)
        box.installEventFilter(self)

    def eventFilter(self, box: QComboBox, event: QEvent) -> bool:  # noqa: N802 - Qt's name
        if event.type() != QEvent.Type.Paint:
            return False
        option, style = QStyleOptionComboBox(), box.style()
        box.initStyleOption(option)
        parts = QStyle.SubControl.SC_ComboBoxEditField
        room = style.subControlRect(QStyle.ComplexControl.CC_ComboBox, option, parts, box).width()
        elide = Qt.TextElideMode.ElideMiddle
        option.currentText = box.fontMetrics().elidedText(option.currentText, elide, room - 2 * TEXT_MARGIN)
        painter = QStylePainter(box)
        painter.drawComplexControl(QStyle.ComplexControl.CC_ComboBox, option)
        painter.drawControl(QStyle.ControlElement.CE_ComboBoxLabel, option)
        painter.end()
        return True


def narrow(box: ComboBox) -> None:
    """Let a box be narrower than what it offers."""
    box.native.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
    box.native.setMinimumContentsLength(8)
    _MiddleLeftOut(box.native)
