"""How well a segmentation agrees with ground truth, by the measures of the article and the field; how it flickers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.ndimage import distance_transform_edt
from skimage.measure import label
from skimage.metrics import contingency_table, variation_of_information
from skimage.segmentation import find_boundaries

__all__ = [
    "best_overlaps",
    "boundary_f_measure",
    "class_mean_iou",
    "flicker",
    "object_f1",
    "published_mean_iou",
    "published_overlaps",
    "variation_of_information",
]

Mode = Literal["all", "fine", "coarse"]


def best_overlaps(labels: ArrayLike, segments: ArrayLike) -> NDArray[np.float64]:
    r"""Of every ground-truth segment, the largest intersection over union with a region of the prediction.

    Parameters
    ----------
    labels : (H, W) array of int
        The prediction. Its regions are its connected components, over 4 neighbors.
    segments : (H, W) array of int
        Ground truth; every value is one segment.

    Returns
    -------
    (S,) ndarray of float64
        In the order of the segments' values.

    Raises
    ------
    TypeError
        Values that are not integers.
    ValueError
        Arrays of different shapes, or not of two axes.

    Notes
    -----
    .. math:: \max_j \frac{|S_i \cap P_j|}{|S_i \cup P_j|}

    Examples
    --------
    >>> best_overlaps([[1, 1, 2, 1]], [[5, 5, 5, 7]]).round(3).tolist()  # three regions: 1 1, 2 and 1
    [0.667, 1.0]
    """
    predicted, truth = _pair(labels, segments)
    # `label` wants a background value: one that does not occur
    regions = label(predicted.astype(np.int64), connectivity=1, background=int(predicted.min()) - 1)
    _, _, overlaps = _overlaps(regions, truth)  # (S, P)
    return np.asarray(overlaps.max(1), dtype=np.float64)


def published_overlaps(labels: ArrayLike, annotations: Sequence[ArrayLike], mode: Mode = "all") -> NDArray[np.float64]:
    """The overlaps of one image that the published mean IoU takes into account.

    Parameters
    ----------
    labels : (H, W) array of int
        The prediction.
    annotations : sequence of (H, W) array of int
        The segmentations of the annotators.
    mode : {"all", "fine", "coarse"}
        Every annotator; the one with the most segments; the one with the fewest. Of equals the first.

    Returns
    -------
    (S,) ndarray of float64

    Raises
    ------
    TypeError, ValueError
        As `best_overlaps`; an unknown mode, or no annotation.

    Examples
    --------
    >>> truths = [[[1, 1, 2, 2]], [[1, 2, 3, 3]]]
    >>> published_overlaps([[1, 1, 2, 2]], truths, "fine").tolist()
    [0.5, 0.5, 1.0]
    >>> published_overlaps([[1, 1, 2, 2]], truths, "coarse").tolist()
    [1.0, 1.0]
    """
    if mode not in get_args(Mode):
        raise ValueError(f"mode is {mode!r}; accepted are {', '.join(get_args(Mode))}")
    if not len(annotations):
        raise ValueError("annotations is empty; accepted is one ground truth or more")
    if mode == "all":
        return np.concatenate([best_overlaps(labels, each) for each in annotations])
    counts = [len(np.unique(np.asarray(each))) for each in annotations]
    chosen = int(np.argmax(counts) if mode == "fine" else np.argmin(counts))
    return best_overlaps(labels, annotations[chosen])


def published_mean_iou(
    predictions: Iterable[ArrayLike], annotations: Iterable[Sequence[ArrayLike]], mode: Mode = "all"
) -> float:
    """The mean IoU of the paper's Table I: over the segments of all images together.

    Parameters
    ----------
    predictions : iterable of (H, W) array of int
        One for each image.
    annotations : iterable of sequences of (H, W) array of int
        Of each image, the segmentations of its annotators.
    mode : {"all", "fine", "coarse"}
        As in `published_overlaps`.

    Returns
    -------
    float
        0 to 1.

    Raises
    ------
    TypeError, ValueError
        As `published_overlaps`; no image, or not as many predictions as annotations.

    References
    ----------
    W. Kim, A. Kanezaki, M. Tanaka, "Unsupervised Learning of Image Segmentation Based on Differentiable Feature
    Clustering", IEEE Transactions on Image Processing, 2020, section IV.

    Examples
    --------
    >>> round(published_mean_iou([[[1, 1, 1, 1]]], [[[[1, 1, 1, 2]]]]), 3)  # (3/4 + 1/4) / 2
    0.5
    """
    found = [published_overlaps(labels, truths, mode) for labels, truths in zip(predictions, annotations, strict=True)]
    if not found:
        raise ValueError("there is no image; accepted is one or more")
    return float(np.concatenate(found).mean())


def class_mean_iou(labels: ArrayLike, truth: ArrayLike, classes: Sequence[int] | None = None) -> float:
    """Mean over classes of the intersection over union, where a class has the same number in both.

    Parameters
    ----------
    labels : (H, W) array of int
        The prediction.
    truth : (H, W) array of int
        Ground truth; 0 is a class like any other.
    classes : sequence of int, optional
        The numbers that count; by default those in `truth`. A class that occurs in neither is left out.

    Returns
    -------
    float
        0 to 1.

    Raises
    ------
    TypeError
        Values that are not integers.
    ValueError
        Arrays of different shapes, or no class that occurs.

    Examples
    --------
    >>> round(class_mean_iou([[1, 1, 2, 2]], [[1, 1, 1, 2]]), 4)  # (2/3 + 1/2) / 2
    0.5833
    """
    predicted, known = _pair(labels, truth)
    overlaps = []
    for number in np.unique(known) if classes is None else classes:
        one, other = predicted == number, known == number
        union = np.count_nonzero(one | other)
        if union:
            overlaps.append(np.count_nonzero(one & other) / union)
    if not overlaps:
        raise ValueError(f"none of the classes {list(classes or ())} occurs in labels or truth")
    return float(np.mean(overlaps))


def boundary_f_measure(labels: ArrayLike, truth: ArrayLike, tolerance: float = 2.0) -> float:
    r"""How well the boundaries of two label maps lie on one another.

    Parameters
    ----------
    labels, truth : (H, W) array of int
        The boundaries run between neighbors of different values; the pixels on both sides belong to them.
    tolerance : float
        Largest distance, in pixels, at which a boundary pixel counts as found.

    Returns
    -------
    float
        0 to 1; 1 where neither has a boundary, 0 where only one has.

    Raises
    ------
    TypeError
        Values that are not integers.
    ValueError
        Arrays of different shapes, or a negative tolerance.

    Notes
    -----
    With the share :math:`P` of predicted boundary pixels near a true one, and :math:`R` of true ones near a predicted
    one, :math:`F = 2 P R / (P + R)`. Unlike in the benchmark of BSDS500, pixels are not matched one to one.

    Examples
    --------
    >>> boundary_f_measure([[1, 1, 2, 2, 2]], [[1, 1, 1, 2, 2]], tolerance=1)
    1.0
    >>> boundary_f_measure([[1, 1, 2, 2, 2]], [[1, 1, 1, 2, 2]], tolerance=0)
    0.5
    """
    predicted, known = _pair(labels, truth)
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}; accepted is a number of pixels from 0")
    found, wanted = find_boundaries(predicted), find_boundaries(known)
    if not found.any() or not wanted.any():
        return float(found.any() == wanted.any())
    precision = float((distance_transform_edt(~wanted)[found] <= tolerance).mean())
    recall = float((distance_transform_edt(~found)[wanted] <= tolerance).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def object_f1(labels: ArrayLike, truth: ArrayLike, threshold: float = 0.5) -> float:
    r"""How many objects were found: an object counts where its intersection over union exceeds a threshold.

    Parameters
    ----------
    labels, truth : (H, W) array of int
        One positive number for each object, 0 for background.
    threshold : float
        From 0.5, so that no object can be found twice, to below 1.

    Returns
    -------
    float
        0 to 1; 1 where neither has an object.

    Raises
    ------
    TypeError
        Values that are not integers.
    ValueError
        Arrays of different shapes, or a threshold out of range.

    Notes
    -----
    .. math:: F_1 = \frac{2\,TP}{2\,TP + FP + FN}

    Examples
    --------
    >>> round(object_f1([[1, 1, 1, 0, 2]], [[4, 4, 4, 0, 0]]), 3)  # one found, one too many
    0.667
    """
    predicted, known = _pair(labels, truth)
    if not 0.5 <= threshold < 1:
        raise ValueError(f"threshold is {threshold}; accepted is a number from 0.5 to below 1")
    names, true_names, overlaps = _overlaps(predicted, known)
    matches = (overlaps > threshold)[true_names != 0][:, names != 0]
    n_objects = matches.shape[0] + matches.shape[1]
    return 2 * float(matches.sum()) / n_objects if n_objects else 1.0


def flicker(labels: ArrayLike, static: ArrayLike | None = None) -> float:
    r"""How often pixels change their label from one frame of a series to the next, where nothing else changes.

    Parameters
    ----------
    labels : (T, H, W) array of int
        The label map of every frame, from two frames on; 0 where a pixel has no label.
    static : (H, W) or (T - 1, H, W) array of bool, optional
        The pixels where nothing changes: throughout the series, or between each frame and the next. By default all,
        so that what moves counts too.

    Returns
    -------
    float
        0 to 1: of all pairs of a pixel and the same pixel in the next frame that are static and have a label in both,
        the share with two different ones.

    Raises
    ------
    TypeError
        Labels that are not integers, or a mask that is not Boolean.
    ValueError
        Arrays of other shapes, or no pair that counts.

    Notes
    -----
    With the static pixels :math:`S_t` that have a label in the frames :math:`t` and :math:`t + 1`,

    .. math:: \frac{\sum_t |\{n \in S_t : c_{t,n} \ne c_{t+1,n}\}|}{\sum_t |S_t|}

    Examples
    --------
    >>> series = [[[1, 1, 2, 0]], [[1, 2, 2, 2]], [[1, 1, 2, 2]]]
    >>> round(flicker(series), 4)  # 1 of 3 pixels with a label in both, then 1 of 4
    0.2857
    >>> flicker(series, static=[[True, False, True, True]])
    0.0
    """
    frames = np.asarray(labels)
    if frames.dtype.kind not in "bui":
        raise TypeError(f"labels has values of type {frames.dtype}; accepted are integers")
    if frames.ndim != 3 or len(frames) < 2 or not frames.size:
        raise ValueError(f"labels has shape {frames.shape}; accepted is (T, H, W) of two frames or more")
    counts = changed = 0
    for before, after, still in zip(frames[:-1], frames[1:], _static_pixels(static, frames.shape), strict=True):
        pairs = (before != 0) & (after != 0) & still
        counts += int(np.count_nonzero(pairs))
        changed += int(np.count_nonzero((before != after) & pairs))
    if not counts:
        raise ValueError("no static pixel has a label in a frame and in the next; accepted is one or more")
    return changed / counts


def _static_pixels(static: ArrayLike | None, shape: tuple[int, ...]) -> NDArray[np.bool_]:
    """Of every pair of frames, (T - 1, H, W)."""
    wanted = (shape[0] - 1, *shape[1:])
    mask = np.ones(shape[1:], dtype=bool) if static is None else np.asarray(static)
    if mask.dtype != bool:
        raise TypeError(f"static has values of type {mask.dtype}; accepted is bool, True where nothing changes")
    if mask.shape not in (wanted, wanted[1:]):
        raise ValueError(f"static has shape {mask.shape}; accepted are {wanted[1:]} and {wanted}, by the labels")
    return np.broadcast_to(mask, wanted)


def _overlaps(predicted: NDArray[Any], known: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any], NDArray[np.float64]]:
    """The values of both, and the intersection over union of every true one (rows) with every predicted one."""
    (names, index), (true_names, true_index) = (np.unique(each, return_inverse=True) for each in (predicted, known))
    table = contingency_table(true_index.reshape(known.shape), index.reshape(predicted.shape))
    shared = np.asarray(table.todense())
    union = shared.sum(1, keepdims=True) + shared.sum(0, keepdims=True) - shared
    return names, true_names, shared / union


def _pair(labels: ArrayLike, truth: ArrayLike) -> tuple[NDArray[Any], NDArray[Any]]:
    one, other = np.asarray(labels), np.asarray(truth)
    for name, array in (("labels", one), ("truth", other)):
        if array.dtype.kind not in "bui":
            raise TypeError(f"{name} has values of type {array.dtype}; accepted are integers")
    if one.shape != other.shape or one.ndim != 2 or not one.size:
        raise ValueError(
            f"labels and truth have shapes {one.shape} and {other.shape}; accepted is one of (H, W) for both"
        )
    return one, other
