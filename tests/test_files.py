from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile

from napari_dfc.files import read_image, write_labels, write_picture

LABELS = np.arange(20, dtype=np.uint8).reshape(4, 5)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# ---------------------------------------------------------------------- reading


def test_png_and_tiff_give_their_pixels(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (6, 7, 3), dtype=np.uint8)
    iio.imwrite(tmp_path / "a.png", rgb)
    tifffile.imwrite(tmp_path / "b.tif", rgb.astype(np.uint16) * 100, photometric="rgb")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png").data, rgb)
    file = read_image(tmp_path / "b.tif")
    np.testing.assert_array_equal(file.data, rgb.astype(np.uint16) * 100)
    assert file.channel_axis is None


def test_imagej_channels_and_pixel_size(tmp_path: Path) -> None:
    data = np.zeros((2, 6, 7), np.uint16)
    tifffile.imwrite(
        tmp_path / "a.tif", data, imagej=True, resolution=(1 / 0.25, 1 / 0.5), metadata={"axes": "CYX", "unit": "um"}
    )
    file = read_image(tmp_path / "a.tif")
    assert file.channel_axis == 0
    assert file.pixel_size == (pytest.approx(0.5), pytest.approx(0.25))


def test_planar_rgb_names_its_channel_axis(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((3, 6, 7), np.uint8), photometric="rgb", planarconfig="separate")
    assert read_image(tmp_path / "a.tif").channel_axis == 0


def test_ome_pixel_size_in_nanometers(tmp_path: Path) -> None:
    metadata = {
        "axes": "YX",
        "PhysicalSizeX": 65.0,
        "PhysicalSizeXUnit": "nm",
        "PhysicalSizeY": 130.0,
        "PhysicalSizeYUnit": "nm",
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", LABELS, metadata=metadata)
    assert read_image(tmp_path / "a.ome.tif").pixel_size == (pytest.approx(0.13), pytest.approx(0.065))


@pytest.mark.parametrize(("unit", "micrometers"), [("CENTIMETER", 1e4), ("INCH", 25400.0)])
def test_pixel_size_of_plain_resolution_tags(tmp_path: Path, unit: str, micrometers: float) -> None:
    tifffile.imwrite(tmp_path / "a.tif", LABELS, resolution=(20_000, 10_000), resolutionunit=unit, metadata=None)
    height, width = read_image(tmp_path / "a.tif").pixel_size
    assert (height, width) == (pytest.approx(micrometers / 10_000), pytest.approx(micrometers / 20_000))


def test_resolution_without_a_unit_is_no_pixel_size(tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", LABELS, resolution=(72, 72), resolutionunit="NONE", metadata=None)
    assert read_image(tmp_path / "a.tif").pixel_size is None
    tifffile.imwrite(tmp_path / "b.tif", LABELS)
    assert read_image(tmp_path / "b.tif").pixel_size is None


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nothing\.png does not exist"):
        read_image(tmp_path / "nothing.png")
    with pytest.raises(ValueError, match="is a folder; accepted is an image file"):
        read_image(tmp_path)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.jpg", "a.xyz"])
def test_files_that_are_no_images_are_refused_in_one_line(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(b"this is no image\n" * 20)
    with pytest.raises(ValueError, match="cannot be read as an image") as caught:
        read_image(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a.png", "a.tif"])
def test_truncated_images_are_refused(tmp_path: Path, name: str) -> None:
    iio.imwrite(tmp_path / name, np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8))
    whole = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cannot be read as an image"):
        read_image(tmp_path / name)


# ---------------------------------------------------------------------- writing


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32, np.uint64])
def test_labels_come_back_as_written(tmp_path: Path, dtype: type) -> None:
    labels = LABELS.astype(dtype)
    labels[0, 0] = np.iinfo(dtype).max
    write_labels(tmp_path / "a.tif", labels, record={"seed": 3})
    back = tifffile.imread(tmp_path / "a.tif")
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, labels)
    assert names(tmp_path) == ["a.tif"]


def test_labels_keep_pixel_size_and_record(tmp_path: Path) -> None:
    write_labels(tmp_path / "a.tif", LABELS, pixel_size=(0.5, 0.25), record={"seed": 3, "words": "µm & <tags>"})
    assert read_image(tmp_path / "a.tif").pixel_size == (pytest.approx(0.5), pytest.approx(0.25))
    with tifffile.TiffFile(tmp_path / "a.tif") as tiff:
        image = tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]
        assert json.loads(image["Description"]) == {"seed": 3, "words": "µm & <tags>"}
        assert image["Pixels"]["PhysicalSizeX"] == 0.25
        # what programs that know no OME go by
        assert tiff.pages[0].tags["ResolutionUnit"].value == 3  # centimeter
        numerator, denominator = tiff.pages[0].tags["XResolution"].value
        assert numerator / denominator == pytest.approx(1e4 / 0.25)


def test_existing_files_are_replaced_on_request_only(tmp_path: Path) -> None:
    target = tmp_path / "a.tif"
    write_labels(target, LABELS)
    before = target.read_bytes()
    with pytest.raises(FileExistsError, match=r"a\.tif exists already"):
        write_labels(target, LABELS + 1)
    assert target.read_bytes() == before
    write_labels(target, LABELS + 1, overwrite=True)
    np.testing.assert_array_equal(tifffile.imread(target), LABELS + 1)
    assert names(tmp_path) == ["a.tif"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_failure_while_writing_leaves_nothing_half_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overwrite: bool
) -> None:
    def fail(path: Path, *_: object, **__: object) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device")

    monkeypatch.setattr(tifffile, "imwrite", fail)
    with pytest.raises(OSError, match="No space left"):
        write_labels(tmp_path / "a.tif", LABELS, overwrite=overwrite)
    assert names(tmp_path) == []


def test_a_file_that_appears_meanwhile_is_not_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = tifffile.imwrite

    def slow(path: Path, *given: object, **options: object) -> None:
        write(path, *given, **options)
        (tmp_path / "a.tif").write_bytes(b"somebody else's")

    monkeypatch.setattr(tifffile, "imwrite", slow)
    for links in (True, False):
        if not links:  # a file system without hard links
            monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError("not supported")))
        (tmp_path / "a.tif").unlink(missing_ok=True)
        with pytest.raises(FileExistsError, match="exists already"):
            write_labels(tmp_path / "a.tif", LABELS)
        assert (tmp_path / "a.tif").read_bytes() == b"somebody else's"
        assert names(tmp_path) == ["a.tif"]


def test_files_are_written_where_links_do_not_exist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "hardlink_to", lambda *_: (_ for _ in ()).throw(OSError("not supported")))
    write_labels(tmp_path / "a.tif", LABELS)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "a.tif"), LABELS)


def test_missing_folder_and_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"the folder .*nowhere does not exist"):
        write_labels(tmp_path / "nowhere" / "a.tif", LABELS)
    with pytest.raises(ValueError, match=r"ends in \.png; accepted for labels is \.tif or \.tiff"):
        write_labels(tmp_path / "a.png", LABELS)
    assert names(tmp_path) == []


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such permissions")
def test_written_files_have_the_permissions_of_any_new_file(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    write_picture(tmp_path / "a.png", np.zeros((3, 3, 3), np.uint8))
    mode = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "a.png")]
    assert mode[0] == mode[1]


def test_pictures_come_back_as_written(tmp_path: Path) -> None:
    picture = np.random.default_rng(0).integers(0, 255, (6, 7, 3), dtype=np.uint8)
    write_picture(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(iio.imread(tmp_path / "a.png"), picture)


def test_the_same_result_gives_the_same_file(tmp_path: Path) -> None:
    labels = np.arange(1, 13, dtype=np.uint8).reshape(3, 4)
    for name, written in (("one", labels), ("again", labels.copy()), ("other", labels.T.copy())):
        write_labels(tmp_path / f"{name}.tif", written, record={"seed": 1})
    one, again, other = ((tmp_path / f"{name}.tif").read_bytes() for name in ("one", "again", "other"))
    assert one == again
    identifiers = [re.search(rb"urn:uuid:[-0-9a-f]{36}", each).group() for each in (one, other)]
    assert identifiers[0] != identifiers[1]
