"""Which files a command writes: never an input, and an earlier result only where that is asked for."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

__all__ = ["Refusal", "new_folder", "overlay_of", "refuse_existing", "refuse_inputs", "refuse_twice", "targets_of"]


class Refusal(Exception):
    """Something the user can put right, said in one line."""


def targets_of(
    sources: list[Path], out: Path, inputs: dict[str, Path | None], *, overlay: bool, overwrite: bool
) -> list[Path]:
    """The label file of every image, found before anything is computed.

    Parameters
    ----------
    sources : list of Path
        The images.
    out : Path
        Of one image a .tif file, of several a folder that exists.
    inputs : dict of str to Path or None
        What else is read, by the name of its option; with one image only.
    overlay : bool
        Whether pictures are written beside the labels.
    overwrite : bool
        Whether earlier results may be replaced.

    Returns
    -------
    list of Path
        In the order of the images.

    Raises
    ------
    Refusal
        A file that cannot be written there, that is an input, or that is there already.
    """
    further = {name: path for name, path in inputs.items() if path is not None}
    if len(sources) == 1:
        if out.is_dir():
            raise Refusal(f"-o {out} is a folder; accepted for one image is a file that ends in .tif")
        if out.suffix.lower() not in (".tif", ".tiff"):
            raise Refusal(f"-o {out} ends in {out.suffix or 'nothing'}; accepted for one image is .tif or .tiff")
        if not out.parent.is_dir():
            raise Refusal(f"the folder {out.parent} does not exist")
        targets = [out]
    else:
        if further:
            raise Refusal(f"--{next(iter(further))} goes with one image; {len(sources)} came")
        if not out.is_dir():
            raise Refusal(f"-o {out} is not a folder; accepted for several images is a folder that exists")
        targets = [out / f"{source.stem}_labels.tif" for source in sources]
        refuse_twice(targets)
    written = targets + ([overlay_of(target) for target in targets] if overlay else [])
    refuse_inputs(written, [*sources, *further.values()])
    if not overwrite:
        refuse_existing(written)
    return targets


def overlay_of(target: Path) -> Path:
    """Where the picture of a label file's regions goes."""
    return target.with_name(f"{target.stem.removesuffix('_labels')}_overlay.png")


def refuse_twice(targets: list[Path]) -> None:
    """A `Refusal` where two results would go to the same file."""
    twice = sorted(target.name for target, times in Counter(targets).items() if times > 1)
    if twice:
        raise Refusal(
            f"several images would be written to the same file: {', '.join(twice)}; give images of one name in calls "
            "of their own, each with a folder of its own"
        )


def refuse_inputs(written: list[Path], inputs: list[Path]) -> None:
    """A `Refusal` where an input would be written over."""
    there = {path.resolve() for path in inputs}
    for path in written:
        if path.resolve() in there:
            raise Refusal(f"{path} is an input; results are never written over it")


def refuse_existing(paths: list[Path], advice: str = "") -> None:
    """A `Refusal` where there are files already, and what to do; by default it is ``--overwrite``."""
    existing = [str(path) for path in paths if path.exists()]
    if existing:
        more = f" and {len(existing) - 3} more" if len(existing) > 3 else ""
        exist, them = ("exists", "it") if len(existing) == 1 else ("exist", "them")
        raise Refusal(f"{', '.join(existing[:3])}{more} {exist} already; {advice or f'--overwrite replaces {them}'}")


def new_folder(name: str) -> Path:
    """A folder in the current one that does not exist yet: name, name-2, name-3, ..."""
    number = 1
    while (folder := Path(name if number == 1 else f"{name}-{number}")).exists():
        number += 1
    return folder
