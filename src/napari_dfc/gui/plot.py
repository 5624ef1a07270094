"""Curves of a run, drawn plainly: the weighted losses and the number of labels, iteration by iteration."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPen, QPolygonF
from qtpy.QtWidgets import QSizePolicy, QWidget

__all__ = ["CurvePlot"]

#: Points of a curve that are drawn at most.
MOST_POINTS = 400

#: Curves, each with its color: people of every color vision tell them apart.
CURVES = (("similarity", "#56b4e9"), ("continuity", "#e69f00"), ("scribble", "#cc79a7"), ("labels", "#009e73"))

HEIGHT = 120


class CurvePlot(QWidget):
    """A small plot without axes to configure: losses on the left scale, label counts on the right one.

    Parameters
    ----------
    parent : QWidget, optional
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.losses: NDArray[np.float64] = np.zeros((0, 4))
        self.counts: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.marked: int | None = None
        self.setFixedHeight(HEIGHT)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self.setToolTip(
            "How the run goes: losses (left scale) fall as labels become what the image suggests; the green line is "
            "the number of labels (right scale). The upright line marks the map that the slider shows."
        )

    def show_curves(self, losses: NDArray[np.float64], counts: NDArray[np.int64], marked: int | None = None) -> None:
        """Draw these.

        Parameters
        ----------
        losses : (iterations, 4) ndarray
            Columns as in `napari_dfc.Segmentation.losses`.
        counts : (iterations,) ndarray
        marked : int, optional
            An iteration.
        """
        self.losses, self.counts, self.marked = losses, counts, marked
        self.update()

    def paintEvent(self, event: QPaintEvent) -> None:  # noqa: N802 - Qt's name
        """Draw."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        words = self.palette().text().color()
        metrics = painter.fontMetrics()
        line = metrics.height()
        self._draw_legend(painter, line)
        n_points = min(len(self.losses), len(self.counts))
        if n_points < 2:
            painter.setPen(words)
            painter.drawText(self.rect(), Qt.AlignmentFlag.AlignCenter, "Curves appear once it runs.")
            return
        most_loss = float(np.nanmax(self.losses[:, :3])) or 1.0
        most_count = max(int(self.counts.max()), 1)
        left, right = f"{most_loss:.2g}", str(most_count)
        margins = metrics.horizontalAdvance(left) + 4, metrics.horizontalAdvance(right) + 4
        area = QRectF(margins[0], 1.3 * line, self.width() - sum(margins), self.height() - 2.5 * line)
        painter.setPen(QPen(words, 0.5))
        painter.drawRect(area)
        painter.drawText(QPointF(0, area.top() + line / 2), left)
        painter.drawText(QPointF(0, area.bottom()), "0")
        painter.drawText(QPointF(area.right() + 4, area.top() + line / 2), right)
        painter.drawText(QPointF(area.left(), self.height() - 2), "0")
        last = str(n_points - 1)
        painter.drawText(QPointF(area.right() - metrics.horizontalAdvance(last), self.height() - 2), last)
        middle = "iterations"
        painter.drawText(QPointF(area.center().x() - metrics.horizontalAdvance(middle) / 2, self.height() - 2), middle)
        columns = [*self.losses[:n_points, :3].T / most_loss, self.counts[:n_points] / most_count]
        for (_, color), values in zip(CURVES, columns, strict=True):
            painter.setPen(QPen(QColor(color), 1.5))
            painter.drawPolyline(_polyline(values, area))
        if self.marked is not None:
            painter.setPen(QPen(words, 1, Qt.PenStyle.DashLine))
            x = area.left() + area.width() * min(self.marked / (n_points - 1), 1.0)
            painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()))

    def _draw_legend(self, painter: QPainter, line: int) -> None:
        x = 0.0
        for name, color in CURVES:
            painter.setPen(QColor(color))
            painter.drawText(QPointF(x, 0.8 * line), name)
            x += painter.fontMetrics().horizontalAdvance(name + "  ")


def _polyline(values: NDArray[np.floating], area: QRectF) -> QPolygonF:
    """Values of 0 to 1 in a rectangle, evenly thinned out where there are many."""
    places = np.unique(np.linspace(0, len(values) - 1, min(len(values), MOST_POINTS)).astype(int))
    x = area.left() + area.width() * places / (len(values) - 1)
    y = area.bottom() - area.height() * np.nan_to_num(values[places])
    return QPolygonF([QPointF(float(a), float(b)) for a, b in zip(x, y, strict=True)])
