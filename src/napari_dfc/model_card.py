"""The model card: what a kept network is, what it was trained on and how far to trust it, in Markdown."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from napari_dfc.model import Model

__all__ = ["CITATION", "DOI", "Agreement", "Card", "model_card", "seam_margin"]

CITATION = (
    'W. Kim, A. Kanezaki, M. Tanaka, "Unsupervised Learning of Image Segmentation Based on Differentiable Feature '
    'Clustering", IEEE Transactions on Image Processing 29, 8055-8068, 2020'
)
DOI = "10.1109/TIP.2020.3011269"


class Agreement(NamedTuple):
    """How an exported network compares with the network itself, over all pixels of the pictures that were compared.

    Parameters
    ----------
    n_pixels : int
        Compared.
    n_other_labels : int
        Pixels of these that the exported form gives another class than `Model.predict` without drawing to edges.
    probability_off : float
        How far a probability is off at most.
    n_drawn : int
        Pixels that drawing to edges, which the exported form leaves out, gives another class.
    """

    n_pixels: int
    n_other_labels: int
    probability_off: float
    n_drawn: int

    @property
    def share_drawn(self) -> float:
        """`n_drawn` as a share of all pixels."""
        return self.n_drawn / self.n_pixels


class Card(NamedTuple):
    """What a card says beside what the network itself says.

    Parameters
    ----------
    agreement : Agreement
    compared : str
        On which pictures, in words.
    most_drift : float
        Up to which the drift of an image is usual.
    authors : tuple of str
    license : str, optional
        Under which the network is passed on.
    """

    agreement: Agreement
    compared: str
    most_drift: float
    authors: tuple[str, ...] = ()
    license: str | None = None


def model_card(model: Model, title: str, usage: str, card: Card) -> str:
    """Everything about a network that its user should know.

    Parameters
    ----------
    model : Model
    title : str
        One line.
    usage : str
        Markdown that says how this form of it is used.
    card : Card

    Returns
    -------
    str
        Markdown.
    """
    parts = [
        f"# {_escaped(title)}",
        _about(model),
        "## Classes",
        _classes(model),
        "## Images",
        _images(model),
        "## How to use it",
        usage,
        "## What this form leaves out",
        _left_out(model, card),
        "## When to trust it",
        _trust(card.most_drift),
        "## Validation",
        _validation(card),
        "## Training",
        _training(model),
        "## License and citation",
        _rights(card),
    ]
    return "\n\n".join(parts) + "\n"


def _about(model: Model) -> str:
    names = ", ".join(_escaped(entry.name) for entry in model.legend)
    return (
        f"Gives every pixel of an image one of {len(model.legend)} classes ({names}), by "
        f"{_counted(len(model.factors or (1,)), 'small network')} trained with "
        f"napari-dfc on {_counted(len(model.references), 'reference image')}. A "
        f"pixel's class depends on the pixels up to {model.receptive_radius} away (the receptive radius), and on "
        "nothing else."
    )


def _classes(model: Model) -> str:
    rows = ["| number in `labels` | name | color | channel of `probabilities`, from 0 |", "|---|---|---|---|"]
    for entry in model.legend:
        channels = [str(index) for index, number in enumerate(model.numbers) if number == entry.number]
        rows.append(f"| {entry.number} | {_escaped(entry.name)} | `{entry.color}` | {', '.join(channels) or 'none'} |")
    return "\n".join(rows)


def _images(model: Model) -> str:
    lines = [
        f"It is for images like its references, with {_channels(model)} and raw values as they stand in the file: "
        "neither normalized nor stretched beforehand, since the scaling of the references is part of the network. "
    ]
    if model.pixel_size is None:
        lines[0] += "The size of the references' pixels is not known; objects should be about as large, in pixels."
    else:
        height, width = model.pixel_size
        lines[0] += (
            f"A pixel of the references is {height:g} µm high and {width:g} µm wide; resize images whose pixels are "
            "of another size."
        )
    rows = ["| reference | rows x columns | SHA-256 of its values |", "|---|---|---|"]
    rows += [
        f"| {_escaped(each['name'] or 'without a name')} | {_by(each['shape'])} | `{each['sha256']}` |"
        for each in model.references
    ]
    scaling = ["| channel | offset | scale |", "|---|---|---|"]
    for index, (offset, scale) in enumerate(zip(model.offset, model.scale, strict=True), 1):
        scaling.append(f"| {index} | {offset:.7g} | {scale:.7g} |")
    return "\n\n".join(
        [
            *lines,
            "\n".join(rows),
            "Within the network each channel becomes (value - offset) / scale:",
            "\n".join(scaling),
        ]
    )


def _left_out(model: Model, card: Card) -> str:
    lines, margin, factor = [], seam_margin(model), max(model.factors or (1,))
    starts = f" and start at multiples of {factor}" if factor > 1 else ""
    if model.edge_share:
        lines.append(
            f"- **Drawing to edges.** In napari-dfc a pixel takes {model.edge_share:.0%} of its probabilities from the "
            f"piece between edges around it; here it does not. That changes {card.agreement.share_drawn:.1%} of the "
            f"pixels of {card.compared}, most of them beside borders between classes."
        )
    lines += [
        "- **Masks.** Every pixel takes part; replace NaN and infinite values before, and leave out the alpha channel.",
        "- **Statistics of the image itself.** Brightness and features are scaled as in the references, always.",
        "- **Drift.** How unlike the references an image is, is not told.",
        "- **Tiles.** The whole image is computed at once, in memory that grows with it. Cut a large one into tiles "
        f"that overlap by {2 * margin} pixels{starts}, and drop {margin} pixels at each seam: the rest is as in the "
        "whole.",
        "- **Large whole numbers.** Values pass through float32, which tells whole numbers apart up to 16 777 216.",
    ]
    return "\n".join(lines)


def seam_margin(model: Model) -> int:
    """Pixels from a border that is none of the image's, beyond which all is as if there were none.

    A multiple of the largest square of pixels that a network sees as one.
    """
    factor = max(model.factors or (1,))
    return math.ceil(model.receptive_radius / factor) * factor


def _trust(most_drift: float) -> str:
    return (
        "The network knows nothing but its references. An image of another stain, exposure, magnification or "
        "instrument may get classes that mean nothing, without any sign of it in the labels. napari-dfc measures how "
        f"unlike the references an image is: with the network's own file, `napari_dfc.load(...).predict(image).drift` "
        f"goes from 0 (the same) to 1 (nothing in common), and above {most_drift:g} the result should be looked at "
        "before it is used. Where only the exposure is another, "
        '`predict(image, statistics="image")` can help; else train on such an image too. Look at some results of every '
        "new series of images, in any case."
    )


def _validation(card: Card) -> str:
    agreement = card.agreement
    return (
        f"This form was compared with napari-dfc itself (without what is left out) on {card.compared}: of "
        f"{agreement.n_pixels} pixels {agreement.n_other_labels or 'none'} had another class, and probabilities were "
        f"off by {agreement.probability_off:.1g} at most. How well the classes agree with the truth was not measured. "
        "To measure it, label some images that are no references by hand and compare, for instance by the intersection "
        "over union of each class."
    )


def _training(model: Model) -> str:
    settings = model.settings.as_dict()
    rows = "\n".join(f"{name} = {value}" for name, value in settings.items())
    programs = "\n".join(f"| {name} | {_escaped(number)} |" for name, number in model.versions.items())
    return (
        f"{_counted(model.iterations, 'update')} of the weights, from seed {settings['seed']}. The digest of the "
        f"network (SHA-256) is `{model.digest}`.\n\n| trained with | version |\n|---|---|\n{programs}\n\n"
        f"All settings:\n\n```text\n{rows}\n```"
    )


def _rights(card: Card) -> str:
    by = f"Trained by {_escaped(', '.join(card.authors))}. " if card.authors else ""
    rights = (
        f"Passed on under {_escaped(card.license)}. "
        if card.license
        else "No license was chosen for this network: ask who trained it before you pass it on. "
    )
    return (
        f"{by}{rights}napari-dfc is under the BSD 3-Clause license.\n\nThe method is that of {CITATION}, "
        f"[doi:{DOI}](https://doi.org/{DOI}). Please cite its authors."
    )


def _channels(model: Model) -> str:
    n_channels = len(model.offset)
    if model.is_rgb:
        return "three channels (red, green, blue)"
    return "one channel (gray)" if n_channels == 1 else f"{n_channels} channels in the order of the references"


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _by(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape))


def _escaped(text: str) -> str:
    """Text that means nothing to Markdown, on one line."""
    return re.sub(r"([\\`*_{}\[\]<>#|&~])", r"\\\1", " ".join(str(text).split()))
