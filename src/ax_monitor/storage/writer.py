"""The write connection and what the pump does with it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import apsw

from ax_monitor._native import BATCH_EXTENSION, BATCH_EXTENSION_ENTRY, BatchWriter, RecordRing
from ax_monitor.errors import StorageError
from ax_monitor.storage import traces, workflows
from ax_monitor.storage.connection import (
    OPEN_TIMEOUT_MS,
    WRITER_BUSY_MS,
    error_from_code,
    file_identity,
    load_extension,
    open_writer,
    storage_errors,
    translate,
)
from ax_monitor.storage.metric_deletion import Deletion
from ax_monitor.storage.migrations import migrate
from ax_monitor.storage.records import KINDS, write_batch
from ax_monitor.storage.sealing import Sealer
from ax_monitor.storage.search import merge_index

CHECKPOINT_PAGES = 4096  # 16 MiB of WAL; then what readers allow is copied back between batches
RESTART_PAGES = 8192  # 32 MiB: wait for readers for a moment, so that the WAL starts over
RESTART_WAIT_MS = 50
CONTENDED_NS = 500_000  # to get a write lock that is free takes less
_MODES = {
    "go on": apsw.SQLITE_CHECKPOINT_PASSIVE,
    "restart": apsw.SQLITE_CHECKPOINT_RESTART,
    "truncate": apsw.SQLITE_CHECKPOINT_TRUNCATE,
}


def ring_salt(ring_id: bytes) -> int:
    """The part of a ring's id that goes into the ids of its records."""
    return int.from_bytes(ring_id[:8], "little") & 0x3FFFFFFFF


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WalState:
    """What a checkpoint left: pages in the WAL, and how many of them are in the database too.

    Nobody can tell while another process opens or closes the file: -1 are copied then.
    """

    pages: int
    copied: int


class Writer:
    """The only connection that writes records.

    Lifecycle: opening it creates and migrates the file; `close()`.
    Thread-safety: one thread at a time (the pump's, or the one that closes).
    Cost: one transaction a batch, without the GIL from BEGIN to COMMIT.

    Args:
        path: The database.
        strict: Every commit is synced.
        vfs: The SQLite VFS (tests).
        wait_ms: How long opening waits for others that have it locked.
        boot_id: See `Clock.boot_id`.

    Raises:
        StorageError: from every method; `retryable` says whether trying again can help.
        SchemaVersionError: the file is from a newer version.
    """

    def __init__(
        self,
        path: str,
        *,
        strict: bool = False,
        vfs: str | None = None,
        wait_ms: int = OPEN_TIMEOUT_MS,
        boot_id: str = "",
    ) -> None:
        self.path = path
        self._boot_id = boot_id
        self._strict = strict
        self._sealer = Sealer()
        with storage_errors(path, "opening"):
            self._connection = open_writer(path, strict=strict, vfs=vfs, wait_ms=wait_ms)
        try:
            with storage_errors(path, "preparing"):
                migrate(self._connection, path)
                self._batch = self._make_batch()
                self._connection.set_busy_timeout(WRITER_BUSY_MS)
        except BaseException:
            self._connection.close(True)
            raise
        self._file = file_identity(path)
        self._wal_file = file_identity(f"{path}-wal")
        self._replaced = False
        self.commits = 0  # so far

    def _make_batch(self) -> BatchWriter:
        connection = self._connection
        load_extension(connection, BATCH_EXTENSION, BATCH_EXTENSION_ENTRY)
        statements = write_batch(self._boot_id)
        self._n_statements = len(statements)
        batch = BatchWriter(connection.sqlite3_pointer(), KINDS, statements)
        batch.persist_wal()
        return batch

    def check_files(self) -> None:
        """Make sure, after a commit, that it went to the files that others see.

        The database may have been deleted or replaced. Its WAL is deleted under us if another
        SQLite library in this process has opened and closed the database: that drops our locks
        (https://www.sqlite.org/howtocorrupt.html, 2.2), and whoever closes it next thinks that it
        is the last. What has been committed before is in the database then.

        Raises:
            StorageError: of kind "replaced". Only `close()` is allowed then.
        """
        wal_file = file_identity(f"{self.path}-wal")
        if self._wal_file is None:
            self._wal_file = wal_file
        if file_identity(self.path) == self._file and wal_file == self._wal_file:
            return
        self._replaced = True
        what = "its WAL" if file_identity(self.path) == self._file else "it"
        raise StorageError(
            f"{self.path} has to be opened again: another program deleted or replaced {what}",
            retryable=True,
            kind="replaced",
        )

    # -- batches -------------------------------------------------------------------------------

    def write_claim(self, ring: RecordRing, first_seq: int = 0, last_seq: int = 2**64 - 1) -> int:
        """Write the ring's claim, or a part of it, in one transaction; the number of records."""
        self._batch.load_ring(ring, first_seq, last_seq)
        return self._write()

    @property
    def had_to_wait(self) -> bool:
        """Did the last batch have to wait for another process that was writing?"""
        return self._batch.waited_ns > CONTENDED_NS

    def write_bytes(self, data: bytes, offsets: Sequence[int], ring_id: bytes, salt: int) -> int:
        """Write records of a ring file's bytes in one transaction; the number of records."""
        self._batch.load_bytes(data, offsets, ring_id, salt)
        return self._write()

    def _write(self) -> int:
        failure = self._batch.write()
        if failure is not None:
            code, message, statement = failure
            doing = (
                "writing to"
                if 0 <= statement < self._n_statements
                else ("starting to write to" if statement < 0 else "committing to")
            )
            raise translate(error_from_code(code, message), self.path, doing)
        self.commits += 1
        self.check_files()
        return self._batch.n_records

    def last_seq(self, ring_id: bytes) -> int:
        """Up to which record of this ring the database has everything; 0 if it has none."""
        with storage_errors(self.path, "reading"):
            row = self._connection.execute(
                "SELECT last_seq FROM recorder_rings WHERE ring_id = ?", (ring_id,)
            ).fetchone()
        return row[0] if row else 0

    def is_of_another_boot(self, ring_id: bytes) -> bool:
        """Is it known that the machine has been started again since a ring was written to?"""
        with storage_errors(self.path, "reading"):
            row = self._connection.execute(
                "SELECT boot_id FROM recorder_rings WHERE ring_id = ?", (ring_id,)
            ).fetchone()
        boot_id = row[0] if row else None
        return bool(self._boot_id and boot_id) and boot_id != self._boot_id

    def reject(self, ring_id: bytes, seq: int, record: bytes, error: str) -> None:
        """Set a record aside that the database refuses, and count it as done."""
        with storage_errors(self.path, "writing to"):
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.execute(
                    "INSERT OR REPLACE INTO recorder_rejects(ring_id, ring_seq, rejected_at, "
                    "error, record) VALUES (?, ?, unixepoch('subsec') * 1000, ?, ?)",
                    (ring_id, seq, error, record),
                )
                connection.execute(
                    "INSERT INTO recorder_rings(ring_id, salt, last_seq, updated_at) "
                    "VALUES (?1, ?2, ?3, unixepoch('subsec') * 1000) ON CONFLICT(ring_id) "
                    "DO UPDATE SET last_seq = max(last_seq, ?3), updated_at = excluded.updated_at",
                    (ring_id, ring_salt(ring_id), seq),
                )
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        self.commits += 1

    # -- durability ----------------------------------------------------------------------------

    def sync_next_commit(self, on: bool) -> None:
        """Sync the next commits to the disk, or leave that to the next checkpoint."""
        if not self._strict:
            with storage_errors(self.path, "configuring"):
                self._connection.execute(f"PRAGMA synchronous={'FULL' if on else 'NORMAL'}")

    def sync(self) -> None:
        """Sync everything that has been committed: by a commit of its own.

        Also what was committed although its COMMIT raised, perhaps because its sync failed.
        """
        with storage_errors(self.path, "committing to"):
            connection = self._connection
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("BEGIN IMMEDIATE")
            try:
                connection.execute("UPDATE recorder_state SET syncs = syncs + 1")
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        self.sync_next_commit(False)

    def make_safe(self) -> WalState:
        """Have everything that has been committed survive a power cut.

        A checkpoint syncs the WAL before it copies from it, but copies, and so syncs, nothing where
        a reader or another process is in its way.
        """
        wal = self.checkpoint()
        if wal.copied < wal.pages and not self._strict:
            self.sync()
        return wal

    def wal(self) -> WalState:
        """How large the WAL is, without doing anything about it."""
        with storage_errors(self.path, "reading"):
            try:
                return WalState(*self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_NOOP))
            except apsw.BusyError:
                return WalState(0, -1)  # look next time

    def checkpoint(self, then: Literal["go on", "restart", "truncate"] = "go on") -> WalState:
        """Copy the WAL back into the database, as far as readers allow (and sync both).

        Args:
            then: "restart": also wait a moment for readers, so that the WAL starts over;
                "truncate": and so that its file is empty.
        """
        mode = _MODES[then]
        try:
            if then != "go on":
                self._connection.set_busy_timeout(RESTART_WAIT_MS)
            return WalState(*self._connection.wal_checkpoint(mode=mode))
        except apsw.BusyError:
            return self.wal()  # a reader is in the way: the next one gets further
        except apsw.Error as error:
            raise translate(error, self.path, "checkpointing") from error
        finally:
            if then != "go on":
                self._connection.set_busy_timeout(WRITER_BUSY_MS)

    def interrupt_traces(self, ring_id: bytes) -> int:
        """Mark the traces that the owner of a ring left open; how many it were."""
        return self.change(lambda connection: traces.interrupt_traces(connection, ring_id))

    def interrupt_executions(self, ring_id: bytes) -> int:
        """End the executions and steps that the owner of a ring left; how many executions."""
        return self.change(lambda connection: workflows.interrupt_executions(connection, ring_id))

    def interrupt_lost(self) -> int:
        """Do both for all whose owner has ended because the machine has been started again since:
        their rings may be lost. How many recorders it were."""
        if not self._boot_id:
            return 0
        with storage_errors(self.path, "reading"):
            lost = self._connection.execute(
                "SELECT ring_id FROM recorder_rings WHERE boot_id <> ?", (self._boot_id,)
            ).fetchall()
        for (ring_id,) in lost:
            assert isinstance(ring_id, bytes)
            self.change(functools.partial(_interrupt_lost, ring_id=ring_id))
        return len(lost)

    def seal_samples(self, now_ms: int) -> bool:
        """Seal some chunks that are due, in one transaction; whether there is more at once.

        Costs a few microseconds where there is nothing to do.
        """
        with storage_errors(self.path, "reading"):
            due = self._sealer.due(self._connection, now_ms)
        return due and self.change(self._sealer.step)

    def merge_index(self, pages: int) -> bool:
        """Merge some pages of the full-text index, in one transaction; whether there was any.

        Costs some 20 µs where there is nothing to do.
        """
        with storage_errors(self.path, "writing to"):
            merged = merge_index(self._connection, pages)
        if merged:
            self.commits += 1
            self.check_files()
        return merged

    def delete_samples(self, deletion: Deletion) -> bool:
        """Go on with a deletion, in one transaction; whether there is more."""
        return self.change(deletion.step)

    def change(self, change: Callable[[apsw.Connection], T]) -> T:
        """Run `change` in one transaction. It has to be short: no batch is written meanwhile."""
        with storage_errors(self.path, "writing to"):
            connection = self._connection
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = change(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        self.commits += 1
        self.check_files()
        return result

    def close(self) -> None:
        """Let go of the file. The WAL stays for the next opener."""
        self._batch.close()
        try:
            if self._replaced:  # a WAL that nobody else sees must not get into the database
                self._connection.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
            self._connection.close(True)
        except apsw.Error as error:
            raise StorageError(f"closing {self.path} failed: {error}") from error


def _interrupt_lost(connection: apsw.Connection, *, ring_id: bytes) -> None:
    traces.interrupt_traces(connection, ring_id)
    workflows.interrupt_executions(connection, ring_id)
    connection.execute("UPDATE recorder_rings SET boot_id = NULL WHERE ring_id = ?", (ring_id,))
