"""What is old, how much of it there is, and giving back the space that it took."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import apsw

from ax_monitor.storage.connection import one_row
from ax_monitor.storage.logs import first_key
from ax_monitor.storage.metric_sql import MINUTE_MS
from ax_monitor.storage.search import merge_index
from ax_monitor.storage.workflow_batch import ACTIVE

HOUR_MS: Final = 60 * MINUTE_MS

_COUNTS: Final = {
    "logs": "SELECT count(*) FROM log_records WHERE seq < :key",
    "traces": "SELECT count(*) FROM traces WHERE started_at < :before "
    "AND coalesce(completed_at, interrupted_at, started_at) < :before",
    "executions": "SELECT count(*) FROM workflow_executions_monitor WHERE started_at < :before "
    f"AND status NOT IN {ACTIVE} AND coalesce(completed_at, started_at) < :before",
    "alerts": "SELECT count(*) FROM alerts WHERE status = 'resolved' AND timestamp < :before "
    "AND coalesce(resolved_at, timestamp) < :before",
    # To the minute: of the minute that is cut nothing counts.
    "samples": "SELECT (SELECT coalesce(sum(count), 0) FROM metric_hours WHERE hour < :hour) "
    "+ (SELECT coalesce(sum(m.count), 0) FROM metric_series s CROSS JOIN metric_minutes m "
    "ON m.series = s.series AND m.minute >= 60 * :hour AND m.minute < :minute) "
    "+ (SELECT count(*) FROM metric_rows WHERE timestamp < :before) "
    "+ (SELECT coalesce(sum(length(samples) / 10), 0) FROM metric_chunks WHERE minute < :minute)",
}
_TOTALS: Final = {
    "logs": "SELECT count(*) FROM log_records",
    "traces": "SELECT count(*) FROM traces",
    "executions": "SELECT count(*) FROM workflow_executions_monitor",
    "alerts": "SELECT count(*) FROM alerts",
    "samples": "SELECT (SELECT coalesce(sum(count), 0) FROM metric_hours) "
    "+ (SELECT count(*) FROM metric_rows) "
    "+ (SELECT coalesce(sum(length(samples) / 10), 0) FROM metric_chunks)",
}
_OLDEST: Final = {
    "logs": "SELECT min(seq) >> 12 FROM log_records",
    "traces": "SELECT min(started_at) FROM traces WHERE completed_at IS NOT NULL "
    "OR interrupted_at IS NOT NULL OR ring IS NULL",
    "samples": "WITH RECURSIVE known(series) AS (SELECT min(series) FROM metric_hours UNION ALL "
    "SELECT (SELECT min(h.series) FROM metric_hours h WHERE h.series > known.series) FROM known "
    "WHERE known.series IS NOT NULL) SELECT 3600000 * min((SELECT min(hour) FROM metric_hours h "
    "WHERE h.series = known.series)) FROM known WHERE series IS NOT NULL",
}


@dataclass(frozen=True, slots=True)
class FileSize:
    """Size of the file, in bytes, and what of it is free."""

    total: int
    free: int

    @property
    def used(self) -> int:
        """What is in use."""
        return self.total - self.free


def file_size(connection: apsw.Connection) -> FileSize:
    """How large the file is, with what is in the WAL."""
    page, pages, free = (
        int(one_row(connection, f"PRAGMA {name}")[0])
        for name in ("page_size", "page_count", "freelist_count")
    )
    return FileSize(page * pages, page * free)


def count_old(connection: apsw.Connection, kind: str, before_ms: int) -> int:
    """How many records of a kind a deletion of everything before a time would delete.

    Reads whole indexes: some 10 ms for a million records.
    """
    values: dict[str, Any] = {
        "key": first_key(before_ms),
        "before": before_ms,
        "minute": before_ms // MINUTE_MS,
        "hour": before_ms // HOUR_MS,
    }
    sql = _COUNTS[kind]
    return int(one_row(connection, sql, {k: v for k, v in values.items() if f":{k}" in sql})[0])


def count_all(connection: apsw.Connection, kind: str) -> int:
    """How many records of a kind there are."""
    return int(one_row(connection, _TOTALS[kind])[0])


def oldest_ms(connection: apsw.Connection) -> int | None:
    """The time of the oldest log record, finished trace or sample (of that, its hour)."""
    found = [one_row(connection, sql)[0] for sql in _OLDEST.values()]
    return min((int(at) for at in found if at is not None), default=None)


class IndexMerge:
    """Takes out of the full-text index what deleted records have left in it, a little at a time."""

    def __init__(self) -> None:
        self._sign = -1  # the first call begins, the others go on

    def step(self, connection: apsw.Connection, pages: int) -> bool:
        """Rewrite some pages of the index; whether there is more."""
        more = merge_index(connection, self._sign * pages)
        self._sign = 1
        return more


def vacuum(connection: apsw.Connection, pages: int) -> bool:
    """Move some free pages to the file's end and cut them off; whether there are more."""
    before = one_row(connection, "PRAGMA freelist_count")[0]
    # Each step frees one page: it has to be stepped to its end.
    connection.execute(f"PRAGMA incremental_vacuum({int(pages)})").fetchall()
    after = one_row(connection, "PRAGMA freelist_count")[0]
    return bool(0 < after < before)  # a file that another program made may have nothing to give
