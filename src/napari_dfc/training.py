"""From reference images to a `Model`: one network for all of them, trained on all of them at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import ArrayLike

from napari_dfc.legend import Legend
from napari_dfc.model import Model
from napari_dfc.references import mosaic, strokes_on
from napari_dfc.segmentation import Run, check_groups
from napari_dfc.settings import DEFAULT_PRESET, Settings

__all__ = ["fit", "training_run"]


def fit(
    images: Sequence[ArrayLike | tuple[ArrayLike, ...]],
    scribbles: Sequence[ArrayLike | None] | None = None,
    *,
    masks: Sequence[ArrayLike | None] | None = None,
    channel_axis: int | None = None,
    names: Mapping[int, str] | None = None,
    preset: str = DEFAULT_PRESET,
    **settings: Any,
) -> Model:
    """Train a network on reference images, to give every image that follows the same classes.

    All references take part in every step, so that none of them wins because it came last. With strokes on some of
    them, or on all, the classes are those that were painted; without any, images are split into groups, which have the
    same numbers in all references, and a network is trained to tell these apart.

    Parameters
    ----------
    images : sequence of images
        Each as in `napari_dfc.segment`, of any size; all with as many channels.
    scribbles : sequence of (H, W) array of integers or None, optional
        For each image, its strokes, or None. A class need not be painted on every image.
    masks : sequence of (H, W) array of bool or None, optional
        For each image, True where a pixel takes part.
    channel_axis : int, optional
        As in `napari_dfc.segment`.
    names : mapping of int to str, optional
        What the classes are called, by number.
    preset : {"paper", "published", "fast", "balanced", "accurate"}
        The settings to start from.
    **settings
        Any field of `napari_dfc.Settings`.

    Returns
    -------
    Model
        Its `predict` on the references shows what it has learned.

    Raises
    ------
    TypeError, ValueError
        As `napari_dfc.segment`, with the number of the image; another number of scribbles or masks than of images;
        other channels than the first image has; ``split_into="regions"``.

    Examples
    --------
    >>> import napari_dfc as dfc
    >>> from napari_dfc.samples import read_sample
    >>> sample = read_sample("stained_tissue")
    >>> left, right = sample.image[:, :160], sample.image[:, 160:]
    >>> model = dfc.fit([left, right], [sample.scribbles[:, :160], None], preset="fast", max_iterations=5)
    >>> model
    Model(3 classes: class 1, class 2, class 3; 2 reference images)
    """
    run = training_run(
        images,
        scribbles,
        masks=masks,
        channel_axis=channel_axis,
        settings=Settings.from_preset(preset, **settings),
    )
    Legend.of(run.class_numbers).named(names or {})  # what is wrong with a name is said before the training
    for _ in run:
        pass
    return run.result().model(names)


def training_run(
    images: Sequence[ArrayLike | tuple[ArrayLike, ...]],
    scribbles: Sequence[ArrayLike | None] | None = None,
    *,
    masks: Sequence[ArrayLike | None] | None = None,
    channel_axis: int | None = None,
    settings: Settings | None = None,
    name: str = "",
    spare_a_core: bool = False,
) -> Run:
    """The run that `fit` consumes, on all references as one plane: its previews and its result show them side by side.

    Parameters
    ----------
    images, scribbles, masks, channel_axis
        As in `fit`.
    settings, name, spare_a_core
        As in `Run`.

    Returns
    -------
    Run
        Its result's `Segmentation.model` is the network.

    Raises
    ------
    TypeError, ValueError
        As `fit`.
    """
    settings = settings or Settings()
    plane = mosaic(images, settings=settings, masks=masks, channel_axis=channel_axis)
    painted = None if scribbles is None else strokes_on(plane, scribbles)
    if painted is None and settings.split_into == "regions":
        raise ValueError('split_into is "regions", which are no classes; accepted here are "groups" and "clusters"')
    if painted is None and settings.split_into == "groups":
        check_groups(settings)
    return Run(plane, scribbles=painted, settings=settings, name=name, spare_a_core=spare_a_core)
