from __future__ import annotations

from itertools import chain, combinations

import numpy as np
import pytest

from foreground import best_assignment


@pytest.mark.parametrize("seed", range(5))
def test_best_assignment_is_that_of_all_sets_of_labels(seed: int) -> None:
    random = np.random.default_rng(seed)
    labels, truth = random.integers(0, 6, size=(7, 8)), random.random((7, 8)) < 0.4
    numbers = range(6)
    sets = chain.from_iterable(combinations(numbers, size) for size in range(7))
    chosen = (np.isin(labels, each) for each in sets)
    assert best_assignment(labels, truth) == max((each & truth).sum() / (each | truth).sum() for each in chosen)
