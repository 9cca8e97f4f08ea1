"""`Store`: one database file, its recorder and its readers. All that services see of both."""

from __future__ import annotations

import atexit
import contextlib
import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, Protocol, TypeVar
from weakref import WeakSet

from ax_monitor import config
from ax_monitor._native import keep_forever
from ax_monitor.clock import SYSTEM_CLOCK, Clock
from ax_monitor.config import StoreOptions
from ax_monitor.errors import StorageError
from ax_monitor.events import Events
from ax_monitor.pipeline import ring_files
from ax_monitor.pipeline.scheduler import Scheduler
from ax_monitor.pipeline.slices import Step, run_in_slices
from ax_monitor.storage.connection import Connection, take_write_lock
from ax_monitor.storage.readers import ReaderPool

if TYPE_CHECKING:
    from ax_monitor.pipeline.recorder import Recorder
    from ax_monitor.pipeline.recording import LogDrops, Recording
    from ax_monitor.pipeline.stats import RecorderState, RecorderStats

FLUSH_S: Final = 30.0  # how long a flush waits for pending records to be written …
BARRIER_S: Final = 5.0  # … and how long a query does
P = ParamSpec("P")
T = TypeVar("T")


class AttachedService(Protocol):
    """A service with something of its own to end."""

    def store_closes(self) -> None:
        """The store closes now, or the interpreter exits: end what goes on by itself."""

    def after_fork_in_child(self) -> None:
        """All threads stayed with the parent. Only swap pointers."""


class Store:
    """One database file: everything that is recorded goes in, every query comes out.

    Opening creates the file if need be, takes over what dead processes left in their rings, and
    starts the pump's thread on first use. Several processes, and several stores in one process, may
    use one file at once. In a forked child a store goes on by itself, with a ring and a connection
    of its own.

    Lifecycle: `close()`, or a `with` block. Without either, the interpreter's exit does it.
    Thread-safety: any thread.
    Cost: about 17 MiB of disk for the ring while it is open, one thread, four file descriptors more
    than the database's.

    >>> import os, tempfile
    >>> path = os.path.join(tempfile.mkdtemp(), "monitor.db")
    >>> with Store(path) as store:
    ...     store.stats().stored
    0

    Args:
        path: The database (default: `AX_MONITOR_DB`, else `.ax/monitor.db`, whose folder is made).
        read_only: Only look: nothing is created, recorded or recovered.
        clock: Where the time comes from (tests).
        options: See `StoreOptions`, whose fields are also accepted as keyword arguments.

    Raises:
        StorageError: the path can't be used. A disk that is full or read-only is no reason: the
            store then starts degraded, keeps what is recorded in the ring, and can be read.
        SchemaVersionError: a newer ax-monitor wrote the file; it can be opened read-only.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        read_only: bool = False,
        clock: Clock = SYSTEM_CLOCK,
        options: StoreOptions | None = None,
        **option_fields: Any,
    ) -> None:
        if options is not None and option_fields:
            raise TypeError("pass either options or its fields, not both")
        self.options = options or StoreOptions(**option_fields)
        given = config.database_path(path)
        if given == ":memory:" or given.startswith("file:"):
            raise StorageError(f"{given!r} is not a file path: a store needs a file of its own")
        if given == config.DEFAULT_DATABASE and not read_only:
            os.makedirs(os.path.dirname(given), mode=0o700, exist_ok=True)
        # Absolute: the process may change its folder, as daemons do.
        self.path = os.path.abspath(given)
        if self.options.ring_dir is not None:
            self.options = replace(self.options, ring_dir=os.path.abspath(self.options.ring_dir))
        self.read_only = read_only
        self.clock = clock
        self._opened_at_ms = clock.time_ms()
        self._opened_at_s = clock.monotonic()
        self.events = Events()
        self.scheduler = Scheduler(clock, self.events)  # what services do at regular times
        self.closed = False
        self._readers = ReaderPool(self.path, vfs=self.options.vfs, on_replaced=self._look_at_files)
        self._recording: Recording | None = None
        self._services: WeakSet[AttachedService] = WeakSet()
        if read_only:
            with self._readers.connection():
                pass
        else:
            self._recording = self._start_recording()
        _open_stores.add(self)

    def _start_recording(self) -> Recording:
        from ax_monitor.pipeline.recording import Recording  # noqa: PLC0415 (readers do without)

        return Recording(
            self.path,
            self.options,
            clock=self.clock,
            events=self.events,
            on_fork=_after_fork_in_child,
            on_replaced=lambda: _close_readers(self.path),
        )

    def _look_at_files(self) -> None:
        if self._recording is not None:
            self._recording.pump.look_at_files()

    # -- recording --------------------------------------------------------------------------------

    @property
    def recorder(self) -> Recorder:
        """Where services append records.

        Raises:
            StorageError: the store is read-only.
        """
        if self._recording is None:
            raise StorageError(f"{self.path} was opened read-only: nothing can be recorded")
        return self._recording.recorder

    def flush_at(
        self, *, buffer_size: int, flush_interval_ms: int, log_drops: LogDrops | None = None
    ) -> None:
        """A service's wishes: the smallest buffer and the shortest interval of all count."""
        assert self._recording is not None
        self._recording.flush_at(
            buffer_size=buffer_size, flush_interval_ms=flush_interval_ms, log_drops=log_drops
        )

    def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Wait until everything recorded before is committed, and events are delivered.

        False if that failed (`flush_error` says why) or took longer; nothing is lost then. While
        others have the database locked, it waits on.
        """
        written = self._recording is None or self._recording.pump.flush(timeout_s, patient=True)
        self.events.flush()
        return written

    def believable_time_ms(self) -> int:
        """The time by which to tell what is old enough to be deleted, in ms since the epoch.

        The wall clock, but no later than when the store was opened plus the time that has passed
        since then on the monotonic clock: a clock that jumps ahead must not empty the database.
        """
        return min(self.clock.time_ms(), self._opened_at_ms + self.open_ms)

    @property
    def clocks_apart_ms(self) -> int:
        """By how much the wall clock has been set since the store was opened, or the machine slept:
        what has passed on it and on the monotonic clock differs by so many ms."""
        return abs(self.clock.time_ms() - self._opened_at_ms - self.open_ms)

    @property
    def open_ms(self) -> int:
        """How long ago the store was opened, in ms, on the monotonic clock."""
        return int((self.clock.monotonic() - self._opened_at_s) * 1000)

    def settle(self, timeout_s: float) -> bool:
        """As `flush`, without waiting for listeners: are the records there, or too slow?"""
        return self._recording is None or self._recording.pump.flush(timeout_s)

    def stats(self) -> RecorderStats:
        """The counters; see `RecorderStats`."""
        if self._recording is None:
            from ax_monitor.pipeline.stats import RecorderStats  # noqa: PLC0415 (as above)

            return RecorderStats(attempted=0, stored=0)
        return self._recording.stats()

    def recorder_state(self) -> RecorderState | None:
        """How recording goes in this process; None if the store is read-only."""
        return None if self._recording is None else self._recording.state()

    def take_write_lock(self, wait_ms: int) -> None:
        """Take the write lock for a moment, as a write would, and change nothing.

        Raises:
            StorageError: others held it for all of `wait_ms`, or the file can't be written.
        """
        take_write_lock(self.path, vfs=self.options.vfs, wait_ms=wait_ms)

    # -- reading and changing ---------------------------------------------------------------------

    def read(
        self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """`query(connection, *args, **kwargs)`, a function of `storage`, behind the barrier: what
        was recorded here before is written first, if that is possible."""
        return self.read_current(query, *args, **kwargs)[0]

    def read_current(
        self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> tuple[T, bool]:
        """The same; and whether that was possible."""
        current = self.settle(BARRIER_S)
        return self.peek(query, *args, **kwargs), current

    def peek(
        self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same on the file as it is, whatever still waits in the ring."""
        with self._readers.connection() as connection:
            return query(connection, *args, **kwargs)

    def peek_at_once(
        self, query: Callable[Concatenate[Connection, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """The same for recording calls: it does not wait for another thread of this process.

        Raises:
            StorageError: it would have had to, or the database can't be read.
        """
        with self._readers.connection(wait=False) as connection:
            return query(connection, *args, **kwargs)

    def write(self, change: Callable[[Connection], T]) -> T:
        """Run a function of `storage` in one write transaction. It has to be short.

        Raises:
            StorageError: the store is read-only or closed, or the database can't be written.
        """
        if self._recording is None:
            raise StorageError(f"{self.path} was opened read-only: nothing can be changed")
        if self.closed:
            raise StorageError(f"{self.path} has been closed")
        return self._recording.pump.change(change)

    def delete_in_slices(self, step: Step) -> int:
        """Call `step` in small transactions until there is no more, once everything recorded before
        is written; the sum of what it says it did."""
        if self.read_only:
            raise StorageError(f"{self.path} was opened read-only: nothing can be deleted")
        if self.closed:
            raise StorageError(f"{self.path} has been closed")
        self.flush()
        return run_in_slices(self.write, step, lambda: self.closed)

    def backup(
        self,
        target: str | os.PathLike[str],
        tell: Callable[[int, int], object] = lambda done, total: None,
    ) -> int:
        """Copy the database into a new file (mode 0600), while it is written to; its size in bytes.

        What was recorded here before is in it, if it could be written within 5 s. What others have
        in their rings is not.

        Cost: the time to read and write the file; memory for 16 MiB. Recording and writing go on;
        the WAL can't be copied back as long, and grows.

        Args:
            target: Where to; there must be no such file.
            tell: Called with how many pages are done, and of how many.

        Raises:
            StorageError: the target is there already, or can't be written.
        """
        from ax_monitor.storage.backup import back_up  # noqa: PLC0415 (seldom needed)

        return self.read(back_up, os.path.abspath(target), tell)

    def checkpoint(self) -> None:
        """Copy the WAL back into the file, as far as readers allow, so that it gives space back."""
        if self._recording is not None:
            self._recording.pump.checkpoint()

    # -- the end ----------------------------------------------------------------------------------

    def close(self) -> None:
        """Write what is pending and let go of the file; at most about 5 s. May be called twice.

        What could not be written stays in the ring's file for the next open. Recording calls from
        now on do nothing but count (`after_close`).
        """
        if self.closed:
            return
        self.closed = True
        self._stop_services()
        try:
            if self._recording is not None:
                self._recording.pump.close()
        finally:
            # Only now: a process that is forked meanwhile has to let go of its copy.
            _open_stores.discard(self)
            self.events.close()
            self._readers.close()

    def attach(self, service: AttachedService) -> None:
        """Tell a service when the store closes, and when it finds itself in a forked child."""
        self._services.add(service)

    def _stop_services(self) -> None:
        self.scheduler.close()
        for service in list(self._services):
            service.store_closes()

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "read-only" if self.read_only else "open"
        return f"<Store {self.path!r} ({state})>"

    def _at_exit(self) -> None:
        self._stop_services()
        if self._recording is not None and self._recording.pump.drain_at_exit():
            self.events.flush(1.0)

    def _after_fork_in_child(self) -> None:
        """Only swap pointers; whatever belongs to the parent is neither used nor closed."""
        for connection in self._readers.forget():
            keep_forever(connection)
        self.events.after_fork_in_child()
        self.scheduler.after_fork_in_child()
        for service in list(self._services):
            service.after_fork_in_child()
        if self._recording is not None:
            self._recording.after_fork_in_child()


_open_stores: set[Store] = set()


def _close_readers(path: str) -> None:
    """A database has been replaced: no connection of this process may go on with the old one."""
    for store in list(_open_stores):
        if store.path == path:
            store._readers.replace()


def _at_exit() -> None:
    for store in list(_open_stores):
        # Ctrl-C once more: what is not written stays in the ring's file.
        with contextlib.suppress(KeyboardInterrupt):
            store._at_exit()


_pid = os.getpid()


def _after_fork_in_child() -> None:
    global _pid
    if _pid == os.getpid():
        return  # a record that was made in another library's fork hook came first
    _pid = os.getpid()
    ring_files.forget_own()
    for store in _open_stores:
        store._after_fork_in_child()


atexit.register(_at_exit)
os.register_at_fork(after_in_child=_after_fork_in_child)
