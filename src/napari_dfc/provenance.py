"""What is told of a run: a note for the user, and the record from which it can be made once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from napari_dfc.devices import Device
from napari_dfc.images import Plane
from napari_dfc.memory import Plan, amount
from napari_dfc.model import versions
from napari_dfc.pieces import KeptPieces
from napari_dfc.result import KeptResponse
from napari_dfc.settings import Settings
from napari_dfc.stage import Stage

__all__ = ["RECORD_FORMAT", "note_of", "record_of"]

#: Version of the layout of `Segmentation.record`.
RECORD_FORMAT = 1


def record_of(
    plane: Plane,
    settings: Settings,
    name: str,
    threads: int,
    device: Device,
    plan: Plan,
    strokes: Sequence[Mapping[str, Any]],
    outcome: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything needed to make a run once more on the same image, in plain values.

    Parameters
    ----------
    plane : Plane
    settings : Settings
    name : str
        Of the image.
    threads : int
        With which it was computed.
    device : Device
    plan : Plan
    strokes : sequence of dict
        As `napari_dfc.scribbles.pack` gives them, with the number of ``"updates"`` that had to follow.
    outcome : dict
        How it ended: how many ``"iterations"`` the network of the kept map had and, where somebody ``"stopped"`` the
        run, the number of the last iteration made as ``"stopped_after"``. Records without it mean the kept one.
    """
    return {
        "format": RECORD_FORMAT,
        "settings": settings.as_dict(),
        "threads": threads,
        "device": device.title,
        "versions": versions(),
        "image": {
            "name": name,
            "sha256": plane.sha256,
            "shape": list(plane.whole_shape),
            "dtypes": list(plane.dtypes),
            "offset": plane.offset.tolist(),
            "scale": plane.scale.tolist(),
        },
        "crop": list(plan.crop),
        "strokes": list(strokes),
        "result": dict(outcome),
    }


def note_of(
    stage: Stage,
    plan: Plan,
    n_labels: int,
    response: KeptResponse | KeptPieces,
    changes: Sequence[str],
    complete: bool,
    cancelled: bool,
) -> str:
    """What the user should know about a result, in sentences without the last full stop; usually empty.

    Parameters
    ----------
    stage : Stage
        That the result was computed in.
    plan : Plan
    n_labels : int
    response : KeptResponse or KeptPieces
    changes : sequence of str
        What was computed unlike it was asked for.
    complete : bool
        Whether every part of the image has been seen.
    cancelled : bool
    """
    has_pieces, settings, classes = isinstance(response, KeptPieces), stage.settings, stage.classes
    notes = list(changes)
    if stage.takes_votes and not has_pieces:
        notes.append(f"stopped before there were {settings.split_into}: these are clusters")
    if settings.split_into == "regions" and classes:
        notes.append("with strokes the result is the painted classes, and no regions")
    if isinstance(response, KeptResponse) and response.edge_share < stage.edge_share:
        if cancelled:
            notes.append("stopped before the classes were drawn to the image's edges")
        else:
            notes.append("too little memory was left to draw the classes to the image's edges")
    if has_pieces:
        if plan.n_crops > 1:
            notes.append("with crops only the last label map of each network has a say")
        if settings.split_into == "groups" and n_labels < settings.n_groups:
            notes.append(f"{n_labels} groups, fewer than the {settings.n_groups} asked for: there are no more pieces")
    elif classes:
        absent = len(classes) - n_labels if settings.restrict_to_scribbles else 0
        if absent > 0:
            notes.append(f"{absent} of the {len(classes)} painted classes won nowhere")
        if stage.scribbles is not None and (left_out := stage.scribbles.left_out):
            numbers = ", ".join(map(str, left_out[:5])) + " ..." * (len(left_out) > 5)
            of_them = f"class {numbers} is" if len(left_out) == 1 else f"classes {numbers} are"
            notes.append(f"{of_them} painted only outside of what was segmented, and left out")
    elif n_labels < stage.least and not stage.takes_votes:
        notes.append(f"{n_labels} labels, fewer than the {stage.least} asked for: no iteration had more")
    if plan.n_crops > 1:
        rows, columns = plan.crop
        notes.append(
            f"learned from {plan.n_crops} crops of {columns} x {rows} pixels, because the whole image would take "
            f"{amount(plan.whole)} of memory; see the memory limit"
        )
    if not complete and not has_pieces:
        notes.append("stopped before every part of the image had been seen: the rest has no label")
    return ". ".join(note[0].upper() + note[1:] if index else note for index, note in enumerate(notes))
