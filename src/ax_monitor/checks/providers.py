"""The services that the engine depends on, as one component."""

from __future__ import annotations

from typing import Final

from ax_monitor.checks.board import CheckBoard
from ax_monitor.checks.outcome import Findings, Outcome
from ax_monitor.checks.probes import make_probe
from ax_monitor.clock import Clock
from ax_monitor.model.vocabulary import HealthStatus

NOT_CONFIGURED: Final = "not configured"
GRACE_S: Final = 0.25  # beyond the slowest provider's limit, so that each is told of by its name


class Providers:
    """Probes by the name of their provider, made side by side.

    A provider that fails makes the component unhealthy, or degraded if it is not required.

    Thread-safety: any thread.
    """

    def __init__(self, clock: Clock, limit_s: float) -> None:
        self._board = CheckBoard(clock, limit_s)
        self._optional: frozenset[str] = frozenset()

    @property
    def limit_s(self) -> float:
        """How long a check of all takes at most."""
        return max(self._board.limit_s, self._board.longest_limit_s) + GRACE_S

    def put(self, name: str, probe: object, limit_s: float | None, *, required: bool) -> None:
        """Add a provider, or replace the one of this name."""
        self._board.put(name, make_probe(probe, limit_s or self._board.limit_s), limit_s)
        self._optional = self._optional - {name} if required else self._optional | {name}

    def remove(self, name: str) -> bool:
        """Take a provider off; False if there is none of this name."""
        return self._board.remove(name)

    def after_fork_in_child(self) -> None:
        """The threads stayed with the parent."""
        self._board.after_fork_in_child()

    def __call__(self) -> Outcome:
        """Probe all of them."""
        if not self._board.names:
            return Outcome(HealthStatus.HEALTHY, NOT_CONFIGURED, {"configured": False})
        results = [checked.check for checked in self._board.check_all()]
        found = Findings(
            configured=True,
            provider_count=len(results),
            failed_count=sum(check.status is HealthStatus.UNHEALTHY for check in results),
            providers={
                check.component: {
                    "status": check.status.value,
                    "response_time_ms": round(check.response_time, 3),
                    "message": check.message,
                    **(check.metadata or {}),
                }
                for check in results
            },
        )
        for check in results:
            text = f"{check.component}: {check.message or check.status.value}"
            if check.status is HealthStatus.UNHEALTHY and check.component not in self._optional:
                found.unhealthy(text)
            elif check.status is not HealthStatus.HEALTHY:
                found.degraded(text)
        return found.outcome(
            f"{len(results)} {'provider answers' if len(results) == 1 else 'providers answer'}"
        )
