"""A kept network as a package of bioimage.io, kept only if bioimageio.core's own test of it passes."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_dfc.model_card import CITATION, DOI
from napari_dfc.model_document import ENDING
from napari_dfc.onnx_graph import IMAGE, LABELS, OPSET, PROBABILITIES, metadata

if TYPE_CHECKING:
    from bioimageio.spec.model.v0_5 import ModelDescr

    from napari_dfc.model import Model

__all__ = ["NETWORK", "Content", "write"]

#: Names of files in the package.
WEIGHTS, CARD, COVER, NETWORK = "weights.onnx", "README.md", "cover.png", f"network{ENDING}"

#: Letters of a package's name, at most.
LONGEST_NAME = 64


class Content(NamedTuple):
    """What a package holds beside the network.

    Parameters
    ----------
    title : str
    onnx : bytes
    card : str
        Markdown.
    test_image : (1, C, H, W) ndarray of float32
        Raw values.
    test_probabilities : (1, q, H, W) ndarray of float32
        What the ONNX file gives for it.
    test_labels : (1, H, W) ndarray of int64 or uint64
    authors : tuple of str
    license : str, optional
        Identifier of SPDX.
    """

    title: str
    onnx: bytes
    card: str
    test_image: NDArray[np.float32]
    test_probabilities: NDArray[np.float32]
    test_labels: NDArray[np.integer[Any]]
    authors: tuple[str, ...] = ()
    license: str | None = None


def write(path: Path, model: Model, content: Content) -> None:
    """Write a package and test it.

    Parameters
    ----------
    path : Path
        Of a .zip file.
    model : Model
    content : Content

    Raises
    ------
    ValueError
        bioimage.io does not accept something, or bioimageio.core's test of the package fails.
    """
    # a file that bioimageio still holds open cannot be removed on Windows, and is not what the user gets
    with _quiet(), tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        from bioimageio.core import test_description
        from bioimageio.spec import save_bioimageio_package
        from pydantic import ValidationError

        folder = Path(name)
        _write_files(folder, model, content)
        try:
            description = _description(folder, model, content)
        except ValidationError as error:
            wrong = error.errors()[0]
            field = str(wrong["loc"][0]) if wrong["loc"] else "the package"
            raise ValueError(f"bioimage.io does not accept {field} {wrong['input']!r:.80}: {wrong['msg']}") from error
        package = save_bioimageio_package(description, output_path=folder / "package.bioimageio.zip")
        summary = test_description(package, weight_format="onnx", expected_type="model")
        if summary.status != "passed":
            errors = [error.msg for detail in summary.details for error in detail.errors]
            raise ValueError(f"the package does not pass bioimageio.core's test, so it was not kept: {errors[:1]}")
        path.write_bytes(package.read_bytes())


def _write_files(folder: Path, model: Model, content: Content) -> None:
    """All but the description."""
    from napari_dfc.files import write_picture

    (folder / WEIGHTS).write_bytes(content.onnx)
    (folder / CARD).write_text(content.card, encoding="utf-8")
    (folder / NETWORK).write_bytes(model.to_bytes())
    write_picture(folder / COVER, _cover(model, content), overwrite=False)
    for name, values in _test_tensors(content).items():
        np.save(folder / f"test_{name}.npy", values)


def _test_tensors(content: Content) -> dict[str, NDArray[Any]]:
    return {IMAGE: content.test_image, PROBABILITIES: content.test_probabilities, LABELS: content.test_labels}


def _description(folder: Path, model: Model, content: Content) -> ModelDescr:
    from bioimageio.spec.common import FileDescr
    from bioimageio.spec.generic.v0_3 import Author, CiteEntry
    from bioimageio.spec.model import v0_5

    names = [model.legend[number].name for number in model.numbers]
    colors = ["red", "green", "blue"] if model.is_rgb else [f"channel {i + 1}" for i in range(len(model.offset))]
    space: dict[str, Any] = {"y": {}, "x": {}}
    if model.pixel_size is not None:
        space = {axis: {"unit": "micrometer", "scale": size} for axis, size in zip("yx", model.pixel_size, strict=True)}

    def tensor(name: str, kind: Any, words: str, channels: list[str] | None, data: Any) -> Any:
        axes = [{"type": "batch", "size": 1}]
        if channels is not None:
            axes.append({"type": "channel", "id": "channel", "channel_names": channels})
        for axis in "yx":
            size = {"min": 1, "step": 1} if name == IMAGE else {"tensor_id": IMAGE, "axis_id": axis}
            axes.append({"type": "space", "id": axis, "size": size, **space[axis]})
        return kind(
            id=name, description=words, axes=axes, data=data, test_tensor=FileDescr(source=folder / f"test_{name}.npy")
        )

    label_data = {"type": str(content.test_labels.dtype), "values": sorted(set(model.numbers))}
    return v0_5.ModelDescr(
        name=f"{_plain(content.title)[:LONGEST_NAME]} by napari-dfc",
        description=f"Classes of pixels: {', '.join(entry.name for entry in model.legend)}"[:500],
        authors=[Author(name=name) for name in content.authors],
        cite=[CiteEntry(text=CITATION, doi=DOI)],
        license=content.license,
        documentation=FileDescr(source=folder / CARD),
        covers=[FileDescr(source=folder / COVER)],
        attachments=[FileDescr(source=folder / NETWORK)],
        tags=["2d", "semantic-segmentation", "napari-dfc"],
        inputs=[tensor(IMAGE, v0_5.InputTensorDescr, "raw values, as in the file", colors, {"type": "float32"})],
        outputs=[
            tensor(
                PROBABILITIES,
                v0_5.OutputTensorDescr,
                "probability of each class",
                names,
                {"type": "float32", "range": (0.0, 1.0)},
            ),
            tensor(LABELS, v0_5.OutputTensorDescr, "number of the most probable class", None, label_data),
        ],
        weights=v0_5.WeightsDescr(onnx=v0_5.OnnxWeightsDescr(source=folder / WEIGHTS, opset_version=OPSET)),
        config={"napari_dfc": {name.removeprefix("napari_dfc."): words for name, words in metadata(model).items()}},
    )


def _cover(model: Model, content: Content) -> NDArray[np.uint8]:
    """The test image and its classes side by side, each the same square."""
    side = min(content.test_image.shape[2:])
    image = np.moveaxis(content.test_image[0, :, :side, :side], 0, -1)  # (H, W, C)
    low, high = np.percentile(image, (0.1, 99.9))
    image = ((image - low) / (high - low or 1)).clip(0, 1)
    if not model.is_rgb:
        image = image.mean(-1, keepdims=True)
    gray_or_color = np.broadcast_to(image, (side, side, 3))
    classes = np.zeros((side, side, 3))
    for entry in model.legend:
        color = [int(entry.color[start : start + 2], 16) / 255 for start in (1, 3, 5)]
        classes[content.test_labels[0, :side, :side] == entry.number] = color
    both: NDArray[np.float64] = np.concatenate([gray_or_color, classes], axis=1)  # (H, 2 W, 3)
    return np.rint(both * 255).astype(np.uint8)


def _plain(title: str) -> str:
    """A title in the letters that names of packages may have."""
    return re.sub(r"[^A-Za-z0-9_+\-]+", "-", title).strip("-") or "network"


@contextmanager
def _quiet() -> Iterator[None]:
    """Without bioimageio's log on the terminal, and with NumPy's global random numbers left as they were found."""
    from loguru import logger

    state = np.random.get_state()  # noqa: NPY002 - bioimageio.core's test seeds it
    logger.disable("bioimageio")
    try:
        yield
    finally:
        logger.enable("bioimageio")
        np.random.set_state(state)  # noqa: NPY002
