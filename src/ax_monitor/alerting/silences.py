"""What a call for a silence means."""

from __future__ import annotations

from collections.abc import Mapping

from ax_monitor._native import new_id
from ax_monitor.clock import Moment
from ax_monitor.model.alerts import Silence, check_labels
from ax_monitor.model.vocabulary import AlertSeverity
from ax_monitor.pipeline.service import check_positive


def make_silence(
    now: Moment,
    *,
    duration_ms: int | None,
    ends_at: int | None,
    starts_at: int | None,
    rule_id: str | None,
    severity: AlertSeverity | str | None,
    labels: Mapping[str, str] | None,
    created_by: str | None,
    comment: str | None,
) -> tuple[Silence, Moment | None]:
    """The silence; and the moment from which it lasts a while, if it is meant so.

    Raises:
        ValueError: it would never be in force, or it is not clear when it ends.
    """
    if (duration_ms is None) == (ends_at is None):
        raise ValueError("give either duration_ms or ends_at")
    start = now.time_ms if starts_at is None else starts_at
    if duration_ms is not None:
        check_positive("duration_ms", duration_ms)
        end = start + duration_ms
    else:
        end = ends_at or 0
    if end <= max(start, now.time_ms):
        raise ValueError(f"a silence must end after its start and in the future, not at {end}")
    silence = Silence(
        id=new_id(),
        starts_at=start,
        ends_at=end,
        rule_id=rule_id,
        severity=None if severity is None else AlertSeverity.parse(severity),
        labels={} if labels is None else check_labels("labels", labels),
        created_by=created_by,
        comment=comment,
    )
    return silence, now if starts_at is None and duration_ms is not None else None
