"""A table of classes: number, color and name of each, to be named and colored."""

from __future__ import annotations

from collections.abc import Sequence

from psygnal import Signal
from qtpy.QtCore import QSignalBlocker, Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QColorDialog, QHeaderView, QTableWidget, QTableWidgetItem

from napari_dfc.legend import Legend, LegendEntry

__all__ = ["LegendTable"]

NUMBER, COLOR, NAME = range(3)

#: Rows that are shown without scrolling, at most.
MOST_ROWS = 8


class LegendTable(QTableWidget):
    """A row for each class; a double click on its color or name changes it.

    Attributes
    ----------
    legend_changed : psygnal.Signal
        Emits the new `Legend` after a change by hand.
    refused : psygnal.Signal
        Emits in words why a name was not taken.
    """

    legend_changed = Signal(object)
    refused = Signal(str)

    #: Titles of the columns; a subclass adds its own.
    titles: tuple[str, ...] = ("No.", "Color", "Name")

    def __init__(self) -> None:
        super().__init__(0, len(self.titles))
        self._legend = Legend([])
        self.setHorizontalHeaderLabels(self.titles)
        self.verticalHeader().setVisible(False)
        self.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        self.setToolTip("The classes: double-click a name or a color to change it.")
        header = self.horizontalHeader()
        for column in (NUMBER, COLOR):
            header.setSectionResizeMode(column, QHeaderView.ResizeMode.ResizeToContents)
        header.setSectionResizeMode(NAME, QHeaderView.ResizeMode.Stretch)
        self.cellChanged.connect(self._take_name)
        self.cellDoubleClicked.connect(self._ask_color)

    @property
    def legend(self) -> Legend:
        """As it is shown."""
        return self._legend

    def show_legend(self, legend: Legend) -> None:
        """Fill the table; nothing is emitted."""
        same_rows = legend.numbers == self._legend.numbers
        self._legend = legend
        blocker = QSignalBlocker(self)
        if not same_rows:  # otherwise selection and scroll bar stay
            self._make_rows(len(legend))
        for row, entry in enumerate(legend):
            for column, words in enumerate(self.words(entry)):
                self.item(row, column).setText(words)  # Qt does nothing where it is the same: what is being typed stays
            self.show_color(self.item(row, COLOR), entry)
        blocker.unblock()
        rows = min(len(legend), MOST_ROWS)
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + rows * self.rowHeight(0) + 8 if rows else 0)

    def words(self, entry: LegendEntry) -> Sequence[str]:
        """What the cells of a class say, column by column."""
        return str(entry.number), "", entry.name

    def show_color(self, item: QTableWidgetItem, entry: LegendEntry) -> None:
        """Show the color of a class in its cell."""
        item.setBackground(QColor(entry.color))
        item.setToolTip(f"{entry.color}; double-click to choose another color")

    def _make_rows(self, n_rows: int) -> None:
        self.clearSelection()
        self.setRowCount(n_rows)
        for row in range(n_rows):
            for column in range(len(self.titles)):
                item = QTableWidgetItem("")
                flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
                item.setFlags(flags | Qt.ItemFlag.ItemIsEditable if column == NAME else flags)
                self.setItem(row, column, item)

    def set_color(self, number: int, color: str) -> None:
        """Give a class another color, as if by hand."""
        self._change(self._legend.colored({number: color}))

    def set_name(self, number: int, name: str) -> None:
        """Give a class another name, as if by hand; `refused` says why where it cannot be."""
        try:
            self._change(self._legend.named({number: name.strip()}))
        except ValueError as error:
            self.show_legend(self._legend)
            self.refused.emit(str(error))

    def _change(self, legend: Legend) -> None:
        self.show_legend(legend)
        self.legend_changed.emit(legend)

    def _take_name(self, row: int, column: int) -> None:
        if column == NAME:
            self.set_name(self._legend.numbers[row], self.item(row, NAME).text())

    def _ask_color(self, row: int, column: int) -> None:
        if column != COLOR:
            return
        entry = self._legend[self._legend.numbers[row]]
        chosen = QColorDialog.getColor(QColor(entry.color), self, f"Color of {entry.name}")
        if chosen.isValid():
            self.set_color(entry.number, chosen.name())
