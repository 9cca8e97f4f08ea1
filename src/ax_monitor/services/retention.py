"""Retention: what is old goes, and the space that it took is given back."""

from __future__ import annotations

import os
import random
import threading
import time
from collections.abc import Callable, Generator
from typing import Any, Final

from ax_monitor.model.retention import KINDS, RetentionReport
from ax_monitor.pipeline.scheduler import Schedule
from ax_monitor.pipeline.service import MS_PER_DAY, Service, check_positive
from ax_monitor.pipeline.slices import Slices, Step
from ax_monitor.pipeline.store import BARRIER_S, Store
from ax_monitor.storage import alerts, logs, retention, traces, workflows
from ax_monitor.storage.metric_deletion import Deletion

FIRST_S: Final = 300.0  # the first automatic run comes so long after the start, by half at random
CLOCKS_APART_MS: Final = 300_000  # a wall clock that differs by more is not to be relied on
REFUSED_SHARE: Final = 0.2
MERGE_SHARE: Final = 0.1  # the index is tidied once so much of it has been deleted
YOUNG_MS: Final = 60_000  # what is younger stays, however large the file
STEP_MS: Final = 1000  # so much of the time goes at once then, at least
MERGE_PAGES: Final = 16
VACUUM_PAGES: Final = 16

# Yields the seconds to pause before it goes on; returns how much was done.
Steps = Generator[float, None, int]


class RetentionService(Service):
    """Deletes what is older than it has to be, and keeps the file below a size.

    | what | by default older than | stays |
    |---|---|---|
    | traces with their spans and events | 7 days | |
    | log records | 30 days | |
    | executions with their steps | 30 days | those that run |
    | resolved alerts with their history | 30 days | those that are open |
    | samples | 90 days | |

    It works in transactions of some 20 ms with pauses between, so that recording goes on. What
    deleted records have left in the full-text index is taken out of it, and free space is given
    back to the file system. Should the file be larger than `max_bytes` then, the oldest log
    records, finished traces and samples go, whichever are older, until it is not; what is younger
    than a minute, open traces, executions and alerts stay.

    Time is the wall clock's, but never more than has really passed since the store was opened. If
    the wall clock has been set meanwhile (or the machine slept), no more than 20 % of a kind of
    record are deleted at once: the run leaves that kind alone and says so.

    Several processes may run it at once; each slice is a transaction of its own.

    Lifecycle: `start()` has it run by itself, `stop()` ends that. A forked child runs nothing by
    itself until it starts.
    Thread-safety: any thread.
    Cost: some 10 µs for each record that is deleted, and a look at some indexes where there is
    nothing to delete.

    >>> import os, tempfile
    >>> from ax_monitor import StructuredLogger
    >>> with Store(os.path.join(tempfile.mkdtemp(), "monitor.db")) as store:
    ...     StructuredLogger(store).log_at(9, "old", "s", timestamp_ns=1)
    ...     retention = RetentionService(store, logs_days=7)
    ...     retention.run(dry_run=True).logs, retention.run().logs, retention.run().logs
    (1, 1, 0)

    Args:
        store: A `Store`, the path of a database, or None for the process's default store.
        logs_days: Age from which on log records are deleted, in days; None: never. So are the next.
        traces_days: Of traces, by their end.
        executions_days: Of executions, by their end.
        metrics_days: Of samples.
        alerts_days: Of resolved alerts, by the time they were resolved.
        max_bytes: How large the file may be after a run (default None: as large as it gets).
        interval_ms: From one automatic run to the next (default 3600000, an hour).

    Events (`on`): `retention.completed` (RetentionReport), `retention.refused` ({kind, reason}),
    `retention.error` ({error}: an automatic run ended with it; the next one tries again).

    Raises:
        ValueError: an argument is out of range.
        StorageError: the database can't be opened.
    """

    def __init__(
        self,
        store: Store | str | os.PathLike[str] | None = None,
        *,
        logs_days: float | None = 30,
        traces_days: float | None = 7,
        executions_days: float | None = 30,
        metrics_days: float | None = 90,
        alerts_days: float | None = 30,
        max_bytes: int | None = None,
        interval_ms: int = 3_600_000,
    ) -> None:
        self._days = {
            "logs": logs_days,
            "traces": traces_days,
            "executions": executions_days,
            "samples": metrics_days,
            "alerts": alerts_days,
        }
        for name, days in self._days.items():
            is_number = isinstance(days, (int, float)) and not isinstance(days, bool)
            if days is not None and not (is_number and 0 <= days < float("inf")):
                option = "metrics" if name == "samples" else name
                raise ValueError(f"{option}_days must be at least 0 or None, got {days!r}")
        if max_bytes is not None:
            check_positive("max_bytes", max_bytes)
        check_positive("interval_ms", interval_ms)
        self._max_bytes = max_bytes
        self._interval_s = interval_ms / 1000
        self._merge_due = 0  # log records deleted since the index was tidied
        self.is_decided = False  # somebody has called start or stop
        self._use_store(store)
        self._reset()
        self._store.attach(self)

    def _reset(self) -> None:
        self._starting = threading.Lock()  # guards the schedule
        self._schedule: Schedule | None = None
        self._automatic: _Run | None = None  # under way, on the scheduler's thread

    # -- runs -------------------------------------------------------------------------------------

    def run(self, dry_run: bool = False) -> RetentionReport:
        """Delete what is old, and give back its space; with `dry_run`, only say what would go.

        Raises:
            StorageError: the database can't be read or written. What is done is done.
        """
        if dry_run:
            return self._would_do()
        run = _Run(self)
        while (pause_s := run.go_on()) is not None:
            time.sleep(pause_s)
        return self._told(run)

    def _told(self, run: _Run) -> RetentionReport:
        report = run.report()
        events = self._store.events
        for kind, reason in report.refused.items():
            events.emit("retention.refused", {"kind": kind, "reason": reason})
        events.emit("retention.completed", report)
        return report

    def _would_do(self) -> RetentionReport:
        begun = time.perf_counter()
        counts: dict[str, Any] = {}
        refused: dict[str, str] = {}
        for kind, before_ms in self._limits().items():
            if (reason := self._refusal(kind, before_ms)) is not None:
                refused[kind] = reason
            else:
                counts[kind] = self._count(kind, before_ms)
        size = self._store.read(retention.file_size)
        return RetentionReport(
            dry_run=True,
            **counts,
            bytes_before=size.total,
            bytes_after=size.total,
            refused=refused,
            duration=(time.perf_counter() - begun) * 1000,
        )

    def _count(self, kind: str, before_ms: int) -> int:
        return self._store.read(lambda c: retention.count_old(c, kind, before_ms))

    def _limits(self) -> dict[str, int]:
        """Before which time records of a kind are deleted, in ms."""
        now_ms = self._store.believable_time_ms()
        # As everywhere, what is exactly so old goes; traces count by whole milliseconds.
        return {
            kind: now_ms - int(days * MS_PER_DAY) + (kind != "traces")
            for kind, days in self._days.items()
            if days is not None
        }

    def _refusal(self, kind: str, before_ms: int) -> str | None:
        """Why nothing of a kind is to be deleted."""
        apart_ms = self._store.clocks_apart_ms
        if apart_ms <= CLOCKS_APART_MS:
            return None
        old = self._count(kind, before_ms)
        share = old / max(1, self._store.read(lambda c: retention.count_all(c, kind)))
        if share <= REFUSED_SHARE:
            return None
        return (
            f"{old} of them ({share:.0%}) are too old, but the wall clock and the monotonic clock "
            f"differ by {apart_ms / 1000:.0f} s since the database was opened: no more than "
            f"{REFUSED_SHARE:.0%} are deleted then"
        )

    # -- automatic --------------------------------------------------------------------------------

    def start(self, *, first_s: float | None = None) -> None:
        """Run by itself, on the store's scheduler, at the interval. May be called twice.

        Args:
            first_s: After how many seconds first (default: some minutes, at random, so that
                processes that start together do not run it together).

        Raises:
            StorageError: the store has been closed.
        """
        self.is_decided = True
        if first_s is None:
            first_s = min(FIRST_S, self._interval_s) * random.uniform(0.5, 1.0)
        with self._starting:
            if self._schedule is None:
                self._schedule = self._store.scheduler.every(
                    "retention", self._interval_s, self.tick, first_s=first_s
                )

    def stop(self) -> None:
        """No more automatic runs; else as of every service. May be called twice."""
        self.is_decided = True
        self.store_closes()
        super().stop()

    def tick(self) -> float | None:
        """What the scheduler calls: one slice of an automatic run; when it wants to go on, in s."""
        try:
            if self._automatic is None:
                self._automatic = _Run(self)
            pause_s = self._automatic.go_on()
            if pause_s is None:
                run, self._automatic = self._automatic, None
                self._told(run)
            return pause_s
        except Exception as error:  # the next run may do better
            self._automatic = None
            if not self._store.closed:
                self._store.events.emit("retention.error", {"error": str(error)})
            return None

    def store_closes(self) -> None:
        """Called by the store."""
        with self._starting:
            schedule, self._schedule = self._schedule, None
        if schedule is not None:
            schedule.cancel()

    def after_fork_in_child(self) -> None:
        """Called by the store."""
        self._reset()


class _Run:
    """One run, a slice at a time."""

    def __init__(self, service: RetentionService) -> None:
        self._service = service
        self._store = service._store
        self._begun = time.perf_counter()
        self._counts: dict[str, Any] = dict.fromkeys(KINDS, 0)
        self._refused: dict[str, str] = {}
        self._longest_s = 0.0
        self._before = self._after = 0
        self._steps = self._all_steps()

    def go_on(self) -> float | None:
        """Do some more; the seconds to pause after it, None: that was all."""
        return next(self._steps, None)

    def report(self) -> RetentionReport:
        """What has been done."""
        return RetentionReport(
            **self._counts,
            bytes_before=self._before,
            bytes_after=self._after,
            refused=self._refused,
            longest_lock=self._longest_s * 1000,
            duration=(time.perf_counter() - self._begun) * 1000,
        )

    def _all_steps(self) -> Generator[float, None, None]:
        service = self._service
        self._store.settle(BARRIER_S)
        self._before = self._size().total
        for kind, before_ms in service._limits().items():
            reason = service._refusal(kind, before_ms)
            if reason is not None:
                self._refused[kind] = reason
            else:
                yield from self._delete(kind, before_ms)
        yield from self._tidy_index()
        if service._max_bytes is not None:
            yield from self._shrink_to(service._max_bytes)
        yield from self._give_back()
        self._after = self._size().total

    def _delete(self, kind: str, before_ms: int, *, keep_open: bool = False) -> Steps:
        deletion = Deletion(before_ms, self._store.clock.time_ms())
        steps: dict[str, Step] = {
            "logs": lambda c, n: logs.delete_logs(c, before_ms, n),
            "traces": lambda c, n: traces.delete_traces(c, before_ms, n, keep_open=keep_open),
            "executions": lambda c, n: workflows.delete_executions(c, before_ms, n),
            "alerts": lambda c, n: alerts.delete_resolved(c, before_ms, n),
            "samples": lambda c, n: _samples(deletion, c),
        }
        if kind == "alerts":
            self._store.write(lambda c: alerts.delete_silences(c, before_ms))
        slices = Slices(self._store.write)
        deleted = 0
        more = True
        while more:
            done, more = slices.run(steps[kind])
            deleted += done
            self._counts[kind] += done
            if more:
                yield self._pause(slices)
        if kind == "logs":
            self._service._merge_due += deleted
        return deleted

    def _pause(self, slices: Slices) -> float:
        self._longest_s = max(self._longest_s, slices.longest_s)
        return slices.pause_s

    def _tidy_index(self, *, always: bool = False) -> Generator[float, None, None]:
        """Rewrite the full-text index without what was deleted, once that is a good part of it."""
        due = self._service._merge_due
        if not due or not (
            always
            or due >= MERGE_SHARE * self._store.peek(lambda c: retention.count_all(c, "logs"))
        ):
            return
        self._service._merge_due = 0
        merge = retention.IndexMerge()
        yield from self._repeat(merge.step, MERGE_PAGES)

    def _repeat(self, step: Callable[[Any, int], bool], rows: int) -> Generator[float, None, None]:
        slices = Slices(self._store.write, rows)
        while slices.run(step):
            yield self._pause(slices)
        self._pause(slices)

    def _shrink_to(self, max_bytes: int) -> Generator[float, None, None]:
        """Delete the oldest of everything, a part of the time at a time, until the file fits."""
        step_ms = 0
        while (used := self._size().used) > max_bytes:
            now_ms = self._store.believable_time_ms()
            oldest = self._store.peek(retention.oldest_ms)
            if oldest is None or oldest >= now_ms - YOUNG_MS:
                break
            # Half of what would do if it were spread evenly: so it comes near from above.
            share = max((used - max_bytes) / used / 2, 1 / 128)
            step_ms = max(step_ms, STEP_MS, int((now_ms - oldest) * share))
            before_ms = min(oldest + step_ms, now_ms - YOUNG_MS)
            deleted = 0
            for kind in ("logs", "traces", "samples"):
                deleted += yield from self._delete(kind, before_ms, keep_open=True)
            yield from self._tidy_index(always=True)
            if not deleted and before_ms == now_ms - YOUNG_MS:
                break  # what is there of that time is not to be deleted
            # A time with nothing in it is passed over faster and faster.
            step_ms = 0 if deleted else 2 * step_ms
        if used > max_bytes:
            self._refused["size"] = (
                f"{used} bytes are in use, more than max_bytes={max_bytes}, but what is left "
                "is younger than a minute, or open, or no log record, trace or sample"
            )

    def _give_back(self) -> Generator[float, None, None]:
        free = self._size().free
        if free:
            yield from self._repeat(retention.vacuum, VACUUM_PAGES)
            self._store.checkpoint()

    def _size(self) -> retention.FileSize:
        return self._store.peek(retention.file_size)


def _samples(deletion: Deletion, connection: Any) -> tuple[int, bool]:
    before = deletion.deleted
    more = deletion.step(connection)
    return deletion.deleted - before, more
