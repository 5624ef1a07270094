"""A kept network over many files: side by side, taken up again after an interruption, one bad file among many told.

A file that holds a time series or a stack gets label maps of all its planes, in one file.
"""

from __future__ import annotations

import csv
import glob
import hashlib
import io
import os
import signal
import threading
from collections import Counter
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing import get_context, parent_process
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_dfc.devices import choose_device
from napari_dfc.files import IMAGE_SUFFIXES, ImageFile, read_labels, write_labels
from napari_dfc.legend import Legend
from napari_dfc.model import MOST_DRIFT, Model, load
from napari_dfc.series import check_adaptation, check_smoothing
from napari_dfc.stacks import StackFile, open_image
from napari_dfc.whole_files import discard_leftovers, write_whole

__all__ = ["Applied", "Job", "apply", "rows_of_table", "sources_of", "write_table"]


@dataclass(frozen=True)
class Job:
    """What is asked for, the same for every image.

    Parameters
    ----------
    model : Path
        The network's file.
    statistics : {"reference", "image"}
        See `Model.predict`.
    channel_axis : int, optional
        Where a file does not say.
    device : str
    threads : int
        Of each process.
    overwrite : bool
        Replace results, also those of this network.
    smoothing : float
    adaptation : int
        Of time series; see `predict_series`.
    """

    model: Path
    statistics: str = "reference"
    channel_axis: int | None = None
    device: str = "auto"
    threads: int = 0
    overwrite: bool = False
    smoothing: float = 0.0
    adaptation: int = 0


@dataclass(frozen=True)
class Applied:
    """What became of one image.

    Parameters
    ----------
    source, target : Path
        The image and its label file.
    state : {"done", "kept", "failed"}
        "kept": the label file was there from an earlier call, by the same network in the same way.
    note : str
        What should be known about it, or why it failed.
    drift : float
        See `Segmentation.drift`; of a stack, the mean over its planes.
    areas : mapping of int to int
        Pixels of every class; of a stack, in all planes together.
    pixel_area : float
        Of a pixel, in square micrometers; NaN where the file doesn't say.
    """

    source: Path
    target: Path
    state: str
    note: str = ""
    drift: float = float("nan")
    areas: Mapping[int, int] = field(default_factory=dict)
    pixel_area: float = float("nan")


def sources_of(given: Sequence[str | Path]) -> list[Path]:
    """Image files of folders, patterns and names, each once, in the order of the names within each.

    Parameters
    ----------
    given : sequence of str or Path
        A file, a folder, whose images are taken but not those of folders in it, or a pattern with ``*``, ``?`` or
        ``**``.

    Returns
    -------
    list of Path

    Raises
    ------
    ValueError
        A folder or a pattern without an image.
    """
    found: dict[Path, None] = {}
    for each in given:
        path = Path(each)
        if path.is_dir():
            here = sorted(one for one in path.iterdir() if _is_image(one))
            if not here:
                raise ValueError(f"the folder {path} holds no image; known are {', '.join(sorted(IMAGE_SUFFIXES))}")
        elif not path.exists() and glob.has_magic(str(each)):
            matches = map(Path, glob.glob(str(each), recursive=True))
            here = sorted(one for one in matches if one.is_file())
            if not here:
                raise ValueError(f"no file is called {each}")
        else:
            here = [path]
        found.update(dict.fromkeys(here))
    return list(found)


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES and path.is_file() and not path.name.startswith(".")


def apply(
    job: Job, sources: Sequence[Path], targets: Sequence[Path], jobs: int = 1, model: Model | None = None
) -> Generator[Applied, None, None]:
    """Segment images with a kept network, and write their label maps.

    Parameters
    ----------
    job : Job
    sources : sequence of Path
        Images.
    targets : sequence of Path
        The label file of each, which ends in .tif.
    jobs : int
        Processes at once.
    model : Model, optional
        What `load` makes of the network's file, where it was loaded already.

    Yields
    ------
    Applied
        Of one image after the other, as they are finished.

    Raises
    ------
    OSError, ValueError
        As `load`, `check_smoothing` and `check_adaptation`, or a device that is not there, before the first image. What
        goes wrong with an image is in what is yielded.
    """
    check_smoothing(job.smoothing)
    check_adaptation(job.adaptation)
    choose_device(job.device)
    for folder in {target.parent for target in targets}:
        discard_leftovers(folder)
    pairs = list(zip(sources, targets, strict=True))
    model = model or load(job.model)  # what is wrong with it should be said once, not by every process
    if jobs == 1:
        for source, target in pairs:
            yield _apply(model, job, source, target)
        return
    # CUDA does not survive a fork, nor do threads
    processes = ProcessPoolExecutor(
        min(jobs, len(pairs)), mp_context=get_context("spawn"), initializer=_begin, initargs=(job,)
    )
    try:
        waiting = {processes.submit(_apply_here, source, target): (source, target) for source, target in pairs}
        for future in as_completed(waiting):
            try:
                yield future.result()
            except BrokenProcessPool:
                words = "its process was ended from without, perhaps because memory was short; try fewer --jobs"
                yield Applied(*waiting[future], "failed", words)
    finally:
        processes.shutdown(cancel_futures=True)


def rows_of_table(path: Path, legend: Legend) -> list[list[str]]:
    """The rows of a table that `write_table` wrote before, without its head.

    Parameters
    ----------
    path : Path
    legend : Legend
        Of the network.

    Returns
    -------
    list of list of str
        Empty where there is no file.

    Raises
    ------
    FileExistsError
        It is another file, or the table of a network with other classes.
    """
    if not path.exists():
        return []
    try:
        head, *rows = csv.reader(io.StringIO(path.read_text(encoding="utf-8"), newline=""))
    except (ValueError, csv.Error):
        head = []
    if head != _head(legend):
        raise FileExistsError(
            f"{path} exists already, and is no table of a network with these classes; move it, or choose another folder"
        )
    return rows


def write_table(path: Path, legend: Legend, results: Sequence[Applied], earlier: Sequence[list[str]] = ()) -> None:
    """Write what became of every image, one row for each: drift, and the area of every class.

    Parameters
    ----------
    path : Path
        Ends in .csv.
    legend : Legend
        Of the network.
    results : sequence of Applied
    earlier : sequence of list of str
        Of `rows_of_table`; those of other images stay.
    """
    text = io.StringIO(newline="")
    rows = csv.writer(text)
    rows.writerow(_head(legend))
    now = {str(each.source) for each in results}
    rows.writerows(row for row in earlier if row and row[0] not in now)
    for each in results:
        areas: list[Any] = []
        for entry in legend:
            pixels = each.areas.get(entry.number, 0)
            failed = each.state == "failed"
            areas += ["" if failed else pixels, "" if failed else _number(pixels * each.pixel_area)]
        files = [each.source, "" if each.state == "failed" else each.target.name]
        rows.writerow([*files, each.state, each.note, _number(each.drift), _number(each.pixel_area), *areas])
    write_whole(path, lambda temporary: temporary.write_text(text.getvalue(), encoding="utf-8", newline=""), True)


def _head(legend: Legend) -> list[str]:
    areas = [f"{entry.name} ({unit})" for entry in legend for unit in ("pixels", "um2")]
    return ["image", "labels", "state", "note", "drift", "pixel_area_um2", *areas]


def _number(value: float) -> str:
    return "" if np.isnan(value) else f"{value:.6g}"


_here: tuple[Model, Job]


def _begin(job: Job) -> None:
    """Load the network in a process of its own, which ends when the one that started it was killed."""
    global _here
    from napari_dfc.devices import load_torch

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all: the image at work is finished
    threading.Thread(target=_end_with_parent, daemon=True).start()

    load_torch()
    _here = load(job.model), job


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    parent.join()
    os._exit(1)  # by itself it would wait for work that nobody gives it


def _apply_here(source: Path, target: Path) -> Applied:
    return _apply(*_here, source, target)


def _apply(model: Model, job: Job, source: Path, target: Path) -> Applied:
    try:
        if target.exists() and not job.overwrite:
            return _kept(model, job, source, target)
        file = open_image(source, job.channel_axis)
        found = _of_stack(model, job, file) if isinstance(file, StackFile) else _of_image(model, job, file, source)
        record = {**found.record, "source": _source(source, job)}
        write_labels(
            target,
            found.labels,
            pixel_size=file.pixel_size,
            record=record,
            axes=found.axes,
            overwrite=job.overwrite,
        )
    except (ValueError, TypeError, OSError, MemoryError, RuntimeError) as error:  # the last of PyTorch, short of memory
        return Applied(source, target, "failed", " ".join(str(error).split()) or type(error).__name__)
    return Applied(source, target, "done", found.note, found.drift, _areas(found.labels), _area(file.pixel_size))


class _Labeled(NamedTuple):
    """What the network makes of a file."""

    labels: NDArray[np.unsignedinteger[Any]]
    axes: str
    record: Mapping[str, Any]
    drift: float
    note: str


def _of_image(model: Model, job: Job, file: ImageFile, source: Path) -> _Labeled:
    result = model.predict(
        file.data,
        channel_axis=file.channel_axis if job.channel_axis is None else job.channel_axis,
        statistics=job.statistics,  # type: ignore[arg-type]
        device=job.device,
        threads=job.threads,
        name=source.name,
    )
    return _Labeled(result.labels, "YX", result.record, result.drift, result.note)


def _of_stack(model: Model, job: Job, file: StackFile) -> _Labeled:
    """The planes one after the other; only their label maps are kept."""
    labels: NDArray[np.unsignedinteger[Any]] | None = None
    drifts = np.full(file.shape, np.nan)
    updates = 0
    digest = hashlib.sha256()
    with file.reading() as read:
        for places in file.series():
            results = model.predict_series(
                map(read, places),
                smoothing=job.smoothing,
                adaptation=job.adaptation,
                channel_axis=file.channel_axis,
                statistics=job.statistics,
                device=job.device,
                threads=job.threads,
                name=file.path.name,
            )
            for place, result in zip(places, results, strict=True):
                if labels is None:
                    dtype = np.min_scalar_type(max(model.legend.numbers))
                    labels = np.zeros((*file.shape, *result.labels.shape), dtype=dtype)
                labels[place], drifts[place] = result.labels, result.drift
                updates += result.record["series"].get("updates", 0)
                digest.update(result.record["image"]["sha256"].encode())
    assert labels is not None  # a stack has a plane
    drift, note = float(drifts.mean()), _note_of_stack(drifts)
    image = {"name": file.path.name, "sha256": digest.hexdigest(), "shape": list(labels.shape)}
    known = {"image": image, "drift": None if np.isnan(drift) else drift, "note": note}
    by_plane = [None if np.isnan(each) else each for each in drifts.ravel().tolist()]
    series = {"axes": file.axes, "smoothing": job.smoothing, "drift": by_plane}
    if job.adaptation:
        series.update(adaptation=job.adaptation, updates=updates)
    record = {**result.record, **known, "series": series}
    return _Labeled(labels, f"{file.axes}YX", record, drift, note)


def _note_of_stack(drifts: NDArray[np.float64]) -> str:
    unlike = np.count_nonzero(drifts > MOST_DRIFT)
    if not unlike:
        return ""
    return (
        f"{unlike} of {drifts.size} planes are unlike the references (drift up to {drifts.max():.2f}; up to "
        f"{MOST_DRIFT:g} is usual): look at the result before you trust it. Where only the exposure is another, "
        'statistics="image" can help; else train on such planes too'
    )


def _kept(model: Model, job: Job, source: Path, target: Path) -> Applied:
    """A label file from an earlier call, if it is one."""
    file = read_labels(target)
    record = file.record or {}
    network = record.get("model")
    by = network.get("sha256") if isinstance(network, dict) else None
    if (by, record.get("statistics"), record.get("source")) != (model.digest, job.statistics, _source(source, job)):
        raise FileExistsError(
            f"{target} exists already, and is not what this network made of {source} as it is now; --overwrite "
            "replaces it"
        )
    drift = record.get("drift")
    drift = float(drift) if isinstance(drift, int | float) else float("nan")
    return Applied(
        source, target, "kept", str(record.get("note", "")), drift, _areas(file.labels), _area(file.pixel_size)
    )


def _source(path: Path, job: Job) -> dict[str, Any]:
    """By which it is known again whether an image is still the one that was segmented."""
    state = path.stat()
    # only where it is asked for: what was written without is still known again
    adaptation = {"adaptation": job.adaptation} if job.adaptation else {}
    return {
        "name": path.name,
        "bytes": state.st_size,
        "changed": state.st_mtime_ns,
        "channel_axis": job.channel_axis,
        "smoothing": job.smoothing,
        **adaptation,
    }


def _areas(labels: np.ndarray[Any, Any]) -> dict[int, int]:
    found: Counter[int] = Counter()
    for plane in labels.reshape(-1, *labels.shape[-2:]):  # of a stack, a plane at a time takes the less memory
        numbers, counts = np.unique(plane, return_counts=True)
        found.update(dict(zip(numbers.tolist(), counts.tolist(), strict=True)))
    del found[0]
    return dict(found)


def _area(pixel_size: tuple[float, float] | None) -> float:
    return float("nan") if pixel_size is None else pixel_size[0] * pixel_size[1]
