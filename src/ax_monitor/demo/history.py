"""What happened before the tour begins: a month of executions, most of them in the last day.

It is recorded through the services, which are given a clock that runs through the past.
"""

from __future__ import annotations

import math
import os
import random
from collections.abc import Iterator
from typing import Any, Final

from ax_monitor.demo.engine import STEPS, TENANTS, WORKFLOW, WORKFLOW_ID
from ax_monitor.demo.models import MODELS, Providers
from ax_monitor.pipeline.store import Store
from ax_monitor.services.metrics import MetricsCollector
from ax_monitor.services.workflows import WorkflowMonitor

HOUR_MS: Final = 3_600_000
DAYS: Final = 30
PER_HOUR_LONG_AGO: Final = 3
PER_HOUR_LAST_DAY: Final = 60
FAILED_SHARE: Final = 0.03


class _PastClock:
    """A clock that is set by hand, and never stops the threads that wait by it."""

    def __init__(self, now_ms: int) -> None:
        self._begin_ms = now_ms
        self.now_ms = now_ms

    def time_ms(self) -> int:
        return self.now_ms

    def monotonic(self) -> float:
        return (self.now_ms - self._begin_ms) / 1000

    def boot_id(self) -> str:
        return ""


class _PastSeries:
    """A series whose samples get the time of that clock."""

    def __init__(self, metrics: MetricsCollector, clock: _PastClock, **series: Any) -> None:
        self._metrics = metrics
        self._clock = clock
        self._series = series

    def record(self, value: float, /) -> None:
        """Record one sample, at the clock's time."""
        self._metrics.record(value=value, timestamp=self._clock.now_ms, **self._series)


class _PastMetrics:
    """Where workflows get such series from."""

    def __init__(self, metrics: MetricsCollector, clock: _PastClock) -> None:
        self._metrics = metrics
        self._clock = clock

    def series(self, metric_type: str, **series: Any) -> _PastSeries:
        """The series of a metric."""
        return _PastSeries(self._metrics, self._clock, metric_type=metric_type, **series)


def back_fill(database: str | os.PathLike[str], now_ms: int, seed: int) -> int:
    """Record what an engine did in the thirty days before `now_ms`; how many executions it were.

    It works by day more than by night, and a little more every day.
    """
    chance = random.Random(seed)
    clock = _PastClock(now_ms - DAYS * 24 * HOUR_MS)
    providers = Providers(seed)
    count = 0
    with Store(database, clock=clock) as store:
        metrics = MetricsCollector(store)
        workflows = WorkflowMonitor(store, metrics=_PastMetrics(metrics, clock))
        for begin_ms in _beginnings(chance, now_ms):
            clock.now_ms = begin_ms
            _execution(workflows, clock, providers, chance)
            count += 1
    return count


def _beginnings(chance: random.Random, now_ms: int) -> Iterator[int]:
    for hour in range(DAYS * 24, 0, -1):
        begin_ms = now_ms - hour * HOUR_MS
        by_day = 1.0 - 0.7 * math.cos(2 * math.pi * (begin_ms % (24 * HOUR_MS)) / (24 * HOUR_MS))
        growth = 1.0 + 0.02 * (DAYS - hour / 24)
        per_hour = PER_HOUR_LAST_DAY if hour <= 24 else PER_HOUR_LONG_AGO
        number = round(per_hour * by_day * growth * chance.uniform(0.8, 1.2))
        yield from sorted(begin_ms + chance.randrange(HOUR_MS - 10_000) for _ in range(number))


def _execution(
    workflows: WorkflowMonitor, clock: _PastClock, providers: Providers, chance: random.Random
) -> None:
    tenant = chance.choice(TENANTS)
    fails_at = chance.choice(STEPS) if chance.random() < FAILED_SHARE else None
    execution = workflows.start_execution(WORKFLOW_ID, WORKFLOW, tenant, "demo", len(STEPS))
    for key in STEPS:
        model = chance.choice(MODELS) if key == "summarize" else None
        step = workflows.start_step(execution, key, key)
        seconds = chance.random() / 50 if model is None else providers.seconds(model)
        clock.now_ms += 1 + int(seconds * 1000)
        if key == fails_at:
            workflows.fail_step(step, "503 try again later")
            workflows.update_execution(execution, status="failed", error_message=f"{key} failed")
            return
        if model is None:
            workflows.complete_step(step)
        else:
            tokens = chance.randrange(20_000, 60_000)
            workflows.complete_step(
                step,
                tokens_used=tokens,
                cost=model.cost(tokens),
                provider=model.provider,
                model=model.name,
            )
    workflows.update_execution(execution, status="completed")
