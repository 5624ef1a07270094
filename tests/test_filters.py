"""Fixed filters against SciPy's Gaussians and NumPy's differences; networks on them, by every way of computing."""

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

import napari_dfc as dfc
from napari_dfc import prediction
from napari_dfc.filters import filter_responses
from napari_dfc.network import Ensemble, Network, initialize
from napari_dfc.passes import AutogradPass, Task
from napari_dfc.prediction import Picture, Predictor
from napari_dfc.result import network_for
from napari_dfc.samples import read_sample
from napari_dfc.scales import FILTER_RADIUS, SIGMAS
from napari_dfc.segmentation import Run
from napari_dfc.settings import Settings
from napari_dfc.stripwise import StripPass


def differences(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Central differences down and across, where the border goes on."""
    down, across = np.gradient(np.pad(values, 1, mode="edge"))
    return down[1:-1, 1:-1], across[1:-1, 1:-1]


def test_responses_are_brightness_steepness_and_curvatures_at_every_scale() -> None:
    image = np.random.default_rng(0).random((2, 30, 41))
    found = filter_responses(torch.from_numpy(image)).numpy().reshape(len(SIGMAS), 4, 2, 30, 41)
    for sigma, (smooth, steepness, larger, smaller) in zip(SIGMAS, found, strict=True):
        for channel in range(2):
            expected = gaussian_filter(image[channel], sigma, mode="nearest", truncate=4)
            assert smooth[channel] == pytest.approx(expected, abs=1e-12)
            down, across = differences(expected)
            assert steepness[channel] == pytest.approx(np.hypot(down, across), abs=1e-12)
            by_rows, mixed = differences(down)
            second = np.stack([by_rows, mixed, mixed, differences(across)[1]], -1).reshape(30, 41, 2, 2)
            assert np.stack([smaller[channel], larger[channel]], -1) == pytest.approx(
                np.linalg.eigvalsh(second), abs=1e-12
            )


def test_responses_turn_with_the_image() -> None:
    image = torch.from_numpy(np.random.default_rng(0).random((1, 20, 33)))
    turned = filter_responses(image.rot90(1, (1, 2)))
    assert torch.allclose(turned, filter_responses(image).rot90(1, (1, 2)), atol=1e-12)


def test_masked_pixels_have_no_say() -> None:
    random = np.random.default_rng(0)
    mask = torch.from_numpy(random.random((25, 30)) > 0.3)
    image = torch.from_numpy(random.random((1, 25, 30)))
    found = filter_responses(image, mask)
    assert torch.equal(found, filter_responses(torch.where(mask, image, image + 9), mask))
    assert (found[:, ~mask] == 0).all()
    assert filter_responses(torch.ones(1, 25, 30, dtype=torch.float64), mask)[::4][:, mask].sub(1).abs().max() < 1e-12


def test_a_response_sees_no_further_than_the_radius() -> None:
    image = torch.zeros(1, 3, 2 * FILTER_RADIUS + 21)
    image[0, 1, 0] = 1
    responses = filter_responses(image)
    assert responses[:, :, FILTER_RADIUS - 1].any()
    assert not responses[:, :, FILTER_RADIUS + 1 :].any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 9), (3, 2)])
def test_the_smallest_images_have_responses(shape: tuple[int, int]) -> None:
    responses = filter_responses(torch.full((1, *shape), 3.0))
    assert responses.reshape(len(SIGMAS), 4, *shape)[:, 0] == pytest.approx(np.full((len(SIGMAS), *shape), 3.0))
    assert responses.reshape(len(SIGMAS), 4, *shape)[:, 1:].abs().max() < 1e-6


def task_of_filters(masked: bool) -> Task:
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(70, 90, generator=generator) > 0.2 if masked else None
    image = torch.rand(2, 70, 90, generator=generator, dtype=torch.float64)
    targets = torch.full((70, 90), -1)
    targets[10:12, 5:60], targets[40:44, 20:30], targets[60] = 0, 1, 2
    if mask is not None:
        image, targets = image * mask, targets.masked_fill(~mask, -1)
    network = Network(2, 24, 0, "replicate", 3).double()
    initialize(network, "xavier", generator)
    return Task(network, image, Settings(), mask, targets, lambda: False, wants_probabilities=True)


@pytest.mark.parametrize("masked", [False, True])
def test_strips_compute_what_automatic_differentiation_does(masked: bool) -> None:
    task = task_of_filters(masked)
    expected, found = AutogradPass(task)(gradients=True), StripPass(task)(gradients=True)
    inside = slice(None) if task.mask is None else task.mask
    assert torch.equal(found.clusters[inside], expected.clusters[inside])
    assert [float(loss) for loss in found.losses] == pytest.approx([float(loss) for loss in expected.losses])
    for ours, theirs in zip(found.gradients.found(), expected.gradients.found(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-12)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("block", [(256, 256), (16, 32)])
def test_prediction_is_the_response_block_by_block(
    masked: bool, block: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prediction, "FILTER_BLOCK", block)
    task = task_of_filters(masked)
    mask = None if task.mask is None else task.mask[None, None].double()
    expected = task.single(task.image[None], mask)[0].permute(1, 2, 0).detach()
    predictor, picture = Predictor(task.single), Picture(task.image, task.mask)
    predictor.measure(picture)
    found = torch.zeros_like(expected)
    for each in predictor.blocks(picture):
        found[each.rows, each.columns] = each.values
    inside = slice(None) if task.mask is None else task.mask
    assert torch.allclose(found[inside], expected[inside], atol=1e-10)


def test_a_classifier_of_filters_in_an_ensemble_begins_with_zeros() -> None:
    members = [Network(1, 8, 2, n_clusters=3), Network(1, 8, 0, n_clusters=3)]
    initialize(Ensemble(members, (1, 1)), "xavier", torch.Generator().manual_seed(0))
    assert members[0].classifier.weight.any()
    assert not members[1].classifier.weight.any()
    assert members[1].n_channels == 16
    assert members[1].receptive_radius == FILTER_RADIUS


# ---------------------------------------------------------------------- as a setting

QUICK = {"preset": "fast", "max_iterations": 5, "region_iterations": 3, "n_channels": 12}


def tissue() -> tuple[np.ndarray, np.ndarray]:
    sample = read_sample("stained_tissue")
    return sample.image[10:110, 120:240], sample.scribbles[10:110, 120:240]


def test_with_strokes_filters_have_a_say_beside_the_networks() -> None:
    image, painted = tissue()
    depths = {}
    for extractor in ("both", "convolutions", "filters"):
        run = Run(image, scribbles=painted, settings=Settings.from_preset(**QUICK, extractor=extractor))
        for iteration in run:
            weights = iteration.weights
        kernels = [len(weight[0]) for name, weight in weights.items() if name.endswith("classifier.weight")]
        depths[extractor] = kernels  # features of every network
        assert set(np.unique(run.result().labels)) == set(np.unique(painted)) - {0}
    assert depths == {"both": [12, 12, 48], "convolutions": [12, 12], "filters": [48]}


@pytest.mark.parametrize(
    ("n_channels", "extractor", "shares"),
    [
        (1, "both", (1 / 6, 1 / 6, 1 / 6, 1 / 2)),
        (3, "both", (1 / 4, 1 / 4, 1 / 4, 1 / 4)),
        (1, "convolutions", (1 / 3, 1 / 3, 1 / 3)),
        (1, "filters", (1,)),
    ],
)
def test_filters_of_a_gray_image_count_as_much_as_all_networks(
    n_channels: int, extractor: str, shares: tuple[float, ...]
) -> None:
    network = network_for(n_channels, Settings(extractor=extractor), 3, (1,) * len(shares))
    assert isinstance(network, Ensemble)
    assert network.shares == pytest.approx(shares)


def test_filters_tell_textures_of_one_mean_apart() -> None:
    random = np.random.default_rng(0)
    image = random.normal(0, 1, size=(64, 96))
    image[:, :48] *= 0.1
    painted = np.zeros((64, 96), dtype=np.uint8)
    painted[30, 10:30], painted[30, 60:80] = 1, 2
    labels = dfc.segment(image, scribbles=painted, **QUICK, extractor="filters", edge_share=0.0).labels
    truth = np.where(np.arange(96) < 48, 1, 2)[None].repeat(64, axis=0)
    assert (labels == truth).mean() > 0.9


def test_without_strokes_filters_replace_the_convolutions_and_both_does_not() -> None:
    image, _ = tissue()
    both, convolutions, filters = (
        dfc.segment(image, **QUICK, extractor=extractor).labels for extractor in ("both", "convolutions", "filters")
    )
    assert np.array_equal(both, convolutions)
    assert not np.array_equal(both, filters)
    assert filters.max() == 5


def test_filters_learn_from_crops_where_memory_is_short() -> None:
    image, painted = (np.tile(each, (4, 4, 1)[: each.ndim]) for each in tissue())
    settings = {**QUICK, "memory_limit": 0.04}
    result = dfc.segment(image, scribbles=painted, **settings)
    assert result.plan.n_crops > 1
    assert result.labels.all()
    assert np.isfinite(result.confidence).all()


@pytest.mark.parametrize("preset", ["paper", "published"])
def test_literal_presets_know_neither_filters_nor_edges(preset: str) -> None:
    settings = Settings.from_preset(preset)
    assert (settings.extractor, settings.edge_share, settings.split_into) == ("convolutions", 0.0, "clusters")
