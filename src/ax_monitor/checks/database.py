"""Does the database answer, how fast, and can it be written?"""

from __future__ import annotations

import time
from typing import Any

from ax_monitor.checks.disk import file_bytes, format_bytes
from ax_monitor.checks.outcome import Findings, Outcome, describe
from ax_monitor.checks.thresholds import HealthThresholds
from ax_monitor.errors import StorageError
from ax_monitor.pipeline.store import Store
from ax_monitor.storage import health as storage


class DatabaseCheck:
    """A small query through a reader, and the write lock taken for a moment.

    Nothing waits for the recorder here: whether that keeps up is the component `recorder`.

    Args:
        store: The database.
        thresholds: See `HealthThresholds`.
        limit_s: The time limit of the check.
    """

    def __init__(self, store: Store, thresholds: HealthThresholds, limit_s: float) -> None:
        self._store = store
        self._thresholds = thresholds
        # So that a locked database is called that, and not a check that hangs.
        self._lock_wait_ms = int(min(thresholds.database_lock_ms, limit_s * 1000 / 2))

    def __call__(self) -> Outcome:
        """Measure."""
        found = Findings(writable=False)
        fine = self._read(found) and self._write(found)
        return found.outcome("" if not fine else _summary(found.metadata))

    def _read(self, found: Findings) -> bool:
        started = time.perf_counter()
        try:
            facts = self._store.peek(storage.look)
        except StorageError as error:
            found.unhealthy(_reason(error, "it can't be read"))
            return False
        query_ms = (time.perf_counter() - started) * 1000
        found.metadata |= {
            "query_ms": round(query_ms, 3),
            "size_bytes": facts.bytes,
            "wal_bytes": file_bytes(f"{self._store.path}-wal"),
            "journal_mode": facts.journal_mode,
            "read_only": self._store.read_only,
        }
        if query_ms > self._thresholds.database_slow_ms:
            found.degraded(f"a small query took {query_ms:.0f} ms")
        if facts.journal_mode != "wal":
            found.degraded(
                f"the journal mode is {facts.journal_mode!r}, not WAL: readers and writers wait "
                "for each other"
            )
        return True

    def _write(self, found: Findings) -> bool:
        if self._store.read_only:
            return True
        started = time.perf_counter()
        try:
            self._store.take_write_lock(self._lock_wait_ms)
        except StorageError as error:
            held = f"the write lock has been held by others for {self._lock_wait_ms} ms"
            found.unhealthy(
                held if error.kind == "locked" else _reason(error, "it can't be written")
            )
            return False
        found.metadata["writable"] = True
        found.metadata["lock_wait_ms"] = round((time.perf_counter() - started) * 1000, 3)
        return True


def _reason(error: StorageError, what: str) -> str:
    return f"{what}: {describe(error)}"


def _summary(metadata: dict[str, Any]) -> str:
    size, mode = format_bytes(metadata["size_bytes"]), metadata["journal_mode"]
    opened = ", opened read-only" if metadata["read_only"] else ""
    return f"a query takes {metadata['query_ms']:.1f} ms, {size}, {mode} mode{opened}"
