"""What only the project's own benchmarks need: results and their verdict, and where databases go.

How things are measured is in `ax_monitor.bench.harness`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ax_monitor.bench.harness import scratch_folder

SCRATCH = Path(__file__).parent.parent / "build"  # on the disk of the project, ignored by git
VERDICT = {True: "met", False: "**not met**", None: ""}


@contextlib.contextmanager
def bench_folder() -> Iterator[Path]:
    """A folder for databases of any size, gone afterwards. What was written before is on the disk."""
    os.sync()
    SCRATCH.mkdir(exist_ok=True)
    with scratch_folder(SCRATCH) as folder:
        yield folder


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table of goals: in words for who reads it, in numbers for the verdict.

    Args:
        goal: Its number in DESIGN.md; "" if the line only tells more.
        what: What was measured.
        measured: The figure, in words.
        target: The limit, in words.
        figure: What is judged, in the unit of the limit (default: nothing is).
        limit: What the figure has to keep to.
        spread: Of the figure, relative to it: half the distance between the quartiles (default 0).
        at_least: The figure has to reach the limit (default: it must not exceed it).
        duration: It is a time, and depends on how fast the machine is; a ratio, a size or a count
            does not (default).
    """

    goal: str
    what: str
    measured: str
    target: str = ""
    figure: float | None = None
    limit: float | None = None
    spread: float = 0.0
    at_least: bool = False
    duration: bool = False

    @property
    def met(self) -> bool | None:
        """Whether the figure keeps to its limit; None: there is nothing to judge."""
        return self._holds(0.0)

    @property
    def falls_short(self) -> bool:
        """Whether the limit is missed by more than the spread."""
        return self._holds(self.spread) is False

    def _holds(self, allowance: float) -> bool | None:
        if self.figure is None or self.limit is None:
            return None
        if self.at_least:
            return self.figure * (1 + allowance) >= self.limit
        return self.figure * (1 - allowance) <= self.limit

    def row(self) -> str:
        cells = (self.goal, self.what, self.measured, self.target, VERDICT[self.met])
        return f"| {' | '.join(cells)} |"

    def to_dict(self) -> dict[str, Any]:
        return {**asdict(self), "met": self.met, "falls_short": self.falls_short}


def goals_table(results: list[Result]) -> str:
    """The results as a Markdown table."""
    head = "| goal | what | measured | target | |\n|---|---|---|---|---|\n"
    return head + "\n".join(result.row() for result in results)


def missed(results: list[Result]) -> list[Result]:
    """Those beyond their limits by more than their spread. Times do not count: machines differ."""
    return [result for result in results if result.falls_short and not result.duration]


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
