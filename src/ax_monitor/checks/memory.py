"""How much of the memory is used, of the machine's and of what a container allows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ax_monitor.checks import cgroup
from ax_monitor.checks.outcome import CannotTellError, Findings, Outcome
from ax_monitor.checks.thresholds import HealthThresholds


@dataclass(frozen=True, slots=True)
class MachineMemory:
    """In bytes: all there is, what a process could still get, what this one has."""

    total: int
    available: int
    process: int


def read_machine() -> MachineMemory:
    """The figures of this machine and this process."""
    import psutil  # noqa: PLC0415 (the first check pays for it, not the import of the package)

    memory = psutil.virtual_memory()
    return MachineMemory(memory.total, memory.available, psutil.Process().memory_info().rss)


class MemoryCheck:
    """The tighter of two: the memory of the machine, and the limit of a control group.

    Args:
        thresholds: See `HealthThresholds`.
        proc: Where the kernel says which groups this process is in (tests).
        machine: Reads the machine's figures (tests).
    """

    def __init__(
        self,
        thresholds: HealthThresholds,
        *,
        proc: str = cgroup.PROC,
        machine: Callable[[], MachineMemory] = read_machine,
    ) -> None:
        self._thresholds = thresholds
        self._proc = proc
        self._machine = machine

    def __call__(self) -> Outcome:
        """Measure."""
        machine = self._machine()
        if machine.total <= 0:
            raise CannotTellError("the machine does not say how much memory it has")
        used = machine.total - machine.available
        usage, limited_by, limit = 100.0 * used / machine.total, "machine", machine.total
        found = Findings()
        try:
            group = cgroup.memory_limit(self._proc)
        except CannotTellError as error:
            group = None
            found.degraded(f"can't tell whether a control group limits the memory: {error}")
        if group is not None and group.limit_bytes < machine.total and group.usage_percent > usage:
            usage, limited_by, limit = group.usage_percent, "cgroup", group.limit_bytes
            used = group.used_bytes
        found.metadata = {
            "usage_percent": round(usage, 1),
            "used_bytes": used,
            "limit_bytes": limit,
            "limited_by": limited_by,
            "total_bytes": machine.total,
            "available_bytes": machine.available,
            "process_bytes": machine.process,
        }
        text = f"{usage:.1f} % of the memory {_OF[limited_by]} is used"
        if usage > self._thresholds.memory_unhealthy_percent:
            found.unhealthy(text)
        elif usage > self._thresholds.memory_degraded_percent:
            found.degraded(text)
        return found.outcome(text)


_OF = {"machine": "of the machine", "cgroup": "that the control group allows"}
