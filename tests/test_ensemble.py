from __future__ import annotations

import pytest
import torch
from torch import Tensor

from napari_dfc.ensemble import EnsemblePass, EnsemblePredictor
from napari_dfc.network import Ensemble, Network, initialize
from napari_dfc.passes import AutogradPass, Task
from napari_dfc.prediction import Picture
from napari_dfc.resolutions import enlarged, shrunken_image, shrunken_targets
from napari_dfc.settings import Settings
from napari_dfc.superpixels import Superpixels

N_CLUSTERS = 3


def ensemble_of(factors: tuple[int, ...], shares: tuple[float, ...] | None = None) -> Ensemble:
    network = Ensemble([Network(2, 6, 2, "replicate", N_CLUSTERS).double() for _ in factors], factors, shares)
    initialize(network, "xavier", torch.Generator().manual_seed(3))
    return network


def task_of(network: Ensemble, masked: bool = False) -> Task:
    generator = torch.Generator().manual_seed(1)
    image = torch.rand(2, 27, 34, generator=generator, dtype=torch.float64)
    mask = None
    if masked:
        mask = torch.rand(27, 34, generator=generator) > 0.3
        image = image * mask
    targets = torch.full((27, 34), -1)
    targets[2:5, 3:20], targets[12:15, 3:20], targets[20:24, 3:9] = 0, 1, 2
    if mask is not None:
        targets = targets.masked_fill(~mask, -1)
    return Task(network, image, Settings(n_channels=6), mask, targets, lambda: False)


def probabilities(network: Network, image: Tensor) -> Tensor:
    """Of a network alone, (h, w, q)."""
    with torch.no_grad():
        return network(image[None])[0].softmax(0).permute(1, 2, 0)


def test_networks_have_weights_of_their_own() -> None:
    first, second = ensemble_of((1, 1)).each()
    assert not torch.equal(first.convolutions[0].weight, second.convolutions[0].weight)


@pytest.mark.parametrize("shares", [None, (0.25, 0.75)])
def test_a_pass_averages_probabilities_and_leaves_each_network_its_own_gradient(
    shares: tuple[float, ...] | None,
) -> None:
    network = ensemble_of((1, 2), shares)
    task = task_of(network)
    found = EnsemblePass(task)(True)
    first, second = network.each()
    small = shrunken_image(task.image, None, 2)
    of_first, of_second = shares or (0.5, 0.5)
    fine, coarse = probabilities(first, task.image), enlarged(probabilities(second, small), 2, (27, 34))
    mean = of_first * fine + of_second * coarse
    assert torch.allclose(found.probabilities, mean, atol=1e-10)
    assert torch.equal(found.clusters.long(), mean.argmax(-1))
    alone = [
        AutogradPass(task._replace(network=first))(True),
        AutogradPass(task._replace(network=second, image=small, targets=shrunken_targets(task.targets, N_CLUSTERS, 2)))(
            True
        ),
    ]
    expected = [gradient for one in alone for gradient in one.gradients.found()]
    gradients = found.gradients.found()
    assert len(gradients) == len(list(network.parameters())) == len(expected)
    for gradient, other in zip(gradients, expected, strict=True):
        assert torch.allclose(gradient, other, atol=1e-8)
    total = sum(float(one.losses.total) for one in alone) / 2
    assert float(found.losses.total) == pytest.approx(total, abs=1e-10)


def test_each_network_s_continuity_weight_follows_its_own_labels() -> None:
    network = ensemble_of((1, 2))
    task = task_of(network)
    task = task._replace(settings=task.settings.change(continuity_schedule="continuity"))
    with torch.no_grad():  # one network that gives one class alone, beside one that gives all three
        network.each()[0].response_normalization.bias[2] = 100
    one_pass = EnsemblePass(task)
    first, second = one_pass(True), one_pass(True)
    totals = []
    for member, small in zip(network.each(), (task.image, shrunken_image(task.image, None, 2)), strict=True):
        targets = task.targets if small is task.image else shrunken_targets(task.targets, N_CLUSTERS, 2)
        alone = task._replace(network=member, image=small, targets=targets)
        n_labels = len(member(small[None]).argmax(1).unique())
        constant = alone.settings.change(continuity_schedule="constant", continuity_weight=50 / n_labels)
        totals.append((n_labels, float(AutogradPass(alone._replace(settings=constant))(False).losses.total)))
    assert [n_labels for n_labels, _ in totals] == [1, 3]
    assert float(second.losses.total) == pytest.approx(sum(total for _, total in totals) / 2)
    assert float(second.losses.total) > float(first.losses.total)  # there the first network's weight was 50 / 3 too


@pytest.mark.parametrize("masked", [False, True], ids=["whole", "masked"])
def test_prediction_gives_a_pass_s_probabilities(masked: bool) -> None:
    network = ensemble_of((1, 2, 1, 4), (0.1, 0.2, 0.3, 0.4))
    task = task_of(network, masked)
    found = EnsemblePass(task)(False)
    picture = Picture(task.image, task.mask)
    predictor = EnsemblePredictor(network)
    predictor.measure(picture)
    predicted = torch.cat([block.values for block in predictor.blocks(picture)])
    inside = torch.ones(27, 34, dtype=torch.bool) if task.mask is None else task.mask
    assert torch.allclose(predicted.softmax(-1)[inside], found.probabilities[inside], atol=1e-8)
    assert found.gradients.found() == []


def test_a_network_at_half_the_resolution_takes_every_other_pixel_s_superpixel() -> None:
    network = ensemble_of((1, 2))
    index = torch.randint(0, 12, (27, 34), generator=torch.Generator().manual_seed(2))
    task = task_of(network)._replace(superpixels=Superpixels(index, 12))
    found = EnsemblePass(task)(True)
    small, targets = shrunken_image(task.image, None, 2), shrunken_targets(task.targets, N_CLUSTERS, 2)
    alone = task._replace(network=network.each()[1], image=small, targets=targets, superpixels=None)
    without = AutogradPass(alone)(True)
    alone = alone._replace(superpixels=Superpixels(index[::2, ::2], 12))
    expected = AutogradPass(alone)(True)
    gradients = expected.gradients.found()
    for gradient, other in zip(found.gradients.found()[-len(gradients) :], gradients, strict=True):
        assert torch.allclose(gradient, other, atol=1e-8)
    assert not torch.allclose(gradients[0], without.gradients.found()[0], atol=1e-4)


def test_a_single_network_s_pass_refuses_several() -> None:
    with pytest.raises(TypeError, match="several networks"):
        AutogradPass(task_of(ensemble_of((1, 1))))(False)
