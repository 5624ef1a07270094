"""Settings as a small file to keep and to share: a preset, what differs from it, and a name."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from napari_dfc.settings import PRESETS, Settings, parameters
from napari_dfc.whole_files import write_whole

__all__ = ["ENDING", "NamedSettings", "as_text", "from_text", "read_settings", "save_settings"]

#: What the name of such a file ends with.
ENDING = ".dfc-preset.json"

#: Version of the file.
FORMAT = 1

#: Bytes of a file, at most; all settings take less than a thirtieth of it.
MOST_BYTES = 1 << 16

LONGEST_NAME = 100

#: Letters of a value that came, in what is said of it.
LONGEST_QUOTE = 80


@dataclass(frozen=True)
class NamedSettings:
    """Settings and what they are called."""

    name: str
    settings: Settings


def save_settings(path: Path | str, settings: Settings, name: str = "", *, overwrite: bool = False) -> None:
    """Write settings to a file, which is complete or absent.

    Parameters
    ----------
    path : path
        Ends in ``.dfc-preset.json``.
    settings : Settings
    name : str
        What they are called, in at most 100 letters; by default as the file.
    overwrite : bool
        Replace the file if it is there.

    Raises
    ------
    ValueError
        Another ending, or a name that cannot be one.
    OSError
        It cannot be written; the file is there, and `overwrite` is False.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     path = Path(folder, "nuclei.dfc-preset.json")
    ...     save_settings(path, Settings(n_groups=3), "Nuclei")
    ...     read_settings(path).settings.n_groups
    3
    """
    path = Path(path)
    if not path.name.endswith(ENDING):
        raise ValueError(f"{path.name} is no name of a settings file; accepted are those that end in {ENDING}")
    text = as_text(settings, name or path.name.removesuffix(ENDING)[:LONGEST_NAME])
    write_whole(path, lambda temporary: temporary.write_text(text, encoding="utf-8", newline="\n"), overwrite)


def read_settings(path: Path | str) -> NamedSettings:
    """Read settings from a file; it executes nothing.

    Parameters
    ----------
    path : path

    Returns
    -------
    NamedSettings

    Raises
    ------
    ValueError
        No settings file, a damaged one, or one of a newer version.
    OSError
        It cannot be read.
    """
    path = Path(path)
    if path.is_dir():
        raise ValueError(f"{path} is a folder; accepted is a settings file, *{ENDING}")
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist; look whether its name is right")
    try:
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise OSError(f"{path} cannot be read ({error.strerror}); copy it to where you may read it") from error
    try:
        if len(data) > MOST_BYTES:
            raise ValueError(f"it has more than {MOST_BYTES} bytes; choose a file that “Save settings ...” has written")
        return from_text(data.decode("utf-8-sig"))
    except UnicodeDecodeError:
        raise ValueError(f"{path.name}: it is no text; choose a file that “Save settings ...” has written") from None
    except ValueError as error:
        raise ValueError(f"{path.name}: {error}") from None


def as_text(settings: Settings, name: str) -> str:
    """What a file holds: of the settings those that differ from their preset.

    Raises
    ------
    ValueError
        A name that cannot be one.

    Examples
    --------
    >>> print(as_text(Settings(n_groups=3), "Nuclei"))
    {
      "format": 1,
      "name": "Nuclei",
      "preset": "balanced",
      "changes": {
        "n_groups": 3
      }
    }
    <BLANKLINE>
    """
    usual = Settings.from_preset(settings.preset).as_dict()
    changes = {key: value for key, value in settings.as_dict().items() if value != usual[key]}
    document = {"format": FORMAT, "name": _checked_name(name), "preset": settings.preset, "changes": changes}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def from_text(text: str) -> NamedSettings:
    """The settings of such a text.

    Raises
    ------
    ValueError
        Anything missing, unknown, out of range or of another kind; a newer version. The message is one line and says
        what to do.

    Examples
    --------
    >>> from_text(as_text(Settings(n_groups=3), "Nuclei")).settings == Settings(n_groups=3)
    True
    """
    document = _json(text)
    version = document.get("format")
    if type(version) is not int or version < 1:
        raise ValueError("it holds no settings of napari-dfc; choose a file that “Save settings ...” has written")
    if version > FORMAT:
        raise ValueError(
            f"it was written by a newer napari-dfc (version {_quoted(version)} of the file, and this one knows up to "
            f"{FORMAT}); update napari-dfc"
        )
    wrong = sorted({"format", "name", "preset", "changes"} ^ set(document))
    if wrong:
        state = "unknown" if wrong[0] in document else "missing"
        raise ValueError(f"{_quoted(wrong[0])} is {state}; save the settings again, or put the file right")
    return NamedSettings(_checked_name(document["name"]), _settings(document["preset"], document["changes"]))


def _settings(preset: Any, changes: Any) -> Settings:
    """The settings of a preset and the changes to it, each of which must be as `Settings` has it."""
    if not isinstance(preset, str):
        raise ValueError(f"preset is {_quoted(preset)}; accepted are {', '.join(PRESETS)}")
    if not isinstance(changes, dict):
        raise ValueError(f"changes is {_quoted(changes)}; accepted is an object of settings")
    known = {parameter.name for parameter in parameters()} - {"preset"}
    unknown = sorted(set(changes) - known)
    if unknown:
        raise ValueError(
            f"the setting {_quoted(unknown[0])} is unknown; delete it from the file, or update napari-dfc if a newer "
            "one wrote it"
        )
    try:
        return Settings.from_preset(preset, **changes)
    except (TypeError, ValueError) as error:
        raise ValueError(_one_line(str(error))) from None


def _checked_name(name: Any) -> str:
    if not isinstance(name, str) or not name.strip() or len(name) > LONGEST_NAME or not name.isprintable():
        raise ValueError(f"name is {_quoted(name)}; accepted is one line of 1 to {LONGEST_NAME} letters")
    return name


def _json(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text, parse_constant=_refuse, object_pairs_hook=_each_once)
    except (ValueError, RecursionError) as error:
        why = _one_line(str(error))
        raise ValueError(
            f"it is damaged, or holds no settings of napari-dfc ({why}); save the settings again"
        ) from None
    if not isinstance(found, dict):
        raise ValueError("it holds no settings of napari-dfc; choose a file that “Save settings ...” has written")
    return found


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name twice")
    return found


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"the number {constant}")


def _quoted(value: Any) -> str:
    """A value that came, short enough for a line."""
    text = repr(value)
    return text if len(text) <= LONGEST_QUOTE else f"{text[:LONGEST_QUOTE]} ..."


def _one_line(words: str) -> str:
    """Words without line breaks, and of long ones the beginning and the end."""
    words = " ".join(words.split())
    return words if len(words) <= 4 * LONGEST_QUOTE else f"{words[:LONGEST_QUOTE]} ... {words[-2 * LONGEST_QUOTE :]}"
