"""G19: what is old goes while 20 k records a second come: how long it holds up what is written."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import ax_monitor
from ax_monitor.bench import payload
from ax_monitor.bench.harness import percentile
from ax_monitor.storage.retention import file_size
from benchmarks.harness import Result, bench_folder, say

RATE = 20_000
DAY_MS = 86_400_000


class Load:
    """A thread that records so much a second, and one that asks for a flush all the time."""

    def __init__(self, logger: ax_monitor.StructuredLogger) -> None:
        self.calls: list[int] = []
        self.flushes: list[float] = []
        self._logger = logger
        self._texts = payload.messages(10_000)
        self._stop = threading.Event()
        self._threads = [
            threading.Thread(target=self._record),
            threading.Thread(target=self._flush),
        ]

    def _record(self) -> None:
        info, clock = self._logger.info, time.perf_counter_ns
        burst = RATE // 1000
        due = time.perf_counter()
        while not self._stop.is_set():
            for i in range(burst):
                begun = clock()
                info(self._texts[i], payload.SOURCE, metadata=payload.METADATA)
                self.calls.append(clock() - begun)
            due += 0.001
            time.sleep(max(0.0, due - time.perf_counter()))

    def _flush(self) -> None:
        while not self._stop.is_set():
            begun = time.perf_counter()
            self._logger.store.flush()
            self.flushes.append((time.perf_counter() - begun) * 1000)
            self._stop.wait(0.01)

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def _fill(logger: ax_monitor.StructuredLogger, records: int, age_days: float) -> None:
    texts = payload.messages(50_000)
    start_ns = time.time_ns() - int(age_days * DAY_MS) * 1_000_000
    for i in range(records):
        logger.log_at(
            9, texts[i % 50_000], payload.SOURCE, metadata=payload.METADATA,
            timestamp_ns=start_ns + i * 100_000,
        )  # fmt: skip
        if i % 20_000 == 0:
            logger.flush()  # nothing is to be dropped
    logger.flush()


def _measure(path: Path, records: int) -> list[Result]:
    with ax_monitor.Store(path) as store:
        logger = ax_monitor.StructuredLogger(store)
        _fill(logger, records, 1)
        fresh = store.read(file_size).total
        say(f"   {records:,} records, {fresh / 1e6:.0f} MB")
        _fill(logger, records, 40)
        retention = ax_monitor.RetentionService(store)
        with Load(logger) as load:
            time.sleep(1)
            load.calls.clear()
            load.flushes.clear()
            report = retention.run()
        assert report.logs == records, (report, store.stats())
        recorded = logger.get_log_count() - records
        size = store.read(file_size).total
        share = size / (fresh * (records + recorded) / records)
    calls, flushes = sorted(load.calls), sorted(load.flushes)
    longest = max(report.longest_lock, 0.0)
    return [
        Result(
            "G19",
            f"retention of {records:,} log records beside {RATE // 1000} k records/s: write lock "
            "held at a time, at most",
            f"{longest:.0f} ms (all of it {report.duration / 1000:.1f} s)",
            "≤ 50 ms",
            figure=longest,
            limit=50,
            duration=True,
        ),
        Result(
            "",
            "the same: a recording call; recorded until it is in the database",
            f"max {calls[-1] / 1e6:.1f} ms, p99.9 {percentile(calls, 0.999) / 1e6:.3f} ms; "
            f"p50 {percentile(flushes, 0.5):.0f} ms, max {flushes[-1]:.0f} ms",
            "≤ 50 ms a call",
            figure=calls[-1],
            limit=50e6,
            duration=True,
        ),
        Result(
            "G19",
            "size of the file afterwards, of one that only ever had what is left",
            f"{share:.2f} ×",
            "≤ 1.3 ×",
            figure=share,
            limit=1.3,
        ),
    ]


def run(records: int = 1_000_000) -> list[Result]:
    """One run beside one load."""
    with bench_folder() as folder:
        return _measure(folder / "monitor.db", records)
