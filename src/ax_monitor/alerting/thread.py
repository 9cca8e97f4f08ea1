"""The thread that evaluates rules, at even intervals."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from ax_monitor.clock import Clock

FEED_S: Final = 5.0  # between evaluations, samples are taken so often, before they are sealed
STOP_S: Final = 5.0


class EvaluationThread:
    """Calls `evaluate` at once and then at every tick; between ticks, `take_feed`.

    Ticks are counted on the monotonic clock from the start. Those that were missed, because the
    process was suspended or an evaluation took long, are skipped.

    Lifecycle: `start()`, `stop()`; once. A daemon.

    Args:
        evaluate: Must not raise.
        take_feed: Must not raise.
        wait: Waits so many seconds, or until the thread is to stop, and then says True (tests).
    """

    def __init__(
        self,
        clock: Clock,
        interval_ms: int,
        evaluate: Callable[[], object],
        take_feed: Callable[[], object],
        *,
        wait: Callable[[float], bool] | None = None,
    ) -> None:
        self.interval_ms = interval_ms
        self._clock = clock
        self._evaluate = evaluate
        self._take_feed = take_feed
        self._stopped = threading.Event()
        self._wait = wait or self._stopped.wait
        self._thread = threading.Thread(target=self.run, name="ax-monitor-alerts", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End; an evaluation that runs is waited for, for a bounded time."""
        self._stopped.set()
        if self._thread is not threading.current_thread() and self._thread.is_alive():
            self._thread.join(STOP_S)

    def run(self) -> None:
        """What the thread does."""
        interval_s = self.interval_ms / 1000
        start = due = self._clock.monotonic()
        while not self._stopped.is_set():
            if self._clock.monotonic() >= due:
                self._evaluate()
                passed = (self._clock.monotonic() - start) // interval_s
                due = start + (passed + 1) * interval_s
            else:
                self._take_feed()
            if self._wait(min(FEED_S, max(0.0, due - self._clock.monotonic()))):
                return
