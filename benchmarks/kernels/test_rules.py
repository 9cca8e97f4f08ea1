"""A table of rules: adding, feeding, and a pass over 10,000 rules on 1,000 series."""

from __future__ import annotations

import struct
from itertools import count
from typing import Any

import pytest

from ax_monitor._native import RuleTable

MINUTE = 28_000_000
SAMPLES = 600
SERIES = 1000


def _block() -> bytes:
    offsets = [i * 60_000 // SAMPLES for i in range(SAMPLES)]
    values = [float(i * 7919 % 1000 + 1) for i in range(SAMPLES)]
    return struct.pack(f"<{SAMPLES}H{SAMPLES}d", *offsets, *values)


def _table(quantiles: bool) -> RuleTable:
    table, block = RuleTable(), _block()
    for series in range(SERIES):
        window = table.add_window(300_000, quantiles)
        table.watch(series, window)
        for aggregation in range(9 if quantiles else 5):
            table.add_rule(window, operator=0, aggregation=aggregation, threshold=1e9)
        table.feed(series, MINUTE, block)
    return table


def test_add_rule(benchmark: Any) -> None:
    table = RuleTable()
    window = table.add_window(60_000)
    benchmark(table.add_rule, window, operator=0, aggregation=0, threshold=1.0, cooldown_ms=1000)


@pytest.mark.parametrize("quantiles", [False, True], ids=["plain", "quantiles"])
def test_feed_600_samples(benchmark: Any, quantiles: bool) -> None:
    table, minutes, block = RuleTable(), count(MINUTE), _block()
    table.watch(1, table.add_window(300_000, quantiles))
    benchmark(lambda: table.feed(1, next(minutes), block))


@pytest.mark.parametrize("quantiles", [False, True], ids=["5,000-plain", "9,000-quantiles"])
def test_evaluate(benchmark: Any, quantiles: bool) -> None:
    table = _table(quantiles)
    assert benchmark(table.evaluate, MINUTE * 60_000 + 59_999, 0) == []
