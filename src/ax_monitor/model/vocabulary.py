"""The closed vocabularies. Each member is a `str`, equal to its value, and stored as that value."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from ax_monitor.model._check import shown

__all__ = [
    "Aggregation",
    "AlertSeverity",
    "AlertStatus",
    "HealthStatus",
    "LogLevel",
    "NoDataPolicy",
    "Operator",
    "SpanKind",
    "SpanStatus",
    "TraceStatus",
    "Vocabulary",
    "WorkflowStatus",
]


class Vocabulary(StrEnum):
    """Base of the closed vocabularies."""

    @classmethod
    def parse(cls, value: object) -> Self:
        """The member for `value`, which is a member or its plain string.

        >>> SpanStatus.parse("ok")
        <SpanStatus.OK: 'ok'>

        Raises:
            ValueError: `value` is neither; the message names the allowed strings.
        """
        if isinstance(value, str):
            try:
                return cls(value)
            except ValueError:
                pass
        raise ValueError(f"unknown {cls.__name__} {shown(value)}: use one of {', '.join(cls)}")


class LogLevel(Vocabulary):
    """How grave a log record is, ordered `debug < info < warn < error < fatal`.

    `parse` also takes the standard `logging` module's "warning" and "critical". The other side
    of a comparison may be any string that `parse` takes.

    >>> LogLevel.WARN < LogLevel.ERROR, LogLevel.WARN >= "fatal"
    (True, False)
    """

    DEBUG = "debug"
    INFO = "info"
    WARN = "warn"
    ERROR = "error"
    FATAL = "fatal"

    @classmethod
    def parse(cls, value: object) -> Self:
        """As `Vocabulary.parse`, with "warning" for `WARN` and "critical" for `FATAL`.

        >>> LogLevel.parse("critical")
        <LogLevel.FATAL: 'fatal'>
        """
        return super().parse(_LEVEL_ALIASES.get(value, value) if isinstance(value, str) else value)

    @property
    def severity_number(self) -> int:
        """The number of this level in OpenTelemetry's log data model: 5, 9, 13, 17 or 21."""
        return _SEVERITY_NUMBERS[self]

    @classmethod
    def from_severity_number(cls, number: int) -> LogLevel:
        """The level whose OpenTelemetry range holds `number`; the trace range 1-4 is `DEBUG`.

        >>> LogLevel.from_severity_number(18)
        <LogLevel.ERROR: 'error'>

        Raises:
            ValueError: `number` is not in 1-24 (0 means "unspecified" there).
        """
        if isinstance(number, int) and 1 <= number <= 24:
            return tuple(cls)[max(0, number - 5) // 4]  # ranges of four, from 5 on
        raise ValueError(f"severity number {shown(number)} is not in 1-24")

    def __lt__(self, other: str) -> bool:
        return self.severity_number < LogLevel.parse(other).severity_number

    def __le__(self, other: str) -> bool:
        return self.severity_number <= LogLevel.parse(other).severity_number

    def __gt__(self, other: str) -> bool:
        return self.severity_number > LogLevel.parse(other).severity_number

    def __ge__(self, other: str) -> bool:
        return self.severity_number >= LogLevel.parse(other).severity_number


_LEVEL_ALIASES = {"warning": "warn", "critical": "fatal"}
_SEVERITY_NUMBERS = {
    LogLevel.DEBUG: 5,
    LogLevel.INFO: 9,
    LogLevel.WARN: 13,
    LogLevel.ERROR: 17,
    LogLevel.FATAL: 21,
}


class SpanKind(Vocabulary):
    """The role of a span in a call between components (OpenTelemetry's kinds)."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


class SpanStatus(Vocabulary):
    """How a span ended; `UNSET` while it is open, or if nobody said."""

    OK = "ok"
    ERROR = "error"
    UNSET = "unset"


class TraceStatus(Vocabulary):
    """Where a trace stands.

    `ERROR`: completed, and one of its spans failed. `INTERRUPTED`: its process ended before that.
    """

    OPEN = "open"
    OK = "ok"
    ERROR = "error"
    INTERRUPTED = "interrupted"


class AlertSeverity(Vocabulary):
    """How grave an alert is, as its rule says."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    CRITICAL = "critical"


class AlertStatus(Vocabulary):
    """Where an alert stands: active → acknowledged → resolved, or active → resolved."""

    ACTIVE = "active"
    ACKNOWLEDGED = "acknowledged"
    RESOLVED = "resolved"


class Operator(Vocabulary):
    """How an alert condition compares the aggregated value (left) with its threshold (right)."""

    GT = "gt"
    GTE = "gte"
    LT = "lt"
    LTE = "lte"
    EQ = "eq"
    NEQ = "neq"


class Aggregation(Vocabulary):
    """How the samples of a window become one value. `RATE` is per second."""

    AVG = "avg"
    SUM = "sum"
    MIN = "min"
    MAX = "max"
    COUNT = "count"
    P50 = "p50"
    P95 = "p95"
    P99 = "p99"
    RATE = "rate"


class NoDataPolicy(Vocabulary):
    """What a window without samples means to an alert rule.

    `IGNORE`: nothing changes. `ALERT`: the condition is met. `OK`: it is not met.
    """

    IGNORE = "ignore"
    ALERT = "alert"
    OK = "ok"


class HealthStatus(Vocabulary):
    """How a component is: working, working with trouble, or down."""

    HEALTHY = "healthy"
    DEGRADED = "degraded"
    UNHEALTHY = "unhealthy"


class WorkflowStatus(Vocabulary):
    """Where an execution or a step stands. The last three are final for an execution."""

    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"
