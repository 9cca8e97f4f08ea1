"""Ids against uuid.uuid4()."""

from __future__ import annotations

import uuid
from collections.abc import Callable

import pytest

from ax_monitor._native import new_id, new_span_id, new_trace_id, record_id
from benchmarks.conftest import Against


@pytest.mark.parametrize(
    "make", [new_trace_id, new_span_id, new_id], ids=["trace", "span", "time ordered"]
)
def test_new(against: Against, make: Callable[[], str]) -> None:
    against("uuid4().hex", lambda: uuid.uuid4().hex, make)


def test_of_record(against: Against) -> None:
    def by_hand(ms: int, seq: int, salt: int) -> str:
        low = (seq & 0x3FFF) << 34 | salt
        return str(
            uuid.UUID(int=ms << 80 | 7 << 76 | (seq >> 28 & 0xFFF) << 64
                      | 2 << 62 | (seq >> 14 & 0x3FFF) << 48 | low)
        )  # fmt: skip

    numbers = (1_700_000_000_000, 123_456_789, 987_654_321)
    assert against("str(uuid.UUID)", by_hand, record_id, numbers) == by_hand(*numbers)
