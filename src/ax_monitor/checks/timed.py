"""Running checks side by side, each with a time limit, whatever they do.

A check runs on a daemon thread of its own. One that hangs there delays nobody: not the other
checks, not an event loop, not the end of the interpreter. Python can't end its thread, so while a
run is overdue no other is started: a provider that hangs for a day costs one thread.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, TypeVar

from ax_monitor.checks.outcome import Check, Outcome, failed, fault, read_answer
from ax_monitor.clock import Clock
from ax_monitor.model.health import HealthCheck

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Checked:
    """A finished check, and why it did not work, if it did not."""

    check: HealthCheck
    fault: str | None


class TimedCheck:
    """One check of one component, as often as somebody asks.

    Thread-safety: any thread, without a lock; several runs may be under way.

    Args:
        name: The component.
        check: See `Check`. An awaitable runs in an event loop of its own.
        limit_s: A run that takes longer is unhealthy.
        clock: Stamps the results.
    """

    def __init__(self, name: str, check: Check, limit_s: float, clock: Clock) -> None:
        self.name = name
        self.limit_s = limit_s
        self._check = check
        self._clock = clock
        self._under_way: set[Run] = set()

    def start(self) -> Run:
        """Begin a run."""
        run = Run(self.name, self.limit_s, self._clock.time_ms())
        hanging = max((other.age_s for other in list(self._under_way)), default=0.0)
        if hanging > self.limit_s:
            run.finish(fault(f"no answer for {hanging:.1f} s: the check hangs"))
            return run
        self._under_way.add(run)
        try:
            threading.Thread(
                target=self._run, args=(run,), name=f"ax-monitor-check-{self.name}", daemon=True
            ).start()
        except RuntimeError as error:  # too many threads, or the interpreter is exiting
            self._under_way.discard(run)
            run.finish(failed(error))
        return run

    def _run(self, run: Run) -> None:
        # BaseException: a check that calls sys.exit() has not answered either.
        try:
            answer = self._check()
            if isinstance(answer, Awaitable):
                answer = _await(answer, self.limit_s)
            outcome = read_answer(answer)
        except BaseException as error:
            outcome = failed(error)
        self._under_way.discard(run)
        run.finish(outcome)

    def after_fork_in_child(self) -> None:
        """The threads stayed with the parent."""
        self._under_way = set()


class Run:
    """One run of a check."""

    def __init__(self, name: str, limit_s: float, timestamp_ms: int) -> None:
        self._name = name
        self._limit_s = limit_s
        self._timestamp_ms = timestamp_ms
        self._started_s = time.monotonic()
        self._took_s = 0.0
        self._outcome: Outcome | None = None
        self._finished = threading.Event()

    @property
    def age_s(self) -> float:
        """How long ago it began."""
        return time.monotonic() - self._started_s

    def finish(self, outcome: Outcome) -> None:
        """It has a result."""
        self._took_s = self.age_s
        self._outcome = outcome
        self._finished.set()

    def wait(self) -> Checked:
        """The result, or what is to be said of one that takes too long."""
        self._finished.wait(max(0.0, self._limit_s - self.age_s))
        outcome, took_s = self._outcome, self._took_s
        if outcome is None:
            outcome, took_s = _too_late(self._limit_s), self.age_s
        check = HealthCheck(
            component=self._name,
            status=outcome.status,
            timestamp=self._timestamp_ms,
            response_time=took_s * 1000,
            message=outcome.message,
            metadata=outcome.metadata,
        )
        return Checked(check, outcome.fault)


def run_all(checks: Iterable[TimedCheck]) -> list[Checked]:
    """Run them side by side; the results in their order."""
    runs = [check.start() for check in checks]
    return [run.wait() for run in runs]


class Pass:
    """Some checks at regular times, on a thread of their own: whoever begins them goes on at once.

    Thread-safety: any thread may wait; one begins.

    Args:
        work: Runs the checks.
    """

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self._thread: threading.Thread | None = None

    def begin(self) -> None:
        """Run them, unless they still run."""
        if self._thread is not None and self._thread.is_alive():
            return
        thread = threading.Thread(target=self._work, name="ax-monitor-health", daemon=True)
        thread.start()
        self._thread = thread

    def wait(self, limit_s: float) -> None:
        """Until those under way are done, so long at most."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join(limit_s)

    def after_fork_in_child(self) -> None:
        """The thread stayed with the parent."""
        self._thread = None


def _too_late(limit_s: float) -> Outcome:
    return fault(f"no answer within {limit_s * 1000:g} ms")


def _await(answer: Awaitable[object], limit_s: float) -> object:
    """The result of an awaitable, from an event loop that lives for as long as that takes."""
    import asyncio  # noqa: PLC0415 (only where somebody uses it)

    async def wait() -> object:
        limit = asyncio.timeout(limit_s)
        try:
            async with limit:
                return await answer
        except TimeoutError:
            if limit.expired():
                return _too_late(limit_s)
            raise

    return asyncio.run(wait())


async def on_daemon_thread(work: Callable[[], T]) -> T:
    """Run `work` on a thread that nobody has to wait for, and await its result.

    Not `asyncio.to_thread`: the interpreter waits for the threads of executors when it exits.
    """
    import asyncio  # noqa: PLC0415

    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(deliver: Callable[[Any], None], value: Any) -> None:
        if not future.done():  # else whoever awaited it has been cancelled
            deliver(value)

    def run() -> None:
        deliver: Callable[[Any], None] = future.set_result
        try:
            value: Any = work()
        except BaseException as error:
            deliver, value = future.set_exception, error
        with suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(settle, deliver, value)

    try:
        threading.Thread(target=run, name="ax-monitor-health", daemon=True).start()
    except RuntimeError:  # no thread to be had: the checks will say so, at once
        return work()
    return await future
