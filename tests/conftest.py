"""Where tests run: with or without a display, with or without the images with ground truth."""

from __future__ import annotations

import os
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

from napari_dfc.devices import load_torch

load_torch()  # as the package loads it

# how long an example takes is no matter of tests: the first to draw or to compute takes a second on a busy computer
settings.register_profile("untimed", settings(), deadline=None)
settings.load_profile("untimed")

#: Set where a test of the window that is skipped is a failure.
REQUIRE_GUI = "NAPARI_DFC_REQUIRE_GUI"

SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"

#: Doctests that run only with the extra `exchange`.
NEED_EXCHANGE = ("napari_dfc.exchange.export",)

collect_ignore_glob = [] if find_spec("napari") else ["gui/*"]


def pytest_addoption(parser: pytest.Parser) -> None:
    """How thoroughly to test what depends on chance."""
    parser.addoption("--kills", type=int, default=1, help="how often processes are killed at random moments")


@pytest.hookimpl(trylast=True)  # once pytest-xvfb has set DISPLAY
def pytest_configure(config: pytest.Config) -> None:
    """Keep away from the person's own settings, and let widgets be made where nothing can be drawn."""
    worker = os.environ.get("PYTEST_XDIST_WORKER", "alone")
    os.environ["NAPARI_CONFIG"] = str(Path(config.rootpath, ".pytest_cache", f"napari-{worker}", "settings.yaml"))
    hands_out = getattr(config.option, "dist", "no") != "no" and not hasattr(config, "workerinput")
    if not has_display() and not hands_out:  # each process that runs tests has a display of its own
        os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    for item in items:
        if item.get_closest_marker("gui") and not has_display() and not os.environ.get(REQUIRE_GUI):
            item.add_marker(pytest.mark.skip(reason="no display; install Xvfb to test the window"))
        if item.get_closest_marker("gpu") and not has_cuda():
            item.add_marker(pytest.mark.skip(reason="no CUDA device"))
        if item.get_closest_marker("shared_data") and not SHARED_DATA.is_dir():
            item.add_marker(pytest.mark.skip(reason="the images with ground truth are not beside the checkout"))
        if item.name in NEED_EXCHANGE and not has_exchange():
            item.add_marker(pytest.mark.skip(reason="the extra exchange is not installed"))


def has_exchange() -> bool:
    return all(find_spec(name) for name in ("onnx", "onnxruntime", "bioimageio"))


def has_display() -> bool:
    """Whether a window can be drawn: pytest-xvfb has set DISPLAY by now where Xvfb is installed."""
    if not sys.platform.startswith("linux"):
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def has_cuda() -> bool:
    import torch

    return torch.cuda.is_available()


@pytest.fixture
def shared_data() -> Path:
    return SHARED_DATA
