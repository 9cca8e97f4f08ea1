"""A sampling decision, against OpenTelemetry's ratio sampler and an empty Python function."""

from __future__ import annotations

import time
from typing import Any

import pytest
from opentelemetry.sdk.trace.sampling import TraceIdRatioBased

from ax_monitor._native import Sampler, new_trace_id


def empty(trace_id: str) -> None:
    """The price of a call."""


@pytest.mark.parametrize(
    "decide",
    [Sampler(0.1).decide, Sampler(0.1, rule="traceidratio").decide, empty],
    ids=["consistent", "traceidratio", "empty"],
)
def test_decide(benchmark: Any, decide: Any) -> None:
    benchmark(decide, new_trace_id())


@pytest.mark.parametrize("limit", [None, 100], ids=["unlimited", "limited"])
def test_decide_at(benchmark: Any, limit: float | None) -> None:
    sampler = Sampler(max_traces_per_second=limit)
    benchmark(sampler.decide_at, new_trace_id(), time.monotonic_ns())


def test_opentelemetry(benchmark: Any) -> None:
    benchmark(TraceIdRatioBased(0.1).should_sample, None, int(new_trace_id(), 16), "name")
