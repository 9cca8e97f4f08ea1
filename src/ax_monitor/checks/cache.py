"""The engine's cache, as far as the engine says something about it."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from typing import Any, Final

from ax_monitor.checks.executions import SETTLE_S
from ax_monitor.checks.outcome import Check, Outcome, read_answer
from ax_monitor.checks.providers import NOT_CONFIGURED
from ax_monitor.clock import Clock
from ax_monitor.errors import StorageError
from ax_monitor.model.metrics import MetricType
from ax_monitor.model.vocabulary import HealthStatus
from ax_monitor.pipeline.store import Store
from ax_monitor.storage import metrics

HIT_RATE_MS: Final = 3_600_000  # samples of the last hour count


class CacheCheck:
    """What the registered function answers, and the hit rate that was recorded.

    Samples of `cache.hit_rate` (of the last hour, of all series) are shown in the metadata; they
    decide nothing.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self.registered: Check | None = None

    def __call__(self) -> object:
        """Ask; the outcome, or an awaitable of it if the function's answer is one."""
        if self.registered is None:
            return self._with_hit_rate(
                Outcome(HealthStatus.HEALTHY, NOT_CONFIGURED, {"configured": False})
            )
        answer = self.registered()
        return self._await(answer) if isinstance(answer, Awaitable) else self._answered(answer)

    async def _await(self, answer: Awaitable[object]) -> Outcome:
        return self._answered(await answer)

    def _answered(self, answer: object) -> Outcome:
        outcome = read_answer(answer)
        metadata = {"configured": True, **(outcome.metadata or {})}
        return self._with_hit_rate(replace(outcome, metadata=metadata))

    def _with_hit_rate(self, outcome: Outcome) -> Outcome:
        return replace(outcome, metadata={**self._hit_rate(), **(outcome.metadata or {})})

    def _hit_rate(self) -> dict[str, Any]:
        # Optional: a database in trouble is told of by its own check, and not waited for here.
        if not self._store.settle(SETTLE_S):
            return {}
        now = self._clock.time_ms()
        try:
            found = self._store.read(
                metrics.get_aggregation, MetricType.CACHE_HIT_RATE, now - HIT_RATE_MS, now
            )
        except StorageError:
            return {}
        if found is None:
            return {}
        return {"hit_rate": found.avg, "hit_rate_sample_count": found.count}
