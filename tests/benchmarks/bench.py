"""What the benchmarks share: the machine in words, paired runs, and results that are kept and taken up again."""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from datetime import date
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import track

from napari_dfc.devices import load_torch

torch = load_torch()  # as the package loads it

#: Where results lie; not part of the project.
RESULTS = Path(__file__).with_name("results")


def parser(words: str) -> argparse.ArgumentParser:
    """A command line with what every benchmark takes."""
    made = argparse.ArgumentParser(description=words)
    made.add_argument("--threads", type=int, default=torch.get_num_threads(), help="processor threads")
    made.add_argument("--device", default="cpu", help="cpu, cuda or mps")
    return made


def add_jobs(made: argparse.ArgumentParser) -> None:
    """For benchmarks of quality, whose images can be measured side by side."""
    made.add_argument("--jobs", type=int, default=1, help="processes at once; with more than one, seconds mean little")


def machine(threads: int, device: str = "cpu") -> str:
    """One line that says what the figures were measured on."""
    processor = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.split(":")[1].strip() for line in lines if line.startswith("model name")]
        processor = names[0] if names else processor
    vectors = torch.backends.cpu.get_cpu_capability()
    card = f", {torch.cuda.get_device_name()}" if device == "cuda" else ""
    return (
        f"{processor} ({vectors}), {threads} of {os.cpu_count()} cores{card}, Python {platform.python_version()}, "
        f"torch {torch.__version__}, {date.today().isoformat()}"
    )


def synchronize(device: str) -> None:
    """Wait until the device has done all it was given."""
    if device == "cuda":
        torch.cuda.synchronize()
    elif device == "mps":
        torch.mps.synchronize()


def paired(
    one: Callable[[], object], other: Callable[[], object], runs: int, device: str = "cpu", words: str = ""
) -> list[tuple[float, float]]:
    """Seconds of both, in turn, so that a drift of the machine meets both alike."""
    found = []
    for _ in track(range(runs), description=words or "measuring", transient=True):
        pair = []
        for each in (one, other):
            synchronize(device)
            began = time.perf_counter()
            each()
            synchronize(device)
            pair.append(time.perf_counter() - began)
        found.append((pair[0], pair[1]))
    return found


def median_ratio(pairs: Sequence[tuple[float, float]]) -> float:
    """Median of the ratios, pair by pair."""
    return statistics.median(one / other for one, other in pairs)


class Results:
    """Figures kept in a JSON file after each of them, so that an interrupted benchmark goes on where it was.

    Parameters
    ----------
    name : str
        Of the benchmark and of its options, as far as they change the figures.
    fresh : bool
        Forget what was measured before.
    """

    def __init__(self, name: str, fresh: bool = False) -> None:
        RESULTS.mkdir(exist_ok=True)
        self.path = RESULTS / f"{name}.json"
        self.found: dict[str, Any] = {}
        if self.path.exists() and not fresh:
            self.found = json.loads(self.path.read_text(encoding="utf-8"))

    def get(self, key: str, measure: Callable[[], Any]) -> Any:
        """A figure, measured unless it is there already."""
        if key not in self.found:
            self._keep(key, measure())
        return self.found[key]

    def fill(self, tasks: Mapping[str, Callable[[], Any]], jobs: int, threads: int, words: str = "") -> None:
        """Measure what is not there already, in several processes of so many threads."""
        missing = {key: measure for key, measure in tasks.items() if key not in self.found}
        if jobs == 1:
            for key, measure in track(missing.items(), description=words, transient=True):
                self._keep(key, measure())
            return
        # CUDA does not survive a fork
        with ProcessPoolExecutor(
            jobs, mp_context=get_context("spawn"), initializer=torch.set_num_threads, initargs=(threads,)
        ) as processes:
            keys = {processes.submit(measure): key for key, measure in missing.items()}
            for future in track(as_completed(keys), description=words, total=len(keys), transient=True):
                self._keep(keys[future], future.result())

    def _keep(self, key: str, figure: Any) -> None:
        self.found[key] = figure
        temporary = self.path.with_suffix(".part")
        temporary.write_text(json.dumps(self.found, indent=1), encoding="utf-8")
        temporary.replace(self.path)


def interval(ours: list[list[float]], theirs: list[list[float]], draws: int = 2000) -> tuple[float, float]:
    """95 % bootstrap interval, over images, of the difference of the pooled means."""
    random = np.random.default_rng(0)
    sums = np.array([(sum(one), sum(other), len(one)) for one, other in zip(ours, theirs, strict=True)])
    drawn = sums[random.integers(len(sums), size=(draws, len(sums)))].sum(1)  # (draws, 3)
    low, high = np.percentile((drawn[:, 0] - drawn[:, 1]) / drawn[:, 2], (2.5, 97.5))
    return float(low), float(high)


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A Markdown table."""
    lines = [f"| {' | '.join(head)} |", "|" + "---|" * len(head)]
    return "\n".join(lines + [f"| {' | '.join(map(str, row))} |" for row in rows])
