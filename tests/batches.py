"""Records of every kind, written as the pump writes them, and read as others read them."""

from __future__ import annotations

from typing import Any

import apsw

from ax_monitor._native import MetricSeries, MetricSettings, RecordRing
from ax_monitor.storage.records import EXECUTION, LOG, SERIES, SPAN, STEP, TRACE, RecordKind
from ax_monitor.storage.writer import Writer

NOW_MS = 1_700_000_000_000
RING_IDS = (b"first ring's id.", b"second ring's id")


def append(ring: RecordRing, kind: RecordKind, time_ms: int = NOW_MS, /, **fields: Any) -> int:
    """One record of a kind, its fields by name."""
    assert set(fields) <= set(kind.fields)
    values = tuple(fields.get(name) for name in kind.fields)
    seq = ring.append(kind.number, 9, values, timestamp_ns=time_ms * 1_000_000)
    assert seq > 0
    return seq


def log(ring: RecordRing, message: str, time_ms: int = NOW_MS, **fields: Any) -> int:
    return append(ring, LOG, time_ms, **{"message": message, "source": "s", **fields})


def series_of(
    ring: RecordRing, number: int, name: str, unit: str | None = None, labels: Any = None
) -> MetricSeries:
    """A series whose samples go into the ring, its definition first."""

    def define(series: MetricSeries) -> bool:
        append(ring, SERIES, series=number, metric_type=name, unit=unit, labels=labels)
        return True

    def never(*args: object) -> Any:
        raise AssertionError(args)

    settings = MetricSettings(resolve=never, define=define, publish=never, reject=never)
    return MetricSeries(
        ring,
        settings,
        series=number,
        metric_type=name,
        unit=unit,
        labels=labels or {},
        tenant_id=None,
    )


def write(writer: Writer, ring: RecordRing) -> int:
    """Everything that waits, as the pump writes it."""
    if not ring.claim():
        return 0
    written = writer.write_claim(ring)
    ring.release()
    return written


def read_rows(path: str, sql: str, values: tuple[Any, ...] = ()) -> list[dict[str, Any]]:
    """What another program reads of the file."""
    connection = apsw.Connection(path, flags=apsw.SQLITE_OPEN_READONLY)
    try:
        cursor = connection.execute(sql, values)
        return [
            dict(zip([column[0] for column in cursor.description], row, strict=True))
            for row in cursor
        ]
    finally:
        connection.close()


def row_counts(path: str) -> dict[str, int]:
    tables = [
        row["name"]
        for row in read_rows(path, "SELECT name FROM pragma_table_list WHERE type <> 'view'")
    ]
    return {
        name: read_rows(path, f'SELECT count(*) AS n FROM "{name}"')[0]["n"]
        for name in tables
        if not name.startswith(("sqlite_", "ring_", "logs_fts_"))
    }


TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
EVENTS = [
    {"timestamp": NOW_MS, "name": "first", "attributes": {"n": 1}},
    {"timestamp": NOW_MS + 1, "name": "second"},
]


def append_one_of_each(ring: RecordRing) -> None:
    """A record of every kind, and what becomes of them later."""
    log(ring, "a log line", metadata={"n": 1}, stack_trace="at x", tenant_id="t")
    append(ring, TRACE, trace_id=TRACE_ID, workflow_execution_id="run", started_at=NOW_MS)
    span = {"trace_id": TRACE_ID, "name": "work", "kind": "server", "status": "ok"}
    at = {"start_ns": NOW_MS * 1_000_000 + 5, "duration_ns": 1_999_999}
    append(ring, SPAN, span_id="s1", attributes={"k": "v"}, events=EVENTS, **span, **at)
    append(ring, SPAN, span_id="s2", parent_span_id="s1", **span, **at)
    series_of(ring, 7, "cpu", unit="percent", labels={"h": "a"}).record_at(0.25, NOW_MS)
    started = {"workflow_id": "w", "workflow_name": "W", "status": "running", "started_at": NOW_MS}
    append(ring, EXECUTION, execution_id="run", steps_total=3, metadata={"m": 1}, **started)
    step = {"execution_id": "run", "step_key": "k", "step_name": "K"}
    append(ring, STEP, step_id="step", status="running", started_at=NOW_MS, **step)
    append(ring, STEP, step_id="step", status="failed", error_message="no", cost=0.5)
    again = {"retry_count": 1, "earlier_attempts": [{"started_at": NOW_MS, "status": "failed"}]}
    append(ring, STEP, step_id="step", status="running", started_at=NOW_MS + 1, **again)
    append(ring, STEP, step_id="step", status="completed", tokens_used=7, model="m")
    append(ring, EXECUTION, execution_id="run", status="completed", steps_completed=3)
    append(ring, TRACE, trace_id=TRACE_ID, completed_at=NOW_MS + 9, duration=9.5)
