"""Trace queries.

A trace is found by its id, by its execution, or newest first by the time it began; its spans by the
index over their trace ids. What a trace's status is follows from its row and its spans.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from enum import Enum
from operator import attrgetter
from typing import Any, Final, TypeVar

import apsw

from ax_monitor._native import RecordType, span_events, spans
from ax_monitor.errors import TraceQueryError
from ax_monitor.model.traces import Span, SpanEvent, Trace, TracePage, TraceQuery, TraceStats
from ax_monitor.model.vocabulary import SpanKind, SpanStatus, TraceStatus
from ax_monitor.storage.connection import snapshot
from ax_monitor.storage.logs import parse_unusual

_E = TypeVar("_E", bound=Enum)

_FAILED: Final = (
    "EXISTS (SELECT 1 FROM spans s WHERE s.trace_id = t.trace_id AND s.status = 'error')"
)
_TRACE: Final = (
    "SELECT t.trace_id, t.workflow_execution_id, t.started_at, t.completed_at, t.duration, "
    "t.span_count, t.name, t.tenant_id, CASE "
    "WHEN t.interrupted_at IS NOT NULL THEN 'interrupted' WHEN t.completed_at IS NULL THEN 'open' "
    f"WHEN {_FAILED} THEN 'error' ELSE 'ok' END FROM traces t "
)
_STATUS_CONDITIONS: Final = {
    TraceStatus.INTERRUPTED: ("t.interrupted_at IS NOT NULL",),
    TraceStatus.OPEN: ("t.interrupted_at IS NULL", "t.completed_at IS NULL"),
    TraceStatus.ERROR: (
        "t.interrupted_at IS NULL",
        "t.completed_at IS NOT NULL",
        # The few traces that failed come from the partial index, not from looking at every one.
        "t.trace_id IN (SELECT trace_id FROM spans WHERE status = 'error')",
    ),
    TraceStatus.OK: (
        "t.interrupted_at IS NULL",
        "t.completed_at IS NOT NULL",
        f"NOT {_FAILED}",
    ),
}
_SPANS: Final = (
    "SELECT span_id, trace_id, parent_span_id, name, kind, started_at, completed_at, duration, "
    "status, attributes, start_ns, duration_ns, dropped_attributes, dropped_events "
    "FROM spans WHERE trace_id = ?"
)
_EVENTS: Final = (  # of a span by rowid, as its index has them: in the order in which they happened
    "SELECT e.id, e.span_id, e.timestamp, e.name, e.attributes FROM spans s CROSS JOIN "
    "span_events e INDEXED BY span_events_span ON e.span_id = s.span_id WHERE s.trace_id = ?"
)


def get_trace(connection: apsw.Connection, trace_id: str) -> Trace | None:
    """The trace with all its completed spans; None if there is none of this id."""
    with snapshot(connection):
        row = connection.execute(f"{_TRACE} WHERE t.trace_id = ?", (trace_id,)).fetchone()
        return None if row is None else _trace(row, _spans(connection, trace_id))


def get_traces_by_execution(connection: apsw.Connection, execution_id: str) -> list[Trace]:
    """The traces of an execution with their spans, oldest first."""
    with snapshot(connection):
        rows = connection.execute(
            f"{_TRACE} WHERE t.workflow_execution_id = ? ORDER BY t.started_at, t.trace_id",
            (execution_id,),
        ).fetchall()
        return [_trace(row, _spans(connection, str(row[0]))) for row in rows]


def find_traces(connection: apsw.Connection, query: TraceQuery) -> TracePage:
    """The traces that match, without their spans.

    Raises:
        TraceQueryError: `query.cursor` is not a cursor, or its trace has been deleted.
    """
    conditions, values = _conditions(query)
    if query.cursor is not None and not _exists(connection, query.cursor):
        raise TraceQueryError(
            "cursor must be the next_cursor of an earlier page whose last trace still exists, "
            f"got {query.cursor!r}"
        )
    order = "DESC" if query.order == "desc" else "ASC"
    limit = -1 if query.limit is None else query.limit
    if limit == 0:
        return TracePage()
    rows: list[tuple[Any, ...]] = connection.execute(
        f"{_TRACE} WHERE {' AND '.join(conditions) or 'true'} "
        # Of one millisecond, in the order in which they were stored.
        f"ORDER BY t.started_at {order}, t.rowid {order} LIMIT :limit",
        {**values, "limit": limit + 1 if limit > 0 else limit},
    ).fetchall()
    more = limit > 0 and len(rows) > limit
    traces = [_trace(row, ()) for row in (rows[:limit] if more else rows)]
    return TracePage(traces, traces[-1].trace_id if more else None)


def _exists(connection: apsw.Connection, trace_id: str) -> bool:
    found = connection.execute("SELECT 1 FROM traces WHERE trace_id = ?", (trace_id,))
    return found.fetchone() is not None


def _conditions(query: TraceQuery) -> tuple[list[str], dict[str, Any]]:
    conditions: list[str] = []
    values: dict[str, Any] = {}
    for name in ("workflow_execution_id", "tenant_id"):
        if getattr(query, name) is not None:
            conditions.append(f"t.{name} = :{name}")
            values[name] = getattr(query, name)
    if query.name is not None:
        conditions.append(
            "(t.name = :name OR t.name IS NULL AND EXISTS (SELECT 1 FROM spans s WHERE "
            "s.trace_id = t.trace_id AND s.parent_span_id IS NULL AND s.name = :name))"
        )
        values["name"] = query.name
    if query.status is not None:
        conditions += _STATUS_CONDITIONS[TraceStatus.parse(query.status)]
    if query.min_duration_ms is not None:
        conditions.append("t.duration >= :min_duration")
        values["min_duration"] = query.min_duration_ms
    if query.start_time is not None:
        conditions.append("t.started_at >= :start_time")
        values["start_time"] = query.start_time
    if query.end_time is not None:
        conditions.append("t.started_at <= :end_time")
        values["end_time"] = query.end_time
    if query.attributes:
        conditions.append(_attribute_condition(query.attributes, values))
    if query.cursor is not None:
        sign = "<" if query.order == "desc" else ">"
        conditions.append(
            f"(t.started_at, t.rowid) {sign} "
            "(SELECT started_at, rowid FROM traces WHERE trace_id = :cursor)"
        )
        values["cursor"] = query.cursor
    return conditions, values


def _attribute_condition(attributes: Any, values: dict[str, Any]) -> str:
    """One span of the trace has all of these attributes."""
    tests = ["s.trace_id = t.trace_id", "json_valid(s.attributes)"]
    for index, (key, wanted) in enumerate(attributes.items()):
        values[f"ak{index}"] = key
        test = "a.type = 'null'"
        if isinstance(wanted, bool):
            test = f"a.type = '{'true' if wanted else 'false'}'"
        elif wanted is not None:
            types = "'text'" if isinstance(wanted, str) else "'integer', 'real'"
            test = f"a.type IN ({types}) AND a.value = :av{index}"
            values[f"av{index}"] = wanted
        tests.append(
            f"EXISTS (SELECT 1 FROM json_each(s.attributes) a WHERE a.key = :ak{index} AND {test})"
        )
    return f"EXISTS (SELECT 1 FROM spans s WHERE {' AND '.join(tests)})"


def ids_with_prefix(connection: apsw.Connection, prefix: str, limit: int) -> list[str]:
    """At most `limit` ids of traces that begin so."""
    rows = connection.execute(
        "SELECT trace_id FROM traces WHERE trace_id >= ?1 AND trace_id < ?1 || char(1114111) "
        "ORDER BY trace_id LIMIT ?2",
        (prefix, limit),
    )
    return [trace_id for (trace_id,) in rows]


def get_trace_stats(connection: apsw.Connection) -> TraceStats:
    """Figures over all traces. Reads the whole tables' indexes."""
    row: tuple[Any, ...] = connection.execute(
        "SELECT count(*), avg(duration), (SELECT count(*) FROM spans) FROM traces"
    ).fetchall()[0]
    traces, duration, spans = row
    return TraceStats(
        total_traces=traces,
        total_spans=spans,
        avg_spans_per_trace=spans / traces if traces else 0.0,
        avg_trace_duration=duration or 0.0,
    )


# -- rows to records ------------------------------------------------------------------------------


def _trace(row: tuple[Any, ...], spans: Iterable[Span]) -> Trace:
    (trace_id, execution_id, started_at, completed_at, duration, span_count, name, tenant_id,
     status) = row  # fmt: skip
    return Trace(
        trace_id=trace_id,
        workflow_execution_id=execution_id,
        started_at=started_at,
        completed_at=completed_at,
        duration=duration,
        span_count=span_count,
        spans=tuple(spans),
        name=name,
        tenant_id=tenant_id,
        status=TraceStatus(status),
    )


class _Words(dict[str, _E]):
    """Enumerated values by what is stored; other words, of another program, are the default."""

    def __init__(self, default: _E) -> None:
        super().__init__({member.value: member for member in type(default)})
        self._default = default

    def __missing__(self, word: str) -> _E:
        return self._default


_SPAN: Final = RecordType(Span)
_EVENT: Final = RecordType(SpanEvent)
_KINDS: Final = _Words(SpanKind.INTERNAL)
_STATUSES: Final = _Words(SpanStatus.UNSET)


def _spans(connection: apsw.Connection, trace_id: str) -> list[Span]:
    events = span_events(_EVENT, connection.execute(_EVENTS, (trace_id,)), parse_unusual)
    rows = connection.execute(_SPANS, (trace_id,))
    found = spans(_SPAN, rows, events, _KINDS, _STATUSES, parse_unusual)
    return sorted(found, key=attrgetter("begins_ns"))


def open_span(fields: tuple[Any, ...]) -> Span:
    """A span that is not completed yet, from the fields that its record will have."""
    (span_id, trace_id, parent_span_id, name, kind, start_ns, _, status, attributes, events,
     dropped_attributes, dropped_events) = fields  # fmt: skip
    return Span(
        span_id=span_id,
        trace_id=trace_id,
        parent_span_id=parent_span_id,
        name=name,
        kind=SpanKind(kind),
        started_at=start_ns // 1_000_000,
        status=SpanStatus(status),
        attributes=attributes,
        start_ns=start_ns,
        events=tuple(
            SpanEvent(
                id=f"{span_id}-{index}",
                span_id=span_id,
                timestamp=event["timestamp"],
                name=event["name"],
                attributes=event.get("attributes"),
            )
            for index, event in enumerate(events)
        ),
        dropped_attributes=dropped_attributes,
        dropped_events=dropped_events,
    )


# -- changes --------------------------------------------------------------------------------------


def interrupt_traces(connection: apsw.Connection, ring_id: bytes) -> int:
    """Mark the traces that the owner of this ring left open; how many it were."""
    connection.execute(
        "UPDATE traces SET interrupted_at = unixepoch('subsec') * 1000 "
        "WHERE completed_at IS NULL AND interrupted_at IS NULL "
        "AND ring = (SELECT ring FROM recorder_rings WHERE ring_id = ?)",
        (ring_id,),
    )
    return connection.changes()


def delete_traces(
    connection: apsw.Connection, before_ms: int, limit: int, *, keep_open: bool = False
) -> tuple[int, bool]:
    """Delete at most `limit` spans, with events and traces, of traces that ended before a time.

    A trace that never ended counts from its start, or stays (`keep_open`). Returns how many traces
    are gone now, and whether there may be more.
    """
    old = [
        trace_id
        for (trace_id,) in connection.execute(
            "SELECT trace_id FROM traces WHERE started_at < ?1 "
            "AND coalesce(completed_at, interrupted_at, started_at) < ?1 AND NOT (?3 "
            "AND completed_at IS NULL AND interrupted_at IS NULL AND ring IS NOT NULL) "
            "ORDER BY started_at LIMIT ?2",
            (before_ms, limit, keep_open),
        )
    ]
    gone = 0
    left = limit
    for trace_id in old:
        spans = connection.execute(
            "SELECT span_id FROM spans WHERE trace_id = ? LIMIT ?", (trace_id, left)
        ).fetchall()
        ids = json.dumps([span_id for (span_id,) in spans])
        for table in ("span_events", "spans"):
            connection.execute(
                f"DELETE FROM {table} WHERE span_id IN (SELECT value FROM json_each(?))", (ids,)
            )
        if len(spans) < left:
            connection.execute("DELETE FROM traces WHERE trace_id = ?", (trace_id,))
            gone += 1
        left -= len(spans)
        if left <= 0:
            return gone, True
    return gone, len(old) == limit
