"""A kept network over the frames of a series."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest

import napari_dfc as dfc
from napari_dfc.devices import choose_device
from napari_dfc.memory import make_plan
from napari_dfc.metrics import flicker
from napari_dfc.model import Model
from napari_dfc.noise import unchanged
from napari_dfc.samples import read_sample
from napari_dfc.series import Series


@pytest.fixture(scope="module")
def model() -> Model:
    sample = read_sample("stained_tissue")
    quick = {"preset": "fast", "max_iterations": 8, "n_channels": 8, "n_networks": 1}
    return dfc.segment(sample.image, scribbles=sample.scribbles, **quick).model()


@pytest.fixture(scope="module")
def noisy() -> np.ndarray:
    """Four frames (T, H, W, 3) of the same piece of tissue, each with noise of its own."""
    image = read_sample("stained_tissue").image[:90, :110].astype(float)
    return image + np.random.default_rng(0).normal(0, 60, (4, *image.shape))


def labels_of(results: Iterator[dfc.Segmentation]) -> np.ndarray:
    return np.stack([each.labels for each in results])


# ---------------------------------------------------------------------- frame by frame


@pytest.mark.parametrize("statistics", ["reference", "image"])
def test_without_smoothing_every_frame_is_as_predict_gives_it(model: Model, noisy: np.ndarray, statistics: str) -> None:
    for frame, found in zip(noisy, model.predict_series(noisy, statistics=statistics), strict=True):
        expected = model.predict(frame, statistics=statistics)
        assert np.array_equal(found.labels, expected.labels)
        assert np.array_equal(found.confidence, expected.confidence)
        np.testing.assert_equal(found.drift, expected.drift)  # NaN where it is none
        assert found.note == expected.note


def test_frames_are_taken_one_by_one_as_results_are_asked_for(model: Model, noisy: np.ndarray) -> None:
    taken = []

    def video() -> Iterator[np.ndarray]:
        for index, frame in enumerate(noisy):
            taken.append(index)
            yield frame

    results = model.predict_series(video(), smoothing=0.5)
    assert taken == []
    for index in range(3):
        next(results)
        assert taken == list(range(index + 1))


def test_the_record_names_the_frame_and_is_plain(model: Model, noisy: np.ndarray) -> None:
    records = [
        json.loads(json.dumps(dict(each.record)))
        for each in model.predict_series(noisy[:2], smoothing=0.25, name="film.tif")
    ]
    assert [each["series"] for each in records] == [{"frame": number, "smoothing": 0.25} for number in (1, 2)]
    assert records[1]["image"]["name"] == "film.tif"


def test_frames_with_channels_first_and_a_mask(model: Model, noisy: np.ndarray) -> None:
    mask = np.ones(noisy.shape[1:3], dtype=bool)
    mask[:40] = False
    first = np.moveaxis(noisy, -1, 1)  # (T, C, H, W)
    for smoothing in (0.0, 0.5):
        found = labels_of(model.predict_series(first, channel_axis=0, mask=mask, smoothing=smoothing))
        assert (found[:, :40] == 0).all()
        assert (found[:, 40:] > 0).all()


# ---------------------------------------------------------------------- smoothing


def test_smoothed_probabilities_are_those_of_the_recursion(model: Model, noisy: np.ndarray) -> None:
    options = {"mask": None, "channel_axis": None, "statistics": "reference", "device": "cpu", "threads": 0}
    expected: np.ndarray | None = None
    planes = [model.respond(frame, **options).plane for frame in noisy]
    for index, found in enumerate(model.predict_series(noisy, smoothing=0.6, device="cpu")):
        alone = model.respond(noisy[index], **options).shares()
        if expected is None:
            expected = alone
        else:
            still = unchanged(planes[index - 1], planes[index])
            assert 0.5 < still.mean() < 1
            expected = np.where(still[..., None], 0.4 * alone + 0.6 * expected, alone)
        ranked = np.sort(expected, axis=-1)
        np.testing.assert_allclose(found.confidence, ranked[..., -1], atol=1e-5)
        np.testing.assert_allclose(found.margin, ranked[..., -1] - ranked[..., -2], atol=1e-5)
        clear = found.margin > 1e-4
        assert np.array_equal(found.labels[clear], np.array(model.numbers)[expected.argmax(-1)][clear])


def test_smoothing_takes_flicker_out_of_noise(model: Model, noisy: np.ndarray) -> None:
    plain, smooth = (flicker(labels_of(model.predict_series(noisy, smoothing=share))) for share in (0.0, 0.5))
    assert plain > 0.01
    assert smooth < 0.75 * plain


def test_where_nothing_changes_no_label_does(model: Model, noisy: np.ndarray) -> None:
    still = np.stack([noisy[0]] * 4)
    found = labels_of(model.predict_series(still, smoothing=0.9))
    assert flicker(found) == 0
    assert np.array_equal(found[0], model.predict(noisy[0]).labels)


def test_what_has_changed_is_as_in_a_frame_of_its_own(model: Model) -> None:
    image = read_sample("stained_tissue").image
    first, second = image[:90, :110], image[60:150, 120:230]  # another place altogether
    _, found = model.predict_series([first, second], smoothing=0.9)
    assert np.mean(found.labels == model.predict(second).labels) > 0.95


# ---------------------------------------------------------------------- refusals


@pytest.mark.parametrize("smoothing", [-0.1, 1, float("nan")])
def test_a_smoothing_out_of_range_is_refused_before_any_frame(model: Model, smoothing: float) -> None:
    with pytest.raises(ValueError, match=r"smoothing is .*; accepted is a number from 0 to below 1"):
        model.predict_series([], smoothing=smoothing)


@pytest.mark.parametrize("adaptation", [-1, 51, 2.5, True, "5"])
def test_an_adaptation_that_cannot_be_is_refused_before_any_frame(model: Model, adaptation: object) -> None:
    words = rf"adaptation is {adaptation!r}; accepted is a whole number of updates from 0, .*, to 50"
    with pytest.raises(ValueError, match=words):
        model.predict_series([], adaptation=adaptation)


def test_series_that_are_none_are_refused(model: Model) -> None:
    with pytest.raises(TypeError, match="frames is of type int"):
        model.predict_series(3)
    with pytest.raises(ValueError, match="there is no frame"):
        list(model.predict_series(iter(())))


def test_a_frame_unlike_the_others_is_named_after_those_before_it(model: Model, noisy: np.ndarray) -> None:
    for wrong, words in (
        (noisy[0, ..., 0], "frame 3: the image has 1 channel; accepted are 3, as in the reference images"),
        (noisy[0, :50], "frame 3: the image has 110 x 50 pixels and frame 1 has 110 x 90 pixels; accepted is one size"),
    ):
        results = model.predict_series([noisy[0], noisy[1], wrong, noisy[2]], smoothing=0.5)
        assert next(results).labels.shape == next(results).labels.shape == (90, 110)
        with pytest.raises(ValueError, match=words):
            next(results)


def test_what_the_source_of_the_frames_raises_is_passed_on(model: Model, noisy: np.ndarray) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield noisy[0]
        raise OSError("the camera was unplugged")

    results = model.predict_series(broken())
    assert next(results).labels.shape == (90, 110)
    with pytest.raises(OSError, match=r"^the camera was unplugged$"):
        next(results)


# ---------------------------------------------------------------------- frame by frame, and its memory


def test_a_frame_that_cannot_be_used_leaves_a_series_as_it_was(model: Model, noisy: np.ndarray) -> None:
    expected = labels_of(model.predict_series(noisy[:3], smoothing=0.6))
    series = Series(model, smoothing=0.6)
    found = [series.segment(noisy[0]).labels]
    for wrong, words in ((noisy[1, :50], "accepted is one size for all"), (noisy[1, ..., :2], "has 3 axes")):
        with pytest.raises(ValueError, match=words):
            series.segment(wrong)
    found += [series.segment(each).labels for each in noisy[1:3]]
    assert np.array_equal(found, expected)
    assert not np.array_equal(expected, labels_of(model.predict_series(noisy[:3])))


def test_results_tell_the_memory_that_was_foretold(model: Model, noisy: np.ndarray) -> None:
    shape, engine = noisy.shape[1:3], {"device": "cpu", "threads": 1}
    for asked in ({}, {"smoothing": 0.5}, {"smoothing": 0.5, "adaptation": 3}):
        (found,) = model.predict_series(noisy[:1], **asked, **engine)
        assert found.plan == model.plan(shape, **asked, **engine)
    assert model.predict(noisy[0], **engine).plan == model.plan(shape, **engine)


def test_updates_take_the_memory_of_a_run_of_the_same_networks(model: Model) -> None:
    shape, engine = (800, 700), {"device": "cpu", "threads": 1}
    settings = model.settings.change(**engine, split_into="clusters")
    kind = {"factors": model.factors, "n_clusters": len(model.numbers)}
    run = make_plan(shape, len(model.offset), settings, choose_device("cpu"), **kind)
    plan = model.plan(shape, adaptation=5, **engine)
    # three frames of three channels, two maps of three probabilities, confidence and margin; two maps of labels; labels
    held = 800 * 700 * (4 * (3 * 3 + 2 * 3 + 2) + 2 * 8 + 1)
    assert plan.bytes == run.bytes + held
    assert plan.bytes > 3 * model.plan(shape, smoothing=0.5, **engine).bytes
    assert model.plan(shape, smoothing=0.5, **engine).bytes > model.plan(shape, **engine).bytes


def test_updates_are_held_to_the_limit_of_the_networks_settings(model: Model) -> None:
    limited = replace(model, settings=model.settings.change(memory_limit=0.1))
    plan = limited.plan((800, 700), adaptation=5, device="cpu")
    assert plan.n_crops > 1
    assert plan.bytes < plan.whole == model.plan((800, 700), adaptation=5, device="cpu").bytes
    with pytest.raises(ValueError, match="adaptation is 51"):
        model.plan((9, 9), adaptation=51)
