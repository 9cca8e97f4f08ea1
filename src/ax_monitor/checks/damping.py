"""Which changes of a status are told."""

from __future__ import annotations

import threading

from ax_monitor.checks.outcome import severity, worst
from ax_monitor.model.vocabulary import HealthStatus


class Damping:
    """Follows a status: what is worse counts at once, what is better after some checks in a row.

    So a component that flaps is told of as down once, and as up when it stays up. The status after
    that is the worst that those last checks saw.

    Thread-safety: any thread.

    >>> damping = Damping(recover_after=2)
    >>> for status in ("healthy", "unhealthy", "healthy", "degraded", "degraded"):
    ...     print(damping.update(HealthStatus(status)))
    None
    (<HealthStatus.HEALTHY: 'healthy'>, <HealthStatus.UNHEALTHY: 'unhealthy'>)
    None
    (<HealthStatus.UNHEALTHY: 'unhealthy'>, <HealthStatus.DEGRADED: 'degraded'>)
    None

    Args:
        recover_after: How many checks in a row must be better; 1: no damping.
    """

    def __init__(self, recover_after: int) -> None:
        self._recover_after = recover_after
        self._better: list[HealthStatus] = []
        self.status: HealthStatus | None = None  # None: nothing is known yet
        self._lock = threading.Lock()

    def update(self, seen: HealthStatus) -> tuple[HealthStatus | None, HealthStatus] | None:
        """Take the status that a check saw. (from, to) if that is a change to tell, else None.

        The first status is a change, from None, unless it is healthy.
        """
        with self._lock:
            before = self.status
            if before is None:
                self.status = seen
                return None if seen is HealthStatus.HEALTHY else (None, seen)
            if severity(seen) >= severity(before):
                self._better.clear()
                self.status = seen
                return (before, seen) if seen is not before else None
            self._better.append(seen)
            if len(self._better) < self._recover_after:
                return None
            self.status = worst(self._better)
            self._better.clear()
            return before, self.status

    def after_fork_in_child(self) -> None:
        """Another thread may have held the lock."""
        self._lock = threading.Lock()
