"""What keeps the file in order, between two batches: checkpoints and sealing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ax_monitor.clock import Clock
from ax_monitor.errors import StorageError
from ax_monitor.pipeline.failpoints import failpoint
from ax_monitor.storage.writer import CHECKPOINT_PAGES, RESTART_PAGES, Writer

SEAL_S: Final = 5.0  # how often to look for samples whose minute is over
SEALING_S: Final = 0.2  # sealing goes on for so long between two batches
SEAL_AGAIN_S: Final = 60.0  # the same after that failed
SYNC_S: Final = 1.0  # at most so much may be committed without a sync to the disk


class Maintenance:
    """Checkpoints and the sealing of samples.

    Thread-safety: none; the pump calls it with its lock held.

    Args:
        clock: Tells when something is due.
        report: Gets a line about what went wrong.
        strict: Every commit is synced anyway.
    """

    def __init__(self, clock: Clock, report: Callable[[str], None], *, strict: bool) -> None:
        self._clock = clock
        self._report = report
        self._strict = strict
        self._next_seal_s = 0.0
        self._last_sync_s = clock.monotonic()
        self._commits = 0
        self._unsynced = False

    @property
    def due_s(self) -> float:
        """When there is something to do, on the monotonic clock."""
        if self._unsynced:
            return min(self._next_seal_s, self._last_sync_s + SYNC_S)
        return self._next_seal_s

    def sync_due(self, now_s: float) -> bool:
        """Is the next commit to be synced?"""
        return now_s >= self._last_sync_s + SYNC_S

    def synced(self, writer: Writer, now_s: float) -> None:
        """A commit was synced, and so all before it."""
        self._commits = writer.commits
        self._unsynced = False
        self._last_sync_s = now_s

    def look_at(self, writer: Writer) -> None:
        """Has anything been committed, of whatever kind?"""
        if writer.commits != self._commits:
            self._commits = writer.commits
            self._unsynced = not self._strict

    def checkpoint(self, writer: Writer, *, idle: bool) -> None:
        """Copy the WAL back if it is large, or if nothing else is to be done."""
        self.look_at(writer)
        wal = writer.wal()
        now_s = self._clock.monotonic()
        due = idle and self._unsynced and self.sync_due(now_s)
        if wal.pages - wal.copied > CHECKPOINT_PAGES or due:
            failpoint("before_checkpoint")
            wal = writer.make_safe() if due else writer.checkpoint()
            failpoint("after_checkpoint")
            if due or wal.copied == wal.pages:
                self.synced(writer, now_s)
            if wal.pages > RESTART_PAGES:
                writer.checkpoint("restart")

    def seal(self, writer: Writer, is_busy: Callable[[], bool]) -> None:
        """Bring samples of minutes that are over into their final form, for a moment.

        Nothing depends on when it happens, so what goes wrong here is only reported.
        """
        now_s = self._clock.monotonic()
        if now_s < self._next_seal_s:
            return
        try:
            more = True
            while more and not is_busy():
                more = writer.seal_samples(self._clock.time_ms())
                self.checkpoint(writer, idle=False)
                if self._clock.monotonic() > now_s + SEALING_S:
                    break
            self._next_seal_s = now_s if more else now_s + SEAL_S
        except Exception as error:  # a defect of ours must not end the thread
            locked = isinstance(error, StorageError) and error.kind == "locked"
            self._next_seal_s = now_s + (SEAL_S if locked else SEAL_AGAIN_S)
            if not locked:
                self._report(f"sealing samples failed, it is tried again: {error}")
