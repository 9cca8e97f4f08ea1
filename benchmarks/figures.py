"""Curves: what they say in a number, and as SVG.

The same figures give the same file, readable on a white page and on a dark one. Parts draw into
build/performance; `python -m benchmarks` copies what they drew to docs/performance when it writes
the document, and shows it there.
"""

from __future__ import annotations

import math
import re
import shutil
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.harness import SCRATCH, say

DRAWN = SCRATCH / "performance"
MARKER = re.compile(r"(<!-- figure ([a-z-]+): (.+) -->)(\n!\[.*\]\(.*\))?")

_GREY = "#7d8590"  # as far from white as from black
_COLOURS = ("#2f81d6", "#d1742a", "#2f9e6e", "#b2589c")
_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "ax-monitor",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.alpha": 0.3,
    "legend.frameon": False,
    "legend.labelcolor": _GREY,
    **dict.fromkeys(
        ("axes.edgecolor", "axes.labelcolor", "grid.color", "text.color", "xtick.color", "ytick.color"),
        _GREY,
    ),
}  # fmt: skip


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """The `a` of the curve `c * n**a` that fits best.

    >>> round(exponent([10, 100, 1000], [5, 50, 500]), 6)
    1.0
    """
    logs = [math.log(size) for size in sizes], [math.log(cost) for cost in costs]
    return statistics.linear_regression(*logs).slope


def tail_curve(sorted_values: Sequence[int]) -> tuple[list[float], list[int]]:
    """Points of the upper tail: one in `x` values is at least `y`, up to the largest of all.

    >>> tail_curve([1, 2, 3, 4])
    ([1.0, 1.3333333333333333, 2.0, 4.0], [1, 2, 3, 4])
    """
    n = len(sorted_values)
    a_decade = 16
    steps = range(int(math.log10(n) * a_decade) + 1)
    beyond = sorted({n, *(round(10 ** (step / a_decade)) for step in steps)}, reverse=True)
    return [n / m for m in beyond], [sorted_values[n - m] for m in beyond]


@dataclass(frozen=True, slots=True)
class Curve:
    """One line of a panel: what it is called, and its points."""

    label: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True, slots=True)
class Panel:
    """A plot with logarithmic axes."""

    title: str
    x_label: str
    y_label: str
    curves: Sequence[Curve]
    markers: bool = True


def draw(name: str, panels: Sequence[Panel]) -> None:
    """Draw panels side by side, two in a row."""
    path = DRAWN / f"{name}.svg"
    path.unlink(missing_ok=True)
    try:
        import matplotlib as mpl
        from matplotlib.figure import Figure
    except ImportError:
        say(f"{name}.svg is not drawn: matplotlib is not installed")
        return
    rows = (len(panels) + 1) // 2
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 3.3 * rows), layout="constrained")
        for place, panel in enumerate(panels, 1):
            axes = figure.add_subplot(rows, 2, place)
            axes.set_prop_cycle(color=_COLOURS)
            for curve in panel.curves:
                axes.loglog(
                    curve.x, curve.y, label=curve.label, marker="o" if panel.markers else "", ms=4
                )
            axes.set(title=panel.title, xlabel=panel.x_label, ylabel=panel.y_label)
            values = [value for curve in panel.curves for value in curve.y]
            axes.set_ylim(  # whole decades: with less, noise would look like growth
                10 ** math.floor(math.log10(min(values))),
                10 ** math.ceil(math.log10(max(values) * 2)),
            )
            if panel.markers:
                sizes = panel.curves[0].x
                axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
            axes.minorticks_off()
            axes.grid(True)
            axes.legend(fontsize=8)
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(
            path, format="svg", transparent=True, metadata={"Date": None, "Creator": None}
        )
    say(f"drawn: {path}")


def publish(document: Path) -> None:
    """Copy what was drawn into a folder beside a document, and show it there below its marker."""
    folder = document.with_suffix("")

    def show(found: re.Match[str]) -> str:
        marker, name, title, _ = found.groups()
        drawn = DRAWN / f"{name}.svg"
        if not drawn.exists():
            return found[0]
        folder.mkdir(exist_ok=True)
        shutil.copyfile(drawn, folder / drawn.name)
        return f"{marker}\n![{title}]({folder.name}/{drawn.name})"

    document.write_text(MARKER.sub(show, document.read_text()))
