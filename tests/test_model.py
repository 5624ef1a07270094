"""A network that is kept gives other images the classes of its reference."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import napari_dfc as dfc
from napari_dfc.model import MOST_DRIFT, Model
from napari_dfc.network import Network, initialize
from napari_dfc.prediction import Picture, Predictor
from napari_dfc.samples import read_sample

FAST = {"preset": "fast", "max_iterations": 8}


def tissue() -> tuple[np.ndarray, np.ndarray]:
    sample = read_sample("stained_tissue")
    return sample.image, sample.scribbles


@pytest.fixture(scope="module")
def painted() -> tuple[dfc.Segmentation, Model]:
    image, strokes = tissue()
    result = dfc.segment(image, scribbles=strokes, **FAST)
    return result, result.model(names={1: "nucleus"})


# ---------------------------------------------------------------------- the reference itself


def test_the_reference_gets_the_labels_of_its_run(painted: tuple[dfc.Segmentation, Model]) -> None:
    result, model = painted
    image, _ = tissue()
    for statistics in ("reference", "image"):
        predicted = model.predict(image, statistics=statistics)
        assert np.array_equal(predicted.labels, result.labels)
        assert predicted.labels.dtype == result.labels.dtype
        assert predicted.confidence == pytest.approx(result.confidence, abs=1e-5)
        assert predicted.note == ""
        assert predicted.iterations == 8
        assert [entry.name for entry in predicted.legend] == ["nucleus", "class 2", "class 3"]


def test_clusters_are_classes_too() -> None:
    image, _ = tissue()
    result = dfc.segment(image, split_into="clusters", **FAST)
    model = result.model()
    assert np.array_equal(model.predict(image).labels, result.labels)
    assert set(model.legend.numbers) >= set(np.unique(result.labels).tolist())
    assert len(model.numbers) == result.settings.n_channels


def test_a_network_is_trained_to_tell_groups_apart() -> None:
    image, _ = tissue()
    result = dfc.segment(image, n_groups=2, **FAST)
    model = result.model(names={2: "dark"})
    predicted = model.predict(image)
    assert model.legend.numbers == (1, 2)
    assert predicted.legend[2].name == "dark"
    assert np.mean(predicted.labels == result.labels) > 0.9


def test_a_masked_reference_is_masked_again() -> None:
    image, strokes = tissue()
    mask = np.ones(image.shape[:2], dtype=bool)
    mask[40:90, 50:120] = False
    result = dfc.segment(image, scribbles=strokes, mask=mask, **FAST)
    predicted = result.model().predict(image, mask=mask)
    assert np.array_equal(predicted.labels, result.labels)
    assert predicted.drift == pytest.approx(0, abs=1e-6)


# ---------------------------------------------------------------------- other images


def test_with_fixed_statistics_a_part_is_as_in_the_whole(painted: tuple[dfc.Segmentation, Model]) -> None:
    _, model = painted
    image, _ = tissue()
    whole, part = model.predict(image).labels, model.predict(image[:, :150]).labels
    far = 60  # beyond what a pixel sees, and the pieces between edges that end there
    assert np.array_equal(whole[:, : 150 - far], part[:, : 150 - far])


def test_another_exposure_drifts_and_its_own_statistics_make_up_for_it(
    painted: tuple[dfc.Segmentation, Model],
) -> None:
    result, model = painted
    image, _ = tissue()
    darker = image // 2
    fixed = model.predict(darker)
    assert fixed.drift > MOST_DRIFT
    assert "unlike the references" in fixed.note
    assert f"drift {fixed.drift:.2f}" in fixed.note
    own = model.predict(darker, statistics="image")
    assert np.mean(own.labels == result.labels) > np.mean(fixed.labels == result.labels)
    assert np.mean(own.labels == result.labels) > 0.95
    assert np.isnan(own.drift)


def test_no_pixel_is_modified_and_the_record_is_plain(painted: tuple[dfc.Segmentation, Model]) -> None:
    _, model = painted
    image, _ = tissue()
    before = image.copy()
    predicted = model.predict(image, name="next.tif")
    assert np.array_equal(image, before)
    record = json.loads(json.dumps(dict(predicted.record)))
    assert record["image"]["name"] == "next.tif"
    assert record["model"]["legend"][0]["name"] == "nucleus"
    assert record["statistics"] == "reference"


def test_the_smallest_image_has_a_class(painted: tuple[dfc.Segmentation, Model]) -> None:
    _, model = painted
    labels = model.predict(np.full((1, 1, 3), 200, dtype=np.uint8)).labels
    assert labels.shape == (1, 1)
    assert labels[0, 0] in model.legend.numbers


def test_class_numbers_are_as_large_as_they_like() -> None:
    image, strokes = tissue()
    painted = np.where(strokes > 0, strokes.astype(np.uint64) + np.uint64(2**63), 0)
    model = dfc.segment(image, scribbles=painted, **FAST).model()
    predicted = model.predict(image)
    assert predicted.n_labels == 3
    assert int(predicted.labels.max()) == 2**63 + 3


def test_one_network_alone_draws_classes_to_edges_too() -> None:
    image, strokes = tissue()
    settings = {**FAST, "extractor": "convolutions", "n_networks": 1}
    result = dfc.segment(image, scribbles=strokes, **settings)
    assert result.settings.edge_share > 0
    assert np.array_equal(result.model().predict(image).labels, result.labels)


def test_colors_are_colors_however_the_file_is_laid_out(painted: tuple[dfc.Segmentation, Model]) -> None:
    result, model = painted
    image, _ = tissue()
    assert np.array_equal(model.predict(np.moveaxis(image, 2, 0), channel_axis=0).labels, result.labels)


def test_a_pixel_beyond_all_bounds_is_said() -> None:
    image = np.random.default_rng(0).normal(size=(40, 40)) + np.arange(40) // 20 * 5.0
    strokes = np.zeros(image.shape, dtype=np.uint8)
    strokes[5, 2:15], strokes[5, 25:38] = 1, 2
    model = dfc.segment(image, scribbles=strokes, **FAST).model()
    image[0, 0] = 1e37
    predicted = model.predict(image)
    assert predicted.drift > 0.9
    assert "unlike the references" in predicted.note
    image[0, 0] = 1e300
    with pytest.raises(ValueError, match="too far from most others"):
        model.predict(image)


# ---------------------------------------------------------------------- what cannot be


@pytest.mark.parametrize("statistics", ["reference", "image"])
def test_another_number_of_channels_is_refused(painted: tuple[dfc.Segmentation, Model], statistics: str) -> None:
    _, model = painted
    with pytest.raises(ValueError, match="the image has 1 channel; accepted are 3, as in the reference images"):
        model.predict(np.zeros((20, 20)), statistics=statistics)


def test_other_statistics_are_refused(painted: tuple[dfc.Segmentation, Model]) -> None:
    with pytest.raises(ValueError, match='accepted are "reference" and "image"'):
        painted[1].predict(np.zeros((20, 20, 3)), statistics="batch")


def test_regions_are_no_classes() -> None:
    image, _ = tissue()
    with pytest.raises(ValueError, match="regions are pieces of one image"):
        dfc.segment(image, split_into="regions", **FAST).model()


def test_a_prediction_has_its_network_already(painted: tuple[dfc.Segmentation, Model]) -> None:
    image, _ = tissue()
    with pytest.raises(ValueError, match="is kept already"):
        painted[1].predict(image).model()


def test_a_name_is_for_a_class_that_is_there(painted: tuple[dfc.Segmentation, Model]) -> None:
    result, model = painted
    with pytest.raises(ValueError, match="there is no class 9; the classes are 1, 2, 3"):
        result.model(names={9: "x"})
    assert model.named({2: "stroma"}).legend[2].name == "stroma"
    assert model.legend[2].name == "class 2"


def test_a_model_in_words_is_short(painted: tuple[dfc.Segmentation, Model]) -> None:
    assert repr(painted[1]) == "Model(3 classes: nucleus, class 2, class 3; 1 reference image)"


# ---------------------------------------------------------------------- statistics


@pytest.mark.parametrize("n_conv", [0, 1, 3])
def test_statistics_used_again_give_the_same_response(n_conv: int) -> None:
    network = Network(2, 6, n_conv)
    generator = torch.Generator().manual_seed(0)
    initialize(network, "xavier", generator)
    first, second = (Picture(torch.rand(2, 30, 40, generator=generator)) for _ in range(2))
    measured, used = Predictor(network), Predictor(network)
    used.use(measured.measure(first, second))
    one, other = (each.response(second, slice(0, 30), slice(0, 40)) for each in (measured, used))
    assert torch.equal(one, other)


def drift_of(predictor: Predictor, picture: Picture) -> float:
    seen = predictor.watch()
    with torch.no_grad():
        for _ in predictor.blocks(picture, seen):
            pass
    return predictor.drift(seen)


def test_drift_is_one_less_the_overlap_of_normal_distributions() -> None:
    """Against the integral of the root of both densities, by the trapezoid rule."""
    network = Network(1, 4, 1)
    generator = torch.Generator().manual_seed(0)
    initialize(network, "xavier", generator)
    there, here = (
        Picture(torch.rand(1, 40, 40, generator=generator)),
        Picture(torch.rand(1, 40, 40, generator=generator)),
    )
    here = Picture(here.image * 1.5 + 0.3)
    predictor = Predictor(network)
    (statistics,) = predictor.measure(there)
    kernel = network.convolutions[0].weight.detach()
    maps = torch.relu(torch.nn.functional.conv2d(here.image[None], kernel, padding=1))[0]
    overlaps = []
    for index in range(4):
        mean, deviation = statistics.means[0][index], (statistics.variances[0][index] + 1e-5).sqrt()
        values = maps[index].double()
        other_mean, other_deviation = values.mean(), (values.var(correction=0) + 1e-5).sqrt()
        grid = torch.linspace(-20, 20, 400_001, dtype=torch.float64)
        densities = [
            torch.exp(-((grid - m) ** 2) / (2 * s**2)) / (s * np.sqrt(2 * np.pi))
            for m, s in ((mean, deviation), (other_mean, other_deviation))
        ]
        overlaps.append(float(torch.trapezoid((densities[0] * densities[1]).sqrt(), grid)))
    assert drift_of(predictor, here) == pytest.approx(1 - np.mean(overlaps), abs=1e-3)
    assert drift_of(predictor, there) == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("n_networks", "extractor"), [(2, "convolutions"), (4, "convolutions"), (2, "both")])
def test_receptive_radius_is_how_far_a_pixel_sees(n_networks: int, extractor: str) -> None:
    random = np.random.default_rng(0)
    image, painted = random.random((64, 200)), np.zeros((64, 200), dtype=np.uint8)
    painted[4, 4:60], painted[40, 4:60] = 1, 2
    options = {
        "n_networks": n_networks,
        "extractor": extractor,
        "max_iterations": 3,
        "n_channels": 8,
        "padding": "zeros",
    }
    model = dfc.segment(image, scribbles=painted, preset="fast", edge_share=0, **options).model()
    changed = image.copy()
    changed[:, :60] += 3  # 60 is a border of squares, from which all see as far as they can
    seen = np.flatnonzero((model.predict(image).confidence != model.predict(changed).confidence).any(0)).max()
    assert seen < 60 + model.receptive_radius
    if extractor == "convolutions":  # what fixed filters see at their rim is too little to be counted on
        assert seen >= 60 + model.receptive_radius - max(model.factors)
