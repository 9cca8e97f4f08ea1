"""How busy the CPUs are, with this process and with everything else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from ax_monitor.checks import cgroup
from ax_monitor.checks.outcome import CannotTellError, Findings, Outcome
from ax_monitor.checks.thresholds import HealthThresholds

SAMPLE_S: Final = 0.1  # the kernel counts CPU time in steps of 10 ms
STALE_S: Final = 120.0  # an average over a longer time says nothing about now


@dataclass(frozen=True, slots=True)
class CpuTimes:
    """Seconds up to one moment: their differences are what is measured.

    Args:
        busy: Of all CPUs.
        total: Of all CPUs, idle or not.
        process: CPU time of this process.
        at: On the monotonic clock.
        pid: Whose CPU time it is.
    """

    busy: float
    total: float
    process: float
    at: float
    pid: int


def read_times() -> CpuTimes:
    """The figures of this machine and this process."""
    import psutil  # noqa: PLC0415 (the first check pays for it, not the import of the package)

    # Not psutil.cpu_percent(): that is since its last call, whoever made it.
    times = psutil.cpu_times()
    # Linux counts the time of guests twice, and waiting for a disk is idleness.
    total = sum(times) - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    idle = times.idle + getattr(times, "iowait", 0.0)
    return CpuTimes(total - idle, total, time.process_time(), time.monotonic(), os.getpid())


def usable_cpus(proc: str = cgroup.PROC) -> float:
    """How many CPUs this process may use: by affinity, and by the quota of a control group."""
    if hasattr(os, "sched_getaffinity"):
        count = float(len(os.sched_getaffinity(0)))
    else:
        count = float(os.cpu_count() or 1)
    try:
        quota = cgroup.cpu_quota(proc)
    except CannotTellError:
        quota = None  # the machine's figure tells all the same
    return count if quota is None else min(count, quota)


@dataclass(frozen=True, slots=True)
class _Usage:
    machine_percent: float
    process_percent: float


class CpuCheck:
    """The use of the machine's CPUs, and this process's use of those that it may use.

    Both are averages since the previous check. The first one, and one that comes long after it,
    look for a tenth of a second.

    Args:
        thresholds: See `HealthThresholds`.
        times: Reads the CPU times (tests).
        cpus: How many CPUs this process may use (tests).
        sleep: Waits between two looks (tests).
    """

    def __init__(
        self,
        thresholds: HealthThresholds,
        *,
        times: Callable[[], CpuTimes] = read_times,
        cpus: Callable[[], float] = usable_cpus,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        self._thresholds = thresholds
        self._times = times
        self._cpus = cpus
        self._sleep = sleep
        # No lock: two checks at once measure intervals that overlap, and both are right.
        self._last: CpuTimes | None = None
        self._usage: _Usage | None = None

    def __call__(self) -> Outcome:
        """Measure."""
        cpus = self._cpus()
        usage = self._measure(cpus)
        found = Findings(
            usage_percent=round(usage.machine_percent, 1),
            process_usage_percent=round(usage.process_percent, 1),
            cpu_count=os.cpu_count(),
            usable_cpu_count=round(cpus, 2),
        )
        limit = self._thresholds.cpu_percent
        if usage.machine_percent > limit:
            found.degraded(f"the CPUs of the machine are {usage.machine_percent:.0f} % busy")
        if usage.process_percent > limit:
            found.degraded(
                f"this process uses {usage.process_percent:.0f} % of the {cpus:g} CPUs it may use"
            )
        return found.outcome(
            f"CPU usage {usage.machine_percent:.0f} %, "
            f"of this process {usage.process_percent:.0f} %"
        )

    def _measure(self, cpus: float) -> _Usage:
        last, now = self._last, self._times()
        if last is None or last.pid != now.pid or not 0 <= now.at - last.at <= STALE_S:
            last = now
            self._sleep(SAMPLE_S)
            now = self._times()
        elif now.at - last.at < SAMPLE_S and self._usage is not None:
            return self._usage  # too short to measure; and no older than that
        if now.total <= last.total or now.at <= last.at:
            raise CannotTellError("the CPU times of this machine stand still")
        usage = _Usage(
            _percent(now.busy - last.busy, now.total - last.total),
            _percent(now.process - last.process, (now.at - last.at) * cpus),
        )
        self._last, self._usage = now, usage
        return usage


def _percent(part: float, whole: float) -> float:
    # Clocks of CPUs and of the wall are not read at quite the same moment.
    return min(max(100.0 * part / whole, 0.0), 100.0)
