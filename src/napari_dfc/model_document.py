"""The JSON document of a kept network: what it says, and the refusal of everything else."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

from napari_dfc.legend import Legend, LegendEntry
from napari_dfc.settings import Settings

__all__ = ["ENDING", "FORMAT", "checked"]

#: What the name of a network's file ends with; here, because this module is free of PyTorch.
ENDING = ".dfc.safetensors"

#: Version of the document. What an older version said otherwise is brought up to date in `checked`.
FORMAT = 1

#: Longest text of a name or a version, and most elements of a list.
LONGEST_TEXT, LONGEST_LIST = 1000, 100_000

#: Networks of an ensemble, that of fixed filters among them, at most.
MOST_NETWORKS = 17

Check = Callable[[Any, str], Any]


def checked(document: Mapping[str, Any]) -> dict[str, Any]:
    """A document whose every value is of the kind that it should be.

    Parameters
    ----------
    document : mapping
        As JSON gives it.

    Returns
    -------
    dict
        The same, with `classes` as a `Legend`, `settings` as `Settings`, and tuples in place of lists.

    Raises
    ------
    ValueError
        Anything missing, unknown, out of range or of another kind; a newer version.
    """
    version = document.get("format")
    if type(version) is not int or version < 1:
        raise ValueError("the file does not say which version of a network it holds")
    if version > FORMAT:
        raise ValueError(
            f"the file was written by a newer napari-dfc: its version is {version}, and this one knows up to {FORMAT}; "
            "update napari-dfc"
        )
    found: dict[str, Any] = _DOCUMENT(document, "the document")
    channels, n_channels = found["channels"], found["architecture"]["arguments"]["n_inputs"]
    if not len(channels["offset"]) == len(channels["scale"]) == n_channels:
        raise ValueError(f"the network's file has scaling for {len(channels['offset'])} channels of {n_channels}")
    if not set(found["channel_classes"]) <= set(found["classes"].numbers):
        raise ValueError("the network's file gives channels to classes that it does not name")
    return found


def _fields(**checks: Check) -> Check:
    """An object with exactly these names."""

    def check(value: Any, what: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValueError(f"in the network's file, {what} is no object")
        wrong = sorted(set(checks) ^ set(value))
        if wrong:
            state = "unknown" if wrong[0] in value else "missing"
            raise ValueError(f"in the network's file, {what} has {wrong[0][:80]!r} {state}")
        return {name: each(value[name], name) for name, each in checks.items()}

    return check


def _listed(each: Check, least: int = 0, most: int = LONGEST_LIST) -> Check:
    def check(value: Any, what: str) -> tuple[Any, ...]:
        if not isinstance(value, list) or not least <= len(value) <= most:
            raise ValueError(f"in the network's file, {what} is no list of {least} to {most}")
        return tuple(each(one, what) for one in value)

    return check


def _or_none(each: Check) -> Check:
    return lambda value, what: None if value is None else each(value, what)


def _whole(least: int, most: int) -> Check:
    def check(value: Any, what: str) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"in the network's file, {what} is no whole number of {least} to {most}")
        return value

    return check


def _number(above: float = -math.inf) -> Check:
    def check(value: Any, what: str) -> float:
        if type(value) not in (int, float) or not above < value < 1e300 or value < -1e300:
            raise ValueError(f"in the network's file, {what} is no number that it can be")
        return float(value)

    return check


def _share(value: Any, what: str) -> float:
    if type(value) not in (int, float) or not 0 <= value <= 1:
        raise ValueError(f"in the network's file, {what} is no number of 0 to 1")
    return float(value)


def _text(value: Any, what: str) -> str:
    if not isinstance(value, str) or len(value) > LONGEST_TEXT:
        raise ValueError(f"in the network's file, {what} is no text")
    return value


def _one_of(*accepted: str) -> Check:
    def check(value: Any, what: str) -> str:
        if value not in accepted:
            raise ValueError(f"in the network's file, {what} is {str(value)[:80]!r}; known are {', '.join(accepted)}")
        return str(value)

    return check


def _digest(value: Any, what: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[0-9a-f]{64}", value):
        raise ValueError(f"in the network's file, {what} is no digest")
    return value


def _flag(value: Any, what: str) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"in the network's file, {what} is neither true nor false")
    return value


def _texts(value: Any, what: str) -> dict[str, str]:
    if not isinstance(value, Mapping) or len(value) > 100:
        raise ValueError(f"in the network's file, {what} is no object")
    return {_text(name, what): _text(each, what) for name, each in value.items()}


def _settings(value: Any, what: str) -> Settings:
    if not isinstance(value, Mapping) or set(value) != set(Settings().as_dict()):
        raise ValueError(f"in the network's file, {what} are not those that a network of its version has")
    try:
        return Settings(**value)
    except (TypeError, ValueError) as error:
        words = str(error).splitlines()[0][:200]
        raise ValueError(f"the network's file has a setting that cannot be: {words}") from None


def _legend(value: Any, what: str) -> Legend:
    entries = _listed(_fields(number=_whole(1, 2**64 - 1), name=_text, color=_text), 1)(value, what)
    try:
        return Legend(LegendEntry(**entry) for entry in entries)
    except TypeError as error:
        raise ValueError(str(error)) from None


_DOCUMENT = _fields(
    format=_whole(1, FORMAT),
    architecture=_fields(
        name=_one_of("dfc"),
        arguments=_fields(
            n_inputs=_whole(1, 10_000),
            n_channels=_whole(1, 10_000),
            n_conv=_whole(0, 100),
            n_clusters=_whole(1, 10_000),
            padding=_one_of("zeros", "replicate"),
            extractor=_one_of("both", "convolutions", "filters"),
            factors=_or_none(_listed(_whole(1, 2**20), 1, MOST_NETWORKS)),
        ),
    ),
    receptive_radius=_whole(0, 1_000_000),
    channels=_fields(offset=_listed(_number(), 1), scale=_listed(_number(0), 1), is_rgb=_flag),
    classes=_legend,
    channel_classes=_listed(_whole(1, 2**64 - 1), 1),
    edge_share=_share,
    settings=_settings,
    iterations=_whole(0, 10**9),
    references=_listed(_fields(name=_text, sha256=_digest, shape=_listed(_whole(1, 10**9), 2, 2)), 1),
    pixel_size=_or_none(_listed(_number(0), 2, 2)),
    versions=_texts,
)
