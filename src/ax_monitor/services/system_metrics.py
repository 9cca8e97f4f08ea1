"""CPU, memory and disk of the machine and of this process, as metrics."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

from ax_monitor.clock import SYSTEM_CLOCK, Clock
from ax_monitor.model.metrics import MetricType
from ax_monitor.pipeline.scheduler import Schedule, Scheduler

INTERVAL_MIN_MS: Final = 100  # the kernel counts CPU time in steps of 10 ms
STOP_S: Final = 1.0  # a stop waits for a sample under way no longer than this

MACHINE: Final = {"scope": "machine"}
PROCESS: Final = {"scope": "process"}


class Series(Protocol):
    """Takes the values of one series."""

    def record(self, value: float, /) -> object:
        """Take a value, as of now."""


class HasScheduler(Protocol):
    """Has a scheduler; a `Store` is one."""

    @property
    def scheduler(self) -> Scheduler:
        """What calls at regular times."""


class Metrics(Protocol):
    """Where series come from; a `MetricsCollector` is one."""

    @property
    def store(self) -> HasScheduler:
        """Whose scheduler calls."""

    def series(
        self,
        metric_type: str,
        *,
        unit: str | None = None,
        labels: Mapping[str, Any] | None = None,
        tenant_id: str | None = None,
    ) -> Series:
        """The series of these values."""


@dataclass(frozen=True, slots=True)
class _CpuTimes:
    """Seconds up to one moment; their differences are what is measured."""

    machine_busy: float
    machine_total: float  # of all CPUs
    process: float
    elapsed: float


class SystemSampler:
    """Records every few seconds how busy the machine is, and this process.

    | metric | labels | value, in percent |
    |---|---|---|
    | `cpu.usage` | `scope=machine` | of all CPUs, since the last sample |
    | `cpu.usage` | `scope=process` | the same: of all CPUs, not of one |
    | `memory.usage` | `scope=machine` | of the memory, what is not available |
    | `memory.usage` | `scope=process` | of the memory, what this process has in it |
    | `disk.usage` | `path=…` | of what a user may fill of that file system |

    What can't be measured is left out and counted (`errors`), and the sampling goes on.

    Lifecycle: `start()`, `stop()`; both may be called again. A forked child does not sample.
    Thread-safety: any thread.
    Cost: about 0.3 ms for each sample, on the scheduler's thread.

    Args:
        metrics: Gets the values: a `MetricsCollector`. Its store's scheduler is used.
        interval_ms: From one sample to the next, at least 100 (default 10000). Samples that come
            too late, because the machine slept or was busy, are skipped and not made up for.
        disk_path: A path on the file system to look at (default: the working directory as it is
            now).

    Raises:
        ValueError: `interval_ms` is out of range.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        interval_ms: int = 10_000,
        disk_path: str | os.PathLike[str] | None = None,
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        is_integer = isinstance(interval_ms, int) and not isinstance(interval_ms, bool)
        if not is_integer or interval_ms < INTERVAL_MIN_MS:
            raise ValueError(
                f"interval_ms must be an integer of at least {INTERVAL_MIN_MS}, got {interval_ms!r}"
            )
        self._metrics = metrics
        self._interval_s = interval_ms / 1000
        self._clock = clock
        self._disk_path = os.getcwd() if disk_path is None else os.fspath(disk_path)
        self._machine_cpu = _series(metrics, MetricType.CPU_USAGE, MACHINE)
        self._process_cpu = _series(metrics, MetricType.CPU_USAGE, PROCESS)
        self._machine_memory = _series(metrics, MetricType.MEMORY_USAGE, MACHINE)
        self._process_memory = _series(metrics, MetricType.MEMORY_USAGE, PROCESS)
        self._disk = _series(metrics, MetricType.DISK_USAGE, {"path": self._disk_path})
        self.errors = 0
        self.last_error: str | None = None
        self._last: _CpuTimes | None = None
        self._starting = threading.Lock()  # guards the schedule
        self._schedule: Schedule | None = None

    @property
    def running(self) -> bool:
        """Is it sampling, in this process?"""
        schedule = self._schedule
        return schedule is not None and schedule.running

    def start(self) -> None:
        """Take a first sample, and one after each interval. CPU usage begins with the second."""
        import psutil  # noqa: F401, PLC0415 (here, so that a sample does not pay for it)

        with self._starting:
            if not self.running:
                self._schedule = self._metrics.store.scheduler.every(
                    "sampling the machine", self._interval_s, self._tick, first_s=0
                )

    def stop(self) -> None:
        """No more samples; one under way may still be recorded."""
        with self._starting:
            schedule, self._schedule = self._schedule, None
        if schedule is not None:
            schedule.cancel(STOP_S)

    def _tick(self) -> None:
        self.sample_once()

    # -- figures ----------------------------------------------------------------------------------

    def sample_once(self) -> int:
        """Take a sample now; how many values were recorded. CPU usage needs an earlier sample."""
        return sum(map(self._guarded, (self._cpu, self._memory, self._disk_space)))

    def _guarded(self, measure: Callable[[], int]) -> int:
        # Whatever it is: there are kernels and containers where a figure can't be had.
        try:
            return measure()
        except Exception as error:
            self.errors += 1
            self.last_error = f"{type(error).__name__}: {error}"
            return 0

    def _cpu(self) -> int:
        # No lock: two threads at once measure intervals that overlap, and both are right.
        last, now = self._last, self._cpu_times()
        self._last = now
        if last is None:
            return 0
        n = _record_share(
            self._machine_cpu,
            now.machine_busy - last.machine_busy,
            now.machine_total - last.machine_total,
        )
        cpus = os.cpu_count() or 1
        return n + _record_share(
            self._process_cpu, now.process - last.process, (now.elapsed - last.elapsed) * cpus
        )

    def _cpu_times(self) -> _CpuTimes:
        import psutil  # noqa: PLC0415 (imported already, by start())

        # Not psutil.cpu_percent(): that is since its last call, whoever made it.
        times = psutil.cpu_times()
        # Linux counts the time of guests twice, and waiting for a disk is idleness.
        total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
        idle = times.idle + getattr(times, "iowait", 0.0)
        return _CpuTimes(total - idle, total, time.process_time(), self._clock.monotonic())

    def _memory(self) -> int:
        import psutil  # noqa: PLC0415

        memory = psutil.virtual_memory()
        self._machine_memory.record(memory.percent)
        return 1 + _record_share(
            self._process_memory, psutil.Process().memory_info().rss, memory.total
        )

    def _disk_space(self) -> int:
        import psutil  # noqa: PLC0415

        self._disk.record(psutil.disk_usage(self._disk_path).percent)
        return 1


def _series(metrics: Metrics, metric_type: str, labels: dict[str, str]) -> Series:
    return metrics.series(metric_type, unit="percent", labels=labels)


def _record_share(series: Series, part: float, whole: float) -> int:
    """Record a part in percent; nothing if there is no whole, because no time has passed."""
    if whole <= 0:
        return 0
    # Clocks of CPUs and of the wall are not read at quite the same moment.
    series.record(min(max(100.0 * part / whole, 0.0), 100.0))
    return 1
