from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_dfc.devices import Device, choose_device
from napari_dfc.memory import LEAST_CROP, Plan, crops, make_plan
from napari_dfc.settings import Settings

CPU = choose_device("cpu")


@given(st.tuples(st.integers(1, 60), st.integers(1, 60)), st.integers(1, 5), st.integers(1, 5))
def test_crops_are_of_one_size_and_cover_the_image(shape: tuple[int, int], down: int, across: int) -> None:
    crop = (-(-shape[0] // down), -(-shape[1] // across))
    seen = np.zeros(shape, dtype=int)
    found = crops(shape, crop)
    for part in found:
        assert seen[part].shape == crop
        seen[part] += 1
    assert (seen > 0).all()
    assert len(found) <= down * across


def test_a_small_image_is_taken_whole() -> None:
    plan = make_plan((512, 512), 3, Settings(), CPU)
    assert (plan.crop, plan.n_crops) == ((512, 512), 1)
    assert plan.bytes == plan.whole
    # the maps alone: one for each of two layers, one for the gradient, 32 channels of 4 bytes
    maps = 3 * 512 * 512 * 32 * 4
    assert maps < plan.bytes < 1.5 * maps
    assert str(plan) == f"about {plan.bytes / 1e9:.1f} GB of memory"


def test_a_large_image_is_cut_so_that_it_stays_below_the_limit() -> None:
    plan = make_plan((4096, 4096), 3, Settings(memory_limit=2.0), CPU)
    assert plan.n_crops > 1
    assert plan.bytes <= plan.limit == 2e9
    assert plan.whole > 6e9
    larger = make_plan((4096, 4096), 3, Settings(memory_limit=4.0), CPU)
    assert larger.n_crops < plan.n_crops
    assert "crops of" in str(plan)


def test_every_network_takes_memory_at_its_own_resolution() -> None:
    settings = Settings(split_into="clusters", extractor="convolutions")
    one = make_plan((800, 800), 3, settings, CPU).bytes
    half = make_plan((400, 400), 3, settings, CPU).bytes
    both = make_plan((800, 800), 3, settings, CPU, factors=(1, 2)).bytes
    assert both == one + half - 4 * 400 * 400  # there is one label map; the shrunken image is there as well
    response = 3 * 4 * (800 * 800 + 400 * 400)  # of three channels, in float32
    with_response = make_plan((800, 800), 3, settings, CPU, factors=(1, 2), n_clusters=3).bytes
    # each network's gradient and probabilities; one more of the probabilities at full size, and their mean
    assert with_response - both == 2 * response + 2 * 3 * 4 * 800 * 800


def test_superpixels_take_memory_too() -> None:
    without = make_plan((800, 800), 3, Settings(), CPU).bytes
    plan = make_plan((800, 800), 3, Settings(superpixels=1000), CPU)
    # four indices of 8 bytes a pixel, and a count for each superpixel and channel
    assert plan.bytes == without + 4 * 8 * 800 * 800 + 4 * 1000 * 32
    # finding them takes four images and labels of 8 bytes, which no crops make less
    settings = Settings(split_into="clusters", superpixels=1000, memory_limit=0.85)
    large = make_plan((4000, 4000), 3, settings, CPU)
    assert large.bytes == 4000 * 4000 * (4 * 3 * 4 + 8) > large.limit


def test_crops_do_not_become_too_small_to_show_anything() -> None:
    plan = make_plan((5000, 300), 3, Settings(memory_limit=0.1, n_channels=1000), CPU)
    assert max(plan.crop) <= LEAST_CROP
    assert min(plan.crop) > LEAST_CROP / 3


def test_the_limit_is_a_share_of_what_the_computer_has(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_dfc.memory.total_memory", lambda device: 2e9)
    plan = make_plan((2048, 2048), 1, Settings(memory_limit=6.0), CPU)
    assert plan.limit == pytest.approx(1.2e9)
    assert plan.bytes <= 1.2e9


def test_automatic_differentiation_is_known_to_need_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("napari_dfc.memory.total_memory", lambda device: 80e9)
    cuda = Device("cuda", "CUDA: one", "as asked for")
    assert make_plan((512, 512), 3, Settings(), cuda).bytes > 2 * make_plan((512, 512), 3, Settings(), CPU).bytes


def test_plan_speaks_of_megabytes_where_they_are_few() -> None:
    assert str(Plan(42_000_000, (9, 9), 1, 6e9, 42_000_000)) == "about 42 MB of memory"


def test_regions_take_memory_that_the_limit_counts() -> None:
    device = choose_device("cpu")
    plain = make_plan((1000, 1000), 1, Settings(split_into="clusters"), device)
    regions = make_plan((1000, 1000), 1, Settings(split_into="regions"), device)
    assert regions.bytes - plain.bytes == 40 * 1000 * 1000
    limited = make_plan((1000, 1000), 1, Settings(split_into="regions"), device, most=plain.bytes)
    assert limited.n_crops > 1
    assert limited.bytes <= plain.bytes


def test_what_follows_the_iterations_takes_memory_too() -> None:
    settings = Settings(n_channels=2, n_conv=1, extractor="convolutions")  # less than what follows
    shape, factors = (1000, 1000), (4, 4)
    plans = {
        share: make_plan(shape, 3, settings.change(edge_share=share), CPU, factors=factors, n_clusters=20).bytes
        for share in (0.0, 0.5)
    }
    # the image and three responses of all classes, 4 bytes each; with edges contrast and basins
    assert plans[0.5] == 1000 * 1000 * (40 + 4 * (3 + 3 * 20))
    assert plans[0.0] == 1000 * 1000 * 4 * (3 + 3 * 20)


def test_filters_take_memory_for_their_responses() -> None:
    shape, factors = (800, 800), (1, 2)
    learned = make_plan(shape, 3, Settings(extractor="convolutions"), CPU, factors=factors, n_clusters=3).bytes
    both = make_plan(shape, 3, Settings(), CPU, factors=(*factors, 1), n_clusters=3).bytes
    # 16 responses of three channels, while they are found and as they are kept; of three classes the gradient and the
    # probabilities with their buffers; the padded image
    assert both - learned == 800 * 800 * 4 * (2 * 16 * 3 + 4 * 3 + 3)
