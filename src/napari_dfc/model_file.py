"""The container of a kept network: tensors and one JSON document in a safetensors file, under one digest.

docs/model-file.md specifies it. What the document means is `napari_dfc.model`'s business.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

import torch
from torch import Tensor

from napari_dfc.model_document import ENDING
from napari_dfc.whole_files import discard_leftovers, write_whole

__all__ = ["digest_of", "pack", "read", "unpack", "write"]

#: Bytes of a file and of its header, at most: a network is some hundred kilobytes.
MOST_BYTES, MOST_HEADER_BYTES = 512_000_000, 4_000_000

#: Where the document is in the header's metadata, and the digest in the document.
DOCUMENT, DIGEST = "napari_dfc", "sha256"

#: In place of the digest while it is computed.
NO_DIGEST = "0" * 64

#: Bytes of a number, by the name of its data type.
_ITEM_BYTES = {"F32": 4, "F64": 8}


def pack(document: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> bytes:
    """The bytes of a file.

    Parameters
    ----------
    document : mapping
        Plain values, ready for JSON.
    tensors : mapping of str to Tensor
        Of float32 or float64, on the CPU.

    Returns
    -------
    bytes

    Examples
    --------
    >>> document, tensors = unpack(pack({"format": 1}, {"one": torch.ones(2)}))
    >>> document, tensors["one"].tolist()
    ({'format': 1}, [1.0, 1.0])
    """
    from safetensors.torch import save  # only who keeps a network needs it

    text = json.dumps({DIGEST: NO_DIGEST, **document}, allow_nan=False, separators=(",", ":"))
    named = {name: tensors[name].contiguous() for name in sorted(tensors)}
    data: bytes = save(named, {DOCUMENT: text})
    place = _place_of_digest(data, NO_DIGEST)
    return data[:place] + hashlib.sha256(data).hexdigest().encode() + data[place + len(NO_DIGEST) :]


def unpack(data: bytes) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The document and the tensors of a file's bytes; nothing of it is executed.

    Parameters
    ----------
    data : bytes

    Returns
    -------
    document : dict
    tensors : dict of str to Tensor

    Raises
    ------
    ValueError
        It is no such file, or a byte of it is not as it was written.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load

    document = _json(_checked_header(data), "its document")
    digest = document.pop(DIGEST, None)
    if not isinstance(digest, str) or len(digest) != len(NO_DIGEST):
        raise ValueError("the file is damaged, or is no network of napari-dfc")
    place = _place_of_digest(data, digest)
    if hashlib.sha256(data[:place] + NO_DIGEST.encode() + data[place + len(NO_DIGEST) :]).hexdigest() != digest:
        raise ValueError("the file is damaged: its digest is not that of its content")
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise ValueError(f"the file is damaged: {str(error).splitlines()[0]}") from error
    for name, tensor in tensors.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ValueError(f"the file holds numbers that are not finite, in {name}")
    return document, tensors


def digest_of(data: bytes) -> str:
    """The digest that stands in a file's bytes, as `pack` gives them."""
    return str(_json(_checked_header(data), "its document")[DIGEST])


def write(path: str | Path, data: bytes, overwrite: bool = False) -> None:
    """Write a file under another name, read it again, and rename it.

    Parameters
    ----------
    path : str or Path
        Ends in ``.dfc.safetensors``.
    data : bytes
    overwrite : bool
        Replace the file if it is there.

    Raises
    ------
    FileExistsError, FileNotFoundError
        As `napari_dfc.whole_files.write_whole`.
    OSError
        There is no room, or what was read is not what was written.
    ValueError
        Another ending.
    """
    path = Path(path)
    if not path.name.endswith(ENDING) or path.name == ENDING:
        raise ValueError(f"{path.name} is no name of a network's file; accepted are those that end in {ENDING}")

    def write_and_compare(temporary: Path) -> None:
        temporary.write_bytes(data)
        if temporary.read_bytes() != data:
            raise OSError(f"{path} could not be written: what was read again is something else")

    if path.parent.is_dir():
        discard_leftovers(path.parent)
    write_whole(path, write_and_compare, overwrite)


def read(path: str | Path) -> bytes:
    """The bytes of a file, unless it is too large to be a network's.

    Parameters
    ----------
    path : str or Path

    Returns
    -------
    bytes

    Raises
    ------
    OSError
        It is not there, or cannot be read.
    ValueError
        It is a folder, or too large.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; accepted is the file of a network, *{ENDING}")
    if not path.exists():
        raise FileNotFoundError(f"{path} does not exist")
    with path.open("rb") as file:
        data = file.read(MOST_BYTES + 1)
    if len(data) > MOST_BYTES:
        raise ValueError(f"the file has more than {MOST_BYTES / 1e6:.0f} MB, too many for a network")
    return data


def _checked_header(data: bytes) -> str:
    """The document in a header that is sound."""
    if len(data) < 8:
        raise ValueError("the file is cut off, or is no network of napari-dfc")
    (length,) = struct.unpack("<Q", data[:8])
    if length > MOST_HEADER_BYTES or 8 + length > len(data):
        raise ValueError("the file is cut off, or is no network of napari-dfc")
    try:
        text = data[8 : 8 + length].decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("the file is damaged, or is no network of napari-dfc") from None
    header = _json(text, "its header")
    metadata = header.pop("__metadata__", None)
    if not isinstance(metadata, dict) or set(metadata) != {DOCUMENT} or not isinstance(metadata[DOCUMENT], str):
        raise ValueError("the file is no network of napari-dfc")
    end = 0
    for name, tensor in header.items():
        end = max(end, _checked_tensor(name, tensor, len(data) - 8 - length))
    if end != len(data) - 8 - length:
        raise ValueError("the file is cut off, or something was added to it")
    return str(metadata[DOCUMENT])


def _checked_tensor(name: str, tensor: Any, n_bytes: int) -> int:
    """Where a tensor's bytes end."""
    wrong = ValueError(f"the file is damaged: its tensor {name[:80]!r} is not described as it should be")
    if not isinstance(tensor, dict) or set(tensor) != {"dtype", "shape", "data_offsets"}:
        raise wrong
    shape, offsets = tensor["shape"], tensor["data_offsets"]
    for numbers in (shape, offsets):
        if not isinstance(numbers, list) or not all(type(number) is int and number >= 0 for number in numbers):
            raise wrong
    if tensor["dtype"] not in _ITEM_BYTES or len(offsets) != 2 or len(shape) > 8:
        raise wrong
    size = 1
    for length in shape:
        size *= length
        if size > MOST_BYTES:
            raise wrong
    start, end = offsets
    if end > n_bytes:
        raise ValueError("the file is cut off")
    if end - start != size * _ITEM_BYTES[tensor["dtype"]]:
        raise wrong
    return int(end)


def _place_of_digest(data: bytes, digest: str) -> int:
    before = f'\\"{DIGEST}\\":\\"'.encode()  # quotes within a text of JSON; in a text within it they look otherwise
    place = data.find(before + digest.encode(), 8)
    if place < 0:
        raise ValueError("the file is damaged, or is no network of napari-dfc")
    return place + len(before)


def _json(text: str, what: str) -> dict[str, Any]:
    """A JSON object without anything that JSON leaves open: names twice, or numbers that are none."""
    try:
        found = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"the file is damaged: {what} cannot be read ({str(error).splitlines()[0][:80]})") from None
    if not isinstance(found, dict):
        raise ValueError(f"the file is damaged: {what} is no object")
    return found


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name twice")
    return found


def _no_constant(constant: str) -> NoReturn:
    raise ValueError(f"the number {constant}")
