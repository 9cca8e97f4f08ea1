"""Read-only connections, one for each query that runs at the moment."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator

import apsw

from ax_monitor._native import keep_forever
from ax_monitor.errors import StorageError
from ax_monitor.storage.connection import (
    check_location,
    file_identity,
    open_reader,
    storage_errors,
)
from ax_monitor.storage.migrations import check_readable

MAX_IDLE = 8  # connections kept open between queries


class ReaderPool:
    """Connections for queries: taken out for one query, put back after it.

    All connections of a process to a file share what SQLite knows of its WAL. So where the file or
    its WAL has been replaced, all have to be closed before one is opened again: `replace()`.

    Thread-safety: any number of threads; a connection is used by one at a time.
    Raises StorageError if the file does not exist or is not one of ours; it is never created here.

    Args:
        path: The database.
        vfs: The SQLite VFS.
        on_replaced: Called when a query finds that the file has been replaced, before it is opened
            again.
    """

    def __init__(
        self,
        path: str,
        *,
        vfs: str | None = None,
        on_replaced: Callable[[], None] = lambda: None,
    ) -> None:
        self.path = path
        self._vfs = vfs
        self._on_replaced = on_replaced
        self._lock = threading.Lock()
        self._idle: list[apsw.Connection] = []
        self._generation = 0  # connections of an earlier one are not put back
        self._files: object = None  # those that are read; None: not known yet
        self._closed = False
        self._pid = os.getpid()

    @contextlib.contextmanager
    def connection(self, *, wait: bool = True) -> Iterator[apsw.Connection]:
        """One connection for the length of a `with` block.

        Without `wait`, a StorageError if another thread takes one out at this moment, or this one
        does and was interrupted.
        """
        if self._files is not None and self._files != self._files_now():
            if not wait:
                raise StorageError(f"{self.path} has been replaced", retryable=True)
            self._on_replaced()
            self.replace()
        if not self._lock.acquire(blocking=wait):
            raise StorageError(f"{self.path} is in use", retryable=True)
        try:
            if self._closed:
                raise StorageError(f"{self.path} has been closed")
            generation = self._generation
            connection = self._idle.pop() if self._idle else None
        finally:
            self._lock.release()
        if connection is None:
            connection = self._open()
            self._files = self._files_now()
        pid = self._pid
        try:
            with storage_errors(self.path, "reading"):
                yield connection
        finally:
            if pid == self._pid:
                self._put_back(connection, generation)
            else:
                keep_forever(connection)  # forked within the block: it is the parent's

    def _files_now(self) -> object:
        return file_identity(self.path), file_identity(f"{self.path}-wal")

    def replace(self) -> None:
        """The file is another one now: close what is idle, and what is in use after its query."""
        with self._lock:
            self._generation += 1
            self._files = None
            idle, self._idle = self._idle, []
        for connection in idle:
            _close(connection)

    def _put_back(self, connection: apsw.Connection, generation: int) -> None:
        with self._lock:
            is_current = generation == self._generation and not self._closed
            keep = is_current and len(self._idle) < MAX_IDLE
            if keep:
                self._idle.append(connection)
        if not keep:
            _close(connection)

    def _open(self) -> apsw.Connection:
        check_location(self.path)
        with storage_errors(self.path, "opening"):
            connection = open_reader(self.path, vfs=self._vfs)
        try:
            with storage_errors(self.path, "reading"):
                check_readable(connection, self.path)
        except BaseException:
            connection.close(True)
            raise
        return connection

    def close(self) -> None:
        """Close what is idle; what is in use closes when its query ends. May be called twice."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
        for connection in idle:
            _close(connection)

    def forget(self) -> list[apsw.Connection]:
        """In a forked child: give up the connections without touching them; they are returned."""
        idle, self._idle = self._idle, []
        self._lock = threading.Lock()
        self._pid = os.getpid()
        return idle


def _close(connection: apsw.Connection) -> None:
    # It only reads, so nothing depends on how well that goes.
    with contextlib.suppress(apsw.Error):
        connection.close(True)
