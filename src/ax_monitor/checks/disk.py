"""How much room the disk has on which the database lies."""

from __future__ import annotations

import os
from collections.abc import Callable

from ax_monitor.checks.outcome import CannotTellError, Findings, Outcome
from ax_monitor.checks.thresholds import HealthThresholds


class DiskCheck:
    """The free space for a user who is not root, on the file system of the database itself.

    Args:
        path: The database.
        thresholds: See `HealthThresholds`.
        statvfs: Asks the file system (tests).
    """

    def __init__(
        self,
        path: str,
        thresholds: HealthThresholds,
        *,
        statvfs: Callable[[str], os.statvfs_result] = os.statvfs,
    ) -> None:
        self._path = path
        self._thresholds = thresholds
        self._statvfs = statvfs

    def __call__(self) -> Outcome:
        """Measure."""
        path = os.path.realpath(self._path)  # the database may be a link to another disk
        folder = os.path.dirname(path)
        facts = self._statvfs(folder)
        if not facts.f_blocks:
            raise CannotTellError(f"the file system of {folder} does not say how large it is")
        block = facts.f_frsize
        free, used = facts.f_bavail * block, (facts.f_blocks - facts.f_bfree) * block
        fillable = used + free  # without what is kept for root
        found = Findings(
            free_bytes=free,
            total_bytes=facts.f_blocks * block,
            usage_percent=round(100.0 * used / fillable, 1) if fillable else 100.0,
            size_bytes=sum(file_bytes(path + suffix) for suffix in ("", "-wal", "-shm")),
            path=folder,
        )
        text = f"{format_bytes(free)} free"
        if free < self._thresholds.disk_unhealthy_bytes:
            found.unhealthy(text)
        elif free < self._thresholds.disk_degraded_bytes:
            found.degraded(text)
        if facts.f_files and not facts.f_favail:  # some file systems have no such number
            found.unhealthy("no more files can be made: all inodes are in use")
        if facts.f_flag & getattr(os, "ST_RDONLY", 1):
            found.unhealthy("the file system is read-only")
        return found.outcome(text)


def file_bytes(path: str) -> int:
    """The size of a file; 0 if there is none. Never opens it: that would drop SQLite's locks."""
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0


def format_bytes(count: float) -> str:
    """A number of bytes for people.

    >>> format_bytes(999), format_bytes(499_999_999), format_bytes(83_600_000_000)
    ('999 bytes', '500 MB', '83.6 GB')
    """
    if count < 1000:
        return f"{count:.0f} bytes"
    for unit in ("kB", "MB", "GB"):
        count /= 1000
        if count < 999.5:
            return f"{count:.3g} {unit}"
    return f"{count / 1000:.3g} TB"
