"""The file of a network: whatever is wrong with it is one sentence, and nothing of it is executed."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import napari_dfc as dfc
from napari_dfc import model_file
from napari_dfc.model import Model

SMALL = {"n_channels": 4, "n_conv": 1, "max_iterations": 3, "n_networks": 1}


def small_model(extractor: str = "both", n_conv: int = 1) -> Model:
    """A network of some thousand bytes."""
    random = np.random.default_rng(0)
    image = random.normal(size=(12, 14)) + np.arange(14) // 7 * 4.0
    strokes = np.zeros(image.shape, dtype=np.uint8)
    strokes[3, 1:5], strokes[8, 9:13] = 1, 2
    settings = {**SMALL, "extractor": extractor, "n_conv": n_conv}
    result = dfc.segment(image, scribbles=strokes, preset="fast", **settings)
    return result.model(names={1: "left", 2: "right"})


MODEL = small_model("convolutions")
DATA = MODEL.to_bytes()
DOCUMENT, TENSORS = model_file.unpack(DATA)


def refused(data: bytes) -> str:
    """The one line that a file is refused with."""
    with pytest.raises(ValueError, match=r"\S") as caught:
        Model.from_bytes(data)
    words = str(caught.value)
    assert "\n" not in words
    assert len(words) < 300
    return words


# ---------------------------------------------------------------------- what was saved is what is loaded


@pytest.mark.parametrize("n_conv", [1, 3])
@pytest.mark.parametrize("extractor", ["both", "convolutions", "filters"])
def test_a_network_comes_back_as_it_was(extractor: str, n_conv: int, tmp_path: Path) -> None:
    model = small_model(extractor, n_conv)
    path = tmp_path / "cells.dfc.safetensors"
    model.save(path)
    loaded = dfc.load(path)
    assert loaded.to_bytes() == model.to_bytes() == path.read_bytes()
    assert loaded.legend == model.legend
    assert loaded.legend[1].name == "left"
    image = np.random.default_rng(1).normal(size=(30, 40))
    one, other = model.predict(image), loaded.predict(image)
    assert np.array_equal(one.labels, other.labels)
    assert np.array_equal(one.confidence, other.confidence)


def test_other_programs_read_the_tensors(tmp_path: Path) -> None:
    path = tmp_path / "cells.dfc.safetensors"
    MODEL.save(path)
    tensors = safetensors.torch.load_file(path)
    assert torch.equal(tensors["weights/classifier.weight"], MODEL.weights["classifier.weight"])
    with safetensors.safe_open(path, "pt") as file:
        document = json.loads(file.metadata()["napari_dfc"])
    assert document["architecture"]["name"] == "dfc"
    assert document["receptive_radius"] == 1


# ---------------------------------------------------------------------- damage


def test_a_file_cut_off_anywhere_is_refused() -> None:
    for length in range(len(DATA)):
        with pytest.raises(ValueError, match=r"cut off|damaged|no network"):
            model_file.unpack(DATA[:length])


def test_a_file_with_any_byte_changed_is_refused() -> None:
    for place in range(len(DATA)):
        changed = DATA[:place] + bytes([DATA[place] ^ (1 << place % 8)]) + DATA[place + 1 :]
        with pytest.raises(ValueError, match=r"cut off|damaged|no network|added"):
            model_file.unpack(changed)


def test_something_added_at_the_end_is_refused() -> None:
    assert "something was added" in refused(DATA + b"\0")


@pytest.mark.parametrize("length", [2**64 - 1, 2**40, 10_000_000])
def test_a_huge_header_is_not_read(length: int) -> None:
    assert "cut off" in refused(struct.pack("<Q", length) + DATA[8:])


def test_a_file_too_large_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.dfc.safetensors"
    path.write_bytes(DATA)
    monkeypatch.setattr(model_file, "MOST_BYTES", len(DATA) - 1)
    with pytest.raises(ValueError, match="too many for a network"):
        dfc.load(path)


@settings(max_examples=300, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(st.one_of(st.binary(max_size=400), st.binary(max_size=200).map(lambda tail: DATA[:100] + tail)))
def test_any_bytes_are_refused_with_a_sentence(data: bytes) -> None:
    refused(data)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Of every value in a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


def with_value(document: Any, path: tuple[Any, ...], value: Any) -> Any:
    if not path:
        return value
    changed = document.copy()
    changed[path[0]] = with_value(document[path[0]], path[1:], value)
    return changed


@settings(max_examples=150, derandomize=True)
@given(st.sampled_from([place for place in places(DOCUMENT) if place]), JSON)
def test_a_document_with_anything_else_in_a_place_is_refused_or_is_a_network(path: tuple[Any, ...], value: Any) -> None:
    data = model_file.pack(with_value(DOCUMENT, path, value), TENSORS)
    try:
        loaded = Model.from_bytes(data)
    except ValueError:
        refused(data)
    else:
        assert loaded.predict(np.full((8, 8), loaded.offset[0])).labels.shape == (8, 8)  # 0 on any scale


# ---------------------------------------------------------------------- sound files that hold no network


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda document: document.pop(name)


def put(*path: Any) -> Callable[[dict[str, Any]], None]:
    *folders, name, value = path

    def change(document: Any) -> None:
        for folder in folders:
            document = document[folder]
        document[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (put("format", 2), "newer napari-dfc"),
        (put("format", "1"), "which version"),
        (without("format"), "which version"),
        (put("architecture", "name", "unet"), "is 'unet'; known are dfc"),
        (put("architecture", "arguments", "n_channels", 9000), "fewer weights"),
        (put("architecture", "arguments", "n_conv", 2), "settings"),
        (put("architecture", "arguments", "n_inputs", 2), "scaling for 1 channels of 2"),
        (put("settings", "n_channels", 5), "settings"),
        (put("settings", "n_channels", -1), "setting that cannot be"),
        (put("settings", "surprise", 1), "settings are not those"),
        (lambda document: document["settings"].pop("seed"), "settings are not those"),
        (put("receptive_radius", 999), "sees further, or less far"),
        (put("pixel_size", [1.0, 1.0, 1.0]), "pixel_size is no list of 2 to 2"),
        (put("edge_share", 1.5), "edge_share is no number of 0 to 1"),
        (put("architecture", "arguments", "factors", [1] * 18), "factors is no list of 1 to 17"),
        (put("architecture", "arguments", "factors", [1, 1]), "lacks covariance"),
        (put("architecture", "arguments", "n_inputs", 10_000), "scaling for 1 channels of 10000"),
        (put("channels", "scale", [0.0]), "scale is no number"),
        (put("channels", "scale", []), "scale is no list of 1 to"),
        (put("classes", 0, "name", "right"), "the name right belongs to two classes"),
        (put("classes", 0, "number", 0), "number is no whole number"),
        (put("channel_classes", [1, 3]), "classes that it does not name"),
        (put("channel_classes", [1]), "settings"),
        (put("extra", 1), "'extra' unknown"),
        (without("versions"), "'versions' missing"),
        (put("references", 0, "sha256", "x"), "sha256 is no digest"),
    ],
)
def test_a_document_that_cannot_be_is_refused(change: Callable[[dict[str, Any]], None], words: str) -> None:
    document = json.loads(json.dumps(DOCUMENT))
    change(document)
    assert words in refused(model_file.pack(document, TENSORS))


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("weights/classifier.bias", torch.full((2,), torch.nan), "not finite"),
        ("weights/classifier.bias", torch.full((2,), torch.inf), "not finite"),
        ("weights/classifier.bias", torch.zeros(3), "otherwise than the network"),
        ("weights/classifier.bias", torch.zeros(2, dtype=torch.float64), "otherwise than the network"),
        ("weights/surprise", torch.zeros(2), "otherwise than the network"),
        ("surprise", torch.zeros(2), "otherwise than the network"),
        ("statistics/0/variance/0", torch.full((4,), -1.0, dtype=torch.float64), "negative variances"),
        ("statistics/0/mean/0", torch.full((4,), 9.0, dtype=torch.float64), "golden patch"),
        ("golden/patch", torch.zeros(1, 99, 99), "golden patch of another kind"),
        ("golden/patch", torch.zeros(1, 0, 5), "golden patch of another kind"),
        ("golden/patch", torch.zeros(5), "golden patch of another kind"),
        ("weights/classifier.bias", None, "otherwise than the network"),
        ("golden/response", None, "lacks golden/response"),
    ],
)
def test_tensors_that_are_not_the_networks_are_refused(name: str, tensor: torch.Tensor | None, words: str) -> None:
    tensors = {**TENSORS, name: tensor}
    if tensor is None:
        del tensors[name]
    assert words in refused(model_file.pack(DOCUMENT, tensors))


def test_a_header_with_a_name_twice_or_a_number_that_is_none_is_refused() -> None:
    for text in ('{"a": 1, "a": 2}', '{"a": NaN}', "[" * 100_000, "[]", "{"):
        header = text.encode()
        assert "damaged" in refused(struct.pack("<Q", len(header)) + header)


def test_another_safetensors_file_is_no_network() -> None:
    assert "no network of napari-dfc" in refused(safetensors.torch.save({"a": torch.zeros(2)}))


# ---------------------------------------------------------------------- writing


def test_a_file_is_never_replaced_unasked(tmp_path: Path) -> None:
    path = tmp_path / "a.dfc.safetensors"
    path.write_text("mine")
    with pytest.raises(FileExistsError, match="exists already"):
        MODEL.save(path)
    assert path.read_text() == "mine"
    MODEL.save(path, overwrite=True)
    assert path.read_bytes() == DATA
    assert [each.name for each in tmp_path.iterdir()] == [path.name]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        with self.open("wb") as file:
            file.write(data[:50])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        MODEL.save(tmp_path / "a.dfc.safetensors")
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_again_otherwise_than_written_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "read_bytes", lambda self: b"")
    with pytest.raises(OSError, match="could not be written"):
        MODEL.save(tmp_path / "a.dfc.safetensors")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.safetensors", "a.dfc", ".dfc.safetensors"])
def test_another_ending_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"accepted are those that end in \.dfc\.safetensors"):
        MODEL.save(tmp_path / name)


def test_what_cannot_be_loaded_is_said_with_its_name(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        dfc.load(tmp_path / "absent.dfc.safetensors")
    with pytest.raises(ValueError, match="is a folder"):
        dfc.load(tmp_path)
    path = tmp_path / "broken.dfc.safetensors"
    path.write_bytes(DATA[:500])
    with pytest.raises(ValueError, match=r"broken\.dfc\.safetensors cannot be used: the file is cut off"):
        dfc.load(path)


# ---------------------------------------------------------------------- versions


@pytest.mark.parametrize("version", [1])
def test_a_file_of_every_version_is_read(version: int) -> None:
    """Loading computes the golden patch anew, and compares it with what was said when that version was current."""
    model = dfc.load(Path(__file__).parent / "data" / f"version-{version}.dfc.safetensors")
    assert [entry.name for entry in model.legend] == ["left", "right"]
    image = np.arange(14) // 7 * 4.0 + np.zeros((12, 1))
    labels = model.predict(image).labels
    assert labels[5, 2] == 1
    assert labels[5, 11] == 2
