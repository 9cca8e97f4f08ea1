"""Observability for high-throughput Python engines: a flight recorder with a database behind it."""

import importlib
from typing import TYPE_CHECKING, Any

from ax_monitor._version import __version__ as __version__

if TYPE_CHECKING:
    from ax_monitor._native import (
        RecordContext,
    )
    from ax_monitor.alerting.backtest import (
        Backtest,
        Firing,
    )
    from ax_monitor.alerting.rules_file import (
        RulesLoaded,
    )
    from ax_monitor.checks.thresholds import (
        HealthThresholds,
    )
    from ax_monitor.config import (
        StoreOptions,
    )
    from ax_monitor.context import (
        carry_context,
        current_context,
        use_context,
    )
    from ax_monitor.errors import (
        AlertRuleError,
        LogQueryError,
        MonitorError,
        QueryError,
        RulesFileError,
        SchemaVersionError,
        SearchSyntaxError,
        SearchTimeout,
        StorageError,
        TraceQueryError,
    )
    from ax_monitor.model.alerts import Alert, AlertCondition, AlertRule, AlertTransition, Silence
    from ax_monitor.model.costs import (
        Budget,
        BudgetStatus,
        CostProjection,
        CostSummary,
        DailyCost,
    )
    from ax_monitor.model.health import HealthCheck, ProbeAnswer, SystemHealth
    from ax_monitor.model.logs import LogEntry, LogPage, LogQuery
    from ax_monitor.model.metrics import (
        MetricAggregation,
        MetricType,
        PerformanceMetric,
        TimeSeries,
        TimeSeriesPoint,
    )
    from ax_monitor.model.retention import (
        RetentionReport,
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
    from ax_monitor.monitor import (
        Monitor,
        configure,
        default_monitor,
        open,
    )
    from ax_monitor.pipeline.stats import (
        RecorderStats,
    )
    from ax_monitor.pipeline.store import (
        Store,
    )
    from ax_monitor.propagation import (
        SpanContext,
    )
    from ax_monitor.services.alerting import (
        AlertingService,
    )
    from ax_monitor.services.costs import (
        CostService,
    )
    from ax_monitor.services.health import (
        HealthCheckService,
    )
    from ax_monitor.services.logger import (
        StructuredLogger,
    )
    from ax_monitor.services.metrics import (
        MetricsCollector,
    )
    from ax_monitor.services.retention import (
        RetentionService,
    )
    from ax_monitor.services.system_metrics import (
        SystemSampler,
    )
    from ax_monitor.services.tracer import (
        DistributedTracer,
    )
    from ax_monitor.services.workflows import (
        WorkflowMonitor,
    )
    from ax_monitor.storage.search import (
        search_text,
    )

    alerts: AlertingService
    costs: CostService
    health: HealthCheckService
    logger: StructuredLogger
    metrics: MetricsCollector
    retention: RetentionService
    tracer: DistributedTracer
    workflows: WorkflowMonitor

# The services of the default monitor. Never kept: `configure` may make another one the default.
_OF_DEFAULT = frozenset(
    ("alerts", "costs", "health", "logger", "metrics", "retention", "tracer", "workflows")
)
# Where the names are. Each is imported when it is first asked for: a program that imports the
# package, and a command that needs little of it, does not wait for the rest.
_HOMES = {
    "ax_monitor._native": ("RecordContext",),
    "ax_monitor.alerting.backtest": (
        "Backtest",
        "Firing",
    ),
    "ax_monitor.alerting.rules_file": ("RulesLoaded",),
    "ax_monitor.checks.thresholds": ("HealthThresholds",),
    "ax_monitor.config": ("StoreOptions",),
    "ax_monitor.context": (
        "carry_context",
        "current_context",
        "use_context",
    ),
    "ax_monitor.errors": (
        "AlertRuleError",
        "LogQueryError",
        "MonitorError",
        "QueryError",
        "RulesFileError",
        "SchemaVersionError",
        "SearchSyntaxError",
        "SearchTimeout",
        "StorageError",
        "TraceQueryError",
    ),
    "ax_monitor.model.alerts": (
        "Alert",
        "AlertCondition",
        "AlertRule",
        "AlertTransition",
        "Silence",
    ),
    "ax_monitor.model.health": (
        "HealthCheck",
        "ProbeAnswer",
        "SystemHealth",
    ),
    "ax_monitor.model.logs": (
        "LogEntry",
        "LogPage",
        "LogQuery",
    ),
    "ax_monitor.model.metrics": (
        "MetricAggregation",
        "MetricType",
        "PerformanceMetric",
        "TimeSeries",
        "TimeSeriesPoint",
    ),
    "ax_monitor.model.traces": (
        "Span",
        "SpanEvent",
        "SpanNode",
        "Trace",
        "TracePage",
        "TraceQuery",
        "TraceStats",
    ),
    "ax_monitor.model.vocabulary": (
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
        "WorkflowStatus",
    ),
    "ax_monitor.model.workflows": (
        "WorkflowExecution",
        "WorkflowStats",
        "WorkflowStepAttempt",
        "WorkflowStepExecution",
    ),
    "ax_monitor.model.costs": (
        "Budget",
        "BudgetStatus",
        "CostProjection",
        "CostSummary",
        "DailyCost",
    ),
    "ax_monitor.model.retention": ("RetentionReport",),
    "ax_monitor.monitor": (
        "Monitor",
        "configure",
        "default_monitor",
        "open",
    ),
    "ax_monitor.pipeline.stats": ("RecorderStats",),
    "ax_monitor.pipeline.store": ("Store",),
    "ax_monitor.propagation": ("SpanContext",),
    "ax_monitor.services.alerting": ("AlertingService",),
    "ax_monitor.services.costs": ("CostService",),
    "ax_monitor.services.health": ("HealthCheckService",),
    "ax_monitor.services.logger": ("StructuredLogger",),
    "ax_monitor.services.metrics": ("MetricsCollector",),
    "ax_monitor.services.retention": ("RetentionService",),
    "ax_monitor.services.system_metrics": ("SystemSampler",),
    "ax_monitor.services.tracer": ("DistributedTracer",),
    "ax_monitor.services.workflows": ("WorkflowMonitor",),
    "ax_monitor.storage.search": ("search_text",),
}
_HOME_OF = {name: module for module, names in _HOMES.items() for name in names}


def __getattr__(name: str) -> Any:
    """A service of the default monitor; or a name of `_HOMES`, from then on an ordinary one."""
    if name in _OF_DEFAULT:
        find = globals().get("default_monitor") or __getattr__("default_monitor")
        return getattr(find(), name)
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOME_OF[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


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
    "Budget",
    "BudgetStatus",
    "CostProjection",
    "CostService",
    "CostSummary",
    "DailyCost",
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
    "QueryError",
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
