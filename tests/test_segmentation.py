from __future__ import annotations

import json
import threading
from typing import Any

import numpy as np
import pytest
import torch
from skimage.measure import label

import napari_dfc as dfc
from napari_dfc import merging, segmentation
from napari_dfc.basins import basins_of
from napari_dfc.contrast import contrast_of
from napari_dfc.ensemble import predictor_for
from napari_dfc.hierarchy import Hierarchy
from napari_dfc.network import Network
from napari_dfc.optimization import Optimization
from napari_dfc.prediction import Picture
from napari_dfc.result import network_for
from napari_dfc.samples import read_sample
from napari_dfc.scribbles import unpack
from napari_dfc.segmentation import Run


def nuclei(rows: int = 64, columns: int = 72) -> np.ndarray:
    return read_sample("fluorescence_nuclei").image[:rows, :columns]


def tissue_with_strokes() -> tuple[np.ndarray, np.ndarray]:
    sample = read_sample("stained_tissue")
    return sample.image[10:120, 120:260], sample.scribbles[10:120, 120:260]


FAST = {"preset": "fast", "split_into": "clusters", "max_iterations": 6, "n_channels": 12}


# ---------------------------------------------------------------------- what comes out


def test_labels_are_positive_in_the_smallest_unsigned_dtype() -> None:
    result = dfc.segment(nuclei(), **FAST)
    assert result.labels.shape == (64, 72)
    assert result.labels.dtype == np.uint8
    assert result.labels.min() == 1
    assert result.n_labels == len(np.unique(result.labels))


def test_labels_are_numbered_by_falling_area_without_gaps() -> None:
    result = dfc.segment(nuclei(), **FAST)
    numbers, areas = np.unique(result.labels, return_counts=True)
    assert numbers.tolist() == list(range(1, result.n_labels + 1))
    assert (np.diff(areas) <= 0).all()


def test_scribbled_classes_keep_their_numbers() -> None:
    image, strokes = tissue_with_strokes()
    painted = np.where(strokes == 1, 70_000, np.where(strokes == 3, 5, 0)).astype(np.uint32)
    result = dfc.segment(image, scribbles=painted, preset="fast")
    assert set(np.unique(result.labels)) == {5, 70_000}
    assert result.labels.dtype == np.uint32
    assert (result.labels[strokes == 1] == 70_000).mean() > 0.9
    assert (result.labels[strokes == 3] == 5).mean() > 0.9


def test_painted_classes_share_the_response_among_them_and_all_iterations_are_made() -> None:
    image, painted = tissue_with_strokes()
    run = Run(image, scribbles=painted, settings=dfc.Settings.from_preset("fast", max_iterations=6))
    assert run.stage.n_clusters == len(np.unique(painted)) - 1
    for iteration in run:
        assert int(iteration.clusters.max()) < run.stage.n_clusters
    result = run.result()
    assert result.iterations == 6
    assert result.ended == "all iterations were made"
    assert (result.margin <= result.confidence).all()


def test_averaged_networks_give_the_labels_and_their_confidence() -> None:
    image, painted = tissue_with_strokes()
    result = dfc.segment(image, scribbles=painted, preset="fast", max_iterations=8, n_networks=4)
    alone = dfc.segment(image, scribbles=painted, preset="fast", max_iterations=8, n_networks=1)
    assert set(np.unique(result.labels)) <= set(np.unique(painted))
    assert (result.labels != alone.labels).any()
    n_classes = len(np.unique(painted)) - 1
    assert (result.confidence >= 1 / n_classes - 1e-6).all()
    assert (result.confidence <= 1).all()
    assert dfc.segment(image, scribbles=painted, preset="fast", max_iterations=8, n_networks=4).labels.tolist() == (
        result.labels.tolist()
    )


def test_crops_and_averaged_networks_go_together() -> None:
    image, painted = tissue_with_strokes()
    image, painted = np.tile(image, (4, 4, 1)[: image.ndim]), np.tile(painted, (4, 4))
    options = {"preset": "fast", "max_iterations": 6, "memory_limit": 0.02}
    result = dfc.segment(image, scribbles=painted, **options)
    assert result.plan.n_crops > 1
    assert result.labels.all()


def test_superpixels_change_the_result_with_and_without_strokes() -> None:
    for options in ({}, {"scribbles": tissue_with_strokes()[1], "extractor": "convolutions"}):
        image = tissue_with_strokes()[0]
        options = {"continuity_weight": 0.0, "edge_share": 0.0, **options}
        without = dfc.segment(image, **options, **FAST)
        result = dfc.segment(image, superpixels=200, **options, **FAST)
        assert result.labels.all()
        assert (result.labels != without.labels).mean() > 0.01
        again = dfc.segment(image, superpixels=200, **options, **FAST)
        assert np.array_equal(result.labels, again.labels)


def test_without_restriction_other_clusters_take_unused_numbers() -> None:
    image, strokes = tissue_with_strokes()
    painted = np.where(strokes == 1, 2, np.where(strokes == 3, 4, 0)).astype(np.uint8)
    result = dfc.segment(image, scribbles=painted, restrict_to_scribbles=False, **FAST)
    others = sorted(set(np.unique(result.labels)) - {2, 4})
    assert others == [number for number in range(1, 20) if number not in (2, 4)][: len(others)]
    assert others


def test_masked_pixels_are_0_and_all_others_positive() -> None:
    mask = np.ones((64, 72), dtype=bool)
    mask[:10] = False
    image = nuclei().astype(float)
    image[40, 40] = np.nan
    result = dfc.segment(image, mask=mask, **FAST)
    expected = mask.copy()
    expected[40, 40] = False
    assert np.array_equal(result.labels > 0, expected)
    assert np.array_equal(np.isnan(result.confidence), ~expected)
    assert np.array_equal(np.isnan(result.margin), ~expected)


def test_confidence_and_margin_are_those_of_an_independent_softmax() -> None:
    run = Run(nuclei(), settings=dfc.Settings(split_into="clusters", max_iterations=4, n_channels=12, min_labels=1))
    last = list(run)[-1]
    network = Network(1, 12, 2, run.settings.padding)
    network.load_state_dict(dict(last.weights))
    response = network(torch.from_numpy(run.plane.values)[None])[0].double()
    exponential = np.exp(response.detach().numpy())
    probabilities = np.sort(exponential / exponential.sum(0), axis=0)
    result = run.result()
    np.testing.assert_allclose(result.confidence, probabilities[-1], atol=1e-5)
    np.testing.assert_allclose(result.margin, probabilities[-1] - probabilities[-2], atol=1e-5)


def test_losses_and_counts_are_kept_for_every_iteration_up_to_the_result() -> None:
    run = Run(nuclei(), settings=dfc.Settings(split_into="clusters", max_iterations=5, n_channels=12, min_labels=1))
    seen = [(iteration.n_labels, [float(loss) for loss in iteration.losses]) for iteration in run]
    result = run.result()
    assert result.iterations == 5
    assert result.label_counts.tolist() == [count for count, _ in seen]
    np.testing.assert_allclose(result.losses, [losses for _, losses in seen])


def test_result_is_the_last_map_with_enough_labels() -> None:
    settings = dfc.Settings(
        split_into="clusters", max_iterations=150, min_labels=5, n_channels=16, continuity_weight=20.0
    )
    run = Run(nuclei(), settings=settings)
    counts = [iteration.n_labels for iteration in run]
    assert min(counts) < 5  # the run did fall below
    result = run.result()
    enough = [number for number, count in enumerate(counts) if count >= 5]
    assert result.iterations == enough[-1]
    assert result.n_labels >= 5
    assert result.note == ""


def test_without_keeping_enough_labels_the_result_is_the_last_map() -> None:
    settings = dfc.Settings(
        split_into="clusters",
        max_iterations=150,
        min_labels=5,
        n_channels=16,
        continuity_weight=20.0,
        keep_min_labels=False,
    )
    run = Run(nuclei(), settings=settings)
    counts = [iteration.n_labels for iteration in run]
    assert run.result().iterations == len(counts) - 1
    assert run.result().n_labels == counts[-1]


def test_a_result_with_too_few_labels_says_so() -> None:
    settings = {"split_into": "clusters", "min_labels": 3, "max_iterations": 3, "n_channels": 4}
    result = dfc.segment(np.full((8, 9), 7, dtype=np.uint8), **settings)
    assert result.n_labels == 1
    assert "fewer than the 3 asked for" in result.note


def test_stopping_is_not_consuming() -> None:
    run = Run(nuclei(), settings=dfc.Settings(max_iterations=50, n_channels=12, min_labels=1))
    for iteration in run:
        if iteration.number == 3:
            break
    result = run.result()
    assert result.iterations == 3
    assert result.ended == "stopped by the user"


def test_no_result_before_the_first_iteration() -> None:
    with pytest.raises(RuntimeError, match="no result yet"):
        Run(nuclei()).result()


def test_cancel_from_another_thread_keeps_what_there_is() -> None:
    run = Run(nuclei(), settings=dfc.Settings(max_iterations=100_000, n_channels=12, min_labels=1))
    reached = threading.Event()

    def consume() -> None:
        for iteration in run:
            if iteration.number == 2:
                reached.set()

    thread = threading.Thread(target=consume)
    thread.start()
    assert reached.wait(30)
    run.cancel()
    thread.join(30)
    assert not thread.is_alive()
    assert run.result().iterations >= 2
    assert run.result().ended == "stopped by the user"


def test_previews_keep_each_cluster_s_number_and_the_result_tells_which() -> None:
    run = Run(nuclei(), settings=dfc.Settings(split_into="clusters", max_iterations=6, n_channels=12, min_labels=1))
    last = list(run)[-1]
    preview, result = run.preview(last), run.result()
    assert np.array_equal(preview, last.clusters.numpy() + 1)
    translated = np.zeros_like(preview)
    for final, during in result.numbers_during_run.items():
        translated[preview == during] = final
    assert np.array_equal(translated, result.labels)


# ---------------------------------------------------------------------- promises


def test_same_seed_gives_the_same_labels_bit_for_bit() -> None:
    first, second = (dfc.segment(nuclei(), seed=3, **FAST) for _ in range(2))
    assert np.array_equal(first.labels, second.labels)
    assert np.array_equal(first.losses, second.losses)
    assert not np.array_equal(first.losses, dfc.segment(nuclei(), seed=4, **FAST).losses)


def test_inputs_are_never_modified() -> None:
    image, strokes = tissue_with_strokes()
    image, strokes, mask = image.astype(float), strokes.copy(), np.ones(strokes.shape, dtype=bool)
    image[0, 0] = np.nan
    for array in (image, strokes, mask):
        array.flags.writeable = False
    before = image.copy(), strokes.copy(), mask.copy()
    dfc.segment(image, scribbles=strokes, mask=mask, **FAST)
    for array, copy in zip((image, strokes, mask), before, strict=True):
        np.testing.assert_array_equal(array, copy)


def test_torch_s_global_state_is_left_as_it_was() -> None:
    def state() -> tuple[object, ...]:
        return (
            torch.get_num_threads(),
            torch.is_grad_enabled(),
            torch.get_default_dtype(),
            torch.backends.cudnn.deterministic,
            torch.backends.cudnn.benchmark,
            torch.get_rng_state().tolist(),
        )

    torch.manual_seed(5)
    before = state()
    with torch.no_grad():
        result = dfc.segment(nuclei(), threads=1, repeatable=True, **FAST)
        assert not torch.is_grad_enabled()
    _ = result.confidence
    assert state() == before


def test_settings_of_torch_hold_only_inside_an_iteration() -> None:
    before = torch.get_num_threads()
    for _ in Run(nuclei(), settings=dfc.Settings(max_iterations=2, n_channels=8, threads=before + 1)):
        assert torch.get_num_threads() == before


def test_another_default_dtype_changes_nothing() -> None:
    expected = dfc.segment(nuclei(), **FAST)
    torch.set_default_dtype(torch.float64)
    try:
        found = dfc.segment(nuclei(), **FAST)
    finally:
        torch.set_default_dtype(torch.float32)
    assert np.array_equal(found.labels, expected.labels)


def test_the_record_alone_runs_it_again() -> None:
    image, strokes = tissue_with_strokes()
    result = dfc.segment(image, scribbles=strokes, preset="fast", seed=5, max_iterations=8, restrict_to_scribbles=False)
    record = json.loads(json.dumps(result.record))
    (painted,) = record["strokes"]
    settings = dfc.Settings(**{**record["settings"], "threads": record["threads"]})
    run = Run(image, scribbles=unpack(painted), settings=settings)
    for _ in run:
        pass
    assert np.array_equal(run.result().labels, result.labels)
    assert run.result().record["image"]["sha256"] == record["image"]["sha256"]
    assert record["versions"]["torch"] == torch.__version__


# ---------------------------------------------------------------------- odd images


@pytest.mark.parametrize("shape", [(1, 1), (1, 30), (30, 1), (2, 2), (3, 5)])
def test_tiny_images_have_a_defined_result(shape: tuple[int, int]) -> None:
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    result = dfc.segment(image, max_iterations=3, n_channels=4)
    assert result.labels.shape == shape
    assert result.labels.min() >= 1
    assert np.isfinite(result.losses).all()


def test_one_pixel_is_one_label() -> None:
    assert dfc.segment(np.array([[5]], dtype=np.uint8), max_iterations=3).labels.tolist() == [[1]]


def test_constant_image_with_strokes_has_their_classes_only() -> None:
    strokes = np.zeros((12, 12), dtype=np.uint8)
    strokes[2, 2:10], strokes[9, 2:10] = 3, 8
    result = dfc.segment(np.zeros((12, 12)), scribbles=strokes, max_iterations=5, n_channels=4)
    assert set(np.unique(result.labels)) <= {3, 8}


def test_one_scribbled_class_leaves_the_rest_to_the_clusters() -> None:
    image, strokes = tissue_with_strokes()
    result = dfc.segment(image, scribbles=np.where(strokes == 1, 9, 0), **FAST)
    assert 9 in result.labels
    assert result.n_labels > 1


def test_a_painted_class_that_wins_nowhere_is_noted() -> None:
    strokes = np.zeros((12, 12), dtype=np.uint8)
    strokes[2, 2:10], strokes[9, 2:10] = 3, 8
    run = Run(np.zeros((12, 12)), scribbles=strokes)
    next(iter(run))  # the untrained network's response to a constant image is 0 everywhere: its first channel wins
    assert run.result().labels.max() == 3
    assert run.result().note == "1 of the 2 painted classes won nowhere"


def test_a_class_painted_only_outside_of_the_mask_is_said_to_be_left_out() -> None:
    image, painted = np.random.default_rng(0).random((16, 12)), np.zeros((16, 12), np.uint8)
    painted[2, 1:5], painted[6, 1:5], painted[12, 1:5], painted[14, 1:5] = 1, 2, 5, 8
    mask = np.arange(16)[:, None].repeat(12, 1) < 10
    settings = {"n_channels": 8, "max_iterations": 1, "extractor": "convolutions"}
    result = dfc.segment(image, scribbles=painted, mask=mask, **settings)
    assert "classes 5, 8 are painted only outside of what was segmented, and left out" in result.note
    painted[14] = 0
    result = dfc.segment(image, scribbles=painted, mask=mask, **settings)
    assert "class 5 is painted only outside of what was segmented, and left out" in result.note


def test_more_classes_than_channels_is_a_clear_error() -> None:
    strokes = np.arange(64 * 72).reshape(64, 72) % 6
    with pytest.raises(ValueError, match="5 classes and the network has 4 channels"):
        dfc.segment(nuclei(), scribbles=strokes, n_channels=4)


def test_images_of_a_tuple_are_channels_of_one() -> None:
    image, _ = tissue_with_strokes()
    together = dfc.segment((image[..., 0], image[..., 1], image[..., 2]), **FAST)
    assert np.array_equal(together.labels, dfc.segment(image, **FAST).labels)


@pytest.mark.gpu
def test_cuda_gives_the_same_labels_in_repeatable_mode() -> None:
    first, second = (dfc.segment(nuclei(), device="cuda", repeatable=True, **FAST) for _ in range(2))
    assert np.array_equal(first.labels, second.labels)
    assert "CUDA" in first.device.title
    assert np.isfinite(first.confidence).all()


@pytest.mark.gpu
def test_cuda_memory_is_free_after_a_run() -> None:
    before = torch.cuda.memory_allocated()
    result = dfc.segment(nuclei(), device="cuda", **FAST)
    assert result.labels.min() == 1
    assert torch.cuda.memory_allocated() == before


def test_a_run_above_its_memory_limit_learns_from_crops_and_says_so() -> None:
    image = read_sample("stained_tissue").image
    settings = {"split_into": "clusters", "max_iterations": 6, "memory_limit": 0.1, "n_channels": 400, "n_conv": 1}
    result = dfc.segment(image, preset="fast", **settings)
    assert result.plan.n_crops > 1
    assert result.labels.shape == image.shape[:2]
    assert (result.labels > 0).all()
    assert f"learned from {result.plan.n_crops} crops" in result.note
    assert result.record["crop"] == list(result.plan.crop)
    assert len(result.losses) == len(result.label_counts) == result.iterations + 1
    assert result.confidence.shape == image.shape[:2]


def test_stopping_before_all_crops_were_seen_leaves_the_rest_without_labels() -> None:
    run = Run(
        read_sample("stained_tissue").image,
        settings=dfc.Settings(memory_limit=0.1, n_channels=400, n_conv=1, min_labels=1),
    )
    for iteration in run:
        np.testing.assert_array_equal(run.preview(iteration) > 0, iteration.known)
        break
    result = run.result()
    assert 0 < np.mean(result.labels > 0) < 0.9
    assert "the rest has no label" in result.note


def test_running_out_of_memory_steps_down_to_crops_says_so_and_gives_a_result(monkeypatch: pytest.MonkeyPatch) -> None:
    image = read_sample("stained_tissue").image
    tried = []

    def scarce(*given: Any, crops: list[object], **options: Any) -> Optimization:
        """As if the image did not fit unless cut into three or more."""
        tried.append(len(crops))
        if len(crops) < 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        return Optimization(*given, crops=crops, **options)

    monkeypatch.setattr("napari_dfc.courses.Optimization", scarce)
    result = dfc.segment(image, preset="fast", max_iterations=8)
    assert tried[0] == 1
    assert tried[-1] >= 3
    assert result.labels.shape == image.shape[:2]
    assert "ran out of memory: taken in smaller crops" in result.note


@pytest.mark.parametrize("error", [RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError()])
def test_too_little_memory_for_anything_is_an_error_that_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def none_left(*given: object, **options: object) -> Optimization:
        raise error

    monkeypatch.setattr("napari_dfc.courses.Optimization", none_left)
    with pytest.raises(MemoryError, match="close other programs"):
        dfc.segment(read_sample("stained_tissue").image, preset="fast")


def test_other_faults_are_not_taken_for_a_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*given: object, **options: object) -> Optimization:
        raise RuntimeError("shapes differ")

    monkeypatch.setattr("napari_dfc.courses.Optimization", broken)
    with pytest.raises(RuntimeError, match="shapes differ"):
        dfc.segment(read_sample("stained_tissue").image, preset="fast")


@pytest.mark.parametrize(("available", "spare", "expected"), [(4, True, 3), (3, True, 3), (4, False, 4)])
def test_a_core_is_spared_where_there_are_four(available: int, spare: bool, expected: int) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(available)
    try:
        run = Run(np.eye(16), settings=dfc.Settings(max_iterations=1, n_channels=4), spare_a_core=spare)
        for _ in run:
            assert torch.get_num_threads() == available  # the consumer's own number
        assert run.result().record["threads"] == expected
    finally:
        torch.set_num_threads(before)


def test_last_map_of_a_run_with_crops_is_the_result_whatever_its_count() -> None:
    image = read_sample("stained_tissue").image
    strokes = np.zeros(image.shape[:2], dtype=np.uint8)
    strokes[100, 10:20], strokes[20, 20:90], strokes[200, 300] = 1, 2, 3
    for seed in range(2):
        settings = dfc.Settings(memory_limit=0.1, n_channels=200, n_conv=1, max_iterations=6, seed=seed)
        run = Run(image, scribbles=strokes, settings=settings)
        last = list(run)[-1]
        result = run.result()
        assert run.plan.n_crops > 1
        assert (result.labels > 0).all()
        assert result.iterations == last.number
        assert len(np.unique(result.labels)) == last.n_labels


def test_stopping_a_masked_run_before_all_crops_were_seen_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    image = read_sample("stained_tissue").image
    mask = np.ones(image.shape[:2], dtype=bool)
    mask[:10] = False
    run = Run(image, mask=mask, settings=dfc.Settings(memory_limit=0.1, n_channels=400, n_conv=1, min_labels=1))
    next(iter(run))
    result = run.result()
    assert "the rest has no label" in result.note
    np.testing.assert_array_equal(np.isnan(result.confidence), result.labels == 0)


def test_a_run_that_stepped_down_is_repeated_by_its_record(monkeypatch: pytest.MonkeyPatch) -> None:
    image = read_sample("stained_tissue").image
    scarce = iter([True])

    def once_scarce(*given: Any, **options: Any) -> Optimization:
        if next(scarce, False):
            raise MemoryError
        return Optimization(*given, **options)

    monkeypatch.setattr("napari_dfc.courses.Optimization", once_scarce)
    first = dfc.segment(image, preset="fast", max_iterations=6)
    assert first.plan.n_crops > 1
    again = dfc.segment(image, **first.record["settings"])
    assert again.record["crop"] == first.record["crop"]
    np.testing.assert_array_equal(again.labels, first.labels)


def test_bfloat16_where_there_is_none_is_computed_in_float32_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmentation, "has_bfloat16", lambda device: False)
    image = read_sample("stained_tissue").image[:60, :80]
    asked = dfc.segment(image, preset="fast", max_iterations=3, precision="bfloat16")
    exact = dfc.segment(image, preset="fast", max_iterations=3, precision="float32")
    assert asked.note.startswith("computed in float32: CPU")
    assert asked.settings.precision == asked.record["settings"]["precision"] == "bfloat16"
    np.testing.assert_array_equal(asked.labels, exact.labels)
    np.testing.assert_array_equal(asked.losses, exact.losses)


# ---------------------------------------------------------------------- regions

REGIONS = {"preset": "fast", "split_into": "regions", "n_channels": 12, "region_iterations": 4}


def test_regions_are_connected_and_numbered_by_falling_area() -> None:
    image, _ = tissue_with_strokes()
    result = dfc.segment(image, **REGIONS)
    numbers, areas = np.unique(result.labels, return_counts=True)
    assert numbers.tolist() == list(range(1, result.n_labels + 1))
    assert (np.diff(areas) <= 0).all()
    assert all(label(result.labels == number, connectivity=1).max() == 1 for number in numbers)
    assert result.iterations == 2 * 4  # two networks
    assert len(result.losses) == len(result.label_counts) == 9


def test_regions_follow_what_the_networks_say() -> None:
    # two textures of the same mean color: edges everywhere, and none that color would put between them
    random = np.random.default_rng(0)
    image = random.choice([-1.0, 1.0], size=(48, 96)) * 0.5
    image[:, :48] = np.where(np.arange(48) % 4 < 2, 0.5, -0.5)
    result = dfc.segment(image, **{**REGIONS, "n_channels": 24}, region_scale=8.0, seed=1)
    left, right = (
        np.bincount(half.ravel(), minlength=result.n_labels + 1) for half in np.split(result.labels, 2, axis=1)
    )
    assert np.maximum(left, right).sum() / image.size > 0.9
    assert result.n_labels < 60


def test_a_larger_scale_gives_fewer_regions_and_the_finer_result_the_same_ones() -> None:
    image, _ = tissue_with_strokes()
    fine, coarse = (dfc.segment(image, **REGIONS, region_scale=scale) for scale in (1.0, 4.0))
    assert coarse.n_labels < fine.n_labels
    assert np.array_equal(fine.regions_at(4.0), coarse.labels)
    assert np.array_equal(fine.regions_at(1.0), fine.labels)
    assert fine.regions_at(1.0).dtype == fine.labels.dtype
    with pytest.raises(ValueError, match="scale is -1"):
        fine.regions_at(-1)


def test_a_result_with_clusters_has_no_regions() -> None:
    with pytest.raises(ValueError, match="this result has clusters alone"):
        dfc.segment(nuclei(), **FAST).regions_at(1.0)
    with pytest.raises(ValueError, match="this result has clusters alone"):
        dfc.segment(nuclei(), **FAST).groups_at(3)


def test_regions_are_the_same_again_and_differ_with_the_seed() -> None:
    first, again, other = (dfc.segment(nuclei(), **REGIONS, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.labels, other.labels)


@pytest.mark.parametrize("pieces", ["regions", "groups"])
def test_pieces_leave_masked_pixels_alone_and_say_how_distinct_they_are(pieces: str) -> None:
    mask = np.ones((64, 72), dtype=bool)
    mask[:9] = False
    result = dfc.segment(nuclei(), mask=mask, **{**REGIONS, "split_into": pieces})
    assert ((result.labels > 0) == mask).all()
    assert np.isnan(result.confidence[~mask]).all()
    assert ((result.confidence[mask] >= 0) & (result.confidence[mask] <= 1)).all()
    assert np.array_equal(result.margin, result.confidence, equal_nan=True)


def test_with_strokes_there_are_classes_and_no_regions() -> None:
    image, painted = tissue_with_strokes()
    result = dfc.segment(image, scribbles=painted, **{**REGIONS, "max_iterations": 5})
    assert set(np.unique(result.labels)) <= set(np.unique(painted[painted > 0]))
    assert "no regions" in result.note
    assert result.record["result"]["split_into"] == "clusters"
    assert result.iterations == 5


def test_regions_of_a_run_that_was_called_off_are_its_clusters() -> None:
    run = Run(nuclei(), settings=dfc.Settings.from_preset(**REGIONS))
    for iteration in run:
        if iteration.number == 3:
            run.cancel()
    result = run.result()
    assert result.n_labels == result.label_counts[-1]
    assert "stopped before there were regions" in result.note
    assert result.ended == "stopped by the user"
    assert result.record["result"]["split_into"] == "clusters"


def test_regions_are_called_off_while_they_merge(monkeypatch) -> None:
    monkeypatch.setattr(merging, "MERGES_BETWEEN_QUESTIONS", 5)
    run = Run(nuclei(), settings=dfc.Settings.from_preset(**REGIONS))
    for _ in run:
        pass
    shares = run._votes.shares

    def shares_and_stop() -> np.ndarray:
        run.cancel()
        return shares()

    monkeypatch.setattr(run._votes, "shares", shares_and_stop)
    result = run.result()
    assert result.ended == "stopped by the user"
    assert "stopped before there were regions" in result.note


def test_regions_of_a_run_that_nobody_took_further_come_from_the_maps_so_far() -> None:
    run = Run(nuclei(), settings=dfc.Settings.from_preset(**REGIONS))
    for iteration in run:
        if iteration.number == 2:
            break
    result = run.result()
    assert result.record["result"]["split_into"] == "regions"
    assert result.iterations == 2


def test_regions_with_crops_come_from_each_networks_last_map() -> None:
    settings = {**REGIONS, "n_channels": 64, "region_iterations": 9, "memory_limit": 0.01}
    run = Run(np.tile(nuclei(64, 64), (3, 3)), settings=dfc.Settings.from_preset(**settings))
    for _ in run:
        pass
    assert run.plan.n_crops > 1
    assert len(run._votes) == 2
    result = run.result()
    assert result.labels.min() == 1
    assert "only the last label map of each network" in result.note


def test_a_stop_in_the_next_networks_first_crop_keeps_the_whole_map_of_the_one_before() -> None:
    settings = {**REGIONS, "n_channels": 64, "region_iterations": 9, "memory_limit": 0.01}
    run = Run(np.tile(nuclei(64, 64), (3, 3)), settings=dfc.Settings.from_preset(**settings))
    for iteration in run:
        if iteration.number == 10:
            assert not iteration.complete
            run.cancel()
    assert run.result().iterations == 9
    assert run.result().labels.min() == 1


def test_the_record_of_regions_repeats_them() -> None:
    image = nuclei()
    first = dfc.segment(image, **REGIONS, region_scale=2.0)
    record = json.loads(json.dumps(first.record))
    again = dfc.segment(image, **record["settings"])
    assert np.array_equal(first.labels, again.labels)


def test_a_tiny_image_has_regions() -> None:
    assert dfc.segment(np.array([[5]], dtype=np.uint8), **REGIONS).labels.tolist() == [[1]]


# ---------------------------------------------------------------------- groups

GROUPS = {**REGIONS, "split_into": "groups"}


def test_there_are_as_many_groups_as_were_asked_for_numbered_by_falling_area() -> None:
    image, _ = tissue_with_strokes()
    for n_groups in (1, 2, 7):
        result = dfc.segment(image, **GROUPS, n_groups=n_groups)
        numbers, areas = np.unique(result.labels, return_counts=True)
        assert numbers.tolist() == list(range(1, n_groups + 1))
        assert (np.diff(areas) <= 0).all()
        assert result.n_labels == n_groups


def test_groups_hold_what_looks_alike_and_lies_apart() -> None:
    random = np.random.default_rng(0)
    image = random.normal(0, 0.05, size=(60, 60))
    truth = np.zeros((60, 60), dtype=bool)
    for row, column in ((8, 8), (8, 40), (40, 24)):
        truth[row : row + 12, column : column + 12] = True
    result = dfc.segment(image + truth, **GROUPS, n_groups=2)
    assert ((result.labels == 2) == truth).mean() > 0.98


def test_fewer_groups_join_those_of_more_without_another_run() -> None:
    image, _ = tissue_with_strokes()
    result = dfc.segment(image, **GROUPS, n_groups=6)
    assert np.array_equal(result.groups_at(6), result.labels)
    fewer = result.groups_at(3)
    assert len({(a, b) for a, b in zip(result.labels.ravel(), fewer.ravel(), strict=True)}) == 6
    regions = dfc.segment(image, **REGIONS)
    assert np.array_equal(result.regions_at(1.0), regions.labels)
    assert np.array_equal(regions.groups_at(6), result.labels)
    for wrong in (0, 2.5, True):
        with pytest.raises(ValueError, match=f"n_groups is {wrong}; accepted is a whole number"):
            result.groups_at(wrong)


def test_groups_are_called_off_while_they_merge(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "MERGES_BETWEEN_QUESTIONS", 5)
    run = Run(nuclei(), settings=dfc.Settings.from_preset(**GROUPS))
    for _ in run:
        pass
    regions_of = segmentation.regions_of

    def merge_and_stop(*arguments: object) -> Hierarchy:
        merged = regions_of(*arguments)
        run.cancel()
        return merged

    monkeypatch.setattr(segmentation, "regions_of", merge_and_stop)
    result = run.result()
    assert "stopped before there were groups" in result.note
    assert result.record["result"]["split_into"] == "clusters"


def test_the_record_of_groups_repeats_them() -> None:
    first = dfc.segment(nuclei(), **GROUPS, n_groups=4)
    record = json.loads(json.dumps(first.record))
    assert record["result"]["split_into"] == "groups"
    assert np.array_equal(first.labels, dfc.segment(nuclei(), **record["settings"]).labels)


@pytest.mark.parametrize("shape", [(1, 1), (1, 4), (3, 3)])
def test_a_tiny_image_has_groups(shape: tuple[int, int]) -> None:
    image = np.arange(np.prod(shape), dtype=np.uint8).reshape(shape)
    result = dfc.segment(image, **GROUPS, n_groups=40)
    assert np.unique(result.labels).tolist() == list(range(1, result.n_labels + 1))
    assert result.note == f"{result.n_labels} groups, fewer than the 40 asked for: there are no more pieces"


# ---------------------------------------------------------------------- classes and edges


def test_painted_classes_follow_edges_by_their_share() -> None:
    image, painted = tissue_with_strokes()
    results = {
        share: dfc.segment(image, scribbles=painted, preset="fast", max_iterations=5, edge_share=share)
        for share in (0.0, 0.5, 1.0)
    }
    contrast = contrast_of(Run(image).plane)
    basins = basins_of(contrast, most=np.inf)
    whole = results[1.0].labels  # every basin has the class of its mean
    assert all(len(np.unique(whole[basins == number])) == 1 for number in range(1, basins.max() + 1))
    on_edges = {}
    for share, result in results.items():
        labels = result.labels
        across = labels[:, 1:] != labels[:, :-1]
        on_edges[share] = np.maximum(contrast[:, 1:], contrast[:, :-1])[across].mean()
    assert on_edges[0.0] < on_edges[0.5] < on_edges[1.0]


def test_confidence_of_painted_classes_is_that_of_their_labels() -> None:
    image, painted = tissue_with_strokes()
    share = 0.7
    run = Run(image, scribbles=painted, settings=dfc.Settings.from_preset("fast", max_iterations=5, edge_share=share))
    plain = Run(image, scribbles=painted, settings=run.settings.change(edge_share=0.0))
    for each in (run, plain):
        for iteration in each:
            last = iteration
    # an independent mean over basins of what the networks say
    network = network_for(len(plain.plane.values), plain.settings, plain.stage.n_clusters, plain.stage.factors)
    network.load_state_dict(dict(last.weights))
    picture, predictor = Picture(torch.from_numpy(plain.plane.values)), predictor_for(network)
    predictor.measure(picture)
    shares = np.zeros((*painted.shape, plain.stage.n_clusters))
    for block in predictor.blocks(picture):
        shares[block.rows, block.columns] = block.values.softmax(-1).detach().numpy()
    basins = basins_of(contrast_of(plain.plane), most=np.inf)
    mixed = shares.copy()
    for number in range(1, basins.max() + 1):
        inside = basins == number
        mixed[inside] = share * shares[inside].mean(0) + (1 - share) * shares[inside]
    result = run.result()
    assert np.array_equal(run.scribbles.classes, sorted(set(np.unique(painted)) - {0}))
    agree = np.array(run.scribbles.classes)[mixed.argmax(-1)] == result.labels
    ordered = np.sort(mixed, axis=-1)
    assert agree[ordered[..., -1] - ordered[..., -2] > 1e-5].all()
    assert result.confidence == pytest.approx(ordered[..., -1], abs=1e-5)
    assert result.margin == pytest.approx(ordered[..., -1] - ordered[..., -2], abs=1e-5)


def test_a_stop_while_classes_are_drawn_to_edges_keeps_the_last_map(monkeypatch: pytest.MonkeyPatch) -> None:
    image, painted = tissue_with_strokes()
    run = Run(image, scribbles=painted, settings=dfc.Settings.from_preset("fast", max_iterations=3))
    for iteration in run:
        last = run.preview(iteration)

    def contrast_and_stop(*arguments: object) -> np.ndarray:
        run.cancel()
        return contrast_of(*arguments)

    monkeypatch.setattr("napari_dfc.result.contrast_of", contrast_and_stop)
    result = run.result()
    assert np.array_equal(result.labels, last)
    assert "topped before the classes were drawn" in result.note


def test_too_little_memory_for_edges_keeps_the_last_map_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    image, painted = tissue_with_strokes()
    run = Run(image, scribbles=painted, settings=dfc.Settings.from_preset("fast", max_iterations=3))
    for iteration in run:
        last = run.preview(iteration)

    def scarce(*_: object) -> np.ndarray:
        raise MemoryError

    monkeypatch.setattr("napari_dfc.result.contrast_of", scarce)
    result = run.result()
    assert np.array_equal(result.labels, last)
    assert "oo little memory was left" in result.note


def test_a_result_of_strokes_has_no_groups_and_says_why() -> None:
    image, painted = tissue_with_strokes()
    with pytest.raises(ValueError, match="this result has the painted classes alone"):
        dfc.segment(image, scribbles=painted, preset="fast", max_iterations=2).groups_at(3)


def test_without_an_edge_share_the_labels_are_the_last_maps() -> None:
    image, painted = tissue_with_strokes()
    settings = dfc.Settings.from_preset("fast", max_iterations=5, edge_share=0.0)
    run = Run(image, scribbles=painted, settings=settings)
    for iteration in run:
        last = run.preview(iteration)
    assert np.array_equal(run.result().labels, last)


def test_classes_of_a_run_that_was_called_off_are_the_last_maps() -> None:
    image, painted = tissue_with_strokes()
    run = Run(image, scribbles=painted, settings=dfc.Settings.from_preset("fast"))
    for iteration in run:
        last = run.preview(iteration)
        if iteration.number == 3:
            run.cancel()
    result = run.result()
    assert np.array_equal(result.labels, last)
    assert "topped before the classes were drawn to the image's edges" in result.note


def test_classes_follow_edges_where_pixels_are_masked() -> None:
    image, painted = tissue_with_strokes()
    mask = np.ones(painted.shape, dtype=bool)
    mask[:, -30:] = False
    result = dfc.segment(image, scribbles=np.where(mask, painted, 0), mask=mask, preset="fast", max_iterations=5)
    assert ((result.labels > 0) == mask).all()
    assert np.isnan(result.confidence[~mask]).all()
    assert np.isfinite(result.confidence[mask]).all()
