"""A run made once more from its record, with the strokes that arrived on its way."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from numpy.typing import ArrayLike

from napari_dfc.records import mask_of, settings_of, stopped_after, strokes_of
from napari_dfc.result import Segmentation
from napari_dfc.segmentation import Run

__all__ = ["replayed_run", "run_again"]


def run_again(
    record: Mapping[str, Any],
    image: ArrayLike | tuple[ArrayLike, ...],
    *,
    mask: ArrayLike | None = None,
    channel_axis: int | None = None,
) -> Segmentation:
    """Segment an image as its record says, with strokes that arrived during the run arriving as they did.

    Parameters
    ----------
    record : dict
        `Segmentation.record`; a layer in napari keeps it as ``layer.metadata["napari_dfc"]``, a label file in its
        description.
    image, channel_axis
        The same as in the run, as in `napari_dfc.segment`.
    mask : (H, W) array of bool, optional
        In place of the record's, which is the run's.

    Returns
    -------
    Segmentation
        With the same labels, bit for bit on the same machine with the same PyTorch; of a run that was stopped, as they
        were when it was.

    Raises
    ------
    ValueError
        Another image than the record's, or no record of a run.

    Examples
    --------
    >>> import numpy as np
    >>> import napari_dfc as dfc
    >>> image = np.random.default_rng(0).random((32, 32))
    >>> first = dfc.segment(image, preset="fast", max_iterations=5)
    >>> bool((dfc.run_again(first.record, image).labels == first.labels).all())
    True
    """
    run = replayed_run(record, image, mask=mask, channel_axis=channel_axis)
    result, shown = run.to_the_end(stopped_after(record)), record["result"].get("shown")
    return result if shown is None else result.with_count(shown)


def replayed_run(
    record: Mapping[str, Any],
    image: ArrayLike | tuple[ArrayLike, ...],
    *,
    mask: ArrayLike | None = None,
    **options: Any,
) -> Run:
    """The run of a record, to be consumed up to where it was stopped.

    Parameters
    ----------
    record, image, mask
        As in `run_again`.
    **options
        As in `Run`.

    Returns
    -------
    Run

    Raises
    ------
    ValueError
        As `run_again`.
    """
    settings, name = settings_of(record), str(record["image"]["name"])
    strokes, mask = strokes_of(record) or None, mask_of(record) if mask is None else mask
    run = Run(image, scribbles=strokes, mask=mask, settings=settings, name=name, **options)
    if run.plane.sha256 != record["image"]["sha256"]:
        raise ValueError(
            f"this is not the image that was segmented{f' ({name})' if name else ''}: its pixels or its size differ; "
            "give the same image, or segment this one anew with the same settings"
        )
    return run
