"""The schema: versions, identity, and files that are not ours or not for us."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

import ax_monitor
from ax_monitor import SchemaVersionError, StorageError, Store, StructuredLogger
from ax_monitor.storage import logs
from ax_monitor.storage.connection import APPLICATION_ID, open_writer
from ax_monitor.storage.migrations import (
    MIGRATIONS,
    SCHEMA_VERSION,
    dump_schema,
    migrate,
    schema_version,
)

TABLES = {
    "alert_rules",
    "alerts",
    "traces",
    "spans",
    "span_events",
    "log_records",
    "log_contexts",
    "logs_fts",
    "workflow_executions_monitor",
    "workflow_step_executions",
    "metric_series",
    "metric_chunks",
    "metric_minutes",
    "metric_blocks",
    "metric_hours",
    "metric_labels",
    "metric_rows",
    "alert_states",
    "alert_transitions",
    "alert_silences",
    "budgets",
    "budget_notices",
    "cost_days",
    "metric_bytes",
    "metric_powers",
    "recorder_rings",
    "recorder_state",
    "recorder_rejects",
}
METRIC_COLUMNS = ["id", "timestamp", "metric_type", "value", "unit", "labels", "tenant_id"]
LOG_COLUMNS = [
    "id",
    "timestamp",
    "level",
    "message",
    "source",
    "execution_id",
    "trace_id",
    "span_id",
    "tenant_id",
    "user_id",
    "metadata",
    "stack_trace",
]


def look(path: str, sql: str) -> list[tuple[object, ...]]:
    connection = apsw.Connection(path)
    try:
        return connection.execute(sql).fetchall()
    finally:
        connection.close()


def test_a_new_file_has_the_whole_schema(db: str) -> None:
    """All tables, the `logs` view with the document's columns first, triggers, both numbers."""
    Store(db).close()
    names = {row[0] for row in look(db, "SELECT name FROM sqlite_schema WHERE type = 'table'")}
    assert {name for name in names if not name.startswith(("logs_fts_", "sqlite_"))} == TABLES
    assert [row[1] for row in look(db, "PRAGMA table_info(logs)")][:12] == LOG_COLUMNS
    columns = look(db, "PRAGMA table_info(performance_metrics)")
    assert [row[1] for row in columns] == METRIC_COLUMNS
    triggers = {row[0] for row in look(db, "SELECT name FROM sqlite_schema WHERE type = 'trigger'")}
    assert {
        "logs_ai",
        "logs_ad",
        "logs_au",
        "logs_insert",
        "logs_update",
        "logs_delete",
        "performance_metrics_insert",
        "performance_metrics_update",
        "performance_metrics_delete",
    } <= triggers
    assert look(db, "PRAGMA user_version") == [(SCHEMA_VERSION,)]
    assert look(db, "PRAGMA application_id") == [(APPLICATION_ID,)] == [(0x41584D4E,)]
    assert look(db, "PRAGMA journal_mode") == [("wal",)]
    assert look(db, "PRAGMA auto_vacuum") == [(2,)]
    assert look(db, "PRAGMA integrity_check") == [("ok",)]


def test_z5_the_files_are_for_their_owner_only(db: str) -> None:
    """Database, WAL, shared memory and ring are mode 0600, whatever the umask allows."""
    before = os.umask(0)
    try:
        with Store(db) as store:
            StructuredLogger(store).error("x", "test")
            store.flush()
            files = list(Path(db).parent.iterdir())
            assert len(files) == 4
            assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    finally:
        os.umask(before)


def test_migrating_again_changes_nothing(db: str) -> None:
    """Opening a file of the current version leaves its schema as it is."""
    Store(db).close()
    before = look(db, "SELECT type, name, sql FROM sqlite_schema ORDER BY name")
    for _ in range(2):
        Store(db).close()
    assert look(db, "SELECT type, name, sql FROM sqlite_schema ORDER BY name") == before


def test_migrations_are_applied_one_by_one(db: str) -> None:
    """From any earlier version on, the rest of the migrations gives the same schema."""
    Store(db).close()
    expected = look(db, "SELECT type, name, sql FROM sqlite_schema ORDER BY name")
    for version in range(SCHEMA_VERSION):
        path = f"{db}-{version}"
        connection = open_writer(path)
        for number, sql in enumerate(MIGRATIONS[:version], start=1):
            connection.execute(sql)
            connection.execute(f"PRAGMA user_version={number}")
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
        migrate(connection, path)
        assert schema_version(connection) == SCHEMA_VERSION
        connection.close()
        assert look(path, "SELECT type, name, sql FROM sqlite_schema ORDER BY name") == expected


def test_what_was_not_sealed_yet_is_there_in_the_new_version(db: str) -> None:
    """Version 11 makes the table of chunks anew."""
    rows = [(1, 7, 28333333, b"\x00\x00" + bytes(8)), (2, -5, 1, b"x" * 10_000), (2, 7, 2, b"y")]
    connection = open_writer(db)
    for sql in MIGRATIONS[:10]:
        connection.execute(sql)
    connection.execute(f"PRAGMA user_version=10; PRAGMA application_id={APPLICATION_ID}")
    connection.executemany(
        "INSERT INTO metric_chunks(batch, series, minute, samples) VALUES (?, ?, ?, ?)", rows
    )
    connection.close()
    Store(db).close()
    assert sorted(look(db, "SELECT batch, series, minute, samples FROM metric_chunks")) == rows
    assert look(db, "SELECT DISTINCT batch FROM metric_batches ORDER BY batch") == [(1,), (2,)]


def test_u1_many_processes_open_a_new_file_at_once(db: str) -> None:
    """Eight processes start on a file that does not exist: all of them record."""
    code = (
        "import sys, ax_monitor\n"
        "sys.stdin.readline()\n"
        "with ax_monitor.open(sys.argv[1]) as m: m.logger.info(sys.argv[2], 'child')"
    )
    children = [
        subprocess.Popen(
            [sys.executable, "-c", code, db, str(number)], stdin=subprocess.PIPE, text=True
        )
        for number in range(8)
    ]
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    try:
        codes = [child.wait(30) for child in children]
    finally:
        for child in children:
            child.kill()
            assert child.stdin is not None
            child.stdin.close()
    assert codes == [0] * 8
    with ax_monitor.open(db) as monitor:
        assert sorted(e.message for e in monitor.logger.query_logs()) == list("01234567")


@pytest.mark.parametrize("read_only", [False, True])
def test_another_programs_database_is_refused_and_untouched(db: str, read_only: bool) -> None:
    """A database with tables of its own is named as such, and keeps its bytes."""
    connection = apsw.Connection(db)
    connection.execute("CREATE TABLE theirs(x); INSERT INTO theirs VALUES (1)")
    connection.close()
    with pytest.raises(
        StorageError, match=r"belongs to another program|not an ax-monitor database"
    ):
        Store(db, read_only=read_only)
    assert look(db, "SELECT * FROM theirs") == [(1,)]
    assert look(db, "SELECT name FROM sqlite_schema") == [("theirs",)]
    assert look(db, "PRAGMA application_id") == [(0,)]


@pytest.mark.parametrize("version", [1, SCHEMA_VERSION, 99])
def test_a_foreign_database_with_a_version_of_its_own_is_refused(db: str, version: int) -> None:
    """`user_version` alone does not make a file ours, nor a newer version of ours."""
    connection = apsw.Connection(db)
    connection.execute(f"CREATE TABLE theirs(x); PRAGMA user_version={version}")
    connection.close()
    with pytest.raises(StorageError) as caught:
        Store(db)
    assert not isinstance(caught.value, SchemaVersionError)
    assert not caught.value.retryable
    assert look(db, "SELECT name FROM sqlite_schema") == [("theirs",)]


def test_what_is_no_database_is_refused(db: str) -> None:
    """A text file is not overwritten, and the message says what to do."""
    Path(db).write_text("this is not a database, it is a letter to a friend\n" * 100)
    for read_only in (False, True):
        with pytest.raises(StorageError, match="not an SQLite database"):
            Store(db, read_only=read_only)
    assert Path(db).read_text().startswith("this is not a database")


def test_an_empty_file_becomes_a_database(db: str) -> None:
    """A file of zero bytes, as `touch` makes it, is taken."""
    Path(db).touch()
    with Store(db) as store:
        StructuredLogger(store).info("x", "test")
    assert look(db, "SELECT count(*) FROM log_records") == [(1,)]


def test_u2_a_newer_file_can_be_read_but_not_written(db: str) -> None:
    """A newer file: SchemaVersionError with both numbers; read-only it opens and answers."""
    with Store(db) as store:
        StructuredLogger(store).info("from the future", "test")
    connection = apsw.Connection(db)
    connection.execute(
        f"ALTER TABLE log_records ADD COLUMN later TEXT; PRAGMA user_version={SCHEMA_VERSION + 5}"
    )
    connection.close()
    for call in (lambda: Store(db), lambda: ax_monitor.open(db), lambda: StructuredLogger(db)):
        with pytest.raises(SchemaVersionError) as caught:
            call()
        assert (caught.value.found, caught.value.supported) == (SCHEMA_VERSION + 5, SCHEMA_VERSION)
    with Store(db, read_only=True) as store:
        page = store.read(logs.query_logs, ax_monitor.LogQuery(search="future"))
        assert [entry.message for entry in page] == ["from the future"]
        assert store.read(logs.count_logs) == 1
        with pytest.raises(StorageError, match="read-only"):
            StructuredLogger(store)
        with pytest.raises(StorageError, match="read-only"):
            store.delete_in_slices(lambda connection, n: (0, False))
    assert look(db, "PRAGMA user_version") == [(SCHEMA_VERSION + 5,)]
    assert not list(Path(db).parent.glob("*-ring-*"))


def test_u3_a_migration_that_fails_leaves_nothing(db: str) -> None:
    """All or nothing: a file whose first migration is stopped at its last table stays empty."""
    connection = open_writer(db)
    connection.authorizer = lambda operation, name, *_: (
        apsw.SQLITE_DENY
        if (operation, name) == (apsw.SQLITE_CREATE_TABLE, "alerts")
        else apsw.SQLITE_OK
    )
    with pytest.raises(apsw.AuthError):
        migrate(connection, db)
    assert not connection.in_transaction
    connection.authorizer = None
    assert connection.execute("SELECT count(*) FROM sqlite_schema").fetchall() == [(0,)]
    migrate(connection, db)
    assert schema_version(connection) == SCHEMA_VERSION
    connection.close()


def test_s9_paths_that_cannot_be_used_are_explained(tmp_path: Path) -> None:
    """A missing folder, a folder, a memory database: a StorageError that says what is wrong."""
    for path, message in (
        (tmp_path / "no" / "such.db", "there is no folder"),
        (tmp_path, "is a folder"),
        (":memory:", "needs a file"),
        ("file:x?mode=memory", "needs a file"),
    ):
        with pytest.raises(StorageError, match=message):
            Store(path)
    with pytest.raises(StorageError):
        Store(tmp_path / "none.db", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_the_schema_file_and_the_migrations_give_the_same_database(db: str, tmp_path: Path) -> None:
    """docs/schema.sql is what the migrations make (`make docs` writes it), and is valid SQL."""
    Store(db).close()
    text = (Path(__file__).parents[2] / "docs" / "schema.sql").read_text(encoding="utf-8")
    assert text.endswith(dump_schema(db))
    assert text.startswith(f"-- Version {SCHEMA_VERSION},")
    other = str(tmp_path / "from-file.db")
    connection = apsw.Connection(other)
    connection.execute(text)
    connection.close()
    assert dump_schema(other) == dump_schema(db)
