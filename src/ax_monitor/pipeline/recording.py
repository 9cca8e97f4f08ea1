"""The half of a store that records: its recorder, and the pump that writes what is in the ring.

A store that is only read has none, and a program that only reads does not import this.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from ax_monitor._native import keep_forever
from ax_monitor.clock import Clock
from ax_monitor.config import StoreOptions
from ax_monitor.errors import StorageError
from ax_monitor.events import Events
from ax_monitor.pipeline.pump import Pump
from ax_monitor.pipeline.recorder import Recorder
from ax_monitor.pipeline.stats import RecorderState, RecorderStats
from ax_monitor.storage.connection import OPEN_TIMEOUT_MS, WRITER_BUSY_MS
from ax_monitor.storage.filesystem import check_local
from ax_monitor.storage.writer import Writer

LogDrops = Callable[[dict[str, int]], None]
"""Gets the numbers of dropped records, to make a record of them."""


class Recording:
    """A recorder and its pump, which is started.

    Args:
        path: The database; made if it is not there.
        options: The store's.
        clock: The store's.
        events: Where the pump says what went wrong.
        on_fork: Called when a record is appended in a forked child before the fork hooks ran.
        on_replaced: Called when the file is not the one any more that was opened.

    Raises:
        StorageError: as of `Store`.
    """

    def __init__(
        self,
        path: str,
        options: StoreOptions,
        *,
        clock: Clock,
        events: Events,
        on_fork: Callable[[], None],
        on_replaced: Callable[[], None],
    ) -> None:
        self._path = path
        self._options = options
        self._clock = clock
        self._events = events
        self._log_drops: LogDrops = lambda dropped: None
        if not options.allow_network_filesystem:
            check_local(path)
        writer: Writer | None = None
        try:
            writer = self._open_writer(OPEN_TIMEOUT_MS)
        except StorageError as error:
            if not error.retryable:
                raise
        self.recorder = Recorder(path, options)
        self.pump = Pump(
            self.recorder,
            writer,
            self._open_writer,
            database=path,
            options=options,
            events=events,
            log_drops=self._report_drops,
            on_replaced=on_replaced,
            clock=clock,
        )
        self.recorder.start_pump = self.pump.start
        self.recorder.on_fork = on_fork
        self.pump.start()

    def _open_writer(self, wait_ms: int = WRITER_BUSY_MS) -> Writer:
        strict = self._options.durability == "strict"
        return Writer(
            self._path,
            strict=strict,
            vfs=self._options.vfs,
            wait_ms=wait_ms,
            boot_id=self._clock.boot_id(),
        )

    def _report_drops(self, dropped: dict[str, int]) -> None:
        self._log_drops(dropped)

    def flush_at(
        self, *, buffer_size: int, flush_interval_ms: int, log_drops: LogDrops | None
    ) -> None:
        """A service's wishes: the smallest buffer and the shortest interval of all count."""
        self.pump.buffer_size = min(self.pump.buffer_size, buffer_size)
        self.pump.flush_interval_ms = min(self.pump.flush_interval_ms, flush_interval_ms)
        if log_drops is not None:
            self._log_drops = log_drops
        self.recorder.ring.wake()

    def stats(self) -> RecorderStats:
        """The counters; see `RecorderStats`."""
        recorder, pump, ring = self.recorder, self.pump, self.recorder.ring
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
            missing=pump.missing,
            ring_bytes=ring.capacity_bytes,
            ring_used_bytes=ring.pending_bytes,
            volatile=recorder.memory.path is None and not recorder.closed,
            volatile_reason=recorder.memory.reason,
            batches=pump.batches,
            flush_errors=pump.flush_errors,
            last_error=pump.last_error,
            redacted=recorder.redacted,
            converted=recorder.converted,
            events_dropped=self._events.dropped,
            listener_errors=self._events.listener_errors,
        )

    def state(self) -> RecorderState:
        """How recording goes in this process."""
        writing: Literal["thread", "nobody yet", "nobody", "closed"] = "nobody"
        if self.recorder.closed:
            writing = "closed"
        elif self.recorder.inherited:
            writing = "nobody yet"
        elif self.pump.thread_state == "running":
            writing = "thread"
        return RecorderState(writing, self.pump.lag_s * 1000, self.stats())

    def after_fork_in_child(self) -> None:
        """Only swap pointers; whatever belongs to the parent is neither used nor closed."""
        keep_forever(self.pump.after_fork_in_child())
        self.recorder.after_fork_in_child()
