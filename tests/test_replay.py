from __future__ import annotations

import gc
import json
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import napari_dfc as dfc
from napari_dfc import optimization, segmentation
from napari_dfc.cancellation import NoResultYet
from napari_dfc.samples import read_sample
from napari_dfc.segmentation import Run

QUICK = {"preset": "fast", "max_iterations": 6, "n_channels": 12}


def tissue() -> tuple[np.ndarray, np.ndarray]:
    """A piece of a real image, and strokes of classes 1 to 3 on it."""
    sample = read_sample("stained_tissue")
    return sample.image[:120, :150], sample.scribbles[:120, :150]


def painted(*marks: tuple[int, int, int, int]) -> np.ndarray:
    """Strokes of (class, row, column, columns)."""
    strokes = np.zeros((120, 150), dtype=np.uint8)
    for value, row, column, length in marks:
        strokes[row : row + 2, column : column + length] = value
    return strokes


FIRST, SECOND = (1, 20, 20, 12), (2, 90, 100, 12)
THIRD = (9, 60, 40, 10)


def live(send: Callable[[Run, int], None], first: np.ndarray | None = None, **changes: Any) -> dfc.Segmentation:
    """A run in which `send` is told every iteration, and its result."""
    run = Run(tissue()[0], scribbles=first, settings=dfc.Settings.from_preset(**{**QUICK, **changes}))
    for iteration in run:
        if not iteration.provisional:
            send(run, iteration.number)
    return run.result()


def again(result: dfc.Segmentation) -> dfc.Segmentation:
    """The run made once more from what a file or a layer would hold."""
    return dfc.run_again(json.loads(json.dumps(result.record)), tissue()[0])


def check_same(result: dfc.Segmentation) -> None:
    repeated = again(result)
    np.testing.assert_array_equal(repeated.labels, result.labels)
    np.testing.assert_array_equal(repeated.losses, result.losses)
    np.testing.assert_array_equal(repeated.confidence, result.confidence)
    assert repeated.record["strokes"] == result.record["strokes"]
    assert repeated.record["result"] == result.record["result"]


def sends(**at: np.ndarray) -> Callable[[Run, int], None]:
    """Strokes by the iteration after which they are sent, ``after_3=...``."""

    def send(run: Run, number: int) -> None:
        strokes = at.get(f"after_{number}")
        if strokes is not None:
            run.send(strokes)

    return send


def test_strokes_that_follow_groups_give_their_classes_and_the_same_ones_again() -> None:
    result = live(sends(after_3=painted(FIRST, SECOND)))
    assert set(np.unique(result.labels)) == {1, 2}
    assert [each["iteration"] for each in result.record["strokes"]] == [4]
    assert result.iterations == 4 + 6  # as many as a run with strokes from its start would make
    assert len(result.losses) == len(result.label_counts) == 11
    check_same(result)


@pytest.mark.parametrize(
    "later",
    [
        painted(FIRST, SECOND, (2, 10, 90, 20)),  # more of the same class
        painted(FIRST, SECOND, THIRD),  # one more class
        painted(FIRST, THIRD),  # another class in place of one
        painted(SECOND),  # all strokes of one class erased: it keeps its channel
    ],
)
def test_strokes_that_follow_strokes_are_repeated(later: np.ndarray) -> None:
    result = live(sends(after_4=later), first=painted(FIRST, SECOND))
    assert [each["iteration"] for each in result.record["strokes"]] == [0, 5]
    assert result.iterations == 5 + 6
    check_same(result)


def test_one_class_then_two_are_repeated() -> None:
    result = live(sends(after_2=painted(FIRST), after_4=painted(FIRST, SECOND)))
    assert [each["iteration"] for each in result.record["strokes"]] == [3, 5]
    assert set(np.unique(result.labels)) == {1, 2}
    check_same(result)


def test_strokes_between_two_networks_that_vote_are_repeated() -> None:
    per_network = dfc.Settings.from_preset("fast").region_iterations
    for moment in (per_network, per_network + 1):
        result = live(sends(**{f"after_{moment}": painted(FIRST, SECOND)}))
        assert result.record["strokes"][0]["iteration"] == moment + 1
        check_same(result)


def test_of_strokes_that_follow_at_once_the_last_ones_count_and_are_repeated() -> None:
    waiting = [painted(FIRST, SECOND), painted(FIRST, THIRD)]
    run = Run(tissue()[0], settings=dfc.Settings.from_preset(**QUICK))
    for iteration in run:
        # once the first strokes are taken, and before an iteration was made with them, the second ones come
        if waiting and (iteration.provisional or iteration.number == 3):
            run.send(waiting.pop())
    result = run.result()
    assert set(np.unique(result.labels)) == {1, 2}
    check_same(result)


def test_a_finished_run_goes_on_with_more_strokes_and_is_repeated() -> None:
    run = Run(tissue()[0], scribbles=painted(FIRST, SECOND), settings=dfc.Settings.from_preset(**QUICK))
    for _ in run:
        pass
    first = run.result()
    run.send(painted(FIRST, SECOND, THIRD))
    for _ in run:
        pass
    second = run.result()
    assert first.iterations == 6
    assert [each["iteration"] for each in second.record["strokes"]] == [0, 7]
    assert set(np.unique(second.labels)) == {1, 2, 9}
    check_same(first)
    check_same(second)


def test_one_more_update_is_asked_for_by_the_same_strokes_and_is_repeated() -> None:
    run = Run(tissue()[0], scribbles=painted(FIRST, SECOND), settings=dfc.Settings.from_preset(**QUICK))
    for _ in run:
        pass
    run.send(painted(FIRST, SECOND), updates=1)
    assert [iteration.number for iteration in run if not iteration.provisional] == [7, 8]
    check_same(run.result())


@pytest.mark.parametrize(("split_into", "strokes"), [("groups", None), ("clusters", None), ("groups", (FIRST, SECOND))])
def test_a_run_that_was_stopped_is_repeated_to_where_it_was(split_into: str, strokes: tuple[Any, ...] | None) -> None:
    first = None if strokes is None else painted(*strokes)
    run = Run(
        tissue()[0], scribbles=first, settings=dfc.Settings.from_preset(**QUICK, split_into=split_into, min_labels=1)
    )
    for iteration in run:
        if iteration.number == 4:
            run.cancel()
    result = run.result()
    assert result.iterations == 4
    assert result.record["result"]["stopped"]
    check_same(result)


def test_a_run_that_was_stopped_goes_on_after_strokes_and_is_repeated() -> None:
    run = Run(tissue()[0], scribbles=painted(FIRST, SECOND), settings=dfc.Settings.from_preset(**QUICK))
    for iteration in run:
        if iteration.number == 2:
            run.cancel()
    assert run.result().iterations == 2
    run.send(painted(FIRST, SECOND, THIRD))
    for _ in run:
        pass
    result = run.result()
    assert not result.record["result"]["stopped"]
    assert [each["iteration"] for each in result.record["strokes"]] == [0, 3]
    check_same(result)


def test_strokes_in_a_run_with_crops_are_repeated() -> None:
    result = live(
        sends(after_4=painted(FIRST, SECOND, (2, 10, 90, 20))),
        first=painted(FIRST, SECOND),
        memory_limit=0.01,
        n_channels=64,
    )
    assert result.plan.n_crops > 1
    check_same(result)


def test_strokes_that_cannot_be_used_are_refused_in_words_and_change_nothing() -> None:
    too_many = np.arange(120 * 150, dtype=np.uint16).reshape(120, 150) % 300
    seen = []

    def send(run: Run, number: int) -> None:
        if number == 2:
            run.send(too_many)
        seen.append(run.refused)

    result = live(send, first=painted(FIRST, SECOND))
    assert seen[-1] == (
        "scribbles hold 299 classes and the network has 12 channels; accepted are as many classes as channels: "
        "raise n_channels or paint fewer classes"
    )
    plain = dfc.segment(tissue()[0], scribbles=painted(FIRST, SECOND), **QUICK)
    np.testing.assert_array_equal(result.labels, plain.labels)


def test_strokes_sent_before_the_first_iteration_are_as_good_as_given() -> None:
    run = Run(tissue()[0], settings=dfc.Settings.from_preset(**QUICK))
    run.send(painted(FIRST, SECOND))
    for _ in run:
        pass
    plain = dfc.segment(tissue()[0], scribbles=painted(FIRST, SECOND), **QUICK)
    np.testing.assert_array_equal(run.result().labels, plain.labels)


def test_strokes_that_come_while_the_first_pass_is_prepared_end_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(tissue()[0], scribbles=painted(FIRST, SECOND), settings=dfc.Settings.from_preset(**QUICK))
    prepare, waiting = optimization.pass_for, [painted(FIRST, SECOND, THIRD)]

    def prepare_meanwhile(task: Any) -> Any:
        while waiting:
            run.send(waiting.pop())
        return prepare(task)

    monkeypatch.setattr(optimization, "pass_for", prepare_meanwhile)
    for _ in run:
        pass
    plain = dfc.segment(tissue()[0], scribbles=painted(FIRST, SECOND, THIRD), **QUICK)
    np.testing.assert_array_equal(run.result().labels, plain.labels)


def square() -> np.ndarray:
    """A noisy image, (40, 40), with a bright square."""
    image = np.random.default_rng(0).random((40, 40)).astype(np.float32)
    image[10:30, 10:30] += 1.5
    return image


def rows_of(**rows: int) -> np.ndarray:
    """Strokes on the square's image of one row each, ``row_20=1``."""
    strokes = np.zeros((40, 40), dtype=np.uint8)
    for row, value in rows.items():
        strokes[int(row.removeprefix("row_")), 15:25] = value
    return strokes


def square_run(strokes: Any = None, **changes: Any) -> Run:
    """A run on the square that begins with about 20 labels, of which it soon loses some."""
    settings = {"split_into": "clusters", "max_iterations": 20, "threads": 1, "device": "cpu"} | changes
    return Run(square(), scribbles=strokes, settings=dfc.Settings.from_preset("fast", **settings))


def check_same_square(result: dfc.Segmentation) -> None:
    repeated = dfc.run_again(json.loads(json.dumps(result.record)), square())
    np.testing.assert_array_equal(repeated.labels, result.labels)
    np.testing.assert_array_equal(repeated.losses, result.losses)
    assert repeated.record == result.record


def test_scheduled_strokes_that_could_not_be_used_are_refused_at_the_door() -> None:
    schedule = {0: rows_of(row_20=1, row_2=2), 5: rows_of(row_5=3)}
    with pytest.raises(ValueError, match="3 classes and the network has 2 channels"):
        square_run(schedule, n_channels=2)


def test_scheduled_strokes_that_others_leave_no_channel_for_are_left_out() -> None:
    run = square_run({5: rows_of(row_5=3)}, n_channels=2, min_labels=1)
    numbers = []
    for iteration in run:
        if iteration.number == 2 and not iteration.provisional:
            run.send(rows_of(row_20=1, row_2=2))
        numbers.append(iteration.number)
        assert len(numbers) < 100
    assert "3 classes and the network has 2 channels" in run.refused
    assert [each["iteration"] for each in run.result().record["strokes"]] == [3]


def test_strokes_that_cannot_be_used_before_the_first_iteration_are_refused_in_words() -> None:
    first = rows_of(row_20=1, row_2=2)
    run = square_run(first)
    run.send(np.zeros((40, 40), dtype=np.uint8))
    result = run.to_the_end()
    assert run.refused == "scribbles hold no painted pixel; paint at least one stroke, or give none"
    np.testing.assert_array_equal(result.labels, square_run(first).to_the_end().labels)


def few_labels_end(run: Run) -> int:
    """The iteration at which few labels end a run."""
    numbers = [iteration.number for iteration in run]
    assert run.result().ended.startswith("no more than")
    return numbers[-1]


@pytest.mark.parametrize("ahead", [0, 3])
@pytest.mark.parametrize("strokes", [rows_of(row_20=1), rows_of(row_20=1, row_2=2)])
def test_strokes_around_the_end_for_few_labels_are_repeated(
    monkeypatch: pytest.MonkeyPatch, strokes: np.ndarray, ahead: int
) -> None:
    monkeypatch.setattr(optimization, "_ahead", lambda device: ahead)
    end = few_labels_end(square_run(min_labels=14))
    assert 3 < end < 20
    for moment in range(end - 3, end + 1):
        run = square_run(min_labels=14)
        for iteration in run:
            if iteration.number == moment and not iteration.provisional:
                run.send(strokes)
        result = run.result()
        assert len(result.record["strokes"]) == 1
        assert set(np.unique(strokes)) - {0} <= set(np.unique(result.labels))
        check_same_square(result)


@pytest.mark.parametrize("schedule", ["constant", "similarity"])
@pytest.mark.parametrize("ahead", [0, 3])
def test_strokes_after_the_end_for_few_labels_find_what_the_last_iteration_left(
    monkeypatch: pytest.MonkeyPatch, ahead: int, schedule: str
) -> None:
    found = []
    for made_ahead in (0, ahead):
        monkeypatch.setattr(optimization, "_ahead", lambda device, made_ahead=made_ahead: made_ahead)
        run = square_run(min_labels=14, continuity_schedule=schedule)
        end = few_labels_end(run)
        run.send(rows_of(row_20=1))
        result = run.to_the_end()
        assert result.record["strokes"][0]["iteration"] == end + 1
        check_same_square(result)
        found.append(result)
    np.testing.assert_array_equal(found[1].losses, found[0].losses)


def test_a_stopped_run_is_repeated_to_its_last_iteration_though_it_keeps_an_older_map() -> None:
    counts = [iteration.n_labels for iteration in square_run(min_labels=1)]
    jump = int(np.argmin(np.diff(counts)))  # past a count, so that no map has exactly as many labels as are asked for
    least = counts[jump + 1] + 1
    run = square_run(min_labels=least)
    for iteration in run:
        if iteration.n_labels < least:
            run.cancel()
    result = run.result()
    outcome = result.record["result"]
    assert outcome["stopped"]
    assert outcome["iterations"] < outcome["stopped_after"]
    check_same_square(result)
    fewest = min(result.history.counts)
    assert result.history.iteration(fewest) > result.iterations
    shown = result.with_count(fewest)
    np.testing.assert_array_equal(dfc.run_again(shown.record, square()).labels, shown.labels)
    older = json.loads(json.dumps(result.record))
    del older["result"]["stopped_after"]
    np.testing.assert_array_equal(dfc.run_again(older, square()).labels, result.labels)


def test_a_result_can_be_asked_for_while_strokes_arrive(monkeypatch: pytest.MonkeyPatch) -> None:
    run = square_run(rows_of(row_20=1, row_2=2))
    with pytest.raises(NoResultYet):
        run.result()
    iterations, pack = iter(run), segmentation.strokes.pack
    next(iterations)

    def pack_meanwhile(*given: Any) -> dict[str, Any]:
        if run.scribbles.classes == (1, 2):
            run.send(rows_of(row_20=1, row_2=2, row_5=3))
            next(iterations)
        return pack(*given)

    monkeypatch.setattr(segmentation.strokes, "pack", pack_meanwhile)
    assert [each["iteration"] for each in run.result().record["strokes"]] == [0]
    assert list(run.scribbles.classes) == [1, 2, 3]


def test_a_result_keeps_nothing_of_its_run() -> None:
    run = square_run(rows_of(row_20=1, row_2=2), max_iterations=2)
    result, courses = run.to_the_end(), weakref.ref(run._courses)
    assert result.record["settings"]["edge_share"] > 0
    del run
    gc.collect()
    assert courses() is None
    assert np.isfinite(result.confidence).all()


def test_refused_strokes_after_the_end_for_few_labels_change_nothing() -> None:
    run = square_run(min_labels=14)
    end = few_labels_end(run)
    run.send(np.zeros((40, 40), dtype=np.uint8))
    assert not list(run)
    assert "no painted pixel" in run.refused
    assert run.result().record["result"]["ended"].startswith("no more than")
    assert len(run.label_counts) == end + 1


@pytest.mark.parametrize(
    "changes",
    [
        {"memory_limit": 0.01, "n_channels": 64},
        {"continuity_schedule": "similarity", "restrict_to_scribbles": False},
    ],
)
def test_a_class_that_is_withdrawn_at_once_leaves_no_trace(
    monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    prepare, waiting = optimization.pass_for, [painted(FIRST, SECOND, (2, 10, 90, 20))]
    settings = dfc.Settings.from_preset(**{**QUICK, "n_networks": 1, **changes})
    run = Run(tissue()[0], scribbles=painted(FIRST, SECOND), settings=settings)

    def prepare_meanwhile(task: Any) -> Any:
        if waiting and len(run.scribbles.classes) == 3:  # before an iteration with the third class
            run.send(waiting.pop())
        return prepare(task)

    monkeypatch.setattr(optimization, "pass_for", prepare_meanwhile)
    for iteration in run:
        if iteration.number == 3 and waiting:
            run.send(painted(FIRST, SECOND, THIRD))
    result = run.result()
    assert not waiting
    assert [each["iteration"] for each in result.record["strokes"]] == [0, 4]
    assert 9 not in result.labels
    check_same(result)


def test_another_image_is_refused() -> None:
    image = tissue()[0]
    record = dfc.segment(image, **QUICK).record
    with pytest.raises(ValueError, match="not the image that was segmented"):
        dfc.run_again(record, np.flipud(image))


def test_what_is_no_record_of_a_run_is_refused() -> None:
    result = dfc.segment(tissue()[0], scribbles=painted(FIRST, SECOND), **QUICK)
    predicted = result.model().predict(tissue()[0])
    for record in ({}, predicted.record):
        with pytest.raises(ValueError, match="no record of a run"):
            dfc.run_again(record, tissue()[0])


def test_a_mapping_of_strokes_is_checked() -> None:
    image = tissue()[0]
    for wrong in ({-1: painted(FIRST)}, {1.5: painted(FIRST)}, {}):
        with pytest.raises(ValueError, match="scribbles"):
            dfc.segment(image, scribbles=wrong, **QUICK)
    with pytest.raises(ValueError, match="scribbles have shape"):
        dfc.segment(image, scribbles={3: painted(FIRST)[:5]}, **QUICK)


def disk(row: int, column: int, radius: int) -> np.ndarray:
    rows, columns = np.ogrid[:120, :150]
    return (rows - row) ** 2 + (columns - column) ** 2 < radius**2


@pytest.mark.parametrize("split_into", ["groups", "regions", "clusters"])
def test_a_run_within_a_region_is_that_of_the_rectangle_around_it(split_into: str) -> None:
    image, region = tissue()[0], disk(60, 90, 35)
    place = (slice(26, 95), slice(56, 125))
    options = {**QUICK, "split_into": split_into, "min_labels": 1}
    result = dfc.segment(image, mask=region, **options)
    inner = dfc.segment(image[place], mask=region[place], **options)
    assert ((result.labels > 0) == region).all()
    np.testing.assert_array_equal(result.labels[place], inner.labels)
    np.testing.assert_array_equal(result.confidence[place], inner.confidence)
    assert np.isnan(result.margin[~region]).all()
    assert result.history.counts == inner.history.counts
    for count in result.history.counts:
        np.testing.assert_array_equal(result.history.at(count)[place], inner.history.at(count))
        assert result.with_count(count).labels.shape == image.shape[:2]
    if split_into != "clusters":
        other = result.groups_at(2) if split_into == "groups" else result.regions_at(8.0)
        assert ((other > 0) == region).all()
    assert result.record["image"]["shape"] == [120, 150]
    check_same(result)


def test_strokes_in_a_region_are_repeated_and_those_outside_do_not_count() -> None:
    region = disk(60, 90, 40)
    inside, later = (1, 55, 70, 12), (2, 80, 90, 12)
    outside = (5, 2, 2, 9)
    run = Run(tissue()[0], scribbles=painted(inside, outside), mask=region, settings=dfc.Settings.from_preset(**QUICK))
    for iteration in run:
        assert run.preview(iteration).shape == run.blank().shape == (120, 150)
        if iteration.number == 3:
            run.send(painted(inside, later, outside))
    result = run.result()
    assert set(np.unique(result.labels)) == {0, 1, 2}
    assert ((result.labels > 0) == region).all()
    check_same(result)
    with pytest.raises(ValueError, match="scribbles have shape"):
        dfc.segment(tissue()[0], mask=region, scribbles=painted(inside)[:5], **QUICK)
    with pytest.raises(ValueError, match="where the image can be used"):
        dfc.segment(tissue()[0], mask=region, scribbles=painted(outside), **QUICK)


def test_another_mask_than_the_record_s_is_another_image() -> None:
    image, region = tissue()[0], disk(60, 90, 40)
    record = dfc.segment(image, mask=region, **QUICK).record
    with pytest.raises(ValueError, match="not the image that was segmented"):
        dfc.run_again(record, image, mask=disk(50, 90, 40))


@pytest.mark.parametrize("strokes", [None, painted((1, 55, 70, 12), (2, 80, 90, 12))])
def test_the_network_of_a_region_gives_its_labels_there(strokes: np.ndarray | None) -> None:
    region = disk(60, 90, 40)
    result = dfc.segment(tissue()[0], mask=region, scribbles=strokes, **QUICK, n_groups=2)
    place = (slice(21, 100), slice(51, 130))  # the rectangle around it: that a block begins elsewhere makes others
    predicted = result.model().predict(tissue()[0][place], mask=region[place]).labels
    assert (predicted == result.labels[place]).mean() > (0.9999 if strokes is not None else 0.7)
