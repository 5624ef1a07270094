from __future__ import annotations

import gc
from collections.abc import Callable

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels
from pytestqt.qtbot import QtBot

import napari_dfc as dfc
from napari_dfc.gui.layers import METADATA_KEY
from napari_dfc.gui.worker import LayerRun

SHORT = {"preset": "fast", "split_into": "clusters", "max_iterations": 6, "n_channels": 12, "min_labels": 1}


def test_segment_layer_gives_the_labels_of_segment_over_the_layer(tissue: np.ndarray) -> None:
    image = Image(tissue, name="cells", scale=(0.3, 0.2), translate=(5, 6), units=("um", "um"))
    labels = dfc.segment_layer(image, **SHORT)
    np.testing.assert_array_equal(labels.data, dfc.segment(tissue, **SHORT).labels)
    assert labels.scale.tolist() == [0.3, 0.2]
    assert labels.units == image.units
    assert labels.name == "cells segmentation"
    assert labels.metadata[METADATA_KEY]["settings"]["n_channels"] == 12


def test_segment_layer_takes_strokes_and_further_channels(tissue: np.ndarray) -> None:
    red, green = Image(tissue[..., 0]), Image(tissue[..., 1])
    strokes = Labels(np.zeros(tissue.shape[:2], np.uint8))
    strokes.data[50, 10:30], strokes.data[4, 4:20] = 2, 6
    labels = dfc.segment_layer(red, strokes, channels=[green], **SHORT)
    expected = dfc.segment((tissue[..., 0], tissue[..., 1]), scribbles=strokes.data, **SHORT)
    np.testing.assert_array_equal(labels.data, expected.labels)
    assert set(np.unique(labels.data)) == {2, 6}


def test_segment_layer_takes_the_plane_by_its_number(tissue: np.ndarray) -> None:
    stack = Image(np.stack([np.zeros_like(tissue[..., 0]), tissue[..., 0]]), scale=(4, 1, 1))
    labels = dfc.segment_layer(stack, plane=(1,), **SHORT)
    np.testing.assert_array_equal(labels.data[0], dfc.segment(tissue[..., 0], **SHORT).labels)
    assert labels.translate.tolist() == [4, 0, 0]


def test_segment_layer_of_a_stack_without_a_viewer_asks_for_the_plane(tissue: np.ndarray) -> None:
    with pytest.raises(ValueError, match="accepted is one index for each"):
        dfc.segment_layer(Image(np.zeros((3, 8, 8))), **SHORT)


def test_segment_layer_refuses_what_is_no_image() -> None:
    with pytest.raises(TypeError, match="accepted is a napari Image layer"):
        dfc.segment_layer(Labels(np.ones((8, 8), np.uint8)))


def test_segment_layer_refuses_unknown_settings(image: Image) -> None:
    with pytest.raises(TypeError, match="unknown setting iterations"):
        dfc.segment_layer(image, iterations=3)


def test_start_takes_layers_by_name_and_does_not_block(
    viewer: ViewerModel, image: Image, finish: Callable[[LayerRun], LayerRun], tissue: np.ndarray
) -> None:
    strokes = viewer.add_labels(np.zeros(tissue.shape[:2], np.uint8), name="strokes")
    strokes.data[50, 10:30], strokes.data[4, 4:20] = 2, 6
    run = dfc.start(viewer, "cells", scribbles="strokes", **SHORT)
    assert run.running
    assert repr(run) == "<LayerRun of “cells”: running>"
    finish(run)
    expected = dfc.segment(tissue, scribbles=strokes.data, **SHORT)
    np.testing.assert_array_equal(run.layer.data, expected.labels)
    assert run.layer in viewer.layers


def test_start_can_be_stopped(viewer: ViewerModel, image: Image, filled: Callable[[LayerRun], LayerRun]) -> None:
    run = filled(dfc.start(viewer, image, **{**SHORT, "max_iterations": 100_000}))
    run.stop()
    assert not run.running
    assert run.result.n_labels == len(np.unique(run.layer.data))


def test_start_says_what_is_wrong_at_once(viewer: ViewerModel, image: Image) -> None:
    with pytest.raises(KeyError, match="nothing"):
        dfc.start(viewer, "nothing")
    viewer.add_labels(np.zeros((64, 72), np.uint8), name="strokes")
    with pytest.raises(ValueError, match="nothing is painted"):
        dfc.start(viewer, "cells", scribbles="strokes")
    with pytest.raises(ValueError, match="min_labels is 0"):
        dfc.start(viewer, "cells", min_labels=0)


def test_a_run_that_nobody_holds_takes_strokes_until_another_is_started(
    viewer: ViewerModel, image: Image, qtbot: QtBot, finish: Callable[[LayerRun], LayerRun]
) -> None:
    strokes = viewer.add_labels(np.zeros(image.data.shape[:2], np.uint8))
    strokes.data_setitem((np.full(9, 20), np.arange(10, 19)), 1)
    layer = finish(dfc.start(viewer, image, strokes, **SHORT)).layer
    gc.collect()
    strokes.data_setitem((np.full(9, 4), np.arange(50, 59)), 2)
    qtbot.waitUntil(lambda: len(layer.metadata[METADATA_KEY]["strokes"]) == 2, timeout=10_000)
    record = layer.metadata[METADATA_KEY]
    finish(dfc.start(viewer, image, strokes, **SHORT))
    strokes.data_setitem((np.full(9, 50), np.arange(40, 49)), 3)
    (other,) = (each for each in viewer.layers if METADATA_KEY in each.metadata and each is not layer)
    qtbot.waitUntil(lambda: len(other.metadata[METADATA_KEY]["strokes"]) == 2, timeout=10_000)
    assert layer.metadata[METADATA_KEY] is record
