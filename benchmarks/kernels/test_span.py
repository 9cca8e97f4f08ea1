"""Spans on a ring in memory."""

from __future__ import annotations

from typing import Any

from ax_monitor._native import RecordRing, Sampler, SpanScope, TraceChannel, TraceSettings
from ax_monitor.bench import payload

ATTRIBUTES = {"order_id": "A-1004711", "retries": 3, "amount": 12.5}
PARENT_ID = "b7ad6b7169203331"


def _channel(ring: RecordRing, rate: float = 1.0) -> TraceChannel:
    settings = TraceSettings(
        plain=dict,
        text=str,
        simplify=lambda *values: values[:3],
        describe=lambda error: {},
        publish=lambda event, fields: None,
        sampler=Sampler(rate),
    )
    return TraceChannel(ring, settings)


def test_span(benchmark: Any, ring: RecordRing) -> None:
    channel = _channel(ring)

    def start_and_complete() -> None:
        channel.complete_span(
            channel.start_span(
                payload.TRACE_ID, "step", parent_span_id=PARENT_ID, attributes=ATTRIBUTES
            )
        )

    benchmark(start_and_complete)


def test_not_sampled(benchmark: Any, ring: RecordRing) -> None:
    channel = _channel(ring)

    def start_and_complete() -> None:
        channel.complete_span(
            channel.start_span("", "step", parent_span_id=PARENT_ID, attributes=ATTRIBUTES)
        )

    benchmark(start_and_complete)


def test_trace(benchmark: Any, ring: RecordRing) -> None:
    channel = _channel(ring)
    benchmark(lambda: channel.complete_trace(channel.begin_trace("run")))


def test_scope(benchmark: Any, ring: RecordRing) -> None:
    channel = _channel(ring)

    def block() -> None:
        with SpanScope(channel, "step"):
            pass

    with SpanScope(channel, "root"):
        benchmark(block)
