"""What a command writes, and what it refuses to write over, told before anything is computed."""

from __future__ import annotations

from pathlib import Path

import pytest

from napari_dfc.targets import Refusal, new_folder, refuse_existing, refuse_twice, targets_of


def test_several_images_go_to_a_folder_each_under_its_name(tmp_path: Path) -> None:
    found = targets_of([Path("in/a.png"), Path("b.tif")], tmp_path, {"mask": None}, overlay=True, overwrite=False)
    assert found == [tmp_path / "a_labels.tif", tmp_path / "b_labels.tif"]


def test_pictures_are_looked_for_beside_the_labels(tmp_path: Path) -> None:
    (tmp_path / "a_overlay.png").write_bytes(b"mine")
    images = [tmp_path / "a.png", tmp_path / "b.png"]
    with pytest.raises(Refusal, match=r"a_overlay\.png exists already; --overwrite replaces it"):
        targets_of(images, tmp_path, {}, overlay=True, overwrite=False)
    assert len(targets_of(images, tmp_path, {}, overlay=True, overwrite=True)) == 2
    assert len(targets_of(images, tmp_path, {}, overlay=False, overwrite=False)) == 2


@pytest.mark.parametrize("further", ["scribbles", "mask"])
def test_what_belongs_to_one_image_is_refused_with_several_and_never_written_over(tmp_path: Path, further: str) -> None:
    file = tmp_path / "a_labels.tif"
    with pytest.raises(Refusal, match=f"--{further} goes with one image; 2 came"):
        targets_of([Path("a.png"), Path("b.png")], tmp_path, {further: file}, overlay=False, overwrite=True)
    with pytest.raises(Refusal, match="is an input; results are never written over it"):
        targets_of([Path("a.png")], file, {further: file}, overlay=False, overwrite=True)


def test_names_of_many_files_are_cut_short(tmp_path: Path) -> None:
    there = [tmp_path / f"{number}.tif" for number in range(5)]
    for path in there:
        path.touch()
    with pytest.raises(
        Refusal, match=r"0\.tif, .*1\.tif, .*2\.tif and 2 more exist already; --overwrite replaces them"
    ):
        refuse_existing(there)
    refuse_existing([tmp_path / "6.tif"])


def test_two_results_in_one_file_are_refused_by_its_name() -> None:
    with pytest.raises(Refusal, match=r"same file: a_labels\.tif; give"):
        refuse_twice([Path("x/a_labels.tif"), Path("x/b_labels.tif"), Path("x/a_labels.tif")])
    refuse_twice([Path("x/a_labels.tif"), Path("y/a_labels.tif")])


def test_a_new_folder_is_none_that_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert new_folder("demo") == Path("demo")
    (tmp_path / "demo").mkdir()
    (tmp_path / "demo-2").mkdir()
    assert new_folder("demo") == Path("demo-3")
