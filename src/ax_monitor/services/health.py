"""Health: is everything working, measured now?"""

from __future__ import annotations

import os
import threading
from typing import Final

from ax_monitor._version import __version__
from ax_monitor.checks.board import CheckBoard
from ax_monitor.checks.cache import CacheCheck
from ax_monitor.checks.cpu import SAMPLE_S, CpuCheck
from ax_monitor.checks.damping import Damping
from ax_monitor.checks.database import DatabaseCheck
from ax_monitor.checks.disk import DiskCheck
from ax_monitor.checks.executions import QueueCheck
from ax_monitor.checks.memory import MemoryCheck
from ax_monitor.checks.outcome import Check, worst
from ax_monitor.checks.providers import Providers
from ax_monitor.checks.recording import NO_THREAD, RecorderCheck
from ax_monitor.checks.thresholds import HealthThresholds
from ax_monitor.checks.timed import Checked, Pass, on_daemon_thread
from ax_monitor.checks.uptime import format_uptime
from ax_monitor.model.health import HealthCheck, ProbeAnswer, SystemHealth
from ax_monitor.model.vocabulary import HealthStatus
from ax_monitor.pipeline.scheduler import Schedule
from ax_monitor.pipeline.service import Service, check_positive
from ax_monitor.pipeline.store import Store

OWN_COMPONENTS: Final = (
    "database",
    "cache",
    "queue",
    "worker_pool",
    "providers",
    "disk",
    "memory",
    "recorder",
)

STOP_S: Final = 1.0  # a stop waits for checks under way no longer than this


class HealthCheckService(Service):
    """The health of the database, the machine, this process's recorder, and of what you register.

    Every figure is measured at the call; nothing is made up. What can't be measured is degraded and
    says so, a check that raises or takes too long is unhealthy with the reason, and a cache or
    providers that nobody has registered are "not configured".

    | component | degraded | unhealthy |
    |---|---|---|
    | `database` | slow, not in WAL mode | can't be read or written, locked |
    | `cache`, `providers` | what you register says so | the same; it fails |
    | `queue` | many running executions | can't be counted |
    | `worker_pool` | the CPUs are busy | |
    | `disk` | little room on the database's disk | almost none, no inodes, read-only |
    | `memory` | nearly all in use, of the machine's or of a container's | the same, worse |
    | `recorder` | lag, drops, a large WAL, a ring in memory only | it does not write |

    The checks are coroutines, and methods of the same names under `sync`. Both run them side by
    side on daemon threads, so that a check that hangs delays neither the others, nor an event loop,
    nor the end of the program.

    Lifecycle: `stop()`, or a `with` block; the periodic checks end with the store, too. A forked
    child makes no periodic checks until it is told to.
    Thread-safety: any thread.
    Cost: a system check takes some 5 ms; the first also looks at the CPUs for a tenth of a second.

    >>> import os, tempfile
    >>> with HealthCheckService(os.path.join(tempfile.mkdtemp(), "monitor.db")) as health:
    ...     health.register("billing", lambda: {"status": "degraded", "queue_count": 7})
    ...     found = health.sync.get_system_health()
    ...     health.sync.get_component_health("billing").metadata
    ...     found.overall in ("degraded", "unhealthy"), len(found.components)
    {'queue_count': 7}
    (True, 9)

    Args:
        store: A `Store`, the path of a database, or None for the process's default store.
        timeout_ms: Time limit of a check (default 2000); `register` can set others.
        thresholds: From where on something is degraded or unhealthy; see `HealthThresholds`.
        recover_after: `health.changed` tells a worse status at once, and a better one after so many
            checks in a row that are better (default 2; 1: at once).

    Events (`on`): `health.checked` (SystemHealth), `health.changed` ({from, to}: the overall
    status; `from` is None if the very first is not healthy), `health.error` ({component, error}: a
    check raised or took too long). They are those of the store: all its services share them.

    Raises:
        StorageError: the database can't be opened.
        ValueError: an argument is out of range.
    """

    def __init__(
        self,
        store: Store | str | os.PathLike[str] | None = None,
        *,
        timeout_ms: int = 2000,
        thresholds: HealthThresholds | None = None,
        recover_after: int = 2,
    ) -> None:
        check_positive("timeout_ms", timeout_ms)
        check_positive("recover_after", recover_after)
        limits = thresholds or HealthThresholds()
        opened = self._use_store(store)
        clock, limit_s = opened.clock, timeout_ms / 1000
        self._cache = CacheCheck(opened, clock)
        self._providers = Providers(clock, limit_s)
        self._board = CheckBoard(clock, limit_s)
        own: tuple[Check, ...] = (
            DatabaseCheck(opened, limits, limit_s),
            self._cache,
            QueueCheck(opened, limits),
            CpuCheck(limits),
            self._providers,
            DiskCheck(opened.path, limits),
            MemoryCheck(limits),
            RecorderCheck(opened, limits, clock),
        )
        for name, check in zip(OWN_COMPONENTS, own, strict=True):
            self._board.put(name, check)
        # Both wait by themselves, within what is added here.
        self._board.put("worker_pool", own[3], limit_s + SAMPLE_S)
        self._board.put("providers", self._providers, self._providers.limit_s)
        self._damping = Damping(recover_after)
        self._passes = Pass(lambda: self._all_told(*self._measure()))
        self.is_decided = False  # somebody has started or stopped the periodic checks
        self._starting = threading.Lock()  # guards the schedule
        self._periodic: Schedule | None = None
        opened.attach(self)

    # -- what there is to check -----------------------------------------------------------------

    @property
    def components(self) -> tuple[str, ...]:
        """The names of all components: our own, then those that were registered."""
        return self._board.names

    def register(self, name: str, check: Check, *, timeout_ms: int | None = None) -> None:
        """Check a further component, or check it in another way from now on.

        Args:
            name: The component, other than ours.
            check: A function without arguments. It returns True or False, a status, a mapping of
                figures (`status` and `message` in it count), or a `HealthCheck`; anything else says
                nothing and is unhealthy, as is an exception. Called on a thread of its own; if it
                is a coroutine function, in an event loop of its own.
            timeout_ms: Its time limit (default: that of the service).
        """
        if name in OWN_COMPONENTS:
            raise ValueError(f"{name!r} is a component of ax-monitor's own: take another name")
        _check_name(name)
        _check_callable(check)
        self._board.put(name, check, _seconds(timeout_ms))

    def unregister(self, name: str) -> bool:
        """Stop checking a registered component; False if there is none of this name."""
        return name not in OWN_COMPONENTS and self._board.remove(name)

    def register_cache(self, check: Check | None) -> None:
        """Ask this function about the cache, as `register` says; None: nobody any more."""
        if check is not None:
            _check_callable(check)
        self._cache.registered = check

    def register_provider(
        self,
        name: str,
        probe: Check | str,
        timeout_ms: int | None = None,
        *,
        required: bool = True,
    ) -> None:
        """Probe a service that the engine depends on, or probe it in another way from now on.

        Args:
            name: The provider.
            probe: A function as of `register`; or `tcp://host:port`: is a connection accepted; or
                `http://…`, `https://…`: is a GET answered, with a status below 400 (healthy), 400
                to 499 (degraded), or 500 and above (unhealthy).
            timeout_ms: Its time limit (default: that of the service).
            required: If it fails, `providers` is unhealthy (default); False: degraded.

        Raises:
            ValueError: the address is none of these.
        """
        _check_name(name)
        self._providers.put(name, probe, _seconds(timeout_ms), required=required)
        self._board.put("providers", self._providers, self._providers.limit_s)

    def unregister_provider(self, name: str) -> bool:
        """Stop probing a provider; False if there is none of this name."""
        removed = self._providers.remove(name)
        self._board.put("providers", self._providers, self._providers.limit_s)
        return removed

    # -- checks ---------------------------------------------------------------------------------

    @property
    def sync(self) -> SyncHealthChecks:
        """The same checks for code that does not await: they return when they are done."""
        return SyncHealthChecks(self)

    async def check_database(self) -> HealthCheck:
        """Does the database answer, how fast, and can it be written?"""
        return await self._check("database")

    async def check_cache(self) -> HealthCheck:
        """What the registered function says about the cache, and the recorded hit rate."""
        return await self._check("cache")

    async def check_queue(self) -> HealthCheck:
        """How many executions run?"""
        return await self._check("queue")

    async def check_worker_pool(self) -> HealthCheck:
        """How busy are the CPUs, with this process and with everything else?"""
        return await self._check("worker_pool")

    async def check_providers(self) -> HealthCheck:
        """Does every registered provider answer?"""
        return await self._check("providers")

    async def check_disk(self) -> HealthCheck:
        """How much room is there on the disk of the database?"""
        return await self._check("disk")

    async def check_memory(self) -> HealthCheck:
        """How much of the memory is in use, of the machine's and of what a container allows?"""
        return await self._check("memory")

    async def check_recorder(self) -> HealthCheck:
        """Is what this process records written, and in time?"""
        return await self._check("recorder")

    async def get_component_health(self, name: str) -> HealthCheck | None:
        """Check one component, ours or registered; None if there is none of this name."""
        checked = await on_daemon_thread(lambda: self._board.check(name))
        return None if checked is None else self._told(checked)

    async def get_system_health(self) -> SystemHealth:
        """Check all components side by side. The overall status is the worst of them."""
        return self._all_told(*await on_daemon_thread(self._measure))

    async def liveness(self) -> ProbeAnswer:
        """Is this process's recorder alive? If not, only a restart helps.

        A look at memory. A database that is locked or a disk that is full does not matter: records
        wait in the ring.
        """
        return self._is_alive()

    async def readiness(self) -> ProbeAnswer:
        """Can the database be written, and is no component unhealthy? Checks all of them."""
        return self._is_ready(await on_daemon_thread(self._board.check_all))

    async def _check(self, name: str) -> HealthCheck:
        checked = await on_daemon_thread(lambda: self._board.check(name))
        assert checked is not None
        return self._told(checked)

    def _measure(self) -> tuple[SystemHealth, list[Checked]]:
        timestamp = self._store.clock.time_ms()
        results = self._board.check_all()
        health = SystemHealth(
            overall=worst(result.check.status for result in results),
            timestamp=timestamp,
            components=tuple(result.check for result in results),
            uptime=self.get_uptime(),
            version=__version__,
        )
        return health, results

    # Events come from the thread that asked: what a listener asks causes no further events.

    def _told(self, checked: Checked) -> HealthCheck:
        if checked.fault is not None and not self._store.closed:
            self._store.events.emit(
                "health.error",
                {"component": checked.check.component, "error": checked.fault},
            )
        return checked.check

    def _all_told(self, health: SystemHealth, results: list[Checked]) -> SystemHealth:
        if self._store.closed:
            return health  # closed while it was checked: no reason for an alarm
        for result in results:
            self._told(result)
        self._store.events.emit("health.checked", health)
        change = self._damping.update(health.overall)
        if change is not None:
            self._store.events.emit("health.changed", {"from": change[0], "to": change[1]})
        return health

    def _is_alive(self) -> ProbeAnswer:
        state = self._store.recorder_state()
        if state is None:
            return ProbeAnswer(True, "not recording here: the store was opened read-only")
        if state.writing == "closed":
            return ProbeAnswer(False, "the store has been closed")
        if state.writing == "nobody":
            return ProbeAnswer(False, NO_THREAD)
        return ProbeAnswer(True)

    def _is_ready(self, results: list[Checked]) -> ProbeAnswer:
        reasons = [
            f"{result.check.component}: {result.check.message or 'unhealthy'}"
            for result in results
            if result.check.status is HealthStatus.UNHEALTHY
        ]
        if self._store.read_only:
            reasons.insert(0, "database: opened read-only, nothing can be recorded")
        return ProbeAnswer(not reasons, "; ".join(reasons) or None)

    # -- periodic checks ------------------------------------------------------------------------

    def start_periodic_checks(self, interval_ms: int = 30_000) -> None:
        """Check everything now and then, for the events: at once, and after each interval.

        Called again, it only changes the interval. Checks that come too late, because the machine
        slept or was busy, are skipped.

        Raises:
            StorageError: the store has been closed.
        """
        check_positive("interval_ms", interval_ms)
        self.is_decided = True
        interval_s = interval_ms / 1000
        with self._starting:
            if self._periodic is not None:
                if self._periodic.interval_s == interval_s:
                    return
                self._periodic.cancel()
            self._periodic = self._store.scheduler.every(
                "checking the health", interval_s, self._passes.begin, first_s=0
            )

    def stop_periodic_checks(self) -> None:
        """No more of that; checks under way are waited for, for a moment. May be called twice."""
        self.is_decided = True
        self._cancel()
        self._passes.wait(STOP_S)

    def _cancel(self) -> None:
        with self._starting:
            periodic, self._periodic = self._periodic, None
        if periodic is not None:
            periodic.cancel()

    def stop(self) -> None:
        """End the periodic checks; else as of every service."""
        self.stop_periodic_checks()
        super().stop()

    def store_closes(self) -> None:
        """The store closes now, or the interpreter exits: end the periodic checks."""
        self._cancel()

    def after_fork_in_child(self) -> None:
        """The threads stayed with the parent."""
        self._starting = threading.Lock()
        self._periodic = None
        self._passes.after_fork_in_child()
        self._damping.after_fork_in_child()
        self._board.after_fork_in_child()
        self._providers.after_fork_in_child()

    # -- uptime ---------------------------------------------------------------------------------

    def get_uptime(self) -> int:
        """How long ago the store was opened, in ms, on the monotonic clock."""
        return self._store.open_ms

    def get_uptime_formatted(self) -> str:
        """The same for people: "2d 5h 30m", "5h 30m 2s", "30m 2s" or "2s"."""
        return format_uptime(self.get_uptime())


class SyncHealthChecks:
    """The checks of a `HealthCheckService` for code that does not await.

    They block the calling thread until the checks are done: at most for the time limit. Inside a
    running event loop they work too, and hold it up for as long.
    """

    def __init__(self, service: HealthCheckService) -> None:
        self._service = service

    def check_database(self) -> HealthCheck:
        """As of the service; so are all that follow."""
        return self._check("database")

    def check_cache(self) -> HealthCheck:
        """See `HealthCheckService.check_cache`."""
        return self._check("cache")

    def check_queue(self) -> HealthCheck:
        """See `HealthCheckService.check_queue`."""
        return self._check("queue")

    def check_worker_pool(self) -> HealthCheck:
        """See `HealthCheckService.check_worker_pool`."""
        return self._check("worker_pool")

    def check_providers(self) -> HealthCheck:
        """See `HealthCheckService.check_providers`."""
        return self._check("providers")

    def check_disk(self) -> HealthCheck:
        """See `HealthCheckService.check_disk`."""
        return self._check("disk")

    def check_memory(self) -> HealthCheck:
        """See `HealthCheckService.check_memory`."""
        return self._check("memory")

    def check_recorder(self) -> HealthCheck:
        """See `HealthCheckService.check_recorder`."""
        return self._check("recorder")

    def get_component_health(self, name: str) -> HealthCheck | None:
        """See `HealthCheckService.get_component_health`."""
        checked = self._service._board.check(name)
        return None if checked is None else self._service._told(checked)

    def get_system_health(self) -> SystemHealth:
        """See `HealthCheckService.get_system_health`."""
        return self._service._all_told(*self._service._measure())

    def liveness(self) -> ProbeAnswer:
        """See `HealthCheckService.liveness`."""
        return self._service._is_alive()

    def readiness(self) -> ProbeAnswer:
        """See `HealthCheckService.readiness`."""
        return self._service._is_ready(self._service._board.check_all())

    def _check(self, name: str) -> HealthCheck:
        checked = self._service._board.check(name)
        assert checked is not None
        return self._service._told(checked)


def _check_name(name: object) -> None:
    if not isinstance(name, str) or not name:
        raise ValueError(f"a name must be a text, got {name!r}")


def _check_callable(check: object) -> None:
    if not callable(check):
        raise TypeError(f"a check must be callable, got {check!r}")


def _seconds(timeout_ms: int | None) -> float | None:
    if timeout_ms is None:
        return None
    check_positive("timeout_ms", timeout_ms)
    return timeout_ms / 1000
