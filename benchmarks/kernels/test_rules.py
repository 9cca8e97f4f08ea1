"""A pass over the rules on 1,000 series, against one in Python that has the figures already."""

from __future__ import annotations

import struct
from operator import gt

import pytest

from ax_monitor._native import RULE_AGGREGATIONS, RULE_OPERATORS, RuleTable
from benchmarks.conftest import Against

MINUTE = 28_000_000
SAMPLES = 600
SERIES = 1000
NOW = MINUTE * 60_000 + 59_999
NEVER = 1e9


@pytest.mark.parametrize("n", [5, len(RULE_AGGREGATIONS)], ids=["plain", "quantiles too"])
def test_evaluate(against: Against, n: int) -> None:
    """As many rules on each series as there are aggregates (of those without quantiles)."""
    offsets = [i * 60_000 // SAMPLES for i in range(SAMPLES)]
    values = [float(i * 7919 % 1000 + 1) for i in range(SAMPLES)]
    block = struct.pack(f"<{SAMPLES}H{SAMPLES}d", *offsets, *values)
    table, rules = RuleTable(), []
    for series in range(SERIES):
        window = table.add_window(300_000, n > 5)
        table.watch(series, window)
        for aggregation in range(n):
            table.add_rule(
                window,
                operator=RULE_OPERATORS.index("gt"),
                aggregation=aggregation,
                threshold=NEVER,
            )
            rules.append((gt, NEVER, series, aggregation))
        table.feed(series, MINUTE, block)
    figures = [[1.0] * n for _ in range(SERIES)]

    def by_hand() -> list[int]:
        return [
            slot
            for slot, (operator, threshold, series, aggregation) in enumerate(rules)
            if operator(figures[series][aggregation], threshold)
        ]

    assert against("a loop in Python", by_hand, lambda: table.evaluate(NOW, 0)) == []
