"""Spans on a ring in memory, against empty methods that are called alike."""

from __future__ import annotations

from typing import Any

import pytest

from ax_monitor._native import RecordRing, Sampler, TraceChannel, TraceSettings
from ax_monitor.bench import payload
from benchmarks.conftest import Against
from benchmarks.reference import axref

STEP: dict[str, Any] = {
    "parent_span_id": payload.SPAN_ID,
    "attributes": payload.SPAN_ATTRIBUTES,
}


def channel_on(ring: RecordRing, rate: float = 1.0) -> TraceChannel:
    """A channel that samples this share of traces."""
    settings = TraceSettings(
        plain=dict,
        text=str,
        simplify=lambda *values: values[:3],
        describe=lambda error: {},
        publish=lambda event, fields: None,
        sampler=Sampler(rate),
    )
    return TraceChannel(ring, settings)


@pytest.mark.parametrize("trace_id", [payload.TRACE_ID, ""], ids=["recorded", "not sampled"])
def test_start_and_complete(against: Against, ring: RecordRing, trace_id: str) -> None:
    channel, empty = channel_on(ring), axref.Empty()
    against(
        "empty calls",
        lambda: empty.complete_span(empty.start_span(trace_id, "step", **STEP)),
        lambda: channel.complete_span(channel.start_span(trace_id, "step", **STEP)),
    )


def test_event(against: Against, ring: RecordRing) -> None:
    """With its span: a span holds so many events and no more."""
    channel, empty = channel_on(ring), axref.Empty()

    def with_event(spans: Any) -> None:
        span_id = spans.start_span(payload.TRACE_ID, "step", **STEP)
        spans.add_span_event(span_id, "progress", payload.SPAN_ATTRIBUTES)
        spans.complete_span(span_id)

    against("empty calls", lambda: with_event(empty), lambda: with_event(channel))


def test_trace(against: Against, ring: RecordRing) -> None:
    channel, empty = channel_on(ring), axref.Empty()
    against(
        "empty calls",
        lambda: empty.complete_trace(empty.begin_trace("run")),
        lambda: channel.complete_trace(channel.begin_trace("run")),
    )
