"""Draw the plots of docs/benchmarks.md from its own tables: ``python docs/make_plots.py``."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl

mpl.use("Agg")
from matplotlib import pyplot as plt

PAGE = Path(__file__).with_name("benchmarks.md")
IMAGES = PAGE.with_name("images")
THEIRS, OURS, FORETOLD = "#888888", "#1f77b4", "#d62728"


def table_below(heading: str) -> list[dict[str, str]]:
    """The rows of the first table under a heading, by the names of its columns."""
    page = PAGE.read_text(encoding="utf-8")
    lines = page.split(f"## {heading}\n")[1].split("\n## ")[0].splitlines()
    rows = [[cell.strip(" *") for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    head, _, *body = rows
    end = next((index for index, row in enumerate(body) if len(row) != len(head)), len(body))
    return [dict(zip(head, row, strict=True)) for row in body[:end]]


def draw_step() -> None:
    """Seconds of an iteration, the published loop's beside ours."""
    rows = table_below("An iteration")
    figure, axes = plt.subplots(figsize=(7, 3.2), layout="constrained")
    names = [f"{row['pixels']}\nM = {row['M']}, {row['channels']} channels" for row in rows]
    places = range(len(rows))
    theirs, ours = ([float(row[name]) for row in rows] for name in ("published loop, s", "ours, s"))
    axes.bar([place - 0.2 for place in places], theirs, 0.38, color=THEIRS, label="published loop")
    axes.bar([place + 0.2 for place in places], ours, 0.38, color=OURS, label="ours")
    for place, height, row in zip(places, ours, rows, strict=True):
        axes.annotate(
            f"{float(row['ratio']):.1f} times\nfaster", (place + 0.2, height), ha="center", va="bottom", size=8
        )
    axes.set_xticks(list(places), names, size=8)
    axes.set_ylabel("seconds an iteration")
    axes.legend(frameon=False)
    save(figure, "benchmark_step.png")


def draw_memory() -> None:
    """Peak memory against pixels."""
    rows = table_below("Memory")
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for channels, marker in (("100", "o"), ("32", "s")):
        here = [row for row in rows if row["channels"] == channels]
        pixels = [int(row["pixels"].split(" x ")[0]) for row in here]
        axes.plot(
            pixels, [float(row["ours, GB"]) for row in here], marker=marker, color=OURS, label=f"ours, {channels}"
        )
        foretold = [float(row["foretold, GB"]) for row in here]
        axes.plot(pixels, foretold, "+", color=FORETOLD, label=f"foretold, {channels}", markersize=9)
    here = [row for row in rows if row["published loop, GB"]]
    pixels = [int(row["pixels"].split(" x ")[0]) for row in here]
    axes.plot(
        pixels, [float(row["published loop, GB"]) for row in here], "o-", color=THEIRS, label="published loop, 100"
    )
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    sizes = (256, 512, 1024, 2048, 4096)
    axes.set_xticks(sizes, [f"{size} x {size}" for size in sizes])
    axes.set_yticks((0.1, 0.3, 1, 3, 10), ("0.1", "0.3", "1", "3", "10"))
    axes.minorticks_off()
    axes.set_xlabel("pixels")
    axes.set_ylabel("peak memory, GB")
    axes.legend(frameon=False, title="channels", fontsize=8, title_fontsize=8)
    save(figure, "benchmark_memory.png")


def draw_effort() -> None:
    """Quality against time, for regions of several networks and for clusters."""
    rows = table_below("Quality and time")
    figure, axes = plt.subplots(figsize=(7, 3.6), layout="constrained")
    for name, marker in zip(dict.fromkeys(row["maps"] for row in rows), "os^x", strict=True):
        here = [row for row in rows if row["maps"] == name]
        color = THEIRS if name == "clusters" else OURS
        seconds, quality = ([float(row[column]) for row in here] for column in ("seconds", "mean"))
        axes.plot(seconds, quality, marker=marker, color=color, label=name, linewidth=1)
        for row, second, height in zip(here, seconds, quality, strict=True):
            if name in ("regions, 1 network", "clusters"):
                axes.annotate(
                    row["iterations"], (second, height), (0, -11), textcoords="offset points", ha="center", size=7
                )
    for name, preset in (("regions, 2 networks", "balanced"), ("regions, 4 networks", "accurate")):
        point = next(row for row in rows if row["maps"] == name and row["iterations"] == "6")
        axes.annotate(
            preset,
            (float(point["seconds"]), float(point["mean"])),
            (0, 8),
            textcoords="offset points",
            ha="center",
            size=8,
        )
    axes.set_xscale("log")
    axes.set_xticks((1, 2, 5, 10, 20, 50), ("1", "2", "5", "10", "20", "50"))
    axes.minorticks_off()
    axes.set_ylim(0.18, 0.45)
    axes.set_xlabel("seconds an image; the numbers are iterations")
    axes.set_ylabel("mean IoU, mean of the modes")
    axes.legend(frameon=False, fontsize=8, loc="lower right")
    save(figure, "benchmark_effort.png")


def save(figure: plt.Figure, name: str) -> None:
    """Write a plot."""
    figure.savefig(IMAGES / name, dpi=110)
    print(f"wrote {IMAGES / name}")


if __name__ == "__main__":
    draw_step()
    draw_memory()
    draw_effort()
