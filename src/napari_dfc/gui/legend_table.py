"""A table of classes: number, color and name of each, to be named and colored."""

from __future__ import annotations

from psygnal import Signal
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor
from qtpy.QtWidgets import QAbstractItemView, QColorDialog, QHeaderView, QTableWidget, QTableWidgetItem

from napari_dfc.legend import Legend

__all__ = ["LegendTable"]

NUMBER, COLOR, NAME = range(3)


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

    def __init__(self) -> None:
        super().__init__(0, 3)
        self._legend = Legend([])
        self.setHorizontalHeaderLabels(["No.", "Color", "Name"])
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
        self._legend = legend
        self.blockSignals(True)
        self.setRowCount(len(legend))
        for row, entry in enumerate(legend):
            for column, words in ((NUMBER, str(entry.number)), (COLOR, ""), (NAME, entry.name)):
                item = QTableWidgetItem(words)
                editable = column == NAME
                flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
                item.setFlags(flags | Qt.ItemFlag.ItemIsEditable if editable else flags)
                self.setItem(row, column, item)
            self.item(row, COLOR).setBackground(QColor(entry.color))
            self.item(row, COLOR).setToolTip(f"{entry.color}; double-click to choose another color")
        self.blockSignals(False)
        rows = min(len(legend), 8)
        self.setFixedHeight(self.horizontalHeader().sizeHint().height() + rows * self.rowHeight(0) + 8 if rows else 0)

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
