"""`ax monitor sql`: it reads, it ends in time, it is one statement, and it shows what is there."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

import ax_monitor
from tests.cli.helpers import assert_one_line_error, run, running_engine


@pytest.fixture
def filled(db: str) -> str:
    with ax_monitor.open(db) as monitor:
        for number in range(20):
            monitor.logger.info(f"message {number}", "test", metadata={"n": number})
        monitor.logger.warn("\x1b[31mred\u202e", "test")
        monitor.metrics.record("api.request.duration", 2.5, labels={"route": "/x"})
    return db


def test_rows_as_a_table_and_as_json(filled: str) -> None:
    query = "SELECT level, count(*) AS n FROM logs GROUP BY level ORDER BY n"
    assert run("sql", query, "--db", filled).lines == ["level  n", "warn   1", "info   20"]
    assert run("sql", query, "--db", filled, "--json").objects == [
        {"level": "warn", "n": 1},
        {"level": "info", "n": 20},
    ]
    assert run(
        "sql", "SELECT value FROM performance_metrics", "--db", filled, "--json"
    ).objects == [{"value": 2.5}]


def test_what_the_documents_tables_are(filled: str) -> None:
    names = {
        row["name"] for row in run("sql", "PRAGMA table_list", "--db", filled, "--json").objects
    }
    assert {"logs", "traces", "spans", "performance_metrics", "alerts", "alert_rules"} <= names
    columns = run("sql", "PRAGMA table_info(alerts)", "--db", filled, "--json").objects
    assert [column["name"] for column in columns][:3] == ["id", "timestamp", "severity"]


def test_values_of_every_type(filled: str) -> None:
    query = "SELECT NULL AS a, 1 AS b, 1.5 AS c, x'00ff' AS d, 'text' AS e"
    assert run("sql", query, "--db", filled).lines[1].split() == [
        "NULL",
        "1",
        "1.5",
        "x'00ff'",
        "text",
    ]
    assert run("sql", query, "--db", filled, "--json").objects == [
        {"a": None, "b": 1, "c": 1.5, "d": "00ff", "e": "text"}
    ]


def test_z1_stored_text_is_escaped(filled: str) -> None:
    done = run("sql", "SELECT message FROM logs WHERE level = 'warn'", "--db", filled)
    assert done.lines[1] == "\\x1b[31mred\\u202e"


@pytest.mark.parametrize(
    ("query", "complaint"),
    [
        ("DELETE FROM logs", "only reading is allowed"),
        ("CREATE TABLE x(a)", "only reading is allowed"),
        ("ATTACH 'other.db' AS other", "only reading is allowed"),
        ("PRAGMA query_only=OFF", "only reading is allowed"),
        ("PRAGMA journal_mode=DELETE", "only reading is allowed"),
        ("VACUUM INTO 'copy.db'", "only reading is allowed"),
        ("BEGIN IMMEDIATE", "only reading is allowed"),
        ("SELECT load_extension('x')", "not authorized"),
        ("SELECT ax_deadline(NULL)", "not authorized"),
        ("SELECT 1; SELECT 2", "one statement at a time"),
        ("SELEKT", 'near "SELEKT": syntax error'),
        ("SELECT * FROM nowhere", "no such table: nowhere"),
        ("SELECT ?", "bindings"),
        ("", "there is no statement in it"),
        (" ; ", "there is no statement in it"),
        ("/* nothing */", "there is no statement in it"),
    ],
)
def test_what_is_no_query_is_refused(
    filled: str, tmp_path: Path, query: str, complaint: str
) -> None:
    done = run("sql", query, "--db", filled, cwd=tmp_path)
    assert complaint in assert_one_line_error(done, 1)
    assert run("sql", "SELECT count(*) AS n FROM logs", "--db", filled, "--json").objects == [
        {"n": 21}
    ]
    assert {path.name for path in tmp_path.iterdir()} <= {
        "monitor.db",
        "monitor.db-wal",
        "monitor.db-shm",
    }


def test_a_comment_behind_it_does_no_harm(filled: str) -> None:
    assert run("sql", "SELECT 1 AS x; -- that is all", "--db", filled, "--json").objects == [
        {"x": 1}
    ]


def test_it_ends_in_time(filled: str) -> None:
    endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT max(x) FROM c"
    begin = time.monotonic()
    done = run("sql", endless, "--timeout", "300ms", "--db", filled)
    assert "stopped after 0.3 s" in assert_one_line_error(done, 1)
    assert time.monotonic() - begin < 10


def test_a_limit_and_what_it_leaves_out(filled: str) -> None:
    done = run("sql", "SELECT message FROM logs ORDER BY seq", "--limit", "3", "--db", filled)
    assert len(done.lines) == 4
    assert "only the first 3 rows" in done.err
    done = run("sql", "SELECT message FROM logs", "--limit", "all", "--db", filled)
    assert len(done.lines) == 22
    assert done.err == ""


def test_while_an_engine_writes(db: str) -> None:
    with running_engine(db):
        (row,) = run("sql", "SELECT count(*) AS n FROM logs", "--db", db, "--json").objects
        assert row["n"] > 0


def test_no_database_is_made(tmp_path: Path) -> None:
    done = run("sql", "SELECT 1", "--db", tmp_path / "none.db")
    assert "no database at" in assert_one_line_error(done, 1)
    assert list(tmp_path.iterdir()) == []
