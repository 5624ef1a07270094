from __future__ import annotations

import numpy as np

from references import named_by_truth


def test_a_label_is_the_class_that_most_of_its_pixels_have() -> None:
    labels = np.array([[1, 1, 1, 2], [2, 2, 3, 3]], dtype=np.uint8)
    classes = np.array([[2, 2, 1, 1], [1, 3, 3, 3]], dtype=np.uint8)
    assert named_by_truth(labels, classes).tolist() == [[2, 2, 2, 1], [1, 1, 3, 3]]
