"""Ids against uuid.uuid4()."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from ax_monitor._native import new_id, new_span_id, new_trace_id


@pytest.mark.parametrize(
    "make",
    [new_trace_id, new_span_id, new_id, lambda: uuid.uuid4().hex],
    ids=["trace", "span", "time-ordered", "uuid4"],
)
def test_new_id(benchmark: Any, make: Any) -> None:
    benchmark(make)
