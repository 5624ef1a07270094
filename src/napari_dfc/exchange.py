"""A kept network for other programs: as ONNX, or as a package of bioimage.io, each checked and with a model card."""

from __future__ import annotations

import importlib
import json
import shlex
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from napari_dfc import bioimageio_package, images
from napari_dfc.devices import choose_device, computing
from napari_dfc.model import MOST_DRIFT, Model
from napari_dfc.model_card import Agreement, Card, model_card
from napari_dfc.model_tensors import response_to
from napari_dfc.onnx_graph import IMAGE, onnx_model
from napari_dfc.whole_files import write_whole

__all__ = ["BIOIMAGEIO_ENDING", "ONNX_ENDING", "Agreement", "checked_target", "export", "files_of"]

#: What the names of exported files end with.
ONNX_ENDING, BIOIMAGEIO_ENDING = ".onnx", ".bioimageio.zip"

#: How far a probability may be off, and which share of the pixels may have another class. Measured were 3e-6 and no
#: pixel at all; a border that is filled otherwise, or a scale that is off by a hundredth, changes far more than this.
MOST_OFF, MOST_OTHER = 1e-3, 1e-3

#: Rows and columns of the picture made of the golden patch; no multiples of any resolution.
EXAMPLE_SHAPE = (97, 131)

#: Rows and columns of an image that is compared, at most.
EXAMPLE_SIDE = 512


def export(
    model: Model,
    path: str | Path,
    *,
    overwrite: bool = False,
    image: ArrayLike | tuple[ArrayLike, ...] | None = None,
    channel_axis: int | None = None,
    authors: Sequence[str] = (),
    license: str | None = None,
) -> Agreement:
    """Write a network for other programs, as the ending says: as ONNX, or as a package of bioimage.io.

    The ONNX file takes ``image`` (1, C, H, W) float32, raw values as in the references' files and of any size, and
    gives ``probabilities`` (1, q, H, W) float32 and ``labels`` (1, H, W) int64, the numbers of the classes. It computes
    with the statistics of the references, without masks and without drawing classes to edges.

    The package holds that, test images, and the network's own file. Nothing is sent or fetched. Both come with a model
    card: beside ``cells.onnx`` as ``cells.onnx.md``, in the package as its ``README.md``.

    Parameters
    ----------
    model : Model
    path : str or Path
        Ends in ``.onnx`` or ``.bioimageio.zip``.
    overwrite : bool
        Replace the files if they are there.
    image, channel_axis
        An image to compare on and to show in the package, as in `napari_dfc.segment`, of which the middle is taken; by
        default one is made of the piece of a reference that the network holds.
    authors : sequence of str
        Who trained it.
    license : str, optional
        Under which it is passed on, as an identifier of SPDX such as ``CC-BY-4.0``.

    Returns
    -------
    Agreement
        How the exported results compare with `Model.predict`.

    Raises
    ------
    FileExistsError
        A file is there and `overwrite` is False.
    ImportError
        The extra `exchange` is not installed.
    OSError
        The folder is missing, or there is no room.
    TypeError, ValueError
        Another ending; an image that the network is not for, or with pixels that take no part; a license that
        bioimage.io does not know; exported results that are not those of the network, or a package that does not pass
        bioimageio.core's own test, of which nothing is kept.

    Examples
    --------
    >>> import tempfile
    >>> import napari_dfc as dfc
    >>> from napari_dfc.samples import read_sample
    >>> sample = read_sample("stained_tissue")
    >>> result = dfc.segment(sample.image, scribbles=sample.scribbles, preset="fast", max_iterations=5)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     agreement = export(result.model(names={1: "nucleus"}), Path(folder) / "cells.onnx")
    ...     sorted(path.name for path in Path(folder).iterdir())
    ['cells.onnx', 'cells.onnx.md']
    >>> agreement.n_other_labels
    0
    """
    path = checked_target(path, overwrite=overwrite)
    examples = _examples(model, image, channel_axis)
    data = onnx_model(model).SerializeToString()
    agreement, probabilities, labels = _compared(model, data, examples.images)
    card = Card(agreement, examples.words, MOST_DRIFT, tuple(authors), license)
    if path.name.endswith(ONNX_ENDING):
        text = model_card(model, path.name, _onnx_usage(model, path.name), card)

        def write_both(temporary: Path) -> None:
            temporary.write_text(text, encoding="utf-8")
            write_whole(path, lambda other: other.write_bytes(data), overwrite)

        write_whole(files_of(path)[1], write_both, overwrite)
        return agreement

    stem = path.name.removesuffix(BIOIMAGEIO_ENDING)
    content = bioimageio_package.Content(
        title=stem,
        onnx=data,
        card=model_card(model, stem, _package_usage(path.name), card),
        test_image=examples.images[-1][None],
        test_probabilities=probabilities,
        test_labels=labels,
        authors=tuple(authors),
        license=license,
    )
    write_whole(path, lambda temporary: bioimageio_package.write(temporary, model, content), overwrite)
    return agreement


def checked_target(path: str | Path, *, overwrite: bool) -> Path:
    """Where to write, unless that cannot be; said before anything is computed.

    Raises
    ------
    FileExistsError, FileNotFoundError, ImportError, ValueError
        As `export`.
    """
    path = Path(path)
    ending = next((each for each in (ONNX_ENDING, BIOIMAGEIO_ENDING) if path.name.endswith(each)), None)
    if ending is None or path.name == ending:
        raise ValueError(
            f"{path.name} is no name of an exported network; accepted are those that end in {ONNX_ENDING} or "
            f"{BIOIMAGEIO_ENDING}"
        )
    for name in ("onnx", "onnxruntime", *(["bioimageio.core"] if ending == BIOIMAGEIO_ENDING else [])):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise ImportError(
                f'exporting needs {name}, which is not there ({error}): pip install "napari-dfc[exchange]"'
            ) from error
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} does not exist")
    for each in files_of(path):
        if each.exists() and not overwrite:
            raise FileExistsError(f"{each} exists already")
    return path


def files_of(path: Path) -> list[Path]:
    """What an export to a path writes: a package alone, or ONNX and its model card."""
    return [path, path.with_name(f"{path.name}.md")] if path.name.endswith(ONNX_ENDING) else [path]


class _Examples(NamedTuple):
    images: list[NDArray[np.float32]]  # each (C, H, W), raw
    words: str


def _examples(model: Model, image: ArrayLike | tuple[ArrayLike, ...] | None, channel_axis: int | None) -> _Examples:
    """What is compared: the golden patch, and a larger picture."""
    patch = model.golden.patch.numpy()
    words = f"a piece of a reference ({_by(patch.shape[1:])} pixels) and "
    if image is None:
        example = _raw(model, _picture_of(patch))
        words += f"a picture made of it by mirroring, brightening and noise ({_by(EXAMPLE_SHAPE)} pixels)"
    else:
        constants = (model.offset, model.scale)
        plane = images.prepare(image, channel_axis=channel_axis, constants=constants)
        if plane.mask is not None:
            raise ValueError(
                "the image has pixels that take no part (NaN, infinite or transparent), and an exported network knows "
                "no masks; give an image without them"
            )
        rows, columns = (_middle(length) for length in plane.shape)
        example = _raw(model, plane.values[:, rows, columns])
        if all(np.dtype(each).kind in "bui" for each in plane.dtypes):
            example = np.rint(example)  # what scaling and its inverse have left of whole numbers
        words += f"the middle of an image that was given ({_by(example.shape[1:])} pixels)"
    return _Examples([_raw(model, patch), example], words)


def _picture_of(patch: NDArray[np.float32]) -> NDArray[np.float64]:
    """A larger picture with more kinds of pixels than a patch has: mirrored over and over, dark to bright, noisy."""
    missing = [(0, wanted - there) for wanted, there in zip(EXAMPLE_SHAPE, patch.shape[1:], strict=True)]
    picture = np.pad(patch.astype(np.float64), [(0, 0), *missing], mode="symmetric")  # (C, H, W)
    noise = np.random.default_rng(0).normal(scale=0.05, size=picture.shape)
    return picture * np.linspace(0.6, 1.4, EXAMPLE_SHAPE[1]) + noise


def _raw(model: Model, scaled: NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """Values as in the references' files."""
    found = scaled * model.scale[:, None, None] + model.offset[:, None, None]
    return found.astype(np.float32)


def _middle(length: int) -> slice:
    start = max(length - EXAMPLE_SIDE, 0) // 2
    return slice(start, min(start + EXAMPLE_SIDE, length))


def _compared(
    model: Model, data: bytes, examples: Sequence[NDArray[np.float32]]
) -> tuple[Agreement, NDArray[np.float32], NDArray[np.integer[Any]]]:
    """How an ONNX file's results compare with the network's own, and what it gives for the last example."""
    import onnxruntime

    session = onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
    plain = replace(model, edge_share=0.0, settings=model.settings.change(precision="float32"))
    predictor = model.predictor()
    n_pixels = n_other = n_drawn = 0
    off = 0.0
    for raw in examples:
        probabilities, labels = session.run(None, {IMAGE: raw[None]})  # (1, q, H, W), (1, H, W)
        ours = plain.predict(raw, channel_axis=0, device="cpu").labels
        scaled = images.prepare(raw, channel_axis=0, constants=(model.offset, model.scale)).values
        with computing(choose_device("cpu"), precision="float32"), torch.no_grad():
            wanted = response_to(predictor, torch.from_numpy(scaled)).softmax(-1).numpy()  # (H, W, q)
        n_pixels += ours.size
        n_other += int((labels[0] != ours).sum())
        off = max(off, float(np.abs(np.moveaxis(wanted, -1, 0) - probabilities[0]).max()))
        if model.edge_share:
            n_drawn += int((model.predict(raw, channel_axis=0, device="cpu").labels != ours).sum())
    if not off <= MOST_OFF or n_other > MOST_OTHER * n_pixels:
        raise ValueError(
            f"onnxruntime computes something else with the exported network than napari-dfc with the network itself "
            f"({n_other} of {n_pixels} pixels have another class, probabilities are off by {off:.1g}), so nothing was "
            "kept; another version of onnxruntime may compute otherwise"
        )
    return Agreement(n_pixels, n_other, off, n_drawn), probabilities, labels


def _onnx_usage(model: Model, name: str) -> str:
    n_channels = len(model.offset)
    if model.is_rgb:
        layout = "image = np.moveaxis(image[..., :3], -1, 0)[None]  # (1, 3, H, W): the channels first, no alpha"
    elif n_channels == 1:
        layout = "image = image[None, None]  # (1, 1, H, W)"
    else:
        layout = f"image = image[None]  # (1, {n_channels}, H, W), if the file has its channels first"
    return f"""\
```python
import imageio.v3 as iio
import numpy as np
import onnxruntime

image = iio.imread("image.tif")
{layout}
session = onnxruntime.InferenceSession({json.dumps(name)}, providers=["CPUExecutionProvider"])
probabilities, labels = session.run(None, {{"image": image.astype(np.float32)}})
labels = labels[0]  # (H, W), the numbers of the classes
```

The image may have any number of rows and columns. The file's metadata holds the classes too, as JSON:
`session.get_modelmeta().custom_metadata_map["napari_dfc.classes"]`."""


def _package_usage(name: str) -> str:
    quoted = shlex.quote(name)
    return f"""\
Programs that take bioimage.io models open the package as it is. With bioimageio.core in Python:

```python
import bioimageio.core
import numpy as np

image = np.load("test_image.npy")  # that of the package; (1, C, H, W) float32, raw values
sample = bioimageio.core.predict(model={json.dumps(name)}, inputs={{"image": image}})
labels = np.asarray(sample.members["labels"].data)[0]  # (H, W), the numbers of the classes
```

On the command line the same, and the test that it passed when it was made:

```console
bioimageio predict {quoted} --inputs test_image.npy --outputs '["probabilities.tif", "labels.tif"]' --blockwise=False
bioimageio test {quoted}
```

The package also holds the network's own file, `{bioimageio_package.NETWORK}`: with it napari-dfc gives everything
that is left out here."""


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))
