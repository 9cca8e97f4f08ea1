"""G7 and G8: queries on a million and on ten million records."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import ax_monitor
from ax_monitor.bench.corpus import fill_logs
from ax_monitor.bench.harness import Series, percentile
from ax_monitor.model.logs import LogPage
from benchmarks.harness import Result, bench_folder, say

REPEATS = 200


def _fill(
    path: Path, n: int
) -> tuple[ax_monitor.Store, ax_monitor.StructuredLogger, list[tuple[str, str]]]:
    """`n` records over `n` / 50 seconds of recorded time; one in a hundred is an error."""
    store = ax_monitor.Store(path, overflow_wait_ms=60_000)
    logger = ax_monitor.StructuredLogger(store)
    pairs = fill_logs(logger, n)
    return store, logger, pairs


def _times(query: Callable[[int], LogPage], expected: int) -> Series:
    """Milliseconds of REPEATS queries."""
    series = Series()
    for i in range(REPEATS):
        start = time.perf_counter()
        page = query(i)
        series.values.append((time.perf_counter() - start) * 1000)
        assert len(page) == expected, len(page)
    return series


def _p95(series: Series) -> float:
    return percentile(sorted(series.values), 0.95)


def _measure(n: int) -> dict[str, float]:
    with bench_folder() as folder:
        say(f"G7, G8: filling {n} records")
        store, logger, pairs = _fill(folder / "monitor.db", n)
        now = time.time_ns() // 1_000_000
        day = 3_600_000

        def search(i: int) -> LogPage:
            return logger.query_logs(
                search='timeout OR "rate limit"',
                start_time=now - day - i * 1000,
                end_time=now - i * 1000,
                limit=50,
            )

        def execution(i: int) -> LogPage:
            step = max(1, (len(pairs) - 2) // REPEATS)
            return logger.get_execution_logs(pairs[i * step][0])

        figures = {
            "search": _p95(_times(search, 50)),
            "execution": _p95(_times(execution, 100)),
            "errors": _p95(_times(lambda i: logger.get_error_logs(100), 100)),
            "recent": _p95(_times(lambda i: logger.get_recent_logs(100), 100)),
        }
        store.close()
    say(f"G7, G8 at {n}: {figures}")
    return figures


def run(sizes: tuple[int, ...] = (100_000, 1_000_000, 10_000_000)) -> list[Result]:
    by_size = {n: _measure(n) for n in sizes}
    million = by_size[1_000_000]
    results = [
        Result(
            "G7",
            'search `timeout OR "rate limit"` (10 % of 1M records), time range, newest 50: p95',
            f"{million['search']:.2f} ms",
            "≤ 3 ms",
            figure=million["search"],
            limit=3,
            duration=True,
        )
    ]
    if 10_000_000 in by_size:
        growth = by_size[10_000_000]["search"] / million["search"]
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
        figures = ", ".join(f"{by_size[n][name]:.2f}" for n in by_size)
        results.append(
            Result(
                "G8",
                f"{what}: p95 at {', '.join(f'{n:,}' for n in by_size)} records",
                f"{figures} ms",
                "≤ 1 ms, flat",
                figure=max(by_size[n][name] for n in by_size),
                limit=1,
                duration=True,
            )
        )
    return results
