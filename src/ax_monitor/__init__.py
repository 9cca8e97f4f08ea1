"""Observability for high-throughput Python engines: a flight recorder with a database behind it."""

import importlib
from typing import TYPE_CHECKING, Any

from ax_monitor._native import RecordContext
from ax_monitor._version import __version__ as __version__
from ax_monitor.config import StoreOptions
from ax_monitor.context import carry_context, current_context, use_context
from ax_monitor.errors import (
    AlertRuleError,
    LogQueryError,
    MonitorError,
    RulesFileError,
    SchemaVersionError,
    SearchSyntaxError,
    SearchTimeout,
    StorageError,
    TraceQueryError,
)
from ax_monitor.model import (
    Aggregation,
    Alert,
    AlertCondition,
    AlertRule,
    AlertSeverity,
    AlertStatus,
    AlertTransition,
    HealthCheck,
    HealthStatus,
    LogEntry,
    LogLevel,
    LogPage,
    LogQuery,
    MetricAggregation,
    MetricType,
    NoDataPolicy,
    Operator,
    PerformanceMetric,
    ProbeAnswer,
    Silence,
    Span,
    SpanEvent,
    SpanKind,
    SpanNode,
    SpanStatus,
    SystemHealth,
    TimeSeries,
    TimeSeriesPoint,
    Trace,
    TracePage,
    TraceQuery,
    TraceStats,
    TraceStatus,
    WorkflowExecution,
    WorkflowStats,
    WorkflowStatus,
    WorkflowStepAttempt,
    WorkflowStepExecution,
)
from ax_monitor.monitor import Monitor, configure, default_monitor, open
from ax_monitor.pipeline.stats import RecorderStats
from ax_monitor.pipeline.store import Store
from ax_monitor.propagation import SpanContext
from ax_monitor.services.logger import StructuredLogger
from ax_monitor.services.metrics import MetricsCollector
from ax_monitor.services.tracer import DistributedTracer
from ax_monitor.storage.search import search_text

if TYPE_CHECKING:
    from ax_monitor.alerting.backtest import Backtest, Firing
    from ax_monitor.alerting.rules_file import RulesLoaded
    from ax_monitor.checks.thresholds import HealthThresholds
    from ax_monitor.model.retention import RetentionReport
    from ax_monitor.services.alerting import AlertingService
    from ax_monitor.services.health import HealthCheckService
    from ax_monitor.services.retention import RetentionService
    from ax_monitor.services.system_metrics import SystemSampler
    from ax_monitor.services.workflows import WorkflowMonitor

# Half of the package, which a process that only records never needs: imported when first asked for.
_LATER = {
    "AlertingService": "ax_monitor.services.alerting",
    "Backtest": "ax_monitor.alerting.backtest",
    "Firing": "ax_monitor.alerting.backtest",
    "HealthCheckService": "ax_monitor.services.health",
    "HealthThresholds": "ax_monitor.checks.thresholds",
    "RetentionReport": "ax_monitor.model.retention",
    "RetentionService": "ax_monitor.services.retention",
    "RulesLoaded": "ax_monitor.alerting.rules_file",
    "SystemSampler": "ax_monitor.services.system_metrics",
    "WorkflowMonitor": "ax_monitor.services.workflows",
}


# Those of the default monitor. Never kept: `configure` may make another one the default.
_OF_DEFAULT = frozenset(
    {"alerts", "costs", "health", "logger", "metrics", "retention", "tracer", "workflows"}
)


def __getattr__(name: str) -> Any:
    """A service of the default monitor; or a name of `_LATER`, from then on an ordinary one."""
    if name in _OF_DEFAULT:
        return getattr(default_monitor(), name)
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_LATER[name]), name)
    globals()[name] = value
    return value


__all__ = [
    "Aggregation",
    "Alert",
    "AlertCondition",
    "AlertRule",
    "AlertRuleError",
    "AlertSeverity",
    "AlertStatus",
    "AlertTransition",
    "AlertingService",
    "Backtest",
    "DistributedTracer",
    "Firing",
    "HealthCheck",
    "HealthCheckService",
    "HealthStatus",
    "HealthThresholds",
    "LogEntry",
    "LogLevel",
    "LogPage",
    "LogQuery",
    "LogQueryError",
    "MetricAggregation",
    "MetricType",
    "MetricsCollector",
    "Monitor",
    "MonitorError",
    "NoDataPolicy",
    "Operator",
    "PerformanceMetric",
    "ProbeAnswer",
    "RecordContext",
    "RecorderStats",
    "RetentionReport",
    "RetentionService",
    "RulesFileError",
    "RulesLoaded",
    "SchemaVersionError",
    "SearchSyntaxError",
    "SearchTimeout",
    "Silence",
    "Span",
    "SpanContext",
    "SpanEvent",
    "SpanKind",
    "SpanNode",
    "SpanStatus",
    "StorageError",
    "Store",
    "StoreOptions",
    "StructuredLogger",
    "SystemHealth",
    "SystemSampler",
    "TimeSeries",
    "TimeSeriesPoint",
    "Trace",
    "TracePage",
    "TraceQuery",
    "TraceQueryError",
    "TraceStats",
    "TraceStatus",
    "WorkflowExecution",
    "WorkflowMonitor",
    "WorkflowStats",
    "WorkflowStatus",
    "WorkflowStepAttempt",
    "WorkflowStepExecution",
    "carry_context",
    "configure",
    "current_context",
    "default_monitor",
    "open",
    "search_text",
    "use_context",
]
