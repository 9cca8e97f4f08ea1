"""What health checks and `ax monitor status` ask of the database; a matter of microseconds."""

from __future__ import annotations

from dataclasses import dataclass

import apsw

from ax_monitor._native import TIME_KEY_SHIFT
from ax_monitor.storage.logs import ERROR_SEVERITY, first_key


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What a small query found: the mode and size of the file as SQLite reports them."""

    journal_mode: str
    bytes: int


def look(connection: apsw.Connection) -> DatabaseFacts:
    """Ask the file what it is, and read the key of the newest log record."""
    facts = DatabaseFacts(
        journal_mode=str(connection.pragma("journal_mode")),
        bytes=int(connection.pragma("page_count")) * int(connection.pragma("page_size")),
    )
    connection.execute("SELECT max(seq) FROM log_records").fetchall()
    return facts


def count_running(connection: apsw.Connection) -> int:
    """The executions that run, counted in the index over the status."""
    row = connection.execute(
        "SELECT count(*) FROM workflow_executions_monitor WHERE status = 'running'"
    ).fetchone()
    assert row is not None
    return int(row[0])


@dataclass(frozen=True, slots=True)
class RecorderRow:
    """How far a ring has been written, and when that was, in ms since the epoch."""

    last_seq: int
    updated_at: int


def recorders(connection: apsw.Connection) -> dict[str, RecorderRow]:
    """The recorders that have written here, by the ids of their rings in hex."""
    rows = connection.execute("SELECT ring_id, last_seq, updated_at FROM recorder_rings")
    return {ring_id.hex(): RecorderRow(last_seq, at) for ring_id, last_seq, at in rows}


def count_errors(
    connection: apsw.Connection, start_ms: int, end_ms: int, interval_ms: int
) -> dict[int, int]:
    """How many log entries at error or above there are in each interval, by its beginning.

    Both ends are inclusive, intervals begin at multiples of theirs. Reads the index of errors.
    """
    rows = connection.execute(
        f"SELECT (seq >> {TIME_KEY_SHIFT}) / ?3 * ?3, count(*) FROM log_records "
        f"WHERE severity >= {ERROR_SEVERITY} AND seq >= ?1 AND seq < ?2 GROUP BY 1",
        (first_key(start_ms), first_key(end_ms + 1), interval_ms),
    )
    return dict(rows)
