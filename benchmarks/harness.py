"""What only the project's own benchmarks need: the lines of their table, and where databases go.

How things are measured is in `ax_monitor.bench.harness`.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from ax_monitor.bench.harness import scratch_folder

SCRATCH = Path(__file__).parent.parent / "build"  # on the disk of the project, ignored by git


@contextlib.contextmanager
def bench_folder() -> Iterator[Path]:
    """A folder for databases of any size, gone afterwards."""
    SCRATCH.mkdir(exist_ok=True)
    with scratch_folder(SCRATCH) as folder:
        yield folder


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table."""

    goal: str
    what: str
    measured: str
    target: str
    met: bool | None

    def row(self) -> str:
        verdict = {True: "met", False: "**not met**", None: ""}[self.met]
        return f"| {self.goal} | {self.what} | {self.measured} | {self.target} | {verdict} |"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
