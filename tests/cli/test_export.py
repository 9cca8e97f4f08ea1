"""`ax monitor export`: all that is stored comes out, once, in order, and logs go in again."""

from __future__ import annotations

import csv
import io
import json
import stat
from pathlib import Path
from typing import Any

import pyarrow
import pyarrow.parquet
import pytest

import ax_monitor
from tests.cli.helpers import SRC, assert_one_line_error, run, running_engine

NASTY = '\x1b[31m"red", \u202e\n=1+1\x00'


@pytest.fixture
def filled(db: str) -> str:
    with ax_monitor.open(db) as monitor:
        for number in range(30):
            monitor.logger.info(
                f"message {number}",
                "test",
                tenant_id="acme" if number % 2 else "globex",
                metadata={"n": number, "text": NASTY},
            )
        monitor.logger.error("=cmd()", "test", stack_trace="line 1\nline 2")
        for number in range(3):
            with (
                monitor.workflows.execution("wf", "import", "acme", metadata={"n": number}) as run_,
                monitor.tracer.trace(run_.execution_id, "import"),
            ):
                for key in ("load", "save")[:number]:
                    with run_.step(key) as step, monitor.tracer.span(key, count=number):
                        step.set(tokens_used=number, cost=0.5)
        for number in range(100):
            monitor.metrics.record(
                "api.request.duration",
                number / 3,
                labels={"route": "/x"},
                timestamp=1_700_000_000_000 + number * 1000,
            )
        monitor.alerts.create_rule(
            "Slow",
            "too slow",
            "api.request.duration",
            {"operator": "gt", "threshold": 1, "window_ms": 1000, "aggregation": "max"},
            "warning",
        )
        monitor.metrics.record("api.request.duration", 5.0)
        monitor.alerts.evaluate_now()
    return db


def rows(db: str, *arguments: str) -> list[dict[str, Any]]:
    done = run("export", *arguments, "--db", db)
    assert done.code == 0, done.err
    return done.objects


def table(db: str, *arguments: str) -> list[dict[str, str]]:
    done = run("export", *arguments, "--format", "csv", "--db", db)
    assert done.code == 0, done.err
    return list(csv.DictReader(io.StringIO(done.out)))


def test_logs_are_those_of_the_query(filled: str) -> None:
    with ax_monitor.open(filled) as monitor:
        entries = monitor.logger.query_logs(limit=None, order="asc")
        assert rows(filled, "logs") == [entry.to_dict() for entry in entries]
        assert rows(filled, "logs", "--tenant", "acme") == [
            entry.to_dict() for entry in entries if entry.tenant_id == "acme"
        ]


def test_logs_can_be_imported_again(filled: str, tmp_path: Path) -> None:
    """All fields but the database's own are the same after the way through a file."""
    target = tmp_path / "logs.jsonl"
    assert run("export", "logs", "--output", target, "--db", filled).code == 0
    copy = str(tmp_path / "copy.db")
    assert run("import", target, "--db", copy).code == 0
    own = ("id", "seq")
    want = [{k: v for k, v in row.items() if k not in own} for row in rows(filled, "logs")]
    assert [{k: v for k, v in row.items() if k not in own} for row in rows(copy, "logs")] == want


def test_traces_have_their_spans(filled: str) -> None:
    found = rows(filled, "traces")
    assert [len(trace["spans"]) for trace in found] == [1, 2, 3]
    lines = table(filled, "traces")
    assert len(lines) == 6
    assert [line["span_name"] for line in lines[-3:]] == ["import", "load", "save"]
    assert lines[-1]["span_attributes"] == '{"count": 2}'


def test_workflows_have_their_steps(filled: str) -> None:
    found = rows(filled, "workflows")
    assert [execution["metadata"]["n"] for execution in found] == [0, 1, 2]
    assert [len(execution["steps"]) for execution in found] == [0, 1, 2]
    assert found[2]["steps"][1]["step_key"] == "save"
    lines = table(filled, "workflows")
    assert [line["id"] for line in lines[:2]] == [execution["id"] for execution in found[:2]]
    assert [line["step_key"] for line in lines] == ["", "load", "load", "save"]
    assert [line["step_cost"] for line in lines] == ["", "0.5", "0.5", "0.5"]


def test_metrics_are_all_samples(filled: str) -> None:
    found = rows(filled, "metrics", "--until", "2023-11-15T00:00Z")
    assert [row["value"] for row in found] == [number / 3 for number in range(100)]
    assert found[0] == {
        "timestamp": 1_700_000_000_000,
        "value": 0.0,
        "metric_type": "api.request.duration",
        "unit": "ms",
        "labels": {"route": "/x"},
        "tenant_id": None,
    }
    some = rows(
        filled, "metrics", "--since", "2023-11-14T22:13:21Z", "--until", "2023-11-14T22:13:23Z"
    )
    assert [row["timestamp"] for row in some] == [1_700_000_001_000 + n * 1000 for n in range(3)]


def test_alerts(filled: str) -> None:
    (alert,) = rows(filled, "alerts")
    assert (alert["title"], alert["status"]) == ("Slow", "active")
    (line,) = table(filled, "alerts")
    assert line["id"] == alert["id"]


def test_z3_csv_has_one_line_a_record_and_no_formulas(filled: str) -> None:
    done = run("export", "logs", "--format", "csv", "--db", filled)
    assert len(done.lines) == 32
    (error,) = [line for line in table(filled, "logs") if line["level"] == "error"]
    assert error["message"] == "'=cmd()"
    assert error["stack_trace"] == "line 1\\nline 2"
    assert not set(done.out) & set("\x1b\u202e\x00")


def test_an_empty_database_has_a_header_and_nothing_more(db: str) -> None:
    ax_monitor.Store(db).close()
    for what in ("logs", "traces", "metrics", "alerts", "workflows"):
        assert rows(db, what) == []
        assert len(run("export", what, "--format", "csv", "--db", db).lines) == 1


def test_a_file_is_ours_alone_and_replaced_only_when_complete(filled: str, tmp_path: Path) -> None:
    target = tmp_path / "out.jsonl"
    target.write_text("before")
    done = run("export", "logs", "-o", target, "--db", tmp_path / "none.db")
    assert "no database at" in assert_one_line_error(done, 1)
    assert target.read_text() == "before"
    done = run("export", "logs", "-o", target, "--db", filled)
    assert done.err == f"31 lines in {target}\n"
    assert len(target.read_text().splitlines()) == 31
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.glob("*.part")] == []


def test_a_file_that_can_not_be_written(filled: str, tmp_path: Path) -> None:
    done = run("export", "logs", "-o", tmp_path / "no" / "folder", "--db", filled)
    assert "No such file or directory" in assert_one_line_error(done, 1)


def test_while_an_engine_writes(db: str) -> None:
    with running_engine(db):
        found = rows(db, "logs")
    numbers = [row["metadata"]["number"] for row in found]
    assert numbers == list(range(1, len(numbers) + 1))
    assert numbers


def test_json_and_csv_at_once_is_a_mistake(filled: str) -> None:
    done = run("export", "logs", "--json", "--format", "csv", "--db", filled)
    assert "--json is the format jsonl" in assert_one_line_error(done, 2)
    assert rows(filled, "alerts", "--json") == rows(filled, "alerts")


# -- Parquet --------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["logs", "traces", "metrics", "alerts", "workflows"])
def test_parquet_has_the_lines_of_csv_with_types(filled: str, tmp_path: Path, what: str) -> None:
    """The same columns and lines; numbers are numbers, times are times, objects are JSON."""
    target = tmp_path / f"{what}.parquet"
    done = run("export", what, "--format", "parquet", "--output", target, "--db", filled)
    assert (done.code, done.out) == (0, ""), done.err
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    found = pyarrow.parquet.read_table(target)
    lines = table(filled, what)
    assert found.num_rows == len(lines) > 0
    assert found.column_names == list(lines[0])
    for name in ("timestamp", "started_at"):
        if name in found.column_names:
            times = found.column(name)
            assert times.type == pyarrow.timestamp("ms", tz="UTC")
            assert times.cast("int64").to_pylist() == [int(line[name]) for line in lines]
    numbers = {"metrics": "value", "workflows": "step_cost", "alerts": "last_value"}
    if what in numbers:
        column = found.column(numbers[what])
        assert column.type == pyarrow.float64()
        assert column.to_pylist() == [
            float(line[numbers[what]]) if line[numbers[what]] else None for line in lines
        ]
    if what == "logs":
        assert [json.loads(text)["text"] for text in found.column("metadata").to_pylist()[:30]] == (
            [NASTY] * 30
        )


def test_parquet_of_a_query_that_finds_nothing(filled: str, tmp_path: Path) -> None:
    """A file with its columns, and no line."""
    target = tmp_path / "none.parquet"
    options = ("--tenant", "nobody", "--format", "parquet", "--output", target, "--db", filled)
    assert run("export", "logs", *options).code == 0
    assert pyarrow.parquet.read_table(target).num_rows == 0


def test_parquet_goes_to_a_file(filled: str) -> None:
    """A terminal or a pipe is no place for it."""
    error = run("export", "logs", "--format", "parquet", "--db", filled)
    assert_one_line_error(error, 2)
    assert "--output" in error.err


def test_parquet_without_pyarrow_says_how_to_get_it(filled: str, tmp_path: Path) -> None:
    """The extra is named; no file is left."""
    (tmp_path / "pyarrow.py").write_text("raise ImportError")
    target = tmp_path / "x.parquet"
    options = ("--format", "parquet", "--output", target, "--db", filled)
    error = run("export", "logs", *options, PYTHONPATH=f"{tmp_path}:{SRC}")
    assert_one_line_error(error, 1)
    assert "ax-monitor[parquet]" in error.err
    assert not list(tmp_path.glob("x.parquet*"))
