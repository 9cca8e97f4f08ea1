"""Is the database in order? What `ax monitor doctor` asks of it, and how the index is rebuilt.

Everything but `rebuild_index` only reads. FTS5's own check of the index against the text is an
INSERT and would hold the write lock for as long as it reads; `check_index` therefore runs it on a
copy of the index and the texts in a temporary database: exact, and no writer waits for it.
"""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal
from urllib.parse import quote

import apsw

from ax_monitor.errors import StorageError
from ax_monitor.storage.connection import (
    OPEN_TIMEOUT_MS,
    READER_BUSY_MS,
    open_reader,
    open_writer,
    snapshot,
    storage_errors,
    translate,
)
from ax_monitor.storage.migrations import (
    MIGRATIONS,
    SCHEMA_VERSION,
    check_readable,
    migrate,
    schema_version,
)

MAX_PROBLEMS = 20  # a damaged file can have thousands of them
BEYOND_REPAIR = "restore a backup, or export what can still be read"
_TOTALS_ROW = 1  # of logs_fts_data: a varint with the number of rows in the index comes first
_SHADOW_TABLES = ("logs_fts_data", "logs_fts_idx", "logs_fts_config")


@dataclass(frozen=True, slots=True)
class FileFacts:
    """The file as a whole. `supported_version` is what this ax-monitor writes."""

    schema_version: int
    supported_version: int
    journal_mode: str
    page_bytes: int
    pages: int
    free_pages: int
    database_bytes: int
    wal_bytes: int


@dataclass(frozen=True, slots=True)
class RowCounts:
    """Log records, how many the index says it has, and how many no query would show."""

    records: int
    indexed: int
    without_context: int


@dataclass(frozen=True, slots=True)
class RingRow:
    """How far one ring has been written, and when that was, in ms since the epoch."""

    ring_id: str
    last_seq: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class Rejects:
    """Records that the database refused, and why it refused the last of them."""

    count: int
    last_error: str | None
    last_at: int | None


class Inspector:
    """Questions to one database, each with an answer of its own, whatever the others found.

    Lifecycle: a context manager.
    Thread-safety: one thread.
    Cost: `integrity` reads the whole file, `row_counts` two indexes; each is one read transaction.

    Raises:
        StorageError: the file can't be opened or is not one of ours; from every method, it is too
            damaged to answer.
    """

    def __init__(self, path: str, *, vfs: str | None = None) -> None:
        self.path = path
        self._vfs = vfs
        with _checking(path, "opening"):
            self._connection = open_reader(path, vfs=vfs)
        try:
            with _checking(path, "reading"):
                check_readable(self._connection, path)
        except BaseException:
            self._connection.close(True)
            raise

    def __enter__(self) -> Inspector:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._connection.close(True)

    def file_facts(self) -> FileFacts:
        """Version, mode and sizes. The files are only measured: opening them would drop locks."""
        with _checking(self.path, "reading"):
            connection = self._connection
            return FileFacts(
                schema_version=schema_version(connection),
                supported_version=SCHEMA_VERSION,
                journal_mode=str(connection.pragma("journal_mode")),
                page_bytes=_number(connection, "PRAGMA page_size"),
                pages=_number(connection, "PRAGMA page_count"),
                free_pages=_number(connection, "PRAGMA freelist_count"),
                database_bytes=_size(self.path),
                wal_bytes=_size(f"{self.path}-wal"),
            )

    def integrity(self, *, quick: bool = False) -> list[str]:
        """What SQLite finds wrong with the file, at most MAX_PROBLEMS; empty if nothing is.

        Args:
            quick: Leave out whether the tables and their indexes agree.
        """
        check = "quick_check" if quick else "integrity_check"
        problems = []
        with _checking(self.path, "checking"):
            try:
                for (problem,) in self._connection.execute(f"PRAGMA {check}({MAX_PROBLEMS})"):
                    problems.append(str(problem))
            except apsw.CorruptError as error:  # so damaged that the check itself stumbles
                problems.append(str(error))
        return [problem for problem in problems if problem != "ok"]

    def schema_differences(self) -> dict[str, Literal["missing", "changed"]]:
        """Our tables, indexes, views and triggers that differ, by name. Others are welcome."""
        with _checking(self.path, "reading"):
            version = schema_version(self._connection)
            if version > SCHEMA_VERSION:
                return {}
            there = dict(self._connection.execute("SELECT name, sql FROM sqlite_schema"))
        return {
            f"{kind} {name}": "changed" if name in there else "missing"
            for kind, name, sql in _expected_schema(version)
            if there.get(name) != sql
        }

    def row_counts(self) -> RowCounts:
        """The records and the index, counted at one moment."""
        with _checking(self.path, "reading"), snapshot(self._connection):
            return RowCounts(
                records=_number(self._connection, "SELECT count(*) FROM log_records"),
                indexed=_indexed_rows(self._connection),
                without_context=_number(
                    self._connection,
                    "SELECT count(*) FROM log_records WHERE context NOT IN "
                    "(SELECT id FROM log_contexts)",
                ),
            )

    def rings(self) -> list[RingRow]:
        """Every recorder that has written here, the last one first."""
        with _checking(self.path, "reading"):
            return [
                RingRow(ring_id.hex(), last_seq, updated_at)
                for ring_id, last_seq, updated_at in self._connection.execute(
                    "SELECT ring_id, last_seq, updated_at FROM recorder_rings "
                    "ORDER BY updated_at DESC, ring DESC"
                )
            ]

    def rejects(self) -> Rejects:
        """What is in `recorder_rejects`."""
        with _checking(self.path, "reading"):
            row: tuple[Any, ...] = self._connection.execute(
                # max() makes SQLite take `error` from that row
                "SELECT count(*), error, max(rejected_at) FROM recorder_rejects"
            ).fetchall()[0]
            return Rejects(*row)

    def check_index(self) -> str | None:
        """What is wrong with the full-text index, compared with the messages; None if nothing is.

        Needs as much room in the temporary folder as messages and index take.
        """
        with _checking(self.path, "checking the index of"):
            if schema_version(self._connection) > SCHEMA_VERSION:
                return None
            copy = _temporary_copy(self.path, self._vfs)
            try:
                copy.execute("INSERT INTO logs_fts(logs_fts, rank) VALUES ('integrity-check', 1)")
            except apsw.CorruptError:
                return "the full-text index is out of step with the messages"
            finally:
                copy.close(True)
        return None


def rebuild_index(path: str, *, vfs: str | None = None) -> None:
    """Make the full-text index anew from the messages, in one transaction.

    Writers wait for it (their records stay in their rings): some 4 s a million records.

    Raises:
        StorageError: the database can't be written.
    """
    with storage_errors(path, "opening"):
        connection = open_writer(path, vfs=vfs)
    try:
        with storage_errors(path, "rebuilding the index of"):
            migrate(connection, path)
            connection.set_busy_timeout(OPEN_TIMEOUT_MS)
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.execute("INSERT INTO logs_fts(logs_fts) VALUES ('rebuild')")
                connection.execute("COMMIT")
            finally:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
    finally:
        connection.close(True)


@contextlib.contextmanager
def _checking(path: str, doing: str) -> Iterator[None]:
    """As storage_errors, for one who has been sent to the doctor already."""
    try:
        yield
    except apsw.CorruptError as error:
        raise StorageError(f"{doing} {path} failed: {error}; {BEYOND_REPAIR}") from error
    except apsw.Error as error:
        raise translate(error, path, doing) from error


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


@functools.cache
def _expected_schema(version: int) -> tuple[tuple[str, str, str], ...]:
    """Type, name and SQL of everything that a fresh file of this version has."""
    fresh = apsw.Connection(":memory:")
    try:
        for migration in MIGRATIONS[:version]:
            fresh.execute(migration)
        rows: list[tuple[Any, ...]] = fresh.execute(
            "SELECT type, name, sql FROM sqlite_schema WHERE sql IS NOT NULL ORDER BY type, name"
        ).fetchall()
        return tuple((kind, name, sql) for kind, name, sql in rows)
    finally:
        fresh.close(True)


def _number(connection: apsw.Connection, sql: str) -> int:
    row: tuple[Any, ...] = connection.execute(sql).fetchall()[0]
    return int(row[0])


def _indexed_rows(connection: apsw.Connection) -> int:
    rows: list[tuple[Any, ...]] = connection.execute(
        "SELECT block FROM logs_fts_data WHERE id = ?", (_TOTALS_ROW,)
    ).fetchall()
    return _varint(rows[0][0]) if rows and rows[0][0] else 0


def _varint(data: bytes) -> int:
    """https://www.sqlite.org/fileformat2.html#varint; counts of rows never need the ninth byte."""
    value = 0
    for byte in data[:8]:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            break
    return value


def _temporary_copy(path: str, vfs: str | None) -> apsw.Connection:
    """The messages and their index, at one moment, in a temporary database of their own."""
    copy = apsw.Connection(
        "",  # on disk as far as it does not fit the cache; gone when it is closed
        flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE | apsw.SQLITE_OPEN_URI,
    )
    try:
        copy.set_busy_timeout(READER_BUSY_MS)
        copy.config(apsw.SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0)
        uri = f"file:{quote(os.path.abspath(path))}?mode=ro" + (f"&vfs={vfs}" if vfs else "")
        copy.execute("ATTACH ? AS source", (uri,))
        copy.execute("CREATE TABLE log_records(seq INTEGER PRIMARY KEY, message TEXT)")
        # The statement is ours, not the file's, which may come from anywhere.
        copy.execute(
            next(sql for _, name, sql in _expected_schema(SCHEMA_VERSION) if name == "logs_fts")
        )
        copy.execute("BEGIN")
        copy.execute("INSERT INTO log_records SELECT seq, message FROM source.log_records")
        for table in _SHADOW_TABLES:
            copy.execute(f"DELETE FROM main.{table}")
            copy.execute(f"INSERT INTO main.{table} SELECT * FROM source.{table}")
        copy.execute("COMMIT")
        # The index still knows what it was when it was empty: have it look again.
        copy.execute("PRAGMA writable_schema=RESET")
    except BaseException:
        copy.close(True)
        raise
    return copy
