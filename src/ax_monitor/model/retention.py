"""What a retention run did."""

from __future__ import annotations

from dataclasses import dataclass, field

from ax_monitor.model._record import Record

__all__ = ["KINDS", "RetentionReport"]

KINDS = ("logs", "traces", "executions", "samples", "alerts")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionReport(Record):
    """What one run of the retention deleted, or would delete.

    Args:
        dry_run: Nothing was deleted; the counts say what would be.
        logs: Log records.
        traces: Traces, each with its spans and their events.
        executions: Executions, each with its steps.
        samples: Samples of metrics. In a dry run to the minute.
        alerts: Resolved alerts, each with its history.
        bytes_before: Size of the file, in bytes.
        bytes_after: The same at the end. What is free in it is given back.
        refused: What was not deleted although it is old, or the file too large, and why: by kind of
            record, or "size".
        longest_lock: How long the write lock was held at a time, at most, in ms.
        duration: How long the run took, in ms.
    """

    dry_run: bool = False
    logs: int = 0
    traces: int = 0
    executions: int = 0
    samples: int = 0
    alerts: int = 0
    bytes_before: int = 0
    bytes_after: int = 0
    refused: dict[str, str] = field(default_factory=dict, hash=False)
    longest_lock: float = 0.0
    duration: float = 0.0

    @property
    def deleted(self) -> dict[str, int]:
        """The counts by kind of record."""
        return {kind: getattr(self, kind) for kind in KINDS}
