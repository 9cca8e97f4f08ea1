"""The table of rules: adding a rule, and feeding a window with blocks and samples."""

from __future__ import annotations

import struct
from collections import deque
from itertools import count

import pytest

from ax_monitor._native import RuleTable
from benchmarks.conftest import Against
from benchmarks.reference import axref

MINUTE = 28_000_000
SAMPLES = 600
OFFSETS = [i * 60_000 // SAMPLES for i in range(SAMPLES)]
VALUES = [float(i * 7919 % 1000 + 1) for i in range(SAMPLES)]
BLOCK = struct.pack(f"<{SAMPLES}H{SAMPLES}d", *OFFSETS, *VALUES)


def test_add_rule(against: Against) -> None:
    """With its end: a table that only grows would be another one at every call."""
    table = RuleTable()
    window, named = table.add_window(60_000), {"operator": 0, "aggregation": 0, "threshold": 1.0}
    against(
        "empty call",
        axref.Empty().add_rule,
        lambda window, **rule: table.remove_rule(table.add_rule(window, **rule)),
        (window,),
        named,
    )


@pytest.mark.parametrize("quantiles", [False, True], ids=["plain", "quantiles"])
def test_feed_600_samples(against: Against, quantiles: bool) -> None:
    """A block each minute into a window of five minutes."""
    table, minutes, their_minutes = RuleTable(), count(MINUTE), count(MINUTE)
    table.watch(1, table.add_window(300_000, quantiles))
    window: deque[tuple[int, float]] = deque()

    def by_hand() -> None:
        begin_ms = next(their_minutes) * 60_000
        numbers = struct.unpack(f"<{SAMPLES}H{SAMPLES}d", BLOCK)
        for offset, value in zip(numbers[:SAMPLES], numbers[SAMPLES:], strict=True):
            window.append((begin_ms + offset, value))
        while window[0][0] < begin_ms - 240_000:
            window.popleft()

    against("a deque", by_hand, lambda: table.feed(1, next(minutes), BLOCK))


def test_add_sample(against: Against) -> None:
    table = RuleTable()
    table.watch(1, table.add_window(300_000))
    against("empty call", axref.Empty().add_sample, table.add, (1, MINUTE * 60_000, 12.5))
