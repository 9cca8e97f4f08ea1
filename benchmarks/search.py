"""G7 and G8: queries on a million and on ten million records."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import ax_monitor
from ax_monitor.bench import payload
from ax_monitor.bench.corpus import LOG_INTERVAL_NS, fill_logs
from ax_monitor.bench.harness import Series, percentile
from ax_monitor.model.logs import LogPage
from benchmarks.drain import record_logs
from benchmarks.harness import Result, bench_folder, say

REPEATS = 200
MORE = 100_000  # records that are recorded on top, or as many as there are


@dataclass(frozen=True, slots=True)
class Sized:
    """What a database of so many records takes.

    Args:
        queries: Milliseconds of each query, by its name.
        record_us: µs a record of some more, from the first call until all are committed.
    """

    queries: dict[str, Series]
    record_us: float

    def p95(self, query: str) -> float:
        return percentile(sorted(self.queries[query].values), 0.95)


def _fill(
    path: Path, n: int
) -> tuple[ax_monitor.Store, ax_monitor.StructuredLogger, list[tuple[str, str]]]:
    """`n` records over `n` / 50 seconds of recorded time; one in a hundred is an error."""
    store = ax_monitor.Store(path, overflow_wait_ms=60_000)
    logger = ax_monitor.StructuredLogger(store)
    pairs = fill_logs(logger, n)
    _settle(store)
    return store, logger, pairs


def _settle(store: ax_monitor.Store) -> None:
    """Wait until the index is merged as far as it will be: that goes on after the last batch."""
    pump = store._recording.pump
    assert store.flush()
    while pump._maintenance._merged != pump._writer.commits:
        time.sleep(0.01)


def _times(query: Callable[[int], LogPage], expected: int) -> Series:
    """Milliseconds of REPEATS queries."""
    series = Series()
    for i in range(REPEATS):
        start = time.perf_counter()
        page = query(i)
        series.values.append((time.perf_counter() - start) * 1000)
        assert len(page) == expected, len(page)
    return series


def _more(logger: ax_monitor.StructuredLogger, n: int) -> float:
    """µs a record of `n` more."""
    texts, pairs = payload.messages(n), payload.executions(n)
    start = time.perf_counter()
    record_logs(logger, n, texts, pairs)
    assert logger.flush()
    return (time.perf_counter() - start) / n * 1e6


@functools.cache
def measure(n: int) -> Sized:
    """A database of `n` records, measured once: what this table and the curves of growth need."""
    with bench_folder() as folder:
        say(f"G7, G8: filling {n} records")
        store, logger, pairs = _fill(folder / "monitor.db", n)
        now = time.time_ns() // 1_000_000
        day = 3_600_000
        further_ms = min(1000, n * LOG_INTERVAL_NS // 1_000_000 // 2 // REPEATS)

        def search(i: int) -> LogPage:
            return logger.query_logs(
                search='timeout OR "rate limit"',
                start_time=now - day - i * further_ms,
                end_time=now - i * further_ms,
                limit=50,
            )

        def execution(i: int) -> LogPage:
            step = max(1, (len(pairs) - 2) // REPEATS)
            return logger.get_execution_logs(pairs[i * step % (n // payload.LOGS_PER_EXECUTION)][0])

        queries = {
            "search": _times(search, 50),
            "execution": _times(execution, 100),
            "errors": _times(lambda i: logger.get_error_logs(100), 100),
            "recent": _times(lambda i: logger.get_recent_logs(100), 100),
        }
        found = Sized(queries, _more(logger, min(n, MORE)))
        store.close()
    figures = ", ".join(f"{name} {found.p95(name):.3f} ms" for name in queries)
    say(f"G7, G8 at {n}: p95 of {figures}; {found.record_us:.2f} µs a record")
    return found


def run(sizes: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)) -> list[Result]:
    by_size = {n: measure(n) for n in sizes}
    million = by_size[1_000_000].p95("search")
    results = [
        Result(
            "G7",
            'search `timeout OR "rate limit"` (10 % of 1M records), time range, newest 50: p95',
            f"{million:.2f} ms",
            "≤ 3 ms",
            figure=million,
            limit=3,
            duration=True,
        )
    ]
    if 10_000_000 in by_size:
        growth = by_size[10_000_000].p95("search") / million
        results.append(
            Result(
                "G7",
                "the same at 10M records, against 1M",
                f"{growth:.2f} ×",
                "≤ 2 ×",
                figure=growth,
                limit=2,
            )
        )
    for name, what in (
        ("execution", "logs of an execution (100)"),
        ("errors", "error logs (100)"),
        ("recent", "recent logs (100)"),
    ):
        figures = ", ".join(f"{by_size[n].p95(name):.2f}" for n in by_size)
        results.append(
            Result(
                "G8",
                f"{what}: p95 at {', '.join(f'{n:,}' for n in by_size)} records",
                f"{figures} ms",
                "≤ 1 ms, flat",
                figure=max(by_size[n].p95(name) for n in by_size),
                limit=1,
                duration=True,
            )
        )
    return results
