"""Measuring: interleaved repeats, ratios within one run, medians with their spread."""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import apsw

REPEATS = 9


SCRATCH = Path(__file__).parent.parent / "build"  # on the disk of the project, ignored by git


@contextlib.contextmanager
def bench_folder() -> Iterator[Path]:
    """A folder for databases of any size, gone afterwards."""
    SCRATCH.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="bench-", dir=SCRATCH) as folder:
        yield Path(folder)


@dataclass(slots=True)
class Series:
    """Repeated measurements of one thing; what counts is the median."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, relative to the median."""
        if len(self.values) < 4:
            return (max(self.values) - min(self.values)) / 2 / self.median
        low, _, high = statistics.quantiles(self.values, n=4)
        return (high - low) / 2 / self.median


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


def interleaved(
    contenders: dict[str, Callable[[], float]], repeats: int = REPEATS
) -> dict[str, Series]:
    """Measure all contenders in turn, `repeats` times; each returns its own figure."""
    series = {name: Series() for name in contenders}
    for contender in contenders.values():  # warm up: caches, branch predictors, lazy imports
        contender()
    for _ in range(repeats):
        for name, contender in contenders.items():
            gc.collect()
            series[name].values.append(contender())
    return series


def ratio(a: Series, b: Series) -> Series:
    """The ratio of two contenders, repeat by repeat."""
    return Series([x / y for x, y in zip(a.values, b.values, strict=True)])


def percentile(sorted_values: Sequence[float], share: float) -> float:
    """Nearest rank."""
    index = max(0, -(-int(share * 1e6) * len(sorted_values) // 1_000_000) - 1)
    return sorted_values[min(index, len(sorted_values) - 1)]


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def machine() -> str:
    """The machine and the software, on one line each."""
    cpu = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":")[1].strip()
            for line in cpuinfo.read_text().splitlines()
            if "model name" in line
        ]
        cpu = names[0] if names else cpu
    return (
        f"- {os.cpu_count()} × {cpu}, {platform.system()} {platform.release()}\n"
        f"- CPython {platform.python_version()} ({platform.python_compiler()}), "
        f"apsw {apsw.apsw_version()} with SQLite {apsw.sqlite_lib_version()}"
    )


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
