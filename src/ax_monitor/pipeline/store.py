"""`Store`: one database file, its recorder and its readers. All that services see of both."""

from __future__ import annotations

import atexit
import contextlib
import os
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeVar
from weakref import WeakSet

from ax_monitor import config
from ax_monitor._native import keep_forever
from ax_monitor.clock import SYSTEM_CLOCK, Clock
from ax_monitor.config import StoreOptions
from ax_monitor.errors import StorageError
from ax_monitor.events import Events
from ax_monitor.model import (
    Aggregation,
    LogEntry,
    LogLevel,
    LogPage,
    LogQuery,
    MetricAggregation,
    Series,
    Span,
    TimeSeries,
    Trace,
    TracePage,
    TraceQuery,
    TraceStats,
    WorkflowExecution,
    WorkflowStats,
    WorkflowStatus,
    WorkflowStepExecution,
)
from ax_monitor.pipeline import ring_files
from ax_monitor.pipeline.maintenance import Step, run_in_slices
from ax_monitor.pipeline.pump import FLUSH_S, Pump
from ax_monitor.pipeline.recorder import Recorder
from ax_monitor.pipeline.scheduler import Scheduler
from ax_monitor.pipeline.stats import RecorderState, RecorderStats
from ax_monitor.storage import logs, metric_feed, metrics, series, traces, workflows
from ax_monitor.storage.connection import (
    OPEN_TIMEOUT_MS,
    WRITER_BUSY_MS,
    Connection,
    snapshot,
)
from ax_monitor.storage.health import take_write_lock
from ax_monitor.storage.metric_deletion import Deletion
from ax_monitor.storage.metric_feed import Block, FeedPosition, MetricFeed
from ax_monitor.storage.readers import ReaderPool
from ax_monitor.storage.writer import Writer

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

BARRIER_S: Final = 5.0  # how long a query waits for pending records to be written
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
        self._readers = ReaderPool(self.path, vfs=self.options.vfs)
        self._recorder: Recorder | None = None
        self._pump: Pump | None = None
        self._log_drops: Callable[[dict[str, int]], None] = lambda dropped: None
        self._services: WeakSet[AttachedService] = WeakSet()
        if read_only:
            with self._readers.connection():
                pass
        else:
            self._open()
        _open_stores.add(self)

    def _open(self) -> None:
        writer: Writer | None = None
        try:
            writer = self._open_writer(OPEN_TIMEOUT_MS)
        except StorageError as error:
            if not error.retryable:
                raise
        self._recorder = Recorder(self.path, self.options)
        self._pump = Pump(
            self._recorder,
            writer,
            self._open_writer,
            database=self.path,
            options=self.options,
            events=self.events,
            log_drops=self._report_drops,
            clock=self.clock,
        )
        self._recorder.on_new_ring = self._pump.start
        self._recorder.on_fork = _after_fork_in_child
        self._pump.start()

    def _open_writer(self, wait_ms: int = WRITER_BUSY_MS) -> Writer:
        strict = self.options.durability == "strict"
        return Writer(self.path, strict=strict, vfs=self.options.vfs, wait_ms=wait_ms)

    # -- recording --------------------------------------------------------------------------------

    def _report_drops(self, dropped: dict[str, int]) -> None:
        self._log_drops(dropped)

    @property
    def recorder(self) -> Recorder:
        """Where services append records.

        Raises:
            StorageError: the store is read-only.
        """
        if self._recorder is None:
            raise StorageError(f"{self.path} was opened read-only: nothing can be recorded")
        return self._recorder

    def flush_at(self, *, buffer_size: int, flush_interval_ms: int, log_drops: Any = None) -> None:
        """A service's wishes: the smallest buffer and the shortest interval of all count."""
        assert self._pump is not None
        self._pump.buffer_size = min(self._pump.buffer_size, buffer_size)
        self._pump.flush_interval_ms = min(self._pump.flush_interval_ms, flush_interval_ms)
        if log_drops is not None:
            self._log_drops = log_drops
        self.recorder.ring.wake()

    def flush(self, timeout_s: float = FLUSH_S) -> bool:
        """Wait until everything recorded before is committed, and events are delivered.

        False if that failed (`flush_error` says why) or took longer; nothing is lost then.
        """
        written = self._pump.flush(timeout_s) if self._pump is not None else True
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

    def stats(self) -> RecorderStats:
        """The counters; see `RecorderStats`."""
        if self._recorder is None or self._pump is None:
            return RecorderStats(attempted=0, stored=0)
        recorder, pump, ring = self._recorder, self._pump, self._recorder.ring
        while True:
            released = ring.released_seq
            stored, in_flight = pump.stored, recorder.held
            attempted = 0 if recorder.inherited else ring.seq
            if released == ring.released_seq:
                break  # else a batch was completed meanwhile
        dropped = {
            "overflow": recorder.dropped_full,
            "oldest": ring.dropped_oldest,
            "after_close": recorder.dropped_closed,
            "rejected": pump.rejected,
        }
        return RecorderStats(
            attempted=attempted + recorder.dropped_full + recorder.dropped_closed,
            stored=stored,
            dropped={reason: count for reason, count in dropped.items() if count},
            in_flight=in_flight,
            recovered=pump.recovered,
            damaged=pump.damaged,
            ring_bytes=ring.capacity_bytes,
            ring_used_bytes=ring.pending_bytes,
            volatile=recorder.memory.path is None and not recorder.closed,
            volatile_reason=recorder.memory.reason,
            batches=pump.batches,
            flush_errors=pump.flush_errors,
            last_error=pump.last_error,
            redacted=recorder.redacted,
            converted=recorder.converted,
            events_dropped=self.events.dropped,
            listener_errors=self.events.listener_errors,
        )

    # -- health -----------------------------------------------------------------------------------

    def recorder_state(self) -> RecorderState | None:
        """How recording goes in this process; None if the store is read-only."""
        if self._recorder is None or self._pump is None:
            return None
        writing: Literal["thread", "nobody yet", "nobody", "closed"] = "nobody"
        if self._recorder.closed:
            writing = "closed"
        elif self._recorder.inherited:
            writing = "nobody yet"
        elif self._pump.thread_state == "running":
            writing = "thread"
        return RecorderState(writing, self._pump.lag_s * 1000, self.stats())

    def settle(self, timeout_s: float) -> bool:
        """As `flush`, without waiting for listeners: are the records there, or too slow?"""
        return self._pump is None or self._pump.flush(timeout_s)

    def peek(self, query: Callable[[Connection], T], *, wait: bool = True) -> T:
        """Run a function of `storage` on the file as it is, whatever still waits in the ring.

        Without `wait` (for recording calls) it does not wait for another thread of this process
        either; a StorageError then.
        """
        with self._readers.connection(wait=wait) as connection:
            return query(connection)

    def take_write_lock(self, wait_ms: int) -> None:
        """Take the write lock for a moment, as a write would, and change nothing.

        Raises:
            StorageError: others held it for all of `wait_ms`, or the file can't be written.
        """
        take_write_lock(self.path, vfs=self.options.vfs, wait_ms=wait_ms)

    # -- logs -------------------------------------------------------------------------------------

    def query_logs(self, query: LogQuery) -> LogPage:
        """The log entries that match; everything recorded here before is among them."""
        return self.read(lambda connection: logs.query_logs(connection, query))

    def log_entry(self, record: bytes) -> LogEntry:
        """The entry that a record of this process's ring becomes; `seq` comes with the commit."""
        return logs.entry_of_record(record, self.recorder.ring.salt)

    def count_logs(self) -> int:
        """The number of log entries. Reads the whole index: some 10 ms a million."""
        return self.read(logs.count_logs)

    def count_logs_by_level(self) -> dict[LogLevel, int]:
        """The number of log entries of every level. Reads the whole table."""
        return self.read(logs.count_logs_by_level)

    def delete_logs(self, before_ms: int) -> int:
        """Delete the log entries before a time, in small transactions; how many it were."""
        return self.delete_in_slices(
            lambda connection, n: logs.delete_logs(connection, before_ms, n)
        )

    def delete_in_slices(self, step: Step) -> int:
        """Call `step` in small transactions until there is no more, once everything recorded before
        is written; the sum of what it says it did."""
        if self.read_only:
            raise StorageError(f"{self.path} was opened read-only: nothing can be deleted")
        if self.closed:
            raise StorageError(f"{self.path} has been closed")
        self.flush()
        return run_in_slices(self.write, step, lambda: self.closed)

    def follow_logs(
        self, query: LogQuery, *, last: int, poll_s: float, lookback_ms: int
    ) -> Iterator[LogEntry]:
        """Entries as they arrive from any process, oldest first; see `StructuredLogger.tail`."""
        # Another process writes up to its flush interval late, with the time of the call: so look
        # back a little every time, and remember what has been shown.
        since = self.clock.time_ms() - lookback_ms
        window = replace(query, order="asc", limit=None, cursor=None, offset=0)
        newest = replace(query, order="desc", limit=last, cursor=None, offset=0)

        def look(connection: Connection) -> tuple[LogPage, LogPage]:
            # At one moment: what came between the two would be shown after what is newer.
            with snapshot(connection):
                known = logs.query_logs(connection, _not_before(window, since))
                return known, logs.query_logs(connection, newest)

        known, earlier = self.read(look)
        shown = {entry.seq for page in (known, earlier) for entry in page}
        return self._follow(window, earlier, shown, since, poll_s=poll_s, lookback_ms=lookback_ms)

    def _follow(
        self,
        window: LogQuery,
        earlier: LogPage,
        shown: set[int],
        since: int,
        *,
        poll_s: float,
        lookback_ms: int,
    ) -> Iterator[LogEntry]:
        yield from reversed(earlier)
        version: tuple[Connection, int] | None = None
        while not self.closed:
            if self._pump is not None:
                self._pump.flush(BARRIER_S)
            # Back from the last look, not from now: who follows may have been slow.
            looked_at = self.clock.time_ms()
            # Not across a yield: who follows may fork, and a child must not use this connection.
            with self._readers.connection() as connection:
                if (current := (connection, logs.data_version(connection))) == version:
                    found = None
                else:
                    found = logs.query_logs(connection, _not_before(window, since))
            if found is None:
                time.sleep(poll_s)
                continue
            version = current
            for entry in found:
                if entry.seq not in shown:
                    shown.add(entry.seq)
                    yield entry
            since = max(since, looked_at - lookback_ms)
            shown = {seq for seq in shown if seq >= logs.first_key(since)}

    # -- traces -----------------------------------------------------------------------------------

    def get_trace(self, trace_id: str) -> Trace | None:
        """The trace with its completed spans; None if there is none of this id."""
        return self.read(lambda connection: traces.get_trace(connection, trace_id))

    def get_traces_by_execution(self, execution_id: str) -> list[Trace]:
        """The traces of an execution with their completed spans, oldest first."""
        return self.read(
            lambda connection: traces.get_traces_by_execution(connection, execution_id)
        )

    def find_traces(self, query: TraceQuery) -> TracePage:
        """The traces that match, without their spans."""
        return self.read(lambda connection: traces.find_traces(connection, query))

    def trace_ids_with_prefix(self, prefix: str, limit: int) -> list[str]:
        """At most `limit` ids of traces that begin so."""
        return self.read(lambda connection: traces.ids_with_prefix(connection, prefix, limit))

    def get_trace_stats(self) -> TraceStats:
        """Figures over all traces. Reads whole indexes: some 10 ms for a million spans."""
        return self.read(traces.get_trace_stats)

    def open_span(self, fields: tuple[Any, ...]) -> Span:
        """The span that an open one's fields say; see `TraceChannel.open_spans`."""
        return traces.open_span(fields)

    def delete_traces(self, before_ms: int) -> int:
        """Delete the traces that ended before a time, with their spans; how many it were."""
        return self.delete_in_slices(
            lambda connection, n: traces.delete_traces(connection, before_ms, n)
        )

    # -- workflows --------------------------------------------------------------------------------

    def get_execution(
        self, execution_id: str, *, tenant_id: str | None = None
    ) -> tuple[WorkflowExecution | None, bool]:
        """The execution, and whether everything that was recorded here before is in it."""
        return self._read_current(
            lambda connection: workflows.get_execution(connection, execution_id, tenant_id)
        )

    def find_executions(
        self,
        statuses: Collection[WorkflowStatus] = (),
        *,
        tenant_id: str | None = None,
        limit: int | None = None,
        start_time: int | None = None,
        end_time: int | None = None,
    ) -> tuple[list[WorkflowExecution], bool]:
        """The executions with one of these statuses (none: all), newest first; and as above."""
        return self._read_current(
            lambda connection: workflows.find_executions(
                connection, statuses, tenant_id, limit, start_time, end_time
            )
        )

    def get_step_executions(
        self, execution_id: str, *, tenant_id: str | None = None
    ) -> tuple[list[WorkflowStepExecution], bool]:
        """The steps of an execution in the order in which they were begun; and as above."""
        return self._read_current(
            lambda connection: workflows.get_step_executions(connection, execution_id, tenant_id)
        )

    def finished_executions(self, ids: Collection[str]) -> list[str]:
        """Those of these executions that are finished."""
        return self.read(lambda connection: workflows.finished_among(connection, ids))

    def execution_ids_with_prefix(self, prefix: str, limit: int) -> list[str]:
        """At most `limit` ids of executions that begin so."""
        return self.read(lambda connection: workflows.ids_with_prefix(connection, prefix, limit))

    def get_workflow_stats(self, *, tenant_id: str | None = None) -> WorkflowStats:
        """Figures over all executions, or those of a tenant."""
        return self.read(lambda connection: workflows.get_workflow_stats(connection, tenant_id))

    def peek_execution(self, execution_id: str) -> WorkflowExecution | None:
        """The execution as the database has it at this moment; None, too, if that can't be told."""
        with contextlib.suppress(StorageError):
            return self.peek(
                lambda connection: workflows.get_execution(connection, execution_id), wait=False
            )
        return None

    def peek_step(self, step_id: str) -> WorkflowStepExecution | None:
        """The same of a step."""
        with contextlib.suppress(StorageError):
            return self.peek(lambda connection: workflows.get_step(connection, step_id), wait=False)
        return None

    def delete_executions(self, before_ms: int) -> int:
        """Delete the executions that ended before a time, with their steps; how many it were."""
        return self.delete_in_slices(
            lambda connection, n: workflows.delete_executions(connection, before_ms, n)
        )

    # -- metrics ----------------------------------------------------------------------------------

    def find_series(
        self,
        metric_type: str | None = None,
        *,
        tenant_id: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> list[Series]:
        """The series of a metric (None: of all), of a tenant (None: of all), with these labels."""
        return self.read(
            lambda connection: series.find_series(
                connection, metric_type, tenant_id=tenant_id, labels=labels
            )
        )

    def metric_aggregation(
        self,
        metric_type: str,
        start_ms: int,
        end_ms: int,
        *,
        tenant_id: str | None = None,
        labels: Mapping[str, str] | None = None,
        exact: bool = False,
    ) -> MetricAggregation | None:
        """Figures over the samples in a range of time, both ends inclusive; None if there are none.

        `exact`: percentiles from the samples themselves also if there are more than 100,000.
        """
        return self.read(
            lambda connection: metrics.get_aggregation(
                connection,
                metric_type,
                start_ms,
                end_ms,
                tenant_id=tenant_id,
                labels=labels,
                exact=exact,
            )
        )

    def metric_time_series(
        self,
        metric_type: str,
        start_ms: int,
        end_ms: int,
        interval_ms: int,
        aggregation: Aggregation | str,
        *,
        tenant_id: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> TimeSeries:
        """One point for each interval that has samples; intervals begin at multiples of theirs."""
        return self.read(
            lambda connection: metrics.get_time_series(
                connection,
                metric_type,
                start_ms,
                end_ms,
                interval_ms,
                aggregation,
                tenant_id=tenant_id,
                labels=labels,
            )
        )

    def metric_values(
        self,
        metric_type: str,
        start_ms: int,
        end_ms: int,
        *,
        tenant_id: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """The samples in a range of time, both ends inclusive: timestamps and values, by time."""
        return self.read(
            lambda connection: metrics.get_values(
                connection, metric_type, start_ms, end_ms, tenant_id=tenant_id, labels=labels
            )
        )

    def count_samples(self) -> int:
        """The number of samples. Reads the summaries of all hours."""
        return self.read(metrics.count_samples)

    def list_metric_types(self) -> list[str]:
        """The names of the metrics that there are, in order."""
        return self.read(series.list_metric_types)

    def metric_history(
        self, series_ids: Iterable[int], start_ms: int, end_ms: int
    ) -> Iterator[Block]:
        """(series, minute, samples) of everything stored in a range of time, minute by minute.

        Read a little at a time: what is recorded meanwhile may be in it or not.
        """
        ids = list(series_ids)
        pieces = self.read(
            lambda connection: metric_feed.plan_history(connection, ids, start_ms, end_ms)
        )
        for piece in pieces:
            # Not across a yield: who reads may fork, and a child must not use this connection.
            with self._readers.connection() as connection:
                found = metric_feed.read_history(connection, ids, piece)
            yield from found

    def metric_feed(
        self,
        after: FeedPosition | None,
        series_ids: Iterable[int],
        *,
        since_ms: int | None = None,
    ) -> MetricFeed:
        """What has arrived since `after`, from every process; see `MetricFeed`."""
        ids = list(series_ids)
        return self.read(lambda connection: metric_feed.read_feed(connection, after, ids, since_ms))

    def delete_samples(self, before_ms: int) -> int:
        """Delete the samples before a time, in small transactions; how many it were."""
        deletion = Deletion(before_ms, self.clock.time_ms())
        self.delete_in_slices(lambda connection, _: (0, deletion.step(connection)))
        return deletion.deleted

    # -- the rest ---------------------------------------------------------------------------------

    def read(self, query: Callable[[Connection], T]) -> T:
        """Run a function of `storage` behind the barrier: what is pending is written first, if that
        is possible."""
        return self._read_current(query)[0]

    def _read_current(self, query: Callable[[Connection], T]) -> tuple[T, bool]:
        """The same; and whether that was possible."""
        current = self._pump is None or self._pump.flush(BARRIER_S)
        with self._readers.connection() as connection:
            return query(connection), current

    def write(self, change: Callable[[Connection], T]) -> T:
        """Run a function of `storage` in one write transaction. It has to be short.

        Raises:
            StorageError: the store is read-only or closed, or the database can't be written.
        """
        if self._pump is None:
            raise StorageError(f"{self.path} was opened read-only: nothing can be changed")
        if self.closed:
            raise StorageError(f"{self.path} has been closed")
        return self._pump.change(change)

    def checkpoint(self) -> None:
        """Copy the WAL back into the file, as far as readers allow, so that it gives space back."""
        if self._pump is not None:
            self._pump.checkpoint()

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
            if self._pump is not None:
                self._pump.close()
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
        if self._pump is not None and self._pump.drain_at_exit():
            self.events.flush(1.0)

    def _after_fork_in_child(self) -> None:
        """Only swap pointers; whatever belongs to the parent is neither used nor closed."""
        for connection in self._readers.forget():
            keep_forever(connection)
        self.events.after_fork_in_child()
        self.scheduler.after_fork_in_child()
        for service in list(self._services):
            service.after_fork_in_child()
        if self._pump is not None and self._recorder is not None:
            keep_forever(self._pump.after_fork_in_child())
            self._recorder.after_fork_in_child()


def _not_before(query: LogQuery, time_ms: int) -> LogQuery:
    start = time_ms if query.start_time is None else max(query.start_time, time_ms)
    return replace(query, start_time=start)


_open_stores: set[Store] = set()


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
