"""What other programs compute with an exported network is what the network says."""

from __future__ import annotations

import json
import re
import shlex
import socket
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
import torch
from click.testing import Result
from typer.testing import CliRunner

import napari_dfc as dfc
from napari_dfc import exchange, onnx_graph
from napari_dfc.cli import app
from napari_dfc.model import Model
from napari_dfc.model_card import seam_margin
from napari_dfc.samples import read_sample

pytest.importorskip("onnx", reason="the extra exchange is not installed")
pytest.importorskip("bioimageio.core", reason="the extra exchange is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="the extra exchange is not installed")

# bioimageio.spec leaves files that it hashes, and packages that it reads, to the garbage collector
pytestmark = [
    pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

FAST = {"preset": "fast", "max_iterations": 6, "n_channels": 8}


def color_model(**settings: Any) -> Model:
    """Of painted tissue, with gaps between the numbers of its classes."""
    sample = read_sample("stained_tissue")
    strokes = np.array([0, 2, 7, 300], dtype=np.uint16)[sample.scribbles]
    return dfc.segment(sample.image, scribbles=strokes, **{**FAST, **settings}).model(names={7: "odd | name <b>"})


def run(data: bytes, raw: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    probabilities, labels = session.run(None, {"image": raw[None].astype(np.float32)})
    return probabilities[0], labels[0]


def graph(model: Model) -> bytes:
    return onnx_graph.onnx_model(model).SerializeToString()


def assert_same(model: Model, raw: np.ndarray) -> None:
    """Labels and their probabilities, against `Model.predict`; ``raw`` is (C, H, W)."""
    probabilities, labels = run(graph(model), raw)
    ours = replace(model, edge_share=0.0).predict(raw, channel_axis=0)
    assert labels.dtype == np.int64
    np.testing.assert_array_equal(labels, ours.labels)
    np.testing.assert_allclose(probabilities.max(0), ours.confidence, atol=2e-5)
    np.testing.assert_allclose(probabilities.sum(0), 1, atol=1e-5)


@pytest.fixture(scope="module")
def painted() -> Model:
    model = color_model(full_resolution_up_to=100, n_networks=4)
    assert max(model.factors) > 1
    return model.of_files(["tissue.png"], (0.25, 0.5))


# ---------------------------------------------------------------------- the graph


@pytest.mark.parametrize("shape", [(256, 320), (101, 77), (18, 33), (1, 1)])
def test_networks_of_several_resolutions_and_filters_are_the_same_at_any_size(
    painted: Model, shape: tuple[int, int]
) -> None:
    image = read_sample("stained_tissue").image[: shape[0], : shape[1]]
    assert_same(painted, np.moveaxis(image, 2, 0))


@pytest.mark.parametrize("padding", ["zeros", "replicate"])
@pytest.mark.parametrize(
    "settings", [{"extractor": "convolutions", "n_networks": 1, "n_conv": 3}, {"extractor": "filters"}]
)
def test_one_network_is_the_same(settings: dict[str, Any], padding: str) -> None:
    model = color_model(**settings, padding=padding)
    assert_same(model, np.moveaxis(read_sample("stained_tissue").image[:75, :91], 2, 0))


def test_gray_clusters_on_a_high_offset_are_the_same() -> None:
    """Little contrast far from 0, where one float32 does not hold the offset."""
    image = read_sample("fluorescence_nuclei").image * 1e-3 + 12345.6789
    model = dfc.segment(image, split_into="clusters", **FAST).model()
    assert_same(model, image[None, :99].astype(np.float32))


def test_several_stains_are_the_same() -> None:
    random = np.random.default_rng(0)
    image = random.normal(size=(5, 40, 50)) * [[[1]], [[10]], [[1e3]], [[1]], [[1]]] + np.arange(50) // 25 * 3.0
    strokes = np.zeros((40, 50), dtype=np.uint8)
    strokes[5, 2:20], strokes[30, 28:45] = 1, 4
    model = dfc.segment(image, channel_axis=0, scribbles=strokes, **FAST).model()
    assert_same(model, image[:, 3:, :47].astype(np.float32))


def test_a_network_worked_out_by_hand() -> None:
    """Kernels that pick the pixel, statistics of mean 2 and variance 4: the response is known without our code."""
    random = np.random.default_rng(0)
    image = random.normal(size=(20, 20))
    model = dfc.segment(
        image, split_into="clusters", preset="fast", max_iterations=1, n_channels=2, n_conv=1, n_networks=1
    ).model()
    kernel = torch.zeros(2, 1, 3, 3)
    kernel[0, 0, 1, 1], kernel[1, 0, 1, 1] = 1, -1
    weights = {
        "convolutions.0.weight": kernel,
        "convolutions.0.bias": torch.tensor([0.0, 1.0]),
        "normalizations.0.weight": torch.ones(2),
        "normalizations.0.bias": torch.zeros(2),
        "classifier.weight": torch.eye(2)[:, :, None, None],
        "classifier.bias": torch.zeros(2),
        "response_normalization.weight": torch.tensor([1.0, 2.0]),
        "response_normalization.bias": torch.tensor([0.5, 0.0]),
    }
    assert set(weights) == set(model.weights)
    double = torch.float64
    (statistics,) = model.statistics
    statistics = statistics._replace(
        means=(torch.full((2,), 2.0, dtype=double),),
        variances=(torch.full((2,), 4.0, dtype=double),),
        covariance=4 * torch.eye(2, dtype=double),
    )
    model = replace(
        model,
        weights=weights,
        statistics=(statistics,),
        offset=np.array([10.0]),
        scale=np.array([5.0]),
        numbers=(6, 3),
        legend=dfc.Legend.of([3, 6]),
    )
    values = np.array([[10.0, 20.0, 40.0], [-10.0, 0.0, 5.0]])
    scaled = (values - 10) / 5
    first, second = np.maximum(scaled, 0), np.maximum(1 - scaled, 0)
    response = np.stack([(first - 2) / 2 + 0.5, 2 * (second - 2) / 2])  # unit variance, then scale and shift
    wanted = np.exp(response) / np.exp(response).sum(0)
    probabilities, labels = run(graph(model), values[None])
    np.testing.assert_allclose(probabilities, wanted, atol=1e-4)
    np.testing.assert_array_equal(labels, np.where(response[0] >= response[1], 6, 3))


def test_numbers_are_as_large_as_they_like(painted: Model) -> None:
    large = (2, 7, 2**64 - 1)
    model = replace(painted, numbers=large, legend=dfc.Legend.of(large))
    raw = np.moveaxis(read_sample("stained_tissue").image[:40, :40], 2, 0)
    labels = run(graph(model), raw)[1]
    assert labels.dtype == np.uint64
    assert set(np.unique(labels).tolist()) <= set(large)


@pytest.mark.parametrize("extractor", ["both", "convolutions"])
def test_tiles_cut_as_the_card_says_are_the_whole(extractor: str) -> None:
    """Of convolutions alone, the lower resolution sees farthest."""
    model = color_model(extractor=extractor, full_resolution_up_to=100, n_networks=4)
    raw = np.moveaxis(read_sample("stained_tissue").image, 2, 0)
    data, margin, factor = graph(model), seam_margin(model), max(model.factors)
    assert factor > 1
    whole = run(data, raw)[0]
    start = 8 * factor
    tile = run(data, raw[:, start:, start:])[0]
    inside = whole[:, start + margin :, start + margin :]
    np.testing.assert_allclose(tile[:, margin:, margin:], inside, atol=1e-5)
    assert np.abs(tile[:, 0] - whole[:, start, start:]).max() > 1e-3  # at the seam it is not


def test_essential_facts_stand_in_the_file(painted: Model, tmp_path: Path) -> None:
    exchange.export(painted, tmp_path / "cells.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "cells.onnx", providers=["CPUExecutionProvider"])
    facts = session.get_modelmeta().custom_metadata_map
    assert json.loads(facts["napari_dfc.classes"]) == painted.legend.as_list()
    assert json.loads(facts["napari_dfc.channel_classes"]) == [2, 7, 300]
    assert facts["napari_dfc.model_sha256"] == painted.digest
    assert session.get_inputs()[0].shape == [1, 3, "height", "width"]


def test_brightness_beyond_float32_is_refused(painted: Model) -> None:
    with pytest.raises(ValueError, match="beyond what ONNX computes with"):
        graph(replace(painted, scale=np.array([1.0, 1e-50, 1.0])))


# ---------------------------------------------------------------------- files


@pytest.mark.parametrize("ending", [".onnx", ".bioimageio.zip"])
def test_nothing_is_kept_of_what_computes_something_else(
    painted: Model, ending: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wrong = onnx_graph.onnx_model(replace(painted, scale=painted.scale * 1.01))
    monkeypatch.setattr(exchange, "onnx_model", lambda _: wrong)
    with pytest.raises(ValueError, match="computes something else with the exported network"):
        exchange.export(painted, tmp_path / f"cells{ending}")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_is_said_before_anything_is_computed(
    painted: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "onnx_model", lambda _: pytest.fail("a graph was made"))
    for name in ("cells.zip", "cells.pt", ".onnx", "cells.onnx.md"):
        with pytest.raises(ValueError, match=r"accepted are those that end in .onnx or .bioimageio.zip"):
            exchange.export(painted, tmp_path / name)
    with pytest.raises(FileNotFoundError, match="does not exist"):
        exchange.export(painted, tmp_path / "missing" / "cells.onnx")
    (tmp_path / "cells.onnx.md").write_text("notes")
    with pytest.raises(FileExistsError, match=r"cells.onnx.md exists already"):
        exchange.export(painted, tmp_path / "cells.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["cells.onnx.md"]
    monkeypatch.undo()
    exchange.export(painted, tmp_path / "cells.onnx", overwrite=True)
    assert (tmp_path / "cells.onnx.md").read_text(encoding="utf-8").startswith("# cells.onnx\n")


def test_a_missing_extra_is_named(painted: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ImportError, match=r'pip install "napari-dfc\[exchange\]"'):
        exchange.export(painted, tmp_path / "cells.onnx")


def test_an_image_with_masked_pixels_or_other_channels_is_refused(painted: Model, tmp_path: Path) -> None:
    image = read_sample("stained_tissue").image.astype(float)
    with pytest.raises(ValueError, match="accepted are 3"):
        exchange.export(painted, tmp_path / "cells.onnx", image=image[..., 0])
    image[0, 0] = np.nan
    with pytest.raises(ValueError, match="give an image without them"):
        exchange.export(painted, tmp_path / "cells.onnx", image=image)


# ---------------------------------------------------------------------- the card


def test_the_card_names_everything_and_its_lines_work(
    painted: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = read_sample("stained_tissue").image
    path = tmp_path / "cells.onnx"
    agreement = exchange.export(painted, path, image=image, authors=["A. Person"], license="CC-BY-4.0")
    card = (tmp_path / "cells.onnx.md").read_text(encoding="utf-8")
    for words in (
        *("| 2 | class 2 | `#", "| 7 | odd \\| name \\<b\\> | `#", "| 300 | class 300 | `#", "`, from 0 |"),
        *("| tissue.png | 256 x 320 | `", "0.25 µm high and 0.5 µm wide", "seed 0", "BSD 3-Clause", "A. Person"),
        *("CC-BY-4.0", "10.1109/TIP.2020.3011269", "W. Kim, A. Kanezaki, M. Tanaka", painted.digest, "n_networks = 4"),
        *("above 0.1", f"up to {painted.receptive_radius} away", "| torch | ", "red, green, blue"),
    ):
        assert words in card
    # what is left out is counted where it was compared: on a patch of 32 x 32 and on this image
    drawn, plain = painted.predict(image), replace(painted, edge_share=0.0).predict(image)
    n_image = int((drawn.labels != plain.labels).sum())
    assert n_image <= agreement.n_drawn <= n_image + 32 * 32
    assert agreement.n_pixels == image.shape[0] * image.shape[1] + 32 * 32
    assert f"changes {agreement.n_drawn / agreement.n_pixels:.1%} of the pixels" in card
    monkeypatch.chdir(tmp_path)
    iio.imwrite("image.tif", image)
    found: dict[str, Any] = {}
    exec(re.search(r"```python\n(.*?)```", card, re.DOTALL)[1], found)
    np.testing.assert_array_equal(found["labels"], plain.labels)


# ---------------------------------------------------------------------- the package


@pytest.fixture(scope="module")
def package(painted: Model, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Written without a network connection, and with NumPy's random numbers as they were."""
    path = tmp_path_factory.mktemp("package") / "my cells.bioimageio.zip"
    image = read_sample("stained_tissue").image[:90, :80]
    before = np.random.get_state()[1].copy()  # noqa: NPY002 - the global ones are meant
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", lambda *_: pytest.fail("a connection was made"))
        exchange.export(painted, path, image=image, authors=["A. Person"], license="CC-BY-4.0")
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002
    return path


def test_bioimageio_s_own_test_passes(package: Path) -> None:
    from bioimageio.core import load_description, test_description

    summary = test_description(package, weight_format="onnx")
    assert summary.status == "passed"
    description = load_description(package)
    assert description.outputs[0].axes[1].channel_names == ["class 2", "odd | name <b>", "class 300"]
    assert [axis.scale for axis in description.inputs[0].axes[2:]] == [0.25, 0.5]
    assert str(description.license) == "CC-BY-4.0"
    assert description.authors[0].name == "A. Person"


def test_the_package_holds_the_network_and_what_it_says(package: Path, painted: Model, tmp_path: Path) -> None:
    zipfile.ZipFile(package).extractall(tmp_path)
    assert dfc.load(tmp_path / "network.dfc.safetensors").digest == painted.digest
    raw = np.load(tmp_path / "test_image.npy")
    np.testing.assert_array_equal(raw[0], np.moveaxis(read_sample("stained_tissue").image[:90, :80], 2, 0))
    ours = replace(painted, edge_share=0.0).predict(raw[0], channel_axis=0)
    np.testing.assert_array_equal(np.load(tmp_path / "test_labels.npy")[0], ours.labels)
    cover = iio.imread(tmp_path / "cover.png")
    assert cover.shape == (80, 160, 3)
    for number in (2, 7, 300):
        color = [int(painted.legend[number].color[start : start + 2], 16) for start in (1, 3, 5)]
        np.testing.assert_array_equal((cover[:, 80:] == color).all(-1), ours.labels[:80, :80] == number)


def test_the_lines_of_the_package_s_card_work(
    package: Path, painted: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    zipfile.ZipFile(package).extractall(tmp_path)
    (tmp_path / package.name).write_bytes(package.read_bytes())
    monkeypatch.chdir(tmp_path)
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "network.dfc.safetensors" in card
    found: dict[str, Any] = {}
    exec(re.search(r"```python\n(.*?)```", card, re.DOTALL)[1], found)
    np.testing.assert_array_equal(found["labels"], np.load("test_labels.npy")[0])
    predict, test = re.search(r"```console\n(.*?)\n```", card, re.DOTALL)[1].splitlines()
    for line in (predict, test):
        done = subprocess.run(
            [sys.executable, "-m", "bioimageio.core", *shlex.split(line)[1:]],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
    np.testing.assert_array_equal(np.squeeze(tifffile.imread("labels.tif")), found["labels"])


def test_a_license_that_bioimageio_does_not_know_is_said(painted: Model, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"bioimage\.io does not accept license 'mine'") as caught:
        exchange.export(painted, tmp_path / "cells.bioimageio.zip", license="mine")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------- the command line


def call(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def assert_refused(result: Result, words: str) -> None:
    assert result.exit_code == 2, result.output
    assert words in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_the_command_line_exports_and_refuses(painted: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, out = tmp_path / "cells.dfc.safetensors", tmp_path / "cells.onnx"
    painted.save(kept)
    iio.imwrite(tmp_path / "image.png", read_sample("stained_tissue").image)
    result = call("export", kept, "-o", out, "--image", tmp_path / "image.png", "--author", "A. Person")
    assert result.exit_code == 0, result.output
    assert "3 classes; 0 of 82944 compared pixels have another class than here; drawing to edges" in result.stdout
    assert "Trained by A. Person" in (tmp_path / "cells.onnx.md").read_text(encoding="utf-8")
    assert_refused(call("export", kept, "-o", out), "--overwrite replaces them")
    assert call("export", kept, "-o", out, "--overwrite").exit_code == 0
    assert call("export", kept, "-o", tmp_path / "cells.bioimageio.zip").exit_code == 0
    assert_refused(call("export", kept, "-o", tmp_path / "cells.zip"), "accepted are those that end in .onnx or")
    assert_refused(call("export", tmp_path / "none", "-o", tmp_path / "b.onnx"), "does not exist")
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert_refused(call("export", kept, "-o", tmp_path / "b.onnx"), 'pip install "napari-dfc[exchange]"')
