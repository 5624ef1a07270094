"""What a record says of a run, and how to ask for the same labels again: in Python, or on the command line."""

from __future__ import annotations

import base64
import binascii
import json
import shlex
import textwrap
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_dfc.images import Window
from napari_dfc.scribbles import UPDATES_AFTER_STROKES, Arrival, unpack
from napari_dfc.settings import Settings

__all__ = [
    "ALL_MADE",
    "as_command",
    "as_python",
    "in_whole",
    "mask_of",
    "pack_mask",
    "pack_strokes",
    "settings_of",
    "stopped_after",
    "strokes_of",
    "unpack_mask",
    "unpack_strokes",
]

#: Bytes that a text of strokes, or of a mask, may unfold to.
MOST_UNPACKED = 1 << 30

#: How a run ends that nothing ends before its time.
ALL_MADE = "all iterations were made"


def settings_of(record: Mapping[str, Any]) -> Settings:
    """The settings that make a run once more: as many threads as it had, and the processor if it ran there.

    Parameters
    ----------
    record : dict
        `napari_dfc.Segmentation.record`.

    Returns
    -------
    Settings

    Raises
    ------
    ValueError
        No record of a run.
    """
    if not isinstance(record, Mapping) or not {"settings", "image", "result", "threads"} <= set(record):
        raise ValueError("this is no record of a run of napari-dfc; what a kept network has predicted has none")
    if "stopped" not in record["result"]:
        raise ValueError("this result was made by an older version of napari-dfc and can't be run again")
    settings = Settings(**record["settings"])
    on_cpu = str(record["device"]).startswith("CPU")
    return settings.change(threads=record["threads"], device="cpu" if on_cpu else settings.device)


def strokes_of(record: Mapping[str, Any]) -> dict[int, Arrival]:
    """The strokes of a record, by the number of the iteration before which they arrived."""
    return {
        int(packed["iteration"]): Arrival(unpack(packed), int(packed.get("updates", UPDATES_AFTER_STROKES)))
        for packed in record["strokes"]
    }


def mask_of(record: Mapping[str, Any]) -> NDArray[np.bool_] | None:
    """Which pixels took part, (H, W); None where all did that could."""
    return unpack_mask(record["mask"]) if "mask" in record else None


def stopped_after(record: Mapping[str, Any]) -> int | None:
    """The iteration after which somebody stopped the run; None where it ended by itself."""
    outcome = record["result"]
    # older records say only which iteration's map was kept
    return int(outcome.get("stopped_after", outcome["iterations"])) if outcome.get("stopped") else None


def has_painted_classes(record: Mapping[str, Any]) -> bool:
    """Whether the numbers of a result are those of painted classes alone, which mean the same after more strokes."""
    strokes = record.get("strokes", ())
    return bool(strokes) and len(strokes[-1]["pixels"]) > 1 and record["settings"]["restrict_to_scribbles"]


def pack_strokes(record: Mapping[str, Any]) -> str:
    """The strokes of a record as one word, which `unpack_strokes` takes.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_dfc.scribbles import pack, prepare
    >>> strokes = pack(prepare(np.array([[0, 7], [0, 7]]), (2, 2), 8), iteration=3)
    >>> unpack_strokes(pack_strokes({"strokes": [strokes]}))[3].painted.tolist()
    [[0, 7], [0, 7]]
    """
    packed = []
    for each in record["strokes"]:
        pixels = {value: _gaps(indices) for value, indices in each["pixels"].items()}
        packed.append({**each, "pixels": pixels})
    return _as_word(json.dumps(packed, separators=(",", ":")).encode())


def unpack_strokes(text: str) -> dict[int, Arrival]:
    """Strokes that were copied with a run, by the iteration before which they arrived.

    Parameters
    ----------
    text : str
        As "Copy as Python" writes it.

    Returns
    -------
    dict of Arrival
        What `napari_dfc.segment` takes as scribbles; each has its ``painted`` (H, W) and the number of ``updates`` that
        follow.

    Raises
    ------
    ValueError
        Another text, or one that was cut.
    """
    try:
        found = json.loads(_of_word(text))
        restored = [
            {**each, "pixels": {value: _sums(gaps) for value, gaps in each["pixels"].items()}} for each in found
        ]
        return strokes_of({"strokes": restored})
    except (ValueError, KeyError, TypeError, AttributeError, IndexError, binascii.Error, zlib.error):
        raise ValueError("these are no strokes of napari-dfc, or not all of the text; copy it once more") from None


def pack_mask(mask: NDArray[np.bool_]) -> str:
    """Which pixels take part, as one word, which `unpack_mask` takes.

    Parameters
    ----------
    mask : (H, W) ndarray of bool

    Returns
    -------
    str

    Examples
    --------
    >>> mask = np.zeros((300, 400), dtype=bool)
    >>> mask[50:250, 100:350] = True
    >>> len(pack_mask(mask)), bool((unpack_mask(pack_mask(mask)) == mask).all())
    (36, True)
    """
    changes = mask.copy()
    changes[1:] ^= mask[:-1]  # of rows like the one above nothing is left
    where = np.flatnonzero(np.diff(changes.ravel(), prepend=False))
    numbers = np.concatenate([mask.shape, np.diff(where, prepend=0)])
    return _as_word(numbers.astype("<i8").tobytes())


def unpack_mask(text: str) -> NDArray[np.bool_]:
    """A region of interest that was copied with a run.

    Parameters
    ----------
    text : str
        As "Copy as Python" writes it.

    Returns
    -------
    (H, W) ndarray of bool
        What `napari_dfc.segment` takes as mask.

    Raises
    ------
    ValueError
        Another text, or one that was cut.
    """
    try:
        rows, columns, *gaps = np.frombuffer(_of_word(text), "<i8").tolist()
        where, size = np.cumsum(np.array(gaps, dtype=np.int64)), rows * columns
        if min(rows, columns) < 1 or size > MOST_UNPACKED or (where >= size).any():
            raise ValueError
        if min(gaps[1:], default=1) < 1 or min(gaps[:1], default=0) < 0:
            raise ValueError
        steps = np.zeros(size, dtype=bool)
        steps[where] = True
        changes = np.logical_xor.accumulate(steps).reshape(rows, columns)
        found: NDArray[np.bool_] = np.logical_xor.accumulate(changes, axis=0)
        return found
    except (ValueError, IndexError, binascii.Error, zlib.error):
        raise ValueError("this is no region of napari-dfc, or not all of the text; copy it once more") from None


def in_whole(record: Mapping[str, Any], window: Window) -> dict[str, Any]:
    """The record of a run on a part of an image, as one of the run on the whole image within this part.

    Parameters
    ----------
    record : dict
        Of a run.
    window : Window
        Where in the whole the part lies.

    Returns
    -------
    dict
        It gives the same labels in this part, and 0 elsewhere.

    Examples
    --------
    >>> import napari_dfc as dfc
    >>> image = np.random.default_rng(0).random((30, 40))
    >>> window = Window(slice(5, 25), slice(10, 30), (30, 40))
    >>> part = dfc.segment(image[5:25, 10:30], preset="fast", max_iterations=3)
    >>> whole = dfc.run_again(in_whole(part.record, window), image)
    >>> bool((window.cut(whole.labels) == part.labels).all()), int((whole.labels > 0).sum())
    (True, 400)
    """
    mask = mask_of(record)
    if mask is None:
        mask = window.cut(np.broadcast_to(True, window.shape))
    strokes = []
    for each in record["strokes"]:
        pixels = {}
        for value, indices in each["pixels"].items():
            rows, columns = np.unravel_index(np.array(indices, dtype=np.intp), each["shape"])
            moved = rows + window.rows.start, columns + window.columns.start
            pixels[value] = np.ravel_multi_index(moved, window.shape).tolist()
        strokes.append({**each, "shape": list(window.shape), "pixels": pixels})
    image = {**record["image"], "shape": list(window.shape)}
    return {**record, "image": image, "strokes": strokes, "mask": pack_mask(window.put(mask))}


def as_python(record: Mapping[str, Any], image: str = "image") -> str:
    """The call that gives the labels of a record again.

    Parameters
    ----------
    record : dict
        Of a run.
    image : str
        An expression for the image.

    Returns
    -------
    str
        Lines of Python; ``labels`` are the labels.

    Raises
    ------
    ValueError
        No record of a run.

    Examples
    --------
    >>> import napari_dfc as dfc
    >>> from napari_dfc.samples import read_sample
    >>> image = read_sample("stained_tissue").image[:64, :64]
    >>> result = dfc.segment(image, preset="fast", n_groups=3, threads=1, device="cpu")
    >>> print(as_python(result.record))
    import napari_dfc as dfc
    <BLANKLINE>
    result = dfc.segment(
        image,
        preset="fast",
        n_groups=3,
        device="cpu",
        threads=1,
    )
    labels = result.labels
    >>> found = {"image": image}
    >>> exec(as_python(result.record), found)
    >>> bool((found["labels"] == result.labels).all())
    True
    """
    given = [f"{name}={_quoted(value)}" for name, value in _options(record).items()]
    lines = ["import napari_dfc as dfc", ""]
    if record["strokes"]:
        lines += _call("strokes = dfc.unpack_strokes", pack_strokes(record))
        given.insert(0, "scribbles=strokes")
    if "mask" in record:
        lines += _call("region = dfc.unpack_mask", record["mask"])
        given.insert(0, "mask=region")
    shown = record["result"].get("shown")
    labels = "result.labels" if shown is None else f"result.history.at({shown})"
    lines += ["result = dfc.segment(", *(f"    {each}," for each in (image, *given)), ")", f"labels = {labels}"]
    return "\n".join(lines)


def as_command(
    record: Mapping[str, Any],
    image: str = "image.tif",
    labels: str = "labels.tif",
    channel_axis: int | None = None,
    place: Sequence[int] = (),
) -> str:
    """The command that writes the labels of a record again.

    Parameters
    ----------
    record : dict
        Of a run.
    image, labels : str
        Names of files.
    channel_axis : int, optional
        The axis of the channels, where the run was told of one.
    place : sequence of int
        Of a stack or a time series the plane's index along each axis that counts planes.

    Returns
    -------
    str
        One line for a shell.

    Raises
    ------
    ValueError
        No record of a run.

    Examples
    --------
    >>> import napari_dfc as dfc
    >>> from napari_dfc.samples import read_sample
    >>> image = read_sample("stained_tissue").image[:64, :64]
    >>> as_command(dfc.segment(image, preset="fast", threads=1, device="cpu").record, "my cells.png")
    "napari-dfc segment 'my cells.png' -o labels.tif --preset fast --device cpu --threads 1"
    """
    words = ["napari-dfc", "segment", image, "-o", labels]
    for name, value in _options(record).items():
        option = "--" + name.replace("_", "-")
        words += [option if value else "--no-" + option[2:]] if isinstance(value, bool) else [option, str(value)]
    if channel_axis is not None:
        words += ["--channel-axis", str(channel_axis)]
    if place:
        words += ["--plane", ",".join(map(str, place))]
    if record["result"].get("shown") is not None:
        words += ["--label-count", str(record["result"]["shown"])]
    if record["strokes"]:
        words += ["--strokes", pack_strokes(record)]
    if "mask" in record:
        words += ["--within", record["mask"]]
    return shlex.join(words)


def _options(record: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be said beside the image and the strokes, the preset first."""
    settings = settings_of(record)
    usual = Settings.from_preset(settings.preset).as_dict()
    options = {"preset": settings.preset}
    options |= {name: value for name, value in settings.as_dict().items() if value != usual[name]}
    last = stopped_after(record)
    return options if last is None else {**options, "stop_after": last}


def _call(function: str, text: str) -> list[str]:
    """Lines that call a function with a long text."""
    return [f"{function}(", *(f'    "{part}"' for part in textwrap.wrap(text, 100)), ")"]


def _as_word(content: bytes) -> str:
    return base64.urlsafe_b64encode(zlib.compress(content, 9)).decode()


def _of_word(text: str) -> bytes:
    """What `_as_word` was made of; ValueError, binascii.Error or zlib.error of another text."""
    unfolding = zlib.decompressobj()
    content = unfolding.decompress(base64.b64decode(text.strip(), altchars=b"-_", validate=True), MOST_UNPACKED)
    if not unfolding.eof:
        raise ValueError
    return content


def _quoted(value: Any) -> str:
    return f'"{value}"' if isinstance(value, str) else repr(value)


def _gaps(indices: Sequence[int]) -> list[int]:
    """Rising numbers as the distances between them, which are small."""
    return [index - before for before, index in zip((0, *indices), indices, strict=False)]


def _sums(gaps: Sequence[int]) -> list[int]:
    """What `_gaps` was made of."""
    found, total = [], 0
    for gap in gaps:
        total += gap
        found.append(total)
    return found
