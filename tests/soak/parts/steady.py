"""An engine that records at a steady rate for long, beside readers, retention and alert rules."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from ax_monitor import Monitor
from ax_monitor import open as open_monitor
from tests.soak.report import Outcome

TICK_S = 0.02
MIB = 1024 * 1024
WAL_LIMIT_MIB = 64
GROWTH_LIMIT = 0.05
JUDGED_S = 600  # before that, memory still fills: caches, the pages of the ring
KEEP_S = 60  # what is older is deleted
REACHED = 0.95  # of the rate: less means that the machine was too busy for the test


def run(folder: Path, count: int, seconds: float) -> Outcome:
    """`count` records a second for so long."""
    outcome = Outcome()
    db = folder / "monitor.db"
    stop = threading.Event()
    days = KEEP_S / 86_400
    monitor = open_monitor(
        db,
        retention={
            "logs_days": days,
            "traces_days": days,
            "executions_days": days,
            "metrics_days": days,
            "alerts_days": days,
        },
    )
    errors: list[str] = []
    counts: dict[str, int] = {}
    memory: list[float] = []
    wal: list[float] = []

    def again(name: str, work: Callable[[], object], pause_s: float) -> threading.Thread:
        def loop() -> None:
            while not stop.wait(pause_s):
                try:
                    work()
                    counts[name] = counts.get(name, 0) + 1
                except Exception as error:
                    errors.append(f"{name}: {type(error).__name__}: {error}")

        thread = threading.Thread(target=loop, name=name, daemon=True)
        thread.start()
        return thread

    process = psutil.Process()

    def measure() -> None:
        memory.append(process.memory_info().rss / MIB)
        wal.append((folder / "monitor.db-wal").stat().st_size / MIB)

    deleted = 0

    def retain() -> None:
        nonlocal deleted
        report = monitor.retention.run()
        deleted += report.logs + report.samples + report.traces

    _make_rules(monitor)
    alerts: list[object] = []
    monitor.alerts.on("alert.triggered", alerts.append)
    monitor.alerts.start_evaluation(1000)
    helpers = [
        again("readings", lambda: _read(monitor), 0.2),
        again("searches", lambda: monitor.logger.query_logs(search="request", limit=20), 0.5),
        again("retention runs", retain, 5.0),
        again("measurements", measure, min(10.0, seconds / 20)),
    ]
    made = _record(monitor, count, seconds)
    stop.set()
    for thread in helpers:
        thread.join(60)
        outcome.require(not thread.is_alive(), f"{thread.name} hang")
    outcome.require(monitor.flush(), "the last flush failed")
    stats = monitor.store.stats()
    unaccounted = stats.attempted - stats.stored - sum(stats.dropped.values()) - stats.in_flight
    monitor.close()
    quarter = len(memory) // 4
    growth = statistics.mean(memory[-quarter:]) / statistics.mean(memory[quarter : 2 * quarter]) - 1
    outcome.figures = {
        "records": stats.attempted,
        "calls a second": int(made / seconds),
        "stored": stats.stored,
        "dropped": sum(stats.dropped.values()),
        "unaccounted for": unaccounted,
        "deleted by retention": deleted,
        "alerts": len(alerts),
        **counts,
        "MiB of memory at the end": memory[-1],
        "% growth of memory": growth * 100,
        "MiB of WAL at most": max(wal),
        "MiB of database at the end": db.stat().st_size / MIB,
    }
    outcome.problems += errors[:5]
    outcome.require(unaccounted == 0, f"attempted = stored + dropped + in flight is off: {stats}")
    outcome.require(max(wal) < WAL_LIMIT_MIB, "the WAL is too large")
    outcome.require(deleted > 0 or seconds < 2 * KEEP_S, "retention has deleted nothing")
    outcome.require(len(alerts) > 0, "no alert was raised")
    outcome.require(made > REACHED * count * seconds, "the rate was not reached")
    if seconds >= JUDGED_S:
        outcome.require(growth < GROWTH_LIMIT, "memory grows")
    return outcome


def _make_rules(monitor: Monitor) -> None:
    for number in range(20):
        monitor.alerts.create_rule(
            f"Rule {number}",
            "the load goes up and down",
            "load",
            {"operator": "gt", "threshold": 50.0, "window_ms": 5000, "aggregation": "avg"},
            "warning",
            match_labels={"worker": f"w{number}"},
            cooldown_ms=5000,
            auto_resolve=True,
        )


def _record(monitor: Monitor, rate: int, seconds: float) -> int:
    """Record at a rate: six log records, two samples, a trace, again and again."""
    log = monitor.logger
    series = [monitor.metrics.series("load", labels={"worker": f"w{n}"}) for n in range(20)]
    started = time.monotonic()
    made = turn = 0
    while (passed := time.monotonic() - started) < seconds:
        while made < rate * passed:
            for number in range(6):
                log.info("request handled", "engine", metadata={"n": number, "turn": turn})
            series[turn % 20].record(100.0 * (int(passed) // 10 % 2))
            series[turn % 7].record(turn % 100)
            with monitor.tracer.trace(f"run-{turn % 100}", "work"):
                pass
            made += 11  # a trace is a record when it begins, when its span ends, when it ends
            turn += 1
            if turn % 1000 == 0:
                with monitor.workflows.execution("wf", "steady") as run, run.step("only"):
                    pass
        time.sleep(TICK_S)
    return made


def _read(monitor: Monitor) -> None:
    monitor.logger.query_logs(limit=50)
    monitor.metrics.get_aggregation("load", 0, 2**50)
    monitor.tracer.find_traces(limit=10)
    monitor.workflows.get_recent_executions()
