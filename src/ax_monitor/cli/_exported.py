"""What `ax monitor export` writes: the records of a kind, oldest first, as JSON data."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any, Final, get_type_hints

from ax_monitor.clock import SYSTEM_CLOCK
from ax_monitor.model.alerts import Alert
from ax_monitor.model.logs import LogEntry, LogQuery
from ax_monitor.model.metrics import PerformanceMetric, Series
from ax_monitor.model.traces import Span, Trace, TraceQuery
from ax_monitor.model.workflows import WorkflowExecution, WorkflowStepExecution
from ax_monitor.pipeline.history import metric_history
from ax_monitor.pipeline.store import Store
from ax_monitor.storage import alerts, logs, traces, workflows
from ax_monitor.storage.series import find_series

Row = dict[str, Any]

PAGE: Final = 5_000  # records held in memory at once
MINUTE_MS: Final = 60_000
_SAMPLE_BYTES: Final = 10  # a block: offsets of two bytes, then values of eight


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records."""

    start: int | None
    end: int | None
    tenant_id: str | None

    def covers(self, time_ms: int) -> bool:
        """Is this time in the range?"""
        return (self.start is None or time_ms >= self.start) and (
            self.end is None or time_ms <= self.end
        )


def _logs(store: Store, wanted: Wanted) -> Iterator[Row]:
    query = LogQuery(
        start_time=wanted.start,
        end_time=wanted.end,
        tenant_id=wanted.tenant_id,
        order="asc",
        limit=PAGE,
    )
    while page := store.read(logs.query_logs, query):
        yield from (entry.to_dict() for entry in page)
        if page.next_cursor is None:
            return
        query = replace(query, cursor=page.next_cursor)


def _traces(store: Store, wanted: Wanted) -> Iterator[Row]:
    query = TraceQuery(
        start_time=wanted.start,
        end_time=wanted.end,
        tenant_id=wanted.tenant_id,
        order="asc",
        limit=PAGE,
    )
    while page := store.read(traces.find_traces, query):
        for found in page:
            trace = store.read(traces.get_trace, found.trace_id)
            if trace is not None:
                yield trace.to_dict()
        if page.next_cursor is None:
            return
        query = replace(query, cursor=page.next_cursor)


def _metrics(store: Store, wanted: Wanted) -> Iterator[Row]:
    series = {found.series: found for found in store.read(find_series, tenant_id=wanted.tenant_id)}
    start = 0 if wanted.start is None else wanted.start
    end = SYSTEM_CLOCK.time_ms() if wanted.end is None else wanted.end
    for series_id, minute, block in metric_history(store, series, start, end):
        of = series[series_id].to_dict()
        del of["series"]
        for timestamp, value in _samples(minute, block):
            if wanted.covers(timestamp):
                yield {"timestamp": timestamp, "value": value, **of}


def _samples(minute: int, block: bytes) -> Iterator[tuple[int, float]]:
    count = len(block) // _SAMPLE_BYTES
    offsets = array("H", block[: 2 * count])
    values = array("d", block[2 * count :])
    for offset, value in zip(offsets, values, strict=True):
        yield minute * MINUTE_MS + offset, value


def _alerts(store: Store, wanted: Wanted) -> Iterator[Row]:
    found = store.read(
        lambda connection: alerts.find_alerts(connection, tenant_id=wanted.tenant_id)
    )
    for alert in reversed(found):
        if wanted.covers(alert.timestamp):
            yield alert.to_dict()


def _workflows(store: Store, wanted: Wanted) -> Iterator[Row]:
    executions = store.read(workflows.find_executions, tenant_id=wanted.tenant_id)
    for execution in reversed(executions):
        if wanted.covers(execution.started_at):
            steps = store.read(workflows.get_step_executions, execution.id)
            yield {**execution.to_dict(), "steps": [step.to_dict() for step in steps]}


@dataclass(frozen=True, slots=True)
class Kind:
    """Records of one kind.

    Args:
        rows: Those that are wanted, oldest first.
        record: The class that has their fields.
        fields: Their names.
        parts: The field that holds a list, of which a table has a line for each item.
        part: What the names of an item's fields begin with in a table.
        part_record: The class that has an item's fields.
        part_fields: Their names, without those that the record has too.
    """

    rows: Callable[[Store, Wanted], Iterator[Row]]
    record: type[Any]
    fields: tuple[str, ...]
    parts: str = ""
    part: str = ""
    part_record: type[Any] | None = None
    part_fields: tuple[str, ...] = ()

    def column(self, name: str) -> str:
        """What a field of an item is called in a table."""
        return name if name.startswith(self.part) else self.part + name

    @property
    def columns(self) -> dict[str, Any]:
        """The columns of a table, in order, with the types of their values."""
        hints = get_type_hints(self.record)
        found = {name: hints[name] for name in self.fields if name != self.parts}
        if self.part_record is not None:
            hints = get_type_hints(self.part_record)
            found |= {self.column(name): hints[name] for name in self.part_fields}
        return found

    def lines(self, row: Row) -> Iterator[Row]:
        """A record as lines of a table: one for each of its items, but at least one."""
        parts: list[Row] = row.pop(self.parts, [])
        for part in parts or [{}]:
            yield row | {self.column(name): part[name] for name in self.part_fields if name in part}


def _names(record: type[Any], *without: str) -> tuple[str, ...]:
    return tuple(field.name for field in fields(record) if field.name not in without)


KINDS: Final = {
    "logs": Kind(_logs, LogEntry, _names(LogEntry)),
    "traces": Kind(_traces, Trace, _names(Trace), "spans", "span_", Span, _names(Span, "trace_id")),
    "metrics": Kind(_metrics, PerformanceMetric, ("timestamp", "value", *_names(Series, "series"))),
    "alerts": Kind(_alerts, Alert, _names(Alert)),
    "workflows": Kind(
        _workflows,
        WorkflowExecution,
        _names(WorkflowExecution),
        "steps",
        "step_",
        WorkflowStepExecution,
        _names(WorkflowStepExecution, "execution_id"),
    ),
}
