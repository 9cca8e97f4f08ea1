"""Distributed tracing: traces, spans, and what happened in them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, MutableMapping
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, TypeVar, overload

from ax_monitor import propagation
from ax_monitor._native import Sampler, SpanScope, TraceChannel, TraceSettings, new_span_id
from ax_monitor.context import current_context
from ax_monitor.errors import TraceQueryError
from ax_monitor.model.traces import Trace, TracePage, TraceQuery, TraceStats
from ax_monitor.model.vocabulary import SpanKind
from ax_monitor.pipeline.plain import plain_metadata, plain_text
from ax_monitor.pipeline.service import Service, overflow_policy
from ax_monitor.pipeline.spans import SpanSimplifier, describe_exception
from ax_monitor.pipeline.store import Store
from ax_monitor.propagation import SpanContext
from ax_monitor.storage import traces
from ax_monitor.wrapping import in_scope

NS_PER_MS: Final = 1_000_000
_REDACT: Final = {None: 0, "default": 1}
_REDACT_ALL: Final = 2
_LISTENING: Final = {  # LISTEN_… in span.pyx
    "trace.started": 1,
    "trace.completed": 2,
    "span.started": 4,
    "span.completed": 8,
    "span.event": 16,
}
F = TypeVar("F", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class TracerLimits:
    """How much a tracer takes at most. What is beyond is counted: see `DistributedTracer.stats`.

    Args:
        attributes: Of a span, and of an event in it (default 128).
        events: Of a span (default 128).
        open: Spans, and traces, that are begun and not completed (default 100,000). Beyond that the
            oldest are given up: spans are written as they are, traces stay open in the database.
        keep_bytes: Memory for the spans of traces that are not sampled but may turn out bad or slow
            (default 16 MiB). Beyond that the traces that have waited longest lose theirs.
    """

    attributes: int = 128
    events: int = 128
    open: int = 100_000
    keep_bytes: int = 16 * 1024 * 1024

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            top = 2**40 if name == "keep_bytes" else 2**31
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= top:
                raise ValueError(f"{name} must be an integer from 1 to {top}, got {value!r}")


@dataclass(frozen=True, slots=True)
class TracerStats:
    """What a tracer in this process did not record as it was told to, and what it holds.

    Args:
        open_traces: Begun and not completed.
        open_spans: The same.
        unknown_ids: Calls for spans or traces that are not open here.
        dropped_attributes: Beyond the limit.
        dropped_events: Beyond the limit.
        abandoned_spans: Given up, because too many were open, and written as they were.
        abandoned_traces: Given up for the same reason.
        kept_traces: Not sampled, but written because they failed or were slow.
        discarded_traces: Not sampled, and completed without either.
        waiting_bytes: Memory of spans that wait for that decision.
        evicted_traces: Traces that lost waiting spans because that memory was full.
        evicted_spans: The spans that they lost.
    """

    open_traces: int
    open_spans: int
    unknown_ids: int
    dropped_attributes: int
    dropped_events: int
    abandoned_spans: int
    abandoned_traces: int
    kept_traces: int
    discarded_traces: int
    waiting_bytes: int
    evicted_traces: int
    evicted_spans: int


class DistributedTracer(Service, TraceChannel):
    """Traces of workflow executions, made of timed spans.

    Recording (`start_trace, complete_trace, start_span, complete_span, add_span_event,
    set_span_attributes, set_span_status`) works by ids; `trace`, `span` and `traced` do the same as
    `with` blocks and decorators. A span is held in memory while it is open and written when it
    completes; a trace exists in the database from its start. Recording calls never raise for
    storage trouble or odd data; an unknown kind or status is a ValueError, an unknown id is
    counted.

    Thread-safety: any thread, any asyncio task, without a lock.
    Cost: about 0.5 µs for a span by ids, three attributes included, 1.5 µs as a `with` block; a
    call for a trace that is not sampled costs an empty call.

    >>> import os, tempfile
    >>> with Store(os.path.join(tempfile.mkdtemp(), "monitor.db")) as store:
    ...     tracer = DistributedTracer(store)
    ...     with tracer.trace("run-7", "order") as order:
    ...         with tracer.span("payment", kind="client", amount=12.5):
    ...             pass
    ...     trace = tracer.get_trace(order.trace_id)
    ...     [(depth, node.span.name) for depth, node in trace.tree()[0].walk()]
    [(0, 'order'), (1, 'payment')]

    Args:
        store: A `Store`, the path of a database, or None for the process's default store.
        sampling_rate: The share of traces that are recorded, 0.0 to 1.0, decided from the trace id,
            alike in every process and service.
        keep_errors: Record a trace that is not sampled too, if one of its spans fails.
        keep_slower_than_ms: The same if it takes at least so long. With either, `start_trace` gives
            every trace an id, and the spans of those not sampled wait in memory.
        max_traces_per_second: Record at most about so many traces (default: no limit).
        overflow: As of `StructuredLogger`.
        limits: See `TracerLimits`.

    Events (`on`): `trace.started` ({trace_id, workflow_execution_id}), `trace.completed`
    ({trace_id, duration}), `span.started` (Span), `span.completed` ({span_id, duration, status}),
    `span.event` ({span_id, name, attributes}). They are those of the store: all its services share
    them.

    Raises:
        StorageError: the database can't be opened.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        store: Store | str | os.PathLike[str] | None = None,
        sampling_rate: float = 1.0,
        *,
        keep_errors: bool = False,
        keep_slower_than_ms: float | None = None,
        max_traces_per_second: float | None = None,
        overflow: str = "block",
        limits: TracerLimits | None = None,
    ) -> None:
        policy = overflow_policy(overflow)
        if keep_slower_than_ms is not None and not 0 <= keep_slower_than_ms < 2**40:
            raise ValueError(f"keep_slower_than_ms must be at least 0, got {keep_slower_than_ms!r}")
        self._sampler = Sampler(sampling_rate, max_traces_per_second=max_traces_per_second)
        limits = limits or TracerLimits()
        self._use_store(store)
        recorder = self._store.recorder
        redact = self._store.options.redact
        settings = TraceSettings(
            plain=plain_metadata,
            text=plain_text,
            simplify=SpanSimplifier(recorder),
            describe=describe_exception,
            publish=self._publish,
            sampler=self._sampler,
            policy=policy,
            redact=_REDACT_ALL if callable(redact) else _REDACT[redact],
            max_attributes=limits.attributes,
            max_events=limits.events,
            max_open=limits.open,
            keep_errors=keep_errors,
            keep_slower_ns=-1
            if keep_slower_than_ms is None
            else int(keep_slower_than_ms * NS_PER_MS),
            keep_bytes=limits.keep_bytes,
        )
        super().__init__(recorder.ring, settings)
        self._trace_settings = settings
        self._store.events.subscribe_changes(self._listeners_changed)
        self._listeners_changed()

    # -- recording by ids ------------------------------------------------------------------------

    def start_trace(self, workflow_execution_id: str, *, tenant_id: str | None = None) -> str:
        """Begin a trace of an execution; its id, or "" if it is not sampled.

        Every later call with "" does nothing. Without a `tenant_id` that of the context is taken.
        """
        if tenant_id is None and (context := current_context()) is not None:
            tenant_id = context.tenant_id
        return self.begin_trace(workflow_execution_id, tenant_id=tenant_id)

    # -- recording by blocks ---------------------------------------------------------------------

    def trace(
        self,
        workflow_execution_id: str | None = None,
        name: str = "trace",
        /,
        *,
        kind: SpanKind | str = "internal",
        parent: SpanContext | None = None,
        tenant_id: str | None = None,
        attributes: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> SpanScope:
        """A trace with its root span, as a `with` block that completes both.

        Args:
            workflow_execution_id: The execution (default: that of the context).
            name: Of the trace and its root span.
            kind: Of the root span.
            parent: What `extract` found: the trace goes on that another process began, and its
                decision about sampling holds.
            tenant_id: The tenant (default: that of the context).
            attributes: Of the root span; or as further keywords.
        """
        return SpanScope(
            self,
            name,
            kind,
            {**attributes, **more} if attributes else more or None,
            new_trace=True,
            execution_id=workflow_execution_id,
            tenant_id=tenant_id,
            parent=parent,
        )

    def span(
        self,
        name: str,
        /,
        *,
        kind: SpanKind | str = "internal",
        attributes: Mapping[str, Any] | None = None,
        **more: Any,
    ) -> SpanScope:
        """A span below the current one, as a `with` block. Without a current one, a new trace."""
        return SpanScope(
            self,
            name,
            kind,
            {**attributes, **more} if attributes else more or None,
        )

    @overload
    def traced(self, function: F, /) -> F: ...
    @overload
    def traced(
        self, name: str | None = None, /, *, kind: SpanKind | str = ..., **attributes: Any
    ) -> Callable[[F], F]: ...
    def traced(
        self,
        name: Any = None,
        /,
        *,
        kind: SpanKind | str = "internal",
        **attributes: Any,
    ) -> Any:
        """Decorator: every call is a span, named as the function unless a name is given.

        For functions, coroutines, generators and asynchronous generators.

        >>> import os, tempfile
        >>> with Store(os.path.join(tempfile.mkdtemp(), "monitor.db")) as store:
        ...     tracer = DistributedTracer(store)
        ...     @tracer.traced
        ...     def double(x):
        ...         return 2 * x
        ...     double(21)
        42
        """
        kind = SpanKind.parse(kind)
        if callable(name):
            return self.traced(kind=kind, **attributes)(name)

        def decorate(function: F) -> F:
            label = name or getattr(function, "__qualname__", None) or plain_text(function)
            return in_scope(
                function, lambda: SpanScope(self, label, kind.value, attributes or None)
            )

        return decorate

    # -- between processes -----------------------------------------------------------------------

    def current_span_context(self) -> SpanContext | None:
        """What another process needs to know of the current span; None outside of any trace."""
        context = current_context()
        if context is None or not context.trace_id:
            return None
        return SpanContext(
            context.trace_id,
            context.span_id or new_span_id(),  # a caller that is not recorded has no span
            sampled=context.sampled,
            tracestate=context.tracestate,
            remote=False,
        )

    def inject(self, headers: MutableMapping[str, str]) -> None:
        """Write the current span into the headers of a request: `traceparent` and `tracestate`."""
        if (context := self.current_span_context()) is not None:
            propagation.inject(context, headers)

    def inject_environ(self, environ: MutableMapping[str, str]) -> None:
        """Write the current span into the environment of a child process: `TRACEPARENT`."""
        if (context := self.current_span_context()) is not None:
            propagation.to_environ(context, environ)

    def extract(self, headers: Mapping[Any, Any] | Iterable[tuple[Any, Any]]) -> SpanContext | None:
        """The calling span in the headers of a request, for `trace(parent=…)`, or None."""
        return propagation.extract(headers)

    def extract_environ(self, environ: Mapping[str, str]) -> SpanContext | None:
        """The span of the parent process in `TRACEPARENT`, for `trace(parent=…)`, or None."""
        return propagation.from_environ(environ)

    # -- sampling --------------------------------------------------------------------------------

    def set_sampling_rate(self, rate: float) -> None:
        """Change the share of traces that are recorded, from the next trace on.

        Raises:
            ValueError: it is not within 0.0 to 1.0.
        """
        self._sampler.rate = rate

    def get_sampling_rate(self) -> float:
        """The share of traces that are recorded."""
        return self._sampler.rate

    # -- queries ---------------------------------------------------------------------------------

    def get_trace(self, trace_id: str) -> Trace | None:
        """The trace with its spans, those still open here among them; None if there is none."""
        # What is open is asked for first: a span that completes meanwhile is then found twice, and
        # not missed.
        open_spans = self.open_spans(_required("trace_id", trace_id))
        trace = self._store.read(traces.get_trace, trace_id)
        return None if trace is None else self._with_open_spans(trace, open_spans)

    def get_traces_by_execution(self, workflow_execution_id: str) -> list[Trace]:
        """The traces of an execution with their spans, oldest first."""
        execution_id = _required("workflow_execution_id", workflow_execution_id)
        open_spans = self.open_spans(execution_id=execution_id)
        return [
            self._with_open_spans(trace, open_spans)
            for trace in self._store.read(traces.get_traces_by_execution, execution_id)
        ]

    def _with_open_spans(self, trace: Trace, open_spans: list[tuple[Any, ...]]) -> Trace:
        completed = {span.span_id for span in trace.spans}
        spans = [traces.open_span(fields) for fields in open_spans]
        still_open = [
            span
            for span in spans
            if span.trace_id == trace.trace_id and span.span_id not in completed
        ]
        if not still_open:
            return trace
        ordered = sorted((*trace.spans, *still_open), key=lambda span: span.begins_ns)
        return replace(trace, spans=tuple(ordered), span_count=trace.span_count + len(still_open))

    def find_traces(self, query: TraceQuery | None = None, /, **filters: Any) -> TracePage:
        """The traces that match, without their spans, newest first unless `order="asc"`.

        Args:
            query: A `TraceQuery`; or give its fields as keywords: `name, status,
                workflow_execution_id, tenant_id, min_duration_ms, start_time, end_time, attributes,
                limit (100; None: all), cursor, order`. All combine with "and".

        Returns:
            A list of `Trace` with `next_cursor`: pass it as `cursor` for the next page.

        Raises:
            TraceQueryError: a filter has a wrong value (it is a `ValueError` too).
        """
        if query is None:
            unknown = sorted(set(filters) - set(TraceQuery.__dataclass_fields__))
            if unknown:
                raise TypeError(
                    f"unknown trace filter {', '.join(unknown)}; there are "
                    f"{', '.join(TraceQuery.__dataclass_fields__)}"
                )
            query = TraceQuery(**filters)
        elif filters:
            raise TypeError("pass either a TraceQuery or its fields, not both")
        return self._store.read(traces.find_traces, query)

    def get_trace_stats(self) -> TraceStats:
        """Figures over all traces in the database."""
        return self._store.read(traces.get_trace_stats)

    def stats(self) -> TracerStats:
        """The counters of this tracer in this process."""
        return TracerStats(
            open_traces=self.n_open_traces,
            open_spans=self.n_open_spans,
            **{
                name: getattr(self, name)
                for name in TracerStats.__dataclass_fields__
                if not name.startswith("open_")
            },
        )

    def cleanup(self, retention_days: float = 7) -> int:
        """Delete traces that ended longer ago, with their spans; how many. In small transactions.

        A trace that never ended counts from its start.
        """
        before = self._first_moment_kept(retention_days)
        return self._store.delete_in_slices(lambda c, n: traces.delete_traces(c, before, n))

    # -- events ---------------------------------------------------------------------------------

    def _listeners_changed(self) -> None:
        events = self._store.events
        self._trace_settings.listening = sum(
            bit for name, bit in _LISTENING.items() if events.listens(name)
        )

    def _publish(self, event: str, payload: Any) -> None:
        if event == "span.started":
            self._store.events.emit_lazily(event, lambda: traces.open_span(payload))
        else:
            self._store.events.emit(event, payload)


def _required(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise TraceQueryError(f"{name} must be a string, got {value!r}")
    return value
