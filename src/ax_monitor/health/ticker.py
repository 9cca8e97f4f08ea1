"""A thread that does something at regular times."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from ax_monitor.clock import Clock

STOP_S: Final = 1.0  # a stop waits for work under way no longer than this


class Ticker:
    """Calls `work` now and at every multiple of an interval after that, on a daemon thread.

    The monotonic clock counts. Ticks that come while `work` still runs, or while the process is
    suspended, are skipped and not made up for.

    Lifecycle: `start()`, `stop()`; both may be called again. A forked child has no thread.
    Thread-safety: any thread.
    """

    def __init__(self, name: str, work: Callable[[], object], clock: Clock) -> None:
        self._name = name
        self._work = work
        self._clock = clock
        self._reset()

    def _reset(self) -> None:
        self._starting = threading.Lock()  # guards what follows
        self._thread: threading.Thread | None = None
        self._stopped = threading.Event()
        self._interval_s = 0.0

    @property
    def running(self) -> bool:
        """Is there a thread in this process?"""
        thread = self._thread
        return thread is not None and thread.is_alive()

    def start(self, interval_s: float) -> None:
        """Begin. If it runs already, only a new interval changes anything."""
        with self._starting:
            if self.running and interval_s == self._interval_s:
                return
            self._interval_s = interval_s
            self._stopped.set()
            self._stopped = threading.Event()
            self._thread = threading.Thread(
                target=self._run, args=(self._stopped, interval_s), name=self._name, daemon=True
            )
            self._thread.start()

    def stop(self, wait_s: float = STOP_S) -> None:
        """End; waits for a moment for work that is under way."""
        with self._starting:
            thread, self._thread = self._thread, None
            self._stopped.set()
        if thread is not None and thread is not threading.current_thread():
            thread.join(wait_s)

    def _run(self, stopped: threading.Event, interval_s: float) -> None:
        started = self._clock.monotonic()
        wait_s = 0.0
        while not stopped.wait(wait_s):
            self._work()
            wait_s = until_next(self._clock.monotonic() - started, interval_s)

    def after_fork_in_child(self) -> None:
        """The thread stayed with the parent."""
        self._reset()


def until_next(elapsed_s: float, interval_s: float) -> float:
    """How long until the next multiple of the interval that is not over.

    >>> until_next(0.25, 1.0), until_next(7.5, 1.0)
    (0.75, 0.5)
    """
    return interval_s - elapsed_s % interval_s
