"""The recording side: the ring and its memory, what happens when it is full, and after a fork."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, Final

from ax_monitor import redaction
from ax_monitor._native import RecordRing, encode_json, keep_forever
from ax_monitor.config import StoreOptions
from ax_monitor.pipeline import ring_files
from ax_monitor.pipeline.plain import plain_metadata, plain_text, shortened_metadata
from ax_monitor.storage.records import RecordKind

BLOCK: Final = 0
DROP_NEWEST: Final = 1
DROP_OLDEST: Final = 2
OVERFLOW_POLICIES: Final = {"block": BLOCK, "drop_newest": DROP_NEWEST, "drop_oldest": DROP_OLDEST}

_TOO_LARGE: Final = 4  # EncodeStatus in encode.pxd
_TOO_LARGE_SEQ: Final = -3  # the same as RecordRing.append says it
_POLL_S: Final = 0.0005
_RENEWAL_S: Final = 2.0  # making a ring file takes milliseconds
_DRAIN_NOW: Final = -1  # the ring's request while the process exits


class Recorder:
    """Owns the ring. What a full, closed or inherited ring means is decided here.

    Thread-safety: any thread, and from signal handlers and destructors: no locks.
    """

    def __init__(self, database: str, options: StoreOptions) -> None:
        self._database = database
        self._options = options
        self.ring = RecordRing(self._on_full)
        self.closed = False
        self.dropped_full = 0
        self.dropped_closed = 0
        self.converted = 0
        self.redacted = 0
        self.pump_thread: int | None = None  # its ident: it must never wait for itself
        self.start_pump: Callable[[], None] = lambda: None  # starts its thread if there is none
        self.on_fork: Callable[[], None] = lambda: None
        self.on_exit_append: Callable[[], object] = lambda: None
        # What records once is not enough for: they are called when the database is another one.
        self.definitions: list[Callable[[], None]] = []
        self._stalled_at: int | None = None
        self._in_hook: set[int] = set()  # threads that run the redaction hook at the moment
        self._inherited = False
        self._renewal = threading.Lock()  # held by the thread that makes a forked child's ring
        self._renewing: int | None = None  # its ident
        self._held_at_close: int | None = None  # None: the ring is still ours
        self._open_ring()

    def _open_ring(self) -> None:
        self._pid = os.getpid()
        ring_id = os.urandom(16)
        wake_fd, wake_write = os.pipe()
        os.set_blocking(wake_fd, False)
        os.set_blocking(wake_write, False)
        try:
            self.memory = ring_files.create(
                self._database, self._options.ring_dir, self._options.ring_bytes, ring_id
            )
        except OSError:
            os.close(wake_fd)
            os.close(wake_write)
            raise
        self.wake_fd, self._wake_write = wake_fd, wake_write
        self.ring.attach(
            self.memory.buffer,
            ring_id,
            segment_bytes=ring_files.SEGMENT_BYTES,
            wake_fd=wake_write,
            pid=os.getpid(),
        )

    # -- the ring is full, closed, or the parent's ------------------------------------------------

    def _on_full(self, policy: int, priority: bool) -> bool:
        """Called by the ring when it can't take a record: True to try again, False to drop it."""
        if os.getpid() != self._pid:
            self.on_fork()  # another library's fork hook records before ours has run
        if policy == _DRAIN_NOW:
            self.on_exit_append()
            return True
        if self.closed:
            self.dropped_closed += 1
            return False
        if self._inherited:
            if self._renew():
                return True
            self.dropped_full += 1
            return False
        if policy == BLOCK and self._wait_for_room(priority):
            return True
        self.dropped_full += 1
        return False

    def _wait_for_room(self, priority: bool) -> bool:
        """Wait without the GIL, but only once until the pump gets something written again."""
        ring = self.ring
        if self._stalled_at == ring.released_seq or threading.get_ident() == self.pump_thread:
            return False
        self.start_pump()
        ring.wake()
        deadline = time.monotonic() + self._options.overflow_wait_ms / 1000
        while time.monotonic() < deadline:
            time.sleep(_POLL_S)
            if ring.has_room(priority):
                self._stalled_at = None
                return True
        self._stalled_at = ring.released_seq
        return False

    def append(
        self,
        kind: RecordKind,
        fields: tuple[Any, ...],
        *,
        tag: int = 0,
        timestamp_ns: int | None = None,
        policy: int = BLOCK,
        priority: bool = False,
    ) -> int:
        """Record something of any kind; its sequence number, or 0 if it was dropped.

        The fields are None, str, int, float, or a dict (stored as JSON); other values are converted
        as `plain` says.
        """
        redact = self._options.redact is not None
        while True:
            seq = self.ring.append(
                kind.number,
                tag,
                fields,
                timestamp_ns=timestamp_ns,
                policy=policy,
                priority=priority,
                redact=redact,
            )
            if seq >= 0:
                return seq
            fields = tuple(self._simple_field(value, seq == _TOO_LARGE_SEQ) for value in fields)
            redact = False

    def _simple_field(self, value: Any, too_large: bool) -> Any:
        if value is None or type(value) is float:
            return value
        if type(value) is int:
            return value if -(2**63) <= value < 2**63 else plain_text(value)
        is_list = isinstance(value, (list, tuple))
        simple: Any = (
            plain_metadata(value) if is_list or isinstance(value, dict) else plain_text(value)
        )
        if is_list:
            simple = simple["value"]
        if self._options.redact is not None:
            simple = redaction.redact_value(simple)
        if isinstance(simple, str) or (not too_large and encode_json(simple) is not None):
            return simple
        if is_list:  # as many of its items as fit: its readers expect a list
            while simple and (too_large or encode_json(simple) is None):
                simple, too_large = simple[: len(simple) // 2], False
            return simple
        return shortened_metadata(simple)

    # -- values that the native encoder leaves to Python ------------------------------------------

    def simplify(
        self,
        message: Any,
        ids: tuple[Any, ...],
        metadata: Any,
        stack_trace: Any,
        status: int,
    ) -> tuple[str, tuple[str | None, ...], dict[str, Any] | None, str | None]:
        """The fields of a log record as plain, harmless values. Never raises."""
        message = plain_text(message)
        if isinstance(stack_trace, BaseException):
            stack_trace = format_exception(stack_trace)
        elif stack_trace is not None:
            stack_trace = plain_text(stack_trace)
        if metadata is not None:
            metadata = plain_metadata(metadata)
        self.converted += 1
        if self._options.redact is not None:
            message, metadata, stack_trace = self._redact(message, metadata, stack_trace)
        if status == _TOO_LARGE and metadata is not None and encode_json(metadata) is None:
            metadata = shortened_metadata(metadata)
        return (
            message,
            tuple(None if value is None else plain_text(value) for value in ids),
            metadata,
            stack_trace,
        )

    def _redact(
        self, message: str, metadata: dict[str, Any] | None, stack_trace: str | None
    ) -> tuple[str, dict[str, Any] | None, str | None]:
        redact = self._options.redact
        before = (message, metadata, stack_trace)
        thread = threading.get_ident()
        # A hook that logs is not called for its own records: they get the default treatment.
        if callable(redact) and thread not in self._in_hook:
            self._in_hook.add(thread)
            try:
                message, metadata = redact(message, metadata)
                message = plain_text(message)
                metadata = None if metadata is None else plain_metadata(metadata)
            except Exception as error:
                # A broken hook must not let secrets through, nor lose the record.
                message = f"<the redaction hook raised {type(error).__name__}>"
                metadata = None
            finally:
                self._in_hook.discard(thread)
        else:
            message = redaction.redact_text(message)
            if metadata is not None:
                metadata = redaction.redact_value(metadata)
        if stack_trace is not None:
            stack_trace = redaction.redact_text(stack_trace)
        if (message, metadata, stack_trace) != before:
            self.redacted += 1
        return message, metadata, stack_trace

    # -- fork and close ---------------------------------------------------------------------------

    def after_fork_in_child(self) -> None:
        """Only swap pointers: the memory, the lock and the pipe are the parent's."""
        keep_forever(self.memory)
        self._pid = os.getpid()
        self._inherited = not self.closed
        self.ring.set_synchronous(False)
        self.ring.detach()
        self._renewal = threading.Lock()
        self._renewing = None
        self._stalled_at = None
        self.dropped_full = self.dropped_closed = self.converted = self.redacted = 0

    def _renew(self) -> bool:
        """First record in a forked child: a ring of its own, and a pump for it. False: no room."""
        if not self._renewal.acquire(blocking=False):
            return self._wait_for_renewal()
        self._renewing = threading.get_ident()
        try:
            if self._inherited:
                self._open_ring()
                self._inherited = False
                self.start_pump()
        except OSError:
            return False  # no descriptors or memory left: the next record tries again
        finally:
            self._renewing = None
            self._renewal.release()
        return True

    def _wait_for_renewal(self) -> bool:
        """Another thread makes the ring; or this one does, and a signal handler interrupted it."""
        deadline = time.monotonic() + _RENEWAL_S
        while self._inherited and time.monotonic() < deadline:
            if self._renewing == threading.get_ident():
                return False
            time.sleep(_POLL_S)
        return not self._inherited

    @property
    def held(self) -> int:
        """Records in the ring, also after it was given back."""
        return self.ring.held if self._held_at_close is None else self._held_at_close

    @property
    def inherited(self) -> bool:
        """True in a forked child that has not recorded anything yet."""
        return self._inherited

    def shut(self) -> None:
        """Take no more records: from now on they are only counted."""
        self.closed = True
        self.ring.shut()

    def close(self) -> None:
        """Give the ring back. Its file goes if it is empty; else the next open finds it.

        Nobody may be writing it to the database: its memory goes.
        """
        self.shut()
        if self._held_at_close is not None:
            return
        self._held_at_close = self.ring.held
        if self._inherited:
            return  # a forked child that never recorded anything: there is nothing of its own
        self.ring.set_synchronous(False)
        self.ring.detach()
        if self._held_at_close == 0:
            self.memory.remove()
        else:
            self.memory.release()
        os.close(self.wake_fd)
        os.close(self._wake_write)


def format_exception(error: BaseException) -> str:
    """The traceback of an exception as text; never raises."""
    import traceback  # noqa: PLC0415 (only needed once something has failed)

    try:
        return "".join(traceback.format_exception(error))
    except Exception:
        return plain_text(error)
