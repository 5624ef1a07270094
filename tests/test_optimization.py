from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest
import torch
from skimage.segmentation import slic
from torch import Tensor, nn

from napari_dfc import optimization
from napari_dfc.cancellation import Cancelled
from napari_dfc.images import prepare
from napari_dfc.memory import crops
from napari_dfc.network import Ensemble, Network, initialize, weights_of
from napari_dfc.objective import StripObjective
from napari_dfc.optimization import Iteration, Optimization, optimize
from napari_dfc.passes import AutogradPass, Task
from napari_dfc.prediction import Picture, Predictor
from napari_dfc.samples import read_sample
from napari_dfc.scribbles import prepare as prepare_scribbles
from napari_dfc.settings import Settings
from napari_dfc.stripwise import StripPass
from napari_dfc.superpixels import Superpixels
from plain import plain_loop, plain_network, plain_optimizer, plain_step

LITERAL = {
    "restrict_to_scribbles": False,
    "balance_scribbles": False,
    "similarity_weight": 1.0,
    "keep_min_labels": False,
    "scribble_weight": 0.5,
    "padding": "zeros",
}


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """The same number on every machine: sums depend on it in their last digits."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def tissue(dtype: torch.dtype, rows: int = 72, columns: int = 96) -> Tensor:
    """A piece of a real image with nuclei and background, (3, H, W)."""
    plane = prepare(read_sample("stained_tissue").image[60 : 60 + rows, 140 : 140 + columns])
    return torch.from_numpy(plane.values).to(dtype)


def tissue_strokes(rows: int = 72, columns: int = 96) -> np.ndarray:
    """Strokes on the same piece: two classes."""
    strokes = np.zeros((rows, columns), dtype=np.uint8)
    strokes[30:60, 20] = 1
    strokes[4, 70:90] = 2
    return strokes


def pair(settings: Settings, dtype: torch.dtype) -> tuple[Network, nn.Sequential]:
    """Our network and the plain one with the same weights."""
    ours = Network(3, settings.n_channels, settings.n_conv).to(dtype)
    initialize(ours, settings.initialization, torch.Generator().manual_seed(settings.seed))
    theirs = plain_network(3, settings.n_channels, settings.n_conv).to(dtype)
    copy_weights(ours, theirs)
    return ours, theirs


def in_plain_order(network: Network) -> list[nn.Parameter]:
    """Our weights in the order in which the plain network holds its own."""
    modules = [layer for pair in zip(network.convolutions, network.normalizations, strict=True) for layer in pair]
    modules += [network.classifier, network.response_normalization]
    return [weight for module in modules for weight in (module.weight, module.bias)]


def copy_weights(ours: Network, theirs: nn.Module) -> None:
    with torch.no_grad():
        for weight, plain in zip(in_plain_order(ours), theirs.parameters(), strict=True):
            plain.copy_(weight)


def strokes_for(scribbled: bool, image: Tensor, n_channels: int) -> tuple[dict[str, object], Tensor | None]:
    """Strokes as the engine and as the plain loop want them."""
    if not scribbled:
        return {}, None
    strokes = prepare_scribbles(tissue_strokes(*image.shape[1:]), image.shape[1:], n_channels)
    targets = torch.from_numpy(strokes.targets)
    return {"targets": targets, "least": 2}, torch.where(targets < 0, 255, targets).flatten()


# The loop is chaotic: rounding grows by a factor of 1 to 10 an iteration, and so does the difference between the plain
# loop with one thread and with two. In these runs it grows so little that 1e-10 can be asked for after 20 iterations.
@pytest.mark.parametrize(
    ("scribbled", "n_conv", "seed"),
    [(False, 2, 8), (False, 2, 10), (False, 3, 8), (True, 3, 9), (True, 2, 8)],
)
def test_float64_runs_agree_with_the_plain_loop_for_20_iterations(scribbled: bool, n_conv: int, seed: int) -> None:
    settings = Settings(n_channels=24, n_conv=n_conv, max_iterations=20, min_labels=1, seed=seed, **LITERAL)
    image = tissue(torch.float64)
    ours, theirs = pair(settings, torch.float64)
    strokes, plain_strokes = strokes_for(scribbled, image, 24)
    compared = 0
    plain = plain_loop(theirs, image[None], 1.0, 20, 2 if scribbled else 1, 0.5, plain_strokes)
    for iteration, step in zip(optimize(ours, image, settings, **strokes), plain, strict=False):
        assert torch.equal(iteration.clusters.flatten(), step.labels)
        assert iteration.n_labels == step.n_labels
        for name in ("similarity", "continuity", "scribble", "total"):
            assert float(getattr(iteration.losses, name)) == pytest.approx(getattr(step, name), abs=1e-10, rel=0)
        compared += 1
    assert compared == 20
    assert step.n_labels < 24  # labels did merge on the way


@pytest.mark.parametrize("kind", [AutogradPass, StripPass])
@pytest.mark.parametrize("schedule", ["similarity", "continuity"])
def test_float64_runs_with_a_schedule_agree_with_the_plain_loop(
    monkeypatch: pytest.MonkeyPatch, kind: type[AutogradPass | StripPass], schedule: str
) -> None:
    monkeypatch.setattr(optimization, "pass_for", kind)
    settings = Settings(
        n_channels=24, max_iterations=12, min_labels=1, seed=8, continuity_schedule=schedule, continuity_weight=0.5
    )
    settings = settings.change(**LITERAL)
    image = tissue(torch.float64)
    ours, theirs = pair(settings, torch.float64)
    optimizer = plain_optimizer(theirs)
    n_labels, counts = 24, []
    for iteration in optimize(ours, image, settings):
        mu = 0.5 * (n_labels / 15 if schedule == "similarity" else 50 / n_labels)
        step = plain_step(theirs, optimizer, image[None], mu)
        n_labels = step.n_labels
        assert torch.equal(iteration.clusters.flatten(), step.labels)
        assert float(iteration.losses.total) == pytest.approx(step.total, abs=1e-9, rel=0)
        counts.append(n_labels)
    assert len(counts) == 13
    assert len(set(counts)) > 3  # the weight did change on the way


@pytest.mark.parametrize("scribbled", [False, True], ids=["no strokes", "strokes"])
@pytest.mark.parametrize("kind", [AutogradPass, StripPass])
def test_float64_runs_with_superpixels_agree_with_the_plain_loop(
    monkeypatch: pytest.MonkeyPatch, kind: type[AutogradPass | StripPass], scribbled: bool
) -> None:
    monkeypatch.setattr(optimization, "pass_for", kind)
    settings = Settings(n_channels=24, max_iterations=10, seed=9, continuity_weight=0.0, superpixels=60)
    settings = settings.change(**LITERAL)
    image = tissue(torch.float64)
    patches = slic(image.permute(1, 2, 0).numpy(), n_segments=60, compactness=100, start_label=0)
    ours, theirs = pair(settings, torch.float64)
    optimizer = plain_optimizer(theirs)
    strokes, plain_strokes = strokes_for(scribbled, image, 24)
    found = list(optimize(ours, image, settings, **{**strokes, "least": 0}))
    for iteration in found:
        labels = theirs(image[None])[0].argmax(0).numpy()
        wanted = np.zeros_like(labels)
        for patch in np.unique(patches):
            wanted[patches == patch] = np.argmax(np.bincount(labels[patches == patch]))
        step = plain_step(theirs, optimizer, image[None], 0.0, 0.5, plain_strokes, torch.from_numpy(wanted).flatten())
        assert torch.equal(iteration.clusters.flatten(), step.labels)  # the argmax, and not the majority
        assert (wanted != labels).any()
        for name in ("similarity", "scribble", "total"):
            assert float(getattr(iteration.losses, name)) == pytest.approx(getattr(step, name), abs=1e-10, rel=0)
    assert len(found) == 11


@pytest.mark.parametrize("scribbled", [False, True], ids=["no strokes", "strokes"])
@pytest.mark.parametrize("kind", [AutogradPass, StripPass])
def test_float32_iterations_agree_with_the_plain_loop_from_the_same_state(
    monkeypatch: pytest.MonkeyPatch, kind: type[AutogradPass | StripPass], scribbled: bool
) -> None:
    settings = Settings(n_channels=24, max_iterations=1, min_labels=1, seed=7, **LITERAL)
    image = torch.from_numpy(prepare(read_sample("stained_tissue").image).values)
    ours, theirs = pair(settings, torch.float32)
    strokes, plain_strokes = strokes_for(scribbled, image, 24)
    optimizer = plain_optimizer(theirs)
    one_pass = kind(Task(ours, image, settings, None, strokes.get("targets"), lambda: False))
    rows: list[Tensor] = []  # of the response, which no pass keeps
    add = StripObjective.add

    def listen(self: StripObjective, response: Tensor, top: int, gradient: Tensor, wanted: bool) -> None:
        rows.append(response[: len(gradient)].clone())
        add(self, response, top, gradient, wanted)

    monkeypatch.setattr(StripObjective, "add", listen)
    errors = []
    for _ in range(20):
        rows.clear()
        if kind is AutogradPass:
            with torch.no_grad():
                rows.append(ours(image[None])[0].permute(1, 2, 0))  # (H, W, q)
        found = one_pass(gradients=True)
        response = torch.cat(rows)
        clusters = found.clusters.flatten().long()
        step = plain_step(theirs, optimizer, image[None], 1.0, 0.5, plain_strokes, wanted=clusters)
        off = float((response.flatten(0, 1) - step.response).abs().max())
        assert off <= 1e-4 * float(step.response.abs().max())
        best = step.response.topk(2, dim=1).values
        differ = clusters != step.labels
        assert not differ.any() or float((best[:, 0] - best[:, 1])[differ].max()) < 1e-3

        in_order = dict(zip(ours.parameters(), found.gradients.found(), strict=True))
        largest = max(float(gradient.abs().max()) for gradient in step.gradients)
        errors.append(
            max(
                float((in_order[weight] - plain).abs().max()) / largest
                for weight, plain in zip(in_plain_order(ours), step.gradients, strict=True)
            )
        )
        # both go on from the plain loop's weights; its optimizer keeps the momentum
        with torch.no_grad():
            for weight, plain in zip(in_plain_order(ours), theirs.parameters(), strict=True):
                weight.copy_(plain)
    assert max(errors) <= 1e-4, errors


def test_updates_move_the_weights_as_the_plain_optimizer_does() -> None:
    settings = Settings(n_channels=16, max_iterations=3, min_labels=1, **LITERAL)
    image = tissue(torch.float64, 32, 32)
    ours, theirs = pair(settings, torch.float64)
    for _ in optimize(ours, image, settings):
        pass
    for _ in plain_loop(theirs, image[None], 1.0, 3, 1):
        pass
    for weight, plain in zip(in_plain_order(ours), theirs.parameters(), strict=True):
        assert torch.allclose(weight, plain, atol=1e-12)


def iterations(settings: Settings, image: Tensor | None = None, **options: object) -> list[Iteration]:
    image = tissue(torch.float32, 32, 40) if image is None else image
    network = Network(len(image), settings.n_channels, settings.n_conv, settings.padding)
    initialize(network, settings.initialization, torch.Generator().manual_seed(settings.seed))
    return list(optimize(network, image, settings, **options))


def test_iterations_are_numbered_by_updates_made() -> None:
    found = iterations(Settings(max_iterations=4, min_labels=1, n_channels=8))
    assert [iteration.number for iteration in found] == [0, 1, 2, 3, 4]


def test_run_ends_one_update_after_few_enough_labels() -> None:
    settings = Settings(max_iterations=200, min_labels=6, n_channels=16, continuity_weight=5.0)
    counts = [iteration.n_labels for iteration in iterations(settings)]
    assert counts[-2] <= 6
    assert all(count > 6 for count in counts[:-2])


@pytest.mark.parametrize("schedule", ["constant", "similarity"])
@pytest.mark.parametrize("painted", [False, True])
def test_being_ahead_of_the_label_counts_changes_no_result(
    monkeypatch: pytest.MonkeyPatch, painted: bool, schedule: str
) -> None:
    settings = Settings(
        max_iterations=30, min_labels=6, n_channels=16, continuity_weight=5.0, continuity_schedule=schedule
    )
    options: dict[str, object] = {}
    if painted:
        targets = torch.full((32, 40), -1)
        targets[3], targets[20] = 0, 1
        options = {"targets": targets, "least": 2}
    expected = iterations(settings, **options)
    monkeypatch.setattr(optimization, "_ahead", lambda device: 3)
    found = iterations(settings, **options)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert (one.number, one.n_labels) == (other.number, other.n_labels)
        assert torch.equal(one.clusters, other.clusters)
        assert all(torch.equal(one.weights[name], other.weights[name]) for name in one.weights)


def test_kept_weights_give_the_iteration_s_labels_again() -> None:
    settings = Settings(max_iterations=5, min_labels=1, n_channels=8)
    image = tissue(torch.float32, 32, 40)
    found = iterations(settings, image)
    network = Network(3, 8, 2, settings.padding)
    for iteration in found:
        network.load_state_dict(dict(iteration.weights))
        response = network(image[None])
        assert torch.equal(response.argmax(1)[0], iteration.clusters)


def test_masked_surround_changes_nothing_inside() -> None:
    settings = Settings(max_iterations=6, min_labels=1, n_channels=12, padding="zeros")
    inner = tissue(torch.float64, 24, 30)
    outer = torch.zeros(3, 34, 44, dtype=torch.float64)
    outer[:, 5:29, 7:37] = inner
    mask = torch.zeros(34, 44, dtype=torch.bool)
    mask[5:29, 7:37] = True
    for alone, masked in zip(run64(settings, inner), run64(settings, outer, mask=mask), strict=True):
        assert torch.equal(masked.clusters[5:29, 7:37], alone.clusters)
        assert float(masked.losses.total) == pytest.approx(float(alone.losses.total), abs=1e-10)
        assert masked.n_labels == alone.n_labels


def run64(settings: Settings, image: Tensor, **options: object) -> Iterator[Iteration]:
    network = Network(len(image), settings.n_channels, settings.n_conv, settings.padding).double()
    initialize(network, settings.initialization, torch.Generator().manual_seed(settings.seed))
    return optimize(network, image, settings, **options)


def test_asking_whether_to_cancel_changes_no_result() -> None:
    settings = Settings(max_iterations=5, min_labels=1, n_channels=8)
    plain = iterations(settings)
    asked = iterations(settings, cancelled=lambda: False)
    for one, other in zip(plain, asked, strict=True):
        assert torch.equal(one.clusters, other.clusters)
        assert float(one.losses.total) == float(other.losses.total)


@pytest.mark.parametrize("calls", [1, 5, 9], ids=["forward", "backward", "next iteration"])
def test_cancelling_ends_an_iteration_in_the_middle(calls: int) -> None:
    asked = iter(range(1000))
    settings = Settings(max_iterations=5, min_labels=1, n_channels=8)
    with pytest.raises(Cancelled):
        iterations(settings, cancelled=lambda: next(asked) >= calls)


def test_replicated_border_of_a_flat_surround_looks_like_the_rest_of_it() -> None:
    image = torch.ones(1, 40, 40)
    image[:, 12:28, 12:28] = 0
    for iteration in iterations(Settings(max_iterations=5, min_labels=1, n_channels=16, padding="replicate"), image):
        assert (iteration.clusters[:8] == iteration.clusters[5, 5]).all()
    first = iterations(Settings(max_iterations=1, n_channels=16, padding="zeros"), image)[0]
    assert (first.clusters[0] != first.clusters[5, 5]).any()


def test_crops_take_turns_and_the_last_map_is_that_of_the_whole_image() -> None:
    settings = Settings(max_iterations=9, min_labels=1, n_channels=8)
    image = tissue(torch.float64, 40, 50)
    network = Network(3, 8, 2, settings.padding).double()
    initialize(network, "xavier", torch.Generator().manual_seed(0))
    parts = crops((40, 50), (20, 25))
    found = list(optimize(network, image, settings, crops=parts))
    assert [one.number for one in found] == list(range(10))
    seen = [int(one.known.sum()) for one in found]
    assert seen[:4] == [500, 1000, 1500, 2000]
    for one, labels in zip(found[:4], seen[:4], strict=True):
        assert int(one.clusters[one.known].numel()) == labels
        assert one.n_labels == len(one.clusters[one.known].unique())
    # every four iterations each crop has its turn
    for start in (0, 4):
        changed = [int((found[start + k].clusters != found[start + k - 1].clusters).sum()) for k in range(1, 4)]
        assert all(count <= 500 for count in changed)
    predictor, picture = Predictor(network), Picture(image)
    predictor.measure(picture)
    expected = predictor.response(picture, slice(0, 40), slice(0, 50)).argmax(-1)
    assert torch.equal(found[-1].clusters.long(), expected)


def test_a_first_iteration_of_a_crop_is_that_of_the_crop_alone() -> None:
    settings = Settings(max_iterations=3, min_labels=1, n_channels=8, seed=3)
    image, mask = tissue(torch.float32, 30, 40), torch.ones(30, 40, dtype=torch.bool)
    mask[:, 20:] = False  # the crops there have nothing to learn from
    network = Network(3, 8, 2, settings.padding)
    initialize(network, "xavier", torch.Generator().manual_seed(3))
    first = next(iter(optimize(network, image * mask, settings, mask=mask, crops=crops((30, 40), (30, 20)))))
    alone = iterations(settings.change(max_iterations=1), image[:, :, :20].contiguous())[0]
    assert torch.equal(first.clusters[:, :20].long(), alone.clusters.long())
    assert torch.equal(first.known, mask)


def test_superpixels_are_cut_with_the_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    index = torch.randint(0, 40, (30, 40), generator=torch.Generator().manual_seed(0))

    def find(image: Tensor, number: int) -> Superpixels:
        return Superpixels(index[:, : image.shape[2]], number)

    monkeypatch.setattr(optimization, "find_superpixels", find)
    settings = Settings(max_iterations=4, min_labels=1, n_channels=8, superpixels=40)
    image, mask = tissue(torch.float64, 30, 40), torch.ones(30, 40, dtype=torch.bool)
    mask[:, 20:] = False  # the crops there have nothing to learn from
    crop = run64(settings, image * mask, mask=mask, crops=crops((30, 40), (30, 20)))
    for one, alone in zip(list(crop)[:4], run64(settings, image[:, :, :20].contiguous()), strict=False):
        assert float(one.losses.total) == pytest.approx(float(alone.losses.total), abs=1e-9)


def test_no_run_with_crops_ends_before_all_were_seen() -> None:
    settings = Settings(max_iterations=40, min_labels=8, n_channels=8)
    image = tissue(torch.float32, 40, 48)
    network = Network(3, 8, 2, settings.padding)
    initialize(network, "xavier", torch.Generator().manual_seed(0))
    found = list(optimize(network, image, settings, crops=crops((40, 48), (20, 16))))
    assert len(found) == 7  # six crops, then the whole: from the first on there were no more than 8 labels


def test_bfloat16_keeps_two_digits_of_the_gradients_and_leaves_the_weights_in_float32() -> None:
    settings = Settings(n_channels=16, continuity_weight=2.0)
    network, _ = pair(settings, torch.float32)
    image = tissue(torch.float32)
    exact, rounded = (
        AutogradPass(Task(network, image, settings.change(precision=precision), None, None, lambda: False))(True)
        for precision in ("float32", "bfloat16")
    )
    assert 1e-5 < abs(exact.losses.total - rounded.losses.total) < 2e-2 * exact.losses.total
    for one, other in zip(exact.gradients.found(), rounded.gradients.found(), strict=True):
        assert other.dtype == torch.float32
        assert (one - other).norm() < 0.2 * max(one.norm(), 1e-3)


def test_an_optimization_in_pieces_is_that_in_one_go() -> None:
    settings = Settings(n_channels=12, max_iterations=7, min_labels=1)
    image = tissue(torch.float32)
    whole, network = (pair(settings, torch.float32)[0] for _ in range(2))
    expected = [iteration.clusters for iteration in optimize(whole, image, settings)]
    course = Optimization(network, image, settings)
    found = [iteration.clusters for iteration in course.iterations(7, lambda number: number == 3)]
    assert course.number == 3
    found += [iteration.clusters for iteration in course.iterations(7)]
    assert len(found) == len(expected) == 8
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("crop", [(72, 96), (40, 48)], ids=["whole", "crops"])
@pytest.mark.parametrize("between", ["called off", "rest"])
def test_an_update_put_aside_is_made_as_if_it_had_not_been(between: str, crop: tuple[int, int]) -> None:
    settings = Settings(n_channels=12, max_iterations=7, min_labels=1, continuity_schedule="continuity")
    image = tissue(torch.float32)
    whole, network = (pair(settings, torch.float32)[0] for _ in range(2))
    parts = crops((72, 96), crop)
    expected = [iteration.clusters for iteration in optimize(whole, image, settings, crops=parts)]
    answers: list[bool] = []
    course = Optimization(network, image, settings, crops=parts, cancelled=lambda: bool(answers) and answers.pop(0))
    found = [next(course.iterations(7)).clusters]
    while course.number <= 7:
        if between == "rest":
            course.rest()
        else:
            for answers in ([True], [False, True], [False, False, True]):  # after no strip, one, and two more
                with pytest.raises(Cancelled):
                    next(course.iterations(7))
                assert not answers
        found.append(next(course.iterations(7)).clusters)
    assert len(found) == len(expected) == 8
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


def test_maps_are_free_once_it_rests_or_is_gone() -> None:
    image, settings = tissue(torch.float32), Settings(n_channels=12, max_iterations=7, min_labels=1)

    def begun() -> tuple[Optimization, weakref.ref[StripPass]]:
        course = Optimization(pair(settings, torch.float32)[0], image, settings)
        next(course.iterations(7))
        return course, weakref.ref(course._view._made)

    gc.collect()
    gc.disable()
    try:
        course, used = begun()
        course.rest()
        assert used() is None
        course, used = begun()
        assert used() is not None
        del course
        assert used() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("rested", [False, True], ids=["at once", "rested"])
def test_an_update_that_is_owed_follows_the_strokes_of_its_iteration(rested: bool) -> None:
    image = tissue(torch.float32)
    settings = Settings(n_channels=12, max_iterations=20)
    painted = torch.from_numpy(prepare_scribbles(tissue_strokes(), (72, 96), 12).targets)
    exchanged = torch.where(painted >= 0, 1 - painted, painted)
    found = []
    for early in (True, False):
        members = [Network(3, 12, 2, n_clusters=2), Network(3, 12, 0, n_clusters=2)]
        ensemble = Ensemble(members, (1, 1))
        initialize(ensemble, "xavier", torch.Generator().manual_seed(0))
        course = Optimization(ensemble, image, settings, targets=painted, least=0)
        list(course.iterations(20, lambda number: number == 3))
        if early:
            course.settle()
        elif rested:
            course.rest()
        course.teach(exchanged)
        if not early:
            course.foretaste()
        list(course.iterations(20, lambda number: number == 5))
        course.settle()
        found.append(weights_of(ensemble))
    for name, weight in found[0].items():
        assert torch.equal(weight, found[1][name]), name


def test_a_foretaste_follows_new_strokes_and_leaves_the_networks_alone() -> None:
    image = tissue(torch.float32)
    settings = Settings(n_channels=12, max_iterations=20)
    members = [Network(3, 12, 2, n_clusters=2), Network(3, 12, 0, n_clusters=2)]
    ensemble = Ensemble(members, (1, 1))
    initialize(ensemble, "xavier", torch.Generator().manual_seed(0))
    painted = torch.from_numpy(prepare_scribbles(tissue_strokes(), (72, 96), 12).targets)
    course = Optimization(ensemble, image, settings, targets=painted, least=0)
    *_, last = course.iterations(20, lambda number: number == 5)
    exchanged = torch.where(painted >= 0, 1 - painted, painted)
    course.teach(exchanged)
    before = weights_of(ensemble)
    shown = course.foretaste()
    for name, weight in weights_of(ensemble).items():
        assert torch.equal(weight, before[name])
    plain = course._view._pass._mean(range(2)).argmax(-1)  # with the say of the one that was updated for a moment
    assert torch.equal(shown.long(), plain)
    assert (shown != last.clusters).any()


def test_there_is_no_foretaste_of_networks_that_all_learn_their_features() -> None:
    settings = Settings(n_channels=8, max_iterations=3)
    network = pair(settings, torch.float32)[0]
    assert Optimization(network, tissue(torch.float32), settings).foretaste() is None
