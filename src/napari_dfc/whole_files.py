"""Files that are complete or absent, and never replaced unasked."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

__all__ = ["discard_leftovers", "write_whole"]

#: In the name of a file that is being written.
MARK = ".being-written-"

#: Seconds after which nobody writes a file any more.
WRITTEN_FOR = 60.0


def discard_leftovers(folder: Path) -> None:
    """Remove what processes that were killed while they wrote files have left in a folder."""
    for leftover in folder.glob(f".*{MARK}*"):
        with suppress(OSError):  # gone meanwhile, or in use
            if time.time() - leftover.stat().st_mtime > WRITTEN_FOR:
                leftover.unlink()


def write_whole(path: Path, write: Callable[[Path], object], overwrite: bool) -> None:
    """Write under another name in the same folder, then rename.

    Parameters
    ----------
    path : Path
    write : callable
        Is given the other name. What it raises leaves nothing behind.
    overwrite : bool
        Replace the file if it is there.

    Raises
    ------
    FileExistsError
        The file is there, or appeared meanwhile, and `overwrite` is False.
    FileNotFoundError
        Its folder is missing.
    """
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} does not exist")
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists already")
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}{MARK}", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        write(temporary)
        _take_usual_permissions(temporary)
        if overwrite:
            temporary.replace(path)
        else:
            _rename_if_absent(temporary, path)
    finally:
        with suppress(FileNotFoundError):
            temporary.unlink()


def _rename_if_absent(temporary: Path, path: Path) -> None:
    """Rename without replacing a file that appeared meanwhile; a link refuses that, where links exist."""
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        raise FileExistsError(f"{path} exists already") from None
    except (OSError, NotImplementedError):
        if path.exists():
            raise FileExistsError(f"{path} exists already") from None
        temporary.replace(path)


def _take_usual_permissions(path: Path) -> None:
    """Give a file of mkstemp's, which only its owner can read, the permissions of any new file."""
    umask = os.umask(0)
    os.umask(umask)
    path.chmod(0o666 & ~umask)
