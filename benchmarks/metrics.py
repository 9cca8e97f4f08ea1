"""G11, G12 and the load of a million samples a second: what metrics cost, recorded and read."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil

import ax_monitor
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
LOAD_S = 60
TICK_S = 0.1
A_TICK = 10  # samples of a series: a million a second in all
LATE_EVERY = 100  # of the samples, one comes two minutes late
LATE_MS = 120_000


# -- G11 -------------------------------------------------------------------------------------------


def _loop(call: Callable[[float], object], calls: int = CALLS) -> Callable[[], float]:
    def run() -> float:
        numbers = range(calls)
        start = time.perf_counter_ns()
        for _ in numbers:
            call(12.5)
        return (time.perf_counter_ns() - start) / calls

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


def _peers() -> dict[str, Callable[[], float]]:
    """Whatever is installed of what a user would take instead."""
    found: dict[str, Callable[[], float]] = {}
    few = CALLS // 10
    try:
        import prometheus_client as prometheus  # noqa: PLC0415 (may be missing)

        registry = prometheus.CollectorRegistry()
        histogram = prometheus.Histogram("d", "d", list(LABELS), registry=registry)
        bound = histogram.labels(**LABELS)
        found["prometheus_client"] = _loop(bound.observe, few)
        found["prometheus_client by labels"] = _loop(
            lambda value: histogram.labels(**LABELS).observe(value), few
        )
    except ImportError:
        pass
    try:
        from opentelemetry.sdk.metrics import MeterProvider  # noqa: PLC0415
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader  # noqa: PLC0415

        provider = MeterProvider(metric_readers=[InMemoryMetricReader()])
        instrument = provider.get_meter("bench").create_histogram("d")
        found["OpenTelemetry by labels"] = _loop(
            lambda value: instrument.record(value, LABELS), few
        )
    except ImportError:
        pass
    try:
        from ddsketch import DDSketch  # noqa: PLC0415

        found["ddsketch"] = _loop(DDSketch(0.01).add, few)
    except ImportError:
        pass
    return found


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
                **_peers(),
            },
            repeats=15,
        )
    in_e = ratio(series["handle"], series["E"])
    named = series["name"]
    peers = ", ".join(
        f"{name} {found.median:,.0f} ns"
        for name, found in series.items()
        if name not in ("E", "handle", "name")
    )
    return [
        Result(
            "G11",
            "`series.record(v)`",
            f"{in_e.median:.2f} E ± {in_e.spread:.0%} ({series['handle'].median:.0f} ns; "
            f"E = {series['E'].median:.0f} ns)",
            "≤ 3.2 E",
            in_e.median <= 3.2,
        ),
        Result(
            "G11",
            "`record(name, v, labels=…)`, three labels",
            f"{named.median:.0f} ns ± {named.spread:.0%} ({peers})",
            "≤ 350 ns",
            named.median <= 350,
        ),
    ]


# -- G12 -------------------------------------------------------------------------------------------


def read(folder: Path) -> list[Result]:
    """A million samples of one series in seventeen minutes, of which no edge is a whole hour."""
    rng = np.random.default_rng(7)
    values = rng.lognormal(3, 1, MILLION)
    times = START_MS + 31 * 60_000 + 137 + np.arange(MILLION, dtype=np.int64)
    with ax_monitor.Store(folder / "read.db", ring_bytes=64 * 1024 * 1024) as store:
        metrics = ax_monitor.MetricsCollector(store)
        metrics.record_many(NAME, values, times)
        store.flush()
        _wait_until_sealed(store)
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
            f"{found['sketch'].median:.2f} ms ± {found['sketch'].spread:.0%}, error {error:.2%}",
            "≤ 2 ms, error ≤ 1/129",
            found["sketch"].median <= 2 and error <= 1 / 129,
        ),
        Result(
            "G12",
            "the same, exact",
            f"{found['exact'].median:.1f} ms ± {found['exact'].spread:.0%} "
            f"(sorting the array in memory: {found['numpy'].median:.1f} ms)",
            "≤ 150 ms (stretch 40)",
            found["exact"].median <= 150,
        ),
    ]


def _wait_until_sealed(store: ax_monitor.Store, timeout_s: float = 180) -> float:
    """Seconds until the pump has sealed every minute that is over."""
    start = time.monotonic()
    waiting = True
    while waiting and time.monotonic() < start + timeout_s:
        time.sleep(0.1)
        waiting = store.read(
            lambda connection: connection.execute("SELECT EXISTS (SELECT 1 FROM metric_chunks)").get
        )
    return time.monotonic() - start


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
        store.flush()
        sealed_s = _wait_until_sealed(store)
        found = metrics.get_aggregation(NAME, begun_ms - LATE_MS, begun_ms + 2 * LOAD_S * 1000)
        early = metrics.get_aggregation(NAME, begun_ms - LATE_MS, begun_ms - 1)
        lost = sum(peak.dropped.values()) - sum(before.dropped.values())
    assert found is not None
    size = os.path.getsize(path) / found.count
    late_found = early.count if early is not None else 0
    late_sent = min(late, late_found) if LOAD_S * 1000 > LATE_MS else late
    share = f"{mine / elapsed:.0%} of a core in the recording thread, {(cpu - mine) / elapsed:.0%} in the pump"
    return [
        Result(
            "",
            f"{sent / elapsed / 1e6:.2f} million samples a second into 10⁴ series for {LOAD_S} s",
            f"{lost:,} dropped, {found.count:,} of {sent:,} found; {share}; memory + {grown / 2**20:.0f} MB",
            "0 dropped",
            lost == 0 and found.count == sent,
        ),
        Result(
            "",
            "of these, two minutes late",
            f"{late_found:,} of {late_sent:,} in the right minute",
            "all",
            late_found == late_sent,
        ),
        Result(
            "",
            "the same, at the end",
            f"{size:.1f} bytes a sample in the file, all sealed {sealed_s:.0f} s after the last one",
            "",
            None,
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
