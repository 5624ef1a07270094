"""Time to import, to print the help and to open the widget: ``python tests/benchmarks/startup.py``.

Each figure is the wall time of a fresh process, in turn with one of Python alone, whose time is taken off.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

from bench import machine, parser, table

WIDGET = """
import time, napari
from qtpy.QtWidgets import QApplication
viewer = napari.Viewer()
viewer.open_sample("napari-dfc", "bright_field")
QApplication.processEvents()
began = time.perf_counter()
viewer.window.add_plugin_dock_widget("napari-dfc", "Segment")
QApplication.processEvents()
print(time.perf_counter() - began)
viewer.close()
"""


def seconds(command: Sequence[str]) -> float:
    """Wall time of a process."""
    began = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Print a table."""
    options = parser(__doc__.splitlines()[0])
    options.add_argument("--runs", type=int, default=7)
    options.add_argument("--skip-widget", action="store_true", help="where there is no display")
    given = options.parse_args()
    if not given.skip_widget and sys.platform == "linux" and not {"DISPLAY", "WAYLAND_DISPLAY"} & set(os.environ):
        raise SystemExit("there is no display for the widget: call it under xvfb-run, or with --skip-widget")
    python = [sys.executable, "-c", "pass"]
    commands = {
        "`import napari_dfc`": [sys.executable, "-c", "import napari_dfc"],
        "`napari-dfc --help`": [shutil.which("napari-dfc") or "napari-dfc", "--help"],
    }
    rows = []
    for name, command in commands.items():
        pairs = [(seconds(command), seconds(python)) for _ in range(given.runs + 1)][1:]
        whole = statistics.median(one for one, _ in pairs)
        more = statistics.median(one - other for one, other in pairs)
        rows.append([name, f"{whole * 1000:.0f}", f"{more * 1000:.0f}"])
    if not given.skip_widget:
        opened = [
            float(subprocess.run([sys.executable, "-c", WIDGET], check=True, capture_output=True, text=True).stdout)
            for _ in range(given.runs)
        ]
        rows.append(["opening the Segment widget in napari", f"{statistics.median(opened) * 1000:.0f}", ""])
    print(machine(given.threads))
    print(table(["", "ms, median", "more than Python alone, ms"], rows))


if __name__ == "__main__":
    main()
