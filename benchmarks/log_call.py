"""G1 and G2: what a log call costs the caller."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import ax_monitor
from ax_monitor.bench.harness import interleaved, ratio
from ax_monitor.bench.payload import MESSAGE, METADATA, SOURCE, SPAN_ID, TENANT_ID
from benchmarks.harness import Result, bench_folder
from benchmarks.reference import axref

CALLS = 20_000
EXECUTION_ID = "0190b5e0-1111-7222-8333-944444444444"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


def _loop(call: Callable[..., object]) -> Callable[[], float]:
    def run() -> float:
        calls = range(CALLS)
        start = time.perf_counter_ns()
        for _ in calls:
            call(
                MESSAGE,
                SOURCE,
                execution_id=EXECUTION_ID,
                trace_id=TRACE_ID,
                span_id=SPAN_ID,
                tenant_id=TENANT_ID,
            )
        return (time.perf_counter_ns() - start) / CALLS

    return run


def _loop_metadata(call: Callable[..., object]) -> Callable[[], float]:
    def run() -> float:
        calls = range(CALLS)
        start = time.perf_counter_ns()
        for _ in calls:
            call(
                MESSAGE,
                SOURCE,
                execution_id=EXECUTION_ID,
                trace_id=TRACE_ID,
                span_id=SPAN_ID,
                tenant_id=TENANT_ID,
                metadata=METADATA,
            )
        return (time.perf_counter_ns() - start) / CALLS

    return run


def _between(run: Callable[[], float], store: ax_monitor.Store) -> Callable[[], float]:
    """Empty the ring between repeats, outside the timed part."""

    def wrapped() -> float:
        store.flush()
        return run()

    return wrapped


def run() -> list[Result]:
    with bench_folder() as folder:
        return _run(folder)


def _run(folder: Path) -> list[Result]:
    store = ax_monitor.Store(folder / "monitor.db")
    # Large buffer: what the pump does meanwhile is G3's and G4's business
    logger = ax_monitor.StructuredLogger(store, buffer_size=1_000_000, flush_interval_ms=600_000)
    store._recording.pump.buffer_size = 1_000_000
    store._recording.pump.flush_interval_ms = 600_000
    empty = axref.Empty()
    series = interleaved(
        {
            "E": _loop(empty.info),
            "E metadata": _loop_metadata(empty.info),
            "info": _between(_loop(logger.info), store),
            "info metadata": _between(_loop_metadata(logger.info), store),
            "disabled": _loop_metadata(logger.debug),
        },
        repeats=41,
    )
    store.close()

    def line(goal: str, what: str, name: str, base: str, limit: float) -> Result:
        r = ratio(series[name], series[base])
        return Result(
            goal,
            what,
            f"{r.median:.2f} E ± {r.spread:.0%} ({series[name].median:.0f} ns; E = {series[base].median:.0f} ns)",
            f"≤ {limit:g} E",
            figure=r.median,
            limit=limit,
            spread=r.spread,
        )

    return [
        line("G1", "log call, no metadata", "info", "E", 3),
        line("G1", "log call, three metadata keys", "info metadata", "E metadata", 5),
        line("G2", "disabled log call", "disabled", "E metadata", 1.5),
    ]
