"""The pump: the one thread that writes the ring to the database.

It sleeps until `buffer_size` records wait, the flush interval is over, an error was logged, or
somebody flushes. Then it takes everything that is pending as one batch. Between batches it pauses
for `LINGER_MS`, so that under load batches are large, looks after the file (`maintenance.py`) and
the rings of dead processes, and reports dropped records.

This file owns everything about threads: starting, stopping, forking, the exit of the interpreter.
"""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, Final, Literal, TypeVar

from ax_monitor.clock import SYSTEM_CLOCK, Clock
from ax_monitor.config import StoreOptions
from ax_monitor.errors import StorageError
from ax_monitor.events import Events
from ax_monitor.pipeline.failpoints import failpoint
from ax_monitor.pipeline.maintenance import Maintenance
from ax_monitor.pipeline.recorder import Recorder
from ax_monitor.pipeline.recovery import recover_all, write_around_poison
from ax_monitor.pipeline.stderr import StderrReport
from ax_monitor.storage.connection import Connection
from ax_monitor.storage.writer import Writer

LINGER_MS: Final = 20  # pause between two batches under load
BACKLOG_BYTES: Final = 2 * 1024 * 1024  # no pause while so much waits
BATCH_SEGMENTS: Final = 2  # a batch at most: its space comes back within some 30 ms
# Samples are small, and cheaper the more of a series are in one chunk: larger batches, less often.
SAMPLE_BYTES: Final = 40  # mostly samples wait, if what waits is smaller than this on average
SAMPLES_LINGER_MS: Final = 250
SAMPLES_BACKLOG: Final = 250_000  # a third of the default ring
SAMPLES_SEGMENTS: Final = 8
ADOPT_S: Final = 5.0  # how often to look for rings of dead processes
RETRY_MIN_S: Final = 0.05  # after a failed batch; doubles …
RETRY_MAX_S: Final = 2.0  # … up to this
TURN_S: Final = 0.001  # between two rounds, for a change that waits for its turn
OTHERS_TURN_S: Final = 0.002  # between two batches, for other processes: they look every 1 ms
LOOK_S: Final = 1.0  # a query that finds the file replaced waits so long for the pump
CLOSE_S: Final = 4.0  # close() and the interpreter's exit wait so long for the last batches
T = TypeVar("T")


class Pump:
    """Writes what the recorder holds.

    Lifecycle: `start()`; `close()`, or the interpreter's exit (`drain_at_exit`).
    Thread-safety: any thread may flush and close.

    Args:
        recorder: Where the records are.
        writer: The write connection; None if it could not be opened yet (tried again).
        open_writer: Makes a new one.
        events: Gets `flush_error` and `log.dropped`.
        log_drops: Records a warning about dropped records: `(dropped by reason) -> None`.
        on_replaced: Called when the file is not the one any more that was opened.
    """

    def __init__(
        self,
        recorder: Recorder,
        writer: Writer | None,
        open_writer: Callable[[], Writer],
        *,
        database: str,
        options: StoreOptions,
        events: Events,
        log_drops: Callable[[dict[str, int]], None],
        on_replaced: Callable[[], None],
        clock: Clock = SYSTEM_CLOCK,
    ) -> None:
        self._recorder = recorder
        self._ring = recorder.ring
        self._writer = writer
        self._open_writer = open_writer
        self._database = database
        self._options = options
        self._events = events
        self._log_drops = log_drops
        self._on_replaced = on_replaced
        self._clock = clock
        self.buffer_size = 1000
        self.flush_interval_ms = 5000
        self.rejected = 0
        self.recovered = 0
        self.damaged = 0
        self.missing = 0
        self.batches = 0
        self.flush_errors = 0
        self.last_error: str | None = None
        self._reset()

    def _reset(self) -> None:
        """State of a pump that has no thread yet; also that of a forked child."""
        self._condition = threading.Condition()
        self._drain_lock = threading.Lock()
        self._start_lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._running = False  # the thread has rounds of work before it
        self._stopping = False
        self._left_to_thread = False  # close() could not wait: the thread lets go in its own time
        self._close_by = float("inf")
        self._inline = False
        self._unsure = False  # a batch failed; it may be in the database all the same
        self._flushing = 0
        self._changing = 0  # changes that wait for their turn
        self._has_more = False  # a round has ended for them before its time
        self._failures = 0
        self._locked = 0  # of these, because another process was writing all the time
        self._adopted = False  # the rings of dead processes have been looked at once
        self._next_adoption = 0.0
        self._last_drain = self._clock.monotonic()
        self._caught_up = self._last_drain  # what was recorded before is in the database
        self._retry_s = 0.0
        self._next_try = 0.0
        self._drops_reported = 0
        self._missed = 0  # records up to this one have been reported as missing
        self._last_drop_report = self._clock.monotonic()
        self._report = StderrReport(self._clock)
        strict = self._options.durability == "strict"
        self._maintenance = Maintenance(self._clock, self._report, strict=strict)

    # -- the thread -------------------------------------------------------------------------------

    @property
    def stored(self) -> int:
        """Records of this process in the database."""
        return self._ring.released_records - self.rejected

    @property
    def thread_state(self) -> Literal["running", "ended", "none"]:
        """Is there a thread that writes? "ended" if there was, and nobody asked it to end."""
        thread = self._thread
        if thread is None:
            return "none"
        return "ended" if thread.ident is not None and not thread.is_alive() else "running"

    def _has_thread(self) -> bool:
        return self.thread_state == "running"

    @property
    def lag_s(self) -> float:
        """How long something may have been waiting: since the last success; 0 if nothing waits."""
        if self._recorder.inherited or not self._recorder.held:
            return 0.0
        return max(0.0, self._clock.monotonic() - self._caught_up)

    def start(self) -> None:
        """Start the thread, if there is none, or it has died.

        Where none can be had, `flush` and `close` write.
        """
        # Not blocking: a signal handler may have interrupted the thread that holds the lock.
        if self._has_thread() or not self._start_lock.acquire(blocking=False):
            return
        try:
            if not self._has_thread() and not self._stopping:
                self._thread = threading.Thread(
                    target=self._run, name="ax-monitor-pump", daemon=True
                )
                self._running = True
                self._thread.start()
        except RuntimeError as error:  # too many threads, or the interpreter is exiting
            self._thread, self._running = None, False
            self._report(f"no thread to write to the database: {error}")
            self._tell_waiters()
        finally:
            self._start_lock.release()

    def _run(self) -> None:
        self._recorder.pump_thread = threading.get_ident()
        try:
            self._rounds()
        finally:  # also if something ends it that nobody expects: who flushes starts another one
            with self._condition:
                self._running = False
                self._condition.notify_all()
        if self._left_to_thread:
            self._let_go()

    def _rounds(self) -> None:
        last_round = False
        while not last_round:
            self._sleep()
            if self._changing:  # who releases a lock and takes it at once leaves it to nobody
                time.sleep(TURN_S)
            last_round = self._stopping  # before the round: it writes what came until now
            with self._drain_lock:
                self._work()
                if self._writer is not None and not self._retry_s:
                    self._maintenance.merge(self._writer, self._is_urgent)
                    self._maintenance.seal(self._writer, self._has_batches)

    def _sleep(self) -> None:
        """Until there is something to do."""
        has_more, self._has_more = self._has_more, False
        if not self._adopted or has_more or self._is_urgent():
            return
        if self._retry_s:
            self._wait(max(0.0, self._next_try - self._clock.monotonic()))
            return
        if self._ring.seq > self._ring.released_seq:
            # Records came in while the last batch was written: let a batch gather.
            if not self._mostly_samples():
                self._wait(LINGER_MS / 1000)
            elif self._ring.arm(SAMPLES_BACKLOG):
                self._wait(SAMPLES_LINGER_MS / 1000)
            if self._is_urgent():
                return
        if self._ring.arm(self.buffer_size):
            now = self._clock.monotonic()
            due = min(self._last_drain + self.flush_interval_ms / 1000, self._maintenance.due_s)
            self._wait(min(max(0.0, due - now), ADOPT_S))

    def _mostly_samples(self) -> bool:
        waiting = self._ring.seq - self._ring.released_seq
        return self._ring.pending_bytes < SAMPLE_BYTES * waiting

    def _is_urgent(self) -> bool:
        return self._flushing > 0 or self._stopping

    def _has_batches(self) -> bool:
        return self._is_urgent() or self._ring.pending_bytes >= BACKLOG_BYTES

    def _wait(self, seconds: float) -> None:
        self._ring.wait(self._recorder.wake_fd, int(seconds * 1000) + (seconds > 0))

    # -- one round of work ------------------------------------------------------------------------

    def _work(self) -> None:
        """Write what is pending; everything that can go wrong with that ends here."""
        try:
            self._drain()
        except StorageError as error:
            self._failed(error)
        except Exception as error:  # a defect of ours must not end the thread
            self._failed(StorageError(f"{type(error).__name__}: {error}", retryable=True))
        else:
            self._retry_s = 0.0
            self.last_error = None
            self._caught_up = self._last_drain
        self._report_drops()
        self._tell_waiters()

    def _tell_waiters(self) -> None:
        with self._condition:
            self._condition.notify_all()

    def _drain(self) -> None:
        writer = self._ready_writer()
        ring = self._ring
        target = ring.seq
        while True:
            written = self._write_pending(writer)
            self._tell_waiters()  # before the checkpoint: what they wait for is committed
            self._maintenance.checkpoint(writer, idle=ring.seq == ring.released_seq)
            if not written or (
                ring.released_seq >= target
                and (self._stopping or ring.pending_bytes < BACKLOG_BYTES)
            ):
                break
            is_thread = threading.get_ident() == self._recorder.pump_thread
            if self._changing and is_thread and not self._stopping:
                self._has_more = True
                break
            self._maintenance.merge(writer, self._is_urgent)
            if writer.had_to_wait:
                time.sleep(OTHERS_TURN_S)
        if not self._adopted or self._clock.monotonic() >= self._next_adoption:
            self._adopt(writer)

    def _ready_writer(self) -> Writer:
        if self._writer is None:
            self._writer = self._open_writer()
            self._compare(self._writer)
        return self._writer

    def _compare(self, writer: Writer) -> None:
        """Has the database that was opened again what this process has written to it?"""
        written = self._ring.released_seq
        missing = written - max(writer.last_seq(self._ring.ring_id), self._missed)
        if missing <= 0:
            return
        self._missed = written
        self._note_missing(missing)
        for define in self._recorder.definitions:
            define()

    def _note_missing(self, missing: int) -> None:
        self.missing += missing
        self._events.emit("database.behind", {"missing": missing, "database": self._database})
        self._report(
            f"{missing} records that had been written are missing from {self._database}: it was "
            "deleted or replaced, or has lost the end of its WAL"
        )

    def _write_pending(self, writer: Writer) -> bool:
        """One batch: everything appended so far, up to some segments. False if that is nothing."""
        self._last_drain = self._clock.monotonic()
        if not self._ring.claim(SAMPLES_SEGMENTS if self._mostly_samples() else BATCH_SEGMENTS):
            return False
        try:
            sync = self._maintenance.sync_due(self._last_drain)
            if sync:
                writer.sync_next_commit(True)
            failpoint("before_write")
            self._write_claim(writer)
            failpoint("after_commit")
        except BaseException:
            self._ring.unclaim()
            raise
        self._ring.release()
        failpoint("after_release")
        self._unsure = False
        self._caught_up = self._last_drain
        self.batches += 1
        if sync:
            self._maintenance.synced(writer, self._last_drain)
            writer.sync_next_commit(False)
        return True

    def _write_claim(self, writer: Writer) -> None:
        """Write the claim, except what an attempt that failed has written of it all the same."""
        ring = self._ring
        first = writer.last_seq(ring.ring_id) + 1 if self._unsure else 0
        self._unsure = True
        if first > ring.claimed_seq:
            writer.sync()
            return
        try:
            writer.write_claim(ring, first)
        except StorageError as error:
            if error.kind == "replaced":
                raise
            if writer.last_seq(ring.ring_id) >= ring.claimed_seq:
                writer.sync()  # the COMMIT raised, and yet it has happened
            elif error.kind == "record":
                self._write_around_poison(writer)
            else:
                raise

    def _write_around_poison(self, writer: Writer) -> None:
        ring = self._ring
        first = max(writer.last_seq(ring.ring_id), ring.released_seq) + 1

        def write(low: int, high: int) -> int:
            return writer.write_claim(ring, low, high - 1)

        def reject(seq: int, error: str) -> None:
            writer.reject(ring.ring_id, seq, ring.claimed_record(seq), error)
            self.rejected += 1

        write_around_poison(write, reject, first, ring.claimed_seq + 1)

    def _adopt(self, writer: Writer) -> None:
        writer.check_files()
        found = recover_all(writer, self._database, self._options.ring_dir)
        if not self._adopted:
            writer.interrupt_lost()
        self.recovered += found.records
        self.damaged += found.damaged
        if found.missing:
            self._note_missing(found.missing)
        self._adopted = True
        self._next_adoption = self._clock.monotonic() + ADOPT_S
        self._maintenance.look_at(writer)

    def _failed(self, error: StorageError) -> None:
        self.flush_errors += 1
        self._failures += 1
        self._locked += error.kind == "locked"
        self.last_error = str(error)
        self._retry_s = min(max(self._retry_s * 2, RETRY_MIN_S), RETRY_MAX_S)
        self._next_try = self._clock.monotonic() + self._retry_s * random.uniform(0.5, 1.0)
        # The rings of dead processes wait with everything else: the next round looks again.
        self._adopted = True
        self._next_adoption = 0.0
        self._events.emit("flush_error", {"error": error, "pending": self._ring.held})
        self._report(f"writing to the database failed, {self._ring.held} records wait: {error}")
        if error.kind != "locked":
            self._let_go_of_writer()
        if error.kind == "replaced":
            self._on_replaced()

    def _let_go_of_writer(self) -> None:
        """The next round opens another one."""
        writer, self._writer = self._writer, None
        if writer is not None:
            with contextlib.suppress(StorageError):  # it is replaced because it does not work
                writer.close()

    def _report_drops(self, at_once: bool = False) -> None:
        """Tell of drops once per flush interval: an event and a record."""
        total = self._recorder.dropped_full + self._ring.dropped_oldest
        now = self._clock.monotonic()
        due = at_once or now >= self._last_drop_report + self.flush_interval_ms / 1000
        if total <= self._drops_reported or not due:
            return
        self._last_drop_report = now
        dropped = {
            "overflow": self._recorder.dropped_full,
            "oldest": self._ring.dropped_oldest,
            "new": total - self._drops_reported,
        }
        self._drops_reported = total
        self._events.emit("log.dropped", dropped)
        if not self._recorder.closed:
            self._log_drops(dropped)

    # -- asking for it ----------------------------------------------------------------------------

    def flush(self, timeout_s: float, *, patient: bool = False) -> bool:
        """Wait until everything recorded before is in the database.

        Returns False if that failed or took too long; then it is still in the ring. Who is patient
        waits on while others have the database locked.
        """
        if self._recorder.closed:
            return self._recorder.held == 0
        target = self._ring.seq
        if self._is_through(target):
            return True
        if self._inline or threading.get_ident() == self._recorder.pump_thread:
            return self.drain_inline()
        if self._recorder.inherited:
            return True  # a forked child that has recorded nothing yet
        self.start()
        if not self._running:
            return self.drain_inline()
        with self._condition:
            failures = self._failures_of(patient)
            self._flushing += 1
            try:
                self._ring.wake()
                self._condition.wait_for(
                    lambda: (
                        self._is_through(target)
                        or self._failures_of(patient) > failures
                        or not self._running
                    ),
                    timeout_s,
                )
            finally:
                self._flushing -= 1
        return self._ring.released_seq >= target

    def _failures_of(self, patient: bool) -> int:
        return self._failures - (self._locked if patient else 0)

    def _is_through(self, target: int) -> bool:
        """Is all up to a record written, and was the last round without trouble?"""
        done = self._adopted and self._ring.released_seq >= target
        return done and self.last_error is None

    def drain_inline(self) -> bool:
        """Write what is pending now on this thread, where there is no other. False: it failed."""
        target = self._ring.seq
        if not self._drain_lock.acquire(blocking=False):
            return False  # we interrupted a drain: it goes on when we return
        try:
            self._work()
        finally:
            self._drain_lock.release()
        return self._ring.released_seq >= target

    def _drain_at_append(self) -> None:
        """After every record while the interpreter exits; not again and again if that fails."""
        if not self._retry_s or self._clock.monotonic() >= self._next_try:
            self.drain_inline()

    def change(self, change: Callable[[Connection], T]) -> T:
        """Run `change` in one transaction of the write connection, between two batches."""
        with self._its_turn():
            if self._recorder.closed:
                raise StorageError(f"{self._database} has been closed")
            try:
                return self._change(change)
            except StorageError as error:
                if error.kind != "replaced":
                    raise
                self._let_go_of_writer()
                self._on_replaced()
                return self._change(change)

    @contextlib.contextmanager
    def _its_turn(self) -> Iterator[None]:
        """Have the thread make room between two batches."""
        with self._condition:
            self._changing += 1
        try:
            self._drain_lock.acquire()
        finally:
            with self._condition:
                self._changing -= 1
        try:
            yield
        finally:
            self._drain_lock.release()

    def _change(self, change: Callable[[Connection], T]) -> T:
        writer = self._ready_writer()
        self._maintenance.checkpoint(writer, idle=False)
        result = writer.change(change)
        self._ring.wake()  # the thread does not know yet that a sync will be due
        return result

    def look_at_files(self) -> None:
        """Open the database again at once if it has been replaced, not at the next batch."""
        if not self._drain_lock.acquire(timeout=LOOK_S):
            return  # it is being written to: the pump notices by itself
        try:
            if self._writer is not None:
                try:
                    self._writer.check_files()
                except StorageError:
                    self._let_go_of_writer()
                    self._on_replaced()
                    self._ready_writer()
        finally:
            self._drain_lock.release()

    def checkpoint(self) -> None:
        """Copy the WAL back into the database, as far as readers allow."""
        with self._drain_lock:
            if not self._recorder.closed:
                self._ready_writer().checkpoint()

    # -- the end ----------------------------------------------------------------------------------

    def _stop(self) -> bool:
        """End the thread after a last round. False if it is not through by then."""
        failures = self._failures
        self._stopping = True
        with self._start_lock:
            thread, self._thread = self._thread, None
        if thread is threading.current_thread():
            return False
        if thread is not None:
            self._ring.wake()
            thread.join(CLOSE_S)
            if thread.is_alive():
                return False
        self._recorder.pump_thread = None
        if self._ring.held and self._failures == failures:
            self.drain_inline()
        return True

    def drain_at_exit(self) -> bool:
        """At the interpreter's exit: end the thread; every further record is written at once."""
        stopped = self._stop()
        self._inline = stopped
        if stopped:
            self._recorder.on_exit_append = self._drain_at_append
            self._ring.set_synchronous(True)
        return stopped

    def close(self) -> None:
        """Take no more records, write what is pending, let go of ring and database: at most 5 s."""
        self._close_by = self._clock.monotonic() + CLOSE_S
        self._report_drops(at_once=True)
        self._recorder.shut()
        stopped = False
        try:
            stopped = self._stop()
        finally:  # also if Ctrl-C ends the waiting
            if stopped or not self._leave_to_thread():
                self._let_go()

    def _leave_to_thread(self) -> bool:
        """The thread still uses both: it is to let go of them. False if it is through."""
        with self._condition:
            self._left_to_thread = self._running
            return self._running

    def _let_go(self) -> None:
        """Close the connection and the ring, once nobody uses them: not a drain on another thread,
        not a deletion."""
        if not self._drain_lock.acquire(timeout=CLOSE_S):
            self._report("closing gave up: another thread is stuck in the database")
            return
        try:
            self._close_both()
        finally:
            self._drain_lock.release()

    def _close_both(self) -> None:
        writer, self._writer = self._writer, None
        try:
            if writer is not None:
                failpoint("closing")
                try:
                    if self._clock.monotonic() < self._close_by and self.last_error is None:
                        if not self._recorder.inherited:
                            writer.interrupt_traces(self._ring.ring_id)
                            writer.interrupt_executions(self._ring.ring_id)
                        wal = writer.make_safe()
                        if wal.copied == wal.pages:  # else others write, and would have to wait
                            writer.checkpoint("truncate")
                finally:
                    writer.close()
        except StorageError as error:
            self._report(str(error))
        finally:
            failpoint("closed_database")
            self._recorder.close()

    def after_fork_in_child(self) -> Any:
        """Forget the thread and the connection; the connection is returned, not closed."""
        writer, self._writer = self._writer, None
        self.rejected = self.recovered = self.damaged = self.missing = 0
        self.batches = self.flush_errors = 0
        self.last_error = None
        self._reset()
        return writer
