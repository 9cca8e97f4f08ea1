"""Telling people of trouble that no call can be told of."""

from __future__ import annotations

import contextlib
import sys
from typing import Final

from ax_monitor.clock import Clock

REPORT_S: Final = 60.0  # how often, at most


class StderrReport:
    """Writes one line to stderr, once a minute at most; never through any logging."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._last_s = float("-inf")

    def __call__(self, text: str) -> None:
        """Write it, unless another came in the last minute."""
        now = self._clock.monotonic()
        if now >= self._last_s + REPORT_S and sys.stderr is not None:
            self._last_s = now
            with contextlib.suppress(Exception):  # stderr may be closed
                print(f"ax-monitor: {text}", file=sys.stderr)
