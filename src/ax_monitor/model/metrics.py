"""Metric samples, what is computed from them, and the names that are known."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from ax_monitor.model._record import Record

__all__ = [
    "MetricAggregation",
    "MetricType",
    "PerformanceMetric",
    "Series",
    "TimeSeries",
    "TimeSeriesPoint",
    "default_unit",
]


class MetricType(StrEnum):
    """The metrics that a workflow engine usually has. Any other name may be recorded as well."""

    WORKFLOW_EXECUTION_DURATION = "workflow.execution.duration"
    WORKFLOW_EXECUTION_COUNT = "workflow.execution.count"
    WORKFLOW_STEP_DURATION = "workflow.step.duration"
    WORKFLOW_STEP_COUNT = "workflow.step.count"
    WORKFLOW_QUEUE_LENGTH = "workflow.queue.length"
    WORKFLOW_QUEUE_WAIT_TIME = "workflow.queue.wait_time"
    WORKER_POOL_UTILIZATION = "worker.pool.utilization"
    WORKER_POOL_COUNT = "worker.pool.count"
    CACHE_HIT_RATE = "cache.hit_rate"
    CACHE_SIZE = "cache.size"
    DATABASE_QUERY_DURATION = "database.query.duration"
    DATABASE_QUERY_COUNT = "database.query.count"
    API_REQUEST_DURATION = "api.request.duration"
    API_REQUEST_COUNT = "api.request.count"
    QUOTA_USAGE = "quota.usage"
    CPU_USAGE = "cpu.usage"
    MEMORY_USAGE = "memory.usage"
    DISK_USAGE = "disk.usage"


_UNIT_BY_SUFFIX = {
    ".duration": "ms",
    "wait_time": "ms",
    ".count": "count",
    ".length": "count",
    ".rate": "rate",
    "_rate": "rate",
    ".usage": "percent",
    ".utilization": "percent",
    ".size": "bytes",
}


def default_unit(metric_type: str) -> str | None:
    """The unit of a metric that was recorded without one, told by the end of its name.

    >>> default_unit("api.request.duration"), default_unit("llm.tokens")
    ('ms', None)
    """
    for suffix, unit in _UNIT_BY_SUFFIX.items():
        if metric_type.endswith(suffix):
            return unit
    return None


@dataclass(frozen=True, slots=True)
class Series(Record):
    """All samples of a metric that share unit, labels and tenant.

    Args:
        series: Its id. Samples of other programs may have another id for the same content.
        metric_type: Name of the metric.
        unit: Unit of the values; None if unknown.
        labels: Values by name.
        tenant_id: The tenant it belongs to.
    """

    series: int
    metric_type: str
    unit: str | None = None
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    tenant_id: str | None = None


@dataclass(frozen=True, slots=True)
class PerformanceMetric(Record):
    """One sample of a metric.

    Args:
        id: Id of the sample.
        timestamp: When it was taken, in ms since the epoch.
        metric_type: Name of the metric.
        value: The sample, finite, in `unit`.
        unit: Unit of the value; None if unknown.
        labels: Values by name that tell the series of a metric apart.
        tenant_id: The tenant it belongs to.
    """

    id: str
    timestamp: int
    metric_type: str
    value: float
    unit: str | None = None
    labels: dict[str, str] = field(default_factory=dict, hash=False)
    tenant_id: str | None = None


@dataclass(frozen=True, slots=True)
class MetricAggregation(Record):
    """Figures over the samples of a metric in a range of time; there is at least one sample.

    Args:
        metric_type: Name of the metric.
        start_time: First moment of the range, in ms since the epoch, inclusive.
        end_time: Last moment of the range, in ms since the epoch, inclusive.
        count: Number of samples.
        sum: Their sum.
        avg: Their mean.
        min: The smallest.
        max: The largest.
        p50: Median, by nearest rank.
        p95: 95th percentile, by nearest rank.
        p99: 99th percentile, by nearest rank.
        exact: True if the percentiles are samples themselves, False if they are within a relative
            error of 1/129 of them.
    """

    metric_type: str
    start_time: int
    end_time: int
    count: int
    sum: float
    avg: float
    min: float
    max: float
    p50: float
    p95: float
    p99: float
    exact: bool


@dataclass(frozen=True, slots=True)
class TimeSeriesPoint(Record):
    """One bucket of a time series.

    Args:
        timestamp: Start of the bucket, in ms since the epoch.
        value: The samples of the bucket, aggregated.
    """

    timestamp: int
    value: float


@dataclass(frozen=True, slots=True)
class TimeSeries(Record):
    """A metric over time.

    Args:
        metric_type: Name of the metric.
        labels: The labels that the samples were selected by.
        data_points: The buckets, oldest first.
    """

    metric_type: str
    labels: dict[str, str] = field(hash=False)
    data_points: tuple[TimeSeriesPoint, ...]
