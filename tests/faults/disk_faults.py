"""A store on a disk whose n-th operation fails, for each n, and what must be stored in the end."""

from __future__ import annotations

import itertools
import random
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import apsw

import ax_monitor
from tests.faults.faulty_vfs import FaultyVFS
from tests.faults.harness import check_invariant, check_ledger, recover, wait_until

Durability = Literal["normal", "strict"]
How = Literal["disk full", "I/O error", "short write"]
HOW: tuple[How, ...] = ("disk full", "I/O error", "short write")
OLD_MS = 40 * 86_400_000


@dataclass(frozen=True, slots=True)
class Fault:
    """What fails.

    Args:
        operations: One of these, counted together …
        how: … in this way; a short write has written its first half.
        durability: Of the store.
        times: So many of them in a row.
    """

    operations: tuple[str, ...]
    how: How
    durability: Durability
    times: int


def fail_each(folder: Path, fault: Fault, *, step: int = 1, until_s: float = float("inf")) -> int:
    """Let the n-th operation fail, for every `step`-th n, until there is none; for how many n.

    Ends earlier at `until_s` on the monotonic clock. Raises AssertionError where a record is
    missing or there twice.
    """
    hits = 0
    for first in itertools.count(random.randint(1, step), step):
        hit = _fail_at(folder / f"{first}.db", fault, first)
        for path in folder.glob(f"{first}.db*"):
            path.unlink()
        if not hit or time.monotonic() > until_s:
            break
        hits += 1
    return hits


def _fail_at(path: Path, fault: Fault, first: int) -> int:
    """One run; how many operations failed in it."""
    db = str(path)
    vfs = FaultyVFS()
    store = ax_monitor.Store(db, vfs=vfs.vfs_name, durability=fault.durability)
    logger = ax_monitor.StructuredLogger(store)
    retention = ax_monitor.RetentionService(store, logs_days=30)
    old_ns = (time.time_ns() // 10**6 - OLD_MS) * 10**6
    for _ in range(50):
        logger.log_at(9, "old " + "x" * 2000, "d6", timestamp_ns=old_ns)
    assert store.flush()
    vfs.faults.short = fault.how == "short write"
    error = apsw.FullError if fault.how == "disk full" else apsw.IOError
    vfs.faults.arm(*fault.operations, first=first, times=fault.times, error=error)
    messages = [f"m{number}" for number in range(60)]
    for index, message in enumerate(messages):
        logger.info(message, "d6")
        if index % 10 == 9:
            store.flush()
        if index in (25, 55):
            _shrink(store, retention)
    hit = vfs.faults.hit
    vfs.faults.disarm()
    wait_until(store.flush, 10)
    retention.run()
    check_invariant(store.stats())
    assert store.stats().stored == len(messages) + 50
    store.close()
    recover(db)
    check_ledger(db, messages)
    connection = apsw.Connection(db, flags=apsw.SQLITE_OPEN_READONLY)
    assert connection.pragma("integrity_check") == "ok"
    connection.close()
    return hit


def _shrink(store: ax_monitor.Store, retention: ax_monitor.RetentionService) -> None:
    """Delete what is old, and cut the file short; that may fail like any other caller's wish."""
    try:
        retention.run()
        store.checkpoint()
    except ax_monitor.StorageError:
        pass
