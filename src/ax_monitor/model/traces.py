"""Traces, their spans, and what happened in a span."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ax_monitor.errors import TraceQueryError
from ax_monitor.model._check import is_finite, is_int64, shown
from ax_monitor.model._record import Record
from ax_monitor.model.vocabulary import SpanKind, SpanStatus, TraceStatus

__all__ = ["Span", "SpanEvent", "SpanNode", "Trace", "TracePage", "TraceQuery", "TraceStats"]


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
        dropped_attributes: How many attributes were beyond the tracer's limit.
        dropped_events: How many events were.
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
    dropped_attributes: int = 0
    dropped_events: int = 0

    @property
    def begins_ns(self) -> int:
        """Start in ns since the epoch, as exactly as it is known."""
        return self.started_at * 1_000_000 if self.start_ns is None else self.start_ns

    @property
    def ends_ns(self) -> int | None:
        """End in ns since the epoch, as exactly as it is known; None while it is open."""
        if self.duration_ns is not None:
            return self.begins_ns + self.duration_ns
        if self.duration is not None:
            return self.begins_ns + int(self.duration * 1e6)
        return None if self.completed_at is None else self.completed_at * 1_000_000


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
        name: What the trace is called, else its root span.
        tenant_id: The tenant it was made for.
        status: Where it stands.
    """

    trace_id: str
    workflow_execution_id: str
    started_at: int
    completed_at: int | None = None
    duration: float | None = None
    span_count: int = 0
    spans: tuple[Span, ...] = ()
    name: str | None = None
    tenant_id: str | None = None
    status: TraceStatus = TraceStatus.OPEN

    def tree(self) -> list[SpanNode]:
        """The roots, with their children below them; every span occurs exactly once.

        Spans whose parent is not in the trace are roots. Where parents form a cycle, the span of it
        that began first is one; of spans with the same id, the first is the parent of the children.
        """
        nodes = [SpanNode(span) for span in self.spans]
        by_id: dict[str, SpanNode] = {}
        for node in nodes:
            by_id.setdefault(node.span.span_id, node)
        parents = [by_id.get(node.span.parent_span_id or "") for node in nodes]
        parent_of = dict(zip(map(id, nodes), parents, strict=True))
        heads = {id(node) for node in nodes if parent_of[id(node)] is None}
        heads.update(_one_of_each_cycle(nodes, parent_of))
        for node in nodes:
            parent = parent_of[id(node)]
            if id(node) not in heads and parent is not None:
                parent.children.append(node)
        return [node for node in nodes if id(node) in heads]

    def critical_path(self) -> list[Span]:
        """The spans that determined how long the trace took, ordered by start.

        Found from the end: in each span, the child that ended last, then the one that ended last
        before that began, and so on (Zhang et al., "CRISP: Critical Path Analysis of Large-Scale
        Microservice Architectures", USENIX ATC 2022). To make the trace faster, make one of these
        faster. A span that is open has not ended before any other.
        """
        path: list[Span] = []
        stack: list[tuple[list[SpanNode], float]] = [(self.tree(), float("inf"))]
        while stack:
            nodes, limit = stack.pop()
            clipped = True  # by their parent's end, which clocks of other machines may overrun
            for node in sorted(nodes, key=lambda node: _end(node.span), reverse=True):
                end = _end(node.span)
                if node.span.begins_ns >= limit or (end > limit and not clipped):
                    continue
                path.append(node.span)
                stack.append((node.children, min(end, limit)))
                limit = node.span.begins_ns
                clipped = False
        return sorted(path, key=lambda span: span.begins_ns)


@dataclass(frozen=True, slots=True, eq=False)
class SpanNode:
    """A span with the spans that it caused.

    Args:
        span: The span.
        children: Its children, ordered by start.
    """

    span: Span
    children: list[SpanNode] = field(default_factory=list)

    def walk(self) -> Iterator[tuple[int, SpanNode]]:
        """This node and everything below it, as (depth, node), parents before their children."""
        stack = [(0, self)]
        while stack:
            depth, node = stack.pop()
            yield depth, node
            stack.extend((depth + 1, child) for child in reversed(node.children))


def _one_of_each_cycle(
    nodes: list[SpanNode], parent_of: dict[int, SpanNode | None]
) -> Iterator[int]:
    settled: set[int] = set()
    order = {id(node): index for index, node in enumerate(nodes)}
    for start in nodes:  # ordered by start
        trail: dict[int, int] = {}
        node: SpanNode | None = start
        while node is not None and id(node) not in settled and id(node) not in trail:
            trail[id(node)] = len(trail)
            node = parent_of[id(node)]
        if node is not None and id(node) in trail:
            cycle = list(trail)[trail[id(node)] :]
            yield min(cycle, key=order.__getitem__)
        settled.update(trail)


def _end(span: Span) -> float:
    ends = span.ends_ns
    return float("inf") if ends is None else ends


class TracePage(list[Trace]):
    """The traces that a query found, a list, and where the next page begins.

    Args:
        traces: The traces, in the order asked for.
        next_cursor: Pass it as `cursor` for what follows; None if there is no more.
    """

    def __init__(self, traces: Iterable[Trace] = (), next_cursor: str | None = None) -> None:
        super().__init__(traces)
        self.next_cursor = next_cursor


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceQuery:
    """What to look for among the traces. All conditions combine with "and".

    Args:
        name: Of the trace, or of its root span.
        status: Where it stands.
        workflow_execution_id: The execution it follows.
        tenant_id: The tenant it was made for.
        min_duration_ms: It took at least so long. An open trace has no duration.
        start_time: Not begun earlier than this, in ms since the epoch.
        end_time: Not begun later than this, in ms since the epoch.
        attributes: Traces with a span whose attributes hold each of these keys with the value
            given: a string, a finite number, a bool or None. Copied.
        limit: At most so many traces (default 100); None for all.
        cursor: Only traces after this page's `next_cursor`.
        order: "desc" (default) for newest first, "asc" for oldest first.

    Raises:
        TraceQueryError: An argument has a wrong value. It is a `ValueError` too.
    """

    name: str | None = None
    status: TraceStatus | str | None = None
    workflow_execution_id: str | None = None
    tenant_id: str | None = None
    min_duration_ms: float | None = None
    start_time: int | None = None
    end_time: int | None = None
    attributes: Mapping[str, str | int | float | bool | None] | None = field(
        default=None, hash=False
    )
    limit: int | None = 100
    cursor: str | None = None
    order: Literal["desc", "asc"] = "desc"

    def __post_init__(self) -> None:
        if self.status is not None:
            try:
                object.__setattr__(self, "status", TraceStatus.parse(self.status))
            except ValueError as error:
                raise TraceQueryError(f"status: {error}") from None
        for name in ("name", "workflow_execution_id", "tenant_id", "cursor"):
            value = getattr(self, name)
            _require(value is None or isinstance(value, str), name, value, "a string")
        for name in ("start_time", "end_time"):
            value = getattr(self, name)
            _require(value is None or is_int64(value), name, value, "an integer in ms")
        wanted = self.min_duration_ms
        _require(wanted is None or is_finite(wanted), "min_duration_ms", wanted, "a finite number")
        _require(
            self.limit is None or (is_int64(self.limit) and self.limit >= 0),
            "limit",
            self.limit,
            "an integer of at least 0, or None for all",
        )
        _require(self.order in ("asc", "desc"), "order", self.order, '"asc" or "desc"')
        if self.attributes is not None:
            object.__setattr__(self, "attributes", _attributes(self.attributes))


def _require(holds: bool, name: str, value: object, wanted: str) -> None:
    if not holds:
        raise TraceQueryError(f"{name} must be {wanted}, got {shown(value)}")


def _attributes(value: object) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TraceQueryError(f"attributes must be a mapping, got {shown(value)}")
    for key, item in value.items():
        _require(isinstance(key, str), "attributes key", key, "a string")
        _require(
            item is None or isinstance(item, (str, bool)) or is_finite(item),
            f"attributes[{shown(key)}]",
            item,
            "a string, a finite number, a bool or None",
        )
    return dict(value)


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
