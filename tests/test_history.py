"""Label maps at each label count: of clusters, as a run passes them, and of pieces, as a hierarchy merges them."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import napari_dfc as dfc
from napari_dfc import history as module
from napari_dfc.hierarchy import Hierarchy
from napari_dfc.history import History, KeptMap, Recorder, history_of_maps, history_of_pieces
from napari_dfc.merging import merge_alike
from napari_dfc.numbering import apply_numbers, label_numbers
from napari_dfc.optimization import Iteration
from napari_dfc.passes import Losses
from napari_dfc.samples import read_sample
from napari_dfc.segmentation import Run

FAST = {"preset": "fast", "split_into": "clusters", "max_iterations": 12, "n_channels": 12, "threads": 1}


def nuclei(rows: int = 64, columns: int = 72) -> np.ndarray:
    return read_sample("fluorescence_nuclei").image[:rows, :columns]


def iteration(number: int, clusters: list[list[int]], complete: bool = True) -> Iteration:
    """An iteration with a label map, and nothing else that counts."""
    values = torch.tensor(clusters, dtype=torch.uint8)
    zero = torch.zeros(())
    return Iteration(number, values, len(values.unique()), Losses(zero, zero, zero, zero), {}, complete=complete)


def recorded(*clusters: list[list[int]], most_bytes: int = module.MOST_BYTES) -> dict[int, KeptMap]:
    recorder = Recorder(most_bytes)
    for number, each in enumerate(clusters):
        recorder.add(iteration(number, each))
    return recorder.maps()


# ---------------------------------------------------------------------- what a run passes


def test_last_map_at_each_count_is_kept() -> None:
    maps = recorded([[0, 1, 2]], [[0, 2, 1]], [[0, 1, 1]], [[2, 1, 0]], [[1, 1, 2]], [[2, 2, 2]])
    assert {count: (kept.iteration, kept.clusters((1, 3)).tolist()) for count, kept in maps.items()} == {
        3: (3, [[2, 1, 0]]),
        2: (4, [[1, 1, 2]]),
        1: (5, [[2, 2, 2]]),
    }


def test_maps_given_out_stay_as_they_are_when_the_run_goes_on() -> None:
    recorder = Recorder()
    recorder.add(iteration(0, [[0, 1]]))
    maps = recorder.maps()
    recorder.add(iteration(1, [[1, 0]]))
    recorder.add(iteration(2, [[1, 1]]))
    assert [kept.iteration for kept in maps.values()] == [0]
    assert sorted(recorder.maps()) == [1, 2]


def test_map_of_a_part_of_the_image_is_not_kept() -> None:
    recorder = Recorder()
    recorder.add(iteration(0, [[0, 1, 2]], complete=False))
    recorder.add(iteration(1, [[0, 1, 1]]))
    assert list(recorder.maps()) == [2]


def test_too_many_bytes_leave_out_counts_close_to_others_but_never_the_smallest_or_largest() -> None:
    random = np.random.default_rng(0)
    noise = [random.integers(0, n_labels, size=(40, 40)).tolist() for n_labels in (20, 19, 18, 10, 9, 4)]
    everything = recorded(*noise)
    assert sorted(everything) == [4, 9, 10, 18, 19, 20]
    sizes = sum(len(kept.data) for kept in everything.values())
    assert sorted(recorded(*noise, most_bytes=sizes - 1)) == [4, 9, 10, 18, 20]
    assert sorted(recorded(*noise, most_bytes=sizes * 7 // 12)) == [4, 9, 20]
    assert sorted(recorded(*noise, most_bytes=0)) == [4, 20]


def test_cluster_has_one_number_and_those_that_vanished_follow_by_their_largest_area() -> None:
    # channels 0, 2 and 4 vanish; 4 was larger than 0, and 2 never was there
    first = [[0, 0, 4, 4, 4, 1, 3, 3]]
    second = [[0, 1, 1, 1, 1, 3, 3, 3]]
    last = np.array([[1, 1, 1, 1, 1, 3, 3, 3]])
    numbers = label_numbers(np.bincount(last.ravel(), minlength=5))
    run_numbers = np.arange(11, 16, dtype=np.uint64)
    labels = apply_numbers(last, numbers)
    history = history_of_maps(labels, 2, recorded(first, second, last.tolist()), numbers, run_numbers, 0)
    assert history.counts == (2, 3, 4)
    assert history.at(2).tolist() == [[1, 1, 1, 1, 1, 2, 2, 2]]
    assert history.at(3).tolist() == [[4, 1, 1, 1, 1, 2, 2, 2]]
    assert history.at(4).tolist() == [[4, 4, 3, 3, 3, 1, 2, 2]]
    assert [history.iteration(count) for count in history.counts] == [2, 1, 0]
    assert history.numbers_during_run == {1: 12, 2: 14, 3: 15, 4: 11}


def test_painted_class_that_vanished_keeps_its_value() -> None:
    earlier, last = [[0, 1, 2, 3, 3]], np.array([[0, 2, 2, 2, 2]])  # channel 3 was larger than the class
    numbers = label_numbers(np.bincount(last.ravel(), minlength=4), classes=(5, 2))
    history = history_of_maps(apply_numbers(last, numbers), 1, recorded(earlier), numbers, numbers, 2)
    assert history.at(2).tolist() == [[5, 1, 1, 1, 1]]
    assert history.at(4).tolist() == [[5, 2, 1, 3, 3]]


def test_result_s_own_map_is_given_at_its_count_and_masked_pixels_are_0() -> None:
    labels = np.array([[1, 2, 0]], dtype=np.uint8)
    numbers = np.array([2, 1, 3], dtype=np.uint64)
    history = history_of_maps(labels, 7, recorded([[0, 1, 0]], [[1, 1, 1]]), numbers, numbers, 0)
    assert (history.iteration(2), history.iteration(1)) == (7, 1)
    assert history.at(1).tolist() == [[1, 1, 0]]
    history.at(2)[:] = 9
    assert np.array_equal(history.at(2), labels)
    assert labels.max() == 2


@pytest.mark.parametrize("count", [0, 3, 2.0, True, "2"])
def test_count_without_a_map_is_refused_in_words(count: object) -> None:
    history = History([1, 2, 5], lambda count: np.ones((1, 1), dtype=np.uint8))
    for ask in (history.at, history.iteration):
        with pytest.raises(ValueError, match=f"count is {count}; accepted is .*: 1, 2, 5"):
            ask(count)


def test_counts_without_a_gap_are_named_by_the_first_and_the_last() -> None:
    history = History(range(1, 30), lambda count: np.ones((1, 1), dtype=np.uint8))
    with pytest.raises(ValueError, match=r"count is 30; accepted is .*: 1 to 29$"):
        history.at(30)


# ---------------------------------------------------------------------- what a hierarchy gives


def test_merged_groups_keep_the_larger_s_number_and_a_part_cut_off_takes_the_next() -> None:
    pieces = np.array([[1, 1, 1, 1, 2, 3, 3, 4, 4, 4, 4, 4]], dtype=np.int32)
    hierarchy = Hierarchy(pieces, np.array([[1, 0], [2, 1], [3, 2]]), np.array([1.0, 2.0, 3.0]))
    labels = np.array([[2, 2, 2, 2, 2, 3, 3, 1, 1, 1, 1, 1]], dtype=np.uint8)
    history = history_of_pieces(hierarchy, labels, every_count=True)
    assert history.counts == (1, 2, 3, 4)
    assert history.at(4).tolist() == [[2, 2, 2, 2, 4, 3, 3, 1, 1, 1, 1, 1]]
    assert history.at(3).tolist() == labels.tolist()
    assert history.at(2).tolist() == [[2, 2, 2, 2, 2, 2, 2, 1, 1, 1, 1, 1]]
    assert history.at(1).tolist() == [[2] * 12]
    assert history.iteration(3) is None
    assert history.numbers_during_run == {}


def test_counts_of_regions_spread_to_all_pieces_and_have_the_result_s() -> None:
    pieces = np.arange(1, 1001, dtype=np.int32)[None]
    merges = np.stack([np.zeros(999, dtype=np.int64), np.arange(1, 1000)], axis=1)[:990]  # ten stay apart
    hierarchy = Hierarchy(pieces, merges, np.arange(990.0))
    labels = np.arange(1, 138, dtype=np.uint8)[hierarchy.cut_to(137) - 1]
    history = history_of_pieces(hierarchy, labels, every_count=False)
    assert (history.counts[0], history.counts[-1]) == (10, 1000)
    assert 137 in history.counts
    assert 25 <= len(history.counts) <= 41
    assert max(above / below for below, above in zip(history.counts, history.counts[1:], strict=False)) < 1.2


@settings(max_examples=50)
@given(seed=st.integers(0, 1000), n_pieces=st.integers(1, 60), n_groups=st.integers(1, 60))
def test_neighboring_counts_differ_by_one_merge_in_which_the_larger_keeps_its_number(
    seed: int, n_pieces: int, n_groups: int
) -> None:
    random = np.random.default_rng(seed)
    pieces = np.concatenate([np.arange(1, n_pieces + 1), random.integers(0, n_pieces + 1, size=200)])
    pieces = pieces.astype(np.int32)[None]
    hierarchy = merge_alike(pieces, random.random((n_pieces, 2)).astype(np.float32))
    groups = hierarchy.cut_to(n_groups) - 1
    mask = pieces > 0
    labels = apply_numbers(groups, label_numbers(np.bincount(groups[mask])), mask)
    history = history_of_pieces(hierarchy, labels, every_count=True)
    assert np.array_equal(history.at(int(labels.max())), labels)
    assert history.at(int(labels.max())).dtype == labels.dtype
    for count in history.counts:
        now = history.at(count)
        assert ((now > 0) == mask).all()
        partition = {(one, other) for one, other in zip(now[mask].tolist(), hierarchy.cut_to(count)[mask], strict=True)}
        assert len(partition) == count  # the same groups, whatever their numbers
        if count + 1 in history.counts:
            finer = history.at(count + 1)
            changed = finer != now
            (gone,) = set(np.unique(finer[mask])) - set(np.unique(now[mask]))
            assert (finer[changed] == gone).all()
            (into,) = np.unique(now[changed])
            assert (finer == gone).sum() <= (finer == into).sum()
            assert count < labels.max() or gone == count + 1


# ---------------------------------------------------------------------- real runs


def test_history_of_clusters_has_every_count_of_the_run_and_the_result() -> None:
    run = Run(nuclei(), settings=dfc.Settings.from_preset(**FAST))
    previews = {each.n_labels: (each.number, run.preview(each)) for each in run}
    result = run.result()
    history = result.history
    assert history.counts == tuple(sorted(previews))
    assert len(history.counts) >= 3
    assert np.array_equal(history.at(result.n_labels), result.labels)
    assert history.at(result.n_labels).dtype == result.labels.dtype
    assert history.iteration(result.n_labels) == result.iterations
    numbers = set()
    for count in history.counts:
        number, preview = previews[count]
        labels = history.at(count)
        assert history.iteration(count) == number
        present = np.unique(labels).tolist()
        assert len(present) == count
        numbers |= set(present)
        for value in present:  # a cluster has one number in the previews, and one here
            assert np.array_equal(labels == value, preview == history.numbers_during_run[value])
    assert numbers == set(history.numbers_during_run) == set(range(1, len(numbers) + 1))
    assert result.history is history


def test_history_begins_anew_when_strokes_arrive() -> None:
    run = Run(nuclei(), settings=dfc.Settings.from_preset(**FAST))
    for _ in run:
        pass
    before = run.result().history.counts
    strokes = np.zeros(run.plane.shape, np.uint8)
    strokes[20, 5:30] = 1
    run.send(strokes, updates=2)
    numbers = [each.number for each in run if not each.provisional]
    history = run.result().history
    assert len(history.counts) < len(before)
    assert all(history.iteration(count) in numbers for count in history.counts)


@pytest.mark.parametrize(("split_into", "option"), [("groups", {"n_groups": 3}), ("regions", {"region_scale": 4.0})])
def test_history_of_pieces_begins_with_the_result(split_into: str, option: dict[str, float]) -> None:
    result = dfc.segment(nuclei(), preset="fast", split_into=split_into, n_networks=2, threads=1, **option)
    history = result.history
    assert np.array_equal(history.at(result.n_labels), result.labels)
    assert history.at(result.n_labels).dtype == result.labels.dtype
    for count in history.counts:
        assert len(np.unique(history.at(count))) == count
    if split_into == "groups":
        assert history.counts == tuple(range(1, 41))


def test_painted_classes_alone_and_predictions_have_one_count() -> None:
    sample = read_sample("stained_tissue")
    image, painted = sample.image[10:120, 120:260], sample.scribbles[10:120, 120:260]
    result = dfc.segment(image, scribbles=painted, preset="fast", max_iterations=4, n_networks=1, threads=1)
    for each in (result, result.model().predict(image)):
        assert each.history.counts == (each.n_labels,)
        assert np.array_equal(each.history.at(each.n_labels), each.labels)
        assert each.history.iteration(each.n_labels) == 4


def test_painted_classes_among_clusters_keep_their_values_in_every_map() -> None:
    sample = read_sample("stained_tissue")
    image, painted = sample.image[10:120, 120:260], np.where(sample.scribbles[10:120, 120:260] == 1, 9, 0)
    result = dfc.segment(image, scribbles=painted.astype(np.uint8), restrict_to_scribbles=False, **FAST)
    assert len(result.history.counts) > 1
    assert np.array_equal(result.history.at(result.n_labels), result.labels)
    assert result.history.numbers_during_run[9] == 9


def test_groups_that_a_user_did_not_wait_for_are_clusters_with_one_count() -> None:
    run = Run(nuclei(), settings=dfc.Settings.from_preset("fast", threads=1))
    for each in run:
        if each.number == 2:
            break
    run.cancel()
    result = run.result()
    assert result.history.counts == (result.n_labels,)
