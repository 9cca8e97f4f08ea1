"""`open()` and `configure()`: the services of one database, wired together."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, TypeVar

from ax_monitor import config as configuration
from ax_monitor.clock import SYSTEM_CLOCK, Clock
from ax_monitor.events import Events
from ax_monitor.pipeline import defaults
from ax_monitor.pipeline.store import Store
from ax_monitor.services.logger import StructuredLogger
from ax_monitor.services.metrics import MetricsCollector
from ax_monitor.services.tracer import DistributedTracer
from ax_monitor.storage.rule_presence import has_enabled_rules

if TYPE_CHECKING:
    from ax_monitor.services.alerting import AlertingService
    from ax_monitor.services.costs import CostService
    from ax_monitor.services.health import HealthCheckService
    from ax_monitor.services.retention import RetentionService
    from ax_monitor.services.system_metrics import SystemSampler
    from ax_monitor.services.workflows import WorkflowMonitor

RETENTION_FIRST_S: Final = 300.0  # the first run comes so long after opening, by half at random
T = TypeVar("T")
BUDGET_EVENTS: Final = ("budget.warning", "budget.exceeded")
HEALTH_EVENTS: Final = ("health.checked", "health.changed", "health.error")


class _made_once(cached_property[T]):  # noqa: N801 (a decorator)
    """A cached property that is made once, also if several threads ask for it first."""

    def __get__(self, instance: Any, owner: type[Any] | None = None) -> Any:
        if instance is None:
            return self
        with instance._making:
            return super().__get__(instance, owner)


class Monitor:
    """All services on one store.

    `logger, tracer, metrics, workflows, alerts, costs, health, retention, system` are its services,
    `store` and `events` are what they share.

    By itself it evaluates the alert rules, if there are any (every 60 s), checks the health and the
    budgets, if somebody listens to their events (every 30 s, every 5 minutes), and deletes what is
    old (every hour; see `RetentionService`), all on one thread. Each can be set and switched off by
    an option, and is left to you once you call the service's own `start…` or `stop…`.

    Lifecycle: a context manager (`with` and `async with`), or `close()`. Without either, the
    interpreter's exit writes what is pending. A forked child records by itself, and does nothing at
    regular times.
    Thread-safety: any thread.

    Args:
        path: The database (default: `AX_MONITOR_DB`, else what the file says, else
            `.ax/monitor.db`).
        config: A TOML file with options (default: `AX_MONITOR_CONFIG`, else none).
        clock: Where the time comes from (tests).
        options: Those of the store by their names, the others as a mapping by section:
            `ring_bytes=…, logger={"min_level": "warn"}, retention={"logs_days": 7}`.
            docs/configuration.md lists them, and how to give them in the file or the environment.

    Raises:
        ValueError: an option is unknown or its value wrong; the message says where it stands.
        StorageError: the database can't be opened.
        OSError: the file can't be read.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        config: str | os.PathLike[str] | None = None,
        clock: Clock = SYSTEM_CLOCK,
        **options: Any,
    ) -> None:
        settings = configuration.load(path, config, options)
        self._set_up(Store(**settings["store"], clock=clock), settings)

    @classmethod
    def _on(cls, store: Store) -> Monitor:
        """The services of a store that is open already, as file and environment say."""
        made = cls.__new__(cls)
        made._set_up(store, configuration.load(None, None, {}))
        return made

    def _set_up(self, store: Store, settings: dict[str, dict[str, Any]]) -> None:
        self.store = store
        self._settings = settings
        self._making = threading.RLock()  # held while a service is made
        store.attach(self)
        try:
            self.logger = StructuredLogger(self.store, **settings["logger"])
            self.tracer = DistributedTracer(self.store, **settings["tracer"])
            self.metrics = MetricsCollector(self.store, **settings["metrics"])
            self._start_schedules()
        except BaseException:
            self.store.close()
            raise

    # -- services that few processes need: made, and their modules imported, when first used -------

    @_made_once
    def workflows(self) -> WorkflowMonitor:
        """Executions of workflows and their steps; their metrics go to `metrics`."""
        from ax_monitor.services.workflows import WorkflowMonitor  # noqa: PLC0415 (see above)

        return WorkflowMonitor(
            self.store, **{"metrics": self.metrics} | self._settings["workflows"]
        )

    @_made_once
    def alerts(self) -> AlertingService:
        """Rules over the metrics, and alerts."""
        from ax_monitor.services.alerting import AlertingService  # noqa: PLC0415 (see above)

        return AlertingService(self.store)

    @_made_once
    def costs(self) -> CostService:
        """What steps have cost, projections, budgets."""
        from ax_monitor.services.costs import CostService  # noqa: PLC0415 (see above)

        return CostService(self.store)

    @_made_once
    def health(self) -> HealthCheckService:
        """How the engine's parts are."""
        from ax_monitor.services.health import HealthCheckService  # noqa: PLC0415 (see above)

        return HealthCheckService(
            self.store, **_without(self._settings["health"], "check_interval_ms")
        )

    @_made_once
    def retention(self) -> RetentionService:
        """Deletes what is old."""
        from ax_monitor.services.retention import RetentionService  # noqa: PLC0415 (see above)

        settings = self._settings["retention"]
        if settings["interval_ms"] is None:
            settings = _without(settings, "interval_ms")
        return RetentionService(self.store, **settings)

    @_made_once
    def system(self) -> SystemSampler:
        """CPU, memory and disk as metrics, every 10 s: off until `monitor.system.start()`."""
        from ax_monitor.services.system_metrics import SystemSampler  # noqa: PLC0415 (see above)

        folder = os.path.dirname(self.store.path)
        return SystemSampler(self.metrics, disk_path=folder, clock=self.store.clock)

    @property
    def events(self) -> Events:
        """What happens in any of the services."""
        return self.store.events

    # -- what goes on by itself -------------------------------------------------------------------

    def _start_schedules(self) -> None:
        if self.store.read_only:
            return
        interval_ms = self._settings["alerts"]["evaluation_interval_ms"]
        if interval_ms is not None:
            self._when_needed("the evaluation of alert rules", interval_ms, self._begin_evaluation)
        interval_ms = self._settings["health"]["check_interval_ms"]
        if interval_ms is not None:
            self._when_needed("checking the health", interval_ms, self._begin_checks)
        interval_ms = self._settings["costs"]["check_interval_ms"]
        if interval_ms is not None:
            self.store.scheduler.every("budgets", interval_ms / 1000, self._check_budgets)
        interval_ms = self._settings["retention"]["interval_ms"]
        if interval_ms is not None:
            first_s = min(RETENTION_FIRST_S, interval_ms / 1000) * random.uniform(0.5, 1.0)
            self._when_needed("retention", interval_ms, self._begin_retention, first_s)

    def _when_needed(
        self, name: str, interval_ms: int, begin: Callable[[], bool], first_s: float | None = None
    ) -> None:
        """Look at every interval whether a service is to begin its own schedule, until it has."""

        def look() -> None:
            if begin():
                schedule.cancel()

        schedule = self.store.scheduler.every(name, interval_ms / 1000, look, first_s=first_s)

    def _begin_evaluation(self) -> bool:
        begun = "alerts" in self.__dict__ and self.alerts.is_decided
        if not begun and self.store.peek(has_enabled_rules):
            self.alerts.start_evaluation(self._settings["alerts"]["evaluation_interval_ms"])
            begun = True
        return begun

    def _begin_checks(self) -> bool:
        begun = "health" in self.__dict__ and self.health.is_decided
        if not begun and any(map(self.events.listens, HEALTH_EVENTS)):
            self.health.start_periodic_checks(self._settings["health"]["check_interval_ms"])
            begun = True
        return begun

    def _check_budgets(self) -> None:
        if any(map(self.events.listens, BUDGET_EVENTS)):
            self.costs.check_budgets()

    def _begin_retention(self) -> bool:
        if not self.retention.is_decided:
            self.retention.start(first_s=0)
        return True

    # -- the end ----------------------------------------------------------------------------------

    def store_closes(self) -> None:
        """Called by the store."""

    def after_fork_in_child(self) -> None:
        """Called by the store."""
        self._making = threading.RLock()

    def flush(self) -> bool:
        """Wait until everything recorded before is in the database."""
        return self.store.flush()

    def close(self) -> None:
        """Write what is pending and let go of the file; at most about 5 s. May be called twice."""
        self.store.close()

    def __enter__(self) -> Monitor:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    async def __aenter__(self) -> Monitor:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        import asyncio  # noqa: PLC0415 (whoever gets here has it)

        await asyncio.to_thread(self.close)  # it waits for the disk, and the loop must not

    def __repr__(self) -> str:
        return f"<Monitor on {self.store!r}>"


def _without(settings: dict[str, Any], name: str) -> dict[str, Any]:
    return {other: value for other, value in settings.items() if other != name}


def open(
    path: str | os.PathLike[str] | None = None,
    *,
    config: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Monitor:
    """Open a database with all services; see `Monitor`.

    >>> import os, tempfile
    >>> with open(os.path.join(tempfile.mkdtemp(), "monitor.db")) as monitor:
    ...     monitor.logger.info("hello", "example")
    ...     len(monitor.logger.query_logs(search="hello"))
    1
    """
    return Monitor(path, config=config, **options)


# -- the process's default ------------------------------------------------------------------------

_lock = threading.RLock()
_default: Monitor | None = None


def configure(
    path: str | os.PathLike[str] | None = None,
    *,
    config: str | os.PathLike[str] | None = None,
    **options: Any,
) -> Monitor:
    """Open the process's default monitor: that of `ax_monitor.logger` and the other services.

    Services that are made without a store use its store, too. Called again, the new one takes over
    and the one before is closed; so is what was opened without `configure`. If it fails, the one
    before goes on. Services made before, and `logger = ax_monitor.logger` at the top of a module,
    keep to the old one: call it first.

    Cost: `ax_monitor.logger` is found anew each time, some 0.5 to 2 µs, several times a log call; a
    hot loop keeps what it found.

    Args: as of `Monitor`.
    """
    global _default
    with _lock:
        made = Monitor(path, config=config, **options)
        _default = made
        before = defaults.replace_default_store(made.store)
    if before is not None:
        before.close()
    return made


def default_monitor() -> Monitor:
    """The process's default monitor; opened on first use, if `configure` has not been called."""
    global _default
    made = _default
    if made is not None and defaults.is_default_store(made.store):
        return made
    with _lock:
        store = defaults.default_store()
        if _default is None or _default.store is not store:
            _default = Monitor._on(store)
        return _default


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()


os.register_at_fork(after_in_child=_after_fork_in_child)
