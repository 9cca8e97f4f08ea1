"""The table: what the document promises of each operation, our goal, what was measured."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from ax_monitor.bench.harness import percentile_if_known

US: Final = 1_000
MS: Final = 1_000_000
MB: Final = 1_000_000
SHARES: Final = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "p99.9": 0.999}

VERDICT: Final = "met: p99 is within the document's figure; p95 where it says so"


@dataclass(frozen=True, slots=True)
class Goal:
    """What we want: a percentile of at most so many ns; the number is that of DESIGN.md."""

    number: str
    percentile: str
    limit_ns: int

    def __str__(self) -> str:
        size, unit = (MS, "ms") if self.limit_ns >= MS else (US, "µs")
        return f"{self.limit_ns / size:g} {unit} {self.percentile}"


@dataclass(frozen=True, slots=True)
class Operation:
    """One of the operations of the document.

    Args:
        name: What it is called in the table.
        document: The document's figure, in its words.
        limit: The same as a number of ns, or of bytes: the upper end of a range.
        measures: What is called, on what.
        judged_at: The percentile that has to be within the limit; None for bytes.
        goal: Ours, where there is one in absolute terms.
        unit: "ns" or "bytes".
    """

    name: str
    document: str
    limit: int
    measures: str
    judged_at: str | None = "p99"
    goal: Goal | None = None
    unit: str = "ns"


# G9's limits are those of a start and a completion together. G7 and G12 are for a million records.
OPERATIONS: Final = (
    Operation(
        "log call",
        "< 0.5 ms",
        MS // 2,
        "logger.info() with five ids and three metadata keys, 50,000 a second, while they are "
        "written",
        goal=Goal("G3", "p99.9", 20 * US),
    ),
    Operation(
        "flush of 50 logs",
        "~20 ms",
        20 * MS,
        "store.flush() after 50 log calls: until they are committed and can be searched",
    ),
    Operation(
        "full-text search",
        "~15 ms",
        15 * MS,
        "query_logs(search='timeout OR \"rate limit\"'), which every tenth record matches, in "
        "a time range, the newest 50",
        goal=Goal("G7", "p95", 3 * MS),
    ),
    Operation(
        "indexed log query",
        "~10 ms, P95 < 20 ms",
        20 * MS,
        "get_execution_logs() of 100 records",
        judged_at="p95",
        goal=Goal("G8", "p95", 1 * MS),
    ),
    Operation(
        "span creation",
        "< 1 ms",
        1 * MS,
        "start_span() with a parent and three attributes, 50,000 a second, while they are written",
        goal=Goal("G9", "p99.9", 20 * US),
    ),
    Operation(
        "span completion",
        "~2 ms",
        2 * MS,
        "complete_span() of such a span, likewise",
        goal=Goal("G9", "p99.9", 20 * US),
    ),
    Operation(
        "trace of 50 spans",
        "~10 ms",
        10 * MS,
        "get_trace() with 50 spans and 50 events",
        goal=Goal("G10", "p95", 2 * MS),
    ),
    Operation(
        "rule evaluation",
        "< 5 ms",
        5 * MS,
        "evaluate_now() of one rule that is not met, after a new sample",
    ),
    Operation(
        "alert trigger",
        "< 10 ms",
        10 * MS,
        "evaluate_now() of one rule that is met, until its alert is stored",
    ),
    Operation(
        "component check",
        "1–20 ms",
        20 * MS,
        "get_component_health() of each component in turn",
    ),
    Operation(
        "system health",
        "< 50 ms",
        50 * MS,
        "get_system_health(): all eight components",
        goal=Goal("G15", "p50", 20 * MS),
    ),
    Operation(
        "metric record",
        "< 0.1 ms",
        MS // 10,
        "metrics.record() by name with three labels, 50,000 a second, while they are written",
    ),
    Operation(
        "flush of 100",
        "10–20 ms",
        20 * MS,
        "store.flush() after 100 samples: until they are committed",
    ),
    Operation(
        "aggregation",
        "5–10 ms",
        10 * MS,
        "get_aggregation() of all samples of a series, one for each log record, with percentiles",
        goal=Goal("G12", "p50", 2 * MS),
    ),
    Operation(
        "time series",
        "2–5 ms",
        5 * MS,
        "get_time_series() of its last 24 hours, a point for every five minutes",
    ),
    Operation(
        "1M log records",
        "≈ 600 MB",
        600 * MB,
        "the file with its index: what the log records took in it, extrapolated to a million",
        judged_at=None,
        unit="bytes",
    ),
)


@dataclass(frozen=True, slots=True)
class Row:
    """What was measured of an operation.

    Args:
        operation: Which.
        calls: How often it was called.
        percentiles: By name; None if there were too few calls to know.
        size: In bytes, of what has no duration.
    """

    operation: Operation
    calls: int
    percentiles: dict[str, int | None]
    size: int | None = None

    @property
    def met(self) -> bool | None:
        """Whether the document's figure holds; None: too few calls to tell."""
        at = self.operation.judged_at
        judged = self.size if at is None else self.percentiles[at]
        return None if judged is None else judged <= self.operation.limit

    @property
    def goal_met(self) -> bool | None:
        """Whether our goal is met; None: there is none, or too few calls to tell."""
        goal = self.operation.goal
        found = None if goal is None else self.percentiles[goal.percentile]
        return None if found is None or goal is None else found <= goal.limit_ns

    def to_dict(self) -> dict[str, Any]:
        """All of it under stable keys, the unit in the name. Durations are in ns."""
        operation, goal = self.operation, self.operation.goal
        timed = operation.unit == "ns"
        return {
            "operation": operation.name,
            "measures": operation.measures,
            "document": operation.document,
            "document_ns": operation.limit if timed else None,
            "document_bytes": None if timed else operation.limit,
            "judged_at": operation.judged_at,
            "goal": None if goal is None else goal.number,
            "goal_percentile": None if goal is None else goal.percentile,
            "goal_ns": None if goal is None else goal.limit_ns,
            "calls": self.calls,
            "p50_ns": self.percentiles["p50"],
            "p95_ns": self.percentiles["p95"],
            "p99_ns": self.percentiles["p99"],
            "p99_9_ns": self.percentiles["p99.9"],
            "bytes": self.size,
            "met": self.met,
            "goal_met": self.goal_met,
        }


def row_of_times(operation: Operation, taken_ns: list[int]) -> Row:
    """The row of an operation whose calls took so long, ascending."""
    return Row(
        operation,
        len(taken_ns),
        {name: percentile_if_known(taken_ns, share) for name, share in SHARES.items()},
    )


def row_of_size(operation: Operation, size: int) -> Row:
    """The row of what takes room, not time."""
    return Row(operation, 0, dict.fromkeys(SHARES), size)
