from __future__ import annotations

import numpy as np

from micrographs import Micrograph
from series import FILMS, N_FRAMES, READ_NOISE, STEP, filmed, judged


def scene() -> Micrograph:
    """A bright disk on gray ground."""
    rows, columns = np.mgrid[:120, :140]
    inside = np.hypot(rows - 50, columns - 60) < 20
    return Micrograph("disk", np.where(inside, 200, 60).astype(np.uint8), (1 + inside).astype(np.uint8))


def test_the_truth_moves_with_the_scene_which_fades_to_half() -> None:
    frames, truths = filmed(scene(), blur=0, uneven=0)
    assert len(frames) == len(truths) == N_FRAMES
    assert {frame.shape for frame in frames} == {truths[0].shape}
    centers = [np.argwhere(truth == 2).mean(0) for truth in truths]
    np.testing.assert_allclose(centers[-1] - centers[0], np.multiply(STEP, N_FRAMES - 1), atol=0.5)
    for index, share in ((0, 1.0), (-1, 0.5)):
        for number, brightness in ((1, 60), (2, 200)):
            assert abs(np.median(frames[index][truths[index] == number]) - share * brightness) < 3
    again, _ = filmed(scene(), blur=0, uneven=0)
    assert all(np.array_equal(one, other) for one, other in zip(frames, again, strict=True))


def test_the_camera_of_one_film_gets_five_times_as_noisy_and_nothing_else_changes() -> None:
    gray = Micrograph("gray", np.full((80, 80), 60, dtype=np.uint8), np.ones((80, 80), dtype=np.uint8))
    steady, _ = FILMS["noise alone"](gray)
    frames, truths = FILMS["noise five times as strong at the end"](gray)
    assert len(frames) == len(truths) == N_FRAMES
    np.testing.assert_array_equal(frames[0], steady[0])
    assert abs(frames[-1].mean() - 60) < 1
    added = np.var(frames[-1].astype(float)) - np.var(steady[-1].astype(float))
    assert abs(added / READ_NOISE**2 - (5**2 - 1)) < 2


def test_the_truth_is_judged_to_be_right_and_steady() -> None:
    _, truths = filmed(scene(), blur=0, uneven=0)
    found = judged(list(truths), truths, seconds=40)
    assert found == {"ious": [1.0] * N_FRAMES, "flicker": 0.0, "seconds": 2.0}
