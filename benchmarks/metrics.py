"""G11, G12 and the load of a million samples a second: what metrics cost, recorded and read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

import ax_monitor
from ax_monitor.bench.corpus import seal
from ax_monitor.bench.harness import interleaved, ratio, timed
from benchmarks.harness import Result, bench_folder, say
from benchmarks.reference import axref

CALLS = 20_000
NAME = "api.request.duration"
LABELS = {"route": "/orders", "method": "POST", "status": "201"}
MILLION = 1_000_000
HOUR_MS = 3_600_000
START_MS = 1_700_000_000_000 // HOUR_MS * HOUR_MS

SERIES = 10_000
LOAD_S = 30
TICK_S = 0.1
A_TICK = 10  # samples of a series: a million a second in all
LATE_EVERY = 100  # of the samples, one comes two minutes late
LATE_MS = 120_000
SEALED_AFTER_MS = 300_000  # by then every minute is over


# -- G11 -------------------------------------------------------------------------------------------


def _loop(call: Callable[[float], object]) -> Callable[[], float]:
    def run() -> float:
        numbers = range(CALLS)
        start = time.perf_counter_ns()
        for _ in numbers:
            call(12.5)
        return (time.perf_counter_ns() - start) / CALLS

    return run


def _loop_named(metrics: ax_monitor.MetricsCollector) -> Callable[[], float]:
    def run() -> float:
        numbers = range(CALLS)
        record = metrics.record
        start = time.perf_counter_ns()
        for _ in numbers:
            record(NAME, 12.5, labels=LABELS)
        return (time.perf_counter_ns() - start) / CALLS

    return run


def call(folder: Path) -> list[Result]:
    """G11."""
    with ax_monitor.Store(folder / "call.db") as store:
        metrics = ax_monitor.MetricsCollector(store)
        handle = metrics.series(NAME, labels=LABELS)

        def drained(run: Callable[[], float]) -> Callable[[], float]:
            def measured() -> float:
                store.flush()
                return run()

            return measured

        series = interleaved(
            {
                "E": _loop(axref.Empty().record),
                "handle": drained(_loop(handle.record)),
                "name": drained(_loop_named(metrics)),
            },
            repeats=15,
        )
    in_e = ratio(series["handle"], series["E"])
    named = series["name"]
    return [
        Result(
            "G11",
            "`series.record(v)`",
            f"{in_e.median:.2f} E ± {in_e.spread:.0%} ({series['handle'].median:.0f} ns; "
            f"E = {series['E'].median:.0f} ns)",
            "≤ 3.2 E",
            figure=in_e.median,
            limit=3.2,
            spread=in_e.spread,
        ),
        Result(
            "G11",
            "`record(name, v, labels=…)`, three labels",
            f"{named.median:.0f} ns ± {named.spread:.0%}",
            "≤ 350 ns",
            figure=named.median,
            limit=350,
            spread=named.spread,
            duration=True,
        ),
    ]


# -- G12 -------------------------------------------------------------------------------------------


def read(folder: Path) -> list[Result]:
    """A million samples of one series in seventeen minutes, of which no edge is a whole hour."""
    rng = np.random.default_rng(7)
    values = rng.lognormal(3, 1, MILLION)
    times = START_MS + 31 * 60_000 + 137 + np.arange(MILLION, dtype=np.int64)
    path = folder / "read.db"
    with ax_monitor.Store(path, ring_bytes=64 * 1024 * 1024) as store:
        ax_monitor.MetricsCollector(store).record_many(NAME, values, times)
    seal(path)
    with ax_monitor.Store(path) as store:
        metrics = ax_monitor.MetricsCollector(store)
        first, last = int(times[0]), int(times[-1])

        def sketch() -> object:
            return metrics.get_aggregation(NAME, first, last)

        def exact() -> object:
            return metrics.get_aggregation(NAME, first, last, exact=True)

        def in_memory() -> object:
            ranks = np.sort(values)
            return (
                len(values),
                values.sum(),
                ranks[0],
                ranks[-1],
                ranks[[499_999, 949_999, 989_999]],
            )

        found = interleaved(
            {
                "sketch": lambda: timed(sketch) * 1000,
                "exact": lambda: timed(exact) * 1000,
                "numpy": lambda: timed(in_memory) * 1000,
            }
        )
        near, precise = sketch(), exact()
    assert isinstance(near, ax_monitor.MetricAggregation)
    assert isinstance(precise, ax_monitor.MetricAggregation)
    assert near.count == precise.count == MILLION
    assert precise.p99 == np.sort(values)[989_999]
    error = max(abs(getattr(near, p) / getattr(precise, p) - 1) for p in ("p50", "p95", "p99"))
    return [
        Result(
            "G12",
            "`get_aggregation` over 10⁶ samples, percentiles from sketches",
            f"{found['sketch'].median:.2f} ms ± {found['sketch'].spread:.0%}",
            "≤ 2 ms",
            figure=found["sketch"].median,
            limit=2,
            spread=found["sketch"].spread,
            duration=True,
        ),
        Result(
            "G12",
            "the same: error of the percentiles",
            f"{error:.2%}",
            "≤ 1/129",
            figure=error,
            limit=1 / 129,
        ),
        Result(
            "G12",
            "the same, exact",
            f"{found['exact'].median:.1f} ms ± {found['exact'].spread:.0%} "
            f"(sorting the array in memory: {found['numpy'].median:.1f} ms)",
            "≤ 150 ms (stretch 40)",
            figure=found["exact"].median,
            limit=150,
            spread=found["exact"].spread,
            duration=True,
        ),
    ]


# -- a million samples a second --------------------------------------------------------------------


def load(folder: Path) -> list[Result]:
    """LOAD_S seconds of it, into SERIES series, one in LATE_EVERY late."""
    process = psutil.Process()
    values = np.linspace(1, 1000, A_TICK)
    offsets = np.arange(A_TICK, dtype=np.int64) * int(TICK_S * 1000 / A_TICK)
    path = folder / "load.db"
    with ax_monitor.Store(path, ring_bytes=32 * 1024 * 1024) as store:
        metrics = ax_monitor.MetricsCollector(store, max_series=SERIES)
        handles = [metrics.series(NAME, labels={"n": str(n)}) for n in range(SERIES)]
        for handle in handles:
            handle.record_many(values[:1], np.array([START_MS], np.int64))
        store.flush()
        before = store.stats()
        rss = process.memory_info().rss
        start = time.perf_counter()
        cpu, mine = time.process_time(), time.thread_time()
        begun_ms = time.time_ns() // 1_000_000
        late = sent = 0
        for tick in range(int(LOAD_S / TICK_S)):
            now_ms = begun_ms + int(tick * TICK_S * 1000)
            times = now_ms + offsets
            with_late = times.copy()
            with_late[0] -= LATE_MS
            for number, handle in enumerate(handles):
                if (number + tick) % (LATE_EVERY // A_TICK):
                    handle.record_many(values, times)
                else:
                    handle.record_many(values, with_late)
                    late += 1
            sent += SERIES * A_TICK
            if (pause := start + (tick + 1) * TICK_S - time.perf_counter()) > 0:
                time.sleep(pause)
        elapsed = time.perf_counter() - start
        mine, cpu = time.thread_time() - mine, time.process_time() - cpu
        grown = process.memory_info().rss - rss
        peak = store.stats()
    sealed_s = timed(lambda: seal(path, ahead_ms=SEALED_AFTER_MS))
    with ax_monitor.Store(path) as store:
        metrics = ax_monitor.MetricsCollector(store)
        found = metrics.get_aggregation(NAME, begun_ms - LATE_MS, begun_ms + 2 * LOAD_S * 1000)
        early = metrics.get_aggregation(NAME, begun_ms - LATE_MS, begun_ms - 1)
        lost = sum(peak.dropped.values()) - sum(before.dropped.values())
    assert found is not None
    size = os.path.getsize(path) / found.count
    late_found = early.count if early is not None else 0
    share = f"{mine / elapsed:.0%} of a core in the recording thread, {(cpu - mine) / elapsed:.0%} in the pump"
    return [
        Result(
            "",
            f"{sent / elapsed / 1e6:.2f} million samples a second into 10⁴ series for {LOAD_S} s",
            f"{lost:,} dropped, {found.count:,} of {sent:,} found; {share}; memory + {grown / 2**20:.0f} MB",
            "0 dropped",
            figure=lost + abs(sent - found.count),
            limit=0,
        ),
        Result(
            "",
            "of these, two minutes late",
            f"{late_found:,} of {late:,} in the right minute",
            "all",
            figure=abs(late - late_found),
            limit=0,
        ),
        Result(
            "",
            "the same, sealed",
            f"{size:.1f} bytes a sample in the file; sealing them took {sealed_s:.1f} s",
        ),
    ]


def run() -> list[Result]:
    """All of them."""
    with bench_folder() as folder:
        results = call(folder)
        say("   reading")
        results += read(folder)
        say(f"   {LOAD_S} s of load")
        return results + load(folder)
