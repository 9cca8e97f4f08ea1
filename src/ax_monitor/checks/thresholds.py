"""From where on something is not healthy any more."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Final

from ax_monitor.model._check import is_finite

_PERCENT_MAX: Final = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthThresholds:
    """From where on a component is degraded or unhealthy.

    Args:
        database_slow_ms: A small query that takes longer is degraded (default 100).
        database_lock_ms: If others hold the write lock for longer, the database is locked:
            unhealthy (default 1000; at most half of the check's time limit is spent on it).
        running_count: More running executions than this are degraded (default 100).
        cpu_percent: More use of the machine's CPUs, or of those that this process may use, is
            degraded (default 80).
        disk_degraded_bytes: Less free space is degraded (default 500 MB) …
        disk_unhealthy_bytes: … or unhealthy (default 100 MB).
        memory_degraded_percent: More use of the memory is degraded (default 85) …
        memory_unhealthy_percent: … or unhealthy (default 95).
        ring_degraded_percent: More of the ring full is degraded (default 75) …
        ring_unhealthy_percent: … or unhealthy (default 90): soon records are dropped.
        lag_degraded_ms: Records that wait for longer to be written are degraded (default 15,000) …
        lag_unhealthy_ms: … or unhealthy (default 60,000).
        wal_degraded_bytes: A larger WAL is degraded (default 128 MiB): a reader that does not end
            keeps it from being copied back.
        drops_shown_ms: Dropped records are shown as degraded for so long (default 60,000).
    """

    database_slow_ms: float = 100
    database_lock_ms: float = 1000
    running_count: int = 100
    cpu_percent: float = 80
    disk_degraded_bytes: int = 500_000_000
    disk_unhealthy_bytes: int = 100_000_000
    memory_degraded_percent: float = 85
    memory_unhealthy_percent: float = 95
    ring_degraded_percent: float = 75
    ring_unhealthy_percent: float = 90
    lag_degraded_ms: float = 15_000
    lag_unhealthy_ms: float = 60_000
    wal_degraded_bytes: int = 128 * 1024 * 1024
    drops_shown_ms: float = 60_000

    def __post_init__(self) -> None:
        values = asdict(self)
        for name, value in values.items():
            if not is_finite(value) or value < 0:
                raise ValueError(f"{name} must be a number of at least 0, got {value!r}")
            if name.endswith("_percent") and value > _PERCENT_MAX:
                raise ValueError(f"{name} must be at most {_PERCENT_MAX}, got {value!r}")
        for worse, better in (
            ("disk_degraded_bytes", "disk_unhealthy_bytes"),
            ("memory_unhealthy_percent", "memory_degraded_percent"),
            ("ring_unhealthy_percent", "ring_degraded_percent"),
            ("lag_unhealthy_ms", "lag_degraded_ms"),
        ):
            if values[worse] < values[better]:
                raise ValueError(f"{worse} must not be less than {better}")
