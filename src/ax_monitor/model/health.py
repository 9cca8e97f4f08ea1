"""The health of the system and of its components."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ax_monitor.model._record import Record
from ax_monitor.model.vocabulary import HealthStatus

__all__ = ["HealthCheck", "ProbeAnswer", "SystemHealth"]


@dataclass(frozen=True, slots=True)
class HealthCheck(Record):
    """The result of checking one component.

    Args:
        component: Its name, e.g. "database".
        status: How it is.
        timestamp: When it was checked, in ms since the epoch.
        response_time: How long the check took, in ms.
        message: Why it is so, for people.
        metadata: What was measured; the keys say their unit (`free_bytes`, `usage_percent`).
    """

    component: str
    status: HealthStatus
    timestamp: int
    response_time: float
    message: str | None = None
    metadata: dict[str, Any] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class SystemHealth(Record):
    """The health of all components at one moment.

    Args:
        overall: The worst status of any component.
        timestamp: When they were checked, in ms since the epoch.
        components: One result a component.
        uptime: How long the service has been running, in ms.
        version: Version of ax-monitor.
    """

    overall: HealthStatus
    timestamp: int
    components: tuple[HealthCheck, ...]
    uptime: int
    version: str


@dataclass(frozen=True, slots=True)
class ProbeAnswer(Record):
    """The answer to a liveness or readiness probe; true or false as `ok` is.

    Args:
        ok: Yes or no.
        reason: Why, for people.
    """

    ok: bool
    reason: str | None = None

    def __bool__(self) -> bool:
        return self.ok
