"""The legend of classes: what it accepts, and that it keeps its order."""

from __future__ import annotations

import pytest

from napari_dfc.legend import Legend, LegendEntry


def test_entries_are_in_the_order_of_their_numbers_and_keep_their_names() -> None:
    legend = Legend([LegendEntry(7, "b", "#FFFFFF"), LegendEntry(2, "a", "#000000")])
    assert legend.numbers == (2, 7)
    assert [entry.name for entry in legend] == ["a", "b"]
    assert legend[7].color == "#ffffff"
    assert len(legend) == 2
    with pytest.raises(KeyError):
        legend[3]


def test_what_is_not_given_has_a_name_and_a_color_of_its_own() -> None:
    legend = Legend.of(range(1, 17), names={2: "nucleus"}, colors={3: "#010203"})
    assert legend[1].name == "class 1"
    assert legend[2].name == "nucleus"
    assert legend[3].color == "#010203"
    assert len({entry.color for entry in legend}) == 16


def test_renaming_and_recoloring_leave_the_rest() -> None:
    legend = Legend.of([1, 2])
    changed = legend.named({2: "x"}).colored({1: "#123456"})
    assert [(entry.name, entry.color) for entry in changed] == [("class 1", "#123456"), ("x", legend[2].color)]
    assert legend == Legend.of([1, 2])
    assert legend != changed


@pytest.mark.parametrize("name", ["", " x", "x\n", "two\nlines", "x" * 101, "\u202e"])
def test_names_that_no_list_could_show_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match="name of class 1"):
        LegendEntry(1, name, "#000000")


@pytest.mark.parametrize("color", ["red", "#12345", "#1234567", "#12345g", ""])
def test_other_colors_are_refused(color: str) -> None:
    with pytest.raises(ValueError, match="accepted is #rrggbb"):
        LegendEntry(1, "x", color)


@pytest.mark.parametrize("number", [0, -1, 2**64])
def test_numbers_that_no_label_map_has_are_refused(number: int) -> None:
    with pytest.raises(ValueError, match="whole number from 1"):
        LegendEntry(number, "x", "#000000")


def test_other_types_are_refused() -> None:
    for wrong in ({"number": 1.0}, {"number": True}, {"name": 3}, {"color": None}):
        with pytest.raises(TypeError):
            LegendEntry(**{"number": 1, "name": "x", "color": "#000000", **wrong})


def test_a_name_or_a_number_is_used_once() -> None:
    with pytest.raises(ValueError, match="the name x belongs to two classes"):
        Legend.of([1, 2], names={1: "x", 2: "x"})
    with pytest.raises(ValueError, match="the number 1 belongs to two classes"):
        Legend([LegendEntry(1, "a", "#000000"), LegendEntry(1, "b", "#000000")])


def test_a_class_that_is_not_there_has_no_name() -> None:
    with pytest.raises(ValueError, match="there is no class 5; the classes are 1, 2"):
        Legend.of([1, 2]).named({5: "x"})
