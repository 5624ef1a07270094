from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
from PIL import Image

from peers import chosen, mean
from photographs import bsd500, score, voc2012


def test_voc_folders_are_read_and_seams_go_to_the_nearest_object(tmp_path: Path) -> None:
    for folder in ("JPEGImages", "SegmentationObject", "ImageSets/Segmentation"):
        (tmp_path / folder).mkdir(parents=True)
    objects = np.full((8, 9), 2, dtype=np.uint8)
    objects[:, 5:] = 0
    objects[:, 4] = 255
    iio.imwrite(tmp_path / "JPEGImages" / "one.jpg", np.zeros((8, 9, 3), dtype=np.uint8))
    iio.imwrite(tmp_path / "JPEGImages" / "two.jpg", np.zeros((8, 9, 3), dtype=np.uint8))
    picture = Image.fromarray(objects).convert("P")
    picture.putpalette(list(range(255, -1, -1)) * 3)  # the values are indices, and the colors others
    picture.save(tmp_path / "SegmentationObject" / "one.png")
    (tmp_path / "ImageSets" / "Segmentation" / "val.txt").write_text("one\n")
    (photograph,) = voc2012(tmp_path)
    assert photograph.name == "one"
    assert photograph.image.shape == (8, 9, 3)
    truth = photograph.annotations[0]
    assert set(np.unique(truth)) == {0, 2}
    assert (truth[:, :4] == 2).all()
    assert (truth[:, 5:] == 0).all()


def test_a_folder_without_images_is_named(tmp_path: Path) -> None:
    for read in (bsd500, voc2012):
        with pytest.raises(SystemExit, match="no images below"):
            list(read(tmp_path))


def test_the_choice_is_made_on_every_other_image_and_the_mean_is_over_segments() -> None:
    def image(a: list[float], b: list[float]) -> dict:
        return {
            "choices": {
                "a": dict.fromkeys(("all", "fine", "coarse"), a),
                "b": dict.fromkeys(("all", "fine", "coarse"), b),
            }
        }

    kept = [image([0.2], [0.1]), image([0.0], [0.9]), image([0.4, 0.6], [0.1, 0.1])]
    assert chosen(kept) == "a"
    assert mean(kept, "a", "all") == pytest.approx((0.2 + 0.0 + 0.4 + 0.6) / 4)


def test_score_takes_every_annotator_or_one() -> None:
    fine, coarse = np.array([[1, 2, 3, 4]]), np.array([[1, 1, 1, 1]])
    found = score(np.array([[1, 1, 1, 1]]), [coarse, fine])
    assert found == {"all": [1.0, 0.25, 0.25, 0.25, 0.25], "fine": [0.25] * 4, "coarse": [1.0]}
