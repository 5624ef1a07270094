from __future__ import annotations

import subprocess
import sys
from importlib.metadata import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest

import napari_dfc as dfc
from napari_dfc.settings import PRESETS, parameters

ROOT = Path(__file__).parents[1]


def in_fresh_process(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_import_loads_neither_torch_nor_qt_nor_napari() -> None:
    heavy = ("torch", "napari", "qtpy", "PyQt6", "PySide6", "magicgui", "superqt", "numpy", "dask", "zarr", "typer")
    found = in_fresh_process(f"import sys, napari_dfc; print([name for name in {heavy} if name in sys.modules])")
    assert found == "[]"


def test_engine_imports_with_torch_numpy_scipy_and_scikit_image_alone() -> None:
    others = (
        "napari",
        "qtpy",
        "magicgui",
        "superqt",
        "psygnal",
        "tifffile",
        "imageio",
        "dask",
        "zarr",
        "typer",
        "rich",
    )
    code = (
        "import sys\n"
        f"for name in {others}: sys.modules[name] = None\n"  # importing them fails
        "import numpy, napari_dfc\n"
        "print(napari_dfc.segment(numpy.eye(8), max_iterations=2, n_channels=4).labels.shape)"
    )
    assert in_fresh_process(code) == "(8, 8)"


def test_segmenting_does_not_load_pytorch_s_compiler() -> None:
    code = (
        "import sys, numpy, napari_dfc\n"
        "napari_dfc.segment(numpy.eye(8), max_iterations=2, n_channels=4)\n"
        "print('torch._dynamo' in sys.modules)"
    )
    assert in_fresh_process(code) == "False"


def test_every_public_name_is_there() -> None:
    for name in dfc.__all__:
        if find_spec("napari") or name not in ("segment_layer", "start"):
            assert getattr(dfc, name)
    assert set(dir(dfc)) == set(dfc.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'nothing'"):
        dfc.nothing  # noqa: B018 - the look-up is the test


def test_version_is_that_of_the_distribution() -> None:
    assert dfc.__version__ == metadata("napari-dfc")["Version"]


def test_torch_that_cannot_be_loaded_is_said_in_words() -> None:
    code = (
        "import importlib, napari_dfc\n"
        "def fail(name): raise OSError('DLL load failed')\n"
        "importlib.import_module = fail\n"
        "try: napari_dfc.segment\n"
        "except ImportError as error: print(error)"
    )
    assert "Reinstall it" in in_fresh_process(code)


def test_manifest_is_valid_and_lists_segment_first() -> None:
    npe2 = pytest.importorskip("npe2")
    manifest = npe2.PluginManifest.from_distribution("napari-dfc")
    manifest.validate_imports()
    assert manifest.contributions.widgets[0].display_name == "Segment"


def test_manifest_s_preferences_offer_what_the_settings_accept() -> None:
    npe2 = pytest.importorskip("npe2")
    manifest = npe2.PluginManifest.from_distribution("napari-dfc")
    preferences = manifest.contributions.configurations["defaults"].properties
    known = {parameter.name: parameter for parameter in parameters()}
    for name in ("preset", "device"):
        assert tuple(preferences[name].enum) == known[name].choices
        assert preferences[name].default == known[name].default


def test_readme_and_constraints_agree_with_the_package() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in (
        'python -m pip install -c .ci/constraints.txt ".[all]" && napari-dfc demo',
        'python -m pip install -c .ci/constraints.txt -e ".[all,exchange,test]" && python -m pytest',
    ):
        assert command in readme
    assert "torch==" in (ROOT / ".ci" / "constraints.txt").read_text(encoding="utf-8")
    assert "torch==" not in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_table_of_settings_in_the_docs_is_the_settings() -> None:
    """Run ``python docs/make_settings.py`` after a change of the settings."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        from make_settings import table
    finally:
        sys.path.pop(0)
    page = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert table() in page
    for parameter in parameters():
        assert f"`{parameter.name}`" in page
    for preset in PRESETS:
        assert f"| {preset} " in page
