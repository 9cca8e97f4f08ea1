"""FAULTS.md, T: clocks that jump."""

from __future__ import annotations

import ax_monitor
from tests.conftest import FakeClock

DAY_S = 86_400
YEARS_MS = 10 * 365 * DAY_S * 1000


def test_t2_a_clock_that_jumps_ahead_deletes_nothing(db: str, clock: FakeClock) -> None:
    """Retention goes by the time that has really passed, whatever the wall clock says."""
    with ax_monitor.Store(db, clock=clock) as store:
        logger = ax_monitor.StructuredLogger(store)
        tracer = ax_monitor.DistributedTracer(store)
        metrics = ax_monitor.MetricsCollector(store)
        logger.log_at(9, "old", "s", timestamp_ns=clock.now_ms * 1_000_000)
        tracer.complete_trace(tracer.start_trace("run"))
        metrics.record("m", 1.0, timestamp=clock.now_ms)
        clock.now_ms += YEARS_MS
        assert logger.cleanup() == tracer.cleanup() == metrics.cleanup() == 0
        assert logger.get_log_count() == metrics.get_metric_count() == 1
        clock.advance(91 * DAY_S)
        assert logger.cleanup() == metrics.cleanup() == 1


def test_t1_a_clock_that_jumps_back_deletes_nothing_too_early(db: str, clock: FakeClock) -> None:
    """What is young by the wall clock stays, too."""
    with ax_monitor.Store(db, clock=clock) as store:
        logger = ax_monitor.StructuredLogger(store)
        clock.advance(60 * DAY_S)
        clock.now_ms -= 59 * DAY_S * 1000
        logger.log_at(9, "young", "s", timestamp_ns=clock.now_ms * 1_000_000)
        assert logger.cleanup() == 0
