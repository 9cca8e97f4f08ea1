"""G14: what an execution with five steps costs the caller, from its start to its end."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import ax_monitor
from ax_monitor.bench.harness import interleaved, ratio
from benchmarks.harness import Result

EXECUTIONS = 2000
STEPS = tuple((f"step-{i}", f"Step {i}") for i in range(5))
TARGET_US = 15


class SlottedRow:
    """What an execution or a step by hand is at least: a slotted object with an id and times."""

    __slots__ = ("end", "id", "key", "name", "parent", "start", "status", "tokens_used")

    def __init__(self, parent: str, key: str, name: str) -> None:
        self.id = f"{time.monotonic_ns():016x}"
        self.parent = parent
        self.key = key
        self.name = name
        self.start = time.time_ns()
        self.status = "running"

    def complete(self, tokens_used: int | None = None) -> None:
        self.end = time.time_ns()
        self.status = "completed"
        self.tokens_used = tokens_used


def _by_hand() -> float:
    """µs an execution: the reference, to tell a slow machine from slow code."""
    start = time.perf_counter_ns()
    for _ in range(EXECUTIONS):
        execution = SlottedRow("acme", "wf-1", "import")
        for key, name in STEPS:
            SlottedRow(execution.id, key, name).complete(1200)
        execution.complete()
    return (time.perf_counter_ns() - start) / EXECUTIONS / 1000


def _ids(workflows: ax_monitor.WorkflowMonitor, flush: Callable[[], object]) -> Callable[[], float]:
    def run() -> float:
        start_execution, update_execution = workflows.start_execution, workflows.update_execution
        start_step, complete_step = workflows.start_step, workflows.complete_step
        start = time.perf_counter_ns()
        for _ in range(EXECUTIONS):
            execution_id = start_execution("wf-1", "import", "acme", "user", 5)
            for key, name in STEPS:
                complete_step(start_step(execution_id, key, name), tokens_used=1200, cost=0.004)
            update_execution(execution_id, status="completed")
        taken = (time.perf_counter_ns() - start) / EXECUTIONS / 1000
        flush()  # so that every repeat begins with an empty ring
        return taken

    return run


def _blocks(
    workflows: ax_monitor.WorkflowMonitor, flush: Callable[[], object]
) -> Callable[[], float]:
    def run() -> float:
        start = time.perf_counter_ns()
        for _ in range(EXECUTIONS):
            with workflows.execution("wf-1", "import", "acme", "user", 5) as execution:
                for key, name in STEPS:
                    with execution.step(key, name) as step:
                        step.set(tokens_used=1200, cost=0.004)
        taken = (time.perf_counter_ns() - start) / EXECUTIONS / 1000
        flush()
        return taken

    return run


def run() -> list[Result]:
    """Executions by ids and as blocks, with metrics and without, beside objects made by hand."""
    with (
        tempfile.TemporaryDirectory() as folder,
        ax_monitor.Store(Path(folder) / "monitor.db") as store,
    ):
        plain = ax_monitor.WorkflowMonitor(store)
        measured = ax_monitor.WorkflowMonitor(store, metrics=ax_monitor.MetricsCollector(store))
        series = interleaved(
            {
                "by hand": _by_hand,
                "ids": _ids(plain, store.flush),
                "ids, metrics": _ids(measured, store.flush),
                "blocks, metrics": _blocks(measured, store.flush),
            }
        )
        assert not store.stats().dropped
    names = {
        "ids": "execution with 5 steps, started and completed, by ids, without metrics",
        "ids, metrics": "the same with its metrics",
        "blocks, metrics": "the same as `with` blocks",
    }
    return [
        Result(
            "G14",
            what,
            f"{series[name].median:.1f} µs ±{series[name].spread:.0%} "
            f"({ratio(series[name], series['by hand']).median:.1f} × objects by hand)",
            f"≤ {TARGET_US} µs",
            figure=series[name].median,
            limit=TARGET_US,
            spread=series[name].spread,
            duration=True,
        )
        for name, what in names.items()
    ]
