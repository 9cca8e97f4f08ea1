"""The kinds of record: their fields in the ring, and the statements that write a batch of them.

This is the one description of what a recorded thing consists of. The native recorder knows a kind
by its number and its fields by their position; the batch kernel offers each kind as a table
(`ring_logs`, …) with these names, and `write_batch` says in SQL what becomes of its rows.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from ax_monitor.storage.workflow_batch import EXECUTION_STATEMENTS, STEP_STATEMENTS


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
    fields=(
        "trace_id",
        "workflow_execution_id",
        "started_at",  # NULL: this process has not begun it, only completes it
        "completed_at",
        "duration",
        "name",
        "tenant_id",
    ),
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
        "dropped_attributes",
        "dropped_events",
    ),
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
        "started_at",  # NULL: a change
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
        "step_name",  # NULL: a change
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
        "earlier_attempts",  # JSON: [{"started_at": ms, …}, …]
    ),
)

# What a series is, said before its first sample in a ring, and hourly. Its id is a hash over the
# rest.
SERIES: Final = RecordKind(
    number=7,
    table="ring_series",
    fields=("series", "metric_type", "unit", "labels", "tenant_id"),
)

# Its records have no fields but samples (`Sample` in record.pxd); its table has their chunks.
SAMPLES: Final = RecordKind(
    number=8,
    table="ring_samples",
    fields=("series", "minute", "samples"),
)

KINDS: Final = (LOG, TRACE, SPAN, EXECUTION, STEP, SERIES, SAMPLES)  # number 4 was never in use


_INSERT_TRACES: Final = (
    "INSERT INTO traces(trace_id, workflow_execution_id, started_at, completed_at, duration, name, "
    "tenant_id, ring) SELECT trace_id, coalesce(workflow_execution_id, ''), started_at, "
    "completed_at, duration, name, tenant_id, "
    "(SELECT ring FROM recorder_rings WHERE ring_id = ax_ring_id()) "
    "FROM ring_traces WHERE started_at IS NOT NULL"
)

# What one batch does, in this order, between BEGIN IMMEDIATE and COMMIT: (kind, or 0 for always;
# SQL). See `write_batch`.
_WRITE_BATCH: Final[tuple[tuple[int, str], ...]] = (
    (
        0,
        "INSERT INTO recorder_rings(ring_id, salt, last_seq, updated_at, boot_id) "
        "VALUES (ax_ring_id(), ax_ring_salt(), ax_last_seq(), unixepoch('subsec') * 1000, "
        "nullif('{boot_id}', '')) "
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
    # A trace that began here. Where a part of it in another process came first, it is ours now.
    (
        TRACE.number,
        f"{_INSERT_TRACES} AND tag & 1 = 0 ON CONFLICT(trace_id) DO UPDATE SET "
        "workflow_execution_id = "
        "coalesce(nullif(excluded.workflow_execution_id, ''), workflow_execution_id), "
        "started_at = min(started_at, excluded.started_at), completed_at = excluded.completed_at, "
        "duration = excluded.duration, name = coalesce(excluded.name, name), "
        "tenant_id = coalesce(excluded.tenant_id, tenant_id), interrupted_at = NULL, "
        "ring = excluded.ring",
    ),
    # The part here of a trace that began in another process (bit 0 of the tag): it ends the trace
    # only if nobody else has it.
    (
        TRACE.number,
        f"{_INSERT_TRACES} AND tag & 1 ON CONFLICT(trace_id) DO UPDATE SET "
        "workflow_execution_id = "
        "coalesce(nullif(workflow_execution_id, ''), excluded.workflow_execution_id), "
        "completed_at = CASE WHEN ring = excluded.ring THEN excluded.completed_at "
        "ELSE completed_at END, "
        "duration = CASE WHEN ring = excluded.ring THEN excluded.duration ELSE duration END, "
        "tenant_id = coalesce(tenant_id, excluded.tenant_id)",
    ),
    # Completed by a process that had not begun it.
    (
        TRACE.number,
        "UPDATE traces SET completed_at = r.completed_at, "
        "duration = coalesce(r.duration, max(0, r.completed_at - traces.started_at)), "
        "interrupted_at = NULL "
        "FROM ring_traces r WHERE r.started_at IS NULL AND traces.trace_id = r.trace_id "
        "AND traces.completed_at IS NULL",
    ),
    # Spans of a trace that nobody here has begun: it lasts as long as they do.
    (
        SPAN.number,
        "INSERT INTO traces(trace_id, workflow_execution_id, started_at) "
        "SELECT trace_id, '', min(start_ns) / 1000000 FROM ring_spans GROUP BY trace_id "
        "ON CONFLICT(trace_id) DO NOTHING",
    ),
    # Counted before they are inserted: what is there already must not count twice.
    (
        SPAN.number,
        "UPDATE traces SET span_count = span_count + f.fresh, "
        "name = coalesce(traces.name, f.name), "
        "started_at = CASE WHEN ring IS NULL THEN min(started_at, f.first) ELSE started_at END, "
        "completed_at = CASE WHEN ring IS NULL THEN max(coalesce(completed_at, 0), f.last) "
        "ELSE completed_at END, "
        "duration = CASE WHEN ring IS NULL THEN max(coalesce(completed_at, 0), f.last) "
        "- min(started_at, f.first) ELSE duration END "
        "FROM (SELECT r.trace_id, "
        "count(DISTINCT r.span_id) FILTER (WHERE s.span_id IS NULL) AS fresh, "
        "min(r.name) FILTER (WHERE r.parent_span_id IS NULL) AS name, "
        "min(r.start_ns) / 1000000 AS first, max(r.start_ns + r.duration_ns) / 1000000 AS last "
        "FROM ring_spans r LEFT JOIN spans s ON s.span_id = r.span_id AND s.trace_id = r.trace_id "
        "GROUP BY r.trace_id) f WHERE f.trace_id = traces.trace_id",
    ),
    (
        SPAN.number,
        "INSERT OR REPLACE INTO spans(span_id, trace_id, parent_span_id, name, kind, started_at, "
        "completed_at, duration, status, attributes, start_ns, duration_ns, dropped_attributes, "
        "dropped_events) "
        "SELECT span_id, trace_id, parent_span_id, name, kind, start_ns / 1000000, "
        "(start_ns + duration_ns) / 1000000, duration_ns / 1e6, status, "
        "coalesce(attributes, '{}'), "
        "start_ns, duration_ns, dropped_attributes, dropped_events "
        "FROM ring_spans",
    ),
    (
        SPAN.number,
        "INSERT OR REPLACE INTO span_events(id, span_id, timestamp, name, attributes) "
        "SELECT s.id || '-' || e.key, s.span_id, e.value ->> 'timestamp', e.value ->> 'name', "
        "e.value -> 'attributes' FROM ring_spans s, json_each(s.events) e "
        "WHERE s.events IS NOT NULL",
    ),
    (
        SERIES.number,
        "INSERT INTO metric_labels(metric_type, name, value, series) "
        "SELECT r.metric_type, l.key, CASE l.type WHEN 'text' THEN l.value ELSE x'' END, r.series "
        "FROM ring_series r, json_each(CASE WHEN json_valid(r.labels) THEN r.labels END) l "
        "WHERE NOT EXISTS (SELECT 1 FROM metric_series s WHERE s.series = r.series) "
        "ON CONFLICT DO NOTHING",
    ),
    (
        SERIES.number,
        "INSERT INTO metric_series(series, metric_type, unit, labels, tenant_id, defined_at) "
        "SELECT series, metric_type, unit, coalesce(labels, '{}'), tenant_id, timestamp "
        "FROM ring_series WHERE true ON CONFLICT(series) DO UPDATE "
        "SET defined_at = max(defined_at, excluded.defined_at)",
    ),
    (SAMPLES.number, f"SELECT ax_prepare({SAMPLES.number}, 0, 0, 0)"),
    (SAMPLES.number, "UPDATE recorder_state SET metric_batch = metric_batch + 1"),
    (
        SAMPLES.number,
        "INSERT INTO metric_chunks(batch, series, minute, samples) "
        "SELECT (SELECT metric_batch FROM recorder_state), series, minute, samples "
        "FROM ring_samples",
    ),
    *((STEP.number, statement) for statement in STEP_STATEMENTS),
    *((EXECUTION.number, statement) for statement in EXECUTION_STATEMENTS),
)


def write_batch(boot_id: str) -> tuple[tuple[int, str], ...]:
    """The statements of one batch.

    Args:
        boot_id: See `Clock.boot_id`.
    """
    (kind, rings), *others = _WRITE_BATCH
    return (kind, rings.replace("{boot_id}", re.sub("[^0-9A-Za-z-]", "", boot_id))), *others
