"""The table: the document's lines, our goals, and the verdict."""

from __future__ import annotations

import pytest

from ax_monitor.bench.table import MS, OPERATIONS, Row, row_of_size, row_of_times

BY_NAME = {operation.name: operation for operation in OPERATIONS}

# SPEC §10, line by line.
DOCUMENT = {
    "log call": "< 0.5 ms",
    "flush of 50 logs": "~20 ms",
    "full-text search": "~15 ms",
    "indexed log query": "~10 ms, P95 < 20 ms",
    "span creation": "< 1 ms",
    "span completion": "~2 ms",
    "trace of 50 spans": "~10 ms",
    "rule evaluation": "< 5 ms",
    "alert trigger": "< 10 ms",
    "component check": "1–20 ms",
    "system health": "< 50 ms",
    "metric record": "< 0.1 ms",
    "flush of 100": "10–20 ms",
    "aggregation": "5–10 ms",
    "time series": "2–5 ms",
    "1M log records": "≈ 600 MB",
}


def test_every_line_of_the_document_is_there_with_its_figure() -> None:
    """In its order; the figure in words and the limit as a number say the same."""
    assert {operation.name: operation.document for operation in OPERATIONS} == DOCUMENT
    for operation in OPERATIONS:
        last = operation.document.replace("–", " ").split()[-2]
        assert operation.limit == round(float(last.strip("<~≈")) * 1_000_000)
        in_words = "p95" if "P95" in operation.document else "p99"
        assert operation.judged_at == (in_words if operation.unit == "ns" else None)


def _row(name: str, *counted_ns: tuple[int, int]) -> Row:
    """The row of so many calls that took so long."""
    taken = [ns for count, ns in counted_ns for _ in range(count)]
    return row_of_times(BY_NAME[name], sorted(taken))


@pytest.mark.parametrize(
    ("row", "met", "goal_met"),
    [
        (_row("log call", (9900, 1000), (100, MS)), True, False),  # p99 is the last fast one
        (_row("log call", (9890, 1000), (110, MS)), False, False),
        (_row("log call", (9990, 20_000), (10, MS)), True, True),
        (_row("log call", (9999, 1000)), True, None),  # p99.9 is not known
        (_row("log call", (999, 1000)), None, None),
        (_row("indexed log query", (190, MS), (10, 30 * MS)), True, True),  # by its p95
        (_row("indexed log query", (189, MS), (11, 30 * MS)), False, False),
        (_row("indexed log query", (199, MS)), None, None),
        (_row("component check", (1000, 20 * MS)), True, None),  # the end of a range
        (_row("component check", (1000, 20 * MS + 1)), False, None),
        (row_of_size(BY_NAME["1M log records"], 600_000_000), True, None),
        (row_of_size(BY_NAME["1M log records"], 600_000_001), False, None),
    ],
)
def test_the_verdict(row: Row, met: bool | None, goal_met: bool | None) -> None:
    """By p99, or p95 where the document says so; None where too few calls were made to tell."""
    assert (row.met, row.goal_met) == (met, goal_met)
    assert (row.to_dict()["met"], row.to_dict()["goal_met"]) == (met, goal_met)
