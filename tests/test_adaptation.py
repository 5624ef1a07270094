"""A network that follows a series whose scene changes, and stays as it is where nothing does."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

import napari_dfc as dfc
from napari_dfc.adaptation import updated
from napari_dfc.ensemble import predictor_for
from napari_dfc.losses import continuity_loss, scribble_loss
from napari_dfc.model import Model
from napari_dfc.prediction import Picture
from napari_dfc.result import Segmentation
from napari_dfc.samples import read_sample

BOTH = pytest.mark.parametrize("statistics", ["reference", "image"])


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """A corner of the reference, of which the features are spread otherwise than over the whole."""
    return read_sample("stained_tissue").image[:90, :110].astype(float)


@pytest.fixture(scope="module")
def model() -> Model:
    sample = read_sample("stained_tissue")
    quick = {"preset": "fast", "max_iterations": 12, "n_channels": 8, "n_networks": 2}
    return dfc.segment(sample.image, scribbles=sample.scribbles, **quick).model()


def changing(image: np.ndarray, statistics: str, frames: int = 8) -> list[np.ndarray]:
    """A stain that fades; where brightness is scaled by the image, which does not show that, a focus that is lost."""
    if statistics == "reference":
        return [stained(image, amount) for amount in 0.03 * np.arange(frames)]
    return [gaussian_filter(image, (width, width, 0)) for width in np.linspace(0, 2, frames)]


def stained(image: np.ndarray, amount: float) -> np.ndarray:
    """With less red and more blue."""
    return image * (1 + amount * np.array([-0.4, 0.1, 0.3]))


def segmented(model: Model, frames: Sequence[np.ndarray], **options: object) -> tuple[list[Segmentation], list[int]]:
    """The results, and the updates made on each frame."""
    found = list(model.predict_series(frames, **options))
    return found, [each.record["series"].get("updates", 0) for each in found]


def assert_alike(found: Sequence[Segmentation], expected: Sequence[Segmentation]) -> None:
    for one, other in zip(found, expected, strict=True):
        assert np.array_equal(one.labels, other.labels)
        assert np.array_equal(one.confidence, other.confidence, equal_nan=True)
        np.testing.assert_equal(one.drift, other.drift)  # NaN where it is none
        assert one.note == other.note


# ---------------------------------------------------------------------- where nothing changes


@BOTH
@pytest.mark.parametrize("smoothing", [0.0, 0.5])
def test_ten_equal_frames_have_the_labels_of_the_kept_network(
    model: Model, image: np.ndarray, statistics: str, smoothing: float
) -> None:
    found, updates = segmented(model, [image] * 10, adaptation=5, statistics=statistics, smoothing=smoothing)
    assert updates == [0] * 10
    assert_alike(found, [model.predict(image, statistics=statistics)] * 10)


@BOTH
def test_noise_alone_makes_no_update(model: Model, image: np.ndarray, statistics: str) -> None:
    for deviation in (3, 30):
        noise = np.random.default_rng(0).normal(0, deviation, (5, *image.shape))
        found, updates = segmented(model, image + noise, adaptation=5, statistics=statistics)
        assert updates == [0] * 5
        assert_alike(found, list(model.predict_series(image + noise, statistics=statistics)))


# ---------------------------------------------------------------------- where it does


@BOTH
def test_updates_are_those_of_a_plain_loop_that_begins_with_the_kept_weights(
    image: np.ndarray, statistics: str
) -> None:
    strokes = np.zeros(image.shape[:2], dtype=np.uint8)
    strokes[5, 5:30], strokes[60, 10:80] = 1, 2
    options = {"extractor": "convolutions", "n_networks": 1, "edge_share": 0.0, "n_channels": 6}
    model = dfc.segment(image, scribbles=strokes, preset="fast", max_iterations=3, **options).model()
    settings, plain = model.settings, model.network()
    engine = {"mask": None, "channel_axis": None, "statistics": statistics, "device": "cpu", "threads": 1}
    response = model.respond(stained(image, 0.1), **engine)
    targets = np.where(np.arange(image.shape[1]) % 3 > 0, response.shares().argmax(-1), 1)
    found = updated(response, targets, 2)

    descent = torch.optim.SGD(plain.parameters(), settings.learning_rate, settings.momentum)
    for _ in range(2):
        answer = plain(torch.from_numpy(response.plane.values)[None])
        loss = settings.continuity_weight * continuity_loss(answer)
        loss = loss + settings.scribble_weight * scribble_loss(
            answer, torch.from_numpy(targets)[None], settings.balance_scribbles
        )
        descent.zero_grad()
        loss.backward()
        descent.step()
    for name, expected in plain.state_dict().items():
        np.testing.assert_allclose(found.weights[name], expected, atol=1e-4)
    assert not torch.equal(found.weights["classifier.weight"], model.weights["classifier.weight"])
    assert (found.statistics is None) == (statistics == "image")
    if found.statistics is not None:  # the network then goes by those of this frame
        picture = Picture(torch.from_numpy(response.plane.values))
        plain.load_state_dict(dict(found.weights))
        with torch.no_grad():
            (expected,) = predictor_for(plain).measure(picture)
        assert torch.equal(found.statistics[0].covariance, expected.covariance)


@pytest.fixture
def all_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Updates are kept however little they agree."""
    monkeypatch.setattr("napari_dfc.adaptation.LEAST_AGREEMENT", 0.0)


@BOTH
@pytest.mark.usefixtures("all_kept")
def test_what_changes_slowly_is_followed_by_a_copy(model: Model, image: np.ndarray, statistics: str) -> None:
    frames = changing(image, statistics, 4)
    kept = {name: weight.clone() for name, weight in model.weights.items()}
    found, updates = segmented(model, frames, adaptation=2, statistics=statistics)
    plain, _ = segmented(model, frames, statistics=statistics)
    assert set(updates) == {0, 2}
    assert_alike(found[:1], plain[:1])
    assert not np.array_equal(found[-1].labels, plain[-1].labels)
    assert {*np.unique(found[-1].labels)} <= set(model.numbers)
    # it tells how unlike the references the image is to the kept network, which stays as it is
    np.testing.assert_equal([each.drift for each in found], [each.drift for each in plain])
    assert all(torch.equal(kept[name], weight) for name, weight in model.weights.items())
    again, _ = segmented(model, frames, adaptation=2, statistics=statistics)
    assert_alike(again, found)


def test_an_update_that_does_not_learn_its_labels_is_thrown_away(model: Model, image: np.ndarray) -> None:
    frames = changing(image, "reference", 4)  # all but one in a hundred pixels are of one class
    found, updates = segmented(model, frames, adaptation=5)
    assert updates == [0] * 4
    assert_alike(found, list(model.predict_series(frames)))


@pytest.mark.usefixtures("all_kept")
def test_a_scene_that_comes_back_is_seen_by_the_kept_network_again(model: Model, image: np.ndarray) -> None:
    frames = [stained(image, amount) for amount in (0, 0.03, 0.06, 0.03, 0)]
    found, updates = segmented(model, frames, adaptation=2)
    assert sum(updates) > 0
    assert not np.array_equal(found[2].labels, model.predict(frames[2]).labels)
    assert updates[-1] == 0
    assert_alike(found[-1:], [model.predict(image)])


@pytest.mark.usefixtures("all_kept")
def test_what_jumps_at_once_is_not_followed(model: Model, image: np.ndarray) -> None:
    frames = [stained(image, amount) for amount in (0, 0.03, 0.06)] + [255 - image] * 2
    found, updates = segmented(model, frames, adaptation=2)
    assert sum(updates[:3]) > 0
    assert updates[3:] == [0, 0]
    assert_alike(found[3:], [model.predict(frames[-1])] * 2)


@BOTH
@pytest.mark.usefixtures("all_kept")
def test_masked_pixels_have_no_say(model: Model, image: np.ndarray, statistics: str) -> None:
    mask = np.ones(image.shape[:2], dtype=bool)
    mask[:30] = False
    frames = changing(image, statistics, 5)[:3]
    other = [each.copy() for each in frames]
    for number, each in enumerate(other):
        each[:30] = 80 * number
    options = {"adaptation": 2, "mask": mask, "statistics": statistics, "smoothing": 0.2}
    (one, updates), (two, _) = (segmented(model, each, **options) for each in (frames, other))
    assert sum(updates) > 0
    assert (one[-1].labels[:30] == 0).all()
    assert_alike(one, two)
