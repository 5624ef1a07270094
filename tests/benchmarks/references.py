"""A network trained on a few references, on the images that follow: ``python tests/benchmarks/references.py``.

WBC, data set 2: the first four of its cells are references, with three strokes a class drawn from the ground truth by
a seeded procedure on each of them or on the first alone; the network is applied to the other sixteen. Their class mean
IoU is compared with that of a run on each of them alone, with strokes of its own or without. The random forest of
strokes.py is trained on the same strokes of the references.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from skimage.feature import multiscale_basic_features
from sklearn.ensemble import RandomForestClassifier

import napari_dfc as dfc
from bench import Results, interval, machine, parser, table, torch
from micrographs import DEFAULT_ROOT, Micrograph, micrographs, strokes
from napari_dfc.metrics import class_mean_iou

N_REFERENCES = 4
N_STROKES = 3

ALONE = "each alone, strokes of its own"


def by_network(
    references: list[Micrograph], painted: list[NDArray | None], others: list[Micrograph], options: dict[str, object]
) -> dict[str, dict[str, list[float]]]:
    """Class mean IoU and drift of a network on the other images, with both kinds of statistics."""
    model = dfc.fit([each.image for each in references], painted, **options)
    engine = {name: options[name] for name in ("device", "threads")}
    found: dict[str, dict[str, list[float]]] = {}
    for statistics in ("reference", "image"):
        results = [model.predict(each.image, statistics=statistics, **engine) for each in others]
        scores = [class_mean_iou(result.labels, each.classes) for result, each in zip(results, others, strict=True)]
        found[statistics] = {"iou": scores, "drift": [result.drift for result in results]}
    return found


def features_of(image: NDArray) -> NDArray:
    """What the forest sees, (H, W, F)."""
    return multiscale_basic_features(image, sigma_min=0.5, sigma_max=16, channel_axis=-1 if image.ndim == 3 else None)


def by_forest(references: list[Micrograph], painted: list[NDArray], others: list[Micrograph]) -> dict[str, dict]:
    """The same of a random forest."""
    features = np.concatenate(
        [features_of(each.image)[strokes > 0] for each, strokes in zip(references, painted, strict=True)]
    )
    forest = RandomForestClassifier(n_estimators=100, random_state=0, n_jobs=-1)
    forest.fit(features, np.concatenate([strokes[strokes > 0] for strokes in painted]))
    scores = []
    for each in others:
        there = features_of(each.image)
        labels = forest.predict(there.reshape(-1, there.shape[-1])).reshape(each.classes.shape)
        scores.append(class_mean_iou(labels, each.classes))
    return {"": {"iou": scores, "drift": []}}


def by_runs(others: list[Micrograph], seed: int | None, options: dict[str, object]) -> dict[str, dict]:
    """The same of a run on each image alone; without strokes, each group is the class that most of it is."""
    scores = []
    for each in others:
        if seed is None:
            labels = named_by_truth(dfc.segment(each.image, **options).labels, each.classes)
        else:
            painted = strokes(each.classes, N_STROKES, seed)
            labels = dfc.segment(each.image, scribbles=painted, **options).labels
        scores.append(class_mean_iou(labels, each.classes))
    return {"": {"iou": scores, "drift": []}}


def named_by_truth(labels: NDArray[np.integer], classes: NDArray[np.uint8]) -> NDArray[np.integer]:
    """Every label as the class that most of its pixels have: the best that naming by hand could do."""
    counts = np.zeros((labels.max() + 1, classes.max() + 1), dtype=int)
    np.add.at(counts, (labels.ravel(), classes.ravel()), 1)
    return counts.argmax(1)[labels]


def main() -> None:
    """Print a table."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--root", type=Path, default=DEFAULT_ROOT, help="the folder that holds the collections")
    options.add_argument("--preset", default="fast")
    options.add_argument("--iterations", type=int, nargs="*", default=[30, 60], help="of training on all references")
    options.add_argument("--seeds", type=int, default=3, help="how many times the strokes are drawn")
    options.add_argument("--fresh", action="store_true", help="measure anew what an earlier call has measured")
    given = options.parse_args()
    torch.set_num_threads(given.threads)
    images = list(micrographs("WBC", given.root, "d2"))
    references, others = images[:N_REFERENCES], images[N_REFERENCES:]
    engine = {"preset": given.preset, "device": given.device, "threads": given.threads}

    results = Results(f"references-{given.preset}-{given.device}", given.fresh)
    found: dict[str, list[dict[str, dict]]] = {}
    for seed in range(given.seeds):
        painted = [strokes(each.classes, N_STROKES, seed) for each in references]
        tasks = {
            "1 reference": partial(by_network, references[:1], painted[:1], others, engine),
            "random forest, 4 references": partial(by_forest, references, painted, others),
            ALONE: partial(by_runs, others, seed, engine),
        }
        for iterations in given.iterations:
            longer = {**engine, "max_iterations": iterations}
            name = f"{N_REFERENCES} references, {iterations} iterations"
            tasks[name] = partial(by_network, references, painted, others, longer)
            only_one = [painted[0], *[None] * (N_REFERENCES - 1)]
            tasks[f"{name}, strokes on one"] = partial(by_network, references, only_one, others, longer)
        for name, task in tasks.items():
            found.setdefault(name, []).append(results.get(f"{name}, seed {seed}", task))
    found["each alone, 5 groups named by the truth"] = [
        results.get("groups", partial(by_runs, others, None, {**engine, "n_groups": 5}))
    ]

    scores = {
        (name, kind): np.mean([each[kind]["iou"] for each in drawn], axis=0).tolist()
        for name, drawn in found.items()
        for kind in drawn[0]
    }
    alone = [[score] for score in scores[ALONE, ""]]
    rows = []
    for (name, kind), each in scores.items():
        low, high = interval([[score] for score in each], alone)
        less = "" if name == ALONE else f"{low:+.3f} to {high:+.3f}"
        rows.append([name, kind, f"{np.mean(each):.3f}", f"{np.median(each):.3f}", f"{min(each):.2f}", less])
    head = ["", "statistics", "class mean IoU", "median", "worst image", f"less {ALONE}"]
    print(machine(given.threads, given.device), f"{len(others)} images, strokes drawn {given.seeds} times", sep="\n")
    print(table(head, rows))
    name = f"{N_REFERENCES} references, {given.iterations[-1]} iterations"
    drift = np.concatenate([drawn["reference"]["drift"] for drawn in found[name]])
    print(f"drift {drift.min():.3f} to {drift.max():.3f}, median {np.median(drift):.3f}")


if __name__ == "__main__":
    main()
