"""What keeps the file in order, between two batches: checkpoints, index merges and sealing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from ax_monitor.clock import Clock
from ax_monitor.errors import StorageError
from ax_monitor.pipeline.failpoints import failpoint
from ax_monitor.storage.writer import CHECKPOINT_PAGES, RESTART_PAGES, Writer

MERGE_PAGES: Final = 16  # of the full-text index at a time: a flush may have to wait for them
MERGING_S: Final = 0.02  # merging goes on for so long between two batches
SEAL_S: Final = 5.0  # how often to look for samples whose minute is over
SEALING_S: Final = 0.2  # sealing goes on for so long between two batches
AGAIN_S: Final = 60.0  # merging or sealing is tried again after it failed
RESTART_AGAIN_S: Final = 1.0  # readers that keep a WAL from starting over are in peace for so long
SYNC_S: Final = 1.0  # at most so much may be committed without a sync to the disk


class Maintenance:
    """Checkpoints, merges of the full-text index, and the sealing of samples.

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
        self._next_merge_s = 0.0
        self._next_restart_s = 0.0
        self._merged = 0  # up to this commit, nothing is left to merge
        self._merging = False  # something is
        self._last_sync_s = clock.monotonic()
        self._commits = 0
        self._unsynced = False

    @property
    def due_s(self) -> float:
        """When there is something to do, on the monotonic clock."""
        due_s = self._next_seal_s
        if self._merging:
            due_s = min(due_s, self._next_merge_s)
        if self._unsynced:
            due_s = min(due_s, self._last_sync_s + SYNC_S)
        return due_s

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
            if wal.pages > RESTART_PAGES and now_s >= self._next_restart_s:
                # It holds the write lock while it waits for readers: not again at once.
                self._next_restart_s = now_s + RESTART_AGAIN_S
                writer.checkpoint("restart")

    def merge(self, writer: Writer, is_urgent: Callable[[], bool]) -> None:
        """Merge segments of the full-text index for a moment, or a little if somebody waits.

        So no commit has to. What is left is merged in the next round.
        """
        now_s = self._clock.monotonic()
        if now_s < self._next_merge_s or (not self._merging and self._merged == writer.commits):
            return
        try:
            while writer.merge_index(MERGE_PAGES):
                self._merging = True
                self.checkpoint(writer, idle=False)
                if is_urgent() or self._clock.monotonic() > now_s + MERGING_S:
                    return
            self._merging = False
            self._merged = writer.commits
        except Exception as error:  # a defect of ours must not end the thread
            self._next_merge_s = now_s + self._pause_after(error, "merging the full-text index")

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
            self._next_seal_s = now_s + self._pause_after(error, "sealing samples")

    def _pause_after(self, error: Exception, what: str) -> float:
        """Report that something failed; when to try it again, in s."""
        if isinstance(error, StorageError) and error.kind == "locked":
            return SEAL_S
        self._report(f"{what} failed, it is tried again: {error}")
        return AGAIN_S
