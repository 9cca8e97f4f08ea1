"""The kinds of record: their fields in the ring, and the statements that write a batch of them.

This is the one description of what a recorded thing consists of. The native recorder knows a kind
by its number and its fields by their position; the batch kernel offers each kind as a table
(`ring_logs`, …) with these names, and `WRITE_BATCH` says in SQL what becomes of its rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class RecordKind:
    """One kind of record.

    Args:
        number: 1 to 15; in the ring's files, so never reused for something else.
        table: Name of the table-valued source that the batch kernel offers for it.
        fields: Names of the fields, in the order in which they stand in a record.
        grouped: How many leading fields form the group (`<table>_groups`, column `ref`).
        hex_fields: Fields of 16 hex digits that are delivered as 64-bit integers.
        occupied_sql: The highest time key between two (`?1`, `?2`); None: no time keys.
    """

    number: int
    table: str
    fields: tuple[str, ...]
    grouped: int = 0
    hex_fields: tuple[str, ...] = ()
    occupied_sql: str | None = None


LOG: Final = RecordKind(
    number=1,
    table="ring_logs",
    fields=(
        "source",
        "tenant_id",
        "user_id",
        "execution_id",
        "trace_id",
        "span_id",
        "message",
        "metadata",
        "stack_trace",
    ),
    grouped=5,
    hex_fields=("span_id",),
    occupied_sql="SELECT max(seq) FROM log_records WHERE seq BETWEEN ?1 AND ?2",
)

TRACE: Final = RecordKind(
    number=2,
    table="ring_traces",
    fields=("trace_id", "workflow_execution_id", "started_at", "completed_at", "duration"),
)

SPAN: Final = RecordKind(
    number=3,
    table="ring_spans",
    fields=(
        "span_id",
        "trace_id",
        "parent_span_id",
        "name",
        "kind",
        "start_ns",
        "duration_ns",
        "status",
        "attributes",
        "events",  # JSON: [{"timestamp": ms, "name": …, "attributes": {…}}, …]
    ),
)

SAMPLE: Final = RecordKind(
    number=4,
    table="ring_samples",
    fields=("metric_type", "unit", "labels", "tenant_id", "value"),
)

EXECUTION: Final = RecordKind(
    number=5,
    table="ring_executions",
    fields=(
        "execution_id",
        "workflow_id",
        "workflow_name",
        "tenant_id",
        "user_id",
        "status",
        "started_at",
        "completed_at",
        "duration",
        "steps_total",
        "steps_completed",
        "steps_failed",
        "current_step",
        "error_message",
        "metadata",
    ),
)

STEP: Final = RecordKind(
    number=6,
    table="ring_steps",
    fields=(
        "step_id",
        "execution_id",
        "step_key",
        "step_name",
        "status",
        "started_at",
        "completed_at",
        "duration",
        "retry_count",
        "error_message",
        "input_size",
        "output_size",
        "tokens_used",
        "cost",
        "provider",
        "model",
    ),
)

KINDS: Final = (LOG, TRACE, SPAN, SAMPLE, EXECUTION, STEP)


def _upsert(table: str, kind: RecordKind, columns: tuple[str, ...]) -> str:
    """Apply records in the order made: a field that is NULL leaves the column as it is."""
    key, *rest = columns
    updates = ", ".join(f"{column} = coalesce(excluded.{column}, {column})" for column in rest)
    return (
        f"INSERT INTO {table}({', '.join(columns)}) SELECT {', '.join(kind.fields)} "
        f"FROM {kind.table} WHERE true ON CONFLICT({key}) DO UPDATE SET {updates}"
    )


# What one batch does, in this order, between BEGIN IMMEDIATE and COMMIT: (kind, or 0 for always;
# SQL).
WRITE_BATCH: Final[tuple[tuple[int, str], ...]] = (
    (
        0,
        "INSERT INTO recorder_rings(ring_id, salt, last_seq, updated_at) "
        "VALUES (ax_ring_id(), ax_ring_salt(), ax_last_seq(), unixepoch('subsec') * 1000) "
        "ON CONFLICT(ring_id) DO UPDATE SET last_seq = excluded.last_seq, "
        "updated_at = excluded.updated_at WHERE excluded.last_seq > last_seq",
    ),
    (
        LOG.number,
        f"SELECT ax_prepare({LOG.number}, (SELECT max(seq) FROM log_records), "
        "(SELECT seq FROM sqlite_sequence WHERE name = 'log_contexts'), "
        "(SELECT contexts_removed FROM recorder_state))",
    ),
    (
        LOG.number,
        "INSERT INTO log_contexts(id, source, tenant_id, user_id, execution_id, trace_id) "
        "SELECT ref, source, tenant_id, user_id, execution_id, trace_id FROM ring_logs_groups",
    ),
    (
        LOG.number,
        "INSERT INTO log_records(seq, context, severity, span_id, ring, ring_seq, "
        "message, metadata, stack_trace) "
        "SELECT key, ref, tag, span_id, "
        "(SELECT ring FROM recorder_rings WHERE ring_id = ax_ring_id()), ring_seq, "
        "message, metadata, stack_trace FROM ring_logs",
    ),
    (
        LOG.number,
        "INSERT INTO logs_fts(rowid, message) SELECT key, message FROM ring_logs",
    ),
    (
        TRACE.number,
        "INSERT INTO traces(trace_id, workflow_execution_id, started_at, completed_at, duration) "
        "SELECT trace_id, coalesce(workflow_execution_id, ''), coalesce(started_at, timestamp), "
        "completed_at, duration FROM ring_traces WHERE true ON CONFLICT(trace_id) DO UPDATE SET "
        "completed_at = coalesce(excluded.completed_at, completed_at), "
        "duration = coalesce(excluded.duration, duration)",
    ),
    (
        SPAN.number,
        "INSERT OR REPLACE INTO spans(span_id, trace_id, parent_span_id, name, kind, started_at, "
        "completed_at, duration, status, attributes, start_ns, duration_ns) "
        "SELECT span_id, trace_id, parent_span_id, name, kind, start_ns / 1000000, "
        "(start_ns + duration_ns) / 1000000, duration_ns / 1e6, status, "
        "coalesce(attributes, '{}'), start_ns, duration_ns FROM ring_spans",
    ),
    (
        SPAN.number,
        "INSERT OR REPLACE INTO span_events(id, span_id, timestamp, name, attributes) "
        "SELECT s.id || '-' || e.key, s.span_id, e.value ->> 'timestamp', e.value ->> 'name', "
        "e.value -> 'attributes' FROM ring_spans s, json_each(s.events) e",
    ),
    (
        SPAN.number,
        "UPDATE traces SET span_count = (SELECT count(*) FROM spans "
        "WHERE spans.trace_id = traces.trace_id) "
        "WHERE trace_id IN (SELECT trace_id FROM ring_spans)",
    ),
    (
        SAMPLE.number,
        "INSERT OR REPLACE INTO performance_metrics(id, timestamp, metric_type, value, unit, "
        "labels, tenant_id) SELECT id, timestamp, metric_type, value, unit, labels, tenant_id "
        "FROM ring_samples",
    ),
    (
        EXECUTION.number,
        _upsert("workflow_executions_monitor", EXECUTION, ("id", *EXECUTION.fields[1:])),
    ),
    (
        STEP.number,
        _upsert("workflow_step_executions", STEP, ("id", *STEP.fields[1:])),
    ),
)
