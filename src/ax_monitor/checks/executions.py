"""How many workflow executions run."""

from __future__ import annotations

from typing import Final

from ax_monitor.checks.outcome import Findings, Outcome
from ax_monitor.checks.thresholds import HealthThresholds
from ax_monitor.pipeline.store import Store
from ax_monitor.storage.health import count_running

SETTLE_S: Final = 0.25  # what waits to be written is waited for so long, not for the barrier's 5 s


class QueueCheck:
    """The executions with the status `running`, of all processes on the database.

    Those that this process has just begun are counted, unless the recorder can't write them now.
    """

    def __init__(self, store: Store, thresholds: HealthThresholds) -> None:
        self._store = store
        self._thresholds = thresholds

    def __call__(self) -> Outcome:
        """Count."""
        is_current = self._store.settle(SETTLE_S)
        running = self._store.peek(count_running)
        found = Findings(running_count=running, current=is_current)
        text = f"{running} {'execution runs' if running == 1 else 'executions run'}"
        if running > self._thresholds.running_count:
            found.degraded(text)
        if not is_current:
            found.degraded("newer ones could not be counted: what is recorded is not written yet")
        return found.outcome(text)
