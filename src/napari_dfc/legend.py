"""What the classes of results and networks are called: a number, a name and a color for each."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

__all__ = ["Legend", "LegendEntry"]

#: Letters of a name, at most.
LONGEST_NAME = 100

#: Colors that people of every color vision tell apart (Okabe and Ito), and darker ones of them.
PALETTE = (
    *("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#999999"),
    *("#004d79", "#9a6a00", "#00694d", "#88506f", "#396f99", "#8d3e00", "#a19833", "#555555"),
)


@dataclass(frozen=True)
class LegendEntry:
    """A class.

    Parameters
    ----------
    number : int
        Its pixels' value in label maps, from 1.
    name : str
        One line of 1 to `LONGEST_NAME` letters.
    color : str
        Red, green and blue as ``#rrggbb``.

    Raises
    ------
    TypeError, ValueError
        Anything else.

    Examples
    --------
    >>> LegendEntry(2, "nucleus", "#0072B2")
    LegendEntry(number=2, name='nucleus', color='#0072b2')
    """

    number: int
    name: str
    color: str

    def __post_init__(self) -> None:
        if not isinstance(self.number, int) or isinstance(self.number, bool):
            raise TypeError(f"number of a class is {self.number!r}; accepted is a whole number from 1")
        if not 0 < self.number < 2**64:
            raise ValueError(f"number of a class is {self.number}; accepted is a whole number from 1")
        if not isinstance(self.name, str) or not isinstance(self.color, str):
            raise TypeError(
                f"name and color of class {self.number} are {self.name!r} and {self.color!r}; both are text"
            )
        if self.name != self.name.strip() or not 0 < len(self.name) <= LONGEST_NAME or not self.name.isprintable():
            raise ValueError(
                f"name of class {self.number} is {self.name[: LONGEST_NAME + 1]!r}; accepted is one line of 1 to "
                f"{LONGEST_NAME} letters, without spaces around it"
            )
        if not re.fullmatch(r"#[0-9a-fA-F]{6}", self.color):
            raise ValueError(
                f"color of class {self.number} is {self.color[:20]!r}; accepted is #rrggbb, such as #0072b2"
            )
        object.__setattr__(self, "color", self.color.lower())


class Legend:
    """All classes of a result or a network, by rising number.

    Parameters
    ----------
    entries : iterable of LegendEntry
        In any order.

    Raises
    ------
    ValueError
        A number or a name that two classes have.

    Examples
    --------
    >>> legend = Legend.of([3, 1], names={3: "nucleus"})
    >>> [(entry.number, entry.name) for entry in legend]
    [(1, 'class 1'), (3, 'nucleus')]
    >>> legend.named({1: "background"})[1].name
    'background'
    """

    def __init__(self, entries: Iterable[LegendEntry]) -> None:
        self.entries = tuple(sorted(entries, key=lambda entry: entry.number))
        self._by_number = {entry.number: entry for entry in self.entries}
        for what, values in (("number", self.numbers), ("name", tuple(entry.name for entry in self.entries))):
            twice = [str(value) for value, times in Counter(values).items() if times > 1]
            if twice:
                raise ValueError(f"the {what} {', '.join(twice[:3])} belongs to two classes; each class has its own")

    @classmethod
    def of(
        cls, numbers: Iterable[int], names: Mapping[int, str] | None = None, colors: Mapping[int, str] | None = None
    ) -> Legend:
        """A legend of these numbers; what is not given is "class 1" and so on, and a color of the palette.

        Parameters
        ----------
        numbers : iterable of int
        names, colors : mapping of int to str, optional

        Returns
        -------
        Legend

        Raises
        ------
        TypeError, ValueError
            As `LegendEntry`; a name or color for a number that is not there, or a name used twice.
        """
        numbers = sorted({int(number) for number in numbers})
        names, colors = dict(names or {}), dict(colors or {})
        _check_known({*names, *colors}, numbers)
        return cls(
            LegendEntry(
                number,
                names.get(number, f"class {number}"),
                colors.get(number, PALETTE[(number - 1) % len(PALETTE)]),
            )
            for number in numbers
        )

    @property
    def numbers(self) -> tuple[int, ...]:
        """The classes' numbers, rising."""
        return tuple(entry.number for entry in self.entries)

    def named(self, names: Mapping[int, str]) -> Legend:
        """The same legend with other names."""
        _check_known(names, self.numbers)
        return Legend(replace(entry, name=names.get(entry.number, entry.name)) for entry in self.entries)

    def colored(self, colors: Mapping[int, str]) -> Legend:
        """The same legend with other colors."""
        _check_known(colors, self.numbers)
        return Legend(replace(entry, color=colors.get(entry.number, entry.color)) for entry in self.entries)

    def as_list(self) -> list[dict[str, Any]]:
        """Plain values, ready for JSON."""
        return [{"number": entry.number, "name": entry.name, "color": entry.color} for entry in self.entries]

    def __getitem__(self, number: int) -> LegendEntry:
        return self._by_number[number]

    def __iter__(self) -> Iterator[LegendEntry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Legend) and self.entries == other.entries

    def __hash__(self) -> int:
        return hash(self.entries)

    def __repr__(self) -> str:
        return f"Legend({', '.join(f'{entry.number} {entry.name}' for entry in self.entries)})"


def _check_known(given: Iterable[int], numbers: Iterable[int]) -> None:
    unknown = sorted(set(given) - set(numbers))
    if unknown:
        there = ", ".join(map(str, numbers))
        raise ValueError(f"there is no class {', '.join(map(str, unknown))}; the classes are {there}")
