"""Is what this process records written, and in time?"""

from __future__ import annotations

from typing import Final

from ax_monitor.checks.disk import file_bytes, format_bytes
from ax_monitor.checks.outcome import Findings, Outcome
from ax_monitor.checks.thresholds import HealthThresholds
from ax_monitor.clock import Clock
from ax_monitor.model.vocabulary import HealthStatus
from ax_monitor.pipeline.stats import RecorderState, RecorderStats
from ax_monitor.pipeline.store import Store

NO_THREAD: Final = "no thread writes to the database: it has ended, or could not be started"
SETTLE_S: Final = 0.5  # a process that was suspended gets so long to write what waits


class RecorderCheck:
    """The ring and the thread that writes it to the database.

    Args:
        store: Whose recorder it is.
        thresholds: See `HealthThresholds`.
        clock: By its monotonic time dropped records are forgotten.
    """

    def __init__(self, store: Store, thresholds: HealthThresholds, clock: Clock) -> None:
        self._store = store
        self._thresholds = thresholds
        self._clock = clock
        # No lock: two checks at once both see what was dropped.
        self._dropped = 0
        self._dropped_at: float | None = None

    def __call__(self) -> Outcome:
        """Measure."""
        state = self._store.recorder_state()
        if state is None:
            return not_recording("the store was opened read-only")
        if state.writing == "nobody yet":
            return not_recording("this process was forked and has not recorded anything yet")
        if state.writing == "thread" and state.lag_ms > self._thresholds.lag_degraded_ms:
            self._store.settle(SETTLE_S)
            state = self._store.recorder_state() or state
        found = Findings(**self._figures(state))
        self._writing(state, found)
        self._ring(state.stats, found)
        self._drops(state.stats, found)
        if missing := state.stats.missing:
            found.degraded(
                f"{missing} records that had been written are missing: the database was deleted or "
                "replaced, or has lost the end of its WAL"
            )
        wal_bytes = found.metadata["wal_bytes"]
        if wal_bytes > self._thresholds.wal_degraded_bytes:
            found.degraded(
                f"the WAL has {format_bytes(wal_bytes)}: a reader that does not end keeps it from "
                "being copied back"
            )
        waiting, share = state.stats.in_flight, found.metadata["ring_usage_percent"]
        return found.outcome(
            f"{waiting} {'record waits' if waiting == 1 else 'records wait'}, "
            f"{share:g} % of the ring in use"
        )

    def _figures(self, state: RecorderState) -> dict[str, object]:
        stats = state.stats
        share = 100.0 * stats.ring_used_bytes / stats.ring_bytes if stats.ring_bytes else 0.0
        return {
            "recording": state.writing != "closed",
            "pending_count": stats.in_flight,
            "ring_bytes": stats.ring_bytes,
            "ring_used_bytes": stats.ring_used_bytes,
            "ring_usage_percent": round(share, 1),
            "lag_ms": round(state.lag_ms, 1),
            "dropped_count": sum(stats.dropped.values()),
            "stored_count": stats.stored,
            "missing_count": stats.missing,
            "wal_bytes": file_bytes(f"{self._store.path}-wal"),
            "volatile": stats.volatile,
            "last_error": stats.last_error,
        }

    def _writing(self, state: RecorderState, found: Findings) -> None:
        if state.writing == "closed":
            found.unhealthy("the store has been closed: nothing is recorded any more")
        elif state.writing == "nobody":
            found.unhealthy(NO_THREAD)
        if state.stats.last_error is not None:
            found.unhealthy(state.stats.last_error)
        text = f"records have been waiting to be written for {state.lag_ms / 1000:.0f} s"
        if state.lag_ms > self._thresholds.lag_unhealthy_ms:
            found.unhealthy(text)
        elif state.lag_ms > self._thresholds.lag_degraded_ms:
            found.degraded(text)

    def _ring(self, stats: RecorderStats, found: Findings) -> None:
        share = found.metadata["ring_usage_percent"]
        if share > self._thresholds.ring_unhealthy_percent:
            found.unhealthy(f"{share:g} % of the ring is full: records are about to be dropped")
        elif share > self._thresholds.ring_degraded_percent:
            found.degraded(f"{share:g} % of the ring is full")
        if stats.volatile:
            found.degraded(
                "the ring is in memory only, a kill of the process loses what waits: "
                f"{stats.volatile_reason}"
            )

    def _drops(self, stats: RecorderStats, found: Findings) -> None:
        # What came after close() has been told of as such.
        by_reason = {reason: n for reason, n in stats.dropped.items() if reason != "after_close"}
        dropped = sum(by_reason.values())
        new = max(0, dropped - self._dropped)  # a forked child counts from 0
        self._dropped = dropped
        found.metadata["dropped_since_last_check_count"] = new
        now = self._clock.monotonic()
        if new:
            self._dropped_at = now
        if self._dropped_at is None:
            return
        # Shown for a while: the check that saw them first may have been somebody else's.
        if (now - self._dropped_at) * 1000 <= self._thresholds.drops_shown_ms:
            reasons = ", ".join(f"{count} {reason}" for reason, count in by_reason.items())
            found.degraded(f"records have been dropped lately (in all: {reasons})")


def not_recording(why: str) -> Outcome:
    """A process that only looks: nothing is wrong with that, and nothing is claimed."""
    return Outcome(HealthStatus.HEALTHY, f"not recording here: {why}", {"recording": False})
