"""Long work, deletion above all, in short transactions: batches and others have their turn."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, TypeVar

from ax_monitor.storage.connection import Connection

SLICE_S: Final = 0.02  # what a slice should take at most of a processor, with its commit …
PAUSE_S: Final = 0.01  # … and the longest pause after it
LONG_S: Final = 0.1  # what more than SLICE_ROWS rows should take at most in any case
SLICE_ROWS: Final = 100
T = TypeVar("T")
# Does something to at most so many rows in a transaction; what it did, and whether there is more.
Step = Callable[[Connection, int], tuple[int, bool]]


class Slices:
    """Long work in short transactions, each of as many rows as it gets through in its time.

    That is the processor's time: beside threads that compute, each of its statements waits for the
    interpreter, which takes as long for one row as for a thousand.

    Args:
        write: Runs a function in one write transaction.
        rows: Of the first slice.
    """

    def __init__(
        self, write: Callable[[Callable[[Connection], T]], T], rows: int = SLICE_ROWS
    ) -> None:
        self._write = write
        self._rows = rows
        self.pause_s = 0.0  # what is to pass before the next slice
        self.longest_s = 0.0

    def run(self, step: Callable[[Connection, int], T]) -> T:
        """Run one slice: `step` with the number of rows that it may touch."""
        begun = begun_cpu = 0.0

        def timed(connection: Connection) -> T:
            nonlocal begun, begun_cpu
            begun, begun_cpu = time.perf_counter(), time.thread_time()  # now that others let go
            return step(connection, self._rows)

        result: T = self._write(timed)  # type: ignore[assignment, arg-type]
        took_s = time.perf_counter() - begun
        busy_s = time.thread_time() - begun_cpu
        if busy_s > SLICE_S or (took_s > LONG_S and self._rows > SLICE_ROWS):
            self._rows = max(1, self._rows // 2)
        elif busy_s < SLICE_S / 2:
            self._rows = min(self._rows + self._rows // 2 + 1, 100_000)
        self.pause_s = min(max(busy_s, 0.001), PAUSE_S)
        self.longest_s = max(self.longest_s, took_s)
        return result


def run_in_slices(
    write: Callable[[Callable[[Connection], T]], T], step: Step, is_closed: Callable[[], bool]
) -> int:
    """Do all of it, with a pause after each slice; the sum of what the steps say they did."""
    slices = Slices(write)
    total = 0
    more = True
    while more and not is_closed():
        done, more = slices.run(step)
        total += done
        if more:
            time.sleep(slices.pause_s)
    return total
