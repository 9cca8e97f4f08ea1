"""An engine whose machine loses its power at random moments, and what must be there afterwards.

One run of the engine is cut many times: within an operation of SQLite on its files, and so within
a commit, a checkpoint, a deletion, the sealing of samples, the making of the file, an image of the
disk is made, and the engine goes on.
"""

from __future__ import annotations

import itertools
import random
import shutil
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import apsw

from ax_monitor import (
    DistributedTracer,
    MetricsCollector,
    RetentionService,
    Store,
    StructuredLogger,
    WorkflowMonitor,
)
from ax_monitor.storage.integrity import Inspector
from tests.conftest import FakeClock
from tests.faults.harness import wait_until
from tests.faults.power_cut_vfs import PowerCutVFS

Durability = Literal["normal", "strict"]

STEP_S = 0.05  # of the clock: it moves only between two pieces of work
WINDOW_S = 1.0 + STEP_S  # what "normal" may lose: a commit a second is synced
PAGE_BYTES = 4096
OLD_MS = 40 * 86_400_000
KINDS = ("log", "span", "sample", "step")
RINGS = ("gone", "as it was", "old", "pages of both")


@dataclass(frozen=True, slots=True)
class Cut:
    """An image, and what is known of the engine at its moment.

    Args:
        folder: Where the image is.
        during: The operation that was under way.
        made: How many records had been begun.
        flushed: For how many of them a flush had returned.
        promised: The same of those that must be there.
        ring: What is left of the ring's file.
    """

    folder: Path
    during: str
    made: int
    flushed: int
    promised: int
    ring: str

    @property
    def db(self) -> str:
        """The path of the database."""
        return str(self.folder / "monitor.db")


class Engine:
    """Records of all kinds, numbered in the order of the ring, on a disk that can be cut.

    Args:
        folder: For the database, and for the images.
        durability: Of the store.
        rng: Decides everything.
        each: About one write of so many is cut.
        limit: So many cuts at most.
    """

    def __init__(
        self, folder: Path, durability: Durability, rng: random.Random, *, each: int, limit: int
    ) -> None:
        self.cuts: list[Cut] = []
        self._folder = folder
        self._strict = durability == "strict"
        self._rng = rng
        self._each = each
        self._limit = limit
        self._made = 0
        self._flushes: list[tuple[float, int]] = [(0.0, 0)]  # when one returned, and for how many
        self._unsynced_s: float | None = None
        self._old_ring = b""
        self._clock = FakeClock(time.time_ns() // 1_000_000)
        self._db = folder / "monitor.db"
        self._vfs = PowerCutVFS()
        self._vfs.disk.watcher = self._happens
        self._store = Store(
            self._db,
            vfs=self._vfs.vfs_name,
            durability=durability,
            ring_bytes=3 * 1024 * 1024,
            clock=self._clock,
        )
        # Nothing is written before somebody flushes, so that the clock stands still meanwhile.
        self._logger = StructuredLogger(
            self._store, flush_interval_ms=3_600_000, buffer_size=100_000
        )
        self._tracer = DistributedTracer(self._store)
        self._series = MetricsCollector(self._store).series("load")
        self._workflows = WorkflowMonitor(self._store)
        self._run = self._workflows.start_execution("wf", "power")

    def work(self, rounds: int) -> None:
        """Record, flush, delete, copy the WAL back, let time pass."""
        for _ in range(300):
            at_ms = self._clock.now_ms - OLD_MS
            self._logger.log_at(
                9, "old " + "x" * self._rng.randrange(800), "power", timestamp_ns=at_ms * 10**6
            )
        retention = RetentionService(self._store, logs_days=30)
        acts = [self._record] * 6 + [self._checkpoint, self._idle, retention.run]
        for number in range(rounds):
            self._rng.choice(acts)() if number else self._record()
            self._look_at_wal()
            self._clock.advance(STEP_S)
            if number % 40 == 39:
                self._pass_a_minute()

    def close(self) -> None:
        """End properly, cut all the same."""
        self._store.close()

    # -- what it does -----------------------------------------------------------------------------

    def _record(self) -> None:
        self._make(self._rng.choice([1, 3, 30, 200]))
        if self._rng.random() < 0.9:
            self._flush()

    def _make(self, count: int) -> None:
        for _ in range(count):
            number = self._made
            self._made += 1
            match KINDS[number % len(KINDS)]:
                case "log":
                    self._logger.info(f"m{number}", "power", metadata={"x": "y" * (number % 900)})
                case "span":
                    with self._tracer.trace(None, f"m{number}", number=number):
                        pass
                case "sample":
                    self._series.record_at(number, self._clock.now_ms - 61_000 + number)
                case _:
                    step = self._workflows.start_step(self._run, f"m{number}")
                    self._workflows.complete_step(step)

    def _flush(self) -> None:
        count = self._made
        assert self._store.flush(), self._store.stats()
        self._flushes.append((self._clock.now_s, count))

    def _checkpoint(self) -> None:
        self._store.checkpoint()

    def _idle(self) -> None:
        """Nothing is recorded until the pump has synced what it has written, when that is due."""
        self._make(1)
        self._flush()
        self._look_at_wal()
        if self._unsynced_s is not None:
            self._clock.advance(max(0.0, self._unsynced_s + 1.001 - self._clock.now_s))
        wait_until(self._is_synced, 10, "synced within the window")

    def _is_synced(self) -> bool:
        self._clock.advance(0.001)  # samples may have been sealed meanwhile, and are synced as well
        self._store.recorder.ring.wake()
        return self._vfs.disk.is_synced("-wal")

    def _look_at_wal(self) -> None:
        """Remember since when there is something in it that is not synced."""
        if self._vfs.disk.is_synced("-wal"):
            self._unsynced_s = None
        elif self._unsynced_s is None:
            self._unsynced_s = self._clock.now_s

    def _pass_a_minute(self) -> None:
        """So that samples are sealed. What was flushed is older than a second then."""
        self._idle()
        self._clock.advance(61.0)
        self._store.recorder.ring.wake()

    # -- the cuts ---------------------------------------------------------------------------------

    def _happens(self, operation: str) -> None:
        # Most operations are writes; the others are cut more often than their share.
        each = self._each if operation == "write" else self._each / 25
        if len(self.cuts) < self._limit and self._rng.random() * each < 1:
            self._cut(operation)
        elif self._rng.random() < 0.02:
            self._old_ring = self._ring() or b""

    def _cut(self, operation: str) -> None:
        rng = self._rng
        folder = self._folder / f"cut-{len(self.cuts)}"
        folder.mkdir()
        self._vfs.disk.power_cut(folder, rng)
        ring, bytes_of_ring = self._ring_left(rng.choice(RINGS))
        if bytes_of_ring:
            (folder / "monitor.db-ring-0123456789abcdef").write_bytes(bytes_of_ring)
        returned = [
            count
            for at_s, count in self._flushes
            if self._strict or self._clock.now_s - at_s > WINDOW_S
        ]
        flushed = self._flushes[-1][1]
        self.cuts.append(
            Cut(folder, operation, self._made, flushed, max(returned, default=0), ring)
        )

    def _ring(self) -> bytes | None:
        found = list(self._folder.glob("monitor.db-ring-*"))
        return found[0].read_bytes() if found else None

    def _ring_left(self, how: str) -> tuple[str, bytes]:
        now, old = self._ring() or b"", self._old_ring
        if how == "as it was":
            return how, now
        if how == "old":
            return how, old
        if how == "pages of both" and len(now) == len(old):
            pages = range(0, len(now), PAGE_BYTES)
            parts = [self._rng.choice((now, old))[at : at + PAGE_BYTES] for at in pages]
            return how, b"".join(parts)
        return "gone", b""


def check(cut: Cut) -> Counter[str]:
    """Open an image as the next start of the machine would; what was found, in figures.

    Raises AssertionError with the cut in it.
    """
    try:
        return _check(cut)
    except Exception as error:
        raise AssertionError(f"{cut}: {error}") from error


def _check(cut: Cut) -> Counter[str]:
    clock = FakeClock(time.time_ns() // 1_000_000)
    clock.boot = "boot-2"
    with Store(cut.db, clock=clock) as store:
        assert store.flush(), store.stats()
        missing = store.stats().missing
    _check_file(cut.db)
    found, nameless = _found(cut.db)
    twice = [number for number, count in found.items() if count > 1]
    assert not twice, f"twice: {twice[:5]}"
    there = sorted(found)
    assert not there or there[-1] < cut.made, f"{there[-1]} was never made"
    holes = sorted(set(range(there[-1] + 1 if there else 0)) - set(there))
    lost = sorted(set(range(cut.promised)) - set(there))
    assert not lost, f"{len(lost)} of {cut.promised} that were promised: {lost[:5]}"
    # A ring that outlived the cut may have later records than the database. What is between them is
    # told of as missing, a definition of a series perhaps; but nobody knows what was on pages that
    # the disk never got.
    assert not holes or cut.ring != "gone", f"holes: {holes[:5]}"
    assert not nameless or cut.ring != "gone", f"{nameless} samples without a series"
    told = missing + nameless  # those samples are there, but are not found by their metric
    assert len(holes) <= told or cut.ring == "pages of both", (
        f"{len(holes)} holes, told of {missing} + {nameless} nameless: {holes[:5]}"
    )
    return Counter(
        cuts=1,
        flushed=cut.flushed,
        lost_in_window=len(set(range(cut.flushed)) - set(there)),
        made=cut.made,
        there=len(there),
        **{f"during {cut.during}": 1, f"ring {cut.ring}": 1},
    )


def _check_file(db: str) -> None:
    with Inspector(db) as inspector:
        assert inspector.integrity() == []
        assert inspector.schema_differences() == {}
        counts = inspector.row_counts()
        assert counts.records == counts.indexed
        assert counts.without_context == 0
        assert inspector.check_index() is None
        assert inspector.rejects().count == 0


def _found(db: str) -> tuple[Counter[int], int]:
    """How often each of the numbered records is there, whatever its kind; and how many samples of
    a series whose definition is lost."""
    connection = apsw.Connection(db, flags=apsw.SQLITE_OPEN_READONLY)
    try:
        names = [
            connection.execute("SELECT message FROM logs WHERE message LIKE 'm%'"),
            connection.execute("SELECT name FROM spans"),
            connection.execute(
                "SELECT step_key FROM workflow_step_executions WHERE started_at IS NOT NULL"
            ),
        ]
        found = Counter(int(name[1:]) for rows in names for (name,) in rows.fetchall())
    finally:
        connection.close()
    with MetricsCollector(db) as metrics:
        _, values = metrics.get_values("load", 0, 2**50)
        nameless = metrics.get_metric_count() - len(values)
    found.update(int(value) for value in values)
    return found, nameless


def cut_many(
    folder: Path, durability: Durability, count: int, seed: int, *, until_s: float = float("inf")
) -> Counter[str]:
    """So many cuts, of as many engines as it takes; their figures. The images are removed.

    Ends earlier at `until_s` on the monotonic clock.
    """
    rng = random.Random(seed)
    total: Counter[str] = Counter()
    for number in itertools.count():
        if total["cuts"] >= count or time.monotonic() > until_s:
            return total
        place = folder / f"{durability}-{number}"
        place.mkdir()
        # Some are cut at their beginning again and again, the others all along.
        engine = Engine(place, durability, rng, each=rng.choice([20, 150, 150, 150]), limit=25)
        try:
            engine.work(100)
        finally:
            engine.close()
        for cut in engine.cuts[: count - total["cuts"]]:
            total += check(cut)
        total["engines"] += 1
        shutil.rmtree(place)
    raise AssertionError("unreachable")
