from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import napari.settings
import npe2
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from pytestqt.qtbot import QtBot
from superqt.utils._qthreading import WorkerBase

from napari_dfc.gui import preferences
from napari_dfc.gui.studio import Studio
from napari_dfc.gui.worker import LayerRun
from napari_dfc.samples import read_sample


@pytest.fixture(autouse=True)
def nothing_is_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No test starts with the settings of another one's run."""
    monkeypatch.setattr(preferences, "last_used_file", lambda: tmp_path / "napari" / "last.dfc-preset.json")


@pytest.fixture
def page(plugin_settings: None, npe2pm: Any) -> Any:
    """The plugin's page of napari's preferences, as of a person who has changed nothing."""
    get_plugin_settings = getattr(napari.settings, "get_plugin_settings", None)
    if get_plugin_settings is None:
        pytest.skip("napari before 0.9 has no preferences for plugins")
    npe2pm.register(npe2.PluginManifest.from_distribution("napari-dfc"))
    return get_plugin_settings("napari-dfc")


@pytest.fixture
def tissue() -> np.ndarray:
    """A piece of stained tissue, (64, 72, 3)."""
    return read_sample("stained_tissue").image[30:94, 140:212]


@pytest.fixture(scope="module")
def tissue_once() -> np.ndarray:
    """The same, for fixtures of a whole module."""
    return read_sample("stained_tissue").image[30:94, 140:212]


@pytest.fixture
def viewer(qtbot: QtBot) -> Iterator[ViewerModel]:
    """A viewer without a window: everything but drawing. No thread may outlive the test."""
    model = ViewerModel()
    yield model
    qtbot.waitUntil(lambda: not WorkerBase._worker_set, timeout=20_000)


@pytest.fixture
def studio(viewer: ViewerModel) -> Iterator[Studio]:
    made = Studio(viewer)
    yield made
    made.stop_all_planes()
    made.let_go()


@pytest.fixture
def image(viewer: ViewerModel, tissue: np.ndarray) -> Image:
    return viewer.add_image(tissue, name="cells")


@pytest.fixture
def finish(qtbot: QtBot) -> Callable[[LayerRun], LayerRun]:
    """Wait until a run has ended."""

    def wait(run: LayerRun, timeout: int = 60_000) -> LayerRun:
        qtbot.waitUntil(lambda: not run.running, timeout=timeout)
        return run

    return wait


@pytest.fixture
def filled(qtbot: QtBot) -> Callable[[LayerRun], LayerRun]:
    """Wait until a run's preview shows labels."""

    def wait(run: LayerRun) -> LayerRun:
        qtbot.waitUntil(lambda: run.layer is not None and run.layer.data.any(), timeout=60_000)
        return run

    return wait
