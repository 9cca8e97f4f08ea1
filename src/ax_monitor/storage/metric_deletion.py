"""Deleting samples before a time, exactly, in transactions of some milliseconds."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, Final

import apsw

from ax_monitor.storage.connection import one_row
from ax_monitor.storage.metric_sql import BATCHES, MINUTE_MS, TIME_LIMIT_MS, minute_sketch
from ax_monitor.storage.sealing import FIGURES, INT64_MAX, INT64_MIN, Slices, summary_of

STEP_S: Final = 0.02  # what one transaction should take
ROWS: Final = 500  # looked at or deleted between two looks at the clock
DEFINED_MS: Final = 2 * 3_600_000  # recorders define what they record hourly

_FIRST_MINUTE: Final = (
    "SELECT series, min(minute) FROM metric_minutes WHERE series = "
    "(SELECT min(series) FROM metric_minutes WHERE series >= ?)"
)
_DELETE_BLOCKS: Final = (
    "DELETE FROM metric_blocks WHERE block IN (SELECT block FROM metric_minutes "
    "WHERE series = :series AND minute BETWEEN :first AND :last)"
)
_DELETE_MINUTES: Final = (
    "DELETE FROM metric_minutes WHERE series = :series AND minute BETWEEN :first AND :last"
)
_CUT_BLOCK: Final = (
    "UPDATE metric_blocks SET samples = ax_slice(:first, samples, :before, :end) WHERE block = "
    "(SELECT block FROM metric_minutes WHERE series = :series AND minute = :first)"
)
_CUT_MINUTE: Final = (
    "UPDATE metric_minutes SET (count, sum, min, max, sketch) = ("
    f"SELECT {FIGURES} FROM (SELECT {summary_of('b.samples')} AS summary "
    "FROM metric_blocks b WHERE b.block = metric_minutes.block LIMIT 1)) "
    "WHERE series = :series AND minute = :first"
)
_KEEPS_SOME: Final = (
    "SELECT 1 FROM metric_minutes m CROSS JOIN metric_blocks b ON b.block = m.block "
    "WHERE m.series = :series AND m.minute = :first "
    "AND ax_slice(m.minute, b.samples, :before, :end) IS NOT NULL"
)
_DELETE_HOUR: Final = "DELETE FROM metric_hours WHERE series = :series AND hour = :hour"
_SUM_HOUR: Final = (
    "INSERT INTO metric_hours(series, hour, count, sum, min, max, sketch) "
    "SELECT series, :hour, sum(count), ax_add(sum(sum), 0), min(min), max(max), "
    f"ax_sketch_sum({minute_sketch('m')}) FROM metric_minutes m "
    "WHERE series = :series AND minute BETWEEN 60 * :hour AND 60 * :hour + 59 GROUP BY series"
)
_COUNT_HOUR: Final = (
    "SELECT coalesce(sum(count), 0) FROM metric_minutes WHERE series = :series "
    "AND minute BETWEEN 60 * :hour AND 60 * :hour + 59"
)
_FIRST_ROW: Final = (
    "SELECT min(series) FROM metric_rows INDEXED BY metric_rows_series WHERE series >= ?"
)
_DELETE_ROWS: Final = (
    "DELETE FROM metric_rows WHERE seq IN (SELECT seq FROM metric_rows INDEXED BY "
    f"metric_rows_series WHERE series = ? AND timestamp < ? LIMIT {ROWS})"
)
_SOME_SERIES: Final = (
    f"SELECT max(series) FROM (SELECT series FROM metric_series WHERE series >= ? "
    f"ORDER BY series LIMIT {ROWS})"
)
_UNUSED_SERIES: Final = (
    f"WITH RECURSIVE {BATCHES} SELECT json_group_array(series) FROM metric_series s "
    "WHERE series BETWEEN ? AND ? AND defined_at < ? AND CASE "
    "WHEN EXISTS (SELECT 1 FROM metric_minutes m WHERE m.series = s.series) THEN 0 "
    "WHEN EXISTS (SELECT 1 FROM metric_rows r WHERE r.series = s.series) THEN 0 "
    "ELSE NOT EXISTS (SELECT 1 FROM batches b CROSS JOIN metric_chunks c "
    "ON c.batch = b.batch AND c.series = s.series) END"
)
_DELETE_LABELS: Final = (
    "DELETE FROM metric_labels WHERE (metric_type, name, value, series) IN ("
    "SELECT metric_type, name, value, series FROM metric_series_labels "
    "WHERE series IN (SELECT value FROM json_each(?)))"
)
_DELETE_SERIES: Final = "DELETE FROM metric_series WHERE series IN (SELECT value FROM json_each(?))"


class Deletion:
    """One deletion of everything before a time, with how far it has got.

    Chunks up to that time are sealed first, so that there are only blocks and foreign rows to look
    at. Then those are deleted, and at last the series that have nothing left.

    Args:
        before_ms: Samples before it are deleted, in ms since the epoch.
        now_ms: Series that were defined in the last two hours before it stay.
    """

    def __init__(self, before_ms: int, now_ms: int) -> None:
        self.deleted = 0
        self._before_ms = min(max(before_ms, -TIME_LIMIT_MS), TIME_LIMIT_MS + 1)
        self._edge = self._before_ms // MINUTE_MS  # the minute that may be cut
        self._defined_before_ms = min(max(now_ms - DEFINED_MS, INT64_MIN), INT64_MAX)
        self._slices = Slices(self._edge, INT64_MAX)
        # Each takes the series to go on from, and returns the next one; None at the end.
        self._stages: list[Callable[[apsw.Connection, int], int | None]] = [
            self._delete_hour,
            self._delete_rows,
            self._delete_series,
        ]
        self._at = INT64_MIN

    def step(self, connection: apsw.Connection) -> bool:
        """Delete some, in a transaction. Whether there is more; after an error, begin anew."""
        if not self._slices.over:
            self._slices.seal(connection)
            return True
        end = time.monotonic() + STEP_S
        while self._stages and time.monotonic() < end:
            following = self._stages[0](connection, self._at)
            if following is None:
                del self._stages[0]
            self._at = INT64_MIN if following is None else following
        return bool(self._stages)

    def _delete_hour(self, connection: apsw.Connection, at: int) -> int | None:
        """Look at the first hour of the next series that has blocks."""
        series, first = one_row(connection, _FIRST_MINUTE, (at,))
        if series is None:
            return None
        if first * MINUTE_MS >= self._before_ms:
            return _next(series)
        values: dict[str, Any] = {
            "series": series,
            "hour": first // 60,
            "first": first,
            "last": min(first // 60 * 60 + 59, self._edge - 1),
            "before": self._before_ms,
            "end": INT64_MAX,
        }
        cut = first == self._edge and bool(connection.execute(_KEEPS_SOME, values).fetchone())
        count = _count(connection, values)
        if cut:
            connection.execute(_CUT_BLOCK, values)
            connection.execute(_CUT_MINUTE, values)
        else:
            values["last"] = max(first, values["last"])  # of the minute to cut nothing is left
            connection.execute(_DELETE_BLOCKS, values)
            connection.execute(_DELETE_MINUTES, values)
        connection.execute(_DELETE_HOUR, values)
        connection.execute(_SUM_HOUR, values)
        self.deleted += count - _count(connection, values)
        return _next(series) if cut else series

    def _delete_rows(self, connection: apsw.Connection, at: int) -> int | None:
        """Delete some foreign rows of the next series that has any."""
        (series,) = one_row(connection, _FIRST_ROW, (at,))
        if series is None:
            return None
        connection.execute(_DELETE_ROWS, (series, self._before_ms))
        gone = connection.changes()
        self.deleted += gone
        return series if gone == ROWS else _next(series)

    def _delete_series(self, connection: apsw.Connection, at: int) -> int | None:
        """Look at some series."""
        (last,) = one_row(connection, _SOME_SERIES, (at,))
        if last is None:
            return None
        unused = one_row(connection, _UNUSED_SERIES, (at, last, self._defined_before_ms))
        connection.execute(_DELETE_LABELS, unused)
        connection.execute(_DELETE_SERIES, unused)
        return _next(last)


def _next(series: int) -> int | None:
    """The series id behind one."""
    return None if series == INT64_MAX else series + 1


def _count(connection: apsw.Connection, values: dict[str, Any]) -> int:
    return int(one_row(connection, _COUNT_HOUR, values)[0])
