"""What becomes of the records of every kind in the database."""

from __future__ import annotations

import json
import struct

import apsw

import ax_monitor
from ax_monitor.storage.records import EXECUTION, LOG, SPAN, STEP
from ax_monitor.storage.writer import Writer
from tests.batches import (
    NOW_MS,
    TRACE_ID,
    append,
    append_one_of_each,
    log,
    read_rows,
    row_counts,
    write,
)
from tests.oracles import new_ring


def test_every_kind_of_record_lands_in_its_table(db: str, writer: Writer) -> None:
    """One batch writes logs, traces, spans with events, samples, executions and steps."""
    ring, _buffer = new_ring(3)
    append_one_of_each(ring)
    assert write(writer, ring) == 13
    (log,) = read_rows(db, "SELECT * FROM logs")
    assert (log["message"], log["metadata"], log["stack_trace"]) == (
        "a log line",
        '{"n":1}',
        "at x",
    )
    assert (log["level"], log["source"], log["tenant_id"]) == ("info", "s", "t")
    assert read_rows(db, "SELECT * FROM traces") == [
        {
            "trace_id": TRACE_ID,
            "workflow_execution_id": "run",
            "started_at": NOW_MS,
            "completed_at": NOW_MS + 9,
            "duration": 9.5,
            "span_count": 2,
            "name": "work",
            "tenant_id": None,
            "interrupted_at": None,
            "ring": 1,
        }
    ]
    parent, child = read_rows(db, "SELECT * FROM spans ORDER BY span_id")
    assert parent["started_at"] == NOW_MS
    assert parent["completed_at"] == NOW_MS + 2
    assert parent["duration"] == 1.999999
    assert (parent["start_ns"], parent["duration_ns"]) == (NOW_MS * 1_000_000 + 5, 1_999_999)
    assert json.loads(parent["attributes"]) == {"k": "v"}
    assert (child["parent_span_id"], child["attributes"]) == ("s1", "{}")
    events = read_rows(
        db, "SELECT span_id, timestamp, name, attributes FROM span_events ORDER BY id"
    )
    assert [(e["span_id"], e["timestamp"], e["name"]) for e in events] == [
        ("s1", NOW_MS, "first"),
        ("s1", NOW_MS + 1, "second"),
    ]
    assert [e["attributes"] for e in events] == ['{"n":1}', None]
    assert read_rows(db, "SELECT series, metric_type, unit, labels FROM metric_series") == [
        {"series": 7, "metric_type": "cpu", "unit": "percent", "labels": '{"h":"a"}'}
    ]
    minute, offset = divmod(NOW_MS, 60_000)
    assert read_rows(db, "SELECT batch, series, minute, samples FROM metric_chunks") == [
        {
            "batch": 1,
            "series": 7,
            "minute": minute,
            "samples": struct.pack("<Hd", offset, 0.25),
        }
    ]


def test_changes_of_an_execution_apply_in_the_order_made(db: str, writer: Writer) -> None:
    """Later records change what they name and leave the rest, in one batch and in the next."""
    ring, _buffer = new_ring(3)
    append_one_of_each(ring)
    write(writer, ring)
    (run,) = read_rows(db, "SELECT * FROM workflow_executions_monitor")
    assert (run["status"], run["steps_total"], run["steps_completed"]) == ("completed", 3, 3)
    assert (run["workflow_name"], run["metadata"], run["started_at"]) == ("W", '{"m":1}', NOW_MS)
    assert (run["steps_failed"], run["current_step"]) == (0, "k")
    (step,) = read_rows(db, "SELECT * FROM workflow_step_executions")
    assert (step["status"], step["error_message"], step["cost"]) == ("completed", None, 0.5)
    assert (step["tokens_used"], step["model"], step["retry_count"]) == (7, "m", 1)
    assert json.loads(step["earlier_attempts"]) == [{"started_at": NOW_MS, "status": "failed"}]
    assert step["started_at"] == NOW_MS + 1


def test_what_is_finished_takes_no_further_change(db: str, writer: Writer) -> None:
    """In the batch in which it was finished, and in the next."""
    ring, _buffer = new_ring(3)
    append_one_of_each(ring)
    append(ring, EXECUTION, execution_id="run", status="failed", error_message="late")
    append(ring, STEP, step_id="step", status="failed", error_message="late")
    write(writer, ring)
    before = read_rows(db, "SELECT * FROM workflow_executions_monitor, workflow_step_executions")
    append(ring, EXECUTION, execution_id="run", steps_failed=1, duration=12.5)
    append(ring, STEP, step_id="step", status="failed", cost=9.0)
    write(writer, ring)
    after = read_rows(db, "SELECT * FROM workflow_executions_monitor, workflow_step_executions")
    assert after == before
    assert before[0]["error_message"] is None


def test_kinds_of_a_later_version_are_passed_over(db: str, writer: Writer) -> None:
    """A record of an unknown kind is counted as done and disturbs nothing."""
    ring, _buffer = new_ring(3)
    assert ring.append(15, 0, ("?", 1)) == 1
    log(ring, "m")
    assert ring.append(14, 0, ()) == 3
    assert write(writer, ring) == 3
    assert writer.last_seq(ring.ring_id) == 3
    assert row_counts(db)["log_records"] == 1


def test_records_of_any_shape_are_read_by_position(db: str, writer: Writer) -> None:
    """Fields that a shorter record does not have are NULL; more than the kind has are ignored."""
    ring, _buffer = new_ring(3)
    base = ("source", "tenant", None, None, None, None, "message")
    ring.append(LOG.number, 9, base)
    ring.append(LOG.number, 9, (*base, None, None, "extra", 5))
    write(writer, ring)
    rows = read_rows(db, "SELECT source, tenant_id, message, metadata, stack_trace FROM logs")
    assert [tuple(row.values()) for row in rows] == [
        ("source", "tenant", "message", None, None)
    ] * 2


def test_messages_are_in_the_index(db: str, writer: Writer) -> None:
    """What was written is found by its words, under its own key, and the index is consistent."""
    ring, _buffer = new_ring(3)
    for i in range(50):
        log(ring, f"word{i} common \x00 tail{i}", NOW_MS - i)
    write(writer, ring)
    found = read_rows(
        db,
        "SELECT l.message FROM logs_fts f JOIN logs l ON l.seq = f.rowid WHERE logs_fts MATCH ?",
        ("word7 AND tail7",),
    )
    assert found == [{"message": "word7 common \x00 tail7"}]
    (count,) = read_rows(db, "SELECT count(*) AS n FROM logs_fts WHERE logs_fts MATCH 'common'")
    assert count["n"] == 50
    connection = apsw.Connection(db)
    connection.execute("INSERT INTO logs_fts(logs_fts, rank) VALUES ('integrity-check', 1)")
    connection.close()


def test_odd_values_in_a_span_s_events_keep_the_span(db: str) -> None:
    """Events with values that JSON does not have are stored as a list all the same."""
    events = [{"timestamp": 1, "name": "e", "attributes": {"x": float("nan"), "y": object}}]
    with ax_monitor.Store(db) as store:
        fields = ("s1", "t" * 32, None, "n", "internal", 1, 1, "ok", {}, events)
        store.recorder.append(SPAN, fields)
        assert store.flush()
        assert store.stats().dropped == {}
    connection = apsw.Connection(db, flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.execute("SELECT name, timestamp FROM span_events").fetchall() == [("e", 1)]
    connection.close()
