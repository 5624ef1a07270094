from __future__ import annotations

import numpy as np
import pytest

from napari_dfc.samples import SAMPLES, read_sample


@pytest.mark.parametrize("name", SAMPLES)
def test_samples_are_real_images_of_a_moderate_size(name: str) -> None:
    image = read_sample(name).image
    assert image.dtype == np.uint8
    assert 200 <= min(image.shape[:2]) <= max(image.shape[:2]) <= 512
    assert len(np.unique(image)) > 30


def test_one_sample_has_strokes_of_three_classes() -> None:
    sample = read_sample("stained_tissue")
    assert sample.scribbles.shape == sample.image.shape[:2]
    assert np.unique(sample.scribbles).tolist() == [0, 1, 2, 3]
    assert (sample.scribbles > 0).mean() < 0.02  # a few strokes


def test_strokes_of_the_sample_tell_nuclei_from_background() -> None:
    sample = read_sample("stained_tissue")
    red = sample.image[..., 0].astype(float)
    nuclei, blurred, background = (red[sample.scribbles == value].mean() for value in (1, 2, 3))
    assert nuclei < blurred < background


def test_unknown_samples_are_refused() -> None:
    with pytest.raises(ValueError, match="sample is 'cat'; accepted are fluorescence_nuclei"):
        read_sample("cat")
