"""SQL written for the original document's tables reads and writes this file, from other programs.

The other program is a process of its own with the standard library's sqlite3 (another SQLite than
ours), while a store has the file open.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import textwrap
from typing import Any

import apsw
import pytest

from ax_monitor import LogLevel, Store, StructuredLogger
from tests.elsewhere import elsewhere
from tests.log_helpers import BASE_MS

pytestmark = pytest.mark.timeout(60)

INSERT = """
    INSERT INTO logs (
      id, timestamp, level, message, source, execution_id, trace_id, span_id, tenant_id, user_id,
      metadata, stack_trace
    ) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
"""
TRACE = "0af7651916cd43dd8448eb211c80319c"
SPAN = "b7ad6b7169203331"


def row(number: int, **values: Any) -> list[Any]:
    """The document's twelve values."""
    columns: dict[str, Any] = {
        "id": f"log-{number}",
        "timestamp": BASE_MS + number,
        "level": "info",
        "message": f"foreign message {number}",
        "source": "typescript",
        "execution_id": None,
        "trace_id": None,
        "span_id": None,
        "tenant_id": None,
        "user_id": None,
        "metadata": None,
        "stack_trace": None,
    }
    return list({**columns, **values}.values())


def check_index(path: str) -> None:
    """The full-text index agrees with the text, and every key with its record."""
    connection = apsw.Connection(path)
    connection.execute("INSERT INTO logs_fts(logs_fts, rank) VALUES ('integrity-check', 1)")
    assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    connection.close()


def test_the_documents_insert_is_found_by_our_search(
    store: Store, logger: StructuredLogger
) -> None:
    """Twelve named columns from another process: every field comes back."""
    logger.info("own message", "python")
    logger.flush()
    full = row(
        1,
        level="error",
        execution_id="run-1",
        trace_id=TRACE,
        span_id=SPAN,
        tenant_id="acme",
        user_id="alice",
        metadata='{"attempt": 3, "ok": false}',
        stack_trace="Error: x\n  at y",
    )
    assert elsewhere(store.path, (INSERT, [full, row(2), row(3, id=None)])) == [[]]
    (entry,) = logger.query_logs(search="foreign", level="error")
    assert entry.to_dict() | {"seq": 0} == {
        "id": "log-1",
        "timestamp": BASE_MS + 1,
        "level": "error",
        "message": "foreign message 1",
        "source": "typescript",
        "execution_id": "run-1",
        "trace_id": TRACE,
        "span_id": SPAN,
        "tenant_id": "acme",
        "user_id": "alice",
        "metadata": {"attempt": 3, "ok": False},
        "stack_trace": "Error: x\n  at y",
        "seq": 0,
    }
    for query in (
        {"execution_id": "run-1"},
        {"trace_id": TRACE},
        {"span_id": SPAN},
        {"tenant_id": "acme"},
        {"user_id": "alice"},
        {"metadata": {"attempt": 3}},
        {"metadata": {"ok": False}},
        {"start_time": BASE_MS + 1, "end_time": BASE_MS + 1},
        {"min_level": "error"},
    ):
        assert [e.id for e in logger.query_logs(**query)] == ["log-1"], query
    assert [e.message for e in logger.query_logs(search="message", order="asc")] == [
        *(f"foreign message {n}" for n in (1, 2, 3)),
        "own message",
    ]
    assert logger.query_logs(search='"message 3"')[0].id  # an id was made
    assert logger.get_log_count() == 4
    check_index(store.path)


def test_the_documents_queries_see_our_records(store: Store, logger: StructuredLogger) -> None:
    """Its SELECTs, with filters, order, counts and the join with logs_fts, on records of ours."""
    for number, level in enumerate(("debug", "info", "warn", "error", "fatal")):
        logger.log_at(
            LogLevel(level).severity_number,
            f"timeout {number}",
            "engine",
            timestamp_ns=(BASE_MS + number) * 1_000_000,
            execution_id="run-1",
            trace_id=TRACE,
            span_id=SPAN if number else "not hex",
            tenant_id="acme",
            user_id="u",
            metadata={"n": number},
            stack_trace="trace" if number > 2 else None,
        )
    logger.flush()
    columns = (
        "id, timestamp, level, message, source, execution_id, trace_id, span_id, tenant_id, "
        "user_id, metadata, stack_trace"
    )
    everything, joined, rowids, counts, errors, by_time = elsewhere(
        store.path,
        (f"SELECT {columns} FROM logs ORDER BY timestamp DESC LIMIT ?", [[100]]),
        (
            "SELECT logs.message FROM logs JOIN logs_fts ON logs.rowid = logs_fts.rowid "
            "WHERE logs_fts MATCH ? AND logs.level = ? ORDER BY logs.timestamp DESC LIMIT 100",
            [["timeout", "error"], ["time*", "warn"], ["nothing", "warn"]],
        ),
        (
            "SELECT message FROM logs WHERE rowid IN "
            "(SELECT rowid FROM logs_fts WHERE logs_fts MATCH ?) ORDER BY timestamp",
            [["timeout NOT 3"]],
        ),
        ("SELECT level, COUNT(*) AS count FROM logs GROUP BY level ORDER BY level", [[]]),
        (
            "SELECT message FROM logs WHERE level IN ('error', 'fatal') ORDER BY timestamp DESC",
            [[]],
        ),
        (
            "SELECT message FROM logs WHERE execution_id = ? AND timestamp >= ? AND timestamp <= ? "
            "ORDER BY timestamp ASC",
            [["run-1", BASE_MS + 1, BASE_MS + 2]],
        ),
    )
    entries = logger.query_logs()
    assert everything == [
        [
            e.id,
            e.timestamp,
            e.level,
            e.message,
            e.source,
            e.execution_id,
            e.trace_id,
            e.span_id,
            e.tenant_id,
            e.user_id,
            json.dumps(e.metadata, separators=(",", ":")),
            e.stack_trace,
        ]
        for e in entries
    ]
    assert joined == [["timeout 3"], ["timeout 2"]]
    assert rowids == [["timeout 0"], ["timeout 1"], ["timeout 2"], ["timeout 4"]]
    assert counts == [["debug", 1], ["error", 1], ["fatal", 1], ["info", 1], ["warn", 1]]
    assert errors == [["timeout 4"], ["timeout 3"]]
    assert by_time == [["timeout 1"], ["timeout 2"]]


def test_delete_and_update_by_foreign_sql_keep_the_index_in_step(
    store: Store, logger: StructuredLogger
) -> None:
    """After its DELETE and UPDATE, search, filters and the index's own check agree."""
    for number in range(20):
        logger.log_at(
            9,
            f"word{number} common",
            "engine",
            timestamp_ns=(BASE_MS + number) * 1_000_000,
            execution_id="run-1",
            tenant_id="acme",
        )
    logger.flush()
    elsewhere(
        store.path,
        (INSERT, [row(n, message=f"word{n} common") for n in range(100, 110)]),
        ("DELETE FROM logs WHERE timestamp < ?", [[BASE_MS + 5]]),
        ("DELETE FROM logs WHERE id = ?", [["log-109"]]),
        ("UPDATE logs SET message = ? WHERE message = ?", [["changed text", "word7 common"]]),
        ("UPDATE logs SET level = 'fatal', tenant_id = 'zeta' WHERE message LIKE ?", [["word8 %"]]),
        ("UPDATE logs SET timestamp = ? WHERE id = ?", [[BASE_MS - 50, "log-100"]]),
        ("UPDATE logs SET metadata = ?, span_id = ? WHERE id = ?", [['{"a": 1}', SPAN, "log-101"]]),
    )
    found = [entry.message for entry in logger.query_logs(search="common", order="asc", limit=None)]
    expected = [f"word{n} common" for n in (100, *range(5, 7), *range(8, 20), *range(101, 109))]
    assert found == expected
    assert [e.message for e in logger.query_logs(search="changed")] == ["changed text"]
    assert logger.query_logs(search="word7 OR word109 OR word1") == []
    (fatal,) = logger.query_logs(level="fatal")
    assert (fatal.message, fatal.tenant_id, fatal.execution_id) == ("word8 common", "zeta", "run-1")
    assert logger.query_logs(search="word100")[0].timestamp == BASE_MS - 50
    (changed,) = logger.query_logs(span_id=SPAN)
    assert (changed.id, changed.metadata) == ("log-101", {"a": 1})
    check_index(store.path)
    logger.info("word8 again", "engine", execution_id="run-1", tenant_id="zeta")
    assert len(logger.query_logs(search="word8", tenant_id="zeta")) == 2
    assert logger.cleanup(0) == len(expected) + 1 + 1
    check_index(store.path)


def test_ids_are_unique_for_foreign_sql_too(store: Store, logger: StructuredLogger) -> None:
    """The document's PRIMARY KEY: a second row of the same id is refused, others are not."""
    first, second, third = elsewhere(
        store.path, (INSERT, [row(1)]), (INSERT, [row(1)]), (INSERT, [row(2)])
    )
    assert first == third == []
    assert second.startswith("IntegrityError: UNIQUE")
    assert logger.get_log_count() == 2
    check_index(store.path)


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("level", "loud", "level must be"),
        ("level", None, "level must be"),
        ("message", None, "NOT NULL"),
        ("source", None, "NOT NULL"),
        ("timestamp", None, "NOT NULL"),
        ("timestamp", 1_700_000_000_000_000_000, "milliseconds"),
    ],
)
def test_wrong_foreign_rows_are_refused(
    store: Store, logger: StructuredLogger, column: str, value: Any, message: str
) -> None:
    """NOT NULL columns hold, also on UPDATE, and a time in nanoseconds is noticed."""
    inserted, _, updated = elsewhere(
        store.path,
        (INSERT, [row(1, **{column: value})]),
        (INSERT, [row(2)]),
        (f"UPDATE logs SET {column} = ?", [[value]]),
    )
    assert message in inserted
    assert message in updated
    assert [entry.id for entry in logger.query_logs()] == ["log-2"]
    check_index(store.path)


def test_many_foreign_rows_of_one_millisecond_are_all_kept(
    store: Store, logger: StructuredLogger
) -> None:
    """More rows than one millisecond has keys: all are stored, in their order, and found."""
    rows = [row(n, timestamp=BASE_MS, message=f"bulk {n}") for n in range(9000)]
    assert elsewhere(store.path, (INSERT, rows)) == [[]]
    entries = logger.query_logs(search="bulk", limit=None, order="asc")
    assert [entry.message for entry in entries] == [f"bulk {n}" for n in range(9000)]
    check_index(store.path)


def test_foreign_metadata_that_is_no_object_harms_nothing(
    store: Store, logger: StructuredLogger
) -> None:
    """Text, arrays and broken JSON in the column: shown under "value", and skipped by filters."""
    texts = ["no json", "[1, 2]", '"text"', "{broken", "", "5", '{"a": 1}']
    elsewhere(store.path, (INSERT, [row(n, metadata=text) for n, text in enumerate(texts)]))
    shown = [entry.metadata for entry in logger.query_logs(order="asc")]
    assert shown == [
        {"value": "no json"},
        {"value": [1, 2]},
        {"value": "text"},
        {"value": "{broken"},
        {"value": ""},
        {"value": 5},
        {"a": 1},
    ]
    assert [entry.id for entry in logger.query_logs(metadata={"a": 1})] == ["log-6"]
    assert logger.query_logs(metadata={"value": 5}) == []


def test_both_write_at_once_and_nothing_is_lost(store: Store, logger: StructuredLogger) -> None:
    """Another process inserts rows one by one while we record: all are there, the index agrees."""
    code = textwrap.dedent("""
        import json, sqlite3, sys
        connection = sqlite3.connect(sys.argv[1], timeout=20, isolation_level=None)
        for row in json.load(sys.stdin):
            connection.execute(sys.argv[2], row)
        connection.close()
    """)
    child = subprocess.Popen(
        [sys.executable, "-c", code, store.path, INSERT], stdin=subprocess.PIPE
    )
    assert child.stdin is not None
    rows = [
        row(n, timestamp=logger._store.clock.time_ms(), message="both foreign") for n in range(300)
    ]
    child.stdin.write(json.dumps(rows).encode())
    child.stdin.close()
    count = 0
    try:
        while child.poll() is None:
            logger.info("both own", "python")
            count += 1
            if count % 200 == 0:
                logger.flush()
    finally:
        child.kill()
    assert child.wait(10) == 0
    assert len(logger.query_logs(search="both", source="typescript", limit=None)) == 300
    assert len(logger.query_logs(search="both", source="python", limit=None)) == count
    check_index(store.path)


def test_the_documents_other_tables_take_its_statements(store: Store) -> None:
    """INSERT with the document's columns and SELECT back, for each of the tables beside logs."""
    tables = {
        "alert_rules": [
            "r1",
            "High",
            "d",
            1,
            "m",
            "gt",
            0.05,
            300000,
            "avg",
            "critical",
            "{}",
            1,
            2,
            3,
        ],
        "alerts": ["a1", 1, "info", "active", "t", "d", "s", "{}", None, None, None, None, None],
        "traces": ["t1", "run", 1, None, None, 0],
        "spans": ["s1", "t1", None, "n", "internal", 1, None, None, "ok", "{}"],
        "span_events": ["e1", "s1", 1, "n", None],
    }
    columns = {
        "alert_rules": "id, name, description, enabled, metric_type, condition_operator, "
        "condition_threshold, condition_window_ms, condition_aggregation, severity, labels, "
        "cooldown_ms, created_at, updated_at",
        "alerts": "id, timestamp, severity, status, title, description, source, labels, tenant_id, "
        "acknowledged_by, acknowledged_at, resolved_at, metadata",
        "traces": "trace_id, workflow_execution_id, started_at, completed_at, duration, span_count",
        "spans": "span_id, trace_id, parent_span_id, name, kind, started_at, completed_at, "
        "duration, status, attributes",
        "span_events": "id, span_id, timestamp, name, attributes",
    }
    for table, values in tables.items():
        marks = ", ".join("?" * len(values))
        inserted, selected = elsewhere(
            store.path,
            (f"INSERT INTO {table} ({columns[table]}) VALUES ({marks})", [values]),
            (f"SELECT {columns[table]} FROM {table}", [[]]),
        )
        assert inserted == []
        assert selected == [values]


def test_the_other_program_is_another_sqlite() -> None:
    """The test means what it says: the standard library brings a library of its own."""
    assert sqlite3.sqlite_version != apsw.sqlite_lib_version()
