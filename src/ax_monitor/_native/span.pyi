from collections.abc import Callable, Mapping
from typing import Any, final

from typing_extensions import disjoint_base

from ax_monitor._native.ring import RecordRing

@final
class TraceSettings:
    policy: int
    redact: int
    listening: int
    max_attributes: int
    max_events: int
    max_open: int
    keep_errors: bool
    keep_slower_ns: int
    keep_bytes: int
    sampler: Any
    plain: Callable[[Any], dict[str, Any]]
    text: Callable[[Any], str]
    simplify: Any
    describe: Callable[[BaseException], dict[str, Any]]
    publish: Callable[[str, Any], None]
    def __init__(
        self,
        *,
        plain: Callable[[Any], dict[str, Any]],
        text: Callable[[Any], str],
        simplify: Any,
        describe: Callable[[BaseException], dict[str, Any]],
        publish: Callable[[str, Any], None],
        sampler: Any,
        policy: int = 0,
        redact: int = 1,
        max_attributes: int = 128,
        max_events: int = 128,
        max_open: int = 100_000,
        keep_errors: bool = False,
        keep_slower_ns: int = -1,
        keep_bytes: int = ...,
    ) -> None: ...

@final
class OpenTrace: ...

@final
class OpenSpan: ...

@disjoint_base
class TraceChannel:
    waiting_bytes: int
    unknown_ids: int
    abandoned_spans: int
    abandoned_traces: int
    dropped_attributes: int
    dropped_events: int
    evicted_traces: int
    evicted_spans: int
    kept_traces: int
    discarded_traces: int
    def __init__(self, ring: RecordRing, settings: TraceSettings) -> None: ...
    def complete_trace(self, trace_id: str) -> None: ...
    def start_span(
        self,
        trace_id: str,
        name: str,
        kind: str = "internal",
        *,
        parent_span_id: str | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> str: ...
    def complete_span(self, span_id: str, status: str = "ok") -> None: ...
    def set_span_attributes(self, span_id: str, attributes: Mapping[str, Any]) -> None: ...
    def add_span_event(
        self, span_id: str, name: str, attributes: Mapping[str, Any] | None = None
    ) -> None: ...
    def set_span_status(self, span_id: str, status: str) -> None: ...
    def begin_trace(
        self,
        execution_id: object,
        *,
        name: object = None,
        tenant_id: object = None,
    ) -> str: ...
    def open_spans(
        self, trace_id: str | None = None, *, execution_id: str | None = None
    ) -> list[tuple[Any, ...]]: ...
    @property
    def n_open_spans(self) -> int: ...
    @property
    def n_open_traces(self) -> int: ...
