"""What the tests of alerting share: a service on a clock that is moved by hand."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import ax_monitor
from ax_monitor import Alert, AlertingService, MetricsCollector, Store
from tests.conftest import FakeClock

MINUTE_MS = 60_000
METRIC = "queue.length"


class Engine:
    """A process's services on one database: records at the time of its clock."""

    def __init__(self, db: str, clock: FakeClock) -> None:
        self.clock = clock
        self.store = Store(db, clock=clock)
        self.metrics = MetricsCollector(self.store)
        self.alerts = AlertingService(self.store)
        self.heard: list[tuple[str, Any]] = []
        for event in (
            "rule.created", "rule.updated", "rule.deleted", "alert.triggered",
            "alert.acknowledged", "alert.resolved", "evaluation.error",
        ):  # fmt: skip
            self.store.events.on(event, lambda payload, event=event: self._hear(event, payload))

    def _hear(self, event: str, payload: Any) -> None:
        self.heard.append((event, payload))

    def events(self, name: str) -> list[Any]:
        """The payloads of an event until now."""
        self.store.flush()
        return [payload for event, payload in self.heard if event == name]

    def rule(self, **changes: Any) -> str:
        """A rule: the average of five minutes is above 10."""
        arguments: dict[str, Any] = {
            "name": "Queue too long",
            "description": "The queue is too long",
            "metric_type": METRIC,
            "condition": condition(),
            "severity": "warning",
        }
        return self.alerts.create_rule(**arguments | changes)

    def record(self, value: float, *, ago_ms: int = 0, **series: Any) -> None:
        self.metrics.record(METRIC, value, timestamp=self.clock.time_ms() - ago_ms, **series)

    def evaluate(self, value: float | None = None, **series: Any) -> list[Alert]:
        """Record a value, if one is given, and evaluate."""
        if value is not None:
            self.record(value, **series)
        return self.alerts.evaluate_now()

    def pass_by(self, value: float | None, seconds: float, step_s: float = 60) -> list[Alert]:
        """Let time pass with one value, evaluated at every step; what was triggered."""
        triggered = []
        for _ in range(int(seconds / step_s)):
            self.clock.advance(step_s)
            triggered += self.evaluate(value)
        return triggered

    def the_alert(self) -> Alert:
        """The only one there is."""
        (alert,) = self.alerts.list_alerts()
        return alert


def condition(**changes: Any) -> dict[str, Any]:
    return {"operator": "gt", "threshold": 10, "window_ms": 300_000, "aggregation": "avg"} | changes


@contextlib.contextmanager
def engine(db: str, clock: FakeClock | None = None) -> Iterator[Engine]:
    made = Engine(db, clock or FakeClock())
    try:
        yield made
    finally:
        made.store.close()


__all__ = ["METRIC", "MINUTE_MS", "Engine", "ax_monitor", "condition", "engine"]
