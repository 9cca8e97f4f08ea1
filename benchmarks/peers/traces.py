"""Peers of a span's start and completion, with a parent and three attributes."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ax_monitor.bench import payload
from ax_monitor.bench.operations import PER_MS, Case
from benchmarks.peers.peer import Cases, Peer
from benchmarks.peers.storage import Database, drained


class SlottedSpan:
    """What a span by hand is at least: a slotted object with ids, times, and a copy of attributes."""

    __slots__ = ("attributes", "end", "name", "parent", "span_id", "start", "status", "trace_id")
    _numbers = itertools.count()

    def __init__(
        self, trace_id: str, name: str, parent: str, attributes: dict[str, object]
    ) -> None:
        self.trace_id = trace_id
        self.span_id = f"{next(self._numbers):016x}"
        self.name = name
        self.parent = parent
        self.attributes = dict(attributes)
        self.start = time.time_ns()
        self.status = "unset"

    def complete(self) -> None:
        self.end = time.time_ns()
        self.status = "ok"

    def row(self) -> tuple[Any, ...]:
        """Of the table of `storage`; the attributes are not JSON yet."""
        times = (self.start // 1000, self.end // 1000)
        ids = (self.span_id, self.trace_id, self.parent)
        return (*ids, self.name, *times, self.status, self.attributes, [])


def _cases(start: Callable[[], Any], end: Callable[[Any], object]) -> Cases:
    span: Any = None

    def begin(number: int) -> None:
        nonlocal span
        span = start()

    def complete(number: int) -> None:
        nonlocal span
        if span is not None:
            end(span)
            span = None

    yield Case("span creation", begin, before=complete, per_ms=PER_MS)
    yield Case("span completion", complete, before=begin, per_ms=PER_MS)


def _by_hand(folder: Path, records: int) -> Cases:
    database = Database(folder / "spans.db")
    finished: Callable[[SlottedSpan], None] = drained(
        lambda spans: database.write_spans([span.row() for span in spans])
    ).append

    def end(span: SlottedSpan) -> None:
        span.complete()
        finished(span)

    yield from _cases(
        lambda: SlottedSpan(payload.TRACE_ID, "step", payload.SPAN_ID, payload.SPAN_ATTRIBUTES), end
    )


def _opentelemetry(folder: Path, records: int) -> Cases:
    """A batch processor, and an exporter that does nothing."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import (
        BatchSpanProcessor,
        SpanExporter,
        SpanExportResult,
    )

    class Nowhere(SpanExporter):
        def export(self, spans: object) -> SpanExportResult:
            return SpanExportResult.SUCCESS

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(Nowhere(), max_queue_size=65_536))
    above = trace.SpanContext(
        int(payload.TRACE_ID, 16),
        int(payload.SPAN_ID, 16),
        is_remote=False,
        trace_flags=trace.TraceFlags(1),
    )
    start = partial(
        provider.get_tracer("benchmark").start_span,
        "step",
        context=trace.set_span_in_context(trace.NonRecordingSpan(above)),
        attributes=payload.SPAN_ATTRIBUTES,
    )
    yield from _cases(start, lambda span: span.end())


_DOES = ("span creation", "span completion")
PEERS = (
    Peer("a slotted object in a deque, by hand", _DOES, _by_hand, ("orjson",)),
    Peer("OpenTelemetry span", _DOES, _opentelemetry, ("opentelemetry-sdk",)),
)
