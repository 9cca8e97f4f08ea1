"""A sampling decision, against an empty method and OpenTelemetry's ratio sampler."""

from __future__ import annotations

import time

import pytest

from ax_monitor._native import Sampler, new_trace_id
from benchmarks.conftest import Against
from benchmarks.reference import axref


def test_decide(against: Against) -> None:
    against("empty call", axref.Empty().decide, Sampler(0.1).decide, (new_trace_id(),))


@pytest.mark.parametrize("limit", [None, 100], ids=["unlimited", "limited"])
def test_decide_at(against: Against, limit: float | None) -> None:
    decide = Sampler(max_traces_per_second=limit).decide_at
    now = (new_trace_id(), time.monotonic_ns())
    against("empty call", axref.Empty().decide_at, decide, now)


def test_traceidratio(against: Against) -> None:
    sampling = pytest.importorskip("opentelemetry.sdk.trace.sampling", reason="not installed")
    theirs, trace_id = sampling.TraceIdRatioBased(0.1).should_sample, new_trace_id()
    number, ours = int(trace_id, 16), Sampler(0.1, rule="traceidratio").decide
    against("OpenTelemetry", lambda: theirs(None, number, "name"), lambda: ours(trace_id))
