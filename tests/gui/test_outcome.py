from __future__ import annotations

import csv
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from napari.layers import Image, Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_dfc.gui.colors import class_colors, class_names
from napari_dfc.gui.outcome import Outcome
from napari_dfc.gui.pixel_grid import PixelGrid, channels_under, image_under

#: Two nuclei of class 3, with a hole of class 1 in the first, and a class 2.
CELLS = np.array(
    [
        [3, 3, 3, 1, 1, 1],
        [3, 1, 3, 1, 3, 3],
        [3, 3, 3, 1, 3, 3],
        [2, 2, 1, 1, 1, 1],
    ],
    dtype=np.uint8,
)


@pytest.fixture
def layer() -> Labels:
    return Labels(CELLS.copy(), name="cells", scale=(0.5, 0.5), units=("um", "um"))


@pytest.fixture
def outcome(layer: Labels) -> Outcome:
    return Outcome(layer)


def opacity(layer: Labels, number: int) -> float:
    return float(layer.colormap.map(number)[3])


def test_what_is_no_labels_layer_is_refused(layer: Labels) -> None:
    with pytest.raises(TypeError, match="accepted is a Labels layer"):
        Outcome(Image(np.zeros((4, 4))))
    with pytest.raises(TypeError, match="accepted is an Image layer"):
        Outcome(layer, layer)
    with pytest.raises(ValueError, match="“pyramid” is multiscale: it holds its labels at several resolutions"):
        Outcome(Labels([CELLS, CELLS[::2, ::2]], name="pyramid", multiscale=True))


def test_classes_are_counted_in_physical_units(outcome: Outcome) -> None:
    outcome.layer.features = {"index": [0, 3], "class": ["", "nucleus"]}
    rows = outcome.rows()
    assert [(row.number, row.name, row.pixels, row.area) for row in rows] == [
        (1, "class 1", 10, 2.5),
        (2, "class 2", 2, 0.5),
        (3, "nucleus", 12, 3.0),
    ]
    assert rows[0].share == pytest.approx(10 / 24)
    assert (outcome.grid.unit, outcome.grid.area_title) == ("µm²", "area (µm²)")
    assert [row.number for row in outcome.rows(most=2)] == [1, 3]


def test_names_and_colors_are_the_layers(outcome: Outcome) -> None:
    outcome.rename(3, "nucleus")
    outcome.recolor(3, "#102030")
    assert outcome.layer.features["class"].tolist() == ["", "nucleus"]
    assert outcome.layer.features["index"].tolist() == [0, 3]
    np.testing.assert_allclose(outcome.layer.get_color(3), [16 / 255, 32 / 255, 48 / 255, 1], atol=1e-6)
    row = Outcome(outcome.layer).rows()[2]
    assert (row.name, row.color) == ("nucleus", "#102030")
    with pytest.raises(ValueError, match="nucleus belongs to two classes"):
        outcome.rename(1, "nucleus")
    with pytest.raises(ValueError, match="accepted is #rrggbb"):
        outcome.recolor(1, "red")
    with pytest.raises(ValueError, match="“cells” has no class 9; its classes are 1, 2, 3"):
        outcome.rename(9, "nothing")
    assert (outcome.undo(), outcome.undo(), outcome.undo()) == ("coloring class 3", "naming class 3", "")
    assert outcome.rows()[2].name == "class 3"
    assert outcome.rows()[2].color != "#102030"


def test_other_features_stay_when_a_class_is_named(outcome: Outcome) -> None:
    outcome.layer.features = {"index": [3, 1], "score": [0.5, 0.25]}
    outcome.rename(2, "debris")
    table = outcome.layer.features.set_index("index")
    assert table["class"].to_dict() == {0: "", 1: "", 2: "debris", 3: ""}
    assert table["score"].loc[[1, 3]].tolist() == [0.25, 0.5]


def test_names_that_cannot_be_shown_are_replaced() -> None:
    layer = Labels(CELLS.copy())
    layer.features = {"index": [1, 2, 3], "class": ["cell", "cell", "a\nb"]}
    assert class_names(layer, [1, 2, 3]) == {1: "cell 1", 2: "cell 2", 3: "class 3"}
    layer.features = {"class": ["", "one", "class 3", None]}  # no index: the row says the number
    assert class_names(layer, [1, 2, 3]) == {1: "one", 2: "class 3 2", 3: "class 3 3"}


def test_a_hidden_class_is_transparent_and_its_labels_stay(outcome: Outcome) -> None:
    color = outcome.rows()[2].color
    outcome.hide(3)
    assert (outcome.layer.data == CELLS).all()
    assert (opacity(outcome.layer, 3), opacity(outcome.layer, 1)) == (0, 1)
    assert outcome.rows()[2].is_hidden
    assert outcome.rows()[2].color == color
    outcome.recolor(3, "#102030")
    assert opacity(outcome.layer, 3) == 0
    outcome.show()
    assert opacity(outcome.layer, 3) == 1
    assert outcome.rows()[2].color == "#102030"
    for _ in range(3):
        outcome.undo()
    assert not any(row.is_hidden for row in outcome.rows())


def test_far_apart_numbers_have_colors_of_their_own() -> None:
    layer = Labels(np.array([[1, 257, 600]]))
    outcome = Outcome(layer)
    outcome.hide(257)
    assert [row.is_hidden for row in outcome.rows()] == [False, True, False]
    distant = Outcome(Labels(np.array([[1, 2**20]])))
    with pytest.raises(ValueError, match="number the labels anew"):
        distant.hide(1)
    assert distant.history.to_undo == ""


def test_a_direct_colormap_keeps_its_colors() -> None:
    colors = {None: np.zeros(4), 1: np.array([1, 0, 0, 1.0]), 3: np.array([0, 1, 0, 1.0])}
    layer = Labels(CELLS.copy(), colormap=DirectLabelColormap(color_dict=colors))
    outcome = Outcome(layer)
    assert [row.is_hidden for row in outcome.rows()] == [False, True, False]
    outcome.recolor(1, "#0000ff")
    assert class_colors(layer, [1, 2, 3]) == {1: (0, 0, 1, 1), 2: (0, 0, 0, 0), 3: (0, 1, 0, 1)}


def test_one_class_is_shown_alone(outcome: Outcome) -> None:
    outcome.highlight(2)
    assert (outcome.layer.selected_label, outcome.layer.show_selected_label) == (2, True)
    outcome.recolor(1, "#112233")  # colors are read and set while others are hidden
    assert outcome.rows()[0].color == "#112233"
    assert opacity(outcome.layer, 1) == 0
    outcome.highlight(None)
    assert opacity(outcome.layer, 1) == 1
    with pytest.raises(ValueError, match="has no class 7"):
        outcome.highlight(7)


def test_merging_into_the_first_is_undone_and_redone(outcome: Outcome) -> None:
    outcome.rename(2, "debris")
    data = outcome.layer.data
    outcome.merge(3, 2)
    merged = np.where(CELLS == 2, 3, CELLS)
    assert (outcome.layer.data == merged).all()
    assert outcome.layer.data is data
    assert [row.name for row in outcome.rows()] == ["class 1", "class 3"]
    assert outcome.undo() == "merging debris into class 3"
    assert (outcome.layer.data == CELLS).all()
    assert outcome.rows()[1].name == "debris"
    assert outcome.redo() == "merging debris into class 3"
    assert (outcome.layer.data == merged).all()


def test_counts_follow_edits_without_another_count(outcome: Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = {row.number: row.pixels for row in outcome.rows()}
    assert pixels == {1: 10, 2: 2, 3: 12}
    monkeypatch.setattr(outcome, "counting", lambda: pytest.fail("counted anew"))
    for edit, expected in (
        (lambda: outcome.merge(2, 1), {2: 12, 3: 12}),
        (lambda: outcome.mark_background(3), {2: 12}),
        (outcome.undo, {2: 12, 3: 12}),
        (outcome.undo, pixels),
        (outcome.redo, {2: 12, 3: 12}),
    ):
        edit()
        assert outcome.counted
        assert [(row.number, row.pixels) for row in outcome.rows()] == list(expected.items())


def test_labels_that_were_written_behind_its_back_are_counted(outcome: Outcome) -> None:
    assert [row.number for row in outcome.rows()] == [1, 2, 3]
    outcome.layer.data[:3] = 2  # without telling anybody
    outcome.merge(1, 2)
    assert [(row.number, row.pixels) for row in outcome.rows()] == [(1, 24)]


def test_merging_takes_two_classes_that_are_there(outcome: Outcome) -> None:
    for numbers in ((), (3,), (3, 3)):
        with pytest.raises(ValueError, match="merging takes two classes or more"):
            outcome.merge(*numbers)
    with pytest.raises(ValueError, match="has no class 8"):
        outcome.merge(3, 8)


def test_background_is_no_class(outcome: Outcome) -> None:
    outcome.mark_background(1, 2)
    assert [row.number for row in outcome.rows()] == [3]
    assert outcome.rows()[0].share == 0.5  # of the whole image
    assert outcome.undo() == "marking class 1, class 2 as background"
    assert (outcome.layer.data == CELLS).all()
    with pytest.raises(ValueError, match="no class is chosen"):
        outcome.mark_background()


def test_a_locked_class_keeps_its_pixels(outcome: Outcome) -> None:
    outcome.lock(2)
    assert outcome.locked == {2}
    assert outcome.rows()[1].is_locked
    assert Outcome(outcome.layer).locked == {2}
    with pytest.raises(ValueError, match="class 2 is locked and keeps its pixels; unlock it first"):
        outcome.merge(1, 2)
    with pytest.raises(ValueError, match="class 2 is locked"):
        outcome.mark_background(2)
    assert outcome.keep(np.full_like(CELLS, 1)).tolist() == np.where(CELLS == 2, 2, 1).tolist()
    outcome.unlock()
    outcome.unlock()
    assert outcome.locked == frozenset()
    assert outcome.undo() == "unlocking class 2"
    assert outcome.locked == {2}


def test_what_is_painted_by_hand_is_kept(outcome: Outcome) -> None:
    layer = outcome.layer
    assert outcome.edited is None
    layer.brush_size = 1
    layer.paint((0, 5), 3)
    layer.data_setitem((np.array([3]), np.array([0])), 0)
    expected = np.zeros(CELLS.shape, bool)
    expected[0, 5] = expected[3, 0] = True
    np.testing.assert_array_equal(outcome.edited, expected)
    kept = outcome.keep(np.full_like(CELLS, 7))
    assert (kept[0, 5], kept[3, 0], kept[0, 0]) == (3, 0, 7)
    assert [row.pixels for row in outcome.rows()] == [9, 1, 13]
    outcome.forget_edited()
    assert outcome.edited is None


def test_another_array_is_counted_anew_and_has_no_history(outcome: Outcome) -> None:
    outcome.merge(3, 2)
    told = []
    outcome.changed.connect(lambda: told.append(outcome.counted))
    outcome.layer.data = np.full((3, 3), 5, dtype=np.int64)
    assert False in told
    assert [(row.number, row.pixels) for row in outcome.rows()] == [(5, 9)]
    assert outcome.undo() == ""
    outcome.layer.scale = (2, 2)
    assert outcome.rows()[0].area == 36
    outcome.layer.name = "renamed"
    outcome.rename(5, "all")
    assert outcome.rows()[0].name == "all"


def test_who_lets_go_hears_no_more(outcome: Outcome) -> None:
    told: list[int] = []
    outcome.changed.connect(lambda: told.append(1))
    outcome.layer.refresh()
    n_told = len(told)
    assert n_told
    outcome.let_go()
    outcome.layer.refresh()
    outcome.layer.data = CELLS[:2]
    assert len(told) == n_told


def test_labels_in_a_file_are_counted_but_not_changed() -> None:
    for data in (da.from_array(CELLS), CELLS.view()):
        data_is_view = isinstance(data, np.ndarray)
        if data_is_view:
            data.flags.writeable = False
        outcome = Outcome(Labels(data, name="lazy"))
        assert [row.pixels for row in outcome.rows()] == [10, 2, 12]
        with pytest.raises(ValueError, match=r"take them into memory: layer.data = np.array\(layer.data\)"):
            outcome.merge(1, 2)
        outcome.rename(3, "nucleus")
        assert outcome.split(3).data.max() == 2
        assert outcome.measure()["pixels"].tolist() == [10, 2, 12]


def test_negative_numbers_are_refused_in_words() -> None:
    with pytest.raises(ValueError, match="labels hold the number -1"):
        Outcome(Labels(np.array([[-1, 2]]))).rows()


def test_objects_lie_exactly_over_their_class() -> None:
    layer = Labels(
        np.stack([CELLS, CELLS]),
        name="cells",
        scale=(2, 0.5, 0.25),
        translate=(1, 2, 3),
        rotate=(0, 0, 30),
        shear=(0, 0, 0.2),
        affine=[[1, 0, 0, 5], [0, 0, 1, 6], [0, 1, 0, 7], [0, 0, 0, 1]],
        units=("um", "um", "um"),
        axis_labels=("z", "y", "x"),
    )
    outcome = Outcome(layer)
    outcome.rename(3, "nucleus")
    objects = outcome.split(3)
    for corner in ((0, 0, 0), (1, 3, 5), (0, 2, 1)):
        np.testing.assert_allclose(objects.data_to_world(corner), layer.data_to_world(corner))
    assert (objects.units, objects.axis_labels) == (layer.units, layer.axis_labels)
    assert objects.name == "cells nucleus objects"
    assert objects.data.max() == 2
    volume = 2 * 0.5 * 0.25
    assert objects.features["volume (µm³)"].tolist()[1:] == pytest.approx([16 * volume, 8 * volume])
    centroid = objects.features[["centroid z (µm)", "centroid y (µm)", "centroid x (µm)"]].iloc[2]
    np.testing.assert_allclose(centroid, layer.data_to_world((0.5, 1.5, 4.5)))
    assert outcome.split(3, each_plane=True).data.max() == 4
    assert outcome.split(3, min_size=9).data.max() == 1
    assert (outcome.split(3, fill_holes=True).data == 1).sum() == 16  # open towards the planes beyond


def test_holes_are_filled_and_too_small_is_said(outcome: Outcome) -> None:
    objects = outcome.split(3, fill_holes=True)
    assert (objects.data == 1).sum() == 9
    assert objects.features["class"].tolist() == ["", "class 3", "class 3"]
    assert objects.features["pixels"].tolist() == [24 - 9 - 4, 9, 4]
    assert objects.data.dtype == np.uint8
    with pytest.raises(ValueError, match="no object of class 2 has 5 pixels; choose fewer"):
        outcome.split(2, min_size=5)
    assert [row.name for row in Outcome(objects).rows()] == ["class 3 1", "class 3 2"]


def test_measures_are_shown_under_the_mouse_and_in_the_table(layer: Labels, tmp_path: Path) -> None:
    image = Image(np.arange(24.0).reshape(4, 6), name="DAPI", scale=(0.5, 0.5))
    outcome = Outcome(layer, image)
    outcome.rename(3, "nucleus")
    outcome.measure()
    table = layer.features.set_index("index")
    assert table["pixels"].tolist() == [0, 10, 2, 12]
    assert table["DAPI mean"].loc[2] == 18.5
    assert table["DAPI std"].loc[2] == 0.5
    assert table["centroid x (µm)"].loc[2] == 0.25
    assert "class: nucleus" in layer.get_status((0, 0), world=True)["value"]
    outcome.save_table(tmp_path / "cells.csv")
    with (tmp_path / "cells.csv").open(encoding="utf-8-sig", newline="") as file:
        head, *rows = csv.reader(file)
    assert head[:5] == ["number", "name", "pixels", "area (µm²)", "share"]
    assert head[5:] == [
        *("centroid y (µm)", "centroid x (µm)"),
        *("DAPI mean", "DAPI min", "DAPI max", "DAPI std"),
    ]
    assert rows[1][:5] == ["2", "class 2", "2", "0.5", "0.0833333"]
    assert len(rows) == 3
    with pytest.raises(FileExistsError):
        outcome.save_table(tmp_path / "cells.csv")


@pytest.mark.parametrize("change", ["merge", "paint", "swap", "data", "behind"])
def test_measures_of_other_labels_are_forgotten(outcome: Outcome, change: str) -> None:
    outcome.measure()
    layer = outcome.layer
    assert "pixels" in layer.features
    if change == "merge":
        outcome.merge(3, 2)
    elif change == "paint":
        layer.paint((0, 5), 3)
    elif change == "swap":  # as many pixels of every class as before
        layer.brush_size = 1
        layer.paint((0, 3), 3)
        layer.paint((0, 2), 1)
    elif change == "data":
        layer.data = CELLS[:2]
    else:
        layer.data[0, 0] = 2
        layer.refresh()
    outcome.rows()
    assert list(layer.features) in (["index"], ["index", "class"])
    assert "centroid x (µm)" not in outcome.table()


def test_pixels_without_a_size_have_no_area_of_their_own() -> None:
    outcome = Outcome(Labels(CELLS.copy()))
    assert outcome.grid.is_plain
    assert list(outcome.table()) == ["number", "name", "pixels", "share"]
    assert not Outcome(Labels(CELLS.copy(), scale=(2, 2))).grid.is_plain


def test_areas_of_a_series_are_those_of_its_planes() -> None:
    layer = Labels(np.stack([CELLS] * 2), scale=(30, 500, 0.5), units=("s", "nm", "um"))
    grid = PixelGrid.of(layer)
    assert grid.area == pytest.approx(0.25)
    assert grid.unit == "µm²"
    assert grid.axes == ("axis 0 (s)", "y (nm)", "x (µm)")
    assert PixelGrid.of(Labels(np.stack([CELLS] * 2), scale=(4, 3, 2))).area == pytest.approx(24)


def test_channels_lie_under_the_labels() -> None:
    layer = Labels(CELLS.copy(), name="cells", translate=(1, 2))
    signal = np.arange(80, dtype=float).reshape(8, 10)
    gray = Image(signal, name="gray")
    ((data, index),) = channels_under(layer, gray).values()
    np.testing.assert_array_equal(data[index], signal[1:5, 2:8])
    color = Image(np.stack([signal, signal + 1, signal + 2, signal], -1).astype(np.uint8), name="color", rgb=True)
    assert list(channels_under(layer, color)) == ["color red", "color green", "color blue"]
    data, index = channels_under(layer, color)["color green"]
    np.testing.assert_array_equal(data[index], signal[1:5, 2:8] + 1)
    stains = Image(np.stack([signal, -signal]), name="stains")
    data, index = channels_under(layer, stains)["stains 1"]
    np.testing.assert_array_equal(data[index], -signal[1:5, 2:8])
    stack = Image(np.stack([signal, -signal]), name="stack", scale=(3, 1, 1))
    plane = Labels(CELLS[None], translate=(3, 1, 2), scale=(3, 1, 1))
    data, index = channels_under(plane, stack)["stack"]
    np.testing.assert_array_equal(data[index], -signal[None, 1:5, 2:8])


def test_an_image_elsewhere_is_refused(layer: Labels) -> None:
    small = Image(np.zeros((3, 6)), name="small", scale=(0.5, 0.5))
    finer = Image(np.zeros((9, 13)), name="finer", scale=(0.25, 0.25))
    for image in (small, finer):
        with pytest.raises(ValueError, match=f"does not lie over “{image.name}”, pixel on pixel"):
            channels_under(layer, image)
    with pytest.raises(ValueError, match="“deep” has 4 axes and “cells” 2"):
        channels_under(layer, Image(np.zeros((2, 2, 4, 6)), name="deep"))
    fitting = Image(np.zeros((4, 6)), scale=(0.5, 0.5))
    assert image_under(layer, [None, small, finer, fitting]) is fitting
    assert image_under(layer, [small]) is None
    with pytest.raises(ValueError, match="pixel on pixel"):
        Outcome(layer, small).measure()


def test_measures_of_labels_that_have_changed_meanwhile_are_not_shown(layer: Labels, outcome: Outcome) -> None:
    measure = outcome.measuring()
    layer.data_setitem((np.array([0]), np.array([5])), 9)
    with pytest.raises(ValueError, match="the labels were changed while they were measured; measure again"):
        outcome.take_measures(measure())
    assert "pixels" not in layer.features
    assert outcome.take_measures(outcome.measuring()()) == 4
