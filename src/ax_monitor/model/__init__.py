"""The records that queries return, and the vocabularies in them.

Records are frozen, slotted dataclasses. A field has the name of its column, times are integer
milliseconds since the Unix epoch (UTC), durations are in milliseconds, and `to_dict()` gives the
record as JSON data.
"""

from ax_monitor.model.alerts import Alert, AlertCondition, AlertRule, AlertTransition, Silence
from ax_monitor.model.health import HealthCheck, ProbeAnswer, SystemHealth
from ax_monitor.model.logs import LogEntry, LogPage, LogQuery
from ax_monitor.model.metrics import (
    MetricAggregation,
    MetricType,
    PerformanceMetric,
    Series,
    TimeSeries,
    TimeSeriesPoint,
    default_unit,
)
from ax_monitor.model.traces import (
    Span,
    SpanEvent,
    SpanNode,
    Trace,
    TracePage,
    TraceQuery,
    TraceStats,
)
from ax_monitor.model.vocabulary import (
    Aggregation,
    AlertSeverity,
    AlertStatus,
    HealthStatus,
    LogLevel,
    NoDataPolicy,
    Operator,
    SpanKind,
    SpanStatus,
    TraceStatus,
    WorkflowStatus,
)
from ax_monitor.model.workflows import (
    WorkflowExecution,
    WorkflowStats,
    WorkflowStepAttempt,
    WorkflowStepExecution,
)

__all__ = [
    "Aggregation",
    "Alert",
    "AlertCondition",
    "AlertRule",
    "AlertSeverity",
    "AlertStatus",
    "AlertTransition",
    "HealthCheck",
    "HealthStatus",
    "LogEntry",
    "LogLevel",
    "LogPage",
    "LogQuery",
    "MetricAggregation",
    "MetricType",
    "NoDataPolicy",
    "Operator",
    "PerformanceMetric",
    "ProbeAnswer",
    "Series",
    "Silence",
    "Span",
    "SpanEvent",
    "SpanKind",
    "SpanNode",
    "SpanStatus",
    "SystemHealth",
    "TimeSeries",
    "TimeSeriesPoint",
    "Trace",
    "TracePage",
    "TraceQuery",
    "TraceStats",
    "TraceStatus",
    "WorkflowExecution",
    "WorkflowStats",
    "WorkflowStatus",
    "WorkflowStepAttempt",
    "WorkflowStepExecution",
    "default_unit",
]
