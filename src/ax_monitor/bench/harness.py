"""Measuring: call by call or in interleaved repeats; percentiles, ratios and their spread.

The garbage collector runs as it does in real life, unless a function says otherwise.
"""

from __future__ import annotations

import contextlib
import gc
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, TypeVar

from ax_monitor.storage.connection import sqlite_versions

REPEATS: Final = 9
CALLS_BEYOND: Final = 10  # a percentile of fewer calls above it is luck, and is not shown
MS_NS: Final = 1_000_000
V = TypeVar("V", int, float)


@contextlib.contextmanager
def scratch_folder(parent: str | os.PathLike[str] | None = None) -> Iterator[Path]:
    """A folder for databases of any size, gone afterwards (default: where TMPDIR says)."""
    with tempfile.TemporaryDirectory(prefix="ax-monitor-bench-", dir=parent) as folder:
        yield Path(folder)


# -- call by call -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Effort:
    """How often an operation is called.

    It ends with `calls`; or after `seconds`, if there were `enough` calls; or after `at_most_s`.

    Args:
        calls: So often at most.
        enough: So often, if the time suffices.
        seconds: What it may take.
        at_most_s: What it may take if there were not enough calls.
    """

    calls: int
    enough: int
    seconds: float
    at_most_s: float


def call_times(
    call: Callable[[int], object],
    effort: Effort,
    *,
    before: Callable[[int], object] | None = None,
    per_ms: int | None = None,
) -> list[int]:
    """What each call takes, in ns, ascending. Calls get their number, which counts from 0.

    What has been written before is on the disk when it begins.

    Args:
        call: What is measured.
        effort: How often.
        before: Called before each call, outside the timed part.
        per_ms: No more than so many calls a millisecond, in bursts (default: one after the other).
    """
    os.sync()
    clock = time.perf_counter_ns
    taken: list[int] = []
    begun = clock()
    soft_ns, hard_ns = effort.seconds * 1e9, effort.at_most_s * 1e9
    for number in range(effort.calls):
        if before is not None:
            before(number)
        start = clock()
        call(number)
        end = clock()
        taken.append(end - start)
        passed = end - begun
        if passed > soft_ns and (len(taken) >= effort.enough or passed > hard_ns):
            break
        if per_ms is not None and len(taken) % per_ms == 0:
            ahead_ns = len(taken) // per_ms * MS_NS - passed
            if ahead_ns > 0:
                time.sleep(ahead_ns / 1e9)
    taken.sort()
    return taken


def timer_ns(calls: int = 20_000) -> int:
    """What measuring itself adds to each figure: the median of a call that does nothing."""
    taken = call_times(lambda number: None, Effort(calls, calls, 60, 60))
    return percentile(taken, 0.5)


def percentile(sorted_values: Sequence[V], share: float) -> V:
    """Nearest rank: the smallest value that is not below `share` (0 to 1) of the values.

    >>> percentile([1, 2, 3, 4], 0.5), percentile([1, 2, 3, 4], 0.51)
    (2, 3)
    """
    rank = -(-round(share * 1e6) * len(sorted_values) // 1_000_000)
    return sorted_values[max(rank, 1) - 1]


def percentile_if_known(sorted_values: Sequence[V], share: float) -> V | None:
    """The percentile; None if fewer than ten values lie above its place.

    >>> percentile_if_known(range(1000), 0.99), percentile_if_known(range(999), 0.99)
    (989, None)
    """
    if round(len(sorted_values) * (1 - share), 6) < CALLS_BEYOND:
        return None
    return percentile(sorted_values, share)


# -- repeats ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Series:
    """Repeated measurements of one thing; what counts is the median."""

    values: list[float] = field(default_factory=list)

    @property
    def median(self) -> float:
        """The middle one."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """Half the distance between the quartiles, relative to the median."""
        if len(self.values) < 4:
            return (max(self.values) - min(self.values)) / 2 / self.median
        low, _, high = statistics.quantiles(self.values, n=4)
        return (high - low) / 2 / self.median


def interleaved(
    contenders: dict[str, Callable[[], float]], repeats: int = REPEATS
) -> dict[str, Series]:
    """Measure all contenders in turn, `repeats` times; each returns its own figure.

    Garbage is collected before each. What has been written before is on the disk when it begins.
    """
    os.sync()
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


def timed(work: Callable[[], object]) -> float:
    """Seconds that `work` takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


# -- where it was measured ----------------------------------------------------------------------


def machine() -> list[str]:
    """The machine, and the software, in a line each."""
    cpu = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):  # only Linux has it, and says more
        names = [
            line.split(":")[1].strip()
            for line in Path("/proc/cpuinfo").read_text().splitlines()
            if line.startswith("model name")
        ]
        cpu = names[0] if names else cpu
    return [
        f"{os.cpu_count()} × {cpu}, {platform.system()} {platform.release()}",
        f"CPython {platform.python_version()} ({platform.python_compiler()}), {sqlite_versions()}",
    ]


def file_system(path: str | os.PathLike[str]) -> str:
    """The kind of file system that holds a path; "unknown" where the system does not say."""
    import psutil  # noqa: PLC0415 (costs some ms; only a benchmark asks)

    where = os.path.realpath(path)
    held = [
        (len(each.mountpoint), each.fstype)
        for each in psutil.disk_partitions(all=True)
        if os.path.commonpath([where, each.mountpoint]) == each.mountpoint
    ]
    return max(held)[1] if held else "unknown"
