from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from napari_dfc.metrics import (
    best_overlaps,
    boundary_f_measure,
    class_mean_iou,
    flicker,
    object_f1,
    published_mean_iou,
    published_overlaps,
    variation_of_information,
)

maps = arrays(np.uint8, (5, 6), elements=st.integers(0, 3))


def plain_regions(labels: np.ndarray) -> list[set[tuple[int, int]]]:
    """Connected components over 4 neighbors, pixel by pixel."""
    left = {(row, column) for row in range(labels.shape[0]) for column in range(labels.shape[1])}
    found = []
    while left:
        start = left.pop()
        region, waiting = {start}, [start]
        while waiting:
            row, column = waiting.pop()
            for other in ((row + 1, column), (row - 1, column), (row, column + 1), (row, column - 1)):
                if other in left and labels[other] == labels[start]:
                    left.remove(other)
                    region.add(other)
                    waiting.append(other)
        found.append(region)
    return found


@settings(max_examples=60)
@given(maps, maps)
def test_best_overlaps_are_those_of_a_plain_search(labels: np.ndarray, segments: np.ndarray) -> None:
    expected = []
    for value in np.unique(segments):
        segment = {tuple(each) for each in np.argwhere(segments == value).tolist()}
        expected.append(max(len(segment & region) / len(segment | region) for region in plain_regions(labels)))
    np.testing.assert_allclose(best_overlaps(labels, segments), expected, rtol=1e-12)


def test_overlap_of_every_segment_with_its_best_component() -> None:
    segments = np.array([[1, 1, 2, 2], [1, 1, 2, 2]])
    # two components of one label, which touch nowhere
    prediction = np.array([[5, 5, 7, 5], [5, 5, 7, 5]])
    assert best_overlaps(prediction, segments).tolist() == [1.0, 0.5]
    # corners alone do not connect: the right part falls into four
    prediction = np.array([[5, 5, 6, 7], [5, 5, 7, 6]])
    assert best_overlaps(prediction, segments).tolist() == [1.0, 0.25]


def test_a_blank_prediction_scores_each_segment_s_share_of_the_image() -> None:
    segments = np.array([[1, 2, 2, 2], [3, 3, 3, 3]])
    assert best_overlaps(np.zeros((2, 4), dtype=int), segments).tolist() == [1 / 8, 3 / 8, 4 / 8]


def test_the_published_measure_pools_the_segments_of_all_images() -> None:
    blank = np.ones((2, 4), dtype=int)
    halves = np.repeat([[1, 1, 2, 2]], 2, axis=0)  # a blank prediction overlaps each half by 1/2
    assert published_mean_iou([blank, blank], [[blank], [halves]], "all") == pytest.approx((1 + 0.5 + 0.5) / 3)


def test_fine_and_coarse_take_one_annotator_each() -> None:
    coarse, fine = np.array([[1, 1, 1, 1]]), np.array([[1, 1, 2, 2]])
    labels = np.array([[1, 1, 1, 1]])
    assert published_overlaps(labels, [fine, coarse], "fine").tolist() == [0.5, 0.5]
    assert published_overlaps(labels, [fine, coarse], "coarse").tolist() == [1.0]
    assert published_overlaps(labels, [fine, coarse], "all").tolist() == [0.5, 0.5, 1.0]


def test_class_mean_iou_counts_the_given_classes_only() -> None:
    truth = np.array([[0, 0, 1, 1, 2, 2]])
    labels = np.array([[0, 1, 1, 1, 0, 2]])
    # class 0: 1 of 3, class 1: 2 of 3, class 2: 1 of 2
    assert class_mean_iou(labels, truth) == pytest.approx((1 / 3 + 2 / 3 + 1 / 2) / 3)
    assert class_mean_iou(labels, truth, [1, 2]) == pytest.approx((2 / 3 + 1 / 2) / 2)
    assert class_mean_iou(labels, truth, [1, 9]) == pytest.approx(2 / 3)
    assert class_mean_iou(labels, truth, [1, 0]) == pytest.approx((1 / 3 + 2 / 3) / 2)


def test_a_class_found_nowhere_counts_as_0() -> None:
    assert class_mean_iou(np.array([[1, 1]]), np.array([[1, 2]])) == pytest.approx((1 / 2 + 0) / 2)


def test_boundary_f_measure_by_hand() -> None:
    labels, truth = np.ones((8, 8), dtype=int), np.ones((8, 8), dtype=int)
    labels[:, 4:] = 2  # boundary columns 3 and 4
    truth[:, 6:] = 2  # 5 and 6
    assert boundary_f_measure(labels, truth, tolerance=0) == 0
    assert boundary_f_measure(labels, truth, tolerance=1) == pytest.approx(0.5)  # 4 lies beside 5
    assert boundary_f_measure(labels, truth, tolerance=2) == 1
    assert boundary_f_measure(np.ones((8, 8), dtype=int), np.ones((8, 8), dtype=int)) == 1
    assert boundary_f_measure(labels, np.ones((8, 8), dtype=int)) == 0


def test_object_f1_by_hand() -> None:
    truth = np.array([[1, 1, 1, 1, 0, 2, 2, 0, 3, 3]])
    labels = np.array([[7, 7, 7, 0, 0, 5, 0, 0, 9, 9]])
    # object 1: 3 of 4, found; object 2: 1 of 2, not above the threshold; object 3: found
    assert object_f1(labels, truth) == pytest.approx(2 * 2 / (3 + 3))
    assert object_f1(labels, truth, threshold=0.8) == pytest.approx(2 * 1 / (3 + 3))
    assert object_f1(np.zeros((1, 3), dtype=int), np.zeros((1, 3), dtype=int)) == 1
    assert object_f1(np.zeros((1, 3), dtype=int), np.array([[0, 1, 1]])) == 0


def test_background_is_no_object() -> None:
    assert object_f1(np.array([[0, 0, 0, 1]]), np.array([[0, 0, 0, 0]])) == 0


@settings(max_examples=40)
@given(maps, st.permutations([0, 1, 2, 3]))
def test_other_numbers_for_the_same_segmentation_change_no_measure(labels: np.ndarray, order: list[int]) -> None:
    renamed = np.array(order, dtype=np.uint8)[labels]
    assert best_overlaps(renamed, labels).tolist() == best_overlaps(labels, labels).tolist()
    assert boundary_f_measure(renamed, labels, tolerance=0) == 1
    assert sum(variation_of_information(renamed, labels)) == pytest.approx(0, abs=1e-12)


def test_variation_of_information_of_halves_by_hand() -> None:
    one, other = np.array([[1, 1, 1, 1]]), np.array([[1, 1, 2, 2]])
    assert sum(variation_of_information(one, other)) == pytest.approx(math.log2(2))


# two rows, three columns, three frames; columns: still, changes twice, has no label in the second frame
SERIES = np.array([[[1, 1, 3], [1, 2, 3]], [[1, 2, 0], [1, 2, 0]], [[1, 1, 3], [1, 2, 4]]])


def test_flicker_by_hand() -> None:
    # pairs of labels: 4 between the first two frames, 4 between the last two; one pixel changes in each
    assert flicker(SERIES) == pytest.approx(2 / 8)
    assert flicker(SERIES[[0, 2]]) == pytest.approx(1 / 6)  # 3 becomes 4
    assert flicker(SERIES[[0, 0, 0]]) == 0


def test_flicker_counts_static_pixels_only() -> None:
    left = np.array([[True, False, True], [True, True, True]])
    assert flicker(SERIES, left) == 0  # what changes is left out, and the last column has no label
    top = np.array([[True, True, True], [False, False, False]])
    assert flicker(SERIES, top) == pytest.approx(2 / 4)
    between = np.stack([top, ~top])  # the upper row at first, then the lower one
    assert flicker(SERIES, between) == pytest.approx((1 + 0) / (2 + 2))


@settings(max_examples=40)
@given(arrays(np.uint8, (4, 3, 5), elements=st.integers(0, 3)), arrays(np.bool_, (3, 3, 5)))
def test_flicker_is_that_of_a_plain_count(labels: np.ndarray, static: np.ndarray) -> None:
    found = [
        labels[index] != labels[index[0] + 1, index[1], index[2]]
        for index in map(tuple, np.argwhere(static).tolist())
        if labels[index] and labels[index[0] + 1, index[1], index[2]]
    ]
    if found:
        assert flicker(labels, static) == pytest.approx(sum(found) / len(found))
    else:
        with pytest.raises(ValueError, match="no static pixel has a label"):
            flicker(labels, static)


def test_series_that_cannot_flicker_are_refused() -> None:
    with pytest.raises(ValueError, match=r"labels has shape \(2, 3\); accepted is \(T, H, W\) of two frames or more"):
        flicker(SERIES[0])
    with pytest.raises(ValueError, match=r"labels has shape \(1, 2, 3\)"):
        flicker(SERIES[:1])
    with pytest.raises(TypeError, match="labels has values of type float64"):
        flicker(SERIES.astype(float))
    with pytest.raises(TypeError, match="static has values of type int64; accepted is bool"):
        flicker(SERIES, np.ones((2, 3), dtype=np.int64))
    with pytest.raises(ValueError, match=r"static has shape \(3, 2, 3\); accepted are \(2, 3\) and \(2, 2, 3\)"):
        flicker(SERIES, np.ones((3, 2, 3), dtype=bool))


@pytest.mark.parametrize("measure", [best_overlaps, class_mean_iou, boundary_f_measure, object_f1])
def test_what_cannot_be_compared_is_refused(measure) -> None:
    with pytest.raises(ValueError, match=r"shapes \(2, 2\) and \(2, 3\)"):
        measure(np.ones((2, 2), dtype=int), np.ones((2, 3), dtype=int))
    with pytest.raises(TypeError, match="labels has values of type float64"):
        measure(np.ones((2, 2)), np.ones((2, 2), dtype=int))


def test_wrong_choices_are_refused() -> None:
    truth = np.ones((2, 2), dtype=int)
    with pytest.raises(ValueError, match="mode is 'best'; accepted are all, fine, coarse"):
        published_overlaps(truth, [truth], "best")
    with pytest.raises(ValueError, match=r"threshold is 0\.4"):
        object_f1(truth, truth, threshold=0.4)
    with pytest.raises(ValueError, match="tolerance is -1"):
        boundary_f_measure(truth, truth, tolerance=-1)
    with pytest.raises(ValueError, match="none of the classes"):
        class_mean_iou(truth, truth, [7])
    with pytest.raises(ValueError, match="annotations is empty"):
        published_overlaps(truth, [])
    with pytest.raises(ValueError, match="no image"):
        published_mean_iou([], [])
