from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from click.testing import Result
from typer.testing import CliRunner

import napari_dfc as dfc
from napari_dfc.cli import app
from napari_dfc.files import read_image, read_labels
from napari_dfc.preset_file import read_settings, save_settings
from napari_dfc.samples import read_sample
from napari_dfc.segmentation import Run
from napari_dfc.settings import parameters

SHORT = ["--split-into", "clusters", "--max-iterations", "4", "--n-channels", "8"]
SHORT_SETTINGS = {"split_into": "clusters", "max_iterations": 4, "n_channels": 8}


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_refused(result: Result, words: str) -> None:
    """One line, status 2, no traceback."""
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1
    assert result.stderr.startswith("napari-dfc: ")


@pytest.fixture
def image(tmp_path: Path) -> Path:
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "nuclei.png"
    iio.imwrite(path, read_sample("fluorescence_nuclei").image[:48, :56])
    return path


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


# ---------------------------------------------------------------------- segment


def test_one_image_gives_the_labels_of_segment(image: Path, out: Path) -> None:
    result = call("segment", image, "-o", out / "labels.tif", *SHORT)
    assert result.exit_code == 0, result.output
    expected = dfc.segment(read_image(image).data, **SHORT_SETTINGS)
    np.testing.assert_array_equal(tifffile.imread(out / "labels.tif"), expected.labels)
    assert f"{expected.n_labels} labels after 4 iterations" in result.stdout
    assert names(out) == ["labels.tif"]


def test_regions_are_an_option(image: Path, out: Path) -> None:
    options = ["--split-into", "regions", "--region-iterations", 3, "--n-channels", 8]
    result = call("segment", image, "-o", out / "pieces.tif", *options)
    assert result.exit_code == 0, result.output
    expected = dfc.segment(read_image(image).data, split_into="regions", region_iterations=3, n_channels=8)
    np.testing.assert_array_equal(tifffile.imread(out / "pieces.tif"), expected.labels)


def test_record_in_the_file_runs_it_again(image: Path, out: Path) -> None:
    call("segment", image, "-o", out / "labels.tif", "--seed", 7, *SHORT)
    with tifffile.TiffFile(out / "labels.tif") as tiff:
        record = json.loads(tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Description"])
    assert record["image"]["name"] == "nuclei.png"
    again = dfc.Run(read_image(image).data, settings=dfc.Settings(**record["settings"]))
    for _ in again:
        pass
    np.testing.assert_array_equal(tifffile.imread(out / "labels.tif"), again.result().labels)


def test_pixel_size_is_kept(image: Path, out: Path, tmp_path: Path) -> None:
    source = tmp_path / "in" / "sized.tif"
    tifffile.imwrite(
        source,
        read_image(image).data,
        imagej=True,
        resolution=(1 / 0.2, 1 / 0.4),
        metadata={"axes": "YX", "unit": "micron"},
    )
    assert call("segment", source, "-o", out / "labels.tif", *SHORT).exit_code == 0
    assert read_image(out / "labels.tif").pixel_size == (pytest.approx(0.4), pytest.approx(0.2))


def test_overlay_is_a_picture_of_the_same_size(image: Path, out: Path) -> None:
    assert call("segment", image, "-o", out / "cells_labels.tif", "--overlay", *SHORT).exit_code == 0
    assert names(out) == ["cells_labels.tif", "cells_overlay.png"]
    assert iio.imread(out / "cells_overlay.png").shape == (48, 56, 3)


def test_strokes_give_their_classes(image: Path, out: Path, tmp_path: Path) -> None:
    strokes = np.zeros((48, 56), np.uint8)
    strokes[10, 10:20], strokes[40, 30:50] = 4, 9
    iio.imwrite(tmp_path / "in" / "strokes.png", strokes)
    result = call("segment", image, "-o", out / "labels.tif", "--scribbles", tmp_path / "in" / "strokes.png", *SHORT)
    assert result.exit_code == 0, result.output
    expected = dfc.segment(read_image(image).data, scribbles=strokes, **SHORT_SETTINGS)
    np.testing.assert_array_equal(tifffile.imread(out / "labels.tif"), expected.labels)


def test_a_region_is_a_file_or_a_word(image: Path, out: Path, tmp_path: Path) -> None:
    region = np.zeros((48, 56), np.uint8)
    region[10:40, 20:50] = 7
    region[20:24, 20:30] = 0
    tifffile.imwrite(tmp_path / "in" / "region.tif", region)
    result = call("segment", image, "-o", out / "a.tif", "--mask", tmp_path / "in" / "region.tif", "--overlay", *SHORT)
    assert result.exit_code == 0, result.output
    expected = dfc.segment(read_image(image).data, mask=region > 0, **SHORT_SETTINGS)
    np.testing.assert_array_equal(tifffile.imread(out / "a.tif"), expected.labels)
    picture, plain = iio.imread(out / "a_overlay.png"), iio.imread(image)
    assert picture.shape == (48, 56, 3)
    assert picture[region == 0].std() > 0.2 * plain[region == 0].std()  # the image is seen outside the region, too
    result = call("segment", image, "-o", out / "b.tif", "--within", expected.record["mask"], *SHORT)
    assert result.exit_code == 0, result.output
    np.testing.assert_array_equal(tifffile.imread(out / "b.tif"), expected.labels)


def test_bad_regions_are_refused_and_nothing_is_written(image: Path, out: Path, tmp_path: Path) -> None:
    word = dfc.segment(read_image(image).data, mask=np.eye(48, 56, dtype=bool), **SHORT_SETTINGS).record["mask"]
    both = ("--mask", image, "--within", word)
    assert_refused(call("segment", image, "-o", out / "a.tif", *both), "either --mask or --within")
    assert_refused(call("segment", image, image, "-o", out, "--mask", image), "--mask goes with one image")
    assert_refused(call("segment", image, "-o", out / "a.tif", "--within", word[:-4]), "copy it once more")
    tifffile.imwrite(tmp_path / "in" / "other.tif", np.ones((5, 5), np.uint8))
    assert_refused(
        call("segment", image, "-o", out / "a.tif", "--mask", tmp_path / "in" / "other.tif"), "mask has shape"
    )
    tifffile.imwrite(tmp_path / "in" / "empty.tif", np.zeros((48, 56), np.uint8))
    assert_refused(
        call("segment", image, "-o", out / "a.tif", "--mask", tmp_path / "in" / "empty.tif"), "all are masked"
    )
    assert names(out) == []


def test_channels_are_taken_from_the_file_or_the_option(out: Path, tmp_path: Path) -> None:
    stack = np.stack([read_sample("bright_field").image[:32, :32], read_sample("fluorescence_nuclei").image[:32, :32]])
    tifffile.imwrite(tmp_path / "named.tif", stack, imagej=True, metadata={"axes": "CYX"})
    tifffile.imwrite(tmp_path / "plain.tif", stack, photometric="minisblack", metadata=None)
    expected = dfc.segment(stack, channel_axis=0, **SHORT_SETTINGS).labels
    assert call("segment", tmp_path / "named.tif", "-o", out / "a.tif", *SHORT).exit_code == 0
    assert call("segment", tmp_path / "plain.tif", "-o", out / "b.tif", "--channel-axis", 0, *SHORT).exit_code == 0
    for name in ("a.tif", "b.tif"):
        np.testing.assert_array_equal(tifffile.imread(out / name), expected)


def test_every_setting_is_an_option(image: Path, out: Path) -> None:
    help_text = CliRunner().invoke(app, ["segment", "--help"], env={"COLUMNS": "200", "TERM": "dumb"}).stdout
    for parameter in parameters():
        assert f"--{parameter.name.replace('_', '-')}" in help_text
    words = [
        "--preset",
        "published",
        "--no-keep-min-labels",
        "--keep-min-labels",
        "--device",
        "cpu",
        "--momentum",
        "0.5",
    ]
    result = call("segment", image, "-o", out / "labels.tif", *words, *SHORT)
    assert result.exit_code == 0, result.output
    with tifffile.TiffFile(out / "labels.tif") as tiff:
        record = json.loads(tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Description"])
    expected = dfc.Settings.from_preset("published", device="cpu", momentum=0.5, keep_min_labels=True, **SHORT_SETTINGS)
    assert record["settings"] == expected.as_dict()


def test_several_images_go_to_a_folder(image: Path, out: Path) -> None:
    second = image.with_name("more.png")
    iio.imwrite(second, read_sample("stained_tissue").image[:40, :40])
    result = call("segment", image, second, "-o", out, "--overlay", *SHORT)
    assert result.exit_code == 0, result.output
    assert names(out) == ["more_labels.tif", "more_overlay.png", "nuclei_labels.tif", "nuclei_overlay.png"]


def test_one_bad_file_does_not_stop_the_rest(image: Path, out: Path) -> None:
    bad = image.with_name("bad.png")
    bad.write_bytes(b"no image")
    result = call("segment", bad, image, "-o", out, *SHORT)
    assert result.exit_code == 1
    assert names(out) == ["nuclei_labels.tif"]
    assert result.stderr.strip().splitlines()[-1] == f"napari-dfc: 1 of 2 images failed: {bad}"


# ---------------------------------------------------------------------- what is refused


def test_bad_images_are_refused_and_nothing_is_written(out: Path, tmp_path: Path) -> None:
    for name, array in {
        "nan.tif": np.full((8, 8), np.nan, np.float32),
        "complex.tif": np.zeros((8, 8), np.complex64),
        "stack.tif": np.zeros((5, 8, 8), np.uint8),
    }.items():
        tifffile.imwrite(tmp_path / name, array, photometric="minisblack")
    tifffile.imwrite(tmp_path / "series.tif", np.zeros((5, 8, 8), np.uint8), imagej=True, metadata={"axes": "TYX"})
    (tmp_path / "text.tif").write_text("hello")
    iio.imwrite(tmp_path / "whole.png", read_sample("bright_field").image)
    (tmp_path / "cut.png").write_bytes((tmp_path / "whole.png").read_bytes()[:5000])
    for name, words in {
        "nothing.png": "does not exist",
        "nan.tif": "no pixel of the image can be used",
        "complex.tif": "values of type complex64; accepted are",
        "stack.tif": "holds 5 planes, along T (5); choose one, counted from 0, such as --plane 0",
        "series.tif": "holds 5 planes, along T (5); choose one, counted from 0, such as --plane 0",
        "text.tif": "cannot be read as an image",
        "cut.png": "cannot be read as an image",
        "": "is a folder",
    }.items():
        assert_refused(call("segment", tmp_path / name, "-o", out / "labels.tif", "--overlay", *SHORT), words)
    assert names(out) == []


def test_bad_strokes_are_refused_and_nothing_is_written(image: Path, out: Path, tmp_path: Path) -> None:
    for name, array, words in (
        ("other", np.ones((5, 5), np.uint8), "scribbles have shape (5, 5)"),
        ("negative", np.full((48, 56), -1, np.int16), "scribbles hold the value -1"),
        ("empty", np.zeros((48, 56), np.uint8), "scribbles hold no painted pixel"),
        ("real", np.ones((48, 56), np.float32), "scribbles have values of type float32"),
        ("many", (np.arange(48 * 56) % 20).reshape(48, 56).astype(np.uint8), "19 classes and the network has 8"),
    ):
        tifffile.imwrite(tmp_path / f"{name}.tif", array)
        result = call("segment", image, "-o", out / "a.tif", "--scribbles", tmp_path / f"{name}.tif", *SHORT)
        assert_refused(result, words)
    assert names(out) == []


def test_a_plane_of_a_stack_is_segmented_as_it_would_be_alone(image: Path, out: Path, tmp_path: Path) -> None:
    plane = read_image(image).data
    stack = np.stack([np.zeros_like(plane), plane, plane[::-1]])
    tifffile.imwrite(tmp_path / "stack.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    assert call("segment", image, "-o", out / "alone.tif", *SHORT).exit_code == 0
    assert call("segment", tmp_path / "stack.tif", "--plane", 1, "-o", out / "of_stack.tif", *SHORT).exit_code == 0
    np.testing.assert_array_equal(read_labels(out / "of_stack.tif").labels, read_labels(out / "alone.tif").labels)
    takes = [line for line in call("info", tmp_path / "stack.tif", "--plane", 1).stdout.splitlines() if "takes" in line]
    assert takes == [line for line in call("info", image).stdout.splitlines() if "takes" in line]


def test_strokes_and_regions_of_a_stack_are_those_of_its_plane(image: Path, out: Path, tmp_path: Path) -> None:
    plane = read_image(image).data
    strokes, region = np.zeros((2, *plane.shape), np.uint8), np.ones((2, *plane.shape), np.uint8)
    strokes[1, 3, 4:20], strokes[1, 20, 30:50], region[1, :, :3] = 1, 2, 0
    few = ["--max-iterations", 4, "--n-channels", 8]
    for name, data in {"image": np.stack([plane[::-1], plane]), "strokes": strokes, "region": region}.items():
        tifffile.imwrite(tmp_path / f"{name}.tif", data, imagej=True, metadata={"axes": "ZYX"})
        tifffile.imwrite(tmp_path / f"{name}_1.tif", data[1])
    for end, named in {"": ["--plane", 1], "_1": []}.items():
        files = ["--scribbles", tmp_path / f"strokes{end}.tif", "--mask", tmp_path / f"region{end}.tif"]
        called = call("segment", tmp_path / f"image{end}.tif", *named, *files, "-o", out / f"labels{end}.tif", *few)
        assert called.exit_code == 0, called.output
    found, expected = read_labels(out / "labels.tif").labels, read_labels(out / "labels_1.tif").labels
    np.testing.assert_array_equal(found, expected)
    assert set(np.unique(found)) == {0, 1, 2}


@pytest.mark.parametrize(
    ("plane", "words"),
    [
        ("3", "plane is 3; "),
        ("0,0", "accepted is up to 2, counted from 0"),
        ("-1", "--plane is '-1'; accepted are indices counted from 0, such as 3, or 3,0 for two axes"),
        ("first", "--plane is 'first'"),
    ],
)
def test_a_plane_that_is_not_there_is_refused(out: Path, tmp_path: Path, plane: str, words: str) -> None:
    tifffile.imwrite(tmp_path / "stack.tif", np.zeros((3, 8, 9), np.uint8), imagej=True, metadata={"axes": "ZYX"})
    assert_refused(call("segment", tmp_path / "stack.tif", f"--plane={plane}", "-o", out / "a.tif"), words)
    assert names(out) == []


def test_a_plane_of_a_single_image_is_refused(image: Path, out: Path) -> None:
    assert_refused(call("segment", image, "--plane", 0, "-o", out / "a.tif"), "holds one plane alone, and no plane 0")


def test_a_network_is_trained_on_planes_of_a_stack(image: Path, out: Path, tmp_path: Path) -> None:
    plane = read_image(image).data
    tifffile.imwrite(tmp_path / "s.tif", np.stack([plane, plane[::-1]]), imagej=True, metadata={"axes": "ZYX"})
    tifffile.imwrite(tmp_path / "flipped.tif", plane[::-1])
    few = ["--preset", "fast", "--max-iterations", 4, "--n-channels", 8, "--name", "1=ground", "-o"]
    planes = ["--plane", 1, "--plane", 0]
    assert (
        call("train", tmp_path / "s.tif", tmp_path / "s.tif", *planes, *few, out / "a.dfc.safetensors").exit_code == 0
    )
    assert call("train", tmp_path / "flipped.tif", image, *few, out / "b.dfc.safetensors").exit_code == 0
    one, other = (dfc.load(out / f"{name}.dfc.safetensors") for name in "ab")
    np.testing.assert_array_equal(one.predict(plane).labels, other.predict(plane).labels)
    assert [reference["name"] for reference in one.references] == ["s.tif, plane 1", "s.tif, plane 0"]
    mixed = ["--plane", 1, "--plane", "none"]
    assert call("train", tmp_path / "s.tif", image, *mixed, *few, out / "d.dfc.safetensors").exit_code == 0
    names_of = [reference["name"] for reference in dfc.load(out / "d.dfc.safetensors").references]
    assert names_of == ["s.tif, plane 1", image.name]
    three = ["--plane", 0, "--plane", 0, "--plane", 1]
    refused = call("train", tmp_path / "s.tif", tmp_path / "s.tif", *three, *few, out / "c.dfc.safetensors")
    assert_refused(refused, "there are 3 --plane for 2 references; give one for all or for each")


def test_missing_folders_and_wrong_targets_are_refused(image: Path, out: Path, tmp_path: Path) -> None:
    assert_refused(call("segment", image, "-o", tmp_path / "nowhere" / "a.tif"), "nowhere does not exist")
    assert_refused(call("segment", image, "-o", out), "is a folder; accepted for one image is a file")
    assert_refused(call("segment", image, "-o", out / "a.png"), "ends in .png; accepted for one image is .tif or .tiff")
    assert_refused(call("segment", image, image, "-o", tmp_path / "nowhere"), "is not a folder")
    assert names(out) == []


def test_existing_results_are_replaced_with_overwrite_only(image: Path, out: Path) -> None:
    target = out / "a.tif"
    target.write_bytes(b"mine")
    assert_refused(call("segment", image, "-o", target, *SHORT), "exists already; --overwrite replaces it")
    assert target.read_bytes() == b"mine"
    assert call("segment", image, "-o", target, "--overwrite", *SHORT).exit_code == 0
    assert read_image(target).data.shape == (48, 56)


def test_an_existing_overlay_is_noticed_before_anything_is_computed(image: Path, out: Path) -> None:
    (out / "a_overlay.png").write_bytes(b"mine")
    result = call("segment", image, "-o", out / "a.tif", "--overlay", "--max-iterations", 100_000)
    assert_refused(result, "a_overlay.png exists already")
    assert names(out) == ["a_overlay.png"]


def test_inputs_are_never_written_over(image: Path, tmp_path: Path) -> None:
    source = tmp_path / "in" / "a.tif"
    tifffile.imwrite(source, read_image(image).data)
    before = source.read_bytes()
    assert_refused(call("segment", source, "-o", source, "--overwrite", *SHORT), "is an input")
    assert_refused(call("segment", image, "-o", source, "--scribbles", source, "--overwrite", *SHORT), "is an input")
    assert source.read_bytes() == before


def test_two_images_for_the_same_file_are_refused(image: Path, out: Path) -> None:
    twin = image.with_suffix(".tif")
    tifffile.imwrite(twin, read_image(image).data)
    assert_refused(call("segment", image, twin, "-o", out), "several images would be written to the same file")


def test_strokes_and_regions_with_several_images_are_refused(image: Path, out: Path) -> None:
    for option, value in {"scribbles": image, "mask": image, "strokes": "word", "within": "word"}.items():
        words = call("segment", image, image, "-o", out, f"--{option}", value)
        assert_refused(words, f"--{option} goes with one image; 2 came")
    assert names(out) == []


def test_settings_out_of_range_are_refused(image: Path, out: Path) -> None:
    assert_refused(call("segment", image, "-o", out / "a.tif", "--min-labels", 0), "min_labels is 0; accepted is")
    assert call("segment", image, "-o", out / "a.tif", "--preset", "slow").exit_code == 2
    assert call("segment", image, "-o", out / "a.tif", "--max-iterations", "many").exit_code == 2
    assert call("segment", image).exit_code == 2
    assert names(out) == []


# ---------------------------------------------------------------------- settings from a file


@pytest.fixture
def preset_file(tmp_path: Path) -> Path:
    """Saved settings with little to compute."""
    path = tmp_path / "mine.dfc-preset.json"
    save_settings(path, dfc.Settings.from_preset("published", device="cpu", momentum=0.5, **SHORT_SETTINGS))
    return path


def test_settings_of_a_file_are_taken_and_options_come_before_them(image: Path, out: Path, preset_file: Path) -> None:
    words = ("segment", image, "-o", out / "a.tif", "--preset-file", preset_file, "--momentum", 0.6, "--seed", 4)
    result = call(*words)
    assert result.exit_code == 0, result.output
    expected = read_settings(preset_file).settings.change(momentum=0.6, seed=4)
    with tifffile.TiffFile(out / "a.tif") as tiff:
        record = json.loads(tifffile.xml2dict(tiff.ome_metadata)["OME"]["Image"]["Description"])
    assert record["settings"] == expected.as_dict()


def test_a_network_is_trained_with_the_settings_of_a_file(image: Path, out: Path, preset_file: Path) -> None:
    result = call("train", image, "-o", out / "a.dfc.safetensors", "--preset-file", preset_file)
    assert result.exit_code == 0, result.output
    assert dfc.load(out / "a.dfc.safetensors").settings == read_settings(preset_file).settings


def test_a_preset_beside_a_file_or_a_broken_file_is_refused(image: Path, out: Path, preset_file: Path) -> None:
    words = ("segment", image, "-o", out / "a.tif", "--preset-file", preset_file)
    assert_refused(call(*words, "--preset", "fast"), "accepted is one of them")
    assert_refused(call(*words, "--seed", -1), "seed is -1; accepted is")
    preset_file.write_text('{"format": 2}')
    assert_refused(call(*words), "mine.dfc-preset.json: it was written by a newer napari-dfc")
    preset_file.unlink()
    assert_refused(call(*words), "does not exist")
    assert names(out) == []


# ---------------------------------------------------------------------- demo and info


def test_demo_without_a_display_writes_files_and_says_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.delenv("DISPLAY", raising=False)
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("napari_dfc.cli.Settings", partial(dfc.Settings.from_preset, "fast", max_iterations=5))
    result = call("demo")
    assert result.exit_code == 0, result.output
    labels = tmp_path / "napari-dfc-demo" / "stained_tissue_labels.tif"
    assert str(labels) in result.stdout
    assert set(np.unique(tifffile.imread(labels))) == {1, 2, 3}
    assert iio.imread(labels.with_name("stained_tissue_overlay.png")).shape == (256, 320, 3)
    assert_refused(call("demo", "-o", "napari-dfc-demo"), "exist already; choose another folder")
    (tmp_path / "file").write_text("")
    assert_refused(call("demo", "-o", "file"), "file")


def test_demo_opens_napari_where_there_is_a_display(monkeypatch: pytest.MonkeyPatch) -> None:
    demo = pytest.importorskip("napari_dfc.gui.demo")
    opened = []
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("DISPLAY", ":99")
    monkeypatch.setattr(demo, "open_demo", lambda: opened.append(True))
    assert call("demo").exit_code == 0
    assert opened == [True]


def test_demo_without_napari_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "napari-dfc-demo").mkdir()
    monkeypatch.setattr("napari_dfc.cli._run", lambda *_, **__: (_ for _ in ()).throw(ValueError("far enough")))
    assert "napari is not installed" in call("demo").stdout


def test_info_prints_versions_and_devices() -> None:
    result = call("info")
    assert result.exit_code == 0
    for name in ("Python", "napari-dfc", "torch", "napari", "cuda", "mps", "cpu", "in use"):
        assert any(line.startswith(name) for line in result.stdout.splitlines())


def test_info_tells_what_an_image_will_take(image: Path) -> None:
    result = call("info", image, "--n-channels", 64, "--memory-limit", 3)
    assert result.exit_code == 0, result.output
    rows = dict(line.split(maxsplit=1) for line in result.output.splitlines() if line.startswith(("image", "takes")))
    assert rows["image"] == "56 x 48 pixels, 1 channels"
    expected = Run(read_image(image).data, settings=dfc.Settings(n_channels=64, memory_limit=3.0)).plan
    assert rows["takes"] == str(expected)


def test_info_of_a_file_that_is_no_image_is_refused(tmp_path: Path) -> None:
    assert_refused(call("info", tmp_path / "none.png"), "does not exist")


def test_a_lack_of_memory_is_one_line(monkeypatch: pytest.MonkeyPatch, image: Path, out: Path) -> None:
    def none_left(*given: object, **options: object) -> None:
        raise MemoryError("no memory is left")

    monkeypatch.setattr("napari_dfc.courses.Optimization", none_left)
    assert_refused(call("segment", image, "-o", out / "labels.tif"), "there is not enough memory")
    assert names(out) == []


def test_help_shows_the_symbols_of_the_paper_and_the_defaults() -> None:
    words = " ".join(call("segment", "--help").output.replace("│", " ").split())
    assert "[mu]" in words
    assert "[balanced: 60]" in words
