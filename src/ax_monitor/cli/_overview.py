"""How an engine is, as far as another process can tell.

Each question has an answer of its own: one that can't be answered (the file is from an older
ax-monitor, or busy) says so, and the others go on.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final, TypeVar

from ax_monitor.checks.outcome import worst
from ax_monitor.checks.thresholds import HealthThresholds
from ax_monitor.errors import StorageError
from ax_monitor.model.health import HealthCheck
from ax_monitor.model.metrics import MetricAggregation
from ax_monitor.model.vocabulary import Aggregation, AlertSeverity, HealthStatus
from ax_monitor.pipeline.observation import RingFiles, SeenRecorder
from ax_monitor.pipeline.store import Store
from ax_monitor.services.alerting import AlertingService
from ax_monitor.services.health import HealthCheckService
from ax_monitor.storage import health as stored
from ax_monitor.storage import metrics
from ax_monitor.storage.workflows import get_workflow_stats

HOUR_MS: Final = 3_600_000
MINUTE_MS: Final = 60_000
UNKNOWN: Final = "unknown"
MEASURED: Final = ("database", "disk", "memory", "worker_pool", "queue")
"""Components that can be measured from any process on the machine."""
REGISTERED: Final = ("cache", "providers")
"""Components that only the engine knows."""
_OF_THIS_PROCESS: Final = (
    "current",
    "process_bytes",
    "process_usage_percent",
    "read_only",
    "usable_cpu_count",
    "writable",
)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Component:
    """How one component is.

    Args:
        name: Which.
        status: A `HealthStatus`, or "unknown".
        message: Why.
        metadata: What was measured.
        response_time: How long that took, in ms.
    """

    name: str
    status: str
    message: str
    metadata: Mapping[str, Any] | None = None
    response_time: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """Everything at one moment. What can't be told is None; `problems` says why.

    Args:
        database: The path of the file.
        timestamp: When, in ms since the epoch.
        overall: The worst status of the components that can be told.
        components: They, and those that can't be told from here.
        recorders: Who records into the file, or has left something behind.
        uptime_ms: How long the oldest live recorder has been open; None: no engine is running.
        written_at: When any recorder last wrote to the file, in ms since the epoch.
        file_bytes: Size of the database.
        wal_bytes: Size of its write-ahead log.
        running: Executions that run.
        executions: Executions that ended in the last hour …
        completed: … and how many of them completed.
        success_rate: Percentage of these; None if none ended.
        all_executions: How many executions are stored.
        latency_p95_ms: 95th percentile of how long they took, in the last hour.
        latency_exact: Whether it is one of them, or near one.
        active_alerts: By severity.
        log_errors: Log entries at error or above in the last hour.
        executions_by_minute: Of the last hour, oldest first: 60 of them.
        errors_by_minute: The same of log entries at error or above.
        problems: What could not be asked, and why.
    """

    database: str
    timestamp: int
    overall: HealthStatus
    components: Sequence[Component]
    recorders: Sequence[SeenRecorder]
    uptime_ms: int | None
    written_at: int | None
    file_bytes: int
    wal_bytes: int
    running: int | None
    executions: int | None
    completed: int | None
    success_rate: float | None
    all_executions: int | None
    latency_p95_ms: float | None
    latency_exact: bool
    active_alerts: Mapping[str, int] | None
    log_errors: int | None
    executions_by_minute: Sequence[int]
    errors_by_minute: Sequence[int]
    problems: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """As JSON data."""
        return asdict(self)


class Observer:
    """Asks, again and again.

    Args:
        store: The database, read-only.
        ring_dir: Where the engine keeps its rings, if not beside it.
    """

    def __init__(self, store: Store, ring_dir: str | None = None) -> None:
        self._store = store
        self._ring_dir = ring_dir
        self._health = HealthCheckService(store)
        self._alerting = AlertingService(store)
        self._thresholds = HealthThresholds()
        self._problems: dict[str, str] = {}
        self._written_at: int | None = None

    def look(self) -> Overview:
        """Everything, now."""
        self._problems = {}
        self._written_at = None
        now_ms = self._store.clock.time_ms()
        recorders = self._ask("recorders", self._recorders)
        components = [
            *self._measured(),
            self._recording(recorders, now_ms),
            *(
                Component(name, UNKNOWN, "registered in the engine: not visible from here")
                for name in REGISTERED
            ),
        ]
        live = [each.opened_at for each in recorders or () if each.is_live]
        stats = self._ask("executions", lambda: self._store.read(get_workflow_stats))
        ended = self._figures("workflow.execution.count", now_ms)
        completed = self._figures("workflow.execution.count", now_ms, status="completed")
        latency = self._figures("workflow.execution.duration", now_ms)
        errors = self._ask("log errors", lambda: self._errors(now_ms))
        executions = 0 if ended is None else round(ended.sum)
        well = 0 if completed is None else round(completed.sum)
        return Overview(
            database=self._store.path,
            timestamp=now_ms,
            overall=worst(
                HealthStatus(each.status) for each in components if each.status != UNKNOWN
            ),
            components=components,
            recorders=recorders or [],
            uptime_ms=max(0, now_ms - min(live)) if live else None,
            written_at=self._written_at,
            file_bytes=_size(self._store.path),
            wal_bytes=_size(f"{self._store.path}-wal"),
            running=None if stats is None else stats.running,
            executions=None if "metrics" in self._problems else executions,
            completed=None if "metrics" in self._problems else well,
            success_rate=100.0 * well / executions if executions else None,
            all_executions=None if stats is None else stats.total,
            latency_p95_ms=None if latency is None else latency.p95,
            latency_exact=latency is None or latency.exact,
            active_alerts=self._ask("alerts", self._alerts),
            log_errors=None if errors is None else sum(errors.values()),
            executions_by_minute=_by_minute(self._executions(now_ms), now_ms),
            errors_by_minute=_by_minute(errors or {}, now_ms),
            problems=self._problems,
        )

    def _ask(self, what: str, question: Callable[[], T]) -> T | None:
        try:
            return question()
        except StorageError as error:
            self._problems[what] = str(error)
            return None

    # -- components -------------------------------------------------------------------------------

    def _measured(self) -> list[Component]:
        found = {each.component: each for each in self._health.sync.get_system_health().components}
        return [_component(found[name]) for name in MEASURED]

    def _recorders(self) -> list[SeenRecorder]:
        before = self._store.peek(stored.recorders)
        rings = RingFiles(self._store.path, self._ring_dir, before)
        after = self._store.peek(stored.recorders)
        self._written_at = max((row.updated_at for row in after.values()), default=None)
        return rings.compared(after)

    def _recording(self, recorders: Sequence[SeenRecorder] | None, now_ms: int) -> Component:
        """Does an engine run, and does it write what it records?"""
        if recorders is None:
            return Component("recorder", UNKNOWN, self._problems["recorders"])
        live = [each for each in recorders if each.is_live]
        left = sum(each.waiting for each in recorders if each.is_live is False)
        waiting = sum(each.waiting for each in live)
        lag_ms = max((_lag(each, now_ms) for each in live), default=0)
        metadata = {
            "live_count": len(live),
            "pending_count": waiting,
            "lag_ms": lag_ms,
            "left_behind_count": left,
        }
        message, status = _counted(len(live), "recorder"), HealthStatus.HEALTHY
        if any(each.is_live is None for each in recorders):
            return Component(
                "recorder", UNKNOWN, "its ring belongs to another user: not visible from here"
            )
        if not live:
            message, status = "no engine is running: nothing is recorded", HealthStatus.DEGRADED
        elif waiting:
            message += f", {_counted(waiting, 'record')} on the way to the database"
        if left:
            status = HealthStatus.DEGRADED
            message += (
                f"; {_counted(left, 'record')} of a process that died "
                f"{'waits' if left == 1 else 'wait'} for the engine's next start"
            )
        if lag_ms > self._thresholds.lag_degraded_ms:
            is_long = lag_ms > self._thresholds.lag_unhealthy_ms
            status = HealthStatus.UNHEALTHY if is_long else HealthStatus.DEGRADED
            message += f"; they have been waiting for {lag_ms // 1000} s"
        return Component("recorder", status.value, message, metadata)

    # -- figures ----------------------------------------------------------------------------------

    def _figures(self, metric_type: str, now_ms: int, **labels: str) -> MetricAggregation | None:
        return self._ask(
            "metrics",
            lambda: self._store.read(
                metrics.get_aggregation,
                metric_type,
                now_ms - HOUR_MS,
                now_ms,
                labels=labels or None,
            ),
        )

    def _executions(self, now_ms: int) -> dict[int, int]:
        found = self._ask(
            "metrics",
            lambda: self._store.read(
                metrics.get_time_series,
                "workflow.execution.count",
                now_ms - HOUR_MS,
                now_ms,
                MINUTE_MS,
                Aggregation.SUM,
            ),
        )
        return {} if found is None else {p.timestamp: round(p.value) for p in found.data_points}

    def _errors(self, now_ms: int) -> dict[int, int]:
        return self._store.peek(
            lambda connection: stored.count_errors(connection, now_ms - HOUR_MS, now_ms, MINUTE_MS)
        )

    def _alerts(self) -> dict[str, int]:
        return {
            severity.value: self._alerting.get_active_alert_count(severity)
            for severity in AlertSeverity
        }


def _component(check: HealthCheck) -> Component:
    """A check that was made here, without what it says of this process instead of the engine."""
    metadata = {
        name: value
        for name, value in (check.metadata or {}).items()
        if name not in _OF_THIS_PROCESS
    }
    message = check.message or ""
    if check.status is HealthStatus.HEALTHY and check.component == "database":
        message = (
            f"a query takes {metadata['query_ms']:.1f} ms, {metadata['journal_mode']} mode; "
            "whether it can be written is not tried from here"
        )
    elif check.component == "worker_pool" and "usage_percent" in metadata:
        message = f"{metadata['usage_percent']:.0f} % of the CPUs is used"
    return Component(
        check.component, check.status.value, message, metadata or None, check.response_time
    )


def _lag(recorder: SeenRecorder, now_ms: int) -> int:
    """How long something has been waiting at least.

    Neither is sure by itself: a record may carry an older time, and a recorder may have been idle.
    """
    if not recorder.waiting or recorder.oldest_at is None:
        return 0
    since = max(recorder.oldest_at, recorder.written_at or recorder.opened_at)
    return max(0, now_ms - since)


def _by_minute(counts: Mapping[int, int], now_ms: int) -> list[int]:
    last = now_ms // MINUTE_MS * MINUTE_MS
    return [counts.get(last - back * MINUTE_MS, 0) for back in range(59, -1, -1)]


def _counted(count: int, thing: str) -> str:
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def _size(path: str) -> int:
    with contextlib.suppress(OSError):
        return os.stat(path).st_size
    return 0
