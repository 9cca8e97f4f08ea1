"""Time limits: a check that hangs is unhealthy, delays nobody, and costs one thread."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from ax_monitor import HealthStatus
from ax_monitor.checks.board import CheckBoard
from ax_monitor.checks.outcome import Check
from ax_monitor.checks.timed import TimedCheck, on_daemon_thread
from ax_monitor.clock import SYSTEM_CLOCK
from tests.faults.harness import wait_until

LIMIT_S = 0.05


@pytest.fixture
def release() -> Iterator[threading.Event]:
    """What hanging checks wait for; in the end they may go on."""
    event = threading.Event()
    yield event
    event.set()


def timed(check: Check, limit_s: float = LIMIT_S) -> TimedCheck:
    return TimedCheck("x", check, limit_s, SYSTEM_CLOCK)


def hangs(release: threading.Event) -> bool:
    release.wait(30)
    return True


async def hangs_async() -> bool:
    await asyncio.sleep(30)
    return True


async def refuses_to_end() -> bool:
    """A coroutine that holds its thread, and swallows being cancelled."""
    time.sleep(LIMIT_S * 2)
    try:
        await asyncio.sleep(0.2)
    except asyncio.CancelledError:
        await asyncio.sleep(0.2)
    return True


def test_a_check_that_hangs_is_unhealthy_with_the_reason(release: threading.Event) -> None:
    """After its time limit, not earlier and not much later."""
    started = time.monotonic()
    checked = timed(lambda: hangs(release)).start().wait()
    took = time.monotonic() - started
    assert checked.check.status is HealthStatus.UNHEALTHY
    assert checked.check.message == checked.fault == "no answer within 50 ms"
    assert LIMIT_S <= took < 2
    assert checked.check.response_time >= 50


def test_the_same_of_a_coroutine() -> None:
    """It is cancelled, and its thread ends."""
    before = threading.active_count()
    checked = timed(hangs_async).start().wait()
    assert checked.fault == "no answer within 50 ms"
    wait_until(lambda: threading.active_count() == before)


def test_a_coroutine_that_swallows_its_end() -> None:
    """The answer does not wait for it."""
    checked = timed(refuses_to_end).start().wait()
    assert checked.fault == "no answer within 50 ms"


def test_a_coroutine_is_awaited() -> None:
    """In an event loop of its own."""

    async def check() -> dict[str, int]:
        await asyncio.sleep(0)
        return {"size_bytes": 3}

    checked = timed(check, 5).start().wait()
    assert checked.check.status is HealthStatus.HEALTHY
    assert checked.check.metadata == {"size_bytes": 3}
    assert checked.fault is None


@pytest.mark.parametrize(
    "error", [ValueError("broken"), SystemExit(3), KeyboardInterrupt(), asyncio.CancelledError()]
)
def test_a_check_that_raises_is_unhealthy_with_the_reason(error: BaseException) -> None:
    """Whatever it raises."""

    def check() -> bool:
        raise error

    checked = timed(check).start().wait()
    assert checked.check.status is HealthStatus.UNHEALTHY
    assert checked.fault is not None
    assert checked.fault.startswith(type(error).__name__)


def test_its_own_timeout_error_is_told_as_such() -> None:
    """Not as ours."""

    async def check() -> bool:
        raise TimeoutError("the engine's own")

    assert timed(check, 5).start().wait().fault == "TimeoutError: the engine's own"


def test_while_a_run_hangs_no_other_is_started(release: threading.Event) -> None:
    """One that hangs for a day costs one thread; when it answers again, so does the check."""
    calls: list[int] = []

    def check() -> bool:
        calls.append(1)
        return hangs(release)

    one = timed(check)
    one.start().wait()
    time.sleep(0.01)
    started = time.monotonic()
    again = [one.start().wait() for _ in range(20)]
    assert time.monotonic() - started < LIMIT_S * 10
    assert len(calls) == 1
    assert all("the check hangs" in (checked.fault or "") for checked in again)
    release.set()
    wait_until(lambda: one.start().wait().check.status is HealthStatus.HEALTHY)


def test_one_that_hangs_delays_no_other(release: threading.Event) -> None:
    """All of them together take as long as the slowest limit; the others tell their own times."""
    board = CheckBoard(SYSTEM_CLOCK, LIMIT_S)
    for name in "abcde":
        board.put(name, lambda: hangs(release))
    board.put("fast", lambda: True, 5)
    started = time.monotonic()
    results = board.check_all()
    assert time.monotonic() - started < LIMIT_S * 5 + 1
    assert [checked.check.component for checked in results] == [*"abcde", "fast"]
    assert [checked.check.status for checked in results[:5]] == [HealthStatus.UNHEALTHY] * 5
    assert results[5].check.status is HealthStatus.HEALTHY


def test_no_thread_to_be_had_is_a_reason() -> None:
    """Told at once, by every check, also where the event loop asks."""
    size = threading.stack_size(1 << 46)
    try:
        checked = timed(lambda: True).start().wait()
        awaited = asyncio.run(on_daemon_thread(lambda: 7))
    finally:
        threading.stack_size(size)
    assert checked.check.status is HealthStatus.UNHEALTHY
    assert "thread" in (checked.fault or "")
    assert awaited == 7


def test_the_event_loop_goes_on_meanwhile(release: threading.Event) -> None:
    """It is not blocked by a check that hangs, nor by the waiting for it."""

    async def main() -> int:
        ticks = 0
        check = asyncio.create_task(on_daemon_thread(timed(lambda: hangs(release)).start().wait))
        while not check.done():
            await asyncio.sleep(0.001)
            ticks += 1
        assert check.result().fault
        return ticks

    assert asyncio.run(main()) >= 5


def test_an_exception_comes_back_and_a_cancelled_wait_is_let_go(release: threading.Event) -> None:
    """Cancelling the one who waits ends the waiting at once; the late result hurts nobody."""

    def broken() -> int:
        raise ValueError("broken")

    async def main() -> None:
        with pytest.raises(ValueError, match="broken"):
            await on_daemon_thread(broken)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(on_daemon_thread(lambda: hangs(release)), 0.01)
        release.set()
        await asyncio.sleep(0.01)

    asyncio.run(main())


HANGING = """
import asyncio, threading, time
from ax_monitor import HealthCheckService

health = HealthCheckService({db!r}, timeout_ms=300)

async def hangs_async():
    time.sleep(1000)

health.register("sync", lambda: time.sleep(1000))
health.register("async", hangs_async)
health.register_provider("provider", lambda: time.sleep(1000))
found = asyncio.run(health.get_system_health())
health.start_periodic_checks(10)
print(*(check.component for check in found.components if check.status == "unhealthy"))
"""


def test_hanging_checks_do_not_keep_the_program_alive(db: str) -> None:
    """Neither the event loop's end nor the interpreter's waits for them."""
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", HANGING.format(db=db)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert {"providers", "sync", "async"} <= set(done.stdout.split())
    assert time.monotonic() - started < 15
