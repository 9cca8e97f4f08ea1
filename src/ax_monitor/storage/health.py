"""What the health checks ask of the database. Each is a matter of microseconds."""

from __future__ import annotations

from dataclasses import dataclass

import apsw

from ax_monitor.storage.connection import check_location, storage_errors


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


def take_write_lock(path: str, *, vfs: str | None = None, wait_ms: int) -> None:
    """Take the write lock and give it back, on a connection of its own; nothing is written.

    Never creates a file, and leaves the WAL as it is, also if nobody else has it open.

    Raises:
        StorageError: of kind "locked" if others held the lock for all of `wait_ms`.
    """
    check_location(path)
    with storage_errors(path, "writing to"):
        connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs)
        try:
            connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            connection.set_busy_timeout(wait_ms)
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("ROLLBACK")
        finally:
            connection.close(True)
