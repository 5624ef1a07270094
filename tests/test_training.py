"""One network for several references: none wins, and classes mean the same in all."""

from __future__ import annotations

import numpy as np
import pytest

import napari_dfc as dfc
from napari_dfc.training import training_run

FAST = {"preset": "fast", "max_iterations": 15}


def scene(seed: int, shape: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Noise at three brightnesses, and where each is: bright squares and dark ones on gray."""
    random = np.random.default_rng(seed)
    truth = np.ones(shape, dtype=np.uint8)
    for value in (2, 3):
        for _ in range(4):
            row, column = random.integers(0, shape[0] - 12), random.integers(0, shape[1] - 12)
            truth[row : row + 12, column : column + 12] = value
    return np.array([0, 100, 180, 30])[truth] + random.normal(0, 8, size=shape), truth


def strokes_of(truth: np.ndarray, values: tuple[int, ...]) -> np.ndarray:
    """A short stroke in each class."""
    painted = np.zeros_like(truth)
    for value in values:
        rows, columns = np.nonzero(truth == value)
        painted[rows[5:14], columns[5:14]] = value
    return painted


def test_classes_painted_on_different_references_are_told_apart_on_all() -> None:
    scenes = [scene(seed, shape) for seed, shape in enumerate([(60, 70), (80, 50), (64, 64)])]
    scribbles = [strokes_of(scenes[0][1], (1, 2)), strokes_of(scenes[1][1], (1, 3)), None]
    model = dfc.fit([image for image, _ in scenes], scribbles, names={1: "ground", 2: "bright"}, **FAST)
    assert [entry.name for entry in model.legend] == ["ground", "bright", "class 3"]
    assert [tuple(each["shape"]) for each in model.references] == [(60, 70), (80, 50), (64, 64)]
    assert len({each["sha256"] for each in model.references}) == 3
    unseen = scene(7, (90, 90))
    for image, truth in [*scenes, unseen]:
        predicted = model.predict(image)
        assert np.mean(predicted.labels == truth) > 0.9
        assert predicted.note == ""


def test_without_strokes_references_share_their_groups() -> None:
    scenes = [scene(seed, (60, 70)) for seed in range(2)]
    model = dfc.fit([image for image, _ in scenes], n_groups=3, **FAST)
    assert model.legend.numbers == (1, 2, 3)
    labels = [model.predict(image).labels for image, _ in scenes]
    for value in (1, 2, 3):  # the number that most pixels of a class have is one for both
        here = [np.bincount(each[truth == value]).argmax() for each, (_, truth) in zip(labels, scenes, strict=True)]
        assert here[0] == here[1]


def test_the_run_shows_all_references_side_by_side() -> None:
    scenes = [scene(seed, (40, 50)) for seed in range(3)]
    run = training_run(
        [image for image, _ in scenes],
        [strokes_of(truth, (1, 2, 3)) for _, truth in scenes],
        settings=dfc.Settings.from_preset(**FAST),
    )
    for iteration in run:
        preview = run.preview(iteration)
    assert (preview > 0).sum() == 3 * 40 * 50
    result = run.result()
    model = result.model()
    for (rows, columns), (image, _) in zip(run.plane.parts, scenes, strict=True):
        assert np.mean(model.predict(image).labels == result.labels[rows, columns]) > 0.99


def test_inputs_are_not_modified_and_the_same_call_gives_the_same_network() -> None:
    scenes = [scene(seed, (40, 50)) for seed in range(2)]
    before = [image.copy() for image, _ in scenes]
    scribbles = [strokes_of(truth, (1, 2)) for _, truth in scenes]
    one, other = (dfc.fit([image for image, _ in scenes], scribbles, **FAST) for _ in range(2))
    assert one.to_bytes() == other.to_bytes()
    assert all(np.array_equal(image, kept) for (image, _), kept in zip(scenes, before, strict=True))


def test_regions_are_refused_before_anything_is_computed() -> None:
    with pytest.raises(ValueError, match='accepted here are "groups" and "clusters"'):
        dfc.fit([np.zeros((8, 8))], split_into="regions")


def test_what_cannot_be_taught_is_refused_before_anything_is_computed() -> None:
    with pytest.raises(ValueError, match='accepted here are "groups" and "clusters"'):
        dfc.fit([np.zeros((8, 8))], [None], split_into="regions")
    with pytest.raises(ValueError, match="n_groups is 12 and the network has 8 channels"):
        dfc.fit([np.zeros((8, 8))], n_groups=12, n_channels=8)


def test_a_cluster_that_no_reference_has_can_have_a_name() -> None:
    image, _ = scene(0, (40, 50))
    model = dfc.fit([image], split_into="clusters", names={8: "spare"}, n_channels=8, **FAST)
    assert model.legend[8].name == "spare"


def test_the_golden_patch_is_of_a_reference() -> None:
    """Two of a size lie one above the other, with nothing in the middle."""
    scenes = [scene(seed, (60, 60)) for seed in range(2)]
    model = dfc.fit([image for image, _ in scenes], [strokes_of(truth, (1, 2)) for _, truth in scenes], **FAST)
    assert model.golden.patch.shape == (1, 32, 32)
    assert float(model.golden.patch.std()) > 0.05


def test_a_name_for_no_class_is_refused() -> None:
    image, truth = scene(0, (40, 50))
    with pytest.raises(ValueError, match="there is no class 9"):
        dfc.fit([image], [strokes_of(truth, (1, 2))], names={9: "x"}, **FAST)
