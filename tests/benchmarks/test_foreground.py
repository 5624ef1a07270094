from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest

from foreground import best_assignment, by_color


@pytest.mark.parametrize("seed", range(5))
def test_best_assignment_is_that_of_all_sets_of_labels(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels, truth = random.integers(0, 6, size=(7, 8)), random.random((7, 8)) < 0.4
    numbers = range(6)
    sets = chain.from_iterable(combinations(numbers, size) for size in range(7))
    chosen = (np.isin(labels, each) for each in sets)
    assert best_assignment(labels, truth) == max((each & truth).sum() / (each | truth).sum() for each in chosen)


def test_colors_weigh_by_their_pixels() -> None:
    image = np.repeat([0, 4, 7], [1, 100, 99]).reshape(10, 20).astype(np.uint8)
    labels = by_color(image, 2)
    # of one pixel each, 4 and 7 would belong together: 4.5 is less than 8 for 0 and 4
    assert np.array_equal(labels == labels[0, 0], image <= 4)


def test_there_are_no_more_clusters_than_colors() -> None:
    image = np.arange(27, dtype=np.uint8).reshape(3, 3, 3)
    assert len(np.unique(by_color(image, 20))) == 9
