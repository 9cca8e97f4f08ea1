"""The clocks. The wall clock stamps records; the monotonic clock measures intervals."""

from __future__ import annotations

import functools
import sys
import time
from dataclasses import dataclass
from typing import Protocol


class Clock(Protocol):
    """What the package asks for the time; tests pass one that they move by hand."""

    def time_ms(self) -> int:
        """Milliseconds since the Unix epoch."""

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""

    def boot_id(self) -> str:
        """What names the time since the machine started; "" if that can't be told.

        All processes with one boot id see the same monotonic clock.
        """


class SystemClock:
    """The machine's clocks."""

    def time_ms(self) -> int:
        """Milliseconds since the Unix epoch."""
        return time.time_ns() // 1_000_000

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""
        return time.monotonic()

    def boot_id(self) -> str:
        """What names the time since the machine started; "" if that can't be told."""
        return _boot_id()


SYSTEM_CLOCK = SystemClock()


@functools.cache
def _boot_id() -> str:
    try:
        if sys.platform == "darwin":
            return _darwin_boot_id()
        with open("/proc/sys/kernel/random/boot_id", "rb") as file:
            return file.read().strip().decode()
    except (OSError, ValueError, AttributeError):
        return ""


def _darwin_boot_id() -> str:
    import ctypes  # noqa: PLC0415 (needed on this platform only, and not cheap)

    size = ctypes.c_size_t(64)
    text = ctypes.create_string_buffer(size.value)
    failed = ctypes.CDLL(None).sysctlbyname(
        b"kern.bootsessionuuid", text, ctypes.byref(size), None, ctypes.c_size_t(0)
    )
    return "" if failed else text.value.decode("ascii")


@dataclass(frozen=True, slots=True)
class Moment:
    """A point in time that can be stored, and measured from even if the wall clock is set.

    Args:
        time_ms: Milliseconds since the Unix epoch.
        boot_id: See `Clock.boot_id`.
        monotonic_ms: Milliseconds on the monotonic clock.
    """

    time_ms: int
    boot_id: str
    monotonic_ms: int

    @classmethod
    def now(cls, clock: Clock) -> Moment:
        """The present moment."""
        return cls(clock.time_ms(), clock.boot_id(), int(clock.monotonic() * 1000))

    def follows(self, earlier: Moment) -> bool:
        """Whether it can be told how long ago another moment was.

        Not if the machine has been restarted, and its wall clock been set back behind that moment.
        """
        return bool(self.boot_id and self.boot_id == earlier.boot_id) or (
            self.time_ms >= earlier.time_ms
        )

    def since(self, earlier: Moment) -> int:
        """Milliseconds that have passed since another moment; never less than 0.

        After a restart of the machine only the wall clock can tell.
        """
        if self.boot_id and self.boot_id == earlier.boot_id:
            return max(0, self.monotonic_ms - earlier.monotonic_ms)
        return max(0, self.time_ms - earlier.time_ms)
