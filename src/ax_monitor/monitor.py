"""`open()`: the services of one database, wired together."""

from __future__ import annotations

import os
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ax_monitor.events import Events
from ax_monitor.pipeline.store import Store
from ax_monitor.services.logger import StructuredLogger
from ax_monitor.services.metrics import MetricsCollector
from ax_monitor.services.tracer import DistributedTracer

if TYPE_CHECKING:
    from ax_monitor.services.alerting import AlertingService
    from ax_monitor.services.costs import CostService
    from ax_monitor.services.health import HealthCheckService
    from ax_monitor.services.system_metrics import SystemSampler
    from ax_monitor.services.workflows import WorkflowMonitor


class Monitor:
    """All services on one store.

    Lifecycle: a context manager, or `close()`.
    Thread-safety: any thread.

    Args:
        path: The database (default: `AX_MONITOR_DB`, else `.ax/monitor.db`).
        logger_options: Keyword arguments of `StructuredLogger`.
        tracer_options: Keyword arguments of `DistributedTracer`.
        metrics_options: Keyword arguments of `MetricsCollector`.
        workflows_options: Keyword arguments of `WorkflowMonitor`.
        store_options: Fields of `StoreOptions`.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        logger_options: dict[str, Any] | None = None,
        tracer_options: dict[str, Any] | None = None,
        metrics_options: dict[str, Any] | None = None,
        workflows_options: dict[str, Any] | None = None,
        **store_options: Any,
    ) -> None:
        self.store = Store(path, **store_options)
        self.logger = StructuredLogger(self.store, **(logger_options or {}))
        self.tracer = DistributedTracer(self.store, **(tracer_options or {}))
        self.metrics = MetricsCollector(self.store, **(metrics_options or {}))
        self._workflows_options = {"metrics": self.metrics, **(workflows_options or {})}

    @cached_property
    def workflows(self) -> WorkflowMonitor:
        """Executions of workflows and their steps; their metrics go to `metrics`."""
        from ax_monitor.services.workflows import WorkflowMonitor  # noqa: PLC0415 (see _LATER)

        return WorkflowMonitor(self.store, **self._workflows_options)

    @cached_property
    def alerts(self) -> AlertingService:
        """Rules over the metrics, and alerts. Made, and its modules imported, when first used."""
        from ax_monitor.services.alerting import AlertingService  # noqa: PLC0415 (see _LATER)

        return AlertingService(self.store)

    @cached_property
    def costs(self) -> CostService:
        """What steps have cost, projections, budgets. Made, and imported, when first used."""
        from ax_monitor.services.costs import CostService  # noqa: PLC0415 (see _LATER)

        return CostService(self.store)

    @cached_property
    def health(self) -> HealthCheckService:
        """How the engine's parts are. Made, and its modules imported, when first used."""
        from ax_monitor.services.health import HealthCheckService  # noqa: PLC0415 (see _LATER)

        return HealthCheckService(self.store)

    @cached_property
    def system(self) -> SystemSampler:
        """CPU, memory and disk as metrics, every 10 s: off until `monitor.system.start()`."""
        from ax_monitor.services.system_metrics import SystemSampler  # noqa: PLC0415 (see _LATER)

        folder = os.path.dirname(self.store.path)
        return SystemSampler(self.metrics, disk_path=folder, clock=self.store.clock)

    @property
    def events(self) -> Events:
        """What happens in any of the services."""
        return self.store.events

    def flush(self) -> bool:
        """Wait until everything recorded before is in the database."""
        return self.store.flush()

    def close(self) -> None:
        """Write what is pending and let go of the file; at most about 5 s. May be called twice."""
        if "system" in self.__dict__:
            self.system.stop()
        self.store.close()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Monitor on {self.store!r}>"


def open(path: str | os.PathLike[str] | None = None, **options: Any) -> Monitor:
    """Open a database with all services; see `Monitor`.

    >>> import os, tempfile
    >>> with open(os.path.join(tempfile.mkdtemp(), "monitor.db")) as monitor:
    ...     monitor.logger.info("hello", "example")
    ...     len(monitor.logger.query_logs(search="hello"))
    1
    """
    return Monitor(path, **options)
