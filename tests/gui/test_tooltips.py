from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import (
    QAbstractButton,
    QAbstractItemView,
    QAbstractScrollArea,
    QAbstractSlider,
    QAbstractSpinBox,
    QComboBox,
    QLineEdit,
    QScrollBar,
    QSlider,
    QWidget,
)

from napari_dfc.gui.apply_widget import ApplyWidget
from napari_dfc.gui.classes_widget import ClassesWidget
from napari_dfc.gui.dock import LayerDock
from napari_dfc.gui.segment_widget import SegmentWidget
from napari_dfc.gui.train_widget import TrainWidget

DOCKS = (SegmentWidget, TrainWidget, ApplyWidget, ClassesWidget)

CONTROLS = (QAbstractButton, QAbstractItemView, QAbstractSlider, QAbstractSpinBox, QComboBox, QLineEdit)


def controls_in(widget: QWidget) -> Iterator[QWidget]:
    """What a person can press, move or fill in, shown or not; not the parts that Qt makes these of."""
    children = [child for child in widget.children() if isinstance(child, QWidget)]
    has_slider = any(isinstance(child, QSlider) for child in children)
    for child in children:
        is_readout = has_slider and isinstance(child, QAbstractSpinBox) and child.isHidden()  # magicgui's own
        if is_readout or isinstance(child, QScrollBar):
            continue
        if isinstance(child, CONTROLS):
            yield child
        else:
            yield from controls_in(child.viewport() if isinstance(child, QAbstractScrollArea) else child)


@pytest.mark.parametrize("kind", DOCKS)
def test_every_control_has_a_sentence_for_a_tooltip(viewer: ViewerModel, qtbot: QtBot, kind: type[LayerDock]) -> None:
    viewer.add_image(np.zeros((2, 16, 16)), name="stack")
    viewer.add_image(np.zeros((2, 16, 16)), name="other stain")
    viewer.add_labels(np.ones((2, 16, 16), np.uint8), name="labels")
    widget = kind(viewer)
    qtbot.addWidget(widget.native)
    found = list(controls_in(widget.native))
    assert len(found) > 5
    for control in found:
        words, _, _ = control.toolTip().partition(" Shortcut: ")
        what = f"{type(control).__name__} {getattr(control, 'text', str)()!r} has the tooltip {words!r}"
        assert words.endswith("."), what
        assert words[0].isupper() or ": " in words, what  # or it begins with the first of its choices
        assert len(words.split()) >= 3, what
