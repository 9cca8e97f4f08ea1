"""A span as a `with` block, against a block that does nothing."""

from __future__ import annotations

import pytest

from ax_monitor._native import RecordRing, SpanScope
from ax_monitor.bench import payload
from benchmarks.conftest import Against
from benchmarks.kernels.test_span import channel_on
from benchmarks.reference import axref


@pytest.mark.parametrize("rate", [1.0, 0.0], ids=["recorded", "not sampled"])
def test_block(against: Against, ring: RecordRing, rate: float) -> None:
    channel = channel_on(ring, rate)

    def ours() -> None:
        with SpanScope(channel, "step", "internal", payload.SPAN_ATTRIBUTES):
            pass

    def empty() -> None:
        with axref.EmptyScope(channel, "step", "internal", payload.SPAN_ATTRIBUTES):
            pass

    with SpanScope(channel, "root"):
        against("empty block", empty, ours)
