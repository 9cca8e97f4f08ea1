"""Events: what the services tell whoever listens.

A listener runs on one background thread, never on the caller's. So one that is slow, raises, or
records something itself does no harm to the engine. What listeners do not keep up with is dropped
and counted; an event that a listener causes itself is not delivered, so nothing can recurse.
"""

from __future__ import annotations

import sys
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import Any, Final

Listener = Callable[[Any], object]

MAX_PENDING: Final = 10_000
_FLUSH_S: Final = 1.0  # a slow listener holds a flush up no longer than this


class Events:
    """Listeners by event name.

    Thread-safety: any thread. Cost of `emit` without listeners: one dictionary look-up.
    The thread is a daemon: from the first event that somebody listens to until `close()`.
    """

    def __init__(self) -> None:
        self._listeners: dict[str, tuple[Listener, ...]] = {}
        self._on_change: list[weakref.WeakMethod[Callable[[], None]]] = []
        self.dropped = 0
        self.listener_errors = 0
        self._reset()

    def _reset(self) -> None:
        self._pending: deque[tuple[str, Callable[[], Any]]] = deque()
        self._condition = threading.Condition()
        self._thread: threading.Thread | None = None
        self._closed = False

    def on(self, name: str, listener: Listener) -> Listener:
        """Call `listener(payload)` for every event of this name from now on; returns it."""
        if not callable(listener):
            raise TypeError(f"a listener must be callable, got {listener!r}")
        self._listeners[name] = (*self._listeners.get(name, ()), listener)
        self._changed()
        return listener

    def off(self, name: str, listener: Listener) -> bool:
        """Stop calling `listener`; False if it was not listening."""
        listeners = self._listeners.get(name, ())
        if listener not in listeners:
            return False
        rest = list(listeners)
        rest.remove(listener)
        self._listeners[name] = tuple(rest)
        self._changed()
        return True

    def subscribe_changes(self, changed: Callable[[], None]) -> None:
        """Call the bound method `changed` whenever a listener comes or goes, as long as its object
        lives."""
        self._on_change.append(weakref.WeakMethod(changed))

    def _changed(self) -> None:
        self._on_change = [reference for reference in self._on_change if reference() is not None]
        for reference in self._on_change:
            if (changed := reference()) is not None:
                changed()

    def listens(self, name: str) -> bool:
        """Is anybody listening to this event?"""
        return bool(self._listeners.get(name))

    def emit(self, name: str, payload: Any) -> None:
        """Hand an event to its listeners. Never raises, never waits."""
        if self._listeners.get(name):
            self.emit_lazily(name, lambda: payload)

    def emit_lazily(self, name: str, make_payload: Callable[[], Any]) -> None:
        """The same with a payload that is made on the listeners' thread."""
        if not self._listeners.get(name):
            return
        thread = self._thread
        if thread is not None and thread is threading.current_thread():
            return  # caused by a listener
        if len(self._pending) >= MAX_PENDING or self._closed:
            self.dropped += 1
            return
        self._pending.append((name, make_payload))
        # Not blocking: a destructor or signal handler may interrupt us while we hold the lock.
        if self._condition.acquire(blocking=False):
            try:
                self._start()
                self._condition.notify()
            finally:
                self._condition.release()

    def _start(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="ax-monitor-events", daemon=True)
            try:
                self._thread.start()
            except RuntimeError:  # the interpreter is exiting: nobody is left to tell
                self._thread = None
                self._pending.clear()

    def _run(self) -> None:
        while True:
            with self._condition:
                while not self._pending:
                    if self._closed:
                        return
                    self._condition.wait(0.5)
                name, make_payload = self._pending.popleft()
            self._deliver(name, make_payload)

    def _deliver(self, name: str, make_payload: Callable[[], Any]) -> None:
        # BaseException too: a listener that calls sys.exit() is not to end this thread.
        try:
            payload = make_payload()
        except BaseException as error:
            self._report(name, make_payload, error)
            return
        for listener in self._listeners.get(name, ()):
            try:
                listener(payload)
            except BaseException as error:
                self._report(name, listener, error)

    def _report(self, name: str, listener: Any, error: BaseException) -> None:
        self.listener_errors += 1
        if self.listener_errors == 1 and sys.stderr is not None:
            print(
                f"ax-monitor: a listener of {name!r} ({listener!r}) raised "
                f"{type(error).__name__}: {error} (further ones are only counted)",
                file=sys.stderr,
            )

    def flush(self, timeout_s: float = _FLUSH_S) -> bool:
        """Wait until everything emitted before has been delivered; False if that took too long."""
        if self._thread is None or self._thread is threading.current_thread():
            return True
        delivered = threading.Event()
        self._pending.append(("", delivered.set))  # comes behind all that was emitted before
        with self._condition:
            self._condition.notify()
        return delivered.wait(timeout_s)

    def close(self, timeout_s: float = 1.0) -> None:
        """Deliver what is pending, for a bounded time, and end the thread."""
        self.flush(timeout_s)
        self._closed = True
        with self._condition:
            self._condition.notify_all()

    def after_fork_in_child(self) -> None:
        """The thread stayed with the parent; listeners stay, what was pending is the parent's."""
        self._reset()
