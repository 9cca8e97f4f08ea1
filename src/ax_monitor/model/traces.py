"""Traces, their spans, and what happened in a span."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from ax_monitor.model._record import Record
from ax_monitor.model.vocabulary import SpanKind, SpanStatus

__all__ = ["Span", "SpanEvent", "Trace", "TraceStats"]


@dataclass(frozen=True, slots=True)
class SpanEvent(Record):
    """Something that happened at one moment within a span.

    Args:
        id: Time-ordered id in UUID text form.
        span_id: The span it belongs to.
        timestamp: When it happened, in ms since the epoch.
        name: What happened.
        attributes: Further values by name.
    """

    id: str
    span_id: str
    timestamp: int
    name: str
    attributes: dict[str, Any] | None = field(default=None, hash=False)


@dataclass(frozen=True, slots=True)
class Span(Record):
    """One timed piece of work within a trace.

    Args:
        span_id: 16 lowercase hex digits.
        trace_id: The trace it belongs to, 32 lowercase hex digits.
        parent_span_id: The span that caused it; None for a root.
        name: What the work is.
        kind: Its role in a call between components.
        started_at: Start, in ms since the epoch.
        completed_at: End, in ms since the epoch; None while it is open.
        duration: Length in ms, with its fraction; None while it is open.
        status: How it ended.
        attributes: Further values by name.
        start_ns: Start, in ns since the epoch; None if only milliseconds are known.
        duration_ns: Length in ns by the monotonic clock; None while it is open, or if only
            milliseconds are known.
        events: What happened in it, oldest first.
    """

    span_id: str
    trace_id: str
    parent_span_id: str | None
    name: str
    kind: SpanKind
    started_at: int
    completed_at: int | None = None
    duration: float | None = None
    status: SpanStatus = SpanStatus.UNSET
    attributes: dict[str, Any] = field(default_factory=dict, hash=False)
    start_ns: int | None = None
    duration_ns: int | None = None
    events: tuple[SpanEvent, ...] = ()


@dataclass(frozen=True, slots=True)
class Trace(Record):
    """The path of one workflow execution through the engine.

    Args:
        trace_id: 32 lowercase hex digits.
        workflow_execution_id: The execution it follows.
        started_at: Start, in ms since the epoch.
        completed_at: End, in ms since the epoch; None while it is open.
        duration: Length in ms; None while it is open.
        span_count: How many spans it has.
        spans: The spans themselves, ordered by start.
    """

    trace_id: str
    workflow_execution_id: str
    started_at: int
    completed_at: int | None = None
    duration: float | None = None
    span_count: int = 0
    spans: tuple[Span, ...] = ()


@dataclass(frozen=True, slots=True)
class TraceStats(Record):
    """Figures over all stored traces.

    Args:
        total_traces: Number of traces.
        total_spans: Number of spans.
        avg_spans_per_trace: Spans per trace; 0 if there is no trace.
        avg_trace_duration: Mean length of the completed traces in ms; 0 if there is none.
    """

    total_traces: int
    total_spans: int
    avg_spans_per_trace: float
    avg_trace_duration: float
