"""The table of a segmentation's classes: color, name, pixels, area and share, to be chosen, named and colored."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from psygnal import Signal
from qtpy.QtCore import QItemSelectionModel, QSignalBlocker, Qt
from qtpy.QtGui import QBrush, QColor, QIcon, QPainter, QPen, QPixmap
from qtpy.QtWidgets import QAbstractItemView, QHeaderView, QTableWidgetItem

from napari_dfc.gui.counted_layer import ClassRow
from napari_dfc.gui.legend_table import COLOR, NAME, NUMBER, LegendTable
from napari_dfc.gui.pixel_grid import PixelGrid
from napari_dfc.legend import Legend, LegendEntry

__all__ = ["ClassTable"]

PIXELS, AREA, SHARE = range(3, 6)


class ClassTable(LegendTable):
    """A row for each class; several can be chosen, by clicks with Ctrl or Shift.

    Attributes
    ----------
    rows : dict of int to ClassRow
        By number.
    chosen_changed : psygnal.Signal
        Emitted after a choice by hand.
    """

    chosen_changed = Signal()

    titles = ("", "No.", "Name", "Pixels", "Area", "Share")

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, ClassRow] = {}
        self._lock = lock_icon(QColor("#909090"))  # seen on light and on dark
        self._chosen: list[int] = []
        self.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        self.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.setTextElideMode(Qt.TextElideMode.ElideRight)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setToolTip(
            "The classes of this segmentation. Click one, or several with Ctrl, then press a button below. "
            "Double-click a name or a color to change it."
        )
        header = self.horizontalHeader()
        for column in (PIXELS, AREA, SHARE):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        self.setColumnHidden(NUMBER, True)  # it stands beside the color, which leaves more room for the name
        for column, words in (
            (COLOR, "Color and label number, which the brush paints with"),
            (PIXELS, "Pixels of the class, in all planes"),
            (SHARE, "Share of the whole image, background included"),
        ):
            self.horizontalHeaderItem(column).setToolTip(words)
        self.itemSelectionChanged.connect(self._take_choice)

    @property
    def chosen(self) -> list[int]:
        """The numbers of the chosen classes, in the order in which they were clicked."""
        return list(self._chosen)

    def choose(self, *numbers: int) -> None:
        """Choose classes, as if by hand."""
        self._select(numbers)
        self._chosen = [number for number in numbers if number in self.rows]
        self.chosen_changed.emit()

    def show_rows(self, rows: Iterable[ClassRow], grid: PixelGrid) -> None:
        """Fill the table; what was chosen stays chosen, and nothing is emitted."""
        self.rows = {row.number: row for row in rows}
        self._chosen = [number for number in self._chosen if number in self.rows]
        chosen = self.chosen
        self.show_legend(Legend(LegendEntry(row.number, row.name, row.color) for row in self.rows.values()))
        self._select(chosen)
        self.setColumnHidden(AREA, grid.is_plain)
        head = self.horizontalHeaderItem(AREA)
        head.setText(grid.unit or "Area")
        head.setToolTip(f"The {grid.area_title}, in all planes" if grid.unit else "Pixels times the size of one")

    def clear_rows(self) -> None:
        """Show nothing, with nothing chosen; nothing is emitted."""
        self.rows, self._chosen = {}, []
        self.show_legend(Legend([]))

    def words(self, entry: LegendEntry) -> Sequence[str]:
        """What the cells of a class say, column by column."""
        row = self.rows[entry.number]
        share = f"{100 * row.share:.1f}%" if row.share >= 0.0005 else "<0.1%"
        return "", str(entry.number), entry.name, short(row.pixels), short(row.area), share

    def show_color(self, item: QTableWidgetItem, entry: LegendEntry) -> None:
        """Show the color of a class beside its number, hatched where it is hidden; and what else it is."""
        row = self.rows[entry.number]
        self.item(item.row(), PIXELS).setToolTip(f"{row.pixels:,} pixels")
        look = (entry.name, entry.color, row.is_hidden, row.is_locked)
        if item.data(Qt.ItemDataRole.UserRole) == look:
            return  # for a change of its cell ends the typing of a name
        item.setData(Qt.ItemDataRole.UserRole, look)
        item.setIcon(swatch(QColor(entry.color), row.is_hidden))
        item.setToolTip(f"{entry.color}; double-click to choose another color")
        name = self.item(item.row(), NAME)
        name.setIcon(self._lock if row.is_locked else QIcon())
        name.setToolTip(entry.name + ", hidden" * row.is_hidden + ", locked" * row.is_locked)
        font = name.font()
        font.setItalic(row.is_hidden)
        name.setFont(font)
        for column in (PIXELS, AREA, SHARE):
            self.item(item.row(), column).setTextAlignment(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)

    def _select(self, numbers: Iterable[int]) -> None:
        blocker = QSignalBlocker(self)
        there = list(self.rows)
        self.clearSelection()
        for number in numbers:
            if number in self.rows:
                index = self.model().index(there.index(number), NAME)
                flags = QItemSelectionModel.SelectionFlag
                self.selectionModel().select(index, flags.Select | flags.Rows)
        blocker.unblock()

    def _take_choice(self) -> None:
        rows = {index.row() for index in self.selectionModel().selectedRows(NAME)}
        numbers = [number for row, number in enumerate(self.rows) if row in rows]
        kept = [number for number in self._chosen if number in numbers]
        self._chosen = kept + [number for number in numbers if number not in kept]
        self.chosen_changed.emit()


def short(number: float) -> str:
    """A number in few letters, for a narrow column."""
    if number >= 1e6:
        return f"{number / 1e6:.3g}M" if number < 1e9 else f"{number:.2e}"
    return f"{number:,.0f}" if number >= 1000 or number == int(number) else f"{number:.3g}"


def swatch(color: QColor, is_hidden: bool) -> QIcon:
    """A square of a color, hatched for what is hidden."""

    def draw(painter: QPainter) -> None:
        painter.setPen(QPen(color, 2))
        painter.drawRect(2, 2, 28, 28)
        pattern = Qt.BrushStyle.BDiagPattern if is_hidden else Qt.BrushStyle.SolidPattern
        painter.fillRect(2, 2, 28, 28, QBrush(color, pattern))

    return _icon(draw)


def lock_icon(color: QColor) -> QIcon:
    """A padlock, drawn because not every computer has a letter for it."""

    def draw(painter: QPainter) -> None:
        painter.setPen(QPen(color, 4))
        painter.drawArc(9, 3, 14, 20, 0, 180 * 16)
        painter.fillRect(5, 13, 22, 16, color)

    return _icon(draw)


def _icon(draw: Callable[[QPainter], None]) -> QIcon:
    pixmap = QPixmap(32, 32)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    draw(painter)
    painter.end()
    icon = QIcon()
    for mode in (QIcon.Mode.Normal, QIcon.Mode.Selected):  # Qt would tint it in a chosen row
        icon.addPixmap(pixmap, mode)
    return icon
