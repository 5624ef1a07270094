from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from torch import Tensor

from napari_dfc import strips
from napari_dfc.cancellation import Cancelled
from napari_dfc.network import Network, initialize
from napari_dfc.passes import AutogradPass, Found, Task
from napari_dfc.settings import Settings
from napari_dfc.stripwise import StripPass
from napari_dfc.superpixels import Superpixels


@pytest.fixture(autouse=True)
def low_strips() -> Iterator[None]:
    """Several strips even of small images."""
    before = strips.STRIP_BYTES
    strips.STRIP_BYTES = 4000
    yield
    strips.STRIP_BYTES = before


def task(
    height: int,
    width: int,
    *,
    n_conv: int = 2,
    padding: str = "zeros",
    masked: bool = False,
    painted: bool = False,
    n_clusters: int | None = None,
    balanced: bool = False,
    patches: bool = False,
    dtype: torch.dtype = torch.float64,
    seed: int = 0,
) -> Task:
    """An image of noise, and a network whose normalizations do something."""
    generator = torch.Generator().manual_seed(seed)
    n_channels = 7
    image = torch.rand(2, height, width, generator=generator, dtype=dtype)
    mask = None
    if masked:
        mask = torch.rand(height, width, generator=generator) > 0.3
        mask[0, 0] = True
        image = image * mask
    targets = None
    if painted:
        targets = torch.full((height, width), -1)
        targets[:, 0], targets[0, -1] = 0, 1
        if mask is not None:
            targets[~mask] = -1
    network = Network(2, n_channels, n_conv, padding, n_clusters).to(dtype)
    initialize(network, "framework", generator)
    with torch.no_grad():
        for normalization in [*network.normalizations, network.response_normalization]:
            normalization.weight.uniform_(0.5, 1.5, generator=generator)
            normalization.bias.uniform_(-0.5, 0.5, generator=generator)
    settings = Settings(
        n_channels=n_channels,
        n_conv=n_conv,
        continuity_weight=2.0,
        scribble_weight=0.7,
        similarity_weight=0.3,
        balance_scribbles=balanced,
    )
    superpixels = None
    if patches:
        superpixels = Superpixels(torch.randint(0, 9, (height, width), generator=generator), 9)
    return Task(network, image, settings, mask, targets, lambda: False, superpixels=superpixels)


def assert_same(ours: Found, plain: Found, mask: Tensor | None, tolerance: float) -> None:
    inside = torch.ones(plain.clusters.shape, dtype=torch.bool) if mask is None else mask
    assert torch.equal(ours.clusters[inside].long(), plain.clusters[inside])
    for loss, expected in zip(ours.losses, plain.losses, strict=True):
        assert float(loss) == pytest.approx(float(expected), abs=tolerance)
    found, wanted = ours.gradients.found(), plain.gradients.found()
    assert len(found) == len(wanted)
    largest = max((float(gradient.abs().max()) for gradient in wanted), default=0)
    for gradient, expected in zip(found, wanted, strict=True):
        assert gradient.shape == expected.shape
        assert float((gradient - expected).abs().max()) <= tolerance * max(largest, 1)


@hypothesis_settings(max_examples=60)
@given(
    height=st.integers(1, 23),
    width=st.integers(1, 19),
    n_conv=st.integers(1, 4),
    padding=st.sampled_from(["zeros", "replicate"]),
    masked=st.booleans(),
    painted=st.booleans(),
    n_clusters=st.sampled_from([2, 7, 9]),
    balanced=st.booleans(),
    patches=st.booleans(),
    seed=st.integers(0, 10**6),
)
def test_a_pass_in_float64_gives_what_automatic_differentiation_gives(
    height: int,
    width: int,
    n_conv: int,
    padding: str,
    masked: bool,
    painted: bool,
    n_clusters: int,
    balanced: bool,
    patches: bool,
    seed: int,
) -> None:
    given_task = task(
        height,
        width,
        n_conv=n_conv,
        padding=padding,
        masked=masked,
        painted=painted,
        n_clusters=n_clusters,
        balanced=balanced,
        patches=patches,
        seed=seed,
    )
    # with few pixels a channel's variance can lie near the normalization's epsilon, which multiplies rounding by 300
    # at every layer
    assert_same(StripPass(given_task)(True), AutogradPass(given_task)(True), given_task.mask, 1e-7)


@pytest.mark.parametrize("schedule", ["constant", "similarity", "continuity"])
def test_passes_follow_the_network_s_weights(schedule: str) -> None:
    given_task = task(30, 26, masked=True)
    given_task = given_task._replace(settings=given_task.settings.change(continuity_schedule=schedule))
    ours, plain = StripPass(given_task), AutogradPass(given_task)
    for _ in range(3):
        assert_same(ours(True), plain(True), given_task.mask, 1e-11)
        with torch.no_grad():
            for weight in given_task.network.parameters():
                weight.mul_(1.1)
    assert_same(ours(False), plain(False), given_task.mask, 1e-11)


@pytest.mark.parametrize("kind", [StripPass, AutogradPass])
def test_continuity_weight_follows_the_labels_of_the_pixels_that_take_part(
    kind: type[StripPass | AutogradPass],
) -> None:
    given_task = task(3, 3, masked=True, seed=45)
    settings = given_task.settings
    one_pass = kind(given_task._replace(settings=settings.change(continuity_schedule="continuity")))
    clusters = one_pass(True).clusters
    n_labels = len(clusters[given_task.mask].unique())
    assert n_labels < len(clusters.unique())
    constant = settings.change(continuity_weight=2.0 * 50 / n_labels)
    expected = AutogradPass(given_task._replace(settings=constant))(False)
    assert float(one_pass(True).losses.total) == pytest.approx(float(expected.losses.total))


def test_another_image_of_the_same_shape_leaves_no_trace_of_the_first() -> None:
    first, second = task(21, 26, masked=True, painted=True), task(21, 26, seed=1)._replace(network=task(1, 1).network)
    ours = StripPass(first)
    ours(True)
    ours.take(second)
    assert_same(ours(True), AutogradPass(second)(True), None, 1e-11)


def test_a_pass_is_called_off_between_two_strips() -> None:
    asked = iter(range(1000))
    given_task = task(40, 20)._replace(cancelled=lambda: next(asked) >= 12)
    with pytest.raises(Cancelled):
        StripPass(given_task)(True)
    assert next(asked) == 13


def test_result_does_not_depend_on_the_height_of_the_strips() -> None:
    given_task = task(37, 30, n_conv=3, patches=True)
    low = StripPass(given_task)(True)
    strips.STRIP_BYTES = 10**9
    assert_same(StripPass(given_task)(True), low, None, 1e-11)
