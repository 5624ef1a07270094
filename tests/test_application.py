"""A kept network over many files: by the function, and by ``napari-dfc train`` and ``napari-dfc apply``."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from click.testing import Result
from typer.testing import CliRunner

import napari_dfc as dfc
from napari_dfc import model_file
from napari_dfc.application import Job, apply, sources_of
from napari_dfc.cli import app
from napari_dfc.files import read_image, read_labels, write_labels
from napari_dfc.samples import read_sample

QUICK = ["--preset", "fast", "--max-iterations", "4", "--n-channels", "8", "--n-networks", "1"]


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained on a corner of the stained tissue by the command line."""
    folder = tmp_path_factory.mktemp("reference")
    sample = read_sample("stained_tissue")
    iio.imwrite(folder / "reference.png", sample.image)
    iio.imwrite(folder / "strokes.png", sample.scribbles)
    path = folder / "tissue.dfc.safetensors"
    words = ["train", folder / "reference.png", "--scribbles", folder / "strokes.png", "--name", "1=nucleus"]
    result = call(*words, "-o", path, *QUICK)
    assert result.exit_code == 0, result.output
    assert "nucleus, class 2, class 3; 1 reference image" in result.stdout
    return path


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of four images, one of them with a pixel size, and something that is no image."""
    folder = tmp_path / "in"
    folder.mkdir()
    image = read_sample("stained_tissue").image
    for index in range(3):
        iio.imwrite(folder / f"part{index}.png", image[40 * index : 40 * index + 60, :70])
    tifffile.imwrite(
        folder / "sized.tif",
        image[:50, :60],
        photometric="rgb",
        resolution=(1e4 / 0.5, 1e4 / 0.25),
        resolutionunit="CENTIMETER",
    )
    (folder / "notes.txt").write_text("no image")
    return folder


# ---------------------------------------------------------------------- results


def test_every_image_of_a_folder_gets_the_labels_of_predict_and_a_row(
    network: Path, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    result = call("apply", network, images, "-o", out)
    assert result.exit_code == 0, result.output
    assert "4 images segmented, 0 kept from before, 0 failed" in result.stdout
    model = dfc.load(network)
    rows = rows_of(out / "results.csv")
    assert [Path(row["image"]).name for row in rows] == ["part0.png", "part1.png", "part2.png", "sized.tif"]
    for row in rows:
        expected = model.predict(read_image(row["image"]).data)
        file = read_labels(out / row["labels"])
        assert np.array_equal(file.labels, expected.labels)
        assert file.record["model"]["sha256"] == model.digest
        assert float(row["drift"]) == pytest.approx(expected.drift, rel=1e-4)
        assert row["state"] == "done"
        for entry in model.legend:
            assert int(row[f"{entry.name} (pixels)"]) == np.sum(expected.labels == entry.number)
    assert float(rows[3]["pixel_area_um2"]) == pytest.approx(0.125)
    assert float(rows[3]["nucleus (um2)"]) == pytest.approx(0.125 * int(rows[3]["nucleus (pixels)"]))
    assert rows[0]["nucleus (um2)"] == ""


def test_the_network_is_read_once(network: Path, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read, unpack = [], model_file.unpack
    monkeypatch.setattr(model_file, "unpack", lambda data: read.append(data) or unpack(data))
    assert call("apply", network, images / "part0.png", "-o", tmp_path / "out").exit_code == 0
    assert len(read) == 1


def test_two_processes_give_what_one_gives(network: Path, images: Path, tmp_path: Path) -> None:
    for jobs in (1, 2):
        result = call("apply", network, images, "-o", tmp_path / f"out{jobs}", "--jobs", jobs)
        assert result.exit_code == 0, result.output
    names = sorted(path.name for path in (tmp_path / "out1").iterdir())
    assert names == sorted(path.name for path in (tmp_path / "out2").iterdir())
    assert len(names) == 5
    for name in names:
        one, other = tmp_path / "out1" / name, tmp_path / "out2" / name
        if name == "results.csv":
            assert one.read_text() == other.read_text()
        else:
            assert np.array_equal(read_image(one).data, read_image(other).data)


def test_one_bad_file_is_told_at_the_end_with_the_others_done(network: Path, images: Path, tmp_path: Path) -> None:
    (images / "part1.png").write_bytes(b"no picture")
    iio.imwrite(images / "gray.png", np.zeros((20, 20), dtype=np.uint8))
    result = call("apply", network, images, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "3 images segmented, 0 kept from before, 2 failed" in result.stdout
    errors = result.stderr.strip().splitlines()
    assert len(errors) == 2
    assert "gray.png: the image has 1 channel; accepted are 3" in errors[0]
    assert "part1.png" in errors[1]
    assert "cannot be read as an image" in errors[1]
    rows = {Path(row["image"]).name: row for row in rows_of(tmp_path / "out" / "results.csv")}
    assert rows["gray.png"]["state"] == "failed"
    assert rows["gray.png"]["nucleus (pixels)"] == ""
    assert rows["part0.png"]["state"] == "done"


def test_an_image_unlike_the_references_is_said(network: Path, images: Path, tmp_path: Path) -> None:
    iio.imwrite(images / "part0.png", 255 - read_sample("stained_tissue").image[:60, :70])
    result = call("apply", network, images / "part0.png", "-o", tmp_path / "out")
    assert result.exit_code == 0
    assert "unlike the references" in result.stdout
    assert "unlike the references" in rows_of(tmp_path / "out" / "results.csv")[0]["note"]
    own = call("apply", network, images / "part0.png", "-o", tmp_path / "own", "--statistics", "image")
    assert own.exit_code == 0
    assert rows_of(tmp_path / "own" / "results.csv")[0]["drift"] == ""


# ---------------------------------------------------------------------- taking up again


def test_the_same_call_keeps_what_is_there_and_does_the_rest(network: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    call("apply", network, images, "-o", out)
    table = (out / "results.csv").read_text()
    (out / "part1_labels.tif").unlink()
    before = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tif")}
    result = call("apply", network, images, "-o", out)
    assert "1 images segmented, 3 kept from before, 0 failed" in result.stdout
    assert all((out / name).stat().st_mtime_ns == then for name, then in before.items())
    assert (out / "results.csv").read_text() == table.replace(",done,", ",kept,").replace(
        "part1_labels.tif,kept", "part1_labels.tif,done"
    )
    again = call("apply", network, images, "-o", out, "--overwrite")
    assert "4 images segmented, 0 kept" in again.stdout


def test_what_something_else_has_written_is_never_replaced_unasked(network: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    write_labels(out / "part0_labels.tif", np.ones((4, 4), dtype=np.uint8))
    result = call("apply", network, images, "-o", out)
    assert result.exit_code == 1
    assert "is not what this network made of" in result.stderr
    assert read_image(out / "part0_labels.tif").data.shape == (4, 4)
    call("apply", network, images, "-o", out, "--statistics", "image", "--overwrite")
    other = call("apply", network, images, "-o", out)
    assert "4 failed" in other.stdout  # made by the same network in another way


#: ``apply`` of a process that is killed halfway through writing its third file.
KILLED = """
import os, signal, sys, tifffile
from pathlib import Path
from napari_dfc.cli import app
write, written = tifffile.imwrite, []
def write_half(path, *given, **named):
    write(path, *given, **named)
    written.append(path)
    if len(written) == 3:
        Path(path).write_bytes(Path(path).read_bytes()[:300])
        os.kill(os.getpid(), signal.SIGKILL)
tifffile.imwrite = write_half
app(sys.argv[1:])
"""


def test_killed_while_it_writes_it_leaves_no_broken_file_and_goes_on(
    network: Path, images: Path, tmp_path: Path
) -> None:
    whole, out = tmp_path / "whole", tmp_path / "out"
    call("apply", network, images, "-o", whole)
    command = [sys.executable, "-c", KILLED, "apply", str(network), str(images), "-o", str(out)]
    assert subprocess.run(command, check=False, capture_output=True).returncode == -signal.SIGKILL
    assert [path.name for path in sorted(out.glob("[!.]*"))] == ["part0_labels.tif", "part1_labels.tif"]
    assert len(list(out.glob(".part2_labels.being-written-*"))) == 1
    result = call("apply", network, images, "-o", out)
    assert "2 images segmented, 2 kept from before" in result.stdout
    assert sorted(path.name for path in out.glob("[!.]*")) == sorted(path.name for path in whole.iterdir())
    for path in whole.glob("*.tif"):
        assert np.array_equal(read_image(path).data, read_image(out / path.name).data)


def test_an_image_that_was_changed_meanwhile_is_not_taken_for_the_old_one(
    network: Path, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    call("apply", network, images, "-o", out)
    iio.imwrite(images / "part0.png", read_sample("stained_tissue").image[90:120, :50])
    result = call("apply", network, images, "-o", out)
    assert result.exit_code == 1
    assert "part0.png as it is now" in result.stderr
    other = tmp_path / "other"
    other.mkdir()
    iio.imwrite(other / "part1.png", read_sample("stained_tissue").image[:33, :50])  # another of the same name
    assert call("apply", network, other, "-o", out).exit_code == 1


def test_results_beside_their_images_are_no_images(network: Path, images: Path) -> None:
    for kept in (0, 4):
        result = call("apply", network, images, "-o", images)
        assert f"{4 - kept} images segmented, {kept} kept from before, 0 failed" in result.stdout
    assert len(list(images.glob("*_labels.tif"))) == 4
    assert not list(images.glob("*_labels_labels.tif"))


def test_a_table_keeps_the_rows_of_other_images_and_is_never_somebody_else_s(
    network: Path, images: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    call("apply", network, images / "part0.png", "-o", out)
    call("apply", network, images / "part1.png", "-o", out)
    assert [Path(row["image"]).name for row in rows_of(out / "results.csv")] == ["part0.png", "part1.png"]
    (out / "results.csv").write_text("my,own\n1,2\n")
    assert_refused(call("apply", network, images, "-o", out), "is no table of a network with these classes")
    assert (out / "results.csv").read_text() == "my,own\n1,2\n"


def test_a_label_file_with_any_record_fails_alone(network: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name, record in (("part0", {"model": "Zeiss 880"}), ("part1", {"model": {"sha256": 3}, "source": []})):
        write_labels(out / f"{name}_labels.tif", np.ones((4, 4), dtype=np.uint8), record=record)
    result = call("apply", network, images, "-o", out)
    assert result.exit_code == 1
    assert "2 images segmented, 0 kept from before, 2 failed" in result.stdout


def test_what_a_killed_process_left_is_removed(network: Path, images: Path, tmp_path: Path) -> None:
    leftover, fresh = (tmp_path / f".part0_labels.being-written-{name}.tif" for name in ("abcd1234", "efgh5678"))
    for each in (leftover, fresh):
        each.write_bytes(b"half")
    os.utime(leftover, (0, 0))  # the other may be somebody's who is at it
    source, target = images / "part0.png", tmp_path / "part0_labels.tif"
    (made,) = apply(Job(network), [source], [target])
    assert made.state == "done"
    assert not leftover.exists()
    assert fresh.exists()


# ---------------------------------------------------------------------- what is given


def test_folders_patterns_and_files_are_each_taken_once(images: Path, tmp_path: Path) -> None:
    every = ["part0.png", "part1.png", "part2.png", "sized.tif"]
    assert [path.name for path in sources_of([images])] == every
    assert [path.name for path in sources_of([images / "part*.png"])] == every[:3]
    assert [path.name for path in sources_of([images / "part1.png", images])] == ["part1.png", *every[:1], *every[2:]]
    assert [path.name for path in sources_of([tmp_path / "**" / "*.tif"])] == ["sized.tif"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="holds no image"):
        sources_of([tmp_path / "empty"])
    with pytest.raises(ValueError, match="no file is called"):
        sources_of([images / "*.lsm"])


def test_a_file_that_is_not_there_fails_alone(network: Path, images: Path, tmp_path: Path) -> None:
    sources = [images / "part0.png", images / "absent.png"]
    targets = [tmp_path / f"{source.stem}.tif" for source in sources]
    made = {each.source.name: each for each in apply(Job(network), sources, targets)}
    assert made["part0.png"].state == "done"
    assert made["absent.png"].state == "failed"
    assert made["absent.png"].note == f"{sources[1]} does not exist"
    assert not targets[1].exists()


def assert_refused(result: Result, words: str) -> None:
    """One line, status 2."""
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_apply_refuses_in_one_line(network: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert_refused(call("apply", tmp_path / "absent.dfc.safetensors", images, "-o", out), "absent.dfc.safetensors")
    broken = tmp_path / "broken.dfc.safetensors"
    broken.write_bytes(network.read_bytes()[:-1])
    assert_refused(call("apply", broken, images, "-o", out), "cannot be used")
    assert_refused(call("apply", network, images / "*.bmp", "-o", out), "no file is called")
    for option in ("--device", "--statistics"):
        assert call("apply", network, images, "-o", out, option, "abacus").exit_code == 2
    (images / "other").mkdir()
    iio.imwrite(images / "other" / "part0.png", np.zeros((4, 4, 3), dtype=np.uint8))
    assert_refused(call("apply", network, images, images / "other", "-o", out), "would be written to the same file")
    assert not list(out.glob("*.tif"))


def test_train_on_several_references_some_without_strokes(images: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.dfc.safetensors"
    strokes = np.zeros((60, 70), dtype=np.uint8)
    strokes[5, 5:30], strokes[50, 5:30] = 1, 2
    iio.imwrite(tmp_path / "strokes.png", strokes)
    references = [images / "part0.png", images / "part1.png"]
    given = ["--scribbles", tmp_path / "strokes.png", "--scribbles", "none"]
    result = call("train", *references, *given, "-o", path, *QUICK)
    assert result.exit_code == 0, result.output
    assert len(dfc.load(path).references) == 2
    assert dfc.load(path).legend.numbers == (1, 2)
    assert_refused(call("train", *references, *given, "-o", path, *QUICK), "exists already")


def test_train_without_strokes_keeps_groups(images: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.dfc.safetensors"
    result = call("train", images / "part0.png", images / "sized.tif", "-o", path, "--n-groups", 2, *QUICK)
    assert result.exit_code == 0, result.output
    assert dfc.load(path).legend.numbers == (1, 2)


def test_train_refuses_in_one_line_before_it_computes(images: Path, tmp_path: Path) -> None:
    reference, path = images / "part0.png", tmp_path / "a.dfc.safetensors"
    assert_refused(call("train", reference, "-o", tmp_path / "a.txt"), "only with the ending .dfc.safetensors")
    assert_refused(call("train", reference, "-o", tmp_path / "no" / "a.dfc.safetensors"), "does not exist")
    assert_refused(call("train", reference, "-o", path, "--name", "nucleus"), "such as 1=nucleus")
    assert_refused(call("train", reference, "-o", path, "--name", "9=x"), "there is no class 9")
    assert_refused(call("train", reference, "-o", path, "--name", "1=x", "--name", "2=x"), "belongs to two classes")
    assert_refused(
        call("train", reference, "-o", path, "--scribbles", "none", "--scribbles", "none"),
        "there are 2 --scribbles for 1",
    )
    assert_refused(call("train", reference, "-o", path, "--split-into", "regions"), "are no classes")
    assert not path.exists()


def test_pixel_sizes_of_the_references_are_kept(images: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.dfc.safetensors"
    assert call("train", images / "sized.tif", "-o", path, "--n-groups", 2, *QUICK).exit_code == 0
    assert dfc.load(path).pixel_size == pytest.approx((0.25, 0.5))


# ---------------------------------------------------------------------- time series and stacks


@pytest.fixture
def film(tmp_path: Path) -> Path:
    """Two places at three times, with noise of their own, channels and a pixel size, as ImageJ writes them."""
    image = read_sample("stained_tissue").image
    noise = np.random.default_rng(0).normal(0, 60, (3, 2, 50, 60, 3))
    data = np.stack([image[:50, :60], image[60:110, 80:140]]) + noise
    data = data.clip(0, 255).astype(np.uint8)
    path = tmp_path / "film.tif"
    options = {"metadata": {"axes": "TZCYX", "unit": "um"}, "resolution": (1 / 0.5, 1 / 0.5)}
    tifffile.imwrite(path, np.ascontiguousarray(np.moveaxis(data, -1, 2)), imagej=True, **options)
    return path


def test_a_stack_gets_one_file_of_labels_with_its_axes_and_one_row(network: Path, film: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = call("apply", network, film, "-o", out)
    assert result.exit_code == 0, result.output
    with tifffile.TiffFile(out / "film_labels.tif") as tiff:
        assert tiff.series[0].axes == "TZYX"
    file = read_labels(out / "film_labels.tif")
    model, data = dfc.load(network), read_image(film).data
    expected = [[model.predict(data[time, depth], channel_axis=0) for depth in range(2)] for time in range(3)]
    assert np.array_equal(file.labels, [[each.labels for each in row] for row in expected])
    assert file.labels.dtype == np.uint8
    assert file.pixel_size == (pytest.approx(0.5), pytest.approx(0.5))
    drifts = [each.drift for row in expected for each in row]
    assert file.record["series"] == {"axes": "TZ", "smoothing": 0.0, "drift": pytest.approx(drifts)}
    (row,) = rows_of(out / "results.csv")
    assert float(row["drift"]) == pytest.approx(np.mean(drifts), rel=1e-4)
    for entry in model.legend:
        assert int(row[f"{entry.name} (pixels)"]) == np.sum(file.labels == entry.number)
    again = call("apply", network, film, "-o", out)
    assert "0 images segmented, 1 kept from before" in again.stdout
    assert rows_of(out / "results.csv")[0] == {**row, "state": "kept"}


def test_smoothing_goes_through_time_and_not_through_depth(network: Path, film: Path, tmp_path: Path) -> None:
    assert call("apply", network, film, "-o", tmp_path, "--smoothing", 0.5).exit_code == 0
    found = read_image(tmp_path / "film_labels.tif").data
    model, data = dfc.load(network), read_image(film).data
    for depth in range(2):
        results = model.predict_series(data[:, depth], smoothing=0.5, channel_axis=0)
        assert np.array_equal(found[:, depth], [each.labels for each in results])
    plain = [model.predict(data[2, depth], channel_axis=0).labels for depth in range(2)]
    assert not np.array_equal(found[2], plain)
    other = call("apply", network, film, "-o", tmp_path)
    assert "is not what this network made of" in other.stderr


def test_adaptation_goes_through_time_and_is_asked_for(network: Path, film: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert call("apply", network, film, "-o", out).exit_code == 0
    assert "adaptation" not in str(read_labels(out / "film_labels.tif").record)
    assert "is not what this network made of" in call("apply", network, film, "-o", out, "--adaptation", 2).stderr
    assert call("apply", network, film, "-o", out, "--adaptation", 2, "--overwrite").exit_code == 0
    file, data = read_labels(out / "film_labels.tif"), read_image(film).data
    for depth in range(2):
        results = dfc.load(network).predict_series(data[:, depth], adaptation=2, channel_axis=0)
        assert np.array_equal(file.labels[:, depth], [each.labels for each in results])
    assert (file.record["series"]["adaptation"], file.record["series"]["updates"]) == (2, 0)  # it is noise alone
    wrong = call("apply", network, film, "-o", out, "--adaptation", 51)
    assert_refused(wrong, "adaptation is 51; accepted is a whole number of updates from 0")


def test_planes_unlike_the_references_are_counted(network: Path, tmp_path: Path) -> None:
    image = read_sample("stained_tissue").image
    tifffile.imwrite(tmp_path / "a.tif", np.stack([image, 255 - image, 255 - image]), photometric="rgb")
    result = call("apply", network, tmp_path / "a.tif", "-o", tmp_path / "out")
    assert "2 of 3 planes are unlike the references" in result.stdout


def test_a_stack_that_fails_says_at_which_frame(network: Path, tmp_path: Path) -> None:
    tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 20, 30), dtype=np.uint8))
    result = call("apply", network, tmp_path / "a.tif", "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "a.tif: frame 1: the image has 1 channel; accepted are 3" in result.stderr
    assert not list((tmp_path / "out").glob("*.tif"))
    assert_refused(
        call("apply", network, tmp_path / "a.tif", "-o", tmp_path / "out", "--smoothing", 1),
        "smoothing is 1.0; accepted is a number from 0 to below 1",
    )
