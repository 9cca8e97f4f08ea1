"""The clocks. The wall clock stamps records; the monotonic clock measures intervals."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the package asks for the time; tests pass one that they move by hand."""

    def time_ms(self) -> int:
        """Milliseconds since the Unix epoch."""

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""


class SystemClock:
    """The machine's clocks."""

    def time_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""
        return time.monotonic()


SYSTEM_CLOCK = SystemClock()
