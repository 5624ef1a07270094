"""Series of images: ``python tests/benchmarks/series.py --threads 1``.

Sections: a network is trained on the first two sections of VNC, from 3 strokes a class drawn from the ground truth, and
applied to the other eight, beside a random forest on the same strokes. Time series: 20 frames made of one image with
known truth, which drifts by fractions of a pixel, fades to half its brightness and has noise of its own in every frame;
once more, it also blurs and is lit ever less evenly. The network is trained on the first frame. Adaptation: the same
scenes, and others in which another part of the image comes into view, the brightness jumps, or nothing changes but
noise, which stays as it is or grows fivefold. Flicker counts pixels whose truth is the same in both frames. Needs the
images in shared/data.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, shift
from skimage.feature import multiscale_basic_features
from sklearn.ensemble import RandomForestClassifier

import napari_dfc as dfc
from bench import RESULTS, Results, machine, parser, table, torch
from micrographs import DEFAULT_ROOT, Micrograph, micrographs, strokes
from napari_dfc.metrics import class_mean_iou, flicker
from napari_dfc.model import Model

#: Sections of VNC that a network is trained on.
N_REFERENCES = 2

#: Collection and image of each time series.
SCENES = (("DSB2018", "dark_6bc8cda5"), ("WBC", "d2_049"))

#: What happens to a scene until its last frame: the deviation of its blur in pixels, and the share of brightness that
#: one side gains and the other loses.
CHANGES = {"drifts and fades": (0.0, 0.0), "also blurs, uneven light": (2.0, 0.3)}

#: Pixels that a scene moves from frame to frame, and frames.
STEP, N_FRAMES = (0.6, 0.45), 20

#: Of a frame: photons at the largest brightness of the first, and the camera's noise in gray values.
PHOTONS, READ_NOISE = 200, 2.0

#: Statistics and smoothing.
WAYS = {
    "reference": ("reference", 0.0),
    "reference, smoothed": ("reference", 0.5),
    "image": ("image", 0.0),
    "image, smoothed": ("image", 0.5),
}

#: Updates on a frame.
UPDATES = (0, 5)

#: Side of the window that pans over a scene, in pixels.
WINDOW = 180

COLORS = np.array([[0, 0, 0], [60, 60, 60], [230, 159, 0], [0, 158, 115], [204, 121, 167]], dtype=np.uint8)


def filmed(scene: Micrograph, blur: float, uneven: float, seed: int = 0) -> tuple[list[NDArray], NDArray]:
    """Frames of a scene and their classes (T, H, W), without the margin that comes into view."""
    random = np.random.default_rng(seed)
    height, width = scene.classes.shape
    colors = (0,) * (scene.image.ndim - 2)
    margin = int(np.ceil(max(STEP) * N_FRAMES))
    view = slice(margin, height - margin), slice(margin, width - margin)
    frames, truths = [], []
    for number in range(N_FRAMES):
        moved, age = np.multiply(STEP, number), number / (N_FRAMES - 1)
        image = shift(scene.image.astype(float), (*moved, *colors), order=1, mode="nearest")
        image = gaussian_filter(image, (blur * age, blur * age, *colors))
        light = (1 - 0.5 * age) * (1 + uneven * age * np.linspace(-1, 1, width))
        image = image * (light[:, None] if colors else light)
        image = random.poisson(image * PHOTONS / 255) * 255 / PHOTONS + random.normal(0, READ_NOISE, image.shape)
        frames.append(image.round().clip(0, 255).astype(np.uint8)[view])
        truths.append(shift(scene.classes, moved, order=0, mode="nearest")[view])
    return frames, np.stack(truths)


def photographed(image: NDArray, random: np.random.Generator, noise: float = 1.0) -> NDArray:
    """A frame with the noise of light, and of a camera so many times as noisy."""
    image = random.poisson(image * PHOTONS / 255) * 255 / PHOTONS + random.normal(0, noise * READ_NOISE, image.shape)
    return image.round().clip(0, 255).astype(np.uint8)


def panned(scene: Micrograph, seed: int = 0) -> tuple[list[NDArray], NDArray]:
    """Frames, ever darker, of a window that moves from where the rarer classes have least to where they have most."""
    random = np.random.default_rng(seed)
    values, counts = np.unique(scene.classes, return_counts=True)
    rare = np.pad(scene.classes != values[counts.argmax()], ((1, 0), (1, 0))).cumsum(0).cumsum(1)
    inside = rare[WINDOW:, WINDOW:] - rare[:-WINDOW, WINDOW:] - rare[WINDOW:, :-WINDOW] + rare[:-WINDOW, :-WINDOW]
    start, end = (np.array(np.unravel_index(where, inside.shape)) for where in (inside.argmin(), inside.argmax()))
    frames, truths = [], []
    for age in np.linspace(0, 1, N_FRAMES):
        top, left = np.round(start + (end - start) * age).astype(int)
        view = slice(top, top + WINDOW), slice(left, left + WINDOW)
        frames.append(photographed(scene.image[view] * (1 - 0.5 * age), random))
        truths.append(scene.classes[view])
    return frames, np.stack(truths)


def standing(
    scene: Micrograph, light: Callable[[float], float] | None, noise: float = 1.0, seed: int = 0
) -> tuple[list[NDArray], NDArray]:
    """Frames of a scene that stays where it is, lit as its age from 0 to 1 says; all the same one where it doesn't.

    The camera's noise grows evenly, until the last frame has so many times that of the first.
    """
    random = np.random.default_rng(seed)
    image = scene.image.astype(float)
    first = photographed(image, random)
    ages = np.linspace(0, 1, N_FRAMES)
    frames = [
        first if light is None else photographed(image * light(age), random, 1 + (noise - 1) * age) for age in ages
    ]
    return frames, np.stack([scene.classes] * N_FRAMES)


#: What happens to a scene that a network is to follow.
FILMS: dict[str, Callable[[Micrograph], tuple[list[NDArray], NDArray]]] = {
    "the same frame": partial(standing, light=None),
    "noise alone": partial(standing, light=lambda age: 1.0),
    "noise five times as strong at the end": partial(standing, light=lambda age: 1.0, noise=5.0),
    "half the light from the middle on": partial(standing, light=lambda age: 1.0 if age < 0.5 else 0.5),
    "drifts and fades": partial(filmed, blur=0.0, uneven=0.0),
    "also blurs, uneven light": partial(filmed, blur=2.0, uneven=0.3),
    "pans and fades": panned,
}


def judged(labels: Sequence[NDArray], truths: NDArray, seconds: float) -> dict[str, Any]:
    """Class mean IoU of every frame, flicker where the truth stays, and seconds a frame."""
    ious = [class_mean_iou(each, truth) for each, truth in zip(labels, truths, strict=True)]
    unchanged = truths[1:] == truths[:-1]
    return {"ious": ious, "flicker": flicker(np.stack(labels), unchanged), "seconds": seconds / len(ious)}


def by_network(model: Callable[[], Model], frames: Sequence[NDArray], truths: NDArray, **options: Any) -> dict:
    """What a network makes of a series."""
    network = model()
    began = time.perf_counter()
    labels = [each.labels for each in network.predict_series(frames, **options)]
    return judged(labels, truths, time.perf_counter() - began)


def by_adapted(model: Callable[[], Model], frames: Sequence[NDArray], truths: NDArray, **options: Any) -> dict:
    """The same, with the frames on which the network was updated and the labels, by which others are compared."""
    network = model()
    began = time.perf_counter()
    found = list(network.predict_series(frames, **options))
    labels, seconds = [each.labels for each in found], time.perf_counter() - began
    updated = sum(each.record["series"].get("updates", 0) > 0 for each in found)
    digest = hashlib.sha256(np.stack(labels).tobytes()).hexdigest()
    return {**judged(labels, truths, seconds), "updated": updated, "labels": digest}


def features_of(image: NDArray) -> NDArray:
    """What the forest sees, as in strokes.py."""
    return multiscale_basic_features(image, sigma_min=0.5, sigma_max=16)


def by_forest(references: Sequence[Micrograph], frames: Sequence[NDArray], truths: NDArray) -> dict[str, Any]:
    """What a random forest on the references' strokes makes of a series."""
    seen, wanted = [], []
    for each in references:
        painted = strokes(each.classes, 3, 0)
        seen.append(features_of(each.image)[painted > 0])
        wanted.append(painted[painted > 0])
    forest = RandomForestClassifier(n_estimators=100, random_state=0, n_jobs=1)
    forest.fit(np.concatenate(seen), np.concatenate(wanted))
    began = time.perf_counter()
    labels = [forest.predict(features_of(each).reshape(truths[0].size, -1)).reshape(truths[0].shape) for each in frames]
    return judged(labels, truths, time.perf_counter() - began)


def trained(name: str, references: Sequence[Micrograph], preset: str, engine: dict[str, Any], fresh: bool) -> Model:
    """The network of these references, kept beside the results."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{name}-{preset}.dfc.safetensors"
    if fresh or not path.exists():
        painted = [strokes(np.ascontiguousarray(each.classes), 3, 0) for each in references]
        dfc.fit([each.image for each in references], painted, preset=preset, **engine).save(path, overwrite=True)
    return dfc.load(path)


def draw_sheet(path: Path, sections: Sequence[Micrograph], model: Model, engine: dict[str, Any]) -> None:
    """Image, truth and prediction of every section, one below the other."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(2.4 * len(sections), 7.4), layout="constrained")
    axes = figure.subplots(3, len(sections))
    results = model.predict_series((each.image for each in sections), **engine)
    for column, (each, result) in enumerate(zip(sections, results, strict=True)):
        for row, picture in enumerate((each.image, COLORS[each.classes], COLORS[result.labels])):
            axes[row, column].imshow(picture, cmap="gray")
            axes[row, column].set_axis_off()
        axes[0, column].set_title(f"{each.name}: {class_mean_iou(result.labels, each.classes):.2f}")
    figure.savefig(path, dpi=100)


def adapted_table(root: Path, preset: str, engine: dict[str, Any], fresh: bool, results: Results) -> str:
    """What a network makes of every film with and without updates."""
    rows = []
    for (collection, name), words in product(SCENES, FILMS):
        (scene,) = [each for each in micrographs(collection, root) if each.name == name]
        frames, truths = FILMS[words](scene)
        frames, truths = frames[::2], truths[::2]
        kind = getattr(FILMS[words], "func", panned).__name__  # with the same first frame in all its films
        first = Micrograph(name, frames[0], truths[0])
        model = cache(partial(trained, f"{name}-{kind}", [first], preset, engine, fresh))
        for statistics in ("reference", "image"):
            plain = ""
            for updates in UPDATES:
                measure = partial(
                    by_adapted, model, frames, truths, statistics=statistics, adaptation=updates, **engine
                )
                found = results.get(f"{name}, {words}, {statistics}, {updates} updates", measure)
                plain = plain or found["labels"]
                ious = found["ious"]
                figures = [f"{each:.3f}" for each in (ious[0], ious[-1], np.mean(ious))]
                same = "all" if found["labels"] == plain else ""
                figures += [f"{found['flicker']:.4f}", found["updated"], same, f"{found['seconds']:.2f}"]
                rows.append([collection, words, statistics, updates, *figures])
    head = ["", "the scene", "statistics", "updates", "first", "last", "mean", "flicker", "updated frames"]
    return table([*head, "labels as without", "seconds a frame"], rows)


def main() -> None:
    """Print two tables."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="the folder that holds the collections")
    options.add_argument("--preset", default="fast")
    options.add_argument("--sheet", type=Path, help="draw image, truth and prediction of every section to this file")
    options.add_argument("--fresh", action="store_true", help="measure anew what an earlier call has measured")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    engine = {"device": given.device, "threads": given.threads}
    results = Results(f"series-{given.preset}-{given.device}", given.fresh)
    print(machine(given.threads, given.device))

    sections = list(micrographs("VNC", given.root))
    references, others = sections[:N_REFERENCES], sections[N_REFERENCES:]
    of_sections = cache(partial(trained, "VNC", references, given.preset, engine, given.fresh))
    images, truths = [each.image for each in others], np.stack([each.classes for each in others])
    rows = []
    for words, measure in {
        "`reference`": partial(by_network, of_sections, images, truths, **engine),
        "`reference`, smoothed": partial(by_network, of_sections, images, truths, smoothing=0.5, **engine),
        "`image`": partial(by_network, of_sections, images, truths, statistics="image", **engine),
        "random forest": partial(by_forest, references, images, truths),
    }.items():
        found = results.get(f"VNC, {words}", measure)
        ious = [f"{iou:.3f}" for iou in found["ious"]]
        rows.append([words, *ious, f"**{np.mean(found['ious']):.3f}**", f"{found['flicker']:.3f}"])
    print(f"\nVNC: of all pixels, {flicker(truths):.3f} change their true class from section to section\n")
    print(table(["", *(each.name for each in others), "mean", "flicker"], rows))
    if given.sheet:
        draw_sheet(given.sheet, others, of_sections(), engine)

    rows = []
    for collection, name in SCENES:
        (scene,) = [each for each in micrographs(collection, given.root) if each.name == name]
        for change, (blur, uneven) in CHANGES.items():
            frames, truths = filmed(scene, blur, uneven)
            first = Micrograph(name, frames[0], truths[0])
            model = cache(partial(trained, name, [first], given.preset, engine, given.fresh))
            for words, (statistics, smoothing) in WAYS.items():
                measure = partial(
                    by_network, model, frames, truths, statistics=statistics, smoothing=smoothing, **engine
                )
                found = results.get(f"{name}, {change}, {words}", measure)
                ious = found["ious"]
                figures = [f"{each:.3f}" for each in (ious[0], ious[-1], np.mean(ious))]
                rows.append([collection, change, words, *figures, f"{found['flicker']:.4f}", f"{found['seconds']:.2f}"])
    print("\nTime series\n")
    print(table(["", "the scene", "statistics", "first", "last", "mean", "flicker", "seconds a frame"], rows))
    print("\nAdaptation\n")
    print(adapted_table(given.root, given.preset, engine, given.fresh, results))
    rows = []
    for statistics, updates in product(("reference", "image"), UPDATES):
        words = f"VNC, {statistics}, {updates} updates"
        measure = partial(by_adapted, of_sections, images, truths, statistics=statistics, adaptation=updates, **engine)
        found = results.get(words, measure)
        rows.append([statistics, updates, f"{np.mean(found['ious']):.3f}", f"{found['flicker']:.3f}", found["updated"]])
    print("\nThe same on the sections\n")
    print(table(["statistics", "updates", "mean", "flicker", "updated frames"], rows))


if __name__ == "__main__":
    main()
